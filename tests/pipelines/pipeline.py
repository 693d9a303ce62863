"""The pipeline of one test: the names of its topics and stores, and the command run on them."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, TypedDict

import psycopg

from tests.pipelines.command import COMMAND, TIMEOUT, Done, Running
from tests.pipelines.in_process import run_in_process
from tests.pipelines.topics import JsonObject, Read, Topics

IN_PROCESS = {"init-db", "create-topic", "generate"}
"""Commands that only prepare a test: they need no process of their own."""
KEPT = {"PATH", "HOME", "LANG", "TZ", "TMPDIR", "PYTHONPATH"}
"""Variables of the test run that commands inherit."""
Environment: TypeAlias = Mapping[str, str | None]
"""Changes to the environment of a command; None unsets a variable."""
Changes: TypeAlias = dict[str, Any]
"""The same, to pass with `**`."""


class TopicNames(TypedDict):
    """The names of a pipeline's topics, as arguments of `Pipeline`."""

    topic: str
    complete: str
    incomplete: str
    windows: str


def unique_topics() -> TopicNames:
    """Topic names that no other test uses."""
    mark = uuid.uuid4().hex[:12]
    return TopicNames(
        topic=f"trip-events-{mark}",
        complete=f"complete-trips-{mark}",
        incomplete=f"incomplete-trips-{mark}",
        windows=f"zone-windows-{mark}",
    )


@dataclass
class Pipeline:
    """Topics, database and recovery store that no other test uses. Without a database, `database` is empty."""

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
            **({"DATABASE_URL": self.database} if self.database else {}),
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

    def run(self, *arguments: object, code: int | None = 0, timeout: float = TIMEOUT, **changes: str | None) -> Done:
        """Run the command to its end, with `changes` to its environment.

        On files it runs in the test's own process; on servers in a process of its own, except for preparations.
        """
        return self._run(arguments, changes, timeout).checked(code)

    def process(
        self, *arguments: object, code: int | None = 0, timeout: float = TIMEOUT, **changes: str | None
    ) -> Done:
        """Run the command to its end in a process of its own."""
        return self._process([COMMAND, *arguments], changes, timeout).checked(code)

    def python(
        self, program: object, *arguments: object, code: int | None = 0, timeout: float = TIMEOUT, **changes: str | None
    ) -> Done:
        """Run any program to its end, in the same folder and environment."""
        return self._process([program, *arguments], changes, timeout).checked(code)

    def fail(self, *arguments: object, code: int = 1, **changes: str | None) -> str:
        """The error message of a command that fails and prints nothing else."""
        return self._run(arguments, changes).checked(code).reason

    @contextmanager
    def start(self, *arguments: object, program: object = COMMAND, **changes: str | None) -> Iterator[Running]:
        """The command while it runs in a process of its own; killed at the end of the body if it still does."""
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

    def produce(self, file: Path, *arguments: object, **changes: str | None) -> JsonObject:
        """The summary of `produce-from-file`."""
        return self._run(["produce-from-file", "--file", file, "--json", *arguments], changes).checked(0).json

    def assemble(self, *arguments: object, **changes: str | None) -> JsonObject:
        """The summary of `assemble`, which ends once it has read all that is in the topic."""
        return self._run(["assemble", "--exit-at-end", "--json", *arguments], changes).checked(0).account

    def events(self) -> list[Read]:
        return self.topics.read(self.topic)

    def trips(self) -> list[JsonObject]:
        """The complete trips in their topic."""
        return [message.json for message in self.topics.read(self.complete)]

    def dead_letters(self) -> list[Read]:
        return self.topics.read(self.dlq)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows of a query. Written for Postgres: `stg.complete_trip` becomes `stg_complete_trip` in SQLite."""
        if self.embedded:
            with sqlite3.connect(self.database.removeprefix("sqlite:///")) as connection:
                return connection.execute(re.sub(r"\b(stg|mart|dim)\.", r"\1_", statement)).fetchall()
        with psycopg.connect(self.database) as server:
            return server.execute(statement.encode()).fetchall()

    def rows(self) -> int:
        """The number of rows in `stg.complete_trip`."""
        ((count,),) = self.query("select count(*) from stg.complete_trip")
        return int(count)

    def _run(self, arguments: Sequence[object], changes: Environment, timeout: float = TIMEOUT) -> Done:
        if not self.embedded and arguments[0] not in IN_PROCESS:
            return self._process([COMMAND, *arguments], changes, timeout)
        return Done(*run_in_process([*map(str, arguments)], self.folder, self._changed(changes)))

    def _process(self, command: Sequence[object], changes: Environment, timeout: float) -> Done:
        finished = subprocess.run(
            [*map(str, command)],
            cwd=self.folder,
            env=self._changed(changes),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Done(finished.returncode, finished.stdout, finished.stderr)

    def _changed(self, changes: Environment) -> dict[str, str]:
        merged = {**self.environment, **changes}
        return {name: value for name, value in merged.items() if value is not None}
