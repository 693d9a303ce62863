"""A key group: the states of many keys and their deadlines, moved on by the watermarks of a log. Pure.

This is the hard part of `operators.stateful_map`, apart from Bytewax and from what is kept by key. Time is
the log's: a *watermark* is the stream time of the partition when a record was read, in ms. A key whose deadline
is behind the watermark of the next record of its group is expired before that record is looked at, so what
comes out depends on the records alone, not on the clock nor on how they were batched.

Before a partition has had enough records to have a stream time, watermarks are NO_WATERMARK, when nothing is due.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from chillflow.errors import RecoveryError
from chillflow.keyed.batches import GroupRecords, Record, RecordColumns
from chillflow.keyed.closed_states import HEAD, ClosedStates, Piece, due_of, held
from chillflow.keyed.deadlines import NEVER, Deadlines
from chillflow.keyed.open_states import OpenStates
from chillflow.keyed.outcomes import DeadRecord, Decided, Outcome, Tally
from chillflow.keyed.watermark import NO_WATERMARK

__all__ = ["KeyGroup", "KeyedLogic", "State", "Stretch"]

VERSION = 6
"""6: what waits is in pieces, too. 5: of most events of a complete trip only the ids are kept. 4: what is remembered is
in pieces that stay as they are. 3: all states are one piece of bytes, which costs pickle nothing. 2: states know how
they stand in the windows. Stores of older versions are read."""
_MOST_LIVE = 4_000
"""States that a snapshot leaves as objects, and the next one dumps again. To load one takes twice as long as to map an
event, so most are better left; of very many most are not touched before the next snapshot."""


class State(Protocol):
    """The one thing that is read of a state."""

    deadline: int | None


S = TypeVar("S", bound=State)
E = TypeVar("E")


@dataclass(frozen=True)
class KeyedLogic(Generic[S, E]):
    """What a group does with its keys. All functions are pure but for the state they are given."""

    mapper: Callable[[S | None, E, int], tuple[S | None, Outcome | None]]
    """(state, event, watermark) -> (state, outcome); a state of None is forgotten."""
    expire: Callable[[S], tuple[S | None, Outcome | None]]
    """Called when a watermark has passed the state's deadline."""
    decode: Callable[[bytes, bytes | None], E]
    """(key, value) -> event. A ValueError makes the record a dead letter with that reason."""
    dump: Callable[[S], bytes]
    load: Callable[[bytes], S]
    forgets: Callable[[bytes], bool] = lambda data: False
    """Whether of a state as `dump` left it neither `expire` nor `close` would give anything: then it is only
    remembered, and not loaded for that."""
    shortcut: Callable[[Stretch[S], int], int] | None = None
    """Maps the records of a stretch from this place on as `decode` and `mapper` would, as far as they are of a kind
    that it can map faster, and says how far that is."""
    decode_all: Callable[[Sequence[Any]], Sequence[Any]] = lambda values: values
    """What the shortcut is given of values: it is made of all at once."""


@dataclass
class Stretch(Generic[S]):
    """Records in which no deadline falls but those of states that they make, for a shortcut."""

    keys: Sequence[bytes | None]
    events: Sequence[Any]
    """What `decode_all` made of the values."""
    watermarks: Sequence[int]
    stop: int
    """Where no record of the stretch is any more."""
    states: dict[bytes, S]
    """The states that are not at rest."""
    waiting: Mapping[bytes, Any]
    remembered: Mapping[bytes, Any]
    """Those that are, by their keys."""
    results: list[Any]
    """What is sent on is added to these."""
    count: Callable[[Tally, int], None]
    """Is to be told each change of the account, and how many times it is made."""
    wake: Callable[[bytes], S | None]
    """Puts the state of a key that is waiting into `states`, and gives it."""
    done: Callable[[int, bytes], None]
    """Is to be told the deadline and the key of each state that is taken out of `states`, unless it is in `opened`."""
    opened: dict[bytes, int] = field(default_factory=dict)
    """Is given the deadlines of the states that are put into `states`, for as long as these are there. Many a deadline
    is never noted in this way."""
    ended: dict[bytes, tuple[int, bytes]] = field(default_factory=dict)
    """Is given the states that are taken out: until when each is only remembered, and as it is dumped."""


