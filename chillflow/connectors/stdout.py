"""Events as JSON lines on stdout instead of a topic."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass

from bytewax.outputs import DynamicSink, StatelessSinkPartition

from chillflow.model.messages import Message

__all__ = ["StdoutSink"]


@dataclass(frozen=True)
class StdoutSink(DynamicSink[tuple[str, Iterable[Message]]]):
    """Prints the values of messages to `topic` on stdout, and rejected rows on stderr."""

    topic: str

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _StdoutPartition:
        return _StdoutPartition(self.topic)


class _StdoutPartition(StatelessSinkPartition[tuple[str, Iterable[Message]]]):
    def __init__(self, topic: str) -> None:
        self._topic = topic

    def write_batch(self, items: list[tuple[str, Iterable[Message]]]) -> None:
        for _, messages in items:
            for message in messages:
                if message.topic == self._topic:
                    sys.stdout.buffer.write((message.value or b"null") + b"\n")
                else:
                    headers = {name: data.decode() for name, data in message.headers}
                    sys.stderr.write(f"rejected: {headers['file']}, row {headers['row']}: {headers['reason']}\n")
        sys.stdout.buffer.flush()
