"""A Kafka broker and its controller (KRaft) in one JVM."""

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.servers.kafka_jars import kafka_jars
from tests.servers.server import Server, ServerError

# Few partitions, one replica and no rebalance delay let a single broker start quickly. After a crash the controller
# admits the broker only when its previous session has timed out, so that timeout is short.
PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners={listeners},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners={advertised}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map={protocols},CONTROLLER:PLAINTEXT
log.dirs={data}
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
"""
JVM_OPTIONS = [
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",  # fast compilation: the broker lives for minutes
    "-XX:+ExitOnOutOfMemoryError",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
]
CLUSTER_ID = "Y2hpbGxmbG93LXRlc3RzMQ"  # any 16 bytes in base64


class Listener(NamedTuple):
    """A listener of the broker, and the port it advertises to its clients."""

    name: str
    protocol: str
    port: int
    advertised_port: int


class KafkaServer(Server):
    """A broker on 127.0.0.1. After `kill` (SIGKILL), `start` recovers its log on the same port.

    A second listener, at `far_port`, is for clients behind a proxy that listens on `proxy_port`.
    """

    name = "Kafka"
    stop_signal = signal.SIGTERM
    kill_signal = signal.SIGKILL

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def far_port(self) -> int:
        """The port of the listener behind the proxy."""
        return self._kept_port("far-port", other_than=self.port)

    @property
    def proxy_port(self) -> int:
        """The port of the proxy, which that listener advertises."""
        return self._kept_port("proxy-port", other_than=self.far_port)

    @property
    def _listeners(self) -> list[Listener]:
        return [
            Listener("PLAINTEXT", "PLAINTEXT", self.port, self.port),
            Listener("FAR", "PLAINTEXT", self.far_port, self.proxy_port),
        ]

    @property
    def _more_properties(self) -> dict[str, str]:
        return {}

    @property
    def _properties(self) -> Path:
        return self.folder / "server.properties"

    @property
    def _mark(self) -> str:
        return str(self._properties)

    def _java(self, *arguments: str) -> list[str]:
        home = os.environ.get("JAVA_HOME")
        java = f"{home}/bin/java" if home else shutil.which("java")
        if java is None or not Path(java).exists():
            raise ServerError("no `java`: Kafka needs Java 17 or newer")
        return [java, *JVM_OPTIONS, "-cp", f"{kafka_jars()}/*", *arguments]

    def _prepare(self) -> None:
        data = self.folder / "data"
        if (data / "meta.properties").exists():
            return
        controller_port = self._kept_port("controller-port", other_than=self.port)
        text = PROPERTIES.format(
            listeners=",".join(f"{each.name}://127.0.0.1:{each.port}" for each in self._listeners),
            advertised=",".join(f"{each.name}://127.0.0.1:{each.advertised_port}" for each in self._listeners),
            protocols=",".join(f"{each.name}:{each.protocol}" for each in self._listeners),
            controller_port=controller_port,
            data=data,
        )
        more = "".join(f"{name}={value}\n" for name, value in self._more_properties.items())
        self._properties.write_text(text + more)
        tool = ["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(self._properties)]
        with self.log.open("ab") as log:
            done = subprocess.run(self._java(*tool), stdout=log, stderr=log, check=False)
        if done.returncode != 0:
            raise self._error(f"storage could not be formatted (status {done.returncode})")

    def _spawn(self) -> subprocess.Popen[bytes]:
        return self._popen(self._java("kafka.Kafka", str(self._properties)))

    def _answers(self) -> bool:
        """Whether topics can be created: the broker is listed once the controller lets it lead partitions."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
        try:
            return bool(admin.list_topics(timeout=0.5).brokers)
        except KafkaException:
            return False
