"""A log in files instead of Kafka, for one pipeline on one machine.

`DIR/<topic>/<partition>.jsonl` holds one JSON object per line; the offset of a record is the byte position of its
line. A writer locks the files it appends to, and first truncates a torn line that a killed writer has left.
"""

from __future__ import annotations

import base64
import fcntl
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import IO
from zlib import crc32

import msgspec

from chillflow.connectors.log import Description, End, OffsetUnit, records_until_end
from chillflow.errors import KafkaError, UnknownTopicError
from chillflow.keyed.batches import Record, RecordColumns
from chillflow.model.messages import Message, MessageColumns
from chillflow.model.topics import TopicSpec

__all__ = ["FileLog", "FileReader"]

_READ_BYTES = 1 << 20


class _Line(msgspec.Struct, omit_defaults=True):
    """A record as a line. JSON values are embedded, so that `jq` can read the file; other values are base64."""

    ts: int | None = None
    key: str | None = None
    key_b64: str | None = None
    value: msgspec.Raw = msgspec.Raw()
    value_b64: str | None = None
    headers: list[tuple[str, str]] | None = None


_decode = msgspec.json.Decoder(_Line).decode
_encode = msgspec.json.Encoder().encode


class FileLog:
    """A log in a folder."""

    offset_unit: OffsetUnit = "bytes"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def ensure_topics(self, specs: Sequence[TopicSpec], partitions: int, replication_factor: int) -> list[str]:
        made = []
        for spec in specs:
            folder = self._folder / spec.name
            if not any(folder.glob("*.jsonl")):
                try:
                    folder.mkdir(parents=True, exist_ok=True)
                except OSError as error:
                    raise KafkaError(f"cannot create {folder}: {error.strerror}") from error
                # a file has one writer at a time: in a shared topic `produce` writes to one more, the last
                for number in range(partitions + spec.shared):
                    _path(folder, number).touch()
                made.append(spec.name)
        return made

    def remove_topics(self, names: Sequence[str]) -> None:
        for name in names:
            with suppress(FileNotFoundError):
                shutil.rmtree(self._folder / name)

    def describe(self, topic: str) -> Description:
        return Description(self.partitions(topic), 1, {})

    def partitions(self, topic: str) -> int:
        return _partitions(self._folder, topic)

    def topic_id(self, topic: str) -> str | None:
        return None

    def watch(self, topic: str) -> Callable[[], None]:
        return lambda: None

    def end_offset(self, topic: str, partition: int) -> int:
        with _opened(_path(self._folder / topic, partition)) as file:
            return _whole_length(file)

    def offset_at(self, topic: str, partition: int, timestamp: int) -> int:
        with closing(self.reader(topic, partition, None, group=None)) as reader:
            for records in records_until_end(reader):
                for record in records:
                    if record.timestamp is not None and record.timestamp >= timestamp:
                        return record.offset
            return reader.position

    def partition_of(self, key: bytes, partitions: int) -> int:
        return _partition_of(key, partitions)

    def ends(self, topic: str) -> list[End]:
        ends = []
        for number in range(self.partitions(topic)):
            end = self.end_offset(topic, number)
            times = [each.timestamp for each in self.newest(topic, number, 100) if each.timestamp is not None]
            ends.append(End(end, max(times, default=None)))
        return ends

    def newest(self, topic: str, partition: int, count: int) -> list[Record]:
        path = _path(self._folder / topic, partition)
        with _opened(path) as file:
            end = _whole_length(file)
            start = max(0, end - _READ_BYTES)
            file.seek(start)
            lines = file.read(end - start).split(b"\n")
        whole = lines[start > 0 : -1][-count:]  # the first line may be incomplete
        offset = end - sum(len(line) + 1 for line in whole)
        records = []
        for line in whole:
            records.append(_to_record(offset, line, path))
            offset += len(line) + 1
        return records

    def reader(self, topic: str, partition: int, position: int | None, *, group: str | None) -> FileReader:
        path = _path(self._folder / topic, partition)
        if position is not None and path.exists() and path.stat().st_size < position:
            raise KafkaError(
                f"{path} is shorter than offset {position}, where reading stopped: if it is another topic,"
                " set another CHILLFLOW_RECOVERY_DIR"
            )
        return FileReader(path, position or 0)

    def writer(self, name: str) -> FileWriter:
        return FileWriter(self._folder, None)

    def exactly_once_writer(self, name: str, partition: int) -> FileWriter:
        return FileWriter(self._folder, partition)

    def fence(self, name: str, partitions: int, *, keep: bool = False) -> None:
        """Nothing to do: a writer holds the lock of each file it has opened."""


def _partitions(folder: Path, topic: str) -> int:
    count = max((int(path.stem) + 1 for path in (folder / topic).glob("*.jsonl")), default=0)
    if not count:
        raise UnknownTopicError(f"no topic {topic!r} in {folder}: run `create-topic --topic {topic}`")
    return count


