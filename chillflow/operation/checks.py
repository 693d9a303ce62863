"""What may be wrong between the settings and what they name: each check says so, and what to do. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from chillflow.connectors.database import Migration
from chillflow.connectors.log import Description
from chillflow.model.topics import TopicSpec
from chillflow.operation.store_view import Store
from chillflow.settings import Settings

__all__ = ["Finding", "Sample", "clock", "database", "keys", "recovery", "stream_time", "timestamps", "topic"]

_SKEW = timedelta(seconds=30)
"""How far two clocks may be apart: a question that takes its time is no wrong clock."""
_WHY = {
    "retention.ms": "a timestamp is an event time: what happened long ago is deleted when it has just come",
    "retention.bytes": "the oldest messages are deleted when there are many",
    "message.timestamp.type": "timestamps are those of arrival, not event times",
    "message.timestamp.before.max.ms": "older event times are refused, and with one its whole batch",
    "message.timestamp.after.max.ms": "event times further ahead are refused, and with one its whole batch",
}
"""What another value than ours does."""


class Finding(NamedTuple):
    """What one check has found."""

    check: str
    status: Literal["ok", "skipped", "wrong"]
    found: str
    advice: str | None = None
    """What to do."""


class Sample(NamedTuple):
    """What is asked of one message of a sample."""

    key: bytes | None
    partition: int
    misplaced: bool
    mistimed: bool
    timestamp: int | None


def topic(
    spec: TopicSpec, found: Description | None, events: Description | None, settings: Settings
) -> Iterator[Finding]:
    """Whether a topic is like the one that we would make; `events` describes the topic of the events."""
    check = f"topic {spec.name}"
    if found is None:
        yield _absent(check, spec, settings)
        return
    faults = [*_wrong_partitions(spec, found, events, settings), *_wrong_config(spec, found, settings)]
    for said, advice in faults:
        yield Finding(check, "wrong", said, advice)
    if not faults:
        kept = ", compacted" if spec.is_changelog else ", kept for ever"
        yield Finding(check, "ok", f"{_count(found.partitions, 'partition')}{kept}")


def _absent(check: str, spec: TopicSpec, settings: Settings) -> Finding:
    if spec.name == settings.topic or not settings.create_topics:
        return Finding(check, "wrong", "not there", f"chillflow-stream create-topic --topic {spec.name}")
    return Finding(check, "ok", "not there yet: made when it is first needed")


def _wrong_partitions(
    spec: TopicSpec, found: Description, events: Description | None, settings: Settings
) -> Iterator[tuple[str, str]]:
    if events is not None and found.partitions - events.partitions not in ((0, 1) if spec.shared else (0,)):
        said = f"{_count(found.partitions, 'partition')}, but {settings.topic} has {events.partitions}"
        yield said, "chillflow-stream reset makes it anew"


def _wrong_config(spec: TopicSpec, found: Description, settings: Settings) -> Iterator[tuple[str, str]]:
    servers = settings.kafka_bootstrap_servers
    alter = f"kafka-configs.sh --bootstrap-server {servers} --alter --topic {spec.name} --add-config "
    config = {**spec.config, **found.config}
    for name, wanted in spec.config.items():
        value = config[name]
        if name == "cleanup.policy":
            if ("compact" in value) != spec.is_changelog:
                of_others = "of each key only the last message would be kept"
                why = "what has been replaced is kept for ever" if spec.is_changelog else of_others
                yield f"{name}={value}: {why}", f"{alter}{name}={wanted}"
        elif value == wanted or (name.startswith("retention.") and "delete" not in config["cleanup.policy"]):
            continue
        elif name == "message.timestamp.type" and spec.name == settings.topic:
            if settings.event_time != "body":
                yield f"{name}={value}: {_WHY[name]}", "set CHILLFLOW_EVENT_TIME=body"
        else:
            yield f"{name}={value}: {_WHY[name]}", f"{alter}{name}={wanted}"


def keys(samples: Sequence[Sample]) -> Finding:
    """Whether all events of a trip are in one partition, and in the one where our producers put them."""
    check = "keys"
    if not any(sample.key for sample in samples):
        return Finding(check, "skipped", "no messages with keys yet")
    partitions = defaultdict[bytes | None, set[int]](set)
    for sample in samples:
        partitions[sample.key].add(sample.partition)
    torn = [key for key, numbers in partitions.items() if key and len(numbers) > 1]
    misplaced = sum(sample.misplaced for sample in samples)
    if torn:
        said = f"{len(torn):,} of {len(partitions):,} sampled keys are in more than one partition: such trips time out"
        return Finding(check, "wrong", said, _SAME_PARTITIONER)
    if misplaced:
        said = f"{misplaced:,} of {len(samples):,} sampled messages are not where our producers (and Java's) put them"
        return Finding(
            check, "wrong", said, f"no harm if all of the topic's producers do so; if not, {_SAME_PARTITIONER}"
        )
    return Finding(check, "ok", f"{len(samples):,} sampled messages are where our producers put them")


_SAME_PARTITIONER = "give all producers one partitioner: murmur2 (librdkafka: partitioner=murmur2_random)"


def timestamps(samples: Sequence[Sample], settings: Settings) -> Finding:
    """Whether timestamps are event times."""
    check = "timestamps"
    if not samples:
        return Finding(check, "skipped", "no messages yet")
    if settings.event_time == "body":
        return Finding(check, "ok", "event times are read from the messages themselves")
    if count := sum(sample.mistimed for sample in samples):
        said = f"of {count:,} of {len(samples):,} sampled messages they are not the times of the events"
        return Finding(check, "wrong", said, "set CHILLFLOW_EVENT_TIME=body")
    return Finding(check, "ok", f"those of {len(samples):,} sampled messages are event times")


def stream_time(samples: Iterable[Sample], now: datetime, settings: Settings) -> Finding:
    """Whether the time of the stream is ahead of the clock: then new trips would be late as they come."""
    check = "stream time"
    by_partition = defaultdict[int, list[int]](list)
    for sample in samples:
        if sample.timestamp is not None:
            by_partition[sample.partition].append(sample.timestamp)
    rank = settings.stream_time_rank
    reached = [sorted(times)[-rank] for times in by_partition.values() if len(times) >= rank]
    if not reached:
        return Finding(check, "skipped", f"no partition has {rank} messages yet")
    ahead = timedelta(milliseconds=max(reached) - now.timestamp() * 1000)
    if ahead > settings.max_future_skew:
        said = f"{_span(ahead)} ahead of this clock: new trips time out and are late as they come"
        return Finding(check, "wrong", said, "set the clock right, here or where the events are made; then begin anew")
    said = f"{_span(-ahead)} behind this clock" if ahead < -_SKEW else "that of this clock"
    return Finding(check, "ok", said)


def database(applied: Collection[int], known: Sequence[Migration]) -> Finding:
    """Whether the tables are those of this release."""
    check = "database"
    missing = [step.name for step in known if step.version not in applied]
    if newer := {*applied} - {step.version for step in known}:
        return Finding(
            check, "wrong", f"its tables are of a newer release (migration {max(newer)})", "upgrade this one"
        )
    if missing:
        what = "there are no tables" if not applied else f"migrations are missing: {', '.join(missing)}"
        return Finding(check, "wrong", what, "chillflow-stream init-db")
    return Finding(check, "ok", f"all {len(known)} migrations are applied")


def recovery(store: Store | None, folder: object, now: datetime, settings: Settings) -> Finding:
    """Whether the recovery store is whole, and is written to if an `assemble` runs on it."""
    check = "recovery"
    if store is None:
        return Finding(check, "ok", f"no store in {folder} yet: `assemble` makes it")
    if store.parts != store.expected:
        said = f"{store.parts} of {store.expected} files part-*.sqlite3 are in {folder}"
        return Finding(check, "wrong", said, "bring the others back from a backup, or chillflow-stream reset")
    age = now - store.written
    what = "in use" if store.held else "not in use"
    epoch = "no epoch yet" if store.epoch is None else f"epoch {store.epoch:,}, {_span(age)} ago"
    said = f"{what}, {epoch}, {store.size / 1e6:,.1f} MB in {folder}"
    if store.held and age > settings.ready_epoch_limit:
        advice = "what `assemble` logs says why (`chillflow-stream status`); if it hangs, stop and start it"
        return Finding(check, "wrong", f"{said}: nothing was written for so long", advice)
    return Finding(check, "ok", said)


def clock(server: datetime, now: datetime) -> Finding:
    """Whether the clock of the database is ours."""
    apart = abs(server - now)
    if apart > _SKEW:
        said = f"this clock and that of the database are {_span(apart)} apart"
        return Finding("clock", "wrong", said, "let both be set by NTP")
    return Finding("clock", "ok", "that of the database is ours")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s'[: number != 1]}"


def _span(time: timedelta) -> str:
    """A time in one or two units, for people."""
    seconds = int(abs(time).total_seconds())
    for size, unit, less, lesser in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            rest = seconds % size // less
            return f"{seconds // size:,} {unit}" + (f" {rest} {lesser}" if rest else "")
    return f"{seconds} s"
