"""Postgres: trips and windows written with COPY and upsert, trips read with a server-side cursor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import ClassVar, NamedTuple, TypedDict, TypeVar

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.numeric import FloatLoader

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
from chillflow.connectors.retrying import Retrying
from chillflow.errors import DatabaseError, DatabaseUnavailableError, MissingTableError, SettingsError
from chillflow.model.table_rows import MONEY, TABLES, ZONE_WINDOW, Row, Rows, Table
from chillflow.model.trips import DERIVED_FIELDS
from chillflow.model.zones import zones
from chillflow.telemetry.clocks import Clocks
from chillflow.telemetry.logs import get_logger

__all__ = ["PostgresDatabase", "PostgresReader"]

_LOCK = 0x63686C66  # "chlf": one migration at a time
_STATEMENT_TIMEOUT = timedelta(minutes=2)
_IDLE_TIMEOUT = timedelta(seconds=10)
"""After this the server drops a session that is idle in a transaction (SIGSTOP, a paused container) and holds locks."""


class _Keepalives(TypedDict):
    keepalives_idle: int
    keepalives_interval: int
    keepalives_count: int


_KEEPALIVES = _Keepalives(keepalives_idle=15, keepalives_interval=5, keepalives_count=3)
"""Both sides detect a dead connection within 30 s: its session may hold locks that the next one needs."""
_log = get_logger("chillflow.postgres")

T = TypeVar("T")

_JSON = ("extra_columns", "missing", "known")
"""JSON columns."""
_TYPES = {
    **dict.fromkeys((*MONEY, "trip_distance", *DERIVED_FIELDS), "float8"),
    **dict.fromkeys(("trip_key", "service", "store_and_fwd_flag", "source", *_JSON), "text"),
    **dict.fromkeys(("completed", "final"), "bool"),
}
"""Types of the copied columns that are neither times nor int8. Rows are copied in binary format: 1.3 µs a trip, where
text takes 9. So money is copied as a float and the insert casts it to `numeric`: exact below 10^13 dollars."""


class _Statements(NamedTuple):
    """The statements that write rows to a table."""

    create: str
    """Creates the temporary table for incoming rows."""
    copy: str
    types: list[str]
    """Column types of the copy."""
    insert: str
    """Upserts from the temporary table."""


def _statements(table: Table) -> _Statements:
    """Statements that lock rows in key order, so that two writers of the same rows cannot deadlock."""
    names = ", ".join(table.columns)
    incoming, target = f"incoming_{table.name}", f"{table.schema}.{table.name}"
    types = ["timestamptz" if name in table.times else _TYPES.get(name, "int8") for name in table.columns]
    selected = ", ".join(f"{name}::jsonb" if name in _JSON else name for name in table.columns)
    return _Statements(
        f"create temporary table if not exists {incoming}"
        f" ({', '.join(map(' '.join, zip(table.columns, types, strict=True)))}) on commit delete rows",
        f"copy {incoming} ({names}) from stdin (format binary)",
        types,
        f"insert into {target} ({names}) select {selected} from {incoming}"  # noqa: S608 - our own names
        f" order by {', '.join(table.key)} {on_conflict(table, target)}",
    )


_STATEMENTS = {table: _statements(table) for table in TABLES}
_READ = [f"{name}::{_TYPES[name]}" if name in (*MONEY, "extra_columns") else name for name in TRIP_COLUMNS]
"""Columns of a trip as read: `numeric` as float, JSON as text."""
_RETIRED = "from mart.zone_window where window_end <= %s"


class _PostgresSession:
    """One connection, opened at the first use; its options and the mapping of its errors."""

    _application_name: ClassVar = "chillflow-stream"
    _read_only: ClassVar = False

    def __init__(self, url: str, timeout: timedelta) -> None:
        """`timeout` limits connecting, and each statement of a reader."""
        self._url = _checked(url)
        self._timeout = timeout
        self._connection: psycopg.Connection | None = None

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connected(self) -> psycopg.Connection:
        if self._connection is None:
            statement_timeout = self._timeout if self._read_only else _STATEMENT_TIMEOUT
            statement_ms = statement_timeout // timedelta(milliseconds=1)
            session = {
                "statement_timeout": statement_ms,
                "idle_in_transaction_session_timeout": _IDLE_TIMEOUT // timedelta(milliseconds=1),
                "timezone": "UTC",
                **({"default_transaction_read_only": "on"} if self._read_only else {}),
                **{f"tcp_{name}": value for name, value in _KEEPALIVES.items()},
            }
            self._connection = psycopg.connect(
                self._url,
                autocommit=self._read_only,
                connect_timeout=max(2, int(self._timeout.total_seconds())),
                tcp_user_timeout=min(statement_ms, 30_000),
                options=" ".join(f"-c {name}={value}" for name, value in session.items()),
                application_name=self._application_name,
                **_KEEPALIVES,
            )
        return self._connection

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise psycopg's errors as ours: one line without the URL, which contains the password."""
        try:
            yield
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
            raise MissingTableError(f"{_line(error)}: run `chillflow-stream init-db`") from error
        except psycopg.OperationalError as error:
            if self._connection is None:
                what = "Postgres refuses" if "FATAL:" in str(error) else "no Postgres answers"
                raise DatabaseUnavailableError(f"{what}: {_line(error)} (see DATABASE_URL)") from error
            raise DatabaseError(f"Postgres: {_line(error)}") from error
        except psycopg.Error as error:
            raise DatabaseError(f"Postgres: {_line(error)}") from error


