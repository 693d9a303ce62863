"""Kafka as a log, through confluent-kafka, because Bytewax's own connectors lose data without an error.

Every delivery is checked (librdkafka counts unacknowledged messages and calls back for failed ones), and every call
that waits for a broker has a time limit.
"""

from __future__ import annotations

import logging
import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import timedelta
from itertools import chain, repeat
from operator import attrgetter
from typing import TypeAlias, TypeVar, cast

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
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,
    ListOffsetsResultInfo,
    OffsetSpec,
    ResourceType,
    TopicDescription,
)
from confluent_kafka.cimpl import NewTopic

from chillflow.connectors.log import Description, End, OffsetUnit, records_until_end
from chillflow.connectors.retrying import Retrying
from chillflow.errors import (
    ChillFlowError,
    DeliveryError,
    KafkaError,
    KafkaUnavailableError,
    UnknownTopicError,
)
from chillflow.keyed.batches import Headers, Record, RecordColumns
from chillflow.model.messages import Message, MessageColumns
from chillflow.model.topics import TopicSpec
from chillflow.telemetry.clocks import Clocks
from chillflow.telemetry.logs import get_logger

__all__ = ["KafkaLog", "KafkaReader", "KafkaWriter", "murmur2"]

T = TypeVar("T")
_Config: TypeAlias = dict[str, object]
"""librdkafka's properties, and the callbacks and loggers of confluent-kafka."""
_Fields: TypeAlias = tuple[bytes | None, bytes | None, int | None, Headers]
_fields: Callable[[Message], _Fields] = attrgetter("value", "key", "timestamp", "headers")
_TRANSACTION_TIMEOUT = timedelta(minutes=5)
"""Longer than any outage limit (at most 4 minutes). The cost: if an instance is killed and not restarted, readers wait
this long for messages behind its open transaction."""
_BROKER_GONE = -137
"""`_DESTROY_BROKER`, unnamed in older clients: a broker that restarts may be missing from the metadata."""
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
    ClientError.FENCED_LEADER_EPOCH,
    ClientError.UNKNOWN_LEADER_EPOCH,
    ClientError._UNKNOWN_PARTITION,
}
_UNAUTHENTICATED = {ClientError._AUTHENTICATION, ClientError._SSL, ClientError.SASL_AUTHENTICATION_FAILED}
_UNAUTHORIZED = {
    ClientError.TOPIC_AUTHORIZATION_FAILED,
    ClientError.GROUP_AUTHORIZATION_FAILED,
    ClientError.CLUSTER_AUTHORIZATION_FAILED,
    ClientError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
}
_PAUSE_SECONDS = 0.05
"""Pause before a request is repeated."""
_LAST_REPORT_SECONDS = 0.1
"""How long a failed writer waits for delivery reports, which name the cause."""
_FENCED = {ClientError._FENCED, ClientError.INVALID_PRODUCER_EPOCH, ClientError.PRODUCER_FENCED}
_WATCH_SECONDS = 5.0
"""Pause between checks of a topic."""
_PARALLEL = 8
"""Writers initialised at the same time."""
_log = get_logger("chillflow.kafka")
# librdkafka writes to stderr unless it has a logger
_client_log = logging.getLogger("chillflow.kafka")
# Failed transactions are raised as our errors. GETPID: a broker that has just started answers "coordinator load in
# progress", and librdkafka retries; if that never succeeds, the waiting call fails.
_client_log.addFilter(lambda record: not record.getMessage().startswith(("GETPID", "TXNERR", "ADDPARTS", "FATAL")))

_silence = logging.getLogger("chillflow.kafka.silence")
"""Logger of the admin client, whose calls raise its errors."""
_silence.disabled = True


def _line(error: ClientError | None) -> str:
    """The error in one line, without the broker's address and the time it took."""
    text = (error.str() if error is not None else "unknown error").strip().splitlines()[0]
    advice = " (see docs/security.md)" if error is not None and error.code() in _UNAUTHENTICATED | _UNAUTHORIZED else ""
    return re.sub(r"^\w+://\S+: | \(after \d+ ?ms( in state \w+)?\)$", "", text).rstrip(".") + advice


