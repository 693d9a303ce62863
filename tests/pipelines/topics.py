"""Topics as tests read and write them, without the code under test."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

from confluent_kafka import Producer

from tests.servers.kafka_topics import KafkaTopics

JsonObject: TypeAlias = dict[str, Any]


class Read(NamedTuple):
    """A message read from a topic."""

    partition: int
    offset: int
    timestamp: int | None
    key: bytes | None
    value: bytes | None
    headers: dict[str, str]

    @property
    def json(self) -> JsonObject:
        """The value, decoded."""
        assert self.value is not None
        value: JsonObject = json.loads(self.value)
        return value


class Topics(Protocol):
    """Topics on files or on a broker."""

    def read(self, topic: str) -> list[Read]:
        """All committed messages of a topic, by partition and offset; none if the topic does not exist."""

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        timestamp: int | None = None,
        headers: Mapping[str, bytes] | None = None,
        partition: int = 0,
    ) -> None:
        """Append one message to a partition."""


@dataclass(frozen=True)
class FileTopics:
    """Topics as files."""

    folder: Path

    def read(self, topic: str) -> list[Read]:
        found = []
        for path in sorted((self.folder / topic).glob("*.jsonl")):
            offset = 0
            whole, newline, _torn = path.read_bytes().rpartition(b"\n")
            for line in (whole + newline).splitlines(keepends=True):
                fields = json.loads(line)
                has_value = fields.get("value") is not None
                found.append(
                    Read(
                        int(path.stem),
                        offset,
                        fields.get("ts"),
                        _bytes(fields.get("key"), fields.get("key_b64")),
                        _raw_value(line) if has_value else _bytes(None, fields.get("value_b64")),
                        {name: base64.b64decode(data).decode() for name, data in fields.get("headers") or ()},
                    )
                )
                offset += len(line)
        return found

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        timestamp: int | None = None,
        headers: Mapping[str, bytes] | None = None,
        partition: int = 0,
    ) -> None:
        line: JsonObject = {}
        if timestamp is not None:
            line["ts"] = timestamp
        if key is not None:
            line["key_b64"] = base64.b64encode(key).decode()
        if value is not None:
            line["value_b64"] = base64.b64encode(value).decode()
        if headers:
            line["headers"] = [(name, base64.b64encode(data).decode()) for name, data in headers.items()]
        with (self.folder / topic / f"{partition:04d}.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")


def _bytes(text: str | None, encoded: str | None) -> bytes | None:
    if encoded is not None:
        return base64.b64decode(encoded)
    return text.encode() if text is not None else None


def _raw_value(line: bytes) -> bytes:
    """The value of a line, byte for byte: decoding and encoding JSON again could change it."""
    text = line.decode()
    start = text.index('"value":') + len('"value":')
    while text[start].isspace():
        start += 1
    _, end = json.JSONDecoder().raw_decode(text, start)
    return text[start:end].encode()


@dataclass(frozen=True)
class BrokerTopics:
    """Topics on a broker."""

    kafka: KafkaTopics

    def read(self, topic: str) -> list[Read]:
        if not self.kafka.exists(topic):
            return []
        found = []
        for message in self.kafka.read_all(topic):
            kind, timestamp = message.timestamp()
            found.append(
                Read(
                    message.partition() or 0,
                    message.offset() or 0,
                    timestamp if kind else None,
                    _encoded(message.key()),
                    _encoded(message.value()),
                    {name: (_encoded(data) or b"").decode() for name, data in dict(message.headers() or ()).items()},
                )
            )
        return found

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        timestamp: int | None = None,
        headers: Mapping[str, bytes] | None = None,
        partition: int = 0,
    ) -> None:
        failed: list[object] = []
        producer = Producer(
            {
                "bootstrap.servers": self.kafka.bootstrap_servers,
                "on_delivery": lambda error, _: failed.append(error) if error else None,
            }
        )
        producer.produce(
            topic, value, key, partition, timestamp=timestamp or 0, headers=list((headers or {}).items()) or None
        )
        assert producer.flush(30) == 0
        assert not failed, failed


def _encoded(data: str | bytes | None) -> bytes | None:
    return data.encode() if isinstance(data, str) else data


def keys(messages: Sequence[Read]) -> list[str]:
    """The message keys as text, sorted."""
    return sorted((message.key or b"").decode() for message in messages)
