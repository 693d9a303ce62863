"""The errors that a user can cause or fix, each with a one-line message. Pure.

ChillFlowError
├── SettingsError            a setting or option has a wrong value
├── InputError               the trips cannot be read: no such file, not TLC, unknown trip_key
├── DecodeError              bytes that are not an event (in a topic they become a dead letter)
├── KafkaError               the broker refused something
│   ├── KafkaUnavailableError    no broker answered in time
│   ├── UnknownTopicError        the topic does not exist
│   └── DeliveryError            a message was not delivered
├── DatabaseError            the database refused something
│   ├── DatabaseUnavailableError no database answered in time
│   └── MissingTableError        the tables do not exist: run `chillflow-stream init-db`
└── RecoveryError            the recovery store cannot be used

Connectors map the errors of their clients to these; no client error escapes them.
"""

__all__ = [
    "ChillFlowError",
    "DatabaseError",
    "DatabaseUnavailableError",
    "DecodeError",
    "DeliveryError",
    "InputError",
    "KafkaError",
    "KafkaUnavailableError",
    "MissingTableError",
    "RecoveryError",
    "SettingsError",
    "UnknownTopicError",
]


class ChillFlowError(Exception):
    """Base of all errors of this package. `str(error)` is one line and says what to do."""


class SettingsError(ChillFlowError):
    """A setting (environment variable or option) has a wrong value."""


class InputError(ChillFlowError):
    """The trips to replay cannot be read."""


class DecodeError(ChillFlowError, ValueError):
    """The bytes are not an event; the message says where and why."""


class KafkaError(ChillFlowError):
    """The broker, or the embedded log in its place, refused something."""


class KafkaUnavailableError(KafkaError):
    """No broker answered in time."""


class UnknownTopicError(KafkaError):
    """The topic does not exist."""


class DeliveryError(KafkaError):
    """A message was not delivered."""


class DatabaseError(ChillFlowError):
    """The database refused something."""


class DatabaseUnavailableError(DatabaseError):
    """No database answered in time."""


class MissingTableError(DatabaseError):
    """The tables do not exist; `chillflow-stream init-db` creates them."""


class RecoveryError(ChillFlowError):
    """The recovery store cannot be used."""
