"""Errors that a broker returns while a leader changes: they pass by themselves."""

from __future__ import annotations

from datetime import timedelta

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka import KafkaError as ClientError

from chillflow.connectors.kafka import KafkaLog, KafkaReader
from chillflow.errors import KafkaError
from tests.unit.fake_clock import FakeClock

LEADER_CHANGES = (
    ClientError.NOT_LEADER_FOR_PARTITION,
    ClientError.LEADER_NOT_AVAILABLE,
    ClientError.FENCED_LEADER_EPOCH,
    ClientError.UNKNOWN_LEADER_EPOCH,
)


@pytest.mark.parametrize("code", LEADER_CHANGES)
def test_a_request_is_repeated_until_there_is_a_leader(code: int) -> None:
    clock = FakeClock()
    log = KafkaLog("127.0.0.1:1", {}, timedelta(seconds=10), clocks=clock.clocks)
    log._has_answered = True
    answers = iter([ClientError(code), ClientError(code), None])

    def ask() -> str:
        if (error := next(answers)) is not None:
            raise KafkaException(error)
        return "answer"

    assert log._call(ask) == "answer"
    assert len(clock.slept) == 2


@pytest.mark.parametrize("code", LEADER_CHANGES)
def test_a_reader_rides_out_a_change_of_leader(code: int) -> None:
    consumer = Consumer({"bootstrap.servers": "127.0.0.1:1", "group.id": "g", "log_level": 0})
    reader = KafkaReader(consumer, TopicPartition("t", 0, 0))
    reader._report(ClientError(code))
    with pytest.raises(KafkaError, match=r"t\[0\]"):
        reader._report(ClientError(ClientError.TOPIC_AUTHORIZATION_FAILED))
    reader.close()
