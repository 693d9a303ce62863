"""Packed states, by key, and the pieces of snapshots that hold them. Pure.

A state is packed when no event is expected soon, so hardly any packed state changes between two snapshots. The states
of one span of deadlines go into pieces of about 32 KB; a full piece is reused by every snapshot, and keys removed from
it are listed next to it. A span is written anew once half of the keys in its full pieces are gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import TypeAlias

from chillflow.keyed.packing import SPAN_BITS, Piece, PieceFormat, deadline_of, deadline_prefix, pack

__all__ = ["PackedStates", "SpanSnapshot"]

SpanSnapshot: TypeAlias = tuple[list[Piece], list[bytes]]
"""A span in a snapshot: its pieces, and the keys in them that have been removed."""
_FULL = 32_768
"""A piece of this many bytes is full: no state is added to it."""


class _Span:
    """The packed states with deadlines in one span."""

    __slots__ = ("count", "full", "keys", "removed", "rest", "rest_piece")

    def __init__(self) -> None:
        self.count = 0
        """The number of states."""
        self.full: list[Piece] = []
        self.keys: list[bytes] = []
        """All keys in full pieces, removed ones included."""
        self.removed: set[bytes] = set()
        """Keys in full pieces that have been removed since."""
        self.rest: dict[bytes, bytes] = {}
        """The states in no full piece."""
        self.rest_piece: Piece | None = None
        """The piece of `rest`, unless that has changed since."""


class PackedStates:
    r"""Packed states by key.

    >>> packed = PackedStates()
    >>> packed.put(b"k", 5, b"data")
    >>> packed.states[b"k"]
    b'\x80\x00\x00\x00\x00\x00\x00\x05data'
    """

    def __init__(self, piece_format: PieceFormat = PieceFormat(), spans: Mapping[int, SpanSnapshot] = {}) -> None:
        """Start empty, or from the spans of a snapshot."""
        self._format = piece_format
        self.states: dict[bytes, bytes] = {}
        self._spans: dict[int, _Span] = {}
        for number, (found, removed) in spans.items():
            span = self._spans[number] = _Span()
            states: dict[bytes, bytes] = {}
            for piece in found:  # a key may be in several pieces: the last one counts
                states |= piece_format.read(piece)
            span.full, span.removed = [*found], {*removed}
            span.keys = [*states]
            span.count = len(states.keys() - span.removed)
            self.states.update((key, state) for key, state in states.items() if key not in span.removed)

    def put(self, key: bytes, deadline: int, data: bytes) -> None:
        """Pack the state of a key that has no packed state."""
        self.put_all({key: (deadline, data)})

    def put_all(self, packed: Mapping[bytes, tuple[int, bytes]]) -> None:
        """Pack states, given as (deadline, data) by key. Most are in one span, which is looked up once."""
        states, number, span = self.states, 0, None
        for key, (deadline, data) in packed.items():
            if span is None or deadline >> SPAN_BITS != number:
                number = deadline >> SPAN_BITS
                span = self._spans.get(number)
                if span is None:
                    span = self._spans[number] = _Span()
                span.rest_piece = None
            states[key] = span.rest[key] = pack(deadline, data)
            span.count += 1
            if span.removed:
                span.removed.discard(key)

    def pop(self, key: bytes) -> bytes:
        """Remove and return the packed state of a key, which has one."""
        packed = self.states.pop(key)
        number = deadline_of(packed) >> SPAN_BITS
        span = self._spans[number]
        span.count -= 1
        if not span.count:
            del self._spans[number]
            return packed
        if span.rest.pop(key, None) is not None:
            span.rest_piece = None
        if span.keys:  # an earlier state of the key may be in a full piece
            span.removed.add(key)
        return packed

    def drop_before(self, watermark: int) -> None:
        """Drop all states in the spans that end before this watermark (ms)."""
        now, states = watermark >> SPAN_BITS, self.states
        first = deadline_prefix(now << SPAN_BITS)
        for number in [number for number in self._spans if number < now]:
            span = self._spans.pop(number)
            for key in chain(span.keys, span.rest):
                packed = states.get(key)
                if packed is not None and packed < first:  # else the key has a state in a later span
                    del states[key]

    def snapshot(self) -> dict[int, SpanSnapshot]:
        """All states, in pieces by span."""
        return {number: self._span_snapshot(span) for number, span in self._spans.items()}

    def _span_snapshot(self, span: _Span) -> SpanSnapshot:
        if 2 * len(span.removed) > len(span.keys):
            span.rest = {key: self.states[key] for key in span.keys if key not in span.removed} | span.rest
            span.full, span.keys, span.removed, span.rest_piece = [], [], set(), None
        if span.rest and span.rest_piece is None:
            span.rest_piece = piece = self._format.write(span.rest)
            _, size, _ = piece
            if size >= _FULL:
                span.full.append(piece)
                span.keys += span.rest
                span.rest, span.rest_piece = {}, None
        return [*span.full, *([] if span.rest_piece is None else [span.rest_piece])], sorted(span.removed)

    def in_pieces(self) -> Iterator[tuple[bytes, bytes]]:
        """The (key, packed state) pairs that a snapshot would hold, read back from its pieces."""
        for pieces, removed in self.snapshot().values():
            found: dict[bytes, bytes] = {}
            for piece in pieces:
                found |= self._format.read(piece)
            yield from ((key, state) for key, state in found.items() if key not in removed)
