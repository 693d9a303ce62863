"""The states of a key group, in three tiers, with their deadlines. Pure.

- *Live* states are objects: those put since the last snapshot, at most 4,000 of which that snapshot leaves live.
- *Packed open* states are bytes, loaded again by the next event or at the deadline.
- *Closed* states are bytes that nothing is expected of. They are kept for late events, and dropped at their deadline
  without being loaded, because expiring them would produce nothing.

A key is in one tier. The deadlines of live and packed open states are registered; those of closed states are compared
when a state is looked up. `contents()` shows all of this to tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, Protocol, TypedDict, TypeVar

from chillflow.keyed.deadlines import NEVER, Deadlines
from chillflow.keyed.packed_states import PackedStates, SpanSnapshot
from chillflow.keyed.packing import DEADLINE_BYTES, SPAN_BITS, Piece, PieceFormat, deadline_of, pack

__all__ = ["Contents", "State", "StateFormat", "StateStore", "StoreSnapshot"]

_MOST_LIVE = 4_000
"""States that a snapshot leaves live at most: loading a packed state takes twice as long as mapping an event, but of
more states most get no event before the next snapshot."""


class State(Protocol):
    """The one attribute that any state has."""

    deadline: int | None
    """Event time in ms, or None."""


S = TypeVar("S", bound=State)


@dataclass(frozen=True)
class StateFormat(Generic[S]):
    """States as bytes; the functions of `stateful_map` of the same names."""

    dump: Callable[[S], bytes]
    load: Callable[[bytes], S]
    is_closed: Callable[[bytes], bool] = lambda data: False
    pieces: PieceFormat = field(default_factory=PieceFormat)


class StoreSnapshot(TypedDict):
    """All states, as plain values."""

    live: Piece
    packed: dict[int, SpanSnapshot]


class Contents(NamedTuple):
    """The keys of each tier with their deadlines (ms; NEVER without one), and all registered deadlines, in order."""

    live: dict[bytes, int]
    packed_open: dict[bytes, int]
    closed: dict[bytes, int]
    registered: list[tuple[int, bytes]]


class StateStore(Generic[S]):
    """States by key. The cost of an operation does not depend on the number of keys."""

    def __init__(self, state_format: StateFormat[S], snapshot: StoreSnapshot | None = None) -> None:
        """Start empty, or from what `snapshot()` returned."""
        self._format = state_format
        self.live: dict[bytes, S] = {}
        self._packed = PackedStates(state_format.pieces, snapshot["packed"] if snapshot else {})
        self.packed = self._packed.states
        """Packed open and closed states; closed ones up to 70 minutes after their deadlines."""
        self.deadlines = Deadlines()
        self._dumped: frozenset[bytes] = frozenset()
        """The keys that were live at the last snapshot."""
        self._swept = -NEVER
        """The span of deadlines up to which closed states were dropped."""
        if snapshot is not None:
            for key, packed in state_format.pieces.read(snapshot["live"]).items():
                self.live[key] = state = self._load(packed)
                self._move_deadline(key, None, state.deadline)
            for key, packed in self.packed.items():
                if not self._is_closed(packed):
                    self._move_deadline(key, None, deadline_of(packed))

    def snapshot(self) -> StoreSnapshot:
        """All states as plain values. Packs those that were live at the last snapshot, and those beyond `_MOST_LIVE`.

        A state that has been live for an epoch rarely changes any more: once packed, it is not dumped again.
        """
        dumped: dict[bytes, bytes] = {}
        others: dict[bytes, tuple[int | None, S]] = {}
        for key, state in self.live.items():
            if key in self._dumped or len(dumped) >= _MOST_LIVE:
                others[key] = state.deadline, state
            else:
                dumped[key] = pack(_finite(state.deadline), self._format.dump(state))
        self.pack(others)
        self._dumped = frozenset(dumped)
        return {"live": self._format.pieces.write(dumped), "packed": self._packed.snapshot()}

    def contents(self) -> Contents:
        """The keys of each tier and all deadlines, read back from the pieces that a snapshot would hold."""
        packed = dict(self._packed.in_pieces())
        assert packed == self.packed, "the pieces hold the packed states"
        return Contents(
            {key: _finite(state.deadline) for key, state in self.live.items()},
            {key: deadline_of(state) for key, state in packed.items() if not self._is_closed(state)},
            {key: deadline_of(state) for key, state in packed.items() if self._is_closed(state)},
            sorted(self.deadlines),
        )

    def get(self, key: bytes, watermark: int) -> S | None:
        """The state of a key without a live one: a packed state, loaded, which stays where it is."""
        packed = self.packed.get(key)
        if packed is None or (deadline_of(packed) < watermark and self._is_closed(packed)):
            return None
        return self._load(packed)

    def register(self, key: bytes, state: S) -> None:
        """Register the deadline of a live state, if it is not."""
        if state.deadline is not None and state.deadline < NEVER:
            self.deadlines.add(state.deadline, key)

    def put(self, key: bytes, before: int | None, state: S | None) -> None:
        """Make this the live state of a key, or drop the key; `before` is the deadline of its previous state."""
        if key in self.packed and self._is_closed(self._packed.pop(key)):
            before = None  # not registered
        if state is None:
            self.live.pop(key, None)
        else:
            self.live[key] = state
        self._move_deadline(key, before, None if state is None else state.deadline)

    def pack(self, states: Mapping[bytes, tuple[int | None, S]]) -> None:
        """Pack live states, given by key with the deadlines that are registered."""
        live, dump, is_closed, remove = self.live, self._format.dump, self._format.is_closed, self.deadlines.remove
        packed: dict[bytes, tuple[int, bytes]] = {}
        for key, (before, state) in states.items():
            del live[key]
            deadline, data = state.deadline, dump(state)
            if deadline is None or deadline >= NEVER or not is_closed(data):  # without a deadline it would stay forever
                self._move_deadline(key, before, deadline)
                deadline = _finite(deadline)
            elif before is not None:
                remove(before, key)
            packed[key] = deadline, data
        self._packed.put_all(packed)

    def expired(self, watermark: int) -> Iterator[tuple[bytes, S]]:
        """Take the states whose deadlines this watermark has passed, by deadline and then by key."""
        for _, key in self.deadlines.before(watermark):
            yield key, self._take(key)

    def sweep(self, watermark: int) -> None:
        """Drop closed states whose deadlines this watermark has passed, up to 70 minutes later."""
        reached = min(watermark, self.deadlines.next)  # an open state packed with a passed deadline has yet to expire
        if reached >> SPAN_BITS > self._swept:
            self._swept = reached >> SPAN_BITS
            self._packed.drop_before(reached)

    def take_all(self) -> Iterator[tuple[bytes, S]]:
        """Take all live and packed open states, by key. Their deadlines stay registered."""
        packed = [key for key, packed in self.packed.items() if not self._is_closed(packed)]
        for key in sorted([*self.live, *packed]):
            yield key, self._take(key)

    def _take(self, key: bytes) -> S:
        state = self.live.pop(key, None)
        return state if state is not None else self._load(self._packed.pop(key))

    def _move_deadline(self, key: bytes, before: int | None, deadline: int | None) -> None:
        if deadline != before:
            if before is not None:
                self.deadlines.remove(before, key)
            if deadline is not None and deadline < NEVER:
                self.deadlines.add(deadline, key)

    def _is_closed(self, packed: bytes) -> bool:
        """Whether a packed state is closed, as `pack` decides it."""
        return deadline_of(packed) < NEVER and self._format.is_closed(packed[DEADLINE_BYTES:])

    def _load(self, packed: bytes) -> S:
        state = self._format.load(packed[DEADLINE_BYTES:])
        deadline = deadline_of(packed)
        state.deadline = deadline if deadline != NEVER else None
        return state


def _finite(deadline: int | None) -> int:
    """The deadline to pack a state with: NEVER for one without, or with a deadline too far ahead to be packed."""
    return NEVER if deadline is None else min(deadline, NEVER)
