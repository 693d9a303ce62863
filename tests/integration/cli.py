"""The real command in a process of its own, with topics, tables and a recovery store that no other test has."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import psycopg
from confluent_kafka import Producer

from chillflow.assembly.account import difference
from tests.integration.in_process import run_in_process
from tests.servers._process import wait_until
from tests.servers.kafka_topics import KafkaTopics

COMMAND = Path(sys.executable).with_name("chillflow-stream")
TIMEOUT = 90.0
SCENERY = {"init-db", "create-topic", "generate"}
KEPT = {"PATH", "HOME", "LANG", "TZ", "TMPDIR", "PYTHONPATH"}
PRODUCED = {"trips", "events", "delivered", "rejected", "seconds"}
ACCOUNT = {
    "events",
    "complete_trips",
    "incomplete_trips",
    "open_trips",
    "events_in_complete",
    "events_in_incomplete",
    "events_in_open",
    "duplicates",
    "superseded",
    "late",
    "dead_letters",
    "left_out_trips",
}


class Read(NamedTuple):
    """A message as a consumer gets it."""

    partition: int
    offset: int
    timestamp: int | None
    key: bytes | None
    value: bytes | None
    headers: dict[str, str]

    @property
    def json(self) -> dict[str, Any]:
        assert self.value is not None
        value: dict[str, Any] = json.loads(self.value)
        return value


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> dict[str, Any]:
        """The object on the last line of stdout."""
        value: dict[str, Any] = json.loads(self.stdout.splitlines()[-1])
        return value

    @property
    def account(self) -> dict[str, Any]:
        """The summary of `assemble --json`, whatever the scenario: it adds up."""
        summary = self.json
        assert difference(summary) == 0, summary
        assert min(summary.values()) >= 0, summary
        return summary

    @property
    def lines(self) -> list[str]:
        return self.stdout.splitlines()

    def checked(self, code: int | None) -> Done:
        """This, if the command ended with that exit code, or any code is right."""
        assert code is None or self.code == code, f"exit {self.code}\n{self.stdout[-2000:]}\n{self.stderr[-4000:]}"
        return self


class Topics(Protocol):
    """Messages by other means than the code under test."""

    def read(self, topic: str) -> list[Read]:
        """All committed messages of a topic, by partition and offset; none if there is no such topic."""

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
        """Put one message at the end of a partition."""


@dataclass(frozen=True)
class FileTopics:
    """Topics kept as files."""

    folder: Path

    def read(self, topic: str) -> list[Read]:
        found = []
        for path in sorted((self.folder / topic).glob("*.jsonl")):
            offset = 0
            whole, newline, _torn = path.read_bytes().rpartition(b"\n")
            for line in (whole + newline).splitlines(keepends=True):
                said = json.loads(line)
                value = said.get("value")
                found.append(
                    Read(
                        int(path.stem),
                        offset,
                        said.get("ts"),
                        _bytes(said.get("key"), said.get("key_b64")),
                        _raw_value(line) if value is not None else _bytes(None, said.get("value_b64")),
                        {name: base64.b64decode(data).decode() for name, data in said.get("headers") or ()},
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
        line: dict[str, Any] = {}
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
    """The value of a line as its bytes stand there: `json` would lose their form."""
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
            headers: Any = message.headers() or ()
            key: Any = message.key()
            found.append(
                Read(
                    message.partition() or 0,
                    message.offset() or 0,
                    timestamp if kind else None,
                    key,
                    message.value(),
                    {name: bytes(data or b"").decode() for name, data in headers},
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


@dataclass
class Running:
    """A command under way; its output goes to files, so that it never waits for a reader."""

    process: subprocess.Popen[bytes]
    stdout: Path
    stderr: Path

    def wait_for(self, condition: Callable[[], bool], timeout: float = 30) -> None:
        """Wait for what the command is to bring about. Fails if it ends before, or takes too long."""
        happened = wait_until(lambda: condition() or self.process.poll() is not None, timeout)
        assert happened, f"still waiting after {timeout} s; stderr: {self.stderr.read_text()}"
        assert condition(), f"ended with {self.process.returncode}; stderr: {self.stderr.read_text()}"

    def stop(self, how: signal.Signals = signal.SIGTERM, within: float = 20) -> Done:
        self.process.send_signal(how)
        return self.result(within)

    def result(self, within: float = TIMEOUT) -> Done:
        self.process.wait(within)
        return Done(self.process.returncode, self.stdout.read_text(), self.stderr.read_text())


@dataclass
class Pipeline:
    """Both ends of a pipeline of this test's own, and the command between them."""

    folder: Path
    address: str
    database: str
    topics: Topics
    environment: dict[str, str] = field(default_factory=dict)
    topic: str = "trip-events"
    complete: str = "complete-trips"
    incomplete: str = "incomplete-trips"
    windows: str = "zone-windows"
    _started: int = 0

    def __post_init__(self) -> None:
        kept = {name: value for name, value in os.environ.items() if name in KEPT or name.startswith("COVERAGE_")}
        self.environment = {
            **kept,
            "COLUMNS": "80",
            "KAFKA_BOOTSTRAP_SERVERS": self.address,
            "DATABASE_URL": self.database,
            "CHILLFLOW_TOPIC": self.topic,
            "CHILLFLOW_COMPLETE_TOPIC": self.complete,
            "CHILLFLOW_INCOMPLETE_TOPIC": self.incomplete,
            "CHILLFLOW_WINDOWS_TOPIC": self.windows,
            "CHILLFLOW_RECOVERY_DIR": str(self.folder / "recovery"),
            "CHILLFLOW_EPOCH_INTERVAL": "0.2s",
            **self.environment,
        }

    @property
    def dlq(self) -> str:
        return f"{self.topic}.dlq"

    @property
    def embedded(self) -> bool:
        return self.address.startswith("file:")

    def run(self, *arguments: object, code: int | None = 0, timeout: float = TIMEOUT, **changes: Any) -> Done:
        """The command to its end; `changes` are environment variables (None takes one away).

        On files it runs in this process, on servers in one of its own, but for what only sets the scene.
        """
        if not self.embedded and arguments[0] not in SCENERY:
            return self.process(*arguments, code=code, timeout=timeout, **changes)
        done = Done(*run_in_process([*map(str, arguments)], self.folder, self._changed(changes)))
        return done.checked(code)

    def process(self, *arguments: object, code: int | None = 0, timeout: float = TIMEOUT, **changes: Any) -> Done:
        """The command to its end, in a process of its own: for what is about processes."""
        return self.python(COMMAND, *arguments, code=code, timeout=timeout, **changes)

    def python(
        self, program: object, *arguments: object, code: int | None = 0, timeout: float = TIMEOUT, **changes: Any
    ) -> Done:
        """Any program in the same surroundings."""
        finished = subprocess.run(
            [str(program), *map(str, arguments)],
            cwd=self.folder,
            env=self._changed(changes),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Done(finished.returncode, finished.stdout, finished.stderr).checked(code)

    def fail(self, *arguments: object, code: int = 1, **changes: Any) -> str:
        """The one line in which the command says why it failed."""
        return self.reason(self.run(*arguments, code=code, **changes))

    @staticmethod
    def reason(done: Done) -> str:
        """The one line that it left behind."""
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1, done.stderr
        line = done.stderr.strip()
        assert line.startswith("error: "), line
        return line.removeprefix("error: ")

    @contextmanager
    def start(self, *arguments: object, program: object = COMMAND, **changes: Any) -> Iterator[Running]:
        """The command while it runs; killed at the end if it still does."""
        self._started += 1
        stdout, stderr = (self.folder / f"{name}-{self._started}.txt" for name in ("stdout", "stderr"))
        with stdout.open("wb") as out, stderr.open("wb") as err:
            process = subprocess.Popen(
                [str(program), *map(str, arguments)],
                cwd=self.folder,
                env=self._changed(changes),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        try:
            yield Running(process, stdout, stderr)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()

    def produce(self, file: Path, *arguments: object, **changes: Any) -> dict[str, Any]:
        """`produce-from-file`; its summary."""
        return self.run("produce-from-file", "--file", file, "--json", *arguments, **changes).json

    def assemble(self, *arguments: object, **changes: Any) -> dict[str, Any]:
        """`assemble` what is there; its summary."""
        return self.run("assemble", "--exit-at-end", "--json", *arguments, **changes).account

    def events(self) -> list[Read]:
        return self.topics.read(self.topic)

    def trips(self) -> list[dict[str, Any]]:
        """The complete trips in their topic."""
        return [message.json for message in self.topics.read(self.complete)]

    def dead_letters(self) -> list[Read]:
        return self.topics.read(self.dlq)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Rows of the database; `stg.complete_trip` is `stg_complete_trip` in SQLite."""
        if self.embedded:
            with sqlite3.connect(self.database.removeprefix("sqlite:///")) as connection:
                return connection.execute(re.sub(r"\b(stg|mart|dim)\.", r"\1_", statement)).fetchall()
        with psycopg.connect(self.database) as server:
            return server.execute(statement.encode()).fetchall()

    def rows(self) -> int:
        ((count,),) = self.query("select count(*) from stg.complete_trip")
        return int(count)

    def _changed(self, changes: Mapping[str, str | None]) -> dict[str, str]:
        merged = {**self.environment, **changes}
        return {name: value for name, value in merged.items() if value is not None}


def keys(messages: Sequence[Read]) -> list[str]:
    """The message keys as text, in order of their text."""
    return sorted((message.key or b"").decode() for message in messages)


def elapsed(work: Callable[[], object]) -> float:
    """Seconds that the work takes."""
    start = time.monotonic()
    work()
    return time.monotonic() - start
