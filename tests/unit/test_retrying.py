"""Retries until a limit, and reading to the end of a partition, both on a fake clock."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from chillflow.connectors.log import records_until_end
from chillflow.connectors.retrying import Retrying
from chillflow.errors import KafkaUnavailableError
from chillflow.keyed.batches import Record, RecordColumns
from tests.unit.fake_clock import FakeClock


def test_pauses_double_up_to_the_longest_until_the_limit() -> None:
    clock = FakeClock()
    retrying = Retrying(pause=1, longest=5, clocks=clock.clocks)
    while not retrying.expired(limit=12):
        retrying.pause()
    assert clock.slept == [1, 2, 4, 5]
    assert (retrying.count, retrying.seconds) == (4, 12)


def test_a_pause_is_constant_without_a_longest_and_none_by_default() -> None:
    clock = FakeClock()
    constant, none = Retrying(pause=0.5, clocks=clock.clocks), Retrying(clocks=clock.clocks)
    for _ in range(3):
        constant.pause()
        none.pause()
    assert clock.slept == [0.5, 0.5, 0.5]
    assert none.count == 3


class Reader:
    """A reader of batches that arrive one poll at a time; its end is found after the last, if at all."""

    def __init__(self, *polls: Sequence[int], has_end: bool = True) -> None:
        self.position = 0
        self.at_end = False
        self._polls = [*polls]
        self._has_end = has_end

    def read(self, limit: int) -> list[Record]:
        offsets = self._polls.pop(0) if self._polls else []
        self.at_end = not offsets and not self._polls and self._has_end
        self.position = max([self.position, *(offset + 1 for offset in offsets)])
        return [Record(offset, None, None, None, None) for offset in offsets]

    def columns(self, limit: int) -> RecordColumns | None:
        raise NotImplementedError

    def commit(self, position: int) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


def test_a_partition_is_read_to_the_end_that_its_reader_finds() -> None:
    clock = FakeClock()
    batches = [*records_until_end(Reader([0, 1], [], [2], []), clocks=clock.clocks)]
    assert [[record.offset for record in batch] for batch in batches] == [[0, 1], [2]]
    assert clock.slept == [0.005]  # after the empty poll that was not the end


def test_a_partition_that_keeps_growing_is_read_to_the_given_end() -> None:
    reader = Reader(*([offset] for offset in range(100)), has_end=False)
    assert len([*records_until_end(reader, end=7, clocks=FakeClock().clocks)]) == 7
    assert [*records_until_end(reader, end=7)] == []


def test_a_silent_partition_is_an_error_when_patience_ends() -> None:
    clock = FakeClock()
    batches = records_until_end(Reader([0], has_end=False), patience=2, clocks=clock.clocks)
    next(batches)
    clock.now += 60  # the time the consumer takes does not count
    with pytest.raises(KafkaUnavailableError, match="no records arrived for 2 s"):
        next(batches)
    assert sum(clock.slept) == pytest.approx(2)
