"""Kafka as a log, by way of confluent-kafka. Bytewax's own connectors lose data without an error.

Every delivery report is checked (librdkafka counts what is not acknowledged, and calls back for what failed),
and no call waits for a broker without a limit.
"""

from __future__ import annotations

import logging
import re
import struct
import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from itertools import repeat
from operator import attrgetter
from typing import Any, TypeAlias, TypeVar

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka import KafkaError as ClientError
from confluent_kafka import Message as ClientMessage
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec, ResourceType  # type: ignore[attr-defined]
from confluent_kafka.cimpl import NewTopic

from chillflow.connectors.log import Description, End, LogColumns, LogRecord, OffsetUnit
from chillflow.errors import (
    ChillFlowError,
    DeliveryError,
    KafkaError,
    KafkaUnavailableError,
    UnknownTopicError,
)
from chillflow.keyed.batches import Headers
from chillflow.model.messages import Message, MessageColumns
from chillflow.model.topics import TopicSpec
from chillflow.telemetry.logs import get_logger

__all__ = ["KafkaLog", "KafkaReader", "KafkaWriter", "murmur2"]

T = TypeVar("T")
_Fields: TypeAlias = tuple[bytes | None, bytes | None, int | None, Headers]
_fields: Callable[[Message], _Fields] = attrgetter("value", "key", "timestamp", "headers")
_TRANSACTION_TIMEOUT = timedelta(minutes=5)
"""Longer than any outage that is ridden out. The price: where an instance was killed and none is started again,
readers wait so long for what stands behind its open transaction."""
_BROKER_GONE = -137
"""`_DESTROY_BROKER`, which older clients do not name: while a broker restarts it may be in no metadata."""
_UNREACHABLE = {
    _BROKER_GONE,
    ClientError._TRANSPORT,
    ClientError._ALL_BROKERS_DOWN,
    ClientError._TIMED_OUT,
    ClientError._RESOLVE,
    ClientError.BROKER_NOT_AVAILABLE,
}
_NO_LEADER_YET = {
    ClientError.NOT_LEADER_FOR_PARTITION,
    ClientError.LEADER_NOT_AVAILABLE,
    ClientError._UNKNOWN_PARTITION,
}
_NOT_LET_IN = {ClientError._AUTHENTICATION, ClientError._SSL, ClientError.SASL_AUTHENTICATION_FAILED}
_NOT_ALLOWED = {
    ClientError.TOPIC_AUTHORIZATION_FAILED,
    ClientError.GROUP_AUTHORIZATION_FAILED,
    ClientError.CLUSTER_AUTHORIZATION_FAILED,
    ClientError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
}
_LAST_REPORT_SECONDS = 0.1
"""How long a failed writer waits for the reports of deliveries that tell why."""
_FENCED = {ClientError._FENCED, ClientError.INVALID_PRODUCER_EPOCH, ClientError.PRODUCER_FENCED}
_WATCH_SECONDS = 5.0
_AT_ONCE = 8
"""Writers that are made at the same time."""
_log = get_logger("chillflow.kafka")
# librdkafka writes to stderr unless it is given a logger
_client_log = logging.getLogger("chillflow.kafka")
# What a transaction fails with is told by an error of ours. A broker that has just started answers "coordinator load
# in progress", and librdkafka tries again (GETPID): if it never succeeds the call that waits for it fails.
_client_log.addFilter(lambda record: not record.getMessage().startswith(("GETPID", "TXNERR", "ADDPARTS", "FATAL")))

_silence = logging.getLogger("chillflow.kafka.silence")
"""Of the client that asks: its errors are those of its questions."""
_silence.disabled = True


def _message(error: ClientError | None) -> str:
    text = (error.str() if error is not None else "unknown error").strip().splitlines()[0]
    advice = " (see docs/security.md)" if error is not None and error.code() in _NOT_LET_IN | _NOT_ALLOWED else ""
    return re.sub(r"^\w+://\S+: | \(after \d+ ?ms( in state \w+)?\)$", "", text).rstrip(".") + advice


