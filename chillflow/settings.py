"""Every setting: its environment variable, default and meaning. Options of commands override them.

A field `grace` is read from `CHILLFLOW_GRACE`; the four names our users already have
(`KAFKA_BOOTSTRAP_SERVERS`, `DATABASE_URL`, `LOG_LEVEL` and `CHILLFLOW_RECOVERY_DIR`) stay as they are.
Any librdkafka property is passed through: `CHILLFLOW_KAFKA_SECURITY_PROTOCOL` is `security.protocol`.
What is secret may be in a file: `DATABASE_URL_FILE` names that of `DATABASE_URL`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from chillflow.errors import SettingsError

__all__ = [
    "DEFAULT_TIME_ZONE",
    "KAFKA_PREFIX",
    "SECRETS",
    "RunArguments",
    "Settings",
    "load",
    "load_arguments",
    "parse_duration",
    "source_time_zone",
    "to_environment",
]

DEFAULT_TIME_ZONE = "America/New_York"
KAFKA_PREFIX = "CHILLFLOW_KAFKA_"
SECRETS = (
    "DATABASE_URL",
    f"{KAFKA_PREFIX}SASL_USERNAME",
    f"{KAFKA_PREFIX}SASL_PASSWORD",
    f"{KAFKA_PREFIX}SASL_OAUTHBEARER_CLIENT_SECRET",
    f"{KAFKA_PREFIX}SSL_KEY_PASSWORD",
    f"{KAFKA_PREFIX}SSL_KEYSTORE_PASSWORD",
    "CHILLFLOW_DASHBOARD_TOKEN",
)
"""Variables whose value may be in a file instead, which the variable with `_FILE` at its end names."""
_FILE = "_FILE"
_SECRET_SETTINGS = {"DATABASE_URL": "database_url", "CHILLFLOW_DASHBOARD_TOKEN": "dashboard_token"}
_DAY = timedelta(days=1)
_UNITS = {"": 1, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def parse_duration(value: Any) -> Any:
    """`90`, `90s`, `15min`, `25h` or `8d` as a timedelta; what is no such text is left to pydantic.

    >>> parse_duration("25h")
    datetime.timedelta(days=1, seconds=3600)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", value) if isinstance(value, str) else None
    if match and match[2] in _UNITS:
        return timedelta(seconds=float(match[1]) * _UNITS[match[2]])
    return value


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no time zone (expected a name like {DEFAULT_TIME_ZONE})") from error
    return name


def _known_lengths(text: str) -> str:
    for length in _lengths(text):
        if not timedelta(0) < length <= _DAY or _DAY % length or length % timedelta(minutes=1):
            raise ValueError("each length is whole minutes and divides a day, as in `15min,1h`")
    return text


def _lengths(text: str) -> list[timedelta]:
    lengths = [parse_duration(part) for part in text.split(",")]
    if not all(isinstance(length, timedelta) for length in lengths):
        raise ValueError("expected lengths as in `15min,1h`")
    return sorted(set(lengths))


Duration = Annotated[timedelta, BeforeValidator(parse_duration), Field(gt=timedelta(0))]


