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


Tally: TypeAlias = tuple[tuple[str, int], ...]
"""Changes of the account, by name."""


class Outcome(NamedTuple):
    """What an event, or a deadline, came to."""

    tally: Tally
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
    forgets: Callable[[bytes], bool] = lambda data: False
    """Whether of a state as `dump` left it `expire` would leave nothing at all: then it is not loaded for that."""


@dataclass
class Decided:
    """What some records came to, in their order."""

    results: list[Any] = field(default_factory=list)
    late: list[Record] = field(default_factory=list)
    dead: list[Dead] = field(default_factory=list)
    tally: Counter[str] = field(default_factory=Counter)

    def count(self, tallies: list[Tally]) -> None:
        """Take changes of the account in. Most are the same few objects, so each is looked at once."""
        objects = {id(tally): tally for tally in tallies}
        for which, times in Counter(map(id, tallies)).items():
            for name, change in objects[which]:
                self.tally[name] += times * change


class KeyGroup(Generic[S, E]):
    """The keys of one group. Work per record does not depend on how many keys there are.

    A state is held as an object only between two snapshots that it was touched in; the rest are bytes, which
    cost little memory and no work in a snapshot.
    """

    def __init__(self, keyed: Keyed[S, E], snapshot: Any = None) -> None:
        self._keyed = keyed
        self._live: dict[bytes, S] = {}
        self._rest: dict[bytes, tuple[int | None, bytes]] = {}
        self.size = 0
        """Bytes of the states in the last snapshot."""
        if snapshot is not None:
            if snapshot["version"] > VERSION:
                raise RecoveryError(
                    f"the recovery store holds key groups of version {snapshot['version']}, this release"
                    f" knows {VERSION}: use the release that wrote it, or a newer one"
                )
            self._rest = dict(snapshot["states"])
            self.size = sum(len(data) for _, data in self._rest.values())
        self._deadlines = [(due, key) for key, (due, _) in self._rest.items() if due is not None]
        heapify(self._deadlines)

    def snapshot(self) -> dict[str, Any]:
        """The group as plain, versioned values."""
        for key, state in self._live.items():
            held, data = self._rest.get(key), self._keyed.dump(state)
            self._rest[key] = (state.deadline, data)
            self.size += len(data) - (len(held[1]) if held else 0)
        self._live.clear()
        return {"version": VERSION, "states": dict(self._rest)}

    def __len__(self) -> int:
        return len(self._rest) + sum(key not in self._rest for key in self._live)

    def process(self, batches: Iterable[Sequence[Record] | Progress]) -> Decided:
        """Take in records and progress, in the order of the log."""
        decided = Decided()
        mapper, decode = self._keyed.mapper, self._keyed.decode
        live, rest, deadlines = self._live, self._rest, self._deadlines
        tallies: list[Tally] = []
        for batch in batches:
            if isinstance(batch, Progress):
                self._advance(batch, decided, tallies)
                continue
            decided.tally["events"] += len(batch)
            for record in batch:
                stamp, _, key, value, *_ = record
                if deadlines and deadlines[0][0] < stamp:
                    self._advance(stamp, decided, tallies)
                if key is None:
                    self._reject(record, "no message key", decided)
                    continue
                try:
                    event = decode(key, value)
                except ValueError as error:
                    self._reject(record, str(error), decided)
                    continue
                state = live.get(key)
                if state is None and key in rest:
                    state = self._recall(key)
                due = state.deadline if state is not None else None
                state, outcome = mapper(state, event, stamp)
                self._keep(key, state, due)
                if outcome is not None:
                    tally, result, late = outcome
                    tallies.append(tally)
                    if result is not None:
                        decided.results.append(result)
                    if late:
                        decided.late.append(record)
        decided.count(tallies)
        return decided

    def close(self, expire: Callable[[S], tuple[S | None, Outcome | None]]) -> Decided:
        """Let `expire` end each state, in the order of the keys: the log has ended for good."""
        decided = Decided()
        tallies: list[Tally] = []
        for key in sorted({*self._rest, *self._live}):
            self._end(key, expire, decided, tallies)
        decided.count(tallies)
        return decided

    def _recall(self, key: bytes) -> S:
        if key in self._live:
            return self._live[key]
        due, data = self._rest[key]
        state = self._keyed.load(data)
        state.deadline = due
        return state

    def _keep(self, key: bytes, state: S | None, due: int | None) -> None:
        """Hold the state, and its deadline if it is another than `due`."""
        if state is None:
            self._live.pop(key, None)
            if held := self._rest.pop(key, None):
                self.size -= len(held[1])
            return
        self._live[key] = state
        deadline = state.deadline
        if deadline is not None and deadline != due:
            heappush(self._deadlines, (deadline, key))

    def _advance(self, stamp: int, decided: Decided, tallies: list[Tally]) -> None:
        """Expire what is due before `stamp`. An entry that is not its key's deadline any more is passed over."""
        live, rest, deadlines, forgets = self._live, self._rest, self._deadlines, self._keyed.forgets
        while deadlines and deadlines[0][0] < stamp:
            due, key = heappop(deadlines)
            state = live.get(key)
            if state is not None:
                if state.deadline == due:
                    self._end(key, self._keyed.expire, decided, tallies)
            elif key in rest and rest[key][0] == due:
                if forgets(rest[key][1]):
                    self._keep(key, None, due)
                else:
                    self._end(key, self._keyed.expire, decided, tallies)

    def _end(
        self,
        key: bytes,
        expire: Callable[[S], tuple[S | None, Outcome | None]],
        decided: Decided,
        tallies: list[Tally],
    ) -> None:
        before = self._recall(key)
        due = before.deadline
        state, outcome = expire(before)
        self._keep(key, state, due)
        if outcome is not None:
            tallies.append(outcome.tally)
            if outcome.result is not None:
                decided.results.append(outcome.result)

    @staticmethod
    def _reject(record: Record, reason: str, decided: Decided) -> None:
        decided.dead.append(Dead(record, reason))
        decided.tally["dead_letters"] += 1
