"""The file log: what is written is read, a torn line is truncated, each file has one writer."""

import json
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chillflow.connectors import filelog
from chillflow.connectors.filelog import FileLog, FileReader
from chillflow.connectors.log import records_until_end
from chillflow.errors import KafkaError, UnknownTopicError
from chillflow.keyed.batches import Record
from chillflow.model.codec import encode
from chillflow.model.messages import Message
from chillflow.model.topics import TopicSpec
from tests.unit.vocabulary import five

TOPIC = TopicSpec("events", "trip_key", "an event", ("event_id",))
SHARED = TopicSpec("dlq", "as read", "anything", ("offset",), shared=True)


@pytest.fixture
def log(tmp_path: Path) -> FileLog:
    log = FileLog(tmp_path)
    log.ensure_topics([TOPIC, SHARED], 2, 1)
    return log


def path_of(tmp_path: Path, partition: int = 0) -> Path:
    return tmp_path / "events" / f"{partition:04d}.jsonl"


def write(log: FileLog, *messages: Message, partition: int = 0) -> None:
    writer = log.exactly_once_writer("test", partition)
    for message in messages:
        writer.send(message)
    writer.flush()
    assert writer.delivered == len(messages)
    writer.close()


def read_all(reader: FileReader, limit: int = 1000) -> list[Record]:
    records = [*chain.from_iterable(records_until_end(reader, limit=limit))]
    assert reader.at_end
    return records


def message(number: int = 0, value: bytes | None = b'{"a":1}') -> Message:
    return Message("events", b"key %d" % number, value, 1000 + number)


def values(log: FileLog, partition: int = 0) -> list[bytes | None]:
    return [record.value for record in read_all(log.reader("events", partition, None, group=None))]


def test_topics_are_created_once(tmp_path: Path) -> None:
    log = FileLog(tmp_path)
    assert log.ensure_topics([TOPIC, SHARED], 3, 1) == ["events", "dlq"]
    assert log.ensure_topics([TOPIC, SHARED], 5, 1) == []
    assert (log.partitions("events"), log.partitions("dlq")) == (3, 4)


def test_a_topic_without_files_is_created_again(tmp_path: Path) -> None:
    """The process that created it was killed between the folder and its files."""
    (tmp_path / "events").mkdir()
    log = FileLog(tmp_path)
    with pytest.raises(UnknownTopicError):
        log.partitions("events")
    assert log.ensure_topics([TOPIC], 3, 1) == ["events"]
    assert log.partitions("events") == 3


def test_unknown_topics_are_errors(tmp_path: Path) -> None:
    log = FileLog(tmp_path)
    with pytest.raises(UnknownTopicError):
        log.partitions("none")
    with pytest.raises(UnknownTopicError):
        log.reader("none", 0, None, group=None)
    with pytest.raises(UnknownTopicError):
        log.end_offset("none", 0)
    with pytest.raises(UnknownTopicError):
        log.newest("none", 0, 1)
    with pytest.raises(UnknownTopicError):
        log.writer("test").send(Message("none", b"k", b"v"))
    with pytest.raises(UnknownTopicError):
        log.exactly_once_writer("test", 1).send(Message("none", b"k", b"v"))


BYTES = st.none() | st.binary(max_size=40) | st.text(max_size=20).map(lambda text: text.encode("utf-8", "replace"))
JSON = st.sampled_from(
    [
        b"{}",
        b'{"a": 1}',
        b'{"a":1} ',
        b' {"a":1}',
        b'{"a":1}\n',
        b'{"a":\n1}',
        b'{"a":1}\r',
        b'{"a":"\xc3\xa9"}',
        b'{"a":"\xff"}',
        b'{"a":NaN}',
        b'{"a":1}{"b":2}',
        b"{",
        b"{}}",
        b"null",
        b"[1]",
        b"5",
        b'"x"',
        b"",
        b"{" * 3000 + b"}",
        b'{"a":' + b"[" * 3000 + b"]" * 3000 + b"}",
        b'{"a":1e999}',
        b'{"a":"' + b"x" * 100_000 + b'"}',
        *map(encode, five()),
    ]
)
MESSAGES = st.builds(
    Message,
    st.just("events"),
    BYTES,
    BYTES | JSON,
    st.none() | st.integers(-(2**62), 2**62),
    st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), st.binary(max_size=9))).map(
        tuple
    ),
)


@given(st.lists(MESSAGES, max_size=12), st.integers(1, 5))
@settings(max_examples=200, deadline=None)
def test_what_is_written_is_read_from_any_offset(
    tmp_path_factory: pytest.TempPathFactory, messages: list[Message], limit: int
) -> None:
    log = FileLog(tmp_path_factory.mktemp("log"))
    log.ensure_topics([TOPIC], 1, 1)
    write(log, *messages)
    records = read_all(log.reader("events", 0, None, group=None), limit)
    wanted = [(one.timestamp, one.key, one.value, one.headers or None) for one in messages]
    assert [(one.timestamp, one.key, one.value, one.headers) for one in records] == wanted
    end = log.end_offset("events", 0)
    assert [one.offset for one in records] == sorted({one.offset for one in records})
    for number, offset in enumerate([*(one.offset for one in records), end]):
        reader = log.reader("events", 0, offset, group=None)
        assert read_all(reader) == records[number:]
        assert reader.position == end


