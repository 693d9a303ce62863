"""A key group: the states of many keys and their deadlines, moved on by the stamps of a log. Pure.

This is the hard part of `operators.stateful_map`, apart from Bytewax and from what is kept by key. Time is
the log's: a *stamp* is the stream time of the partition when a record was read, in ms. A key whose deadline
is behind the stamp of the next record of its group is expired before that record is looked at, so what
comes out depends on the records alone, not on the clock nor on how they were batched.

Before a partition has had enough records to have a stream time, stamps are NO_TIME, when nothing is due.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from chillflow.errors import RecoveryError
from chillflow.messages import Headers

__all__ = ["Dead", "Decided", "KeyGroup", "Keyed", "Outcome", "Progress", "Record", "State"]

VERSION = 2
"""2: states know how they stand in the windows. Stores of version 1 are read."""


class Record(NamedTuple):
    """One message of a log, as it was read."""

    stamp: int
    """Stream time of its partition when it was read, ms."""
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers | None
    timestamp: int | None = None
    """As it stands in the log, ms."""


Progress: TypeAlias = int
"""A stamp without a record: how far the partition of a quiet group has come."""


class State(Protocol):
    """The one thing that is read of a state."""

    deadline: int | None


S = TypeVar("S", bound=State)
E = TypeVar("E")


class Outcome(NamedTuple):
    """What an event, or a deadline, came to."""

    tally: tuple[tuple[str, int], ...]
    """Changes of the account, by name."""
    result: Any = None
    """What is sent on, if not None."""
    late: bool = False
    """The record goes to the late stream."""


class Dead(NamedTuple):
    """A record that could not be decoded, and why."""

    record: Record
    reason: str


@dataclass(frozen=True)
class Keyed(Generic[S, E]):
    """What a group does with its keys. All functions are pure but for the state they are given."""

    mapper: Callable[[S | None, E, int], tuple[S | None, Outcome | None]]
    """(state, event, stamp) -> (state, outcome); a state of None is forgotten."""
    expire: Callable[[S], tuple[S | None, Outcome | None]]
    """Called when a stamp has passed the state's deadline."""
    decode: Callable[[bytes, bytes | None], E]
    """(key, value) -> event. A ValueError makes the record a dead letter with that reason."""
    dump: Callable[[S], bytes]
    load: Callable[[bytes], S]


@dataclass
class Decided:
    """What some records came to, in their order."""

    results: list[Any] = field(default_factory=list)
    late: list[Record] = field(default_factory=list)
    dead: list[Dead] = field(default_factory=list)
    tally: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        """Take in one outcome."""
        for name, change in outcome.tally:
            self.tally[name] += change
        if outcome.result is not None:
            self.results.append(outcome.result)


class KeyGroup(Generic[S, E]):
    """The keys of one group. Work per record does not depend on how many keys there are.

    A state is held as an object only between two snapshots that it was touched in; the rest are bytes, which
    cost little memory and no work in a snapshot.
    """

    def __init__(self, keyed: Keyed[S, E], snapshot: Any = None) -> None:
        self._keyed = keyed
        self._live: dict[bytes, S] = {}
        self._rest: dict[bytes, tuple[int | None, bytes]] = {}
        if snapshot is not None:
            if snapshot["version"] > VERSION:
                raise RecoveryError(
                    f"the recovery store holds key groups of version {snapshot['version']}, this release"
                    f" knows {VERSION}: use the release that wrote it, or a newer one"
                )
            self._rest = dict(snapshot["states"])
        self._deadlines = [(due, key) for key, (due, _) in self._rest.items() if due is not None]
        heapify(self._deadlines)

    def snapshot(self) -> dict[str, Any]:
        """The group as plain, versioned values."""
        for key, state in self._live.items():
            self._rest[key] = (state.deadline, self._keyed.dump(state))
        self._live.clear()
        return {"version": VERSION, "states": dict(self._rest)}

    def __len__(self) -> int:
        return len(self._rest) + sum(key not in self._rest for key in self._live)

    def process(self, batches: Iterable[Sequence[Record] | Progress]) -> Decided:
        """Take in records and progress, in the order of the log."""
        decided = Decided()
        mapper, decode = self._keyed.mapper, self._keyed.decode
        live, deadlines = self._live, self._deadlines
        for batch in batches:
            if isinstance(batch, Progress):
                self._advance(batch, decided)
                continue
            decided.tally["events"] += len(batch)
            for record in batch:
                stamp, _, key, value, _, _ = record
                if deadlines and deadlines[0][0] < stamp:
                    self._advance(stamp, decided)
                if key is None:
                    self._reject(record, "no message key", decided)
                    continue
                try:
                    event = decode(key, value)
                except ValueError as error:
                    self._reject(record, str(error), decided)
                    continue
                before = live.get(key) or self._recall(key)
                due = before.deadline if before is not None else None
                state, outcome = mapper(before, event, stamp)
                self._keep(key, state, due)
                if outcome is not None:
                    decided.add(outcome)
                    if outcome.late:
                        decided.late.append(record)
        return decided

    def close(self, expire: Callable[[S], tuple[S | None, Outcome | None]]) -> Decided:
        """Let `expire` end each state, in the order of the keys: the log has ended for good."""
        decided = Decided()
        for key in sorted({*self._rest, *self._live}):
            before = self._recall(key)
            assert before is not None
            due = before.deadline
            state, outcome = expire(before)
            self._keep(key, state, due)
            if outcome is not None:
                decided.add(outcome)
        return decided

    def _recall(self, key: bytes) -> S | None:
        live = self._live.get(key)
        if live is not None:  # a state may be false
            return live
        held = self._rest.get(key)
        if held is None:
            return None
        state = self._keyed.load(held[1])
        state.deadline = held[0]
        return state

    def _keep(self, key: bytes, state: S | None, due: int | None) -> None:
        """Hold the state, and its deadline if it is another than `due`."""
        if state is None:
            self._live.pop(key, None)
            self._rest.pop(key, None)
            return
        self._live[key] = state
        if state.deadline is not None and state.deadline != due:
            heappush(self._deadlines, (state.deadline, key))

    def _advance(self, stamp: int, decided: Decided) -> None:
        """Expire what is due before `stamp`. An entry that is not its key's deadline any more is passed over."""
        while self._deadlines and self._deadlines[0][0] < stamp:
            due, key = heappop(self._deadlines)
            self._expire(key, due, decided)

    def _expire(self, key: bytes, due: int, decided: Decided) -> None:
        before = self._recall(key)
        if before is None or before.deadline != due:
            return
        state, outcome = self._keyed.expire(before)
        self._keep(key, state, due)
        if outcome is not None:
            decided.add(outcome)

    @staticmethod
    def _reject(record: Record, reason: str, decided: Decided) -> None:
        decided.dead.append(Dead(record, reason))
        decided.tally["dead_letters"] += 1
