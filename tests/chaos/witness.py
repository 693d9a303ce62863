"""A continuous reader of result topics, which finds duplicates at any moment of a run."""

from __future__ import annotations

import json
import threading
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

from confluent_kafka import Consumer, TopicPartition


class Witness:
    """Reads result topics with `read_committed` while the body runs, through all faults of the broker."""

    def __init__(self, servers: str, topics: list[str], partitions: int = 4) -> None:
        self.seen: Counter[tuple[str, bytes | None, int]] = Counter()
        """How often each revision of a trip was read, by topic, key and revision."""
        self.messages: Counter[tuple[str, int]] = Counter()
        """How many messages were read, by topic and partition."""
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

    def count(self) -> int:
        """The number of messages read so far."""
        return self.messages.total()

    def assert_saw_nothing_twice(self) -> None:
        """Assert that each revision was read once so far."""
        assert [(what, times) for what, times in list(self.seen.items()) if times > 1] == []


class FileWitness:
    """The same for topics on files, which it reads when called."""

    def __init__(self, folder: Path, topics: list[str]) -> None:
        self.seen: Counter[tuple[str, str, int]] = Counter()
        self._files = {path: 0 for topic in topics for path in (folder / topic).glob("*.jsonl")}
        """Files, and the position up to which each has been read."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def count(self) -> int:
        for path, position in self._files.items():
            with path.open("rb") as file:
                file.seek(position)
                whole, end, _ = file.read().rpartition(b"\n")  # skip an unfinished last line
            self._files[path] += len(whole + end)
            for line in whole.splitlines():
                fields = json.loads(line)
                self.seen[path.parent.name, fields["key"], fields["value"]["revision"]] += 1
        return self.seen.total()

    def assert_saw_nothing_twice(self) -> None:
        self.count()
        assert [(what, times) for what, times in list(self.seen.items()) if times > 1] == []


AnyWitness: TypeAlias = Witness | FileWitness
