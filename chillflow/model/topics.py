"""The registry of topics: their content, their configuration, and the identity of their messages. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from chillflow.model.messages import Message
from chillflow.settings import Settings

__all__ = ["TopicNames", "TopicSpec", "identity", "registry", "result_topics"]


@dataclass(frozen=True)
class TopicSpec:
    """A topic as the pipeline creates and uses it."""

    name: str
    key: str
    """The content of the message key."""
    value: str
    """The content of the message value."""
    identity: tuple[str, ...]
    """The fields or headers that identify a message: equal in its copies only. Empty for a changelog, where the last
    message of a key counts and an earlier one may be repeated."""
    cleanup_policy: str = "delete"
    shared: bool = False
    """Whether both dataflows write to it."""

    @property
    def is_changelog(self) -> bool:
        """Whether a message replaces all earlier ones of its key (in the same partition)."""
        return self.cleanup_policy == "compact"

    @property
    def is_dead_letters(self) -> bool:
        """Whether it is the dead-letter topic, whose messages name their stage."""
        return "stage" in self.identity

    @property
    def config(self) -> dict[str, str]:
        """Topic configuration.

        Timestamps are event times, years old in a replay: any retention would delete such messages, and the broker's
        default limits on timestamps would refuse them.
        """
        return {
            "cleanup.policy": self.cleanup_policy,
            "retention.ms": "-1",
            "retention.bytes": "-1",
            "message.timestamp.type": "CreateTime",
            "message.timestamp.before.max.ms": str(2**63 - 1),
            "message.timestamp.after.max.ms": str(2**63 - 1),
        }


class TopicNames(NamedTuple):
    """The topics of a pipeline by role."""

    events: str
    complete: str
    incomplete: str
    windows: str

    @classmethod
    def of(cls, settings: Settings) -> TopicNames:
        """The names from the settings."""
        return cls(settings.topic, settings.complete_topic, settings.incomplete_topic, settings.windows_topic)

    @property
    def late(self) -> str:
        """Late events, whose trip was already dropped."""
        return f"{self.events}.late"

    @property
    def dead_letters(self) -> str:
        """Dead letters of both dataflows."""
        return f"{self.events}.dlq"


def registry(settings: Settings) -> dict[str, TopicSpec]:
    """All topics of the pipeline, by name."""
    names = TopicNames.of(settings)
    specs = (
        TopicSpec(names.events, "trip_key", "one of the five events", ("event_id",)),
        TopicSpec(names.complete, "trip_key", "CompleteTrip", ("trip_key", "revision")),
        TopicSpec(names.incomplete, "trip_key", "IncompleteTrip", ("trip_key", "revision")),
        TopicSpec(names.late, "as read", "the original event", ("topic", "partition", "offset")),
        TopicSpec(
            names.dead_letters,
            "as read, or trip_key",
            "the original message, row or trip",
            ("stage", "topic", "partition", "offset", "trip_key", "revision", "file", "row"),
            shared=True,
        ),
        TopicSpec(names.windows, "zone|minutes|window_start", "ZoneWindow", (), "compact"),
    )
    return {spec.name: spec for spec in specs}


def result_topics(settings: Settings) -> dict[str, TopicSpec]:
    """The topics that assembly writes to, by name."""
    return {name: spec for name, spec in registry(settings).items() if name != settings.topic}


class _Revision(msgspec.Struct):
    revision: int = 0


_decode_revision = msgspec.json.Decoder(_Revision).decode


def identity(spec: TopicSpec, message: Message) -> tuple[object, ...]:
    """The identity of a message in its topic: equal for two copies of one message, else different."""
    if "event_id" in spec.identity:
        raise ValueError(f"{spec.name} is not written exactly once")
    if spec.identity == ("trip_key", "revision"):
        return message.key, _decode_revision(message.value or b"{}").revision
    headers = dict(message.headers)  # the last of a repeated name wins, and ours come last
    return tuple(headers.get(name) for name in spec.identity)
