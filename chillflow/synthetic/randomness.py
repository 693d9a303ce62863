"""Random columns that are the same on every machine and with every version of Polars. Pure, on frames.

A value depends only on the seed, the column's name and the row's number (SplitMix64 used as a counter), so rows can be
drawn in any order, in chunks of any size, and again. All arithmetic is on integers: with floats the last digit would
depend on the machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import TypeVar

import polars as pl

SLOTS = 4096
"""Faces of a loaded die: the resolution of its shares."""

_Value = TypeVar("_Value", int, str)


class Draws:
    """Random columns for the rows numbered by `index`, an expression of type UInt64.

    Two draws are independent when their names differ, and equal when seed, name and row number are.
    """

    def __init__(self, seed: int, index: pl.Expr) -> None:
        self._seed = seed
        self._index = index

    def bits(self, name: str) -> pl.Expr:
        """64 random bits, UInt64."""
        key = int.from_bytes(sha256(f"{self._seed}/{name}".encode()).digest()[:8], "little")
        mixed = self._index * _u64(0x9E3779B97F4A7C15) + _u64(key)
        mixed = (mixed ^ _shift_right(mixed, 30)) * _u64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ _shift_right(mixed, 27)) * _u64(0x94D049BB133111EB)
        return mixed ^ _shift_right(mixed, 31)

    def below(self, bound: int, name: str) -> pl.Expr:
        """Integers from 0 to `bound` - 1 (at most 2**32 of them), all equally likely, Int64."""
        return _shift_right(_shift_right(self.bits(name), 32) * _u64(bound), 32).cast(pl.Int64)

    def chance(self, share: float, name: str) -> pl.Expr:
        """True for this share of the rows (0 <= `share` < 1)."""
        return self.bits(name) < _u64(int(share * 2**64))

    def roll(self, die: pl.Series, name: str) -> pl.Expr:
        """Values of a loaded die."""
        return look_up(die, self.below(len(die), name))


def loaded_die(weights: Mapping[_Value, float]) -> list[_Value]:
    """The `SLOTS` faces of a die, each value on a share of them in proportion to its weight.

    Raises:
        ZeroDivisionError: all weights are zero.
    """
    total = sum(weights.values())
    faces: list[_Value] = []
    passed = 0.0
    for value, weight in weights.items():
        passed += weight
        faces += [value] * (round(passed / total * SLOTS) - len(faces))
    return faces


def look_up(table: pl.Series, position: pl.Expr) -> pl.Expr:
    """The values of a table at the given positions, which must be within it."""
    return pl.lit(table).gather(position)


def _u64(value: int) -> pl.Expr:
    return pl.lit(value, dtype=pl.UInt64)


def _shift_right(value: pl.Expr, bits: int) -> pl.Expr:
    # Polars has no shift; the floor division of unsigned integers by a power of two is one.
    return value // _u64(1 << bits)
