"""SQLite in Postgres' place where there is no server: the same tables, named with a prefix for their schema."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from chillflow.connectors.database import ASSEMBLED, SELECTED, migrations, trip_row
from chillflow.errors import DatabaseError, MissingTableError
from chillflow.model.codec import decode_value
from chillflow.model.table_rows import TABLES, Row, Rows, Table
from chillflow.model.zones import zones
from chillflow.production.splitting import TripRow

__all__ = ["SqliteDatabase"]


def _upsert(table: Table) -> str:
    target = _name(table)
    changed = ", ".join(f"{name} = excluded.{name}" for name in table.columns[len(table.key) :])
    there, newer = (", ".join(f"{row}.{name}" for name in table.guard) for row in (target, "excluded"))
    return (
        f"insert into {target} ({', '.join(table.columns)}) values ({', '.join('?' * len(table.columns))})"  # noqa: S608 - our own names
        f" on conflict ({', '.join(table.key)}) do update set {changed}, updated_at = current_timestamp"
        f" where ({there}) < ({newer})"
    )


def _name(table: Table) -> str:
    return f"{table.schema}_{table.name}"


_UPSERT = {table: _upsert(table) for table in TABLES}
_TIMES = {table: tuple(map(table.columns.index, table.times)) for table in TABLES}
"""Positions of the times in a row."""
_HOUR = re.compile(r"date_trunc\('hour', ([\w.]+) at time zone 'UTC'\) at time zone 'UTC'")
"""The hour of a time, in Postgres."""


class SqliteDatabase:
    """One connection to a file, made at the first use. Times are UTC text of fixed width: it sorts like they do."""

    parallel = False

    def __init__(self, path: Path, timeout: timedelta) -> None:
        self._path = path
        self._timeout = timeout
        self._connection: sqlite3.Connection | None = None

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
        if not self._path.exists():  # to connect would make it
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
            return (
                self._connected()
                .execute("delete from mart_zone_window where window_end <= ?", [_text(before)])
                .rowcount
            )

    def trips(
        self, *, trip_key: str | None, since: datetime | None, until: datetime | None, limit: int | None
    ) -> Iterator[TripRow]:
        names = ", ".join(SELECTED)
        query = f"""
            select {names} from (
                select {names} from stg_complete_trip
                where (:key is null or trip_key = :key)
                  and (:since is null or pickup_ts >= :since) and (:until is null or pickup_ts < :until)
                order by pickup_ts, trip_key limit :limit
            ) order by min(pickup_ts, dropoff_ts), trip_key
        """  # noqa: S608 - our own names
        values = {
            "key": trip_key,
            "since": since and _text(since),
            "until": until and _text(until),
            "limit": -1 if limit is None else limit,
        }
        pickup, dropoff, extra = (SELECTED.index(name) for name in ("pickup_ts", "dropoff_ts", "extra_columns"))
        with self._errors():
            for found in self._connected().execute(query, values):
                row = list(found)
                row[pickup], row[dropoff] = (datetime.fromisoformat(row[at]) for at in (pickup, dropoff))
                row[extra] = row[extra] and decode_value(row[extra])
                yield trip_row(row)

    def count(self) -> int:
        with self._errors():
            (number,) = self._connected().execute("select count(*) from stg_complete_trip").fetchone()
        return int(number)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(
                self._path,
                timeout=self._timeout.total_seconds(),
                isolation_level=None,
                check_same_thread=False,  # Bytewax builds a sink in one thread and may run it in another
            )
            connection.execute("pragma journal_mode=wal")
            connection.execute("pragma synchronous=normal")
            self._connection = connection
        return self._connection

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if "no such table" in str(error):
                raise MissingTableError(f"{self._path}: {error}: run `chillflow-stream init-db`") from error
            raise DatabaseError(f"{self._path}: {error}") from error


def _translated(script: str) -> Iterator[str]:
    """The statements of a migration, with `schema.table` as `schema_table` and hours cut out of the text of times."""
    script = _HOUR.sub(r"(substr(\1, 1, 13) || ':00:00.000000+00:00')", script)
    for statement in re.sub(r"\b(stg|mart|dim)\.", r"\1_", script).split(";\n"):
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