class PostgresReader(_PostgresSession):
    """A read-only session in autocommit mode, so a snapshot or lock lasts no longer than its statement."""

    _application_name = "chillflow-stream dashboard"
    _read_only = True

    def rows(self, statement: Statement, values: Values, kind: type[T]) -> list[T]:
        try:
            with self._errors():
                found = self._connected().execute(statement, values, prepare=True).fetchall()
        except DatabaseError:
            self.close()  # the connection may be lost
            raise
        return typed(found, kind)

    def _connected(self) -> psycopg.Connection:
        connection = super()._connected()
        connection.adapters.register_loader("numeric", FloatLoader)
        return connection


class PostgresDatabase(_PostgresSession):
    """Reads and writes in transactions."""

    parallel = True

    def __init__(
        self,
        url: str,
        timeout: timedelta,
        outage_limit: timedelta = timedelta(minutes=2),
        on_delivery_error: Callable[[], None] = lambda: None,
        clocks: Clocks = Clocks(),
    ) -> None:
        """`on_delivery_error` is called for each write error that is retried."""
        super().__init__(url, timeout)
        self._outage_limit = outage_limit
        self._on_delivery_error = on_delivery_error
        self._clocks = clocks

    def migrate(self) -> list[str]:
        with self._errors(), self._connected().transaction():
            connection = self._connected()
            connection.execute("select pg_advisory_xact_lock(%s)", [_LOCK])
            connection.execute(
                "create table if not exists chillflow_migration (version integer primary key,"
                " name text not null, applied_at timestamptz not null default now())"
            )
            done = self._applied()
            missing = [step for step in migrations() if step.version not in done]
            for step in missing:
                connection.execute(sql.SQL(step.sql))
                connection.execute(
                    "insert into chillflow_migration (version, name) values (%s, %s)",
                    [step.version, step.name],
                )
            with connection.cursor() as cursor:
                cursor.executemany(
                    "insert into dim.zone values (%s, %s, %s, %s, %s) on conflict (zone_id) do nothing",
                    zones(),
                )
        return [step.name for step in missing]

    def applied(self) -> set[int]:
        with self._errors(), self._connected().transaction():
            return self._applied()

    def _applied(self) -> set[int]:
        connection = self._connected()
        if connection.execute("select to_regclass('chillflow_migration')").fetchone() == (None,):
            return set()
        return {version for (version,) in connection.execute("select version from chillflow_migration")}

    def clock(self) -> datetime | None:
        with self._errors(), self._connected().transaction():
            now: datetime
            (now,) = self._connected().execute("select clock_timestamp()").fetchone() or ()
            return now

    def empty(self) -> dict[str, int]:
        with self._errors(), self._connected().transaction():
            connection, rows = self._connected(), {}
            for table, which in ASSEMBLED.items():
                name = f"{table.schema}.{table.name}"
                rows[name] = connection.execute(sql.SQL(f"delete from {name} where {which}")).rowcount  # noqa: S608 - our own names
            return rows

    def check(self) -> None:
        with self._errors(), self._connected().transaction():
            for table in TABLES:
                self._connected().execute(sql.SQL(f"select 1 from {table.schema}.{table.name} limit 1"))  # noqa: S608 - our own names

    def upsert(self, rows: Rows) -> None:
        self._retried(lambda: self._upsert(rows))

    def retire_windows(self, before: datetime) -> int:
        return self._retried(lambda: self._retire_windows(before))

    def _retried(self, write: Callable[[], T]) -> T:
        """Run `write`, an idempotent transaction; repeat it while the server is away."""
        retrying = Retrying(pause=0.1, longest=5.0, clocks=self._clocks)
        while True:
            try:
                done = write()
                if retrying.count:
                    _log.warning("Postgres is back", seconds=round(retrying.seconds, 1), tries=retrying.count)
                return done
            except DatabaseError as error:
                if not self._is_lost() or retrying.expired(self._outage_limit.total_seconds()):
                    raise
                self._on_delivery_error()
                _log.warning("Postgres is away, trying again", error=str(error))
                self._connection = None
            retrying.pause()

    def _is_lost(self) -> bool:
        return self._connection is None or self._connection.closed

    def _upsert(self, rows: Rows) -> None:
        with self._errors(), self._connected().transaction():
            connection = self._connected()
            tables = sorted(rows, key=TABLES.index)  # tables are locked in one order, as rows are
            for table in tables:
                statements = _STATEMENTS[table]
                connection.execute(sql.SQL(statements.create))
                with connection.cursor() as cursor, cursor.copy(sql.SQL(statements.copy)) as copy:
                    copy.set_types(statements.types)
                    for row in rows[table]:
                        copy.write_row(row)
            for table in tables:  # locks are held from here on, and only while the server executes
                connection.execute(sql.SQL(_STATEMENTS[table].insert))

    def _retire_windows(self, before: datetime) -> int:
        with self._errors(), self._connected().transaction():
            connection = self._connected()
            # first lock in key order, as an upsert does
            connection.execute(
                f"select count(*) from (select {_RETIRED} order by {', '.join(ZONE_WINDOW.key)} for update) as locked",  # noqa: S608 - our own names
                [before],
            )
            return connection.execute(f"delete {_RETIRED}", [before]).rowcount

    def trips(
        self, *, trip_key: str | None, since: datetime | None, until: datetime | None, limit: int | None
    ) -> Iterator[list[Row]]:
        names = sql.SQL(", ").join(map(sql.Identifier, TRIP_COLUMNS))
        read = sql.SQL(", ").join(map(sql.SQL, _READ))
        query = sql.SQL(
            """
            select {} from (
                select {} from stg.complete_trip
                where (%(key)s::text is null or trip_key = %(key)s)
                  and (%(since)s::timestamptz is null or pickup_ts >= %(since)s)
                  and (%(until)s::timestamptz is null or pickup_ts < %(until)s)
                {}
            ) as trip order by least(pickup_ts, dropoff_ts), trip_key
            """
        ).format(read, names, sql.SQL("" if limit is None else "order by pickup_ts, trip_key limit %(limit)s"))
        values = {"key": trip_key, "since": since, "until": until, "limit": limit}
        with self._errors(), self._connected().cursor("replay") as cursor:
            self._connected().execute("set local idle_in_transaction_session_timeout = 0")  # a replay may be slow
            cursor.execute(query, values)
            yield from iter(lambda: cursor.fetchmany(READ_ROWS), [])  # refers to no batch while it reads the next one


def _checked(url: str) -> str:
    """The URL, if it can be parsed; psycopg's error is not shown, because it may contain the password."""
    try:
        parsed = conninfo_to_dict(url)
        if "@" not in str(parsed.get("host", "")) and str(parsed.get("port", "0")).replace(",", "").isdigit():
            return url
    except psycopg.ProgrammingError:
        pass
    raise SettingsError(
        "DATABASE_URL: expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
        " (in the password, characters other than letters and digits as %XX)"
    )


def _line(error: psycopg.Error) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
