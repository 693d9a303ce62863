"""The command run in this process: the same entry point, without the second that an interpreter and its imports take.

Restores afterwards what a process has for itself: environment, working directory, standard streams (Python's and the
file descriptors, to which Rust writes), logging and hooks.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, chdir, contextmanager
from pathlib import Path
from typing import IO
from unittest.mock import patch

import structlog

from chillflow.cli import main

__all__ = ["run_in_process"]


def run_in_process(arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        with ExitStack() as stack:
            stack.enter_context(chdir(folder))
            stack.enter_context(patch.dict(os.environ, environment, clear=True))
            for name in ("excepthook", "argv"):
                stack.enter_context(patch.object(sys, name, getattr(sys, name)))
            stack.enter_context(_streams(stdout, stderr))
            stack.enter_context(_logs())
            code = _exit_code(arguments)
        return code, _content(stdout), _content(stderr)


def _exit_code(arguments: Sequence[str]) -> int:
    try:
        main(arguments)
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            print(end.code, file=sys.stderr)
            return 1
        return end.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


@contextmanager
def _streams(stdout: IO[bytes], stderr: IO[bytes]) -> Iterator[None]:
    """Redirect stdout and stderr to these files; stdin is empty."""
    with ExitStack() as stack:
        null = stack.enter_context(Path(os.devnull).open("rb"))
        for number, file in enumerate((null, stdout, stderr)):
            kept = os.dup(number)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, number)
            os.dup2(file.fileno(), number)
        for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
            stream = stack.enter_context(open(number, mode, encoding="utf-8", closefd=False))
            stack.enter_context(patch.object(sys, name, stream))
        yield


@contextmanager
def _logs() -> Iterator[None]:
    """Restore the logging configuration; close the handlers that the command added."""
    root, kept = logging.getLogger(), structlog.get_config()
    handlers, level = [*root.handlers], root.level
    try:
        yield
    finally:
        for handler in root.handlers:
            if handler not in handlers:
                handler.close()
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.configure(**kept)


def _content(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()
