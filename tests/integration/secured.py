"""A pipeline on servers that require passwords, with the roles and permissions of docs/security.md."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AclBinding, AdminClient  # type: ignore[attr-defined]

from tests.integration import security_page as page
from tests.pipelines.pipeline import Changes, Pipeline, unique_topics
from tests.pipelines.topics import BrokerTopics
from tests.servers.kafka_secured import SecuredKafkaServer, bindings
from tests.servers.kafka_topics import KafkaTopics

OWNER, PRODUCER, ASSEMBLER, READER = ROLES = [
    f"chillflow-{what}" for what in ("owner", "producer", "assembler", "reader")
]
PASSWORD = "Xyzzy/%s:7@q"
"""Password of a role, by its name. It contains characters that must be escaped in a URL."""


@dataclass(frozen=True)
class World:
    """A pipeline with the permissions of the page, and its servers."""

    pipeline: Pipeline
    kafka: SecuredKafkaServer
    rights: list[AclBinding]
    """All permissions granted by the page."""

    def by(self, who: str, database: str | None = None) -> Changes:
        """Environment variables to run a command as this principal, and as this database role if one is given."""
        file = self.pipeline.folder / f"password-{who}"
        file.write_text(PASSWORD % who + "\n")
        by_password, _ = page.exports()
        given = {
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.sasl_address,
            "CHILLFLOW_KAFKA_SSL_CA_LOCATION": str(self.kafka.certificates / "ca.pem"),
            "CHILLFLOW_KAFKA_SASL_USERNAME": who,
            "CHILLFLOW_KAFKA_SASL_PASSWORD_FILE": str(file),
        }
        assert given.keys() <= by_password.keys()
        return {**by_password, **given, **({"DATABASE_URL": self.url(database)} if database else {})}

    def url(self, role: str) -> str:
        """The database URL of a role."""
        parts = urlsplit(self.pipeline.database)
        name = self.role(role)
        return parts._replace(netloc=f"{name}:{quote(PASSWORD % role, safe='')}@127.0.0.1:{parts.port}").geturl()

    def role(self, name: str) -> str:
        """The role's name in this test: all tests share one server."""
        return f"{name}_{self.pipeline.topic.rpartition('-')[2]}".replace("-", "_")

    def grant(self, statements: str, by: str | None = None) -> None:
        """Run SQL of the page as a superuser, or as a role."""
        database = urlsplit(self.pipeline.database).path[1:]
        statements = statements.replace("on database chillflow ", f"on database {database} ")
        for name in (OWNER, "chillflow-writer", READER):
            password = f"'{PASSWORD % name}'"
            statements = statements.replace(f"'changeme-{name.partition('-')[2]}'", password)
            statements = statements.replace(name.replace("-", "_"), self.role(name))
        with psycopg.connect(self.url(by) if by else self.pipeline.database) as connection:
            connection.execute(statements.encode())

    def empty_results(self) -> None:
        """Delete all records of the topics that `assemble` reads back."""
        topics = KafkaTopics(self.kafka.bootstrap_servers)
        read_back = [name for name in self.results if name != self.pipeline.windows]
        ends = [TopicPartition(name, number, -1) for name in read_back for number in topics._partitions(name)]
        for future in self.admin.delete_records(ends).values():
            future.result(timeout=30)

    @property
    def results(self) -> list[str]:
        pipeline = self.pipeline
        return [pipeline.complete, pipeline.incomplete, pipeline.windows, f"{pipeline.topic}.late", pipeline.dlq]

    @property
    def admin(self) -> AdminClient:
        return self.kafka._admin


@contextmanager
def secured_world(kafka: SecuredKafkaServer, database_url: str, folder: Path) -> Iterator[World]:
    """A pipeline whose owner has created topics and tables, with the permissions of the page granted to the others."""
    topics = BrokerTopics(KafkaTopics(kafka.bootstrap_servers))
    pipeline = Pipeline(folder, kafka.sasl_address, database_url, topics, **unique_topics())
    commands = [_of_this_test(command, pipeline) for command in page.acl_commands()]
    _add_users(kafka)
    made = World(pipeline, kafka, [each for command in commands for each in bindings(command)])
    kafka.forget_all()
    kafka.allow(*made.rights)
    before, after = page.statements()
    made.grant(before)
    pipeline.run("init-db", DATABASE_URL=made.url(OWNER))
    made.grant(after, by=OWNER)
    pipeline.run("create-topic", "--all", **made.by(OWNER))
    yield made
    with psycopg.connect(database_url) as connection:
        for name in (OWNER, "chillflow-writer", READER):
            connection.execute(f"drop owned by {made.role(name)} cascade".encode())
            connection.execute(f"drop role {made.role(name)}".encode())


def _add_users(kafka: SecuredKafkaServer) -> None:
    """Create a broker user for each role, once."""
    created = kafka.folder / "users"
    if not created.exists():
        for name in ROLES:
            kafka.add_user(name, PASSWORD % name)
        created.touch()


def _of_this_test(command: str, pipeline: Pipeline) -> str:
    mark = pipeline.topic.rpartition("-")[2]
    for name in ("trip-events", "complete-trips", "zone-windows"):
        command = command.replace(name, f"{name}-{mark}")
    return command
