"""Packed open states, by key: each has to be loaded at its deadline. Pure.

Of very many, hardly any changes between two snapshots. So a piece holds the states of one span, and is written again
only when a state of that span was added or removed.
"""

from __future__ import annotations

from chillflow.keyed.packing import SPAN_BITS, Piece, PieceFormat, deadline_of

__all__ = ["OpenStates"]


class OpenStates:
    r"""Packed states by key, in a piece for each span of deadlines.

    >>> from chillflow.keyed.packing import pack
    >>> states = OpenStates()
    >>> states.put(b"k", pack(5, b"data"))
    >>> states.pop(b"k"), states.pop(b"k")
    (b'\x80\x00\x00\x00\x00\x00\x00\x05data', None)
    """

    def __init__(self, pieces: PieceFormat = PieceFormat()) -> None:
        self._format = pieces
        self.states: dict[bytes, bytes] = {}
        self._spans: dict[int, dict[bytes, bytes]] = {}
        """The same states by span."""
        self._pieces: dict[int, Piece] = {}
        """Pieces of the spans without a change since they were written."""

    def put(self, key: bytes, packed: bytes) -> None:
        """Add the state of a key that has none."""
        self.states[key] = packed
        span = deadline_of(packed) >> SPAN_BITS
        self._spans.setdefault(span, {})[key] = packed
        self._pieces.pop(span, None)

    def pop(self, key: bytes) -> bytes | None:
        """Remove and return the state of a key, None if there is none."""
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
        """All states, in pieces."""
        for span, states in self._spans.items():
            if span not in self._pieces:
                self._pieces[span] = self._format.write(states)
        return [*self._pieces.values()]
