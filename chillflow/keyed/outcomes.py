"""What records come to: the result of one, and of a batch. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import msgspec

from chillflow.keyed.batches import Record

__all__ = ["DeadRecord", "Decided", "Outcome", "Tally"]

Tally: TypeAlias = tuple[tuple[str, int], ...]
"""Changes of the account: (term, change) pairs."""


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What one event, or one deadline, came to."""

    tally: Tally
    result: Any = None
    """Emitted downstream unless None."""
    late: bool = False
    """Whether the record goes to the late stream."""
    pack: bool = False
    """Whether nothing more is expected of the key, so that its state can be packed at once."""
    unchanged: bool = False
    """Whether the state is as it was, so that nothing has to be stored."""


class DeadRecord(NamedTuple):
    """A record that could not be decoded, and why."""

    record: Record
    reason: str


@dataclass
class Decided:
    """What the records of a batch came to, in their order."""

    results: list[Any] = field(default_factory=list)
    late: list[Record] = field(default_factory=list)
    dead: list[DeadRecord] = field(default_factory=list)
    tally: Counter[str] = field(default_factory=Counter)

    def count(self, tally: Tally, times: int = 1) -> None:
        """Add a change of the account, `times` times."""
        for name, change in tally:
            self.tally[name] += times * change
