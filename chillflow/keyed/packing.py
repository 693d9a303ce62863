"""Packed states, and the pieces that a snapshot stores them in. Pure.

A packed state is one bytes object: its deadline, then the data. A piece holds many packed states, compressed, and once
the schema of their data. So states are small, and a new field needs no new version of the snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from struct import Struct
from typing import TypeAlias

import msgspec

__all__ = ["DEADLINE_BYTES", "SPAN_BITS", "Piece", "PieceFormat", "deadline_of", "deadline_prefix", "pack"]

Piece: TypeAlias = tuple[bytes, int, bytes]
"""The schema of the data, the size of the packed states, and these compressed. Plain values, because it is pickled."""
DEADLINE_BYTES = 8
SPAN_BITS = 22
"""Low bits of a deadline (ms) that are ignored to find its span: 70 minutes. A piece holds states of one span."""
_SHIFT = 2**63
_big_endian = Struct(">Q").pack


def deadline_prefix(deadline: int) -> bytes:
    """The first bytes of a packed state with this deadline; these sort like deadlines."""
    return _big_endian(deadline + _SHIFT)


def pack(deadline: int, data: bytes) -> bytes:
    r"""A packed state.

    >>> pack(5, b"data")
    b'\x80\x00\x00\x00\x00\x00\x00\x05data'
    """
    return _big_endian(deadline + _SHIFT) + data


def deadline_of(packed: bytes) -> int:
    """The deadline of a packed state, ms."""
    return int.from_bytes(packed[:DEADLINE_BYTES], "big") - _SHIFT


@dataclass(frozen=True)
class PieceFormat:
    """The conversion of packed states to pieces and back."""

    schema: bytes = b""
    """Describes the data. Stored with each piece, at little cost: pickle stores the same object once."""
    adapt: Callable[[bytes, bytes], bytes] = lambda data, schema: data
    """(data, its schema) -> data under the current schema."""
    compress: Callable[[bytes], bytes] = lambda data: data
    decompress: Callable[[bytes, int], bytes] = lambda data, size: data
    """(compressed, original size) -> data."""

    def write(self, states: Mapping[bytes, bytes]) -> Piece:
        """A piece of these packed states, by key."""
        encoded = _encode(states)
        return self.schema, len(encoded), self.compress(encoded)

    def read(self, piece: Piece) -> dict[bytes, bytes]:
        """The packed states of a piece, by key, with their data under the current schema."""
        schema, size, compressed = piece
        states = _decode(self.decompress(compressed, size))
        if schema == self.schema:
            return states
        head, adapt = DEADLINE_BYTES, self.adapt
        return {key: state[:head] + adapt(state[head:], schema) for key, state in states.items()}


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[bytes, bytes]).decode
