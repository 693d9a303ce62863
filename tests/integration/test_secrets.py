"""Passwords come from variables or files, and are never to be found in what we say, show or keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.chaos.processes import family
from tests.integration.secured import ASSEMBLER, OWNER, PASSWORD, PRODUCER, World
from tests.integration.security_page import PAGE
from tests.pipelines.command import Done
from tests.pipelines.pipeline import Pipeline
from tests.servers._process import command_line, free_port

WRITER = "chillflow-writer"
NO_SERVER = "127.0.0.1:1"


# Files of secrets


def database_in(folder: Path, text: str) -> dict[str, Any]:
    (folder / "secret").write_text(text)
    return {"DATABASE_URL": None, "DATABASE_URL_FILE": str(folder / "secret")}


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_the_database_is_named_in_a_file(embedded: Pipeline, end: str) -> None:
    embedded.run("init-db", **database_in(embedded.folder, embedded.database + end))

    assert embedded.rows() == 0


def test_workers_read_it_too(embedded: Pipeline, trips_file: Path) -> None:
    changes = database_in(embedded.folder, embedded.database + "\n")
    embedded.run("init-db", **changes)
    embedded.produce(trips_file, **changes)
    embedded.assemble("--workers", 2, **changes)

    assert embedded.rows() == 300


def test_an_option_counts_more(embedded: Pipeline) -> None:
    other = embedded.folder / "other.sqlite"
    embedded.run("init-db", "--database-url", f"sqlite:///{other}", **database_in(embedded.folder, embedded.database))

    assert other.exists()


@pytest.mark.parametrize("name", ["DATABASE_URL", "CHILLFLOW_KAFKA_SASL_PASSWORD"])
def test_files_that_cannot_be_used(embedded: Pipeline, name: str) -> None:
    folder, command = embedded.folder, ["produce-events"]
    (folder / "secret").write_text("hush")
    (folder / "empty").write_text("\n")
    (folder / "noise").write_bytes(b"\xff\xfe\x00")

    def said(file: str, **changes: Any) -> str:
        path = {f"{name}_FILE": str(folder / file), "KAFKA_BOOTSTRAP_SERVERS": NO_SERVER, "DATABASE_URL": None}
        return embedded.fail(*command, code=2, **{**path, **changes})

    assert said("secret", **{name: "loud"}) == f"{name} and {name}_FILE are both set; set only one of them"
    assert said("absent") == f"{name}_FILE: cannot read {folder}/absent: No such file or directory"
    assert said("") == f"{name}_FILE: cannot read {folder}: Is a directory"
    assert said("noise") == f"{name}_FILE: cannot read {folder}/noise: it is not text"
    assert said("empty") == f"{name}_FILE: {folder}/empty is empty"


def test_what_is_no_secret_is_read_from_no_file(embedded: Pipeline) -> None:
    """`….file` may be the end of the name of a property of librdkafka."""
    changes: dict[str, Any] = {"CHILLFLOW_KAFKA_SASL_OAUTHBEARER_ASSERTION_PRIVATE_KEY_FILE_FILE": "/nowhere"}
    line = embedded.fail("consume-events", KAFKA_BOOTSTRAP_SERVERS=NO_SERVER, **changes)

    assert line.startswith("wrong Kafka setting: ")
    assert "sasl.oauthbearer.assertion.private.key.file.file" in line


# Secrets in view


class Search:
    """Looks for the passwords in whatever came to light."""

    def __init__(self, *secrets: str) -> None:
        self._secrets = [form for each in secrets for form in (each, quote(each, safe=""), repr(each)[1:-1])]
        self.looked_at = 0

    def text(self, text: str, where: object) -> None:
        self.looked_at += 1
        assert [each for each in self._secrets if each in text] == [], f"{where}: {text}"

    def done(self, done: Done) -> None:
        self.text(done.stdout, "stdout")
        self.text(done.stderr, "stderr")

    def folder(self, folder: Path, *, but: set[Path]) -> None:
        for path in folder.rglob("*"):
            if path.is_file() and path not in but:
                self.text(path.read_bytes().decode("latin-1"), path)


@pytest.mark.kafka
@pytest.mark.postgres
def test_no_secret_is_in_view(world: World, trips_file: Path) -> None:
    """While all is well, and in whatever goes wrong."""
    pipeline = world.pipeline
    search = Search(PASSWORD % ASSEMBLER, PASSWORD % WRITER, PASSWORD % PRODUCER, PASSWORD % OWNER)
    database = world.url(WRITER)
    as_variables: dict[str, Any] = {
        **world.by(ASSEMBLER, WRITER),
        "CHILLFLOW_KAFKA_SASL_PASSWORD_FILE": None,
        "CHILLFLOW_KAFKA_SASL_PASSWORD": PASSWORD % ASSEMBLER,
        "LOG_LEVEL": "DEBUG",
    }
    search.done(pipeline.run("produce-from-file", "--file", trips_file, "--debug", **world.by(PRODUCER)))
    with pipeline.start("assemble", "--workers", 2, "--debug", **as_variables) as assembling:
        assembling.wait_for(lambda: pipeline.rows() == 300)
        processes = family(assembling.process.pid)
        assert len(processes) == 3
        for process in processes:
            search.text(command_line(process), process)
        for command in ("status", "doctor"):
            search.done(pipeline.run(command, code=None, **as_variables))
            search.done(pipeline.run(command, "--json", code=None, **as_variables))
        search.done(assembling.stop())

    elsewhere = f"127.0.0.1:{free_port()}"
    wrong: list[dict[str, Any]] = [
        {"DATABASE_URL": database.replace(f"127.0.0.1:{database.rpartition(':')[2].partition('/')[0]}", elsewhere)},
        {"DATABASE_URL": database.replace("127.0.0.1", "no-such-host.invalid")},
        {"DATABASE_URL": database.replace("chillflow_writer", "chillflow_nobody")},
        {"DATABASE_URL": database + "_not"},
        {"DATABASE_URL": database.replace("postgresql", "mysql")},
        {"DATABASE_URL": PASSWORD % WRITER},
        {"DATABASE_URL": f"postgresql://{ASSEMBLER}:{PASSWORD % WRITER}@127.0.0.1/x"},  # not as %XX
        {"DATABASE_URL": database.replace(":", "%zz:", 2)},
        {"KAFKA_BOOTSTRAP_SERVERS": elsewhere, "CHILLFLOW_KAFKA_TIMEOUT": "1"},
        {"CHILLFLOW_KAFKA_SASL_USERNAME": PRODUCER},
        {"CHILLFLOW_KAFKA_SSL_CA_LOCATION": str(world.kafka.certificates / "other-ca.pem")},
        {"CHILLFLOW_KAFKA_SASL_MECHANISM": "MAGIC"},
        {"CHILLFLOW_KAFKA_SASL_PASSWRD": PASSWORD % ASSEMBLER},
    ]
    for changes in wrong:
        # the traceback ends with the line that is all there is without it
        done = pipeline.run("assemble", "--exit-at-end", "--debug", code=None, **{**as_variables, **changes})
        assert "Traceback" in done.stderr, changes
        search.done(done)
        search.done(pipeline.run("doctor", code=None, **{**as_variables, **changes}))
    option = ["--kafka-property", f"sasl.password:{PASSWORD % ASSEMBLER}"]
    search.done(pipeline.run("assemble", *option, code=2, **as_variables))
    for command in ("assemble", "doctor", "produce-events", "consume-events", "init-db"):
        search.done(pipeline.run(command, "--help", **as_variables))

    search.folder(pipeline.folder, but={*pipeline.folder.glob("password-*")})
    assert search.looked_at > 80


def test_the_page_names_all_variables_that_may_be_in_files() -> None:
    from chillflow.settings import SECRETS

    rows = [line for line in PAGE.splitlines() if line.startswith("| `") and "_FILE`" in line]
    assert rows == [f"| `{name}` | `{name}_FILE` |" for name in SECRETS]
