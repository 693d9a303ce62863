"""Charts of block characters for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil

__all__ = ["FINE", "PLAIN", "bars", "columns"]

FINE = " ▁▂▃▄▅▆▇█"
"""A cell from empty to full, in eighths."""
PLAIN = " ########"
"""The same in ASCII."""


def bars(rows: Sequence[tuple[str, int]], *, label: int = 32, width: int = 30, cells: str = FINE) -> Iterator[str]:
    """One line per row: label, number, and a bar of proportional length."""
    most = max((number for _, number in rows), default=0) or 1
    for text, number in rows:
        yield f"{text[:label]:{label}} {number:>9,} {cells[-1] * ceil(width * number / most)}".rstrip()


def columns(numbers: Sequence[float], *, height: int = 6, width: int = 3, cells: str = FINE) -> Iterator[str]:
    """Numbers as columns, `height` lines high, with the scale at the left."""
    most = max(numbers, default=0) or 1
    steps = len(cells) - 1
    heights = [round(number / most * height * steps) for number in numbers]
    for line in reversed(range(height)):
        scale = f"{most * (line + 1) / height:>7,.0f} " if line == height - 1 else " " * 8
        row = (cells[min(max(each - line * steps, 0), steps)] * (width - 1) for each in heights)
        yield f"{scale}{' '.join(row)}".rstrip()
