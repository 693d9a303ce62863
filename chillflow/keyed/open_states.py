"""Packed open states, by key. Each is loaded at its deadline, because that has a result. Pure.

Hardly any of them changes between two snapshots. So the states of one span of deadlines share a piece, which is written
again only when one of them was added or removed.
"""

from __future__ import annotations

from chillflow.keyed.packing import SPAN_BITS, Piece, PieceFormat, deadline_of

__all__ = ["OpenStates"]


class OpenStates:
    r"""Packed states by key.

    >>> from chillflow.keyed.packing import pack
    >>> states = OpenStates()
    >>> states.put(b"k", pack(5, b"data"))
    >>> states.pop(b"k"), states.pop(b"k")
    (b'\x80\x00\x00\x00\x00\x00\x00\x05data', None)
    """

    def __init__(self, piece_format: PieceFormat = PieceFormat()) -> None:
        self._format = piece_format
        self.states: dict[bytes, bytes] = {}
        self._spans: dict[int, dict[bytes, bytes]] = {}
        """The same states by span."""
        self._pieces: dict[int, Piece] = {}
        """By span, the piece written last, unless the span has changed since."""

    def put(self, key: bytes, packed: bytes) -> None:
        """Add the state of a key that has none."""
        self.states[key] = packed
        span = deadline_of(packed) >> SPAN_BITS
        self._spans.setdefault(span, {})[key] = packed
        self._pieces.pop(span, None)

    def pop(self, key: bytes) -> bytes | None:
        """Remove and return the state of a key, or None."""
        packed = self.states.pop(key, None)
        if packed is None:
            return None
        span = deadline_of(packed) >> SPAN_BITS
        states = self._spans[span]
        del states[key]
        self._pieces.pop(span, None)
        if not states:
            del self._spans[span]
        return packed

    def snapshot(self) -> list[Piece]:
        """All states, in one piece per span."""
        for span, states in self._spans.items():
            if span not in self._pieces:
                self._pieces[span] = self._format.write(states)
        return [*self._pieces.values()]