def _partition_of(key: bytes, partitions: int) -> int:
    return crc32(key) % partitions


def _path(folder: Path, partition: int) -> Path:
    return folder / f"{partition:04d}.jsonl"


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb", buffering=0)
    except FileNotFoundError as error:
        raise UnknownTopicError(f"{path} does not exist") from error


def _whole_length(file: IO[bytes]) -> int:
    """Length of the file in bytes without a torn last line."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - 65_536)
        file.seek(start)
        at = file.read(end - start).rfind(b"\n")
        if at >= 0:
            return start + at + 1
        end = start
    return 0


class FileReader:
    """A reader of complete lines; a line that is still being written is read later."""

    def __init__(self, path: Path, position: int) -> None:
        self.position = position
        self.at_end = False
        self._path = path
        self._file = _opened(path)
        self._rest = b""

    def read(self, limit: int) -> list[Record]:
        if b"\n" not in self._rest:
            self._rest = self._whole_lines()
        *lines, last = self._rest.split(b"\n", limit)
        self._rest = last
        self.at_end = not lines
        records = []
        for line in lines:
            records.append(_to_record(self.position, line, self._path))
            self.position += len(line) + 1
        return records

    def columns(self, limit: int) -> RecordColumns | None:
        records = self.read(limit)
        return RecordColumns.of(records) if records else None

    def _whole_lines(self) -> bytes:
        """The next bytes, at least one whole line. A torn line is read again later: the next writer truncates it."""
        self._file.seek(self.position)
        found = b""
        while b"\n" not in found:
            more = self._file.read(_READ_BYTES)
            if not more:
                break
            found += more
        return found

    def commit(self, position: int) -> None:
        """Nothing to do: files have no consumer groups."""

    def close(self) -> None:
        self._file.close()


def _to_record(offset: int, line: bytes, path: Path) -> Record:
    try:
        parsed = _decode(line)
    except msgspec.MsgspecError as error:
        raise KafkaError(f"{path}, byte {offset}: not a record of a file log ({error})") from error
    key = parsed.key.encode() if parsed.key is not None else _from_base64(parsed.key_b64)
    value = bytes(parsed.value) or _from_base64(parsed.value_b64)
    headers = tuple((name, base64.b64decode(data)) for name, data in parsed.headers or ()) or None
    return Record(offset, parsed.ts, key, value, headers)


class FileWriter:
    """A writer that appends lines. Flushed lines survive the end of the process, but not a power failure.

    There are no transactions: readers may see lines before a flush.
    """

    def __init__(self, folder: Path, partition: int | None) -> None:
        """`partition` is for messages sent without one; None for the partition of their keys."""
        self.delivered = 0
        self.failed = 0
        self._folder = folder
        self._partition = partition
        self._files: dict[tuple[str, int], IO[bytes]] = {}
        self._counts: dict[str, int] = {}
        self._pending = 0

    def send(self, message: Message, partition: int | None = None) -> None:
        number = self._partition if partition is None else partition
        if number is None:
            count = self._count(message.topic)
            number = _partition_of(message.key, count) if message.key else count - 1
        file = self._files.get((message.topic, number)) or self._open(message.topic, number)
        file.write(_to_line(message))
        self._pending += 1

    def send_all(self, messages: Iterable[Message], partition: int | None = None) -> None:
        for message in messages:
            self.send(message, partition)

    def send_columns(self, columns: MessageColumns) -> None:
        self.send_all(columns)

    def flush(self) -> None:
        for file in self._files.values():
            file.flush()
        self.delivered += self._pending
        self._pending = 0

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _count(self, topic: str) -> int:
        if topic not in self._counts:
            self._counts[topic] = _partitions(self._folder, topic)
        return self._counts[topic]

    def _open(self, topic: str, number: int) -> IO[bytes]:
        self._count(topic)  # raises for an unknown topic
        path = _path(self._folder / topic, number)
        file = path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            raise KafkaError(f"another command is writing to {path}") from error
        with path.open("rb") as existing:
            file.truncate(_whole_length(existing))
        self._files[topic, number] = file
        return file


def _to_line(message: Message) -> bytes:
    line = _Line(ts=message.timestamp)
    try:
        line.key = message.key.decode() if message.key is not None else None
    except UnicodeDecodeError:
        line.key_b64 = _to_base64(message.key)
    if message.value is not None:
        if _is_json(message.value):
            line.value = msgspec.Raw(message.value)
        else:
            line.value_b64 = _to_base64(message.value)
    if message.headers:
        line.headers = [(name, _to_base64(data) or "") for name, data in message.headers]
    return _encode(line) + b"\n"


def _is_json(value: bytes) -> bool:
    if not (value.startswith(b"{") and value.endswith(b"}")) or b"\n" in value:
        return False
    try:
        value.decode()
        msgspec.json.decode(value, type=msgspec.Raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return False
    return True


def _to_base64(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def _from_base64(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)