class Settings(BaseSettings):
    """Values are read from the environment when the object is made; see the module for the names."""

    model_config = SettingsConfigDict(env_prefix="CHILLFLOW_", extra="ignore", frozen=True)

    kafka_bootstrap_servers: str = Field(
        "localhost:9092",
        validation_alias="KAFKA_BOOTSTRAP_SERVERS",
        min_length=1,
        description="Kafka servers, or `file:DIR` for topics kept as files",
    )
    database_url: str | None = Field(
        None,
        validation_alias="DATABASE_URL",
        description="`postgresql://…` or `sqlite:///FILE`; without it trips go to Kafka only",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", validation_alias="LOG_LEVEL", description="least level of the log lines on stderr"
    )
    log_format: Literal["text", "json"] = Field("text", description="`text` for people, `json` for machines")
    recovery_dir: Path = Field(Path(".chillflow/recovery"), description="where `assemble` keeps its recovery store")

    topic: str = Field("trip-events", min_length=1, description="topic of the events")
    complete_topic: str = Field("complete-trips", min_length=1, description="topic of the complete trips")
    incomplete_topic: str = Field("incomplete-trips", min_length=1, description="topic of the trips that timed out")
    windows_topic: str = Field("zone-windows", min_length=1, description="topic of the windows (compacted)")
    create_topics: bool = Field(True, description="make the topics a command writes to when missing")
    partitions: int = Field(4, ge=1, le=1000, description="partitions of a topic made here")
    replication_factor: int = Field(1, ge=1, description="replicas of a topic made here")
    kafka_timeout: Duration = Field(timedelta(seconds=10), description="how long to wait for a broker before giving up")
    outage_limit: Annotated[Duration, Field(le=timedelta(minutes=4))] = Field(
        timedelta(minutes=2), description="how long a broker or a database that goes away under way is waited for"
    )

    source_time_zone: Annotated[str, AfterValidator(_known_zone)] = Field(
        DEFAULT_TIME_ZONE, description="time zone of times that carry none (TLC: New York wall time)"
    )
    max_future_skew: Duration = Field(
        timedelta(hours=1), description="rows dated further ahead of the clock are rejected when produced"
    )
    trip_timeout: Duration = Field(
        timedelta(hours=25), description="stream time from a trip's first event to its being incomplete"
    )
    incomplete_horizon: Duration = Field(
        timedelta(days=8), description="how long an incomplete trip can still be completed; longest trip"
    )
    correction_horizon: Duration = Field(timedelta(hours=24), description="how long a complete trip takes corrections")
    windows: Annotated[str, AfterValidator(_known_lengths)] = Field(
        "15min,1h", description="lengths of the windows (fixed once a store exists)"
    )
    grace: Duration = Field(timedelta(minutes=15), description="stream time from a window's end to its being final")
    idle_timeout: Duration = Field(
        timedelta(minutes=1), description="a partition silent for so long keeps no window from being final"
    )
    window_retention: Duration | None = Field(
        None, description="rows of `mart.zone_window` are deleted so long after their end (stream time; default: never)"
    )
    event_time: Literal["timestamp", "body"] = Field(
        "timestamp", description="where the time of a message is read: Kafka's timestamp, or `event_time` in the body"
    )
    stream_time_rank: int = Field(
        20, ge=1, description="stream time is the event time this many messages of a partition have reached"
    )
    key_groups: int = Field(1, ge=1, le=4096, description="key groups a partition (fixed once a store exists)")
    epoch_interval: Duration = Field(
        timedelta(seconds=2), description="time between snapshots; whole seconds under `bytewax.run`"
    )

    metrics_host: str = Field(
        "127.0.0.1", min_length=1, description="address where `assemble` serves /metrics, /livez and /readyz"
    )
    metrics_port: int = Field(
        0, ge=0, le=65535, description="its port; 0 is any that is free: `status` finds it in the recovery directory"
    )
    ready_epoch_limit: Duration = Field(
        timedelta(minutes=1), description="/readyz: how old the last durable epoch may be"
    )

    dashboard_token: str | None = Field(
        None, min_length=16, description="what a viewer of `dashboard` must know; needed where others can reach it"
    )
    grafana_url: str | None = Field(
        None, pattern=r"^https?://", description="where Grafana is, for a link from `dashboard`"
    )

    @field_validator("window_retention")
    @classmethod
    def _kept_while_it_changes(cls, value: timedelta | None, others: ValidationInfo) -> timedelta | None:
        least = sum((others.data.get(name, _DAY) for name in ("trip_timeout", "incomplete_horizon")), 2 * _DAY)
        if value is not None and value < least:
            raise ValueError(f"a late trip can still change a window that old: at least {least}")
        return value

    @property
    def window_lengths(self) -> tuple[timedelta, ...]:
        """`windows` as spans of time, the shortest first."""
        return tuple(_lengths(self.windows))

    @property
    def kafka_properties(self) -> dict[str, str]:
        """Properties of librdkafka given in the environment, by their own names (`sasl.password`).

        Raises SettingsError if a file of secrets cannot be used.
        """
        ours = {f"CHILLFLOW_{name}".upper() for name in type(self).model_fields}
        files = {name + _FILE for name in SECRETS}
        given = {name: value for name, value in os.environ.items() if name not in ours | files} | _secrets()
        return {
            name.removeprefix(KAFKA_PREFIX).lower().replace("_", "."): value
            for name, value in given.items()
            if name.startswith(KAFKA_PREFIX)
        }