class KafkaLog:
    """The log of a Kafka cluster. `properties` are librdkafka's, by their own names."""

    offset_unit: OffsetUnit = "messages"

    def __init__(
        self,
        servers: str,
        properties: Mapping[str, str],
        timeout: timedelta,
        outage_limit: timedelta = timedelta(minutes=2),
        on_delivery_error: Callable[[], None] = lambda: None,
    ) -> None:
        """`timeout` is for the first answer, `outage_limit` for a broker that has answered and goes away.

        `on_delivery_error` is called at each error while writing, also at one that is tried again.
        """
        self._on_delivery_error = on_delivery_error
        self._has_answered = False
        self._refusal: ClientError | None = None
        """Why a broker has not let us in."""
        self._are_all_away = False
        self._servers = servers
        self._timeout = timeout.total_seconds()
        self._outage_limit = outage_limit
        self._common: dict[str, Any] = {
            "bootstrap.servers": servers,
            "logger": _client_log,
            "log_level": 5,  # not each connection that ends: what comes of that is told of
            "reconnect.backoff.max.ms": 1_000,  # 10 s by default: so long an outage goes on for us when it is over
            **properties,
        }
        self._admin_client: AdminClient | None = None
        self._lookup_client: Consumer | None = None
        self._kept: dict[tuple[str, int], KafkaWriter] = {}

    def ensure_topics(self, specs: Sequence[TopicSpec], partitions: int, replication_factor: int) -> list[str]:
        existing = self._topics()
        missing = [spec for spec in specs if spec.name not in existing]
        if not missing:
            return []
        topics = [
            NewTopic(
                spec.name,
                num_partitions=partitions,
                replication_factor=replication_factor,
                config=spec.config,
            )
            for spec in missing
        ]
        futures = self._admin.create_topics(topics, operation_timeout=self._timeout)
        made = self._done("make", futures, unless=ClientError.TOPIC_ALREADY_EXISTS)
        self._wait_until(lambda known: known >= {*made}, f"topics {', '.join(made)} were made, but have not come up")
        return made

    def remove_topics(self, names: Sequence[str]) -> None:
        existing = self._topics()
        if there := [name for name in names if name in existing]:
            futures = self._admin.delete_topics(there, operation_timeout=self._timeout)
            self._done("remove", futures, unless=ClientError.UNKNOWN_TOPIC_OR_PART)
            self._wait_until(lambda known: known.isdisjoint(there), f"topics {', '.join(there)} were removed, but stay")

    def _done(self, what: str, futures: Mapping[str, Any], *, unless: int) -> list[str]:
        """The topics with which it was done; those whose error is this one did not need it."""
        done = []
        for name, future in futures.items():
            try:
                future.result(timeout=self._timeout + 5)
                done.append(name)
            except KafkaException as error:
                reason = error.args[0]
                if reason.code() != unless:
                    # without the right to see it, a topic that is there looks like one that is not
                    hidden = " (or see whether it is there)" if reason.code() in _NOT_ALLOWED else ""
                    raise KafkaError(f"cannot {what} topic {name!r}{hidden}: {_message(reason)}") from error
        return done

    def _wait_until(self, is_so: Callable[[Set[str]], bool], complaint: str) -> None:
        """The broker answers before all of it knows of a change: whoever asks next would be told what was before."""
        deadline = time.monotonic() + self._timeout
        while not is_so(self._topics().keys()):
            if time.monotonic() > deadline:
                raise KafkaError(f"{complaint} (waited {self._timeout:g} s)")
            time.sleep(0.05)

    def describe(self, topic: str) -> Description:
        partitions = self.partitions(topic)
        metadata = self._call(lambda: self._admin.list_topics(topic, timeout=self._timeout)).topics[topic]
        resource = ConfigResource(ResourceType.TOPIC, topic)
        admin = self._admin
        config = self._call(
            lambda: admin.describe_configs([resource], request_timeout=self._timeout)[resource].result()
        )
        replicas = len(metadata.partitions[0].replicas)
        return Description(partitions, replicas, {name: entry.value for name, entry in config.items()})

    def partitions(self, topic: str) -> int:
        count = self._topics(topic).get(topic)
        if count is None:
            raise UnknownTopicError(f"no topic {topic!r} on {self._servers}: run `create-topic --topic {topic}`")
        return count

    def topic_id(self, topic: str) -> str | None:
        return str(self._call(lambda: self._ask_about(topic).result()).topic_id)

    def watch(self, topic: str) -> Callable[[], None]:
        return _Watch(topic, lambda: self._ask_about(topic), self._call(lambda: self._ask_about(topic).result()))

    def _ask_about(self, topic: str) -> Future[Any]:
        asked: Mapping[str, Future[Any]] = self._admin.describe_topics(
            TopicCollection([topic]), request_timeout=self._timeout
        )
        return asked[topic]

    def end_offset(self, topic: str, partition: int) -> int:
        return self._watermarks(topic, partition)[1]

    def offset_at(self, topic: str, partition: int, timestamp: int) -> int:
        where = TopicPartition(topic, partition, timestamp)
        (found,) = self._call(lambda: self._lookup.offsets_for_times([where], timeout=self._timeout))
        return found.offset if found.offset >= 0 else self.end_offset(topic, partition)

    def partition_of(self, key: bytes, partitions: int) -> int:
        return murmur2(key) % partitions

    def ends(self, topic: str) -> list[End]:
        partitions = [TopicPartition(topic, number) for number in range(self.partitions(topic))]

        def ask(spec: OffsetSpec) -> list[Any]:
            found = self._admin.list_offsets(
                dict.fromkeys(partitions, spec),
                isolation_level=IsolationLevel.READ_COMMITTED,  # what a reader of ours can come to
                request_timeout=self._timeout,
            )
            return [future.result() for future in found.values()]

        latest, newest = self._call(lambda: (ask(OffsetSpec.latest()), ask(OffsetSpec.max_timestamp())))
        return [
            End(end.offset, last.timestamp if last.timestamp >= 0 else None)
            for end, last in zip(latest, newest, strict=True)
        ]

    def newest(self, topic: str, partition: int, count: int) -> list[LogRecord]:
        low, high = self._watermarks(topic, partition)
        reader = self.reader(topic, partition, max(low, high - count), group=None)
        deadline = time.monotonic() + self._timeout
        records: list[LogRecord] = []
        while len(records) < count and not reader.at_end and time.monotonic() < deadline:
            read = reader.read(count)
            records += read
            if not read:
                time.sleep(0.005)
        reader.close()
        return records

    def reader(self, topic: str, partition: int, position: int | None, *, group: str | None) -> KafkaReader:
        if position is None:
            # asked for OFFSET_BEGINNING, librdkafka looks the offset up before it knows a leader, and waits 500 ms
            position, _ = self._watermarks(topic, partition)
        return KafkaReader(self._consumer(group), TopicPartition(topic, partition, position))

    def writer(self, name: str) -> KafkaWriter:
        return KafkaWriter(self._producer_config(name), self._topics(), self._on_delivery_error)

    def exactly_once_writer(self, name: str, partition: int) -> KafkaWriter:
        if (kept := self._kept.pop((name, partition), None)) is not None:
            return kept
        config = {
            # It connects to brokers as it needs them, by default, and often asks for a coordinator before it has one
            # broker, to ask again after 500 ms. The price: a connection to each broker.
            "enable.sparse.connections": False,
            "transaction.timeout.ms": _TRANSACTION_TIMEOUT // timedelta(milliseconds=1),
            **self._producer_config(f"{name}-{partition}"),
            "transactional.id": f"{name}-{partition}",
        }
        limits = {"timeout": self._timeout, "outage_limit": self._outage_limit.total_seconds()}
        return KafkaWriter(config, self._topics(), self._on_delivery_error, transactional=True, **limits)

    def fence(self, name: str, partitions: int, *, keep: bool = False) -> None:
        numbers = range(partitions)
        with ThreadPoolExecutor(_AT_ONCE) as pool:  # each waits for its coordinator, 0.1 s or more
            writers = [*pool.map(lambda number: self.exactly_once_writer(name, number), numbers)]
        if keep:
            self._kept = {(name, number): writer for number, writer in zip(numbers, writers, strict=True)}
        else:
            for writer in writers:
                writer.close()

    def _producer_config(self, client_id: str) -> dict[str, Any]:
        return {
            "client.id": client_id,
            "enable.idempotence": True,
            "partitioner": "murmur2_random",  # Java's: other producers' events of a trip meet ours
            "linger.ms": 20,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 200_000,
            "message.timeout.ms": self._outage_limit // timedelta(milliseconds=1),
            "delivery.report.only.error": True,
            **self._common,
        }

    @property
    def _admin(self) -> AdminClient:
        if self._admin_client is None:
            config: dict[str, Any] = {**self._common, "error_cb": self._on_error, "logger": _silence}
            self._admin_client = self._client(lambda: AdminClient(config))
        return self._admin_client

    def _on_error(self, error: ClientError) -> None:
        if error.code() in _NOT_LET_IN:
            self._refusal = error
        self._are_all_away = self._are_all_away or error.code() == ClientError._ALL_BROKERS_DOWN

    def _knock(self) -> None:
        """Wait until a broker lets us in.

        A question would wait for its answer: that a password or a certificate is wrong is told to a callback alone.
        """
        self._refusal, self._are_all_away, admin = None, False, self._admin
        asked = admin.describe_cluster(request_timeout=self._timeout)
        while not asked.done():
            admin.poll(0.01)
            if self._refusal is not None and self._are_all_away:
                raise KafkaError(f"Kafka at {self._servers}: {_message(self._refusal)}")
        asked.result()
        self._has_answered = True

    def _topics(self, topic: str | None = None) -> dict[str, int]:
        """Topics and their numbers of partitions. Asks for one only if it is named."""
        metadata = self._call(lambda: self._admin.list_topics(*([topic] if topic else []), timeout=self._timeout))
        for name, found in metadata.topics.items():
            if found.error is not None and found.error.code() == ClientError.TOPIC_AUTHORIZATION_FAILED:
                raise KafkaError(f"topic {name!r}: {_message(found.error)}")
        return {name: len(found.partitions) for name, found in metadata.topics.items() if found.error is None}

    def _consumer(self, group: str | None) -> Consumer:
        config = {
            "client.id": group or "chillflow",
            "group.id": group or "chillflow-lookup",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "auto.offset.reset": "error",  # an offset that is gone is an error, never a silent skip
            "fetch.queue.backoff.ms": 10,  # 1,000 by default: full queues then pause reading for a second
            "queued.max.messages.kbytes": 8_192,
            "fetch.wait.max.ms": 100,
            "on_commit": _on_commit,
            **self._common,
        }
        return self._client(lambda: Consumer(config))

    def _watermarks(self, topic: str, partition: int) -> tuple[int, int]:
        where = TopicPartition(topic, partition)
        low, high = self._call(lambda: self._lookup.get_watermark_offsets(where, timeout=self._timeout))
        return int(low), int(high)

    @property
    def _lookup(self) -> Consumer:
        if self._lookup_client is None:
            self._lookup_client = self._consumer(None)
        return self._lookup_client

    @staticmethod
    def _client(make: Callable[[], T]) -> T:
        try:
            return make()
        except KafkaException as error:
            raise KafkaError(f"wrong Kafka setting: {_message(error.args[0])}") from error

    def _call(self, ask: Callable[[], T]) -> T:
        """Ask the broker, with its errors as ours; again where it has gone away, or a new topic has no leader yet."""
        start = time.monotonic()
        while True:
            try:
                if not self._has_answered:
                    self._knock()
                return ask()
            except KafkaException as error:
                reason = error.args[0]
                limit = self._outage_limit.total_seconds() if self._has_answered else self._timeout
                may_come = reason.code() in _NO_LEADER_YET or (self._has_answered and reason.code() in _UNREACHABLE)
                if may_come and time.monotonic() - start < limit:
                    if reason.code() == ClientError._UNKNOWN_PARTITION:
                        self._lookup_client = None  # after an outage a client may go on saying so for ever
                    time.sleep(0.05)
                    continue
                if reason.code() in _UNREACHABLE:
                    raise KafkaUnavailableError(
                        f"no Kafka broker answers at {self._servers} (waited {limit:g} s):"
                        " start one, or set KAFKA_BOOTSTRAP_SERVERS"
                    ) from error
                if reason.code() == ClientError.UNKNOWN_TOPIC_OR_PART:
                    raise UnknownTopicError(_message(reason)) from error
                raise KafkaError(f"Kafka at {self._servers}: {_message(reason)}") from error


