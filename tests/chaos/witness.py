"""A reader that is there all the time: what it has seen it does not see again."""

from __future__ import annotations

import json
import threading
from collections import Counter
from types import TracebackType

from confluent_kafka import Consumer, TopicPartition
from typing_extensions import Self


class Witness:
    """Reads result topics with `read_committed` while the body runs, through whatever happens to the broker."""

    def __init__(self, servers: str, topics: list[str], partitions: int = 4) -> None:
        self.seen: Counter[tuple[str, bytes | None, int]] = Counter()
        """How often each revision of a trip came, by topic."""
        self.messages: Counter[tuple[str, int]] = Counter()
        """How many came, by topic and partition."""
        self._consumer = Consumer(
            {
                "bootstrap.servers": servers,
                "group.id": "witness",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "topic.metadata.refresh.interval.ms": 500,
                "log_level": 0,
            }
        )
        self._consumer.assign([TopicPartition(topic, number, 0) for topic in topics for number in range(partitions)])
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._consumer.close()

    def _read(self) -> None:
        while not self._stop.is_set():
            for message in self._consumer.consume(1000, 0.1):
                value = message.value()
                if message.error() is None and value is not None:
                    topic = message.topic() or ""
                    self.seen[topic, message.key(), json.loads(value)["revision"]] += 1
                    self.messages[topic, message.partition() or 0] += 1

    def assert_saw_nothing_twice(self) -> None:
        """At no moment until now."""
        assert [(what, times) for what, times in self.seen.items() if times > 1] == []
