"""The database as the dashboard sees it: one connection that can only read, statements that are constants."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import psycopg

from chillflow.connectors import open_database
from chillflow.errors import DatabaseError, DatabaseUnavailableError, MissingTableError
from chillflow.settings import Settings

__all__ = ["Reader", "Row", "Statement", "open_reader"]

Statement: TypeAlias = str
"""SQL with `schema.table` and values as `%(name)s`; never put together from what somebody sent."""
Row: TypeAlias = tuple[Any, ...]

_STATEMENT_TIMEOUT_MS = 5_000
_CONNECT_TIMEOUT = 5
_HINT = "run `chillflow-stream init-db`"


class Reader(Protocol):
    """Reads. Used by one thread at a time."""

    def rows(self, statement: Statement, values: Mapping[str, Any]) -> list[Row]:
        """What a statement finds; times are times and money is numbers. Raises DatabaseError and its kind."""

    def close(self) -> None:
        """Let the connection go; the next statement makes a new one."""


def open_reader(settings: Settings) -> Reader:
    """The database at `DATABASE_URL`. Connects at the first use. Raises SettingsError."""
    open_database(settings).close()  # knows which addresses there are
    url = settings.database_url or ""
    return _Sqlite(Path(url.removeprefix("sqlite:///"))) if url.startswith("sqlite:") else _Postgres(url)


class _Postgres:
    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: psycopg.Connection | None = None

    def rows(self, statement: Statement, values: Mapping[str, Any]) -> list[Row]:
        try:
            found = self._connected().execute(statement.encode(), values, prepare=True).fetchall()
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
            raise MissingTableError(f"{_line(error)}: {_HINT}") from error
        except psycopg.Error as error:
            away = self._connection is None or self._connection.closed
            self.close()
            kind = DatabaseUnavailableError if away else DatabaseError
            raise kind(f"Postgres: {_line(error)}") from error
        return [tuple(map(_plain, row)) for row in found]

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connected(self) -> psycopg.Connection:
        if self._connection is None:
            self._connection = psycopg.connect(
                self._url,
                autocommit=True,
                connect_timeout=_CONNECT_TIMEOUT,
                options="-c default_transaction_read_only=on -c timezone=UTC"
                f" -c statement_timeout={_STATEMENT_TIMEOUT_MS}",
                application_name="chillflow-stream dashboard",
                tcp_user_timeout=_STATEMENT_TIMEOUT_MS,
            )
        return self._connection


class _Sqlite:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def rows(self, statement: Statement, values: Mapping[str, Any]) -> list[Row]:
        given = {name: _text(value) if isinstance(value, datetime) else value for name, value in values.items()}
        try:
            found = self._connected().execute(_translated(statement), given).fetchall()
        except sqlite3.Error as error:
            self.close()
            if "no such table" in str(error):
                raise MissingTableError(f"{self._path}: {error}: {_HINT}") from error
            if not self._path.exists():
                raise MissingTableError(f"{self._path} is not there: {_HINT}") from error
            raise DatabaseError(f"{self._path}: {error}") from error
        return [tuple(map(_plain, row)) for row in found]

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            uri = f"{self._path.resolve().as_uri()}?mode=ro"
            self._connection = sqlite3.connect(uri, uri=True, timeout=_CONNECT_TIMEOUT, check_same_thread=False)
        return self._connection


@cache
def _translated(statement: Statement) -> str:
    """The statement as SQLite reads it."""
    return re.sub(r"%\((\w+)\)s", r":\1", re.sub(r"\b(stg|mart|dim)\.", r"\1_", statement))


_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\.\d{6}\+00:00")
"""A time as SQLite's tables hold it, and nothing else is of this form."""


def _plain(value: Any) -> Any:
    if isinstance(value, str) and _TIME.fullmatch(value):
        return datetime.fromisoformat(value)
    return float(value) if hasattr(value, "as_integer_ratio") and not isinstance(value, int | float) else value


def _text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds")


def _line(error: psycopg.Error) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
