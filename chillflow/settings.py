"""All settings: environment variables, defaults and meanings. Options of commands override them.

The field `grace` is read from `CHILLFLOW_GRACE`; `KAFKA_BOOTSTRAP_SERVERS`, `DATABASE_URL` and `LOG_LEVEL`, which users
already had, have no prefix. Any librdkafka property is passed through: `CHILLFLOW_KAFKA_SECURITY_PROTOCOL` sets
`security.protocol`. A secret may be in a file: `DATABASE_URL_FILE` is the path of a file with the value of
`DATABASE_URL`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
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
    "format_default",
    "load",
    "load_arguments",
    "parse_duration",
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
"""Variables whose value may be in a file, named by the variable plus `_FILE`."""
_FILE = "_FILE"
_SECRET_SETTINGS = {"DATABASE_URL": "database_url", "CHILLFLOW_DASHBOARD_TOKEN": "dashboard_token"}
_DAY = timedelta(days=1)
_UNITS = {"": 1, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def parse_duration(value: object) -> object:
    """The timedelta in a text such as `90`, `90s`, `15min` or `8d`; any other value unchanged, for pydantic.

    >>> parse_duration("25h")
    datetime.timedelta(days=1, seconds=3600)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", value) if isinstance(value, str) else None
    if match and match[2] in _UNITS:
        return timedelta(seconds=float(match[1]) * _UNITS[match[2]])
    return value


def format_default(default: object) -> str:
    """The default of a setting as a user would write it; a duration as the shortest text that parses as it.

    >>> [format_default(each) for each in (timedelta(hours=25), timedelta(days=8), timedelta(seconds=10), True)]
    ['25h', '8d', '10s', 'true']
    """
    if isinstance(default, timedelta):
        seconds = default.total_seconds()
        for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
            if seconds % length == 0 and (unit != "d" or seconds > length):
                return f"{seconds / length:g}{unit}"
        return f"{seconds:g}s"
    return str(default).lower() if isinstance(default, bool) else str(default)


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is not a time zone; expected a name such as {DEFAULT_TIME_ZONE}") from error
    return name


def _known_lengths(text: str) -> str:
    for length in _lengths(text):
        if not timedelta(0) < length <= _DAY or _DAY % length or length % timedelta(minutes=1):
            raise ValueError("each length must be whole minutes and divide a day, as in `15min,1h`")
    return text


def _lengths(text: str) -> list[timedelta]:
    lengths = set[timedelta]()
    for part in text.split(","):
        length = parse_duration(part)
        if not isinstance(length, timedelta):
            raise ValueError("expected durations separated by commas, as in `15min,1h`")  # noqa: TRY004 - for pydantic
        lengths.add(length)
    return sorted(lengths)


Duration = Annotated[timedelta, BeforeValidator(parse_duration), Field(gt=timedelta(0))]


