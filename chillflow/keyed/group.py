"""A key group: maps the events of many keys to results, in event time. Pure.

This is the core of `operators.stateful_map`, without Bytewax. Each event comes with the watermark (ms) that its
partition had when it was read. States whose deadlines that watermark has passed expire before the event is mapped. So
results depend on the records alone, not on the wall clock or on how the records were batched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypedDict, TypeVar, cast

from chillflow.keyed.batches import Batch, GroupItem, Undecodable
from chillflow.keyed.outcomes import BatchOutcome, Outcome, Tally, Transition
from chillflow.keyed.slots import Slots, SlotState
from chillflow.keyed.state_store import Contents, State, StateFormat, StateStore, StoreSnapshot
from chillflow.keyed.versions import refuse_newer
from chillflow.keyed.watermark import NO_WATERMARK

__all__ = ["VERSION", "GroupSnapshot", "KeyGroup", "KeyedLogic"]

VERSION = 1
"""The version of `GroupSnapshot`. A new field of a state needs no new one: see `PieceFormat.schema`."""
_NO_SLOT = 0, 0
_READ: Tally = (("events", 1),)

S = TypeVar("S", bound=State)
E = TypeVar("E")
R = TypeVar("R")


class GroupSnapshot(TypedDict):
    """A key group as plain values."""

    version: int
    watermark: int
    states: StoreSnapshot


@dataclass(frozen=True)
class KeyedLogic(Generic[S, E, R]):
    """The functions that a group applies to its keys, as `stateful_map` describes them.

    All are pure, except that they may change the state they are given.
    """

    mapper: Callable[[S | None, E, int], Transition[S, R]]
    expire: Callable[[S], Transition[S, R]]
    format: StateFormat[S]
    slots: Slots[S, E, R] | None = None


class KeyGroup(Generic[S, E, R]):
    """The keys of one group."""

    def __init__(self, keyed: KeyedLogic[S, E, R], snapshot: GroupSnapshot | None = None) -> None:
        """Start empty, or from a snapshot. Raises RecoveryError if a newer release wrote it."""
        if snapshot is not None:
            refuse_newer("key groups", snapshot["version"], VERSION)
        self._keyed = keyed
        self._slots: Slots[S, E, R] = keyed.slots or Slots((), (), _no_state, _no_outcomes, 0, (), ())
        self._watermark = snapshot["watermark"] if snapshot else NO_WATERMARK
        self._store = StateStore(keyed.format, snapshot["states"] if snapshot else None)

    def snapshot(self) -> GroupSnapshot:
        """Return the group as plain values."""
        return {"version": VERSION, "watermark": self._watermark, "states": self._store.snapshot()}

    def inspect(self) -> Contents:
        """The keys of all tiers and their deadlines, for tests."""
        return self._store.contents()

    def process(self, items: Iterable[GroupItem[E]]) -> BatchOutcome[R]:
        """Process batches and watermarks in the order of the log."""
        out: BatchOutcome[R] = BatchOutcome()
        for item in items:
            if isinstance(item, int):
                self._advance(item, out)
            elif len(item):
                out.tallies[_READ] += len(item)
                self._process(item, out)
        return out

    def close(self, expire: Callable[[S], Transition[S, R]]) -> BatchOutcome[R]:
        """Apply `expire` to each state but the packed closed ones, in the order of keys: the log has ended."""
        out: BatchOutcome[R] = BatchOutcome()
        for key, state in self._store.take_all():
            self._end(key, state.deadline, expire(state), out)
        return out

    def _process(self, batch: Batch[E], out: BatchOutcome[R]) -> None:  # noqa: C901, PLR0912, PLR0915 - one loop, without calls
        """Map the events of a batch: in this loop those whose slot is vacant, nearly all; the rest one by one.

        A key has events soon after its first one, in any order, so its state is live. For `mapper` remain events of
        closed or packed keys, repeats, corrections and late events; then there are records without an event. Keys are
        completed and deadlines registered at the end of the batch, because most keys get all their events within one:
        completing them together takes three quarters of the time.
        """
        store, slots = cast("StateStore[SlotState[E]]", self._store), cast("Slots[SlotState[E], E, R]", self._slots)
        keys, events = cast("Sequence[bytes]", batch.records.keys), cast("Sequence[E]", batch.events)
        live, packed, deadlines = store.live, store.packed, store.deadlines
        place_of, open_state, needed, kept = slots.places.get, slots.open, slots.needed_mask, slots.kept
        unregistered: dict[bytes, SlotState[E]] = {}
        """States opened by this batch whose deadlines are not registered: no watermark of the batch passes them."""
        complete: dict[bytes, int] = {}
        """By key, the watermark at which its needed slots were filled."""
        opened, joined, mapped, due, last = 0, 0, 0, deadlines.next, batch.watermarks[-1]
        for key, event, watermark in zip(keys, events, batch.watermarks, strict=True):
            if watermark > due:
                due = deadlines.peek(watermark)
                if watermark > due:
                    self._complete(complete, unregistered, watermark, out)
                    self._expire(watermark, out)
                    due = deadlines.next
            slot, bit = place_of(type(event), _NO_SLOT)
            if bit:
                state = live.get(key)
                if state is not None:
                    vacant = state.vacant
                    if vacant & bit and (vacant & needed or watermark <= complete[key] + kept):
                        state.events[slot] = event
                        state.vacant = vacant = vacant ^ bit
                        joined += 1
                        if bit & needed and not vacant & needed:
                            complete[key] = watermark
                        continue
                elif key not in packed:
                    state = open_state(event, watermark)
                    if state is not None:
                        opened += 1
                        live[key] = state
                        if not state.vacant & needed:
                            complete[key] = watermark
                        if state.deadline is not None and state.deadline < last:
                            store.register(key, state)
                            due = deadlines.next
                        else:
                            unregistered[key] = state
                        continue
            if key in complete:
                self._complete({key: complete.pop(key)}, unregistered, watermark, out)
            elif key in unregistered:
                store.register(key, unregistered.pop(key))
            self._map(batch, opened + joined + mapped, out)
            mapped += 1
            due = deadlines.next
        self._complete(complete, unregistered, last, out)
        for key, new in unregistered.items():
            store.register(key, new)
        out.tallies[slots.opened] += opened
        out.tallies[slots.joined] += joined
        self._watermark = last
        store.sweep(last)

    def _complete(
        self, watermarks: dict[bytes, int], unregistered: dict[bytes, SlotState[E]], reached: int, out: BatchOutcome[R]
    ) -> None:
        """Complete the keys whose needed slots were filled at these watermarks, and expire those not kept until now."""
        if not watermarks:
            return
        store = self._store
        states = [store.live[key] for key in watermarks]
        before = [
            None if unregistered.pop(key, None) is not None else state.deadline
            for key, state in zip(watermarks, states, strict=True)
        ]
        outcomes = self._slots.complete(states, [*watermarks.values()])
        packed: dict[bytes, tuple[int | None, S]] = {}
        for key, state, deadline, outcome in zip(watermarks, states, before, outcomes, strict=True):
            if outcome.pack:
                packed[key] = deadline, state
            else:
                store.put(key, deadline, state)
        store.pack(packed)
        out.tallies.update([outcome.tally for outcome in outcomes])
        out.results += [outcome.result for outcome in outcomes if outcome.result is not None]
        watermarks.clear()
        if any(state.deadline is not None and state.deadline < reached for state in states):
            self._expire(reached, out)

    def _map(self, batch: Batch[E], at: int, out: BatchOutcome[R]) -> None:
        """Map one record by the mapper."""
        event, key, watermark = batch.events[at], batch.records.keys[at], batch.watermarks[at]
        if isinstance(event, Undecodable):
            out.reject(batch.records.record(at), event.reason)
            return
        assert key is not None, "a record without a key has no event"
        store = self._store
        live = store.live.get(key)
        current = store.get(key, watermark) if live is None else live
        before = None if current is None else current.deadline
        state, outcome = self._keyed.mapper(current, event, watermark)
        if outcome is not None:
            out.add(outcome)
            if outcome.late:
                out.late.append(batch.records.record(at))
            if outcome.unchanged:
                return
        if state is None or state is not live or state.deadline != before:
            store.put(key, before, state)
        if state is not None and outcome is not None and outcome.pack:
            store.pack({key: (state.deadline, state)})

    def _advance(self, watermark: int, out: BatchOutcome[R]) -> None:
        """Process a watermark without records."""
        self._expire(watermark, out)
        self._watermark = watermark
        self._store.sweep(watermark)

    def _expire(self, watermark: int, out: BatchOutcome[R]) -> None:
        """Expire the states whose deadlines this watermark has passed."""
        for key, state in self._store.expired(watermark):
            self._end(key, None, self._keyed.expire(state), out)

    def _end(self, key: bytes, before: int | None, transition: Transition[S, R], out: BatchOutcome[R]) -> None:
        """Store the new state of a key whose deadline was passed or whose log has ended."""
        state, outcome = transition
        self._store.put(key, before, state)
        if outcome is not None:
            out.add(outcome)


def _no_state(event: object, watermark: int) -> None:
    """Let the mapper decide about each event."""


def _no_outcomes(states: Sequence[object], watermarks: Sequence[int]) -> Sequence[Outcome[R]]:
    raise AssertionError("a key without slots is never complete")
