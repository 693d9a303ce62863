"""The servers that all tests of a run share; each is started once, if a selected test needs it.

pytest's first process (with pytest-xdist the controller) starts each in a thread, while tests without servers run.
xdist workers request a server with a file in a common folder, and another file holds the reply.
"""

import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from tests.servers._process import wait_until
from tests.servers.chromium import ChromiumServer
from tests.servers.kafka import KafkaServer
from tests.servers.kafka_secured import SecuredKafkaServer
from tests.servers.postgres import PostgresServer
from tests.servers.server import Server, ServerError

FOLDER = "CHILLFLOW_TEST_SERVERS"
"""Names the common folder to xdist workers."""
KINDS: Mapping[str, Callable[[Path], Server]] = {
    "kafka": KafkaServer,
    "postgres": PostgresServer,
    "secured_kafka": SecuredKafkaServer,
    "chromium": ChromiumServer,
}
_START_TIMEOUT = 120.0

S = TypeVar("S", bound=Server)


@contextmanager
def serving() -> Iterator[Path]:
    """Start the requested servers while the body runs, and stop them at its end. A no-op in xdist workers.

    Yields the common folder.
    """
    if FOLDER in os.environ:
        yield Path(os.environ[FOLDER])
        return
    over = threading.Event()
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="chillflow-servers-", ignore_cleanup_errors=True))
        )
        os.environ[FOLDER] = str(folder)
        stack.callback(os.environ.pop, FOLDER)
        threads = [threading.Thread(target=_serve, args=(folder, name, over), daemon=True) for name in KINDS]
        for thread in threads:
            thread.start()
            stack.callback(thread.join)
        stack.callback(over.set)
        yield folder


def want(name: str) -> None:
    """Request a server, without waiting for it."""
    (_folder() / f"{name}.wanted").touch()


def running(name: str, kind: Callable[[Path], S]) -> S:
    """The server, once it answers. Raises ServerError if it cannot be started."""
    want(name)
    answer = _folder() / f"{name}.answer"
    if not wait_until(answer.exists, _START_TIMEOUT):
        raise ServerError(f"no {name} within {_START_TIMEOUT:.0f} s")
    if error := answer.read_text():
        raise ServerError(error)
    return kind(_folder() / name)


def _folder() -> Path:
    return Path(os.environ[FOLDER])


def _serve(folder: Path, name: str, over: threading.Event) -> None:
    """Run a server from its first request to the end of the test run: it dies with the thread that started it."""
    while not (folder / f"{name}.wanted").exists():
        if over.wait(0.05):
            return
    answer = folder / f"{name}.answer"
    try:
        with KINDS[name](folder / name):
            _put(answer, "")
            over.wait()
    except (ServerError, OSError) as error:
        _put(answer, str(error))


def _put(path: Path, text: str) -> None:
    scratch = path.with_suffix(".tmp")
    scratch.write_text(text)
    scratch.replace(path)
