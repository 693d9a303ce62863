"""A key group: the states of many keys and their deadlines, in event time. Pure.

This is the core of `operators.stateful_map`, without Bytewax. Each record comes with the watermark of its partition
when it was read, in ms. States whose deadlines that watermark has passed expire before the record is processed. So
results depend on the records alone, not on the wall clock nor on how the records were batched.

Until a partition has had enough records for a watermark, it is NO_WATERMARK: nothing is due.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypedDict, TypeVar

from chillflow.keyed.batches import GroupRecords, Record, RecordColumns
from chillflow.keyed.closed_states import ClosedSpan, ClosedStates
from chillflow.keyed.deadlines import NEVER, Deadlines
from chillflow.keyed.open_states import OpenStates
from chillflow.keyed.outcomes import DeadRecord, Decided, Outcome, Tally
from chillflow.keyed.packing import DEADLINE_BYTES, Piece, PieceFormat, deadline_of, pack
from chillflow.keyed.versions import refuse_newer
from chillflow.keyed.watermark import NO_WATERMARK

__all__ = ["VERSION", "GroupSnapshot", "KeyGroup", "KeyedLogic", "State", "Stretch"]

VERSION = 1
"""The version of `GroupSnapshot`. A new field of a state needs no new one: see `KeyedLogic.schema`."""
_MOST_LIVE = 4_000
"""States that a snapshot leaves as objects, and the next one dumps again. Loading a state takes twice as long as
mapping an event, so most are better left; of very many, most are not touched before the next snapshot."""


class State(Protocol):
    """The one attribute that a key group uses of a state."""

    deadline: int | None
    """Event time in ms, or None."""


S = TypeVar("S", bound=State)
E = TypeVar("E")
R = TypeVar("R")


class GroupSnapshot(TypedDict):
    """A key group as plain values."""

    version: int
    watermark: int
    open: list[Piece]
    closed: dict[int, ClosedSpan]


@dataclass(frozen=True)
class KeyedLogic(Generic[S, E, R]):
    """The functions that a group applies to its keys. All are pure but for the state they are given."""

    mapper: Callable[[S | None, E, int], tuple[S | None, Outcome[R] | None]]
    """(state, event, watermark) -> (state, outcome); a state of None is dropped."""
    expire: Callable[[S], tuple[S | None, Outcome[R] | None]]
    """Called when the watermark has passed the state's deadline."""
    decode: Callable[[bytes, bytes | None], E]
    """(key, value) -> event. A ValueError makes the record a dead letter with that reason."""
    dump: Callable[[S], bytes]
    load: Callable[[bytes], S]
    is_closed: Callable[[bytes], bool] = lambda data: False
    """Whether `expire` and `close` would produce nothing for a state with this data: at its deadline it is then
    dropped without being loaded."""
    shortcut: Callable[[Stretch[S, E, R], int], int] | None = None
    """Maps the records of a stretch from this index on as `decode` and `mapper` would, and returns the index of the
    first record that it cannot map faster than these."""
    decode_all: Callable[[Sequence[bytes | None]], Sequence[E | None]] | None = None
    """Values -> the events of a stretch; None for a value that the shortcut cannot take. Required by `shortcut`."""
    schema: bytes = b""
    """Describes what `dump` writes, such as the names of its fields; stored once with each piece of many states."""
    adapt: Callable[[bytes, bytes], bytes] = lambda data, schema: data
    """(data, schema it was written under) -> data under the current schema. Called when a snapshot is read, for states
    written under another schema."""


@dataclass
class Stretch(Generic[S, E, R]):
    """Consecutive records for a shortcut: no deadline falls among them but those of states that the shortcut adds."""

    keys: Sequence[bytes | None]
    events: Sequence[E | None]
    """Results of `decode_all`."""
    watermarks: Sequence[int]
    stop: int
    """The index after the last record."""
    states: dict[bytes, S]
    """The states that are not packed."""
    waiting: Mapping[bytes, bytes]
    """The packed open states."""
    remembered: Mapping[bytes, bytes]
    """The packed closed states."""
    results: list[R]
    """Output: results are appended here."""
    count: Callable[[Tally, int], None]
    """Adds a change of the account, so many times."""
    wake: Callable[[bytes], S | None]
    """Moves the state of a key from `waiting` to `states`, and returns it."""
    done: Callable[[int, bytes], None]
    """Removes a deadline. To be called for each state taken out of `states`, unless its key is in `opened`."""
    opened: dict[bytes, int] = field(default_factory=dict)
    """Output: key to deadline of each state this call added, unless the same call also closed it. The caller registers
    what is left, so a state that opens and closes in one batch never touches the deadlines."""
    ended: dict[bytes, tuple[int, bytes]] = field(default_factory=dict)
    """Output: key to deadline and dumped data of each state this call closed."""


