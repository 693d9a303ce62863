"""Packed closed states, by key: kept for corrections until their deadlines, then dropped without a result. Pure.

Nearly all states are closed, and hardly any of them ever changes. So snapshots reuse pieces: the states of one span of
deadlines go into pieces of about 32 KB, and a full one is kept unchanged until its span has passed. Keys removed before
that are listed next to the pieces.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import TypeAlias

from chillflow.keyed.packing import SPAN_BITS, Piece, PieceFormat, deadline_of, deadline_prefix, pack
from chillflow.keyed.watermark import NO_WATERMARK

__all__ = ["ClosedSpan", "ClosedStates"]

ClosedSpan: TypeAlias = tuple[list[Piece], list[bytes]]
"""A span in a snapshot: its pieces, and the keys in them that have been removed."""
_FULL = 32_768
"""A piece of this many bytes is full: no state is added to it."""


class _Span:
    """The closed states with deadlines in one span."""

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        """All keys in full pieces, removed ones included."""
        self.full: list[Piece] = []
        self.rest: dict[bytes, bytes] = {}
        """The states in no full piece."""
        self.rest_piece: Piece | None = None
        """The piece of `rest`, unless that has changed since."""
        self.removed: set[bytes] = set()
        """Keys in the pieces that have been removed since."""


class ClosedStates:
    r"""Packed states by key. Nothing happens at their deadlines, so no `Deadlines` holds them.

    >>> closed = ClosedStates()
    >>> closed.put(b"k", 5, b"data")
    >>> closed.get(b"k", watermark=5), closed.get(b"k", watermark=6)
    (b'\x80\x00\x00\x00\x00\x00\x00\x05data', None)
    """

    def __init__(
        self,
        piece_format: PieceFormat = PieceFormat(),
        snapshot: Mapping[int, ClosedSpan] | None = None,
        watermark: int = NO_WATERMARK,
    ) -> None:
        """Start empty, or from what `snapshot()` returned at this watermark."""
        self._format = piece_format
        self.states: dict[bytes, bytes] = {}
        """All states, some of them up to 70 minutes after their deadlines."""
        self._spans: dict[int, _Span] = {}
        self._swept = watermark >> SPAN_BITS
        first = deadline_prefix(watermark)
        for number, (found, removed) in (snapshot or {}).items():
            span = self._spans[number] = _Span()
            states: dict[bytes, bytes] = {}
            for piece in found:  # a key may be in several pieces: the last one counts
                states |= piece_format.read(piece)
            span.full, span.removed = [*found], {*removed}
            span.keys = [key for key in states if key not in span.removed]
            self.states.update((key, states[key]) for key in span.keys if states[key] >= first)

    def items(self, watermark: int) -> Iterator[tuple[bytes, bytes]]:
        """All (key, state) pairs whose deadlines this watermark has not passed."""
        first = deadline_prefix(watermark)
        return (item for item in self.states.items() if item[1] >= first)

    def get(self, key: bytes, watermark: int) -> bytes | None:
        """The state of a key; None without one, or if the watermark has passed its deadline."""
        packed = self.states.get(key)
        return None if packed is None or deadline_of(packed) < watermark else packed

    def put(self, key: bytes, deadline: int, data: bytes) -> None:
        """Keep a state until its deadline, in place of an earlier state of the key."""
        self.put_all({key: (deadline, data)})

    def put_all(self, closed: Mapping[bytes, tuple[int, bytes]]) -> None:
        """Keep states, given as (deadline, data) by key. Most are in one span, which is looked up once."""
        states, number, span = self.states, 0, None
        for key, (deadline, data) in closed.items():
            if key in states:
                self.pop(key)
            states[key] = packed = pack(deadline, data)
            if span is None or deadline >> SPAN_BITS != number:
                number = deadline >> SPAN_BITS
                span = self._spans.get(number)
                if span is None:
                    span = self._spans[number] = _Span()
                span.rest_piece = None
            span.rest[key] = packed
            if span.removed:
                span.removed.discard(key)

    def pop(self, key: bytes) -> None:
        """Remove the state of a key, if there is one."""
        packed = self.states.pop(key, None)
        span = packed and self._spans.get(deadline_of(packed) >> SPAN_BITS)
        if span:
            if span.rest.pop(key, None) is not None:
                span.rest_piece = None
            if span.full:
                span.removed.add(key)

    def sweep(self, watermark: int) -> None:
        """Drop the states of all spans that the watermark has passed."""
        if watermark >> SPAN_BITS == self._swept:
            return
        self._swept = watermark >> SPAN_BITS
        first, states = deadline_prefix(watermark), self.states
        for number in [number for number in self._spans if number < self._swept]:
            span = self._spans.pop(number)
            for key in chain(span.keys, span.rest):
                packed = states.get(key)
                if packed is not None and packed < first:
                    del states[key]

    def snapshot(self) -> dict[int, ClosedSpan]:
        """All states, in pieces by span."""
        return {number: self._closed_span(span) for number, span in self._spans.items()}

    def _closed_span(self, span: _Span) -> ClosedSpan:
        if span.rest and span.rest_piece is None:
            span.rest_piece = piece = self._format.write(span.rest)
            _, size, _ = piece
            if size >= _FULL:
                span.full.append(piece)
                span.keys += span.rest
                span.rest, span.rest_piece = {}, None
        return [*span.full, *([] if span.rest_piece is None else [span.rest_piece])], sorted(span.removed)