class KeyGroup(Generic[S, E]):
    """The keys of one group. Work per record does not depend on how many keys there are.

    A state is an object until its outcome says that nothing more is expected: the memory of its parts is then soon
    used again, while it is still in the cache, which makes all steps faster by a tenth. Where very many wait for more,
    those that have waited since before the last snapshot are bytes, too, which cost less memory.
    """

    def __init__(
        self,
        keyed: KeyedLogic[S, E],
        snapshot: Any = None,
        seal: Callable[[bytes], Piece] = lambda data: data,
        unseal: Callable[[Piece], bytes] = lambda piece: piece,
    ) -> None:
        """`seal` makes bytes a plain value for the snapshot, such as a smaller one, and `unseal` takes it back."""
        self._keyed = keyed
        self._seal = seal
        self._live: dict[bytes, S] = {}
        self._waiting = OpenStates(seal)
        """At rest until their deadline, when they have to be loaded."""
        self._watermark, states, pieces = _read(snapshot, unseal)
        self._remembered = ClosedStates(seal, unseal, pieces, self._watermark)
        """At rest until their deadline, when nothing is left of them."""
        self._deadlines = Deadlines()
        """Of all but those that are remembered."""
        for key, at_rest in states.items():
            self._put(key, due_of(at_rest), at_rest[HEAD:])

    def snapshot(self) -> dict[str, Any]:
        """The group as plain, versioned values."""
        live: dict[bytes, S] = {}
        dumped: dict[bytes, bytes] = {}
        for key, state in self._live.items():
            due, data = state.deadline, self._keyed.dump(state)
            if len(live) < _MOST_LIVE and not self._keyed.forgets(data):
                live[key] = state
                dumped[key] = _held(due, data)
            else:
                self._put(key, due, data, is_noted=True)
        self._live = live
        return {
            "version": VERSION,
            "stamp": self._watermark,
            "states": [self._seal(_pack(dumped)), *self._waiting.snapshot()],
            "remembered": self._remembered.snapshot(),
        }

    def __len__(self) -> int:
        remembered = {key for key, _ in self._remembered.items(self._watermark)}
        return len(remembered | self._waiting.states.keys() | self._live.keys())

    def process(self, batches: Iterable[GroupRecords]) -> Decided:
        """Take in records and progress, in the order of the log. A record may be a plain tuple of its fields."""
        decided = Decided()
        for batch in batches:
            if isinstance(batch, int):
                self._advance(batch, decided)
            elif batch:
                decided.tally["events"] += len(batch)
                if not isinstance(batch, RecordColumns):
                    fields: Any = zip(*batch, strict=True)
                    batch = RecordColumns(*fields)
                self._take(batch, decided)
        return decided

    def close(self, expire: Callable[[S], tuple[S | None, Outcome | None]]) -> Decided:
        """Let `expire` end each state, in the order of the keys: the log has ended for good."""
        decided = Decided()
        for key in sorted(self._live.keys() | self._waiting.states.keys()):
            self._end(key, expire, decided)
        return decided

    def _take(self, batch: RecordColumns, decided: Decided) -> None:
        """Map records, by the shortcut where it can."""
        watermarks, keys, count, shortcut = batch.watermarks, batch.keys, len(batch), self._keyed.shortcut
        events = self._keyed.decode_all(batch.values) if shortcut is not None else ()
        at = 0
        while at < count:
            if shortcut is not None:
                at = self._cut_short(shortcut, events, batch, at, decided)
            first = at
            while at < count and (shortcut is None or keys[at] == keys[first]):
                self._map(batch[at], decided)
                at += 1
        self._watermark = watermarks[-1]
        self._remembered.sweep(self._watermark)

    def _cut_short(
        self,
        shortcut: Callable[[Stretch[S], int], int],
        events: Sequence[Any],
        batch: RecordColumns,
        at: int,
        decided: Decided,
    ) -> int:
        """Map records by the shortcut from this one on; the first that is left."""
        watermarks, deadlines = batch.watermarks, self._deadlines
        if deadlines.next < watermarks[at]:
            self._advance(watermarks[at], decided)
        stretch: Stretch[S] = Stretch(
            batch.keys,
            events,
            watermarks,
            bisect_right(watermarks, deadlines.next, at),
            self._live,
            self._waiting.states,
            self._remembered.states,
            decided.results,
            decided.count,
            self._awaken,
            deadlines.remove,
        )
        reached = shortcut(stretch, at)
        for key, due in stretch.opened.items():
            deadlines.add(due, key)
        self._remembered.put_all(stretch.ended)
        return reached

    def _awaken(self, key: bytes) -> S | None:
        at_rest = self._waiting.pop(key)
        if at_rest is None:
            return None
        state = self._live[key] = self._load(at_rest)
        return state

    def _map(self, record: Record, decided: Decided) -> None:
        """Map one record."""
        watermark, _, key, value, _, _ = record
        if self._deadlines.next < watermark:
            self._advance(watermark, decided)
        if key is None:
            self._reject(record, "no message key", decided)
            return
        try:
            event = self._keyed.decode(key, value)
        except ValueError as error:
            self._reject(record, str(error), decided)
            return
        state, due, is_woken = self._state(key, watermark)
        self._apply(record, due, is_woken, *self._keyed.mapper(state, event, watermark), decided)

    def _state(self, key: bytes, watermark: int) -> tuple[S | None, int | None, bool]:
        """The state of a key, its deadline, and whether it is at rest (which it stays)."""
        state = self._live.get(key)
        if state is not None:
            return state, state.deadline, False
        at_rest = self._waiting.states.get(key) or self._remembered.get(key, watermark)
        if at_rest is None:
            return None, None, False
        state = self._load(at_rest)
        return state, state.deadline, True

    def _apply(
        self,
        record: Record,
        due: int | None,
        is_woken: bool,
        state: S | None,
        outcome: Outcome | None,
        decided: Decided,
    ) -> None:
        """Take in what a record has come to."""
        rests = False
        if outcome is not None:
            decided.count(outcome.tally)
            if outcome.result is not None:
                decided.results.append(outcome.result)
            if outcome.late:
                decided.late.append(record)
            if outcome.unchanged:
                return
            rests = outcome.pack
        key: Any = record[2]
        if is_woken:
            self._wake(key, due)
        if state is None:
            self._live.pop(key, None)
            if due is not None:
                self._deadlines.remove(due, key)
            return
        deadline = state.deadline
        if rests:
            if due is not None:
                self._deadlines.remove(due, key)
            self._live.pop(key, None)
            self._put(key, deadline, self._keyed.dump(state))
            return
        self._live[key] = state
        if deadline != due:
            if due is not None:
                self._deadlines.remove(due, key)
            if deadline is not None:
                self._deadlines.add(deadline, key)

    def _wake(self, key: bytes, due: int | None) -> None:
        """Take a state out of its rest."""
        if self._waiting.pop(key) is None:
            self._remembered.pop(key)
            if due is not None:
                self._deadlines.add(due, key)

    def _put(self, key: bytes, due: int | None, data: bytes, *, is_noted: bool = False) -> None:
        """Put a state to rest, whose deadline may have been noted before."""
        if due is None or due >= NEVER:
            self._waiting.put(key, _held(due, data))
        elif self._keyed.forgets(data):
            self._remembered.put(key, due, data)
            if is_noted:
                self._deadlines.remove(due, key)
        else:
            self._waiting.put(key, _held(due, data))
            if not is_noted:
                self._deadlines.add(due, key)

    def _load(self, at_rest: bytes) -> S:
        state = self._keyed.load(at_rest[HEAD:])
        due = due_of(at_rest)
        state.deadline = due if due != NEVER else None
        return state

    def _advance(self, watermark: int, decided: Decided) -> None:
        """Expire what is due before `watermark`."""
        for _, key in self._deadlines.before(watermark):
            self._end(key, self._keyed.expire, decided)
        self._watermark = watermark
        self._remembered.sweep(watermark)

    def _end(
        self,
        key: bytes,
        expire: Callable[[S], tuple[S | None, Outcome | None]],
        decided: Decided,
    ) -> None:
        before = self._live.get(key) or self._awaken(key)
        assert before is not None, "a key that is due has a state"
        del self._live[key]
        due = before.deadline
        state, outcome = expire(before)
        if due is not None:
            self._deadlines.remove(due, key)
        if state is not None:
            self._live[key] = state
            if state.deadline is not None:
                self._deadlines.add(state.deadline, key)
        if outcome is not None:
            decided.count(outcome.tally)
            if outcome.result is not None:
                decided.results.append(outcome.result)

    @staticmethod
    def _reject(record: Record, reason: str, decided: Decided) -> None:
        decided.dead.append(DeadRecord(record, reason))
        decided.tally["dead_letters"] += 1


