"""A key group: the states of many keys and their deadlines, in event time. Pure.

This is the core of `operators.stateful_map`, without Bytewax. Each record comes with the watermark (ms) that its
partition had when it was read. States whose deadlines that watermark has passed expire before the record is processed.
So results depend on the records alone, not on the wall clock or on how the records were batched.
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
from chillflow.keyed.outcomes import BatchOutcome, Tally, Transition
from chillflow.keyed.packing import DEADLINE_BYTES, Piece, PieceFormat, deadline_of, pack
from chillflow.keyed.versions import refuse_newer
from chillflow.keyed.watermark import NO_WATERMARK

__all__ = ["VERSION", "GroupSnapshot", "KeyGroup", "KeyedLogic", "State", "Stretch"]

VERSION = 1
"""The version of `GroupSnapshot`. A new field of a state needs no new one: see `KeyedLogic.schema`."""
_MOST_LIVE = 4_000
"""Open states that a snapshot leaves as objects, to be dumped again by the next one: loading a packed state takes twice
as long as mapping an event. Of more states, most get no event before the next snapshot, so they are packed."""


class State(Protocol):
    """The one attribute of a state that a key group uses."""

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
    """The functions that a group applies to its keys, as `stateful_map` describes them.

    All are pure, except that they may change the state they are given.
    """

    mapper: Callable[[S | None, E, int], Transition[S, R]]
    expire: Callable[[S], Transition[S, R]]
    decode: Callable[[bytes, bytes | None], E]
    dump: Callable[[S], bytes]
    load: Callable[[bytes], S]
    is_closed: Callable[[bytes], bool] = lambda data: False
    shortcut: Callable[[Stretch[S, E, R], int], int] | None = None
    decode_all: Callable[[Sequence[bytes | None]], Sequence[E | None]] | None = None
    schema: bytes = b""
    adapt: Callable[[bytes, bytes], bytes] = lambda data, schema: data


@dataclass
class Stretch(Generic[S, E, R]):
    """Consecutive records for a shortcut. No state expires among them, unless the shortcut itself has added it."""

    keys: Sequence[bytes | None]
    events: Sequence[E | None]
    """What `decode_all` returned."""
    watermarks: Sequence[int]
    stop: int
    """The index after the last record."""
    live: dict[bytes, S]
    """The states that are not packed."""
    packed_open: Mapping[bytes, bytes]
    packed_closed: Mapping[bytes, bytes]
    results: list[R]
    """Output: results are appended here."""
    count: Callable[[Tally, int], None]
    """Add changes of the account, multiplied by a number."""
    unpack: Callable[[bytes], S | None]
    """Move the state of a key from `packed_open` to `live`, and return it."""
    remove_deadline: Callable[[int, bytes], None]
    """Call this for each state taken out of `live`, unless its key is in `opened`."""
    opened: dict[bytes, int] = field(default_factory=dict)
    """Output: key to deadline of each state this call added, unless the same call also closed it. The caller registers
    what is left, so a state that opens and closes in one batch never touches the deadlines."""
    ended: dict[bytes, tuple[int, bytes]] = field(default_factory=dict)
    """Output: key to deadline and dumped data of each state this call closed."""


class KeyGroup(Generic[S, E, R]):
    """The keys of one group. The cost of a record does not depend on the number of keys.

    A state is an object until its outcome says `pack`. To pack it at once frees its memory for reuse while that is
    still in the CPU cache, which makes all steps a tenth faster. A snapshot packs open states beyond the first few
    thousand, too, to save memory.
    """

    def __init__(
        self,
        keyed: KeyedLogic[S, E, R],
        snapshot: GroupSnapshot | None = None,
        compress: Callable[[bytes], bytes] = lambda data: data,
        decompress: Callable[[bytes, int], bytes] = lambda data, size: data,
    ) -> None:
        """Start empty, or from a snapshot. Raises RecoveryError if a newer release wrote it.

        `compress` and `decompress` are for the pieces of a snapshot, see `PieceFormat`.
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
        """The deadlines of all states except packed closed ones."""
        for piece in snapshot["open"]:
            for key, packed in self._pieces.read(piece).items():
                self._put(key, deadline_of(packed), packed[DEADLINE_BYTES:])

    def snapshot(self) -> GroupSnapshot:
        """Return the group as plain values. Packs closed states, and open ones beyond `_MOST_LIVE`."""
        live: dict[bytes, S] = {}
        dumped: dict[bytes, bytes] = {}
        for key, state in self._live.items():
            deadline, data = state.deadline, self._keyed.dump(state)
            if len(live) < _MOST_LIVE and not self._keyed.is_closed(data):
                live[key] = state
                dumped[key] = pack(_finite(deadline), data)
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

    def process(self, batches: Iterable[GroupRecords]) -> BatchOutcome[R]:
        """Process records and watermarks in the order of the log. A record may be a plain tuple of its fields."""
        out: BatchOutcome[R] = BatchOutcome()
        for batch in batches:
            if isinstance(batch, int):
                self._advance(batch, out)
            elif batch:
                out.tally["events"] += len(batch)
                self._process(batch if isinstance(batch, RecordColumns) else RecordColumns.of(batch), out)
        return out

    def close(self, expire: Callable[[S], Transition[S, R]]) -> BatchOutcome[R]:
        """Apply `expire` to each state but the packed closed ones, in the order of keys: the log has ended."""
        out: BatchOutcome[R] = BatchOutcome()
        for key in sorted(self._live.keys() | self._open.states.keys()):
            self._end(key, expire, out)
        return out

    def _process(self, batch: RecordColumns, out: BatchOutcome[R]) -> None:
        """Map records, by the shortcut where there is one."""
        watermarks, keys, count = batch.watermarks, batch.keys, len(batch)
        shortcut, decode_all = self._keyed.shortcut, self._keyed.decode_all
        events = decode_all(batch.values) if shortcut is not None and decode_all is not None else ()
        at = 0
        while at < count:
            if shortcut is not None:
                at = self._take_shortcut(shortcut, events, batch, at, out)
            first = at
            while at < count and (shortcut is None or keys[at] == keys[first]):  # all of this key, then try again
                self._map(batch[at], out)
                at += 1
        self._watermark = watermarks[-1]
        self._closed.sweep(self._watermark)

    def _take_shortcut(
        self,
        shortcut: Callable[[Stretch[S, E, R], int], int],
        events: Sequence[E | None],
        batch: RecordColumns,
        at: int,
        out: BatchOutcome[R],
    ) -> int:
        """Apply the shortcut to the records from this index on; returns the index of the first it did not map."""
        watermarks, deadlines = batch.watermarks, self._deadlines
        if deadlines.next < watermarks[at]:
            self._advance(watermarks[at], out)
        stretch: Stretch[S, E, R] = Stretch(
            keys=batch.keys,
            events=events,
            watermarks=watermarks,
            stop=bisect_right(watermarks, deadlines.next, at),
            live=self._live,
            packed_open=self._open.states,
            packed_closed=self._closed.states,
            results=out.results,
            count=out.count,
            unpack=self._unpack_open,
            remove_deadline=deadlines.remove,
        )
        reached = shortcut(stretch, at)
        for key, deadline in stretch.opened.items():
            deadlines.add(deadline, key)
        self._closed.put_all(stretch.ended)
        return reached

    def _unpack_open(self, key: bytes) -> S | None:
        """Move the state of a key from `_open` to `_live`, and return it."""
        packed = self._open.pop(key)
        if packed is None:
            return None
        state = self._live[key] = self._load(packed)
        return state

    def _map(self, record: Record, out: BatchOutcome[R]) -> None:
        watermark, _, key, value, _, _ = record
        if self._deadlines.next < watermark:
            self._advance(watermark, out)
        if key is None:
            out.reject(record, "no message key")
            return
        try:
            event = self._keyed.decode(key, value)
        except ValueError as error:
            out.reject(record, str(error))
            return
        state, deadline, is_packed = self._state(key, watermark)
        state, outcome = self._keyed.mapper(state, event, watermark)
        if outcome is not None:
            out.add(outcome)
            if outcome.late:
                out.late.append(record)
            if outcome.unchanged:
                return
        if is_packed:
            self._remove_packed(key, deadline)
        self._store(key, deadline, state, pack=outcome is not None and outcome.pack)

    def _store(self, key: bytes, before: int | None, state: S | None, *, pack: bool) -> None:
        """Store the new state of a key, or drop it; `before` is the deadline registered for the key."""
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
        """The state of a key, its deadline, and whether it is packed; a packed state is loaded, but not removed."""
        state = self._live.get(key)
        if state is not None:
            return state, state.deadline, False
        packed = self._open.states.get(key) or self._closed.get(key, watermark)
        if packed is None:
            return None, None, False
        state = self._load(packed)
        return state, state.deadline, True

    def _remove_packed(self, key: bytes, deadline: int | None) -> None:
        """Remove the packed state of a key, and leave its deadline registered."""
        if self._open.pop(key) is None:
            self._closed.pop(key)
            if deadline is not None:
                self._deadlines.add(deadline, key)

    def _put(self, key: bytes, deadline: int | None, data: bytes, *, is_registered: bool = False) -> None:
        """Pack a state; `is_registered` says whether its deadline is in `_deadlines`."""
        due = _finite(deadline)
        if due < NEVER and self._keyed.is_closed(data):
            self._closed.put(key, due, data)
            if is_registered:
                self._deadlines.remove(due, key)
        else:
            self._open.put(key, pack(due, data))
            if due < NEVER and not is_registered:
                self._deadlines.add(due, key)

    def _load(self, packed: bytes) -> S:
        state = self._keyed.load(packed[DEADLINE_BYTES:])
        deadline = deadline_of(packed)
        state.deadline = deadline if deadline != NEVER else None
        return state

    def _advance(self, watermark: int, out: BatchOutcome[R]) -> None:
        """Expire the states whose deadlines this watermark has passed."""
        for _, key in self._deadlines.before(watermark):
            self._end(key, self._keyed.expire, out)
        self._watermark = watermark
        self._closed.sweep(watermark)

    def _end(
        self,
        key: bytes,
        expire: Callable[[S], Transition[S, R]],
        out: BatchOutcome[R],
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
            out.add(outcome)


def _finite(deadline: int | None) -> int:
    """The deadline to pack a state with: NEVER for one without, or with a deadline too far ahead to be packed."""
    return NEVER if deadline is None else min(deadline, NEVER)
