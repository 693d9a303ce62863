"""The declaration of keys that are assembled from one event of each of several types. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, Protocol, TypeVar

from chillflow.keyed.outcomes import Outcome, Tally
from chillflow.keyed.state_store import State

__all__ = ["SlotState", "Slots"]

E = TypeVar("E")
R = TypeVar("R")


class SlotState(Protocol[E]):
    """A state with a slot for each type of event."""

    deadline: int | None
    """Event time in ms, or None."""
    events: list[E | None]
    """By slot, the event, or None."""
    vacant: int
    """Mask of the empty slots that a key group may fill: bit n for slot n; 0 if the mapper is to decide."""


S = TypeVar("S", bound=State)


@dataclass(frozen=True)
class Slots(Generic[S, E, R]):
    """The slots of a state, and what a key group may do itself with an event whose slot is vacant.

    It must equal what the mapper would do: put the event into its slot, count it, and complete the key once all needed
    slots are filled. Nearly all events are mapped in this way, whatever their order of arrival. An event that fills a
    slot which is not needed must give the same results and state before `complete` and, while the state is kept, after.
    """

    types: Sequence[object]
    """By slot, the type of its event."""
    needed: Sequence[int]
    """The slots that a complete key needs."""
    open: Callable[[E, int], S | None]
    """(first event of a key, watermark) -> its state; None if the mapper is to decide."""
    complete: Callable[[Sequence[S], Sequence[int]], Sequence[Outcome[R]]]
    """(states whose needed slots are filled, watermark of each when that happened) -> an outcome of each; `pack` if all
    of its slots are filled. Sets `vacant` to 0. Must not count the events in the slots again, which `opened` and
    `joined` did."""
    kept: int
    """A complete state is kept at least this long, ms, after the watermark at which it was completed."""
    opened: Tally
    """The change of the account when an event opens a key."""
    joined: Tally
    """The change when a further event fills a slot."""

    @cached_property
    def places(self) -> dict[object, tuple[int, int]]:
        """By type of event, its slot and the bit of that slot."""
        return {each: (slot, 1 << slot) for slot, each in enumerate(self.types)}

    @property
    def needed_mask(self) -> int:
        """The bits of the needed slots."""
        return sum(1 << slot for slot in self.needed)