class _Watch:
    """Sees that a topic is still what it was when this was made, without waiting for the broker's answer.

    A consumer does not tell: of a topic that was deleted it reads nothing, and in one that was made anew it goes on
    where it was, past what stands before.
    """

    def __init__(self, topic: str, ask: Callable[[], Future[Any]], first: Any) -> None:
        self._topic = topic
        self._ask = ask
        self._first = first
        self._asked: Future[Any] | None = None
        self._next = time.monotonic() + _WATCH_SECONDS

    def __call__(self) -> None:
        if self._asked is None:
            if time.monotonic() >= self._next:
                self._asked = self._ask()
        elif self._asked.done():
            asked, self._asked = self._asked, None
            self._next = time.monotonic() + _WATCH_SECONDS
            self._compare(asked)

    def _compare(self, asked: Future[Any]) -> None:
        try:
            now = asked.result()
        except KafkaException as error:
            if error.args[0].code() == ClientError.UNKNOWN_TOPIC_OR_PART:
                raise UnknownTopicError(f"topic {self._topic!r} has been deleted while it was read") from error
            return  # the broker is away: whoever needs it will say so
        if str(now.topic_id) != str(self._first.topic_id):
            raise KafkaError(
                f"topic {self._topic!r} has been made anew while it was read: what it held is lost to this run,"
                " begin anew (see docs/operations.md)"
            )
        if len(now.partitions) != len(self._first.partitions):
            raise KafkaError(
                f"topic {self._topic!r} has {len(now.partitions)} partitions now, of which"
                f" {len(self._first.partitions)} are read: begin anew (see docs/operations.md)"
            )