class Settings(BaseSettings):
    """The settings. Each object reads the environment when it is made."""

    model_config = SettingsConfigDict(env_prefix="CHILLFLOW_", extra="ignore", frozen=True)

    kafka_bootstrap_servers: str = Field(
        "localhost:9092",
        validation_alias="KAFKA_BOOTSTRAP_SERVERS",
        min_length=1,
        description="Kafka servers, or `file:DIR` for topics in files",
    )
    database_url: str | None = Field(
        None,
        validation_alias="DATABASE_URL",
        description="`postgresql://…` or `sqlite:///FILE`; without it, trips go to Kafka only",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", validation_alias="LOG_LEVEL", description="lowest level that is logged to stderr"
    )
    log_format: Literal["text", "json"] = Field("text", description="`text` for people, `json` for machines")
    recovery_dir: Path = Field(Path(".chillflow/recovery"), description="directory of the recovery store of `assemble`")

    topic: str = Field("trip-events", min_length=1, description="topic of the events")
    complete_topic: str = Field("complete-trips", min_length=1, description="topic of the complete trips")
    incomplete_topic: str = Field("incomplete-trips", min_length=1, description="topic of the trips that timed out")
    windows_topic: str = Field("zone-windows", min_length=1, description="topic of the windows (compacted)")
    create_topics: bool = Field(True, description="create the topics that a command writes to if they are missing")
    partitions: int = Field(4, ge=1, le=1000, description="partitions of a created topic")
    replication_factor: int = Field(1, ge=1, description="replicas of a created topic")
    kafka_timeout: Duration = Field(timedelta(seconds=10), description="how long to wait for a broker before giving up")
    outage_limit: Annotated[Duration, Field(le=timedelta(minutes=4))] = Field(
        timedelta(minutes=2), description="how long to wait for a broker or a database that is lost during a run"
    )

    source_time_zone: Annotated[str, AfterValidator(_known_zone)] = Field(
        DEFAULT_TIME_ZONE, description="time zone of times without a UTC offset (TLC: New York wall time)"
    )
    max_future_skew: Duration = Field(
        timedelta(hours=1), description="rows dated further in the future are rejected when produced"
    )
    trip_timeout: Duration = Field(
        timedelta(hours=25),
        description="an open trip becomes incomplete this long after its first event (by the watermark)",
    )
    incomplete_horizon: Duration = Field(
        timedelta(days=8), description="how long an incomplete trip can still be completed; also the longest trip"
    )
    correction_horizon: Duration = Field(
        timedelta(hours=24), description="how long a complete trip is kept for corrections"
    )
    windows: Annotated[str, AfterValidator(_known_lengths)] = Field(
        "15min,1h", description="lengths of the windows (fixed once a recovery store exists)"
    )
    grace: Duration = Field(
        timedelta(minutes=15), description="a window is final when the watermark is this far past its end"
    )
    idle_timeout: Duration = Field(
        timedelta(minutes=1),
        description="a partition without messages for this long no longer holds back the watermark of the windows",
    )
    window_retention: Duration | None = Field(
        None,
        description="delete rows of `mart.zone_window` this long after their end, by the watermark (default: never)",
    )
    event_time: Literal["timestamp", "body"] = Field(
        "timestamp", description="the event time of a message: Kafka's `timestamp`, or `event_time` in the `body`"
    )
    stream_time_rank: int = Field(
        20, ge=1, description="the watermark is the event time that this many events of a partition have reached"
    )
    key_groups: int = Field(
        1, ge=1, le=4096, description="key groups per partition (fixed once a recovery store exists)"
    )
    epoch_interval: Duration = Field(
        timedelta(seconds=2), description="time between snapshots; whole seconds under `bytewax.run`"
    )

    metrics_host: str = Field(
        "127.0.0.1", min_length=1, description="address on which `assemble` serves /metrics, /livez and /readyz"
    )
    metrics_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="port of the metrics; 0 takes a free one, which `status` finds in the recovery directory",
    )
    ready_epoch_limit: Duration = Field(
        timedelta(minutes=1), description="/readyz: maximum age of the last durable epoch"
    )

    dashboard_token: str | None = Field(
        None,
        min_length=16,
        description="token that a viewer of `dashboard` must enter; required if others can reach it",
    )
    grafana_url: str | None = Field(
        None, pattern=r"^https?://", description="address of Grafana, which `dashboard` links to"
    )

    @field_validator("window_retention")
    @classmethod
    def _outlasts_late_trips(cls, value: timedelta | None, others: ValidationInfo) -> timedelta | None:
        least = sum((others.data.get(name, _DAY) for name in ("trip_timeout", "incomplete_horizon")), 2 * _DAY)
        if value is not None and value < least:
            raise ValueError(f"must be at least {least}: until then a late trip can change a window")
        return value

    @property
    def window_lengths(self) -> tuple[timedelta, ...]:
        """The lengths in `windows`, the shortest first."""
        return tuple(_lengths(self.windows))

    @property
    def kafka_properties(self) -> dict[str, str]:
        """The librdkafka properties in the environment by name, such as `sasl.password`.

        Raises SettingsError if the file of a secret cannot be used.
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
    """The arguments of one run under `bytewax.run`, which has no options for them; commands do."""

    model_config = SettingsConfigDict(env_prefix="CHILLFLOW_", extra="ignore", frozen=True)

    input: str | None = Field(
        None, description="trips that `dataflows.produce` replays: the path of a Parquet file, or `db`"
    )
    exit_at_end: bool = Field(False, description="stop where each partition ended when the run started")
    close_all: bool = Field(False, description="with `exit_at_end`: close open trips as incomplete")


def load(**overrides: Any) -> Settings:
    """The settings from the environment, with the overrides that are not None.

    Raises SettingsError, which names the variable and the mistake.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    for variable, secret in _secrets().items():
        if variable in _SECRET_SETTINGS:
            given.setdefault(_SECRET_SETTINGS[variable], secret)
    # pydantic-settings accepts an aliased field only by its alias
    aliases = {name: field.validation_alias or name for name, field in Settings.model_fields.items()}
    with _wrong_settings():
        return Settings(**{str(aliases[name]): value for name, value in given.items()})


def load_arguments() -> RunArguments:
    """The run arguments from the environment. Raises SettingsError."""
    with _wrong_settings():
        return RunArguments()


@contextmanager
def _wrong_settings() -> Iterator[None]:
    """Raise SettingsError for pydantic's error: one line, without the value of a secret."""
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        variable = name if name.isupper() else f"CHILLFLOW_{name.upper()}"
        value = "" if variable in SECRETS else f"={first['input']!r}"
        raise SettingsError(f"invalid setting {variable}{value}: {first['msg']}") from error


def _secrets() -> dict[str, str]:
    """The values of the secrets that are in files, by variable."""
    found = {}
    for name in SECRETS:
        path = os.environ.get(name + _FILE)
        if not path:
            continue
        if os.environ.get(name):
            raise SettingsError(f"{name} and {name}{_FILE} are both set; set only one of them")
        try:
            found[name] = Path(path).read_text().rstrip("\r\n")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise SettingsError(f"{name}{_FILE}: cannot read {path}: {reason}") from error
        if not found[name]:
            raise SettingsError(f"{name}{_FILE}: {path} is empty")
    return found


def to_environment(settings: Settings, arguments: RunArguments | None = None) -> dict[str, str]:
    """The environment for another process with the same settings and arguments."""
    values = {name: value for name, value in os.environ.items() if name.removesuffix(_FILE) not in _SECRET_SETTINGS}
    for given in (settings, arguments or RunArguments()):
        for name, field in type(given).model_fields.items():
            value = getattr(given, name)
            if value is not None:
                variable = str(field.validation_alias or f"CHILLFLOW_{name.upper()}")
                values[variable] = f"{value.total_seconds()}s" if isinstance(value, timedelta) else str(value)
    return values
