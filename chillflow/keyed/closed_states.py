"""States that only a late event may still call up, each until its time. Pure.

They are most of what is kept, and hardly any of them ever changes. So a snapshot is not to make them anew: those that
end in the same hour are sealed in pieces of about 32 KB, and a piece is written again as it is until its hour is over.
What is called up before that is noted beside the pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from struct import Struct
from typing import Any, TypeAlias

import msgspec

__all__ = ["HEAD", "SPAN", "ClosedStates", "Piece", "due_of", "held"]

Piece: TypeAlias = Any
"""Packed states as `seal` has left them: a plain value."""
SPAN = 22
"""The bits of a time (ms) that do not matter for its span: 70 minutes."""
_PIECE = 32_768
"""A piece that has reached so many bytes is not made anew when more states come."""
_SHIFT = 2**63
_time = Struct(">Q").pack
HEAD = 8
"""A state is held as one object: its deadline in so many bytes, which sort like the time, and then its data."""


def held(due: int, data: bytes) -> bytes:
    """A state and its deadline as one object."""
    return _time(due + _SHIFT) + data


def due_of(state: bytes) -> int:
    """The deadline of a state that is held."""
    return int.from_bytes(state[:HEAD], "big") - _SHIFT


class _Span:
    """What ends in the same hour."""

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        """All that are, or were, in pieces that are sealed."""
        self.sealed: list[Piece] = []
        self.unsealed: dict[bytes, bytes] = {}
        self.last: Piece | None = None
        """The piece of what is not sealed for good, as long as nothing is added."""
        self.gone: set[bytes] = set()
        """Keys in the pieces that are not here any more."""


class ClosedStates:
    r"""States by key, with deadlines that nobody need be told of.

    >>> remembered = ClosedStates()
    >>> remembered.put(b"k", 5, b"data")
    >>> remembered.get(b"k", watermark=5), remembered.get(b"k", watermark=6)
    (b'\x80\x00\x00\x00\x00\x00\x00\x05data', None)
    """

    def __init__(
        self,
        seal: Callable[[bytes], Piece] = lambda data: data,
        unseal: Callable[[Piece], bytes] = lambda piece: piece,
        snapshot: Any = None,
        watermark: int = -_SHIFT,
    ) -> None:
        """`snapshot` is what `snapshot()` gave at this watermark."""
        self._seal = seal
        self.states: dict[bytes, bytes] = {}
        """All, and for up to an hour some that are over."""
        self._spans: dict[int, _Span] = {}
        self._swept = watermark >> SPAN
        for number, (pieces, gone) in (snapshot or {}).items():
            span = self._spans[number] = _Span()
            states: dict[bytes, bytes] = {}
            for piece in pieces:  # in a later one a state may be there again
                states |= _unpack(unseal(piece))
            span.sealed, span.gone = [*pieces], {*gone}
            span.keys = [key for key in states if key not in span.gone]
            oldest = _time(watermark + _SHIFT)
            self.states.update((key, states[key]) for key in span.keys if states[key] >= oldest)

    def items(self, watermark: int) -> Iterator[tuple[bytes, bytes]]:
        """The states that this watermark has not passed."""
        oldest = _time(watermark + _SHIFT)
        return (item for item in self.states.items() if item[1] >= oldest)

    def get(self, key: bytes, watermark: int) -> bytes | None:
        """The state of a key, unless its deadline is behind the watermark."""
        state = self.states.get(key)
        return None if state is None or due_of(state) < watermark else state

    def put(self, key: bytes, due: int, data: bytes) -> None:
        """Remember a state until this time, in the place of an older one."""
        self.put_all({key: (due, data)})

    def put_all(self, ended: Mapping[bytes, tuple[int, bytes]]) -> None:
        """Remember states, each until its time. Most end in the same hour, which is looked up once."""
        states, number, span = self.states, 0, None
        for key, (due, data) in ended.items():
            if key in states:
                self.pop(key)
            states[key] = state = held(due, data)
            if span is None or due >> SPAN != number:
                number = due >> SPAN
                span = self._spans.get(number)
                if span is None:
                    span = self._spans[number] = _Span()
                span.last = None
            span.unsealed[key] = state
            if span.gone:
                span.gone.discard(key)

    def pop(self, key: bytes) -> None:
        """Forget a key, if it is known."""
        state = self.states.pop(key, None)
        span = state and self._spans.get(due_of(state) >> SPAN)
        if span:
            if span.unsealed.pop(key, None) is not None:
                span.last = None
            if span.sealed:
                span.gone.add(key)

    def sweep(self, watermark: int) -> None:
        """Let go of those whose span the watermark has passed."""
        if watermark >> SPAN == self._swept:
            return
        self._swept = watermark >> SPAN
        over, states = _time(watermark + _SHIFT), self.states
        for number in [number for number in self._spans if number < self._swept]:
            span = self._spans.pop(number)
            for key in chain(span.keys, span.unsealed):
                state = states.get(key)
                if state is not None and state < over:
                    del states[key]

    def snapshot(self) -> dict[int, tuple[list[Piece], list[bytes]]]:
        """By span the pieces, and which of their keys do not count: plain values."""
        return {number: self._pieces(span) for number, span in self._spans.items()}

    def _pieces(self, span: _Span) -> tuple[list[Piece], list[bytes]]:
        if span.unsealed and span.last is None:
            packed = _pack(span.unsealed)
            span.last = self._seal(packed)
            if len(packed) >= _PIECE:
                span.sealed.append(span.last)
                span.keys += span.unsealed
                span.unsealed, span.last = {}, None
        return [*span.sealed, *([] if span.last is None else [span.last])], sorted(span.gone)


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(dict[bytes, bytes]).decode