def murmur2(key: bytes) -> int:
    """Kafka's hash of a key, made positive (org.apache.kafka.common.utils.Utils.murmur2 and toPositive)."""
    factor, mask = 0x5BD1E995, 0xFFFFFFFF
    value = 0x9747B28C ^ len(key)
    whole = len(key) & ~3
    for (word,) in struct.iter_unpack("<I", key[:whole]):
        mixed = word * factor & mask
        mixed = (mixed ^ mixed >> 24) * factor & mask
        value = value * factor & mask ^ mixed
    if tail := key[whole:]:
        value = (value ^ int.from_bytes(tail, "little")) * factor & mask
    value = (value ^ value >> 13) * factor & mask
    return (value ^ value >> 15) & 0x7FFFFFFF


_of: Any = ClientMessage
_error, _offset, _timestamp, _key = _of.error, _of.offset, _of.timestamp, _of.key
_value, _headers = _of.value, _of.headers


def _on_commit(error: ClientError | None, partitions: Sequence[TopicPartition]) -> None:
    """The group is for lag tools: no reason to stop. Why there is no coordinator is told where it is read."""
    if error is not None and error.code() != ClientError._WAIT_COORD:
        _log.warning("offsets not committed", error=_message(error))


class KafkaReader:
    """Reads one partition, committed messages only."""

    def __init__(self, consumer: Consumer, start: TopicPartition) -> None:
        self._consumer = consumer
        self._topic, self._partition = start.topic, start.partition
        self.position = start.offset
        self.at_end = False
        consumer.assign([start])

    def read(self, limit: int) -> list[LogRecord]:
        columns = self.columns(limit)
        return columns.records() if columns is not None else []

    def columns(self, limit: int) -> LogColumns | None:
        messages: list[Any] = self._consumer.consume(limit, 0)
        if [error for error in map(_error, messages) if error is not None]:
            messages = self._without_errors(messages)
        elif messages:
            self.at_end = False  # the end is told of once: until a message comes it is still the end
        if not messages:
            return None
        offsets = [*map(_offset, messages)]
        self.position = max(self.position, offsets[-1] + 1)
        return LogColumns(
            offsets,
            [timestamp if kind else None for kind, timestamp in map(_timestamp, messages)],
            [*map(_key, messages)],
            [*map(_value, messages)],
            [tuple(some) if some else None for some in map(_headers, messages)],
        )

    def _without_errors(self, messages: list[Any]) -> list[Any]:
        """The messages that are records; the others tell of something."""
        records = []
        for message in messages:
            error = message.error()
            if error is None:
                self.at_end = False
                records.append(message)
            elif error.code() == ClientError._PARTITION_EOF:
                self.position = max(self.position, message.offset() or 0)  # past the markers of transactions
                self.at_end = True
            else:
                self._raise(error)
        return records

    def commit(self, position: int) -> None:
        where = TopicPartition(self._topic, self._partition, position)
        try:
            self._consumer.commit(offsets=[where], asynchronous=True)
        except KafkaException as error:
            _on_commit(error.args[0], [where])

    def close(self) -> None:
        self._consumer.close()

    def _raise(self, error: ClientError) -> None:
        where = f"{self._topic}[{self._partition}]"
        if error.code() in _UNREACHABLE:
            # librdkafka goes on trying
            _log.warning("cannot read", topic=self._topic, partition=self._partition, error=_message(error))
        elif error.code() == ClientError._AUTO_OFFSET_RESET:
            raise KafkaError(
                f"{where}: offset {self.position} is not in the topic any more (retention, or made anew?);"
                " what was there is lost to this run: see docs/operations.md"
            )
        elif error.code() in (ClientError.UNKNOWN_TOPIC_OR_PART, ClientError._UNKNOWN_PARTITION):
            raise UnknownTopicError(f"{where}: {_message(error)}")
        elif not error.retriable():
            raise KafkaError(f"{where}: {_message(error)}")