def test_json_values_are_embedded(log: FileLog, tmp_path: Path) -> None:
    write(log, message(1, b'{"a":1}'))
    assert json.loads(path_of(tmp_path).read_text()) == {"ts": 1001, "key": "key 1", "value": {"a": 1}}


@pytest.mark.parametrize("torn", [b"{", b'{"ts":1', b'{"ts":1,"key":"k","value":{}}', b"x" * 200_000])
def test_a_torn_last_line_is_truncated(log: FileLog, tmp_path: Path, torn: bytes) -> None:
    write(log, message(1), message(2))
    whole = path_of(tmp_path).read_bytes()
    path_of(tmp_path).write_bytes(whole + torn)
    assert log.end_offset("events", 0) == len(whole)
    assert len(values(log)) == 2
    write(log, message(3))
    assert len(values(log)) == 3
    assert path_of(tmp_path).read_bytes().startswith(whole)


def test_a_file_of_one_torn_line_is_empty(log: FileLog, tmp_path: Path) -> None:
    path_of(tmp_path).write_bytes(b'{"ts":')
    assert log.end_offset("events", 0) == 0
    write(log, message(1))
    assert len(values(log)) == 1


def test_a_line_being_written_is_read_once_complete(log: FileLog, tmp_path: Path) -> None:
    write(log, message(1), message(2))
    whole = path_of(tmp_path).read_bytes()
    path_of(tmp_path).write_bytes(b"")
    reader = log.reader("events", 0, None, group=None)
    seen = []
    for byte in whole:
        with path_of(tmp_path).open("ab") as file:
            file.write(bytes([byte]))
        seen += reader.read(10)
        assert reader.position == whole[: path_of(tmp_path).stat().st_size].rfind(b"\n") + 1
    assert [record.key for record in seen] == [b"key 1", b"key 2"]


def test_a_reader_continues_after_its_writer_was_killed(log: FileLog, tmp_path: Path) -> None:
    # The reader has seen the torn line, which the next writer truncates: it must not continue within another line.
    write(log, message(1))
    reader = log.reader("events", 0, None, group=None)
    with path_of(tmp_path).open("ab") as file:
        file.write(b'{"ts":5,"key":"torn","va')
    assert len(read_all(reader)) == 1
    write(log, message(2), message(3))
    assert [record.key for record in read_all(reader)] == [b"key 2", b"key 3"]


def test_a_line_longer_than_a_read_is_not_the_end(log: FileLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filelog, "_READ_BYTES", 16)
    write(log, *(message(number, b'{"a":"' + b"x" * 100 + b'"}') for number in range(5)))
    reader = log.reader("events", 0, None, group=None)
    for _ in range(5):
        assert len(reader.read(1)) == 1
        assert not reader.at_end
    assert reader.read(1) == []
    assert reader.at_end


def test_a_second_writer_is_refused(log: FileLog) -> None:
    first = log.exactly_once_writer("one", 0)
    first.send(message(1))
    with pytest.raises(KafkaError, match="another command is writing"):
        log.exactly_once_writer("two", 0).send(message(2))
    other = log.exactly_once_writer("two", 1)
    other.send(message(2))
    first.close()
    log.exactly_once_writer("two", 0).send(message(2))
    other.close()


def test_keys_go_to_one_partition_and_keyless_messages_to_the_last(log: FileLog, tmp_path: Path) -> None:
    writer = log.writer("test")
    for number in range(100):
        writer.send(message(number % 10))
        writer.send(Message("dlq", None, b"x"))
    writer.flush()
    assert writer.delivered == 200
    keys = [{record.key for record in read_all(log.reader("events", n, None, group=None))} for n in range(2)]
    assert not keys[0] & keys[1]
    assert len(keys[0] | keys[1]) == 10
    assert min(map(len, keys)) > 0
    assert [log.end_offset("dlq", n) > 0 for n in range(3)] == [False, False, True]
    writer.close()


def test_nothing_is_delivered_before_flush(log: FileLog) -> None:
    writer = log.exactly_once_writer("test", 0)
    writer.send(message(1))
    assert writer.delivered == 0
    writer.flush()
    assert writer.delivered == 1
    assert len(values(log)) == 1
    writer.close()


def test_offset_at_is_the_first_record_at_or_after_a_time(log: FileLog) -> None:
    write(log, *(Message("events", b"k", b"v", timestamp) for timestamp in (10, 30, None, 20, 40)))
    offsets = [record.offset for record in read_all(log.reader("events", 0, None, group=None))]
    found = [log.offset_at("events", 0, timestamp) for timestamp in (0, 10, 11, 31, 41)]
    assert found == [offsets[0], offsets[0], offsets[1], offsets[4], log.end_offset("events", 0)]
    assert log.offset_at("events", 1, 0) == 0


def test_a_position_past_the_end_is_refused(log: FileLog) -> None:
    with pytest.raises(KafkaError, match="shorter"):
        log.reader("events", 0, 5, group=None)


@pytest.mark.parametrize("line", [b"rubbish", b"[]", b'{"ts":"x"}', b"\xff"])
def test_the_error_of_an_unreadable_line_names_its_offset(log: FileLog, tmp_path: Path, line: bytes) -> None:
    path_of(tmp_path).write_bytes(line + b"\n")
    with pytest.raises(KafkaError, match="byte 0"):
        values(log)
