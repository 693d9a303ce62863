"""Passwords are read from variables or files, and never displayed, logged or stored."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from tests.chaos.processes import family
from tests.integration.secured import ASSEMBLER, OWNER, PASSWORD, PRODUCER, World
from tests.integration.security_page import PAGE
from tests.pipelines.command import Done
from tests.pipelines.pipeline import Changes, Pipeline
from tests.servers._process import command_line, free_port

WRITER = "chillflow-writer"
NO_SERVER = "127.0.0.1:1"


# Files of secrets


def database_in(folder: Path, text: str) -> Changes:
    (folder / "secret").write_text(text)
    return {"DATABASE_URL": None, "DATABASE_URL_FILE": str(folder / "secret")}


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_the_database_url_is_read_from_a_file(embedded: Pipeline, end: str) -> None:
    embedded.run("init-db", **database_in(embedded.folder, embedded.database + end))

    assert embedded.rows() == 0


def test_workers_read_the_database_url_from_a_file(embedded: Pipeline, trips_file: Path) -> None:
    changes = database_in(embedded.folder, embedded.database + "\n")
    embedded.run("init-db", **changes)
    embedded.produce(trips_file, **changes)
    embedded.assemble("--workers", 2, **changes)

    assert embedded.rows() == 300


def test_an_option_overrides_the_file(embedded: Pipeline) -> None:
    other = embedded.folder / "other.sqlite"
    embedded.run("init-db", "--database-url", f"sqlite:///{other}", **database_in(embedded.folder, embedded.database))

    assert other.exists()


@pytest.mark.parametrize("name", ["DATABASE_URL", "CHILLFLOW_KAFKA_SASL_PASSWORD"])
def test_unusable_secret_files_are_errors(embedded: Pipeline, name: str) -> None:
    folder, command = embedded.folder, ["produce-events"]
    (folder / "secret").write_text("hush")
    (folder / "empty").write_text("\n")
    (folder / "noise").write_bytes(b"\xff\xfe\x00")

    def error(file: str, **changes: str) -> str:
        path: Changes = {f"{name}_FILE": str(folder / file), "KAFKA_BOOTSTRAP_SERVERS": NO_SERVER, "DATABASE_URL": None}
        return embedded.fail(*command, code=2, **{**path, **changes})

    assert error("secret", **{name: "loud"}) == f"{name} and {name}_FILE are both set; set only one of them"
    assert error("absent") == f"{name}_FILE: cannot read {folder}/absent: No such file or directory"
    assert error("") == f"{name}_FILE: cannot read {folder}: Is a directory"
    assert error("noise") == f"{name}_FILE: cannot read {folder}/noise: it is not text"
    assert error("empty") == f"{name}_FILE: {folder}/empty is empty"


def test_only_secrets_are_read_from_files(embedded: Pipeline) -> None:
    """The name of a librdkafka property may end in `file`."""
    changes: Changes = {"CHILLFLOW_KAFKA_SASL_OAUTHBEARER_ASSERTION_PRIVATE_KEY_FILE_FILE": "/nowhere"}
    line = embedded.fail("consume-events", KAFKA_BOOTSTRAP_SERVERS=NO_SERVER, **changes)

    assert line.startswith("wrong Kafka setting: ")
    assert "sasl.oauthbearer.assertion.private.key.file.file" in line


# Secrets in output


class Search:
    """Searches text and files for secrets."""

    def __init__(self, *secrets: str) -> None:
        self._secrets = [form for each in secrets for form in (each, quote(each, safe=""), repr(each)[1:-1])]
        self.searched = 0

    def text(self, text: str, where: object) -> None:
        self.searched += 1
        assert [each for each in self._secrets if each in text] == [], f"{where}: {text}"

    def output(self, done: Done) -> None:
        self.text(done.stdout, "stdout")
        self.text(done.stderr, "stderr")

    def folder(self, folder: Path, *, but: set[Path]) -> None:
        for path in folder.rglob("*"):
            if path.is_file() and path not in but:
                self.text(path.read_bytes().decode("latin-1"), path)


@pytest.mark.kafka
@pytest.mark.postgres
def test_no_secret_is_displayed_logged_or_stored(world: World, trips_file: Path) -> None:
    """Neither in normal runs nor in errors."""
    pipeline = world.pipeline
    search = Search(PASSWORD % ASSEMBLER, PASSWORD % WRITER, PASSWORD % PRODUCER, PASSWORD % OWNER)
    database = world.url(WRITER)
    as_variables: Changes = {
        **world.by(ASSEMBLER, WRITER),
        "CHILLFLOW_KAFKA_SASL_PASSWORD_FILE": None,
        "CHILLFLOW_KAFKA_SASL_PASSWORD": PASSWORD % ASSEMBLER,
        "LOG_LEVEL": "DEBUG",
    }
    search.output(pipeline.run("produce-from-file", "--file", trips_file, "--debug", **world.by(PRODUCER)))
    with pipeline.start("assemble", "--workers", 2, "--debug", **as_variables) as assembling:
        assembling.wait_for(lambda: pipeline.rows() == 300)
        processes = family(assembling.process.pid)
        assert len(processes) == 3
        for process in processes:
            search.text(command_line(process), process)
        for command in ("status", "doctor"):
            search.output(pipeline.run(command, code=None, **as_variables))
            search.output(pipeline.run(command, "--json", code=None, **as_variables))
        search.output(assembling.stop())

    elsewhere = f"127.0.0.1:{free_port()}"
    wrong: list[Changes] = [
        {"DATABASE_URL": database.replace(f"127.0.0.1:{database.rpartition(':')[2].partition('/')[0]}", elsewhere)},
        {"DATABASE_URL": database.replace("127.0.0.1", "no-such-host.invalid")},
        {"DATABASE_URL": database.replace("chillflow_writer", "chillflow_nobody")},
        {"DATABASE_URL": database + "_not"},
        {"DATABASE_URL": database.replace("postgresql", "mysql")},
        {"DATABASE_URL": PASSWORD % WRITER},
        {"DATABASE_URL": f"postgresql://{ASSEMBLER}:{PASSWORD % WRITER}@127.0.0.1/x"},  # without percent-encoding
        {"DATABASE_URL": database.replace(":", "%zz:", 2)},
        {"KAFKA_BOOTSTRAP_SERVERS": elsewhere, "CHILLFLOW_KAFKA_TIMEOUT": "1"},
        {"CHILLFLOW_KAFKA_SASL_USERNAME": PRODUCER},
        {"CHILLFLOW_KAFKA_SSL_CA_LOCATION": str(world.kafka.certificates / "other-ca.pem")},
        {"CHILLFLOW_KAFKA_SASL_MECHANISM": "MAGIC"},
        {"CHILLFLOW_KAFKA_SASL_PASSWRD": PASSWORD % ASSEMBLER},
    ]
    for changes in wrong:
        # --debug adds the traceback to the error message
        done = pipeline.run("assemble", "--exit-at-end", "--debug", code=None, **{**as_variables, **changes})
        assert "Traceback" in done.stderr, changes
        search.output(done)
        search.output(pipeline.run("doctor", code=None, **{**as_variables, **changes}))
    option = ["--kafka-property", f"sasl.password:{PASSWORD % ASSEMBLER}"]
    search.output(pipeline.run("assemble", *option, code=2, **as_variables))
    for command in ("assemble", "doctor", "produce-events", "consume-events", "init-db"):
        search.output(pipeline.run(command, "--help", **as_variables))

    search.folder(pipeline.folder, but={*pipeline.folder.glob("password-*")})
    assert search.searched > 80


def test_the_page_lists_all_variables_with_a_file_variant() -> None:
    from chillflow.settings import SECRETS

    rows = [line for line in PAGE.splitlines() if line.startswith("| `") and "_FILE`" in line]
    assert rows == [f"| `{name}` | `{name}_FILE` |" for name in SECRETS]