class KafkaLog:
    """The log of a Kafka cluster. `properties` are librdkafka's."""

    offset_unit: OffsetUnit = "messages"

    def __init__(
        self,
        servers: str,
        properties: Mapping[str, str],
        timeout: timedelta,
        outage_limit: timedelta = timedelta(minutes=2),
        on_delivery_error: Callable[[], None] = lambda: None,
        clocks: Clocks = Clocks(),
    ) -> None:
        """`timeout` limits the wait for the first answer, `outage_limit` any later outage.

        `on_delivery_error` is called for each write error, including those that are retried.
        """
        self._on_delivery_error = on_delivery_error
        self._has_answered = False
        self._refusal: ClientError | None = None
        """Why a broker refused the connection."""
        self._all_brokers_down = False
        self._servers = servers
        self._timeout = timeout.total_seconds()
        self._outage_limit = outage_limit
        self._clocks = clocks
        self._common: _Config = {
            "bootstrap.servers": servers,
            "logger": _client_log,
            "log_level": 5,  # no line for each closed connection: its consequences are reported
            "reconnect.backoff.max.ms": 1_000,  # 10 s by default, which would prolong an outage
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
            NewTopic(spec.name, num_partitions=partitions, replication_factor=replication_factor, config=spec.config)
            for spec in missing
        ]
        futures = self._admin.create_topics(topics, operation_timeout=self._timeout)
        made = self._succeeded("create", futures, unless=ClientError.TOPIC_ALREADY_EXISTS)
        self._wait_until(lambda known: known >= {*made}, f"topics {', '.join(made)} were created, but do not appear")
        return made

    def remove_topics(self, names: Sequence[str]) -> None:
        existing = self._topics()
        if there := [name for name in names if name in existing]:
            futures = self._admin.delete_topics(there, operation_timeout=self._timeout)
            self._succeeded("delete", futures, unless=ClientError.UNKNOWN_TOPIC_OR_PART)
            self._wait_until(
                lambda known: known.isdisjoint(there), f"topics {', '.join(there)} were deleted, but remain"
            )

    def _succeeded(self, what: str, futures: Mapping[str, Future[None]], *, unless: int) -> list[str]:
        """The topics for which the request succeeded; the error code `unless` says that it was not needed."""
        done = []
        for name, future in futures.items():
            try:
                future.result(timeout=self._timeout + 5)
                done.append(name)
            except KafkaException as error:
                reason = error.args[0]
                if reason.code() != unless:
                    # an existing topic that we may not describe looks like a missing one
                    hidden = " (or see whether it exists)" if reason.code() in _UNAUTHORIZED else ""
                    raise KafkaError(f"cannot {what} topic {name!r}{hidden}: {_line(reason)}") from error
        return done

    def _wait_until(self, is_done: Callable[[Set[str]], bool], problem: str) -> None:
        """Wait until the topics have changed: the controller answers before every broker has the new metadata."""
        polling = Retrying(pause=_PAUSE_SECONDS, clocks=self._clocks)
        while not is_done(self._topics().keys()):
            if polling.expired(self._timeout):
                raise KafkaError(f"{problem} (waited {self._timeout:g} s)")
            polling.pause()

    def describe(self, topic: str) -> Description:
        partitions = self.partitions(topic)
        metadata = self._call(lambda: self._admin.list_topics(topic, timeout=self._timeout)).topics[topic]
        resource = ConfigResource(ResourceType.TOPIC, topic)
        config = self._call(
            lambda: self._admin.describe_configs([resource], request_timeout=self._timeout)[resource].result()
        )
        replicas = len(metadata.partitions[0].replicas)
        return Description(partitions, replicas, {name: entry.value for name, entry in config.items()})

    def partitions(self, topic: str) -> int:
        count = self._topics(topic).get(topic)
        if count is None:
            raise UnknownTopicError(f"no topic {topic!r} on {self._servers}: run `create-topic --topic {topic}`")
        return count

    def topic_id(self, topic: str) -> str | None:
        return str(self._call(lambda: self._described(topic).result()).topic_id)

    def watch(self, topic: str) -> Callable[[], None]:
        first = self._call(lambda: self._described(topic).result())
        return _Watch(topic, lambda: self._described(topic), first, self._clocks)

    def _described(self, topic: str) -> Future[TopicDescription]:
        return self._admin.describe_topics(TopicCollection([topic]), request_timeout=self._timeout)[topic]

    def end_offset(self, topic: str, partition: int) -> int:
        return self._offset_range(topic, partition)[1]

    def offset_at(self, topic: str, partition: int, timestamp: int) -> int:
        where = TopicPartition(topic, partition, timestamp)
        (found,) = self._call(lambda: self._lookup.offsets_for_times([where], timeout=self._timeout))
        return found.offset if found.offset >= 0 else self.end_offset(topic, partition)

    def partition_of(self, key: bytes, partitions: int) -> int:
        return murmur2(key) % partitions

    def ends(self, topic: str) -> list[End]:
        partitions = [TopicPartition(topic, number) for number in range(self.partitions(topic))]

        def offsets(spec: OffsetSpec) -> list[ListOffsetsResultInfo]:
            found = self._admin.list_offsets(
                dict.fromkeys(partitions, spec),
                isolation_level=IsolationLevel.READ_COMMITTED,  # as our readers do
                request_timeout=self._timeout,
            )
            return [future.result() for future in found.values()]

        latest, newest = self._call(lambda: (offsets(OffsetSpec.latest()), offsets(OffsetSpec.max_timestamp())))
        return [
            End(end.offset, last.timestamp if last.timestamp >= 0 else None)
            for end, last in zip(latest, newest, strict=True)
        ]

    def newest(self, topic: str, partition: int, count: int) -> list[Record]:
        low, high = self._offset_range(topic, partition)
        with closing(self.reader(topic, partition, max(low, high - count), group=None)) as reader:
            batches = records_until_end(reader, end=high, limit=count, patience=self._timeout, clocks=self._clocks)
            return [*chain.from_iterable(batches)]

    def reader(self, topic: str, partition: int, position: int | None, *, group: str | None) -> KafkaReader:
        if position is None:
            # for OFFSET_BEGINNING librdkafka requests the offset before it knows a leader, and then waits 500 ms
            position, _ = self._offset_range(topic, partition)
        return KafkaReader(self._consumer(group), TopicPartition(topic, partition, position))

    def writer(self, name: str) -> KafkaWriter:
        return KafkaWriter(self._producer_config(name), self._topics(), self._on_delivery_error)

    def exactly_once_writer(self, name: str, partition: int) -> KafkaWriter:
        if (kept := self._kept.pop((name, partition), None)) is not None:
            return kept
        config = {
            # By default the client connects on demand, and often requests the coordinator before it is connected, and
            # again only after 500 ms. The cost: a connection to each broker.
            "enable.sparse.connections": False,
            "transaction.timeout.ms": _TRANSACTION_TIMEOUT // timedelta(milliseconds=1),
            **self._producer_config(f"{name}-{partition}"),
            "transactional.id": f"{name}-{partition}",
        }
        return KafkaWriter(
            config,
            self._topics(),
            self._on_delivery_error,
            transactional=True,
            timeout=self._timeout,
            outage_limit=self._outage_limit.total_seconds(),
            clocks=self._clocks,
        )

    def fence(self, name: str, partitions: int, *, keep: bool = False) -> None:
        numbers = range(partitions)
        with ThreadPoolExecutor(_PARALLEL) as pool:  # each waits for its coordinator, 0.1 s or more
            writers = [*pool.map(lambda number: self.exactly_once_writer(name, number), numbers)]
        if keep:
            self._kept = {(name, number): writer for number, writer in zip(numbers, writers, strict=True)}
        else:
            for writer in writers:
                writer.close()

    def _producer_config(self, client_id: str) -> _Config:
        return {
            "client.id": client_id,
            "enable.idempotence": True,
            "partitioner": "murmur2_random",  # Java's: all producers then put the events of a trip in one partition
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
            config: _Config = {**self._common, "error_cb": self._on_error, "logger": _silence}
            typed = cast("dict[str, str | int | float | bool]", config)  # the types its stub allows
            self._admin_client = self._client(lambda: AdminClient(typed))
        return self._admin_client

    def _on_error(self, error: ClientError) -> None:
        if error.code() in _UNAUTHENTICATED:
            self._refusal = error
        self._all_brokers_down = self._all_brokers_down or error.code() == ClientError._ALL_BROKERS_DOWN

    def _connect(self) -> None:
        """Wait until a broker accepts the connection.

        Only a callback reports a wrong password or certificate; any other request would wait for its timeout.
        """
        self._refusal, self._all_brokers_down, admin = None, False, self._admin
        answer = admin.describe_cluster(request_timeout=self._timeout)
        while not answer.done():
            admin.poll(0.01)
            if self._refusal is not None and self._all_brokers_down:
                raise KafkaError(f"Kafka at {self._servers}: {_line(self._refusal)}")
        answer.result()
        self._has_answered = True

    def _topics(self, topic: str | None = None) -> dict[str, int]:
        """Number of partitions by topic, for all topics or one."""
        metadata = self._call(lambda: self._admin.list_topics(*([topic] if topic else []), timeout=self._timeout))
        for name, found in metadata.topics.items():
            if found.error is not None and found.error.code() == ClientError.TOPIC_AUTHORIZATION_FAILED:
                raise KafkaError(f"topic {name!r}: {_line(found.error)}")
        return {name: len(found.partitions) for name, found in metadata.topics.items() if found.error is None}

    def _consumer(self, group: str | None) -> Consumer:
        config = {
            "client.id": group or "chillflow",
            "group.id": group or "chillflow-lookup",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "auto.offset.reset": "error",  # a deleted offset is an error, never skipped silently
            "fetch.queue.backoff.ms": 10,  # 1,000 by default, which pauses reading for a second when queues are full
            "queued.max.messages.kbytes": 2_048,
            "fetch.wait.max.ms": 100,
            "on_commit": _on_commit,
            **self._common,
        }
        return self._client(lambda: Consumer(config))

    def _offset_range(self, topic: str, partition: int) -> tuple[int, int]:
        """The offsets of the first message and of the next one."""
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
            raise KafkaError(f"wrong Kafka setting: {_line(error.args[0])}") from error

    def _call(self, request: Callable[[], T]) -> T:
        """Make a request; its errors are raised as ours.

        Retries while a broker that has answered before is away, or a new topic has no leader yet.
        """
        retrying = Retrying(pause=_PAUSE_SECONDS, clocks=self._clocks)
        while True:
            try:
                if not self._has_answered:
                    self._connect()
                return request()
            except KafkaException as error:
                code = error.args[0].code()
                limit = self._outage_limit.total_seconds() if self._has_answered else self._timeout
                may_help = code in _NO_LEADER_YET or (self._has_answered and code in _UNREACHABLE)
                if not may_help or retrying.expired(limit):
                    raise self._request_error(error.args[0], limit) from error
                if code == ClientError._UNKNOWN_PARTITION:
                    self._lookup_client = None  # after an outage a client may report this forever
            retrying.pause()

    def _request_error(self, reason: ClientError, limit: float) -> KafkaError:
        if reason.code() in _UNREACHABLE:
            return KafkaUnavailableError(
                f"no Kafka broker answers at {self._servers} (waited {limit:g} s):"
                " start one, or set KAFKA_BOOTSTRAP_SERVERS"
            )
        if reason.code() == ClientError.UNKNOWN_TOPIC_OR_PART:
            return UnknownTopicError(_line(reason))
        return KafkaError(f"Kafka at {self._servers}: {_line(reason)}")


class _Watch:
    """A non-blocking check that a topic is still the one it was at the start.

    A consumer does not notice: it reads nothing from a deleted topic, and continues in a recreated one at its old
    offset, past the first messages.
    """

    def __init__(
        self,
        topic: str,
        describe: Callable[[], Future[TopicDescription]],
        first: TopicDescription,
        clocks: Clocks,
    ) -> None:
        self._topic = topic
        self._describe = describe
        self._first = first
        self._monotonic = clocks.monotonic
        self._answer: Future[TopicDescription] | None = None
        self._next = self._monotonic() + _WATCH_SECONDS

    def __call__(self) -> None:
        if self._answer is None:
            if self._monotonic() >= self._next:
                self._answer = self._describe()
        elif self._answer.done():
            answer, self._answer = self._answer, None
            self._next = self._monotonic() + _WATCH_SECONDS
            self._compare(answer)

    def _compare(self, answer: Future[TopicDescription]) -> None:
        try:
            now = answer.result()
        except KafkaException as error:
            if error.args[0].code() == ClientError.UNKNOWN_TOPIC_OR_PART:
                raise UnknownTopicError(f"topic {self._topic!r} was deleted while it was being read") from error
            return  # the broker is away: the next request that needs it fails
        if str(now.topic_id) != str(self._first.topic_id):
            raise KafkaError(
                f"topic {self._topic!r} was recreated while it was being read: its old messages are gone,"
                " start over with `reset` (see docs/operations.md)"
            )
        if len(now.partitions) != len(self._first.partitions):
            raise KafkaError(
                f"topic {self._topic!r} now has {len(now.partitions)} partitions, of which"
                f" {len(self._first.partitions)} are read: start over with `reset` (see docs/operations.md)"
            )


def murmur2(key: bytes) -> int:
    """Kafka's non-negative hash of a key (`murmur2` and `toPositive` of org.apache.kafka.common.utils.Utils)."""
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


# as functions, for `map`; the casts hold for messages without an error
_error, _timestamp, _key, _value = ClientMessage.error, ClientMessage.timestamp, ClientMessage.key, ClientMessage.value
_offset = cast("Callable[[ClientMessage], int]", ClientMessage.offset)
_headers = cast("Callable[[ClientMessage], list[tuple[str, bytes]] | None]", ClientMessage.headers)


def _on_commit(error: ClientError | None, partitions: Sequence[TopicPartition]) -> None:
    """Log a failed commit, which only lag tools miss. The reader itself reports a missing coordinator."""
    if error is not None and error.code() != ClientError._WAIT_COORD:
        _log.warning("offsets not committed", error=_line(error))


class KafkaReader:
    """A reader of the committed messages of one partition."""

    def __init__(self, consumer: Consumer, start: TopicPartition) -> None:
        self._consumer = consumer
        self._topic, self._partition = start.topic, start.partition
        self.position = start.offset
        self.at_end = False
        consumer.assign([start])

    def read(self, limit: int) -> list[Record]:
        columns = self.columns(limit)
        return columns.records() if columns is not None else []

    def columns(self, limit: int) -> RecordColumns | None:
        messages = self._consumer.consume(limit, 0)
        if any(map(_error, messages)):
            messages = self._without_errors(messages)
        elif messages:
            self.at_end = False  # the end is reported once, and is the end until a message arrives
        if not messages:
            return None
        offsets = [*map(_offset, messages)]
        self.position = max(self.position, offsets[-1] + 1)
        return RecordColumns(
            offsets,
            [timestamp if kind else None for kind, timestamp in map(_timestamp, messages)],
            [*map(_key, messages)],
            [*map(_value, messages)],
            [tuple(some) if some else None for some in map(_headers, messages)],
        )

    def _without_errors(self, messages: list[ClientMessage]) -> list[ClientMessage]:
        """The messages that are records. The others report the end of the partition, or an error to raise."""
        records = []
        for message in messages:
            error = message.error()
            if error is None:
                self.at_end = False
                records.append(message)
            elif error.code() == ClientError._PARTITION_EOF:
                self.position = max(self.position, message.offset() or 0)  # past transaction markers
                self.at_end = True
            else:
                self._report(error)
        return records

    def commit(self, position: int) -> None:
        where = TopicPartition(self._topic, self._partition, position)
        try:
            self._consumer.commit(offsets=[where], asynchronous=True)
        except KafkaException as error:
            _on_commit(error.args[0], [where])

    def close(self) -> None:
        self._consumer.close()

    def _report(self, error: ClientError) -> None:
        """Raise an error that librdkafka does not retry as ours; log an unreachable broker."""
        where = f"{self._topic}[{self._partition}]"
        if error.code() in _UNREACHABLE:  # librdkafka keeps trying
            _log.warning("cannot read", topic=self._topic, partition=self._partition, error=_line(error))
        elif error.code() == ClientError._AUTO_OFFSET_RESET:
            raise KafkaError(
                f"{where}: offset {self.position} is not in the topic any more (retention, or recreated?);"
                " its messages are lost to this run: see docs/operations.md"
            )
        elif error.code() in (ClientError.UNKNOWN_TOPIC_OR_PART, ClientError._UNKNOWN_PARTITION):
            raise UnknownTopicError(f"{where}: {_line(error)}")
        elif not error.retriable() and error.code() not in _NO_LEADER_YET:
            raise KafkaError(f"{where}: {_line(error)}")


class KafkaWriter:
    """An idempotent producer that raises its first delivery failure at the next call.

    A transactional one begins a transaction with the first message after a flush, and commits it in `flush`.
    """

    def __init__(
        self,
        config: Mapping[str, object],
        partitions: Mapping[str, int],
        on_delivery_error: Callable[[], None],
        *,
        transactional: bool = False,
        timeout: float = 10.0,
        outage_limit: float = 120.0,
        clocks: Clocks = Clocks(),
    ) -> None:
        self.failed = 0
        self._sent = 0
        self._partitions = partitions
        self._transactional = transactional
        self._timeout = timeout
        self._outage_limit = outage_limit
        self._clocks = clocks
        self._on_delivery_error = on_delivery_error
        self._in_transaction = False
        self._topics: set[str] = set()
        """Topics of the open transaction."""
        self._error: ChillFlowError | None = None
        self._producer = KafkaLog._client(
            lambda: Producer({**config, "on_delivery": self._on_delivery, "error_cb": self._on_error})
        )
        if transactional:
            self._retried(lambda: self._producer.init_transactions(timeout))

    @property
    def delivered(self) -> int:
        """Messages the broker has acknowledged: `len` of the producer is the number in flight."""
        return self._sent - self.failed - len(self._producer)

    def send(self, message: Message, partition: int | None = None) -> None:
        self._send(message.topic, (_fields(message),), partition)

    def send_all(self, messages: Sequence[Message], partition: int | None = None) -> None:
        self._send(messages[0].topic, map(_fields, messages), partition)
        self._serve_reports()

    def send_columns(self, columns: MessageColumns) -> None:
        fields = zip(columns.values, columns.keys, columns.timestamps, repeat(()))
        self._send(columns.topic, fields, None)
        self._serve_reports()

    def _serve_reports(self) -> None:
        # Acknowledged messages fill the queue until their reports are served. A thread that served them would take the
        # GIL for each message.
        self._served(lambda: self._producer.poll(0))

    def _send(self, topic: str, messages: Iterable[_Fields], partition: int | None) -> None:
        self._raise_first()
        count = self._partitions.get(topic)
        if count is None:
            raise UnknownTopicError(f"no topic {topic!r}: run `create-topic --topic {topic}`")
        if self._transactional and not self._in_transaction:
            self._retried(self._producer.begin_transaction)
            self._in_transaction = True
        self._topics.add(topic)
        number = -1 if partition is None else partition % count
        produce = self._producer.produce
        for value, key, timestamp, some_headers in messages:
            headers: list[tuple[str, bytes | str | None]] | None = [*some_headers] if some_headers else None
            while True:
                try:  # positional arguments, which are a quarter faster than by name; no callbacks
                    produce(topic, value, key, number, None, None, timestamp or 0, headers)
                    break
                except BufferError:
                    self._served(lambda: self._producer.flush(0.1))
                    self._raise_first()
                except KafkaException as failure:
                    raise self._cause(failure.args[0], topic) from failure
            self._sent += 1

    def flush(self) -> None:
        while self._served(lambda: self._producer.flush(0.5)):
            self._raise_first()
        self._raise_first()
        if self._in_transaction:
            self._retried(lambda: self._producer.commit_transaction(self._timeout))
            self._in_transaction = False
            self._topics.clear()

    def close(self) -> None:
        # After a flush nothing is left. Without one the flow has failed, and this is best effort: the next instance
        # aborts an open transaction.
        with suppress(KafkaException, SystemError):
            self._producer.purge()
            self._producer.flush(1)
            if self._in_transaction:
                self._producer.abort_transaction(1)

    def _served(self, call: Callable[[], T]) -> T:
        """Make a call that serves delivery reports; its errors are raised as ours."""
        try:
            return self._call(call)
        except KafkaException as failure:
            raise self._cause(failure.args[0], "Kafka") from failure

    def _retried(self, call: Callable[[], None]) -> None:
        """Make a transaction call; repeat it while the error is retriable. No pause: the call itself waits."""
        retrying = Retrying(clocks=self._clocks)
        while True:
            try:
                self._call(call)
                return
            except KafkaException as failure:
                error: ClientError = failure.args[0]
                self._on_delivery_error()
                may_help = error.retriable() or error.code() == _BROKER_GONE
                if not may_help or retrying.expired(self._outage_limit):
                    raise self._cause(error, self._transaction_failed) from failure
            retrying.pause()

    @property
    def _transaction_failed(self) -> str:
        """The failure, with all topics of the transaction: the broker does not name the topic."""
        return "transaction failed" + (f" ({', '.join(sorted(self._topics))})" if self._topics else "")

    def _call(self, call: Callable[[], T]) -> T:
        """Call the client, and raise every failure as an exception.

        The client raises a fatal error from within its callbacks. If a callback is writing to the log, the error comes
        out as a SystemError, or as an object that is not an exception and that only a bare `except` catches.
        """
        try:
            return call()
        except (KafkaException, ChillFlowError):
            raise
        except:  # noqa: E722, S110 - it may not be an exception; `_cause` finds the cause
            pass
        raise self._cause(None, "Kafka")

    def _cause(self, error: ClientError | None, what: str) -> ChillFlowError:
        """The error to raise: fencing if that is the cause, else the first delivery failure, else `error`.

        The client may report only that it has failed. Beginning a transaction then raises the fatal error, and
        committing raises the error that ended the transaction. The report of the message that caused it may still be
        on its way.
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
            return _fenced_error()
        return self._error or DeliveryError(f"{what}: {_line(error)}")

    def _on_error(self, error: ClientError) -> None:
        """Count an error, and keep a fatal one: without this callback the client raises it within another call."""
        self._on_delivery_error()
        if error.code() in _FENCED or (error.fatal() and self._error is None):
            self._error = _fenced_error() if error.code() in _FENCED else DeliveryError(_line(error))

    def _on_delivery(self, error: ClientError | None, message: ClientMessage) -> None:
        if error is None:
            return
        self.failed += 1
        if error.code() in (ClientError._PURGE_QUEUE, ClientError._PURGE_INFLIGHT):
            return  # discarded by `close`
        self._on_delivery_error()
        if error.code() in _FENCED:
            self._error = _fenced_error()
        elif self._error is None:
            self._error = DeliveryError(f"a message for {message.topic()} was not delivered: {_line(error)}")

    def _raise_first(self) -> None:
        if self._error is not None:
            raise self._error


def _fenced_error() -> KafkaError:
    return KafkaError("another instance has taken over this pipeline's output; this one stops")
