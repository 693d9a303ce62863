"""The outcomes of an event, of a deadline and of a batch. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeAlias, TypeVar

import msgspec

from chillflow.keyed.batches import Record

__all__ = ["BatchOutcome", "DeadRecord", "Outcome", "Tally", "Transition"]

Tally: TypeAlias = tuple[tuple[str, int], ...]
"""Changes of the account: (term, change) pairs."""
R = TypeVar("R")
S = TypeVar("S")


class Outcome(msgspec.Struct, Generic[R], frozen=True, gc=False):
    """The outcome of one event, or of one deadline."""

    tally: Tally
    result: R | None = None
    """Emitted downstream unless None."""
    late: bool = False
    """Whether the record goes to the late stream."""
    pack: bool = False
    """Whether nothing more is expected for the key, so that its state can be packed at once."""
    unchanged: bool = False
    """Whether the state is unchanged, so that nothing has to be stored."""


Transition: TypeAlias = tuple[S | None, Outcome[R] | None]
"""The new state of a key, None to drop it, and the outcome."""


class DeadRecord(NamedTuple):
    """A record that could not be decoded, and why."""

    record: Record
    reason: str


@dataclass
class BatchOutcome(Generic[R]):
    """The outcome of a batch, in the order of its records; results in this order for each key only."""

    results: list[R] = field(default_factory=list)
    late: list[Record] = field(default_factory=list)
    dead: list[DeadRecord] = field(default_factory=list)
    tallies: Counter[Tally] = field(default_factory=Counter)
    """How often each change of the account occurred."""

    @property
    def tally(self) -> Counter[str]:
        """The changes of the account in total."""
        total: Counter[str] = Counter()
        for tally, times in self.tallies.items():
            for term, change in tally:
                total[term] += times * change
        return total

    def add(self, outcome: Outcome[R]) -> None:
        """Add the result of one outcome, and its changes of the account."""
        self.tallies[outcome.tally] += 1
        if outcome.result is not None:
            self.results.append(outcome.result)

    def reject(self, record: Record, reason: str) -> None:
        """Add a dead record."""
        self.dead.append(DeadRecord(record, reason))
        self.tallies[_DEAD] += 1


_DEAD: Tally = (("dead_letters", 1),)
