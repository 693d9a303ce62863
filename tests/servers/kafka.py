"""One Kafka broker that is its own controller (KRaft), in one JVM."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.servers.kafka_jars import kafka_jars
from tests.servers.server import Server, ServerError

# Few partitions, one replica and no wait for further group members make a single broker start quickly. After
# a crash the controller does not let the broker back in before the session of its former life has timed out.
PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
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
    "-XX:TieredStopAtLevel=1",  # compile fast rather than well: the broker lives for minutes
    "-XX:+ExitOnOutOfMemoryError",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
]
CLUSTER_ID = "Y2hpbGxmbG93LXRlc3RzMQ"  # any 16 bytes in base64


class KafkaServer(Server):
    """A broker on 127.0.0.1. `kill` is SIGKILL; `start` after it recovers the log and keeps the port."""

    name = "Kafka"
    stop_signal = signal.SIGTERM
    kill_signal = signal.SIGKILL

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self.port}"

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
        text = PROPERTIES.format(port=self.port, controller_port=controller_port, data=data)
        self._properties.write_text(text)
        tool = ["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(self._properties)]
        with self.log.open("ab") as log:
            done = subprocess.run(self._java(*tool), stdout=log, stderr=log, check=False)
        if done.returncode != 0:
            raise self._error(f"storage could not be made (status {done.returncode})")

    def _spawn(self) -> subprocess.Popen[bytes]:
        return self._popen(self._java("kafka.Kafka", str(self._properties)))

    def _answers(self) -> bool:
        """The broker is listed only once the controller lets it lead partitions: topics can be made then."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
        try:
            return bool(admin.list_topics(timeout=0.5).brokers)
        except KafkaException:
            return False
