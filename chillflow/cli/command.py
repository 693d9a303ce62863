"""Make a function a command: its settings become options, an error becomes one line and an exit code."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Annotated, Literal, cast, get_args, get_origin

import typer

from chillflow.errors import ChillFlowError, SettingsError
from chillflow.settings import KAFKA_PREFIX, Settings, format_default, load

__all__ = ["DATABASE", "KAFKA", "add_command"]

KAFKA = ("kafka_bootstrap_servers", "kafka_timeout", "kafka_property")
DATABASE = ("database_url",)
_LOGS = ("log_level", "log_format")


def add_command(
    app: typer.Typer, name: str, function: Callable[..., None], *, group: str, uses: tuple[str, ...] = ()
) -> None:
    """Add `function(settings, …)` as a command. Its other parameters and each setting in `uses` are options.

    A ChillFlowError is reported as one line on stderr, with exit code 2 for wrong settings and 1 for any other.
    `--debug` shows the traceback instead.
    """
    names = [each for each in (*uses, *_LOGS) if each != "kafka_property"]

    def run(**values: object) -> None:
        debug = values.pop("debug")
        properties = cast("Sequence[str] | None", values.pop("kafka_property", None))
        overrides = {each: values.pop(each) for each in names}
        try:
            for text in properties or ():
                _set_property(text)
            settings = load(**overrides)
            from chillflow.telemetry.logs import configure

            configure(settings.log_level, settings.log_format)
            function(settings, **values)
        except ChillFlowError as error:
            if debug:
                raise
            from chillflow.telemetry.logs import report_repeats

            report_repeats()
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(2 if isinstance(error, SettingsError) else 1) from None
        except BrokenPipeError:  # the reader of a pipe, such as `head`, has ended
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None

    own = [*inspect.signature(function, eval_str=True).parameters.values()][1:]
    properties = [_PROPERTY] if "kafka_property" in uses else []
    parameters = [*own, *map(_option, names), *properties, _DEBUG]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    run.__doc__ = _one_line_per_paragraph(inspect.getdoc(function) or "")
    app.command(name, rich_help_panel=group)(run)


def _one_line_per_paragraph(text: str) -> str:
    """The text without line breaks inside paragraphs, which Typer would keep."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _option(name: str) -> inspect.Parameter:
    field = Settings.model_fields[name]
    variable = field.validation_alias or f"CHILLFLOW_{name.upper()}"
    flag = f"--{name.replace('_', '-')}"
    default = "" if field.default is None else f", default {format_default(field.default)}"
    kind = field.annotation if field.annotation in (bool, int) else str  # `Settings` parses and checks the text
    option = typer.Option(
        f"{flag}/--no-{flag.removeprefix('--')}" if kind is bool else flag,
        metavar=_metavar(field.annotation),
        help=f"{field.description} [{variable}{default}]",
        rich_help_panel="Logs" if name in _LOGS else "Settings",
    )
    return _parameter(name, Annotated[kind | None, option])


def _metavar(annotation: object) -> str | None:
    """The form of an option's value where its type does not show it."""
    if get_origin(annotation) is Literal:
        return "|".join(get_args(annotation))
    return "DURATION" if annotation is timedelta else None


def _parameter(name: str, annotation: object, default: object = None) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


_PROPERTY = _parameter(
    "kafka_property",
    Annotated[
        list[str] | None,
        typer.Option(
            "--kafka-property",
            metavar="NAME=VALUE",
            help="any librdkafka property, such as security.protocol=SASL_SSL; repeatable"
            f" [{KAFKA_PREFIX}SECURITY_PROTOCOL and so on]",
            rich_help_panel="Settings",
        ),
    ],
)
_DEBUG = _parameter(
    "debug",
    Annotated[bool, typer.Option("--debug", help="show the traceback of an error", rich_help_panel="Logs")],
    False,
)


def _set_property(text: str) -> None:
    """Set a property in the environment, where the settings of this process and of its workers read it."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise SettingsError("--kafka-property: expected NAME=VALUE")  # without the text, which may be a secret
    os.environ[KAFKA_PREFIX + name.upper().replace(".", "_")] = value
