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
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

import msgspec

from chillflow.deadlines import NEVER, Deadlines
from chillflow.errors import RecoveryError
from chillflow.messages import Headers

__all__ = ["Dead", "Decided", "KeyGroup", "Keyed", "Outcome", "Progress", "Record", "State"]

VERSION = 3
"""3: all states are one piece of bytes, which costs pickle nothing. 2: states know how they stand in the windows.
Stores of older versions are read."""
_DUE, _HEAD = 8, 9
"""A state at rest begins with its deadline, in so many bytes, and a byte that says whether it is then forgotten without
being loaded. So each is one object, and all are packed in one go."""


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


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What an event, or a deadline, came to."""

    tally: Tally
    result: Any = None
    """What is sent on, if not None."""
    late: bool = False
    """The record goes to the late stream."""
    rest: bool = False
    """Nothing more is expected of the key: its state may be put to rest at once."""


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

    A state is held as an object only between two snapshots that it was touched in, and not even so long if its
    outcome says so: the memory of its parts is then soon used again, while it is still in the cache, which makes
    all steps faster by a tenth. The rest are bytes, which cost little memory and no work in a snapshot.
    """

    def __init__(self, keyed: Keyed[S, E], snapshot: Any = None) -> None:
        self._keyed = keyed
        self._live: dict[bytes, S] = {}
        self._rest: dict[bytes, bytes] = {}
        if snapshot is not None:
            if snapshot["version"] > VERSION:
                raise RecoveryError(
                    f"the recovery store holds key groups of version {snapshot['version']}, this release"
                    f" knows {VERSION}: use the release that wrote it, or a newer one"
                )
            states = snapshot["states"]
            if snapshot["version"] < 3:
                self._rest = {key: self._at_rest(due, data) for key, (due, data) in states.items()}
            else:
                self._rest = _unpack(states)
        self._deadlines = Deadlines()
        for key, held in self._rest.items():
            if (due := _due(held)) != NEVER:
                self._deadlines.add(due, key)

    def snapshot(self) -> dict[str, Any]:
        """The group as plain, versioned values."""
        rest, dump = self._rest, self._keyed.dump
        for key, state in self._live.items():
            rest[key] = self._at_rest(state.deadline, dump(state))
        self._live.clear()
        return {"version": VERSION, "states": _pack(rest)}

    def __len__(self) -> int:
        return len(self._rest) + sum(key not in self._rest for key in self._live)

    def process(self, batches: Iterable[Sequence[Record] | Progress]) -> Decided:
        """Take in records and progress, in the order of the log.

        A record may be a plain tuple of its fields, which is made and taken apart in a third of the time.
        """
        decided = Decided()
        mapper, decode, dump = self._keyed.mapper, self._keyed.decode, self._keyed.dump
        live, rest, deadlines = self._live, self._rest, self._deadlines
        tallies: list[Tally] = []
        results, count = decided.results, tallies.append
        at_rest = self._at_rest
        for batch in batches:
            if isinstance(batch, Progress):
                self._advance(batch, decided, tallies)
                continue
            decided.tally["events"] += len(batch)
            for record in batch:
                stamp, _, key, value, _, _ = record
                if deadlines.next < stamp:
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
                if state is None:
                    self._forget(key)
                else:
                    live[key] = state
                    deadline = state.deadline
                    if deadline != due and deadline is not None:
                        deadlines.add(deadline, key)
                if outcome is not None:
                    count(outcome.tally)
                    if outcome.result is not None:
                        results.append(outcome.result)
                    if outcome.late:
                        decided.late.append(Record(*record))
                    if outcome.rest and state is not None:
                        rest[key] = at_rest(state.deadline, dump(state))
                        del live[key]
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
        held = self._rest[key]
        state = self._keyed.load(held[_HEAD:])
        due = _due(held)
        state.deadline = due if due != NEVER else None
        return state

    def _forget(self, key: bytes) -> None:
        self._live.pop(key, None)
        self._rest.pop(key, None)

    def _advance(self, stamp: int, decided: Decided, tallies: list[Tally]) -> None:
        """Expire what is due before `stamp`. An entry that is not its key's deadline any more is passed over."""
        live, rest = self._live, self._rest
        for due, key in self._deadlines.before(stamp):
            state = live.get(key)
            if state is not None:
                if state.deadline == due:
                    self._end(key, self._keyed.expire, decided, tallies)
            elif (held := rest.get(key)) is not None and _due(held) == due:
                if held[_DUE]:
                    del rest[key]
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
        if state is None:
            self._forget(key)
        else:
            self._live[key] = state
            if state.deadline is not None and state.deadline != due:
                self._deadlines.add(state.deadline, key)
        if outcome is not None:
            tallies.append(outcome.tally)
            if outcome.result is not None:
                decided.results.append(outcome.result)

    def _at_rest(self, due: int | None, data: bytes) -> bytes:
        due = NEVER if due is None or due > NEVER else due
        return b"%b%c%b" % (due.to_bytes(_DUE, "big", signed=True), self._keyed.forgets(data), data)

    @staticmethod
    def _reject(record: Record, reason: str, decided: Decided) -> None:
        decided.dead.append(Dead(Record(*record), reason))
        decided.tally["dead_letters"] += 1


def _due(held: bytes) -> int:
    return int.from_bytes(held[:_DUE], "big", signed=True)


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(dict[bytes, bytes]).decode