class KeyGroup(Generic[S, E, R]):
    """The keys of one group. The cost of a record does not depend on the number of keys.

    A state is an object until its outcome says `pack`. Then its memory is reused while it is still in the CPU cache,
    which makes all steps a tenth faster. Where very many states are open, a snapshot packs those beyond the first few
    thousand, too, which saves memory.
    """

    def __init__(
        self,
        keyed: KeyedLogic[S, E, R],
        snapshot: GroupSnapshot | None = None,
        compress: Callable[[bytes], bytes] = lambda data: data,
        decompress: Callable[[bytes, int], bytes] = lambda data, size: data,
    ) -> None:
        """Start empty, or from a snapshot. Raises RecoveryError if that is of a newer release.

        `compress` is applied to the pieces of a snapshot; `decompress` takes a compressed piece and its original size.
        """
        if snapshot is None:
            snapshot = {"version": VERSION, "watermark": NO_WATERMARK, "open": [], "closed": {}}
        refuse_newer("key groups", snapshot["version"], VERSION)
        self._keyed = keyed
        self._pieces = PieceFormat(keyed.schema, keyed.adapt, compress, decompress)
        self._watermark = snapshot["watermark"]
        self._live: dict[bytes, S] = {}
        """States that are not packed."""
        self._open = OpenStates(self._pieces)
        self._closed = ClosedStates(self._pieces, snapshot["closed"], self._watermark)
        self._deadlines = Deadlines()
        """Of all states but the closed ones that are packed."""
        for piece in snapshot["open"]:
            for key, packed in self._pieces.read(piece).items():
                self._put(key, deadline_of(packed), packed[DEADLINE_BYTES:])

    def snapshot(self) -> GroupSnapshot:
        """The group as plain, versioned values. Packs closed states, and open ones beyond the first few thousand."""
        live: dict[bytes, S] = {}
        dumped: dict[bytes, bytes] = {}
        for key, state in self._live.items():
            deadline, data = state.deadline, self._keyed.dump(state)
            if len(live) < _MOST_LIVE and not self._keyed.is_closed(data):
                live[key] = state
                dumped[key] = _packed(deadline, data)
            else:
                self._put(key, deadline, data, is_registered=True)
        self._live = live
        return {
            "version": VERSION,
            "watermark": self._watermark,
            "open": [self._pieces.write(dumped), *self._open.snapshot()],
            "closed": self._closed.snapshot(),
        }

    def __len__(self) -> int:
        closed = {key for key, _ in self._closed.items(self._watermark)}
        return len(closed | self._open.states.keys() | self._live.keys())

    def process(self, batches: Iterable[GroupRecords]) -> Decided[R]:
        """Process records and watermarks, in the order of the log. A record may be a plain tuple of its fields."""
        decided: Decided[R] = Decided()
        for batch in batches:
            if isinstance(batch, int):
                self._advance(batch, decided)
            elif batch:
                decided.tally["events"] += len(batch)
                self._process(batch if isinstance(batch, RecordColumns) else RecordColumns.of(batch), decided)
        return decided

    def close(self, expire: Callable[[S], tuple[S | None, Outcome[R] | None]]) -> Decided[R]:
        """Apply `expire` to each state that is not packed as closed, in the order of the keys: the log has ended."""
        decided: Decided[R] = Decided()
        for key in sorted(self._live.keys() | self._open.states.keys()):
            self._end(key, expire, decided)
        return decided

    def _process(self, batch: RecordColumns, decided: Decided[R]) -> None:
        """Map records, by the shortcut where it applies."""
        watermarks, keys, count = batch.watermarks, batch.keys, len(batch)
        shortcut, decode_all = self._keyed.shortcut, self._keyed.decode_all
        events = decode_all(batch.values) if shortcut is not None and decode_all is not None else ()
        at = 0
        while at < count:
            if shortcut is not None:
                at = self._cut_short(shortcut, events, batch, at, decided)
            first = at
            while at < count and (shortcut is None or keys[at] == keys[first]):
                self._map(batch[at], decided)
                at += 1
        self._watermark = watermarks[-1]
        self._closed.sweep(self._watermark)

    def _cut_short(
        self,
        shortcut: Callable[[Stretch[S, E, R], int], int],
        events: Sequence[E | None],
        batch: RecordColumns,
        at: int,
        decided: Decided[R],
    ) -> int:
        """Apply the shortcut to the records from this index on; the index of the first that it left."""
        watermarks, deadlines = batch.watermarks, self._deadlines
        if deadlines.next < watermarks[at]:
            self._advance(watermarks[at], decided)
        stretch: Stretch[S, E, R] = Stretch(
            batch.keys,
            events,
            watermarks,
            bisect_right(watermarks, deadlines.next, at),
            self._live,
            self._open.states,
            self._closed.states,
            decided.results,
            decided.count,
            self._unpack_open,
            deadlines.remove,
        )
        reached = shortcut(stretch, at)
        for key, deadline in stretch.opened.items():
            deadlines.add(deadline, key)
        self._closed.put_all(stretch.ended)
        return reached

    def _unpack_open(self, key: bytes) -> S | None:
        """Move the state of a key from the packed open ones to the live ones."""
        packed = self._open.pop(key)
        if packed is None:
            return None
        state = self._live[key] = self._load(packed)
        return state

    def _map(self, record: Record, decided: Decided[R]) -> None:
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
        state, deadline, is_packed = self._state(key, watermark)
        state, outcome = self._keyed.mapper(state, event, watermark)
        if outcome is not None:
            decided.add(outcome)
            if outcome.late:
                decided.late.append(record)
            if outcome.unchanged:
                return
        if is_packed:
            self._remove_packed(key, deadline)
        self._store(key, deadline, state, pack=outcome is not None and outcome.pack)

    def _store(self, key: bytes, before: int | None, state: S | None, *, pack: bool) -> None:
        """Store the new state of a key, packed or not; `before` is the deadline that is registered for it."""
        deadline = None if state is None else state.deadline
        if state is not None and not pack:
            self._live[key] = state
            if deadline == before:
                return
        else:
            self._live.pop(key, None)
        if before is not None:
            self._deadlines.remove(before, key)
        if state is None:
            return
        if pack:
            self._put(key, deadline, self._keyed.dump(state))
        elif deadline is not None:
            self._deadlines.add(deadline, key)

    def _state(self, key: bytes, watermark: int) -> tuple[S | None, int | None, bool]:
        """The state of a key, its deadline, and whether it is packed; a packed state is loaded but stays packed."""
        state = self._live.get(key)
        if state is not None:
            return state, state.deadline, False
        packed = self._open.states.get(key) or self._closed.get(key, watermark)
        if packed is None:
            return None, None, False
        state = self._load(packed)
        return state, state.deadline, True

    def _remove_packed(self, key: bytes, deadline: int | None) -> None:
        """Remove the packed state of a key that is no longer packed; its deadline is registered afterwards."""
        if self._open.pop(key) is None:
            self._closed.pop(key)
            if deadline is not None:
                self._deadlines.add(deadline, key)

    def _put(self, key: bytes, deadline: int | None, data: bytes, *, is_registered: bool = False) -> None:
        """Pack a state whose deadline is already registered, or not."""
        if deadline is None or deadline >= NEVER:
            self._open.put(key, _packed(deadline, data))
        elif self._keyed.is_closed(data):
            self._closed.put(key, deadline, data)
            if is_registered:
                self._deadlines.remove(deadline, key)
        else:
            self._open.put(key, _packed(deadline, data))
            if not is_registered:
                self._deadlines.add(deadline, key)

    def _load(self, packed: bytes) -> S:
        state = self._keyed.load(packed[DEADLINE_BYTES:])
        deadline = deadline_of(packed)
        state.deadline = deadline if deadline != NEVER else None
        return state

    def _advance(self, watermark: int, decided: Decided[R]) -> None:
        """Expire the states whose deadlines this watermark has passed."""
        for _, key in self._deadlines.before(watermark):
            self._end(key, self._keyed.expire, decided)
        self._watermark = watermark
        self._closed.sweep(watermark)

    def _end(
        self,
        key: bytes,
        expire: Callable[[S], tuple[S | None, Outcome[R] | None]],
        decided: Decided[R],
    ) -> None:
        """Apply `expire` to the state of a key."""
        before = self._live.get(key)
        if before is None:
            before = self._unpack_open(key)
        assert before is not None, "a key with a deadline has a state"
        del self._live[key]
        deadline = before.deadline
        state, outcome = expire(before)
        if deadline is not None:
            self._deadlines.remove(deadline, key)
        if state is not None:
            self._live[key] = state
            if state.deadline is not None:
                self._deadlines.add(state.deadline, key)
        if outcome is not None:
            decided.add(outcome)

    @staticmethod
    def _reject(record: Record, reason: str, decided: Decided[R]) -> None:
        decided.dead.append(DeadRecord(record, reason))
        decided.tally["dead_letters"] += 1


def _packed(deadline: int | None, data: bytes) -> bytes:
    """A packed state; without a deadline it gets one that no watermark passes."""
    return pack(NEVER if deadline is None else min(deadline, NEVER), data)
