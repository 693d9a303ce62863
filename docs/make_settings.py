"""Write docs/settings.md from `chillflow.settings.Settings`: `python docs/make_settings.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from chillflow.cli import app
from chillflow.settings import RunArguments, Settings, format_default

PAGE = Path(__file__).with_name("settings.md")
HEAD = """\
# Settings

<!-- Generated: run `python docs/make_settings.py` after a change. A test compares. -->

Each setting is an environment variable. Most are also an option: `chillflow-stream COMMAND --help` lists those of a
command. An option overrides the variable. An invalid value ends the command with one line and exit code 2; a variable
with an unknown name is ignored.

A duration is `90` or `90s` (seconds), `15min`, `25h` or `8d`.

"""
RUN = """
## Arguments of a run

Under `python -m bytewax.run` the arguments of a run are in the environment, too; commands take them as options:

"""
TAIL = """
The topics of late events and of dead letters are named after the topic of the events: `trip-events.late` and
`trip-events.dlq`.

## Options without a variable

`--debug` shows the traceback of an error. The other options of a command (`--limit`, `--speed`, `--workers`, ...)
belong to one run; `--help` lists them.

## Any property of librdkafka

A variable `CHILLFLOW_KAFKA_` + the property's name in capitals, with `_` for `.`, is passed to Kafka's client:

| variable | property |
|---|---|
| `CHILLFLOW_KAFKA_SECURITY_PROTOCOL` | `security.protocol` |
| `CHILLFLOW_KAFKA_SASL_MECHANISM` | `sasl.mechanism` |
| `CHILLFLOW_KAFKA_SASL_PASSWORD` | `sasl.password` |
| `CHILLFLOW_KAFKA_COMPRESSION_TYPE` | `compression.type` |

The same as an option, repeatable: `--kafka-property security.protocol=SASL_SSL`. Passwords belong in variables, or in
files named by `CHILLFLOW_KAFKA_SASL_PASSWORD_FILE` or `DATABASE_URL_FILE` ([security.md](security.md#secrets)):
other users of the machine can see options. See librdkafka's
[list of properties](https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md).

Two names are not passed on: `CHILLFLOW_KAFKA_TIMEOUT`, a setting of this project, and
`CHILLFLOW_KAFKA_BOOTSTRAP_SERVERS` (use `KAFKA_BOOTSTRAP_SERVERS`). A property overrides the value that this project
sets. Changing `enable.idempotence` or `isolation.level` breaks what the README promises. An unknown
property is an error.
"""


def page() -> str:
    """The whole page."""
    return HEAD + _table(Settings) + RUN + _table(RunArguments) + TAIL


def options() -> set[str]:
    """The options of all commands."""
    commands: Any = typer.main.get_command(app)
    return {
        name
        for command in commands.commands.values()
        for parameter in command.params
        for name in (*parameter.opts, *parameter.secondary_opts)
    }


def _table(model: type[BaseSettings]) -> str:
    head = ["| variable | option | default | meaning |", "|---|---|---|---|"]
    return "\n".join([*head, *(_row(name, field) for name, field in model.model_fields.items())]) + "\n"


def _row(name: str, field: FieldInfo) -> str:
    variable = field.validation_alias or f"CHILLFLOW_{name.upper()}"
    flag = f"--{name.replace('_', '-')}"
    off = f"--no-{flag.removeprefix('--')}"
    option = next((f"`{each}`" for each in (off, flag) if each in options()), "")
    default = "" if field.default is None else f"`{format_default(field.default)}`"
    return f"| `{variable}` | {option} | {default} | {field.description} |"


if __name__ == "__main__":
    PAGE.write_text(page())
