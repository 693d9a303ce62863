"""The checks of `doctor`, each from observed values to a finding with advice. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple

from chillflow.model.topics import TopicSpec
from chillflow.telemetry.late_share import CAUSES, describe, is_wrong

if TYPE_CHECKING:
    from chillflow.connectors.log import Description
    from chillflow.operation.store_inspection import StoreInfo

__all__ = [
    "Finding",
    "Sample",
    "TopicCheck",
    "check_clock",
    "check_database",
    "check_keys",
    "check_late_share",
    "check_recovery",
    "check_timestamps",
    "check_watermarks",
    "newest_times",
]

_SKEW = timedelta(seconds=30)
"""Tolerated difference between two clocks: reading the other one takes time."""
_WHY = {
    "retention.ms": "timestamps are event times, so old events are deleted on arrival",
    "retention.bytes": "the oldest messages are deleted when the topic grows",
    "message.timestamp.type": "timestamps are arrival times, not event times",
    "message.timestamp.before.max.ms": "the broker refuses older event times, with their whole batch",
    "message.timestamp.after.max.ms": "the broker refuses event times further ahead, with their whole batch",
}
"""The effect of any other value, by property of a topic."""
_SAME_PARTITIONER = "give all producers one partitioner: murmur2 (librdkafka: partitioner=murmur2_random)"


class Finding(NamedTuple):
    """The result of one check."""

    check: str
    status: Literal["ok", "skipped", "wrong"]
    found: str
    advice: str | None = None
    """What to do, one line for each possible cause."""


class Sample(NamedTuple):
    """A sampled message, as the checks use it."""

    key: bytes | None
    partition: int
    misplaced: bool
    mistimed: bool
    event_time: int | None
    """ms since 1970; None if the message is not an event."""


@dataclass(frozen=True)
class TopicCheck:
    """Compares a topic with the one that `create-topic` would create."""

    servers: str
    events_topic: str
    events: Description | None
    """The topic of the events."""
    event_time: Literal["timestamp", "body"]
    create_topics: bool

    def findings(self, spec: TopicSpec, found: Description | None) -> Iterator[Finding]:
        """One finding for each fault, or a single one if there is none."""
        check = f"topic {spec.name}"
        if found is None:
            yield self._missing(check, spec)
            return
        faults = [*self._partition_faults(spec, found), *self._config_faults(spec, found)]
        for fault, advice in faults:
            yield Finding(check, "wrong", fault, advice)
        if not faults:
            retention = "compacted" if spec.is_changelog else "kept for ever"
            yield Finding(check, "ok", f"{_count(found.partitions, 'partition')}, {retention}")

    def _missing(self, check: str, spec: TopicSpec) -> Finding:
        if spec.name == self.events_topic or not self.create_topics:
            return Finding(check, "wrong", "does not exist", f"chillflow-stream create-topic --topic {spec.name}")
        return Finding(check, "ok", "does not exist yet: created when first needed")

    def _partition_faults(self, spec: TopicSpec, found: Description) -> Iterator[tuple[str, str]]:
        events = self.events
        if events is not None and found.partitions - events.partitions not in ((0, 1) if spec.shared else (0,)):
            fault = f"{_count(found.partitions, 'partition')}, but {self.events_topic} has {events.partitions}"
            yield fault, "chillflow-stream reset recreates it"

    def _config_faults(self, spec: TopicSpec, found: Description) -> Iterator[tuple[str, str]]:
        alter = f"kafka-configs.sh --bootstrap-server {self.servers} --alter --topic {spec.name} --add-config "
        config = {**spec.config, **found.config}
        for name, wanted in spec.config.items():
            value = config[name]
            if name == "cleanup.policy":
                if ("compact" in value) != spec.is_changelog:
                    why = (
                        "old values are kept for ever"
                        if spec.is_changelog
                        else "only the last message of a key is kept"
                    )
                    yield f"{name}={value}: {why}", f"{alter}{name}={wanted}"
            elif value == wanted or (name.startswith("retention.") and "delete" not in config["cleanup.policy"]):
                continue
            elif name == "message.timestamp.type" and spec.name == self.events_topic:
                if self.event_time != "body":
                    yield f"{name}={value}: {_WHY[name]}", "set CHILLFLOW_EVENT_TIME=body"
            else:
                yield f"{name}={value}: {_WHY[name]}", f"{alter}{name}={wanted}"


def check_keys(samples: Sequence[Sample]) -> Finding:
    """Check that the events of a trip are in one partition, the one where our producers put them."""
    check = "keys"
    if not any(sample.key for sample in samples):
        return Finding(check, "skipped", "no messages with keys yet")
    partitions = defaultdict[bytes | None, set[int]](set)
    for sample in samples:
        partitions[sample.key].add(sample.partition)
    split = [key for key, numbers in partitions.items() if key and len(numbers) > 1]
    misplaced = sum(sample.misplaced for sample in samples)
    if split:
        fault = (
            f"{len(split):,} of {len(partitions):,} sampled keys are in more than one partition: such trips time out"
        )
        return Finding(check, "wrong", fault, _SAME_PARTITIONER)
    if misplaced:
        fault = f"{misplaced:,} of {len(samples):,} sampled messages are not where our producers (and Java's) put them"
        return Finding(
            check, "wrong", fault, f"harmless if all producers of the topic do the same; if not, {_SAME_PARTITIONER}"
        )
    return Finding(check, "ok", f"{len(samples):,} sampled messages are where our producers put them")


def check_timestamps(samples: Sequence[Sample], event_time: Literal["timestamp", "body"]) -> Finding:
    """Check that message timestamps are event times."""
    check = "timestamps"
    if not samples:
        return Finding(check, "skipped", "no messages yet")
    if event_time == "body":
        return Finding(check, "ok", "not used: event times come from the message bodies")
    if count := sum(sample.mistimed for sample in samples):
        fault = f"those of {count:,} of {len(samples):,} sampled messages are not event times"
        return Finding(check, "wrong", fault, "set CHILLFLOW_EVENT_TIME=body")
    return Finding(check, "ok", f"those of {len(samples):,} sampled messages are event times")


def newest_times(samples: Iterable[Sample], rank: int) -> dict[int, float]:
    """By partition the event time of this rank among its samples, seconds since 1970; none if there are fewer."""
    by_partition = defaultdict[int, list[int]](list)
    for sample in samples:
        if sample.event_time is not None:
            by_partition[sample.partition].append(sample.event_time)
    return {number: sorted(times)[-rank] / 1000 for number, times in by_partition.items() if len(times) >= rank}


def check_watermarks(
    reached: Mapping[int, float] | None, newest: Mapping[int, float], now: datetime, max_ahead: timedelta
) -> Finding:
    """Check that no partition's watermark is ahead of the clock: new trips would be late on arrival.

    The watermarks reached are those of a running `assemble`. If none answers they are None, and the newest event times
    count. All are in seconds since 1970.
    """
    check = "watermark"
    times, subject = (newest, "no `assemble` answers; newest events") if reached is None else (reached, "reached")
    if not times:
        return Finding(check, "skipped", "no partition has one yet")
    ahead = {number: timedelta(seconds=times[number] - now.timestamp()) for number in sorted(times)}
    wrong = {number: time for number, time in ahead.items() if time > max_ahead}
    partitions = defaultdict[str, list[str]](list)
    for number, time in (wrong or ahead).items():
        partitions[_offset(time)].append(str(number))
    found = f"{subject}: " + ", ".join(
        f"{offset} (partition{'s'[: len(numbers) != 1]} {', '.join(numbers)})" for offset, numbers in partitions.items()
    )
    if wrong:
        fault = f"{found}: new trips time out and are late on arrival"
        return Finding(check, "wrong", fault, "correct the clock, here or at the producers; then start from scratch")
    return Finding(check, "ok", found)


def _offset(ahead: timedelta) -> str:
    if abs(ahead) <= _SKEW:
        return "at the time of this clock"
    return f"{_span(ahead)} {'ahead of' if ahead > timedelta(0) else 'behind'} this clock"


def check_late_share(share: float | None) -> Finding:
    """Check that only few of the newest events were late."""
    check = "late events"
    if share is None:
        return Finding(check, "skipped", describe(share))
    if is_wrong(share):
        return Finding(check, "wrong", describe(share), "\n".join(CAUSES))
    return Finding(check, "ok", describe(share))


def check_database(applied: Collection[int], known: Mapping[int, str]) -> Finding:
    """Check that the applied migrations are those of this release: `known`, names by version."""
    check = "database"
    if newer := {*applied} - {*known}:
        return Finding(
            check, "wrong", f"its tables are of a newer release (migration {max(newer)})", "upgrade this one"
        )
    if missing := [name for version, name in known.items() if version not in applied]:
        fault = f"migrations are missing: {', '.join(missing)}" if applied else "there are no tables"
        return Finding(check, "wrong", fault, "chillflow-stream init-db")
    return Finding(check, "ok", f"all {len(known)} migrations are applied")


def check_recovery(store: StoreInfo | None, folder: object, now: datetime, epoch_limit: timedelta) -> Finding:
    """Check that the recovery store is complete, and if an `assemble` runs on it, has an epoch within the limit."""
    check = "recovery"
    if store is None:
        return Finding(check, "ok", f"no store in {folder} yet: `assemble` creates it")
    if store.parts != store.expected:
        fault = f"{store.parts} of {store.expected} files part-*.sqlite3 are in {folder}"
        return Finding(check, "wrong", fault, "restore the others from a backup, or chillflow-stream reset")
    age = now - store.written
    use = "in use" if store.locked else "not in use"
    epoch = "no epoch yet" if store.epoch is None else f"epoch {store.epoch:,}, {_span(age)} ago"
    found = f"{use}, {epoch}, {store.size / 1e6:,.1f} MB in {folder}"
    if store.locked and age > epoch_limit:
        advice = "see the log of `assemble` and `chillflow-stream status`; if it hangs, restart it"
        return Finding(check, "wrong", f"{found}: nothing written for {_span(age)}", advice)
    return Finding(check, "ok", found)


def check_clock(server: datetime, now: datetime) -> Finding:
    """Check that the clock of the database agrees with ours."""
    difference = abs(server - now)
    if difference > _SKEW:
        fault = f"this clock and that of the database differ by {_span(difference)}"
        return Finding("clock", "wrong", fault, "synchronise both by NTP")
    return Finding("clock", "ok", "agrees with that of the database")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s'[: number != 1]}"


def _span(time: timedelta) -> str:
    """A duration in one or two units."""
    seconds = int(abs(time).total_seconds())
    for size, unit, less, lesser in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            rest = seconds % size // less
            return f"{seconds // size:,} {unit}" + (f" {rest} {lesser}" if rest else "")
    return f"{seconds} s"