class RunArguments(BaseSettings):
    """What one run does, where `bytewax.run` leaves the environment as the only place to say it.

    Commands take the same as options.
    """

    model_config = SettingsConfigDict(env_prefix="CHILLFLOW_", extra="ignore", frozen=True)

    input: str | None = Field(
        None, description="trips that `dataflows.produce` replays: the path of a parquet file, or `db`"
    )
    exit_at_end: bool = Field(False, description="stop where each partition ended at the start of the run")
    close_all: bool = Field(False, description="with `exit_at_end`: close the open trips (incomplete)")


def load(**overrides: Any) -> Settings:
    """The settings of the environment, with the overrides that are not None.

    Raises SettingsError naming the variable and what is wrong with it.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    for variable, secret in _secrets().items():
        if variable in _SECRET_SETTINGS:
            given.setdefault(_SECRET_SETTINGS[variable], secret)
    # pydantic-settings takes an aliased field only by its alias
    aliases = {name: field.validation_alias or name for name, field in Settings.model_fields.items()}
    with _wrong_settings():
        return Settings(**{str(aliases[name]): value for name, value in given.items()})


def load_arguments() -> RunArguments:
    """The arguments of a run from the environment. Raises SettingsError."""
    with _wrong_settings():
        return RunArguments()


@contextmanager
def _wrong_settings() -> Iterator[None]:
    """Raise pydantic's error as a SettingsError in one line, without the value of a secret."""
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        variable = name if name.isupper() else f"CHILLFLOW_{name.upper()}"
        value = "" if variable in SECRETS else f"={first['input']!r}"
        raise SettingsError(f"wrong setting {variable}{value}: {first['msg']}") from error


def _secrets() -> dict[str, str]:
    """What stands in files of secrets, by the variables that it is the value of."""
    found = {}
    for name in SECRETS:
        path = os.environ.get(name + _FILE)
        if not path:
            continue
        if os.environ.get(name):
            raise SettingsError(f"{name} and {name}{_FILE} are both set: which one counts? Set one of them")
        try:
            found[name] = Path(path).read_text().rstrip("\r\n")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise SettingsError(f"{name}{_FILE}: cannot read {path}: {reason}") from error
        if not found[name]:
            raise SettingsError(f"{name}{_FILE}: {path} is empty")
    return found


@lru_cache(maxsize=8)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(_known_zone(name))


def source_time_zone() -> ZoneInfo:
    """The zone of times that carry none, from `CHILLFLOW_SOURCE_TIME_ZONE`."""
    return _zone(os.environ.get("CHILLFLOW_SOURCE_TIME_ZONE", DEFAULT_TIME_ZONE))


def to_environment(settings: Settings, arguments: RunArguments | None = None) -> dict[str, str]:
    """The whole environment of another process that is to read the same settings."""
    values = {name: value for name, value in os.environ.items() if name.removesuffix(_FILE) not in _SECRET_SETTINGS}
    for given in (settings, arguments or RunArguments()):
        for name, field in type(given).model_fields.items():
            value = getattr(given, name)
            if value is not None:
                variable = str(field.validation_alias or f"CHILLFLOW_{name.upper()}")
                values[variable] = f"{value.total_seconds()}s" if isinstance(value, timedelta) else str(value)
    return values
