"""SQLite instead of Postgres, without a server: the same tables, with the schema as a prefix of the name."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Literal, TypeVar

from chillflow.connectors.database import (
    ASSEMBLED,
    READ_ROWS,
    TRIP_COLUMNS,
    Statement,
    Values,
    migrations,
    on_conflict,
    typed,
)
from chillflow.errors import DatabaseError, MissingTableError
from chillflow.model.table_rows import TABLES, Row, Rows, Table
from chillflow.model.zones import zones

__all__ = ["SqliteDatabase", "SqliteReader"]


def _upsert(table: Table) -> str:
    target, columns = _name(table), table.columns
    values = ", ".join("?" * len(columns))
    return f"insert into {target} ({', '.join(columns)}) values ({values}) {on_conflict(table, target)}"  # noqa: S608 - our own names


def _name(table: Table) -> str:
    return f"{table.schema}_{table.name}"


_UPSERT = {table: _upsert(table) for table in TABLES}
_TIMES = {table: tuple(map(table.columns.index, table.times)) for table in TABLES}
"""Positions of the time columns in a row."""
_HOUR = re.compile(r"date_trunc\('hour', ([\w.]+) at time zone 'UTC'\) at time zone 'UTC'")
"""The hour of a time in Postgres SQL."""
_SCHEMA = re.compile(r"\b(stg|mart|dim)\.")

T = TypeVar("T")


class _SqliteSession:
    """One connection to a file, opened at the first use. Times are UTC text of fixed width, so they sort as text."""

    def __init__(self, path: Path, timeout: timedelta) -> None:
        """`timeout` limits the wait for another connection's write."""
        self._path = path
        self._timeout = timeout
        self._connection: sqlite3.Connection | None = None

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _open(self, mode: Literal["ro", "rwc"]) -> sqlite3.Connection:
        return sqlite3.connect(
            f"{self._path.resolve().as_uri()}?mode={mode}",
            uri=True,
            timeout=self._timeout.total_seconds(),
            isolation_level=None,
            check_same_thread=False,  # Bytewax and the dashboard build a session in one thread and run it in another
        )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if "no such table" in str(error):
                raise MissingTableError(f"{self._path}: {error}: run `chillflow-stream init-db`") from error
            raise DatabaseError(f"{self._path}: {error}") from error


class SqliteReader(_SqliteSession):
    """A read-only session; never creates the file."""

    def rows(self, statement: Statement, values: Values, kind: type[T]) -> list[T]:
        given = {name: _text(value) if isinstance(value, datetime) else value for name, value in values.items()}
        try:
            with self._errors():
                found = self._connected().execute(_for_sqlite(statement), given).fetchall()
        except DatabaseError:
            self.close()
            raise
        return typed(found, kind)

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            if not self._path.exists():
                raise MissingTableError(f"{self._path} does not exist: run `chillflow-stream init-db`")
            self._connection = self._open("ro")
        return self._connection


class SqliteDatabase(_SqliteSession):
    """Reads and writes; creates the file if it is missing."""

    parallel = False

    def migrate(self) -> list[str]:
        with self._errors(), self._connected() as connection:
            connection.execute("begin immediate")
            connection.execute(
                "create table if not exists chillflow_migration (version integer primary key,"
                " name text not null, applied_at text not null default current_timestamp)"
            )
            done = self._applied(connection)
            missing = [step for step in migrations() if step.version not in done]
            for step in missing:
                for statement in _translated(step.sql):
                    connection.execute(statement)
                connection.execute(
                    "insert into chillflow_migration (version, name) values (?, ?)", (step.version, step.name)
                )
            connection.executemany(
                "insert into dim_zone values (?, ?, ?, ?, ?) on conflict (zone_id) do nothing", zones()
            )
        return [step.name for step in missing]

    def applied(self) -> set[int]:
        if not self._path.exists():  # connecting would create it
            return set()
        with self._errors():
            return self._applied(self._connected())

    @staticmethod
    def _applied(connection: sqlite3.Connection) -> set[int]:
        if not connection.execute("select 1 from sqlite_master where name = 'chillflow_migration'").fetchone():
            return set()
        return {version for (version,) in connection.execute("select version from chillflow_migration")}

    def clock(self) -> None:
        return None

    def empty(self) -> dict[str, int]:
        with self._errors(), self._connected() as connection:
            connection.execute("begin immediate")
            return {
                f"{table.schema}.{table.name}": connection.execute(f"delete from {_name(table)} where {which}").rowcount  # noqa: S608 - our own names
                for table, which in ASSEMBLED.items()
            }

    def check(self) -> None:
        with self._errors():
            for table in TABLES:
                self._connected().execute(f"select 1 from {_name(table)} limit 1").fetchone()  # noqa: S608 - our own names

    def upsert(self, rows: Rows) -> None:
        with self._errors(), self._connected() as connection:
            connection.execute("begin immediate")
            for table, some in rows.items():
                connection.executemany(_UPSERT[table], (_with_text_times(row, table) for row in some))

    def retire_windows(self, before: datetime) -> int:
        with self._errors():
            cursor = self._connected().execute("delete from mart_zone_window where window_end <= ?", [_text(before)])
        return cursor.rowcount

    def trips(
        self, *, trip_key: str | None, since: datetime | None, until: datetime | None, limit: int | None
    ) -> Iterator[list[Row]]:
        names = ", ".join(TRIP_COLUMNS)
        oldest = "" if limit is None else "order by pickup_ts, trip_key limit :limit"
        query = f"""
            select {names} from (
                select {names} from stg_complete_trip
                where (:key is null or trip_key = :key)
                  and (:since is null or pickup_ts >= :since) and (:until is null or pickup_ts < :until)
                {oldest}
            ) order by min(pickup_ts, dropoff_ts), trip_key
        """  # noqa: S608 - our own names
        values = {"key": trip_key, "since": since and _text(since), "until": until and _text(until), "limit": limit}
        with self._errors():
            cursor = self._connected().execute(query, values)
            yield from iter(lambda: cursor.fetchmany(READ_ROWS), [])  # refers to no batch while it reads the next one

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = self._open("rwc")
            connection.execute("pragma journal_mode=wal")
            connection.execute("pragma synchronous=normal")
            self._connection = connection
        return self._connection


@cache
def _for_sqlite(statement: Statement) -> str:
    """The statement with `schema.table` as `schema_table` and `%(name)s` as `:name`."""
    return re.sub(r"%\((\w+)\)s", r":\1", _SCHEMA.sub(r"\1_", statement))


def _translated(script: str) -> Iterator[str]:
    """The statements of a migration, with `schema.table` as `schema_table` and hours taken from the text of times."""
    script = _HOUR.sub(r"(substr(\1, 1, 13) || ':00:00.000000+00:00')", script)
    for statement in _SCHEMA.sub(r"\1_", script).split(";\n"):
        if statement.strip() and "create schema" not in statement:
            yield statement


def _text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds")


def _with_text_times(row: Row, table: Table) -> Row:
    values = list(row)
    for position in _TIMES[table]:
        if isinstance(time := values[position], datetime):
            values[position] = _text(time)
    return tuple(values)
