"""Headless Chromium, which tests control through its debugging port."""

import os
import shutil
import signal
import subprocess
from urllib.error import URLError
from urllib.request import urlopen

from tests.servers.server import Server, ServerError

OPTIONS = [
    "--headless",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]


class ChromiumServer(Server):
    """Debian's Chromium; each test opens a browser context in it."""

    name = "Chromium"
    stop_signal = signal.SIGTERM
    kill_signal = signal.SIGKILL

    @property
    def url(self) -> str:
        """The argument of Playwright's `connect_over_cdp`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def _mark(self) -> str:
        return f"--user-data-dir={self.folder / 'profile'}"

    def _prepare(self) -> None:
        """Chromium creates its profile itself."""

    def _spawn(self) -> "subprocess.Popen[bytes]":
        path = shutil.which("chromium") or shutil.which("chromium-browser")
        if path is None:
            raise ServerError("no Chromium")
        as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
        return self._popen([path, *OPTIONS, *as_root, f"--remote-debugging-port={self.port}", self._mark])

    def _answers(self) -> bool:
        try:
            with urlopen(f"{self.url}/json/version", timeout=2) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False