class KafkaWriter:
    """An idempotent producer that keeps the first failure and raises it at the next call.

    A transactional one opens a transaction at the first message after a flush, and commits it in `flush`.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        partitions: Mapping[str, int],
        on_delivery_error: Callable[[], None],
        *,
        transactional: bool = False,
        timeout: float = 10.0,
        outage_limit: float = 120.0,
    ) -> None:
        self.failed = 0
        self._sent = 0
        self._partitions = partitions
        self._transactional = transactional
        self._timeout = timeout
        self._outage_limit = outage_limit
        self._note_error = on_delivery_error
        self._in_transaction = False
        self._topics: set[str] = set()
        """Of the transaction."""
        self._error: ChillFlowError | None = None
        self._producer = KafkaLog._client(
            lambda: Producer({**config, "on_delivery": self._on_failure, "error_cb": self._on_error})
        )
        if transactional:
            self._patiently(lambda: self._producer.init_transactions(timeout))

    @property
    def delivered(self) -> int:
        """Messages the broker has acknowledged. Of those under way librdkafka keeps the count."""
        return self._sent - self.failed - len(self._producer)

    def send(self, message: Message, partition: int | None = None) -> None:
        self._send(message.topic, (_fields(message),), partition)

    def send_all(self, messages: Sequence[Message], partition: int | None = None) -> None:
        self._send(messages[0].topic, map(_fields, messages), partition)
        self._take_in()

    def send_columns(self, columns: MessageColumns) -> None:
        fields = zip(columns.values, columns.keys, columns.timestamps, repeat(()))
        self._send(columns.topic, fields, None)
        self._take_in()

    def _take_in(self) -> None:
        # What has been acknowledged since: until it is taken in it fills the queue, and in another thread that would
        # take the GIL for each message.
        self._served(lambda: self._producer.poll(0))

    def _send(self, topic: str, messages: Iterable[_Fields], partition: int | None) -> None:
        self._raise_first()
        count = self._partitions.get(topic)
        if count is None:
            raise UnknownTopicError(f"no topic {topic!r}: run `create-topic --topic {topic}`")
        if self._transactional and not self._in_transaction:
            self._patiently(self._producer.begin_transaction)
            self._in_transaction = True
        self._topics.add(topic)
        number = -1 if partition is None else partition % count
        produce = self._producer.produce
        for value, key, timestamp, some_headers in messages:
            headers: Any = list(some_headers) if some_headers else None
            while True:
                try:  # no callback; by position, which takes a quarter less
                    produce(topic, value, key, number, None, None, timestamp or 0, headers)
                    break
                except BufferError:
                    self._served(lambda: self._producer.flush(0.1))
                    self._raise_first()
                except KafkaException as failure:
                    raise self._reason(failure.args[0], topic) from failure
            self._sent += 1

    def flush(self) -> None:
        while self._served(lambda: self._producer.flush(0.5)):
            self._raise_first()
        self._raise_first()
        if self._in_transaction:
            self._patiently(lambda: self._producer.commit_transaction(self._timeout))
            self._in_transaction = False
            self._topics.clear()

    def close(self) -> None:
        # After a flush there is nothing left; without one the flow has failed, and this is best effort: what is
        # left in a transaction the next instance undoes in any case.
        with suppress(KafkaException, SystemError):
            self._producer.purge()
            self._producer.flush(1)
            if self._in_transaction:
                self._producer.abort_transaction(1)

    def _served(self, call: Callable[[], T]) -> T:
        """Let the client tell what has become of messages."""
        try:
            return self._call(call)
        except KafkaException as failure:
            raise self._reason(failure.args[0], "Kafka") from failure

    def _patiently(self, call: Callable[[], None]) -> None:
        """Do a step of a transaction, again while the client says that this may help."""
        deadline = time.monotonic() + self._outage_limit
        while True:
            try:
                self._call(call)
                return
            except KafkaException as failure:
                error: ClientError = failure.args[0]
                self._note_error()
                may_help = error.retriable() or error.code() == _BROKER_GONE
                if not may_help or time.monotonic() > deadline:
                    raise self._reason(error, self._transaction_failed) from failure

    @property
    def _transaction_failed(self) -> str:
        """The broker does not say which topic it was."""
        return "transaction failed" + (f" ({', '.join(sorted(self._topics))})" if self._topics else "")

    def _call(self, call: Callable[[], T]) -> T:
        """Call the client; whatever goes wrong is raised as an exception.

        A fatal error is raised from within the client's callbacks; where one of these writes to the log it comes out as
        a SystemError, or as an object that is no exception and no clause but the last one takes.
        """
        try:
            return call()
        except (KafkaException, ChillFlowError):
            raise
        except:  # noqa: E722, S110 - it may be no exception at all; what it was is asked for below
            pass
        raise self._reason(None, "Kafka")

    def _reason(self, error: ClientError | None, what: str) -> ChillFlowError:
        """The error to raise: being shut out if that is the cause, else the first that was kept, else this one.

        Of a fatal error the client may say no more than that it is fatal; asked to begin a transaction, it says which
        one it is. An error after which the transaction cannot go on it names when asked to commit. The report of the
        message that caused it may still be on its way.
        """
        with suppress(Exception):
            self._producer.poll(_LAST_REPORT_SECONDS)
        try:
            self._producer.begin_transaction()
        except KafkaException as refusal:
            if refusal.args[0].fatal():
                error = refusal.args[0]
        if error is not None and error.code() == ClientError._STATE and self._in_transaction:
            try:
                self._producer.commit_transaction(self._timeout)
            except KafkaException as refusal:
                error, what = refusal.args[0], self._transaction_failed
        if error is not None and error.code() in _FENCED:
            return _fenced()
        return self._error or DeliveryError(f"{what}: {_message(error)}")

    def _on_error(self, error: ClientError) -> None:
        """Of the client as a whole; without this callback it raises a fatal one in the middle of another."""
        self._note_error()
        if error.code() in _FENCED or (error.fatal() and self._error is None):
            self._error = _fenced() if error.code() in _FENCED else DeliveryError(_message(error))

    def _on_failure(self, error: ClientError | None, message: Any) -> None:
        if error is None:
            return
        self.failed += 1
        if error.code() in (ClientError._PURGE_QUEUE, ClientError._PURGE_INFLIGHT):
            return  # thrown away by `close`
        self._note_error()
        if error.code() in _FENCED:
            self._error = _fenced()
        elif self._error is None:
            self._error = DeliveryError(f"a message for {message.topic()} was not delivered: {_message(error)}")

    def _raise_first(self) -> None:
        if self._error is not None:
            raise self._error


def _fenced() -> KafkaError:
    return KafkaError("another instance has taken over this pipeline's output; this one stops")
