"""Names of key groups, chosen so that Bytewax runs each on the worker that reads its partition. Pure.

Bytewax gives partition number p of a source or a sink to worker p % workers, but a key to the worker that its hash
selects (SipHash-1-3 with a zero key, of the name and a byte 0xff: `StateKey` in its `src/timely.rs`, release 0.21.1).
By hash alone, four keys may all go to one of two workers, and half of all events cross processes. So a name gets a
suffix, found by trial, with which its hash selects worker p % workers, for each number of workers that divides 24. If
Bytewax changed its hash, placement would be random, but results the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import count
from zlib import crc32

__all__ = ["group_of", "groups_of", "partition_name", "partition_of", "placed"]

_WORKERS = 24
_MASK = 2**64 - 1


def partition_name(number: int) -> str:
    """The Bytewax key of a partition; names sort like numbers."""
    return f"{number:04d}"


def group_of(key: bytes | None, groups: int) -> int:
    """The key group of a key."""
    return groups_of((key,), groups)[0]


def groups_of(keys: Sequence[bytes | None], groups: int) -> list[int]:
    """The key groups of many keys, by the high half of the CRC: partitioners use the low one."""
    return [(crc32(key) >> 16) % groups if key else 0 for key in keys]


def partition_of(group: str) -> str:
    """The partition whose records the group holds."""
    return group.partition("/")[0]


@cache
def placed(name: str, number: int) -> str:
    """The name with a suffix that places it on the worker of this number.

    >>> placed("0001/0000", 1)
    '0001/0000.28'
    """
    for suffix in count():
        found = f"{name}.{suffix:x}"
        if _siphash13(found.encode() + b"\xff") % _WORKERS == number % _WORKERS:
            return found
    raise AssertionError("count() has no end")


def _siphash13(data: bytes) -> int:
    """SipHash-1-3 with a zero key: one round a word, three at the end (Aumasson and Bernstein, 2012)."""
    v0, v1, v2, v3 = 0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573
    whole = len(data) & ~7
    words = [int.from_bytes(data[at : at + 8], "little") for at in range(0, whole, 8)]
    last = int.from_bytes(data[whole:], "little") | (len(data) & 0xFF) << 56
    for word in (*words, last):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3 ^ word)
        v0 ^= word
    v2 ^= 0xFF
    for _ in range(3):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    return v0 ^ v1 ^ v2 ^ v3


def _round(v0: int, v1: int, v2: int, v3: int) -> tuple[int, int, int, int]:
    v0, v2 = v0 + v1 & _MASK, v2 + v3 & _MASK
    v1, v3 = _left(v1, 13) ^ v0, _left(v3, 16) ^ v2
    v0 = _left(v0, 32)
    v2, v0 = v2 + v1 & _MASK, v0 + v3 & _MASK
    v1, v3 = _left(v1, 17) ^ v2, _left(v3, 21) ^ v0
    return v0, v1, _left(v2, 32), v3


def _left(word: int, bits: int) -> int:
    return word << bits & _MASK | word >> 64 - bits