def _read(snapshot: Any, unseal: Callable[[Piece], bytes]) -> tuple[int, dict[bytes, bytes], Any]:
    """The last watermark of a snapshot of any version, its states, and the pieces of those that were remembered."""
    if snapshot is None:
        return NO_WATERMARK, {}, None
    version, states = snapshot["version"], snapshot["states"]
    if version > VERSION:
        raise RecoveryError(
            f"the recovery store holds key groups of version {version}, this release"
            f" knows {VERSION}: use the release that wrote it, or a newer one"
        )
    if version >= 4:
        pieces = states if version >= 6 else [states]
        held_by_key = {key: state for piece in pieces for key, state in _unpack(unseal(piece)).items()}
        return snapshot["stamp"], held_by_key, snapshot["remembered"]
    if version == 3:  # the deadline, and a byte more, before the data
        dues = {
            key: (int.from_bytes(was[:8], "big", signed=True), was[9:]) for key, was in _unpack(unseal(states)).items()
        }
    else:
        dues = states
    return NO_WATERMARK, {key: _held(due, data) for key, (due, data) in dues.items()}, None


def _held(due: int | None, data: bytes) -> bytes:
    """A state at rest: one without an end for ever."""
    return held(NEVER if due is None else min(due, NEVER), data)


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(dict[bytes, bytes]).decode
