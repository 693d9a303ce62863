"""Topics on a broker: created for any event time, read to their end."""

import uuid
from functools import cached_property

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.servers._process import wait_until

# Events of any year are neither deleted by retention nor, with a clock set back, refused as too new.
ANY_EVENT_TIME = {"retention.ms": "-1", "message.timestamp.after.max.ms": str(2**63 - 1)}
READ_TIMEOUT = 60.0


class KafkaTopics:
    """Access to a broker without the code under test."""

    def __init__(self, bootstrap_servers: str) -> None:
        self.bootstrap_servers = bootstrap_servers

    @cached_property
    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap_servers})

    def _partitions(self, topic: str) -> list[int]:
        return sorted(self._admin.list_topics(topic, timeout=10).topics[topic].partitions)

    def exists(self, topic: str) -> bool:
        """Whether the topic exists."""
        return topic in self._admin.list_topics(timeout=10).topics

    def topic(self, prefix: str = "t", partitions: int = 4) -> str:
        """Create a topic with a unique name, and wait until the broker lists it."""
        name = f"{prefix}-{uuid.uuid4().hex[:12]}"
        new = NewTopic(name, num_partitions=partitions, replication_factor=1, config=ANY_EVENT_TIME)
        self._admin.create_topics([new])[name].result(timeout=30)
        assert wait_until(lambda: len(self._partitions(name)) == partitions, timeout=30), name
        return name

    def read_all(self, topic: str) -> list[Message]:
        """All committed messages, by partition and offset; an open transaction ends its partition."""
        partitions = self._partitions(topic)
        unread, messages = set(partitions), list[Message]()
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap_servers,
                "group.id": f"read-all-{uuid.uuid4().hex}",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 10,
            }
        )

        def read_some() -> bool:
            for message in consumer.consume(num_messages=1000, timeout=0.1):
                if (error := message.error()) is None:
                    messages.append(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    unread.discard(_place(message)[0])
                elif not error.retriable():
                    raise KafkaException(error)
            return not unread

        try:
            consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in partitions])
            assert wait_until(read_some, READ_TIMEOUT), f"no end of {topic} in partitions {sorted(unread)}"
        finally:
            consumer.close()
        return sorted(messages, key=_place)


def _place(message: Message) -> tuple[int, int]:
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    return partition, offset
