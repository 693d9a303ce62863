"""How a command is made: its settings become options, its errors one line and an exit code."""

from __future__ import annotations

import inspect
import os
import sys
import types
from collections.abc import Callable
from typing import Annotated, Any, Union, get_args, get_origin

import typer

from chillflow.errors import ChillFlowError, SettingsError
from chillflow.settings import KAFKA_PREFIX, Settings, load

__all__ = ["DATABASE", "KAFKA", "command"]

KAFKA = ("kafka_bootstrap_servers", "kafka_timeout", "kafka_property")
DATABASE = ("database_url",)
_EVERY = ("log_level", "log_format")


def command(
    app: typer.Typer, name: str, *, group: str, uses: tuple[str, ...] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register `function(settings, …)` as a command; each setting it uses is an option of the same name.

    An error of ours is one line on stderr: exit 2 for wrong settings, 1 for anything that failed. `--debug`
    shows the traceback instead.
    """
    names = [each for each in (*uses, *_EVERY) if each != "kafka_property"]

    def register(function: Callable[..., None]) -> Callable[..., None]:
        own = [*inspect.signature(function, eval_str=True).parameters.values()][1:]

        def run(**values: Any) -> None:
            debug = values.pop("debug")
            properties = values.pop("kafka_property", None) or []
            overrides = {each: values.pop(each) for each in names}
            try:
                for text in properties:
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
            except BrokenPipeError:  # `… | head` has what it wanted
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise typer.Exit(0) from None

        options = [_option(each) for each in names]
        if "kafka_property" in uses:
            options.append(_PROPERTY)
        parameters = [*own, *options, _DEBUG]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        run.__doc__ = function.__doc__
        app.command(name, rich_help_panel=group)(run)
        return function

    return register


def _option(name: str) -> inspect.Parameter:
    field = Settings.model_fields[name]
    variable = field.validation_alias or f"CHILLFLOW_{name.upper()}"
    kind = _plain(field.annotation)
    flag = f"--{name.replace('_', '-')}"
    flags = [f"{flag}/--no-{name.replace('_', '-')}"] if kind is bool else [flag]
    shown = "" if field.default is None else f", default {field.default}"
    text = f"{field.description} [{variable}{shown}]"
    panel = "Settings" if name not in _EVERY else "Logs"
    return _parameter(name, Annotated[kind | None, typer.Option(*flags, help=text, rich_help_panel=panel)])


def _plain(annotation: Any) -> Any:
    """The type an option has: bool and int as they are, all others text that `Settings` reads."""
    if get_origin(annotation) in (Union, types.UnionType):
        (annotation,) = (each for each in get_args(annotation) if each is not type(None))
    return annotation if annotation in (bool, int) else str


def _parameter(name: str, annotation: Any, default: Any = None) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


_PROPERTY = _parameter(
    "kafka_property",
    Annotated[
        list[str] | None,
        typer.Option(
            "--kafka-property",
            metavar="NAME=VALUE",
            help="any librdkafka property, say security.protocol=SASL_SSL; repeatable"
            f" [{KAFKA_PREFIX}SECURITY_PROTOCOL and the like]",
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
    """Into the environment, where the settings find it, and the workers' processes too."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise SettingsError("--kafka-property: expected NAME=VALUE")  # what was given may be a secret
    os.environ[KAFKA_PREFIX + name.upper().replace(".", "_")] = value
