"""Access control: token, host and origin, with requests that no browser would send."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from chillflow.dashboard.guard import COOKIE
from tests.dashboard.browsing import serving
from tests.pipelines.pipeline import Pipeline

TOKEN = "a-token-of-sixteen-characters"


class Client:
    """Sends requests with arbitrary headers."""

    def __init__(self, url: str) -> None:
        self.place = urlsplit(url)

    def get(self, path: str = "/", method: str = "GET", **headers: str) -> tuple[int, http.client.HTTPMessage, str]:
        connection = http.client.HTTPConnection(self.place.hostname or "", self.place.port, timeout=20)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=names)
        answer = connection.getresponse()
        found = answer.status, answer.headers, answer.read().decode(errors="replace")
        connection.close()
        return found

    def upgrade(self, **headers: str) -> int:
        """The status of a websocket handshake."""
        wanted = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13"}
        key = {"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ=="}
        return self.get("/_nicegui_ws/socket.io/?EIO=4&transport=websocket", **wanted, **key, **headers)[0]


@pytest.fixture
def here(embedded: Pipeline) -> Iterator[Client]:
    """A server on the loopback address."""
    with serving(embedded) as (_, url):
        yield Client(url)


@pytest.fixture
def everywhere(embedded: Pipeline) -> Iterator[Client]:
    """A server on all addresses."""
    with serving(embedded, "--port", 0, "--host", "0.0.0.0", CHILLFLOW_DASHBOARD_TOKEN=TOKEN) as (_, url):
        yield Client(url.replace("0.0.0.0", "127.0.0.1"))


def test_an_unknown_host_name_is_refused(here: Client) -> None:
    port = here.place.port
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}"):
        assert here.get(Host=host)[0] == 200
    for host in (f"evil.example:{port}", "localhost.evil.example", "", "127.0.0.1.evil.example"):
        assert here.get(Host=host)[0] == 421
        assert here.upgrade(Host=host) == 403


def test_another_origin_is_refused(here: Client) -> None:
    own = f"http://127.0.0.1:{here.place.port}"
    assert here.get(Origin=own)[0] == 200
    assert here.upgrade(Origin=own) == 101
    for origin in ("http://evil.example", "http://127.0.0.1:1", "null"):
        assert here.get(Origin=origin)[0] == 403
        assert here.upgrade(Origin=origin) == 403
        assert here.get("/_nicegui_ws/socket.io/?EIO=4&transport=polling", Origin=origin)[0] == 403


def test_pages_may_load_nothing_from_elsewhere(here: Client) -> None:
    _, headers, _ = here.get()
    policy = headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "http:" not in policy
    assert "*" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["Referrer-Policy"] == "no-referrer"


def test_without_the_token_there_is_nothing(everywhere: Client) -> None:
    paths = ("/", "/trip", "/_nicegui_ws/socket.io/?EIO=4&transport=polling", f"/?token={TOKEN}x", "/?token=", "/x")
    for path in paths:
        code, _, text = everywhere.get(path)
        assert code == 401, path
        assert "chillflow_" not in text
    assert everywhere.upgrade() == 403
    assert everywhere.get(Cookie=f"{COOKIE}={TOKEN}")[0] == 401
    assert everywhere.get(Cookie=f"{COOKIE}=")[0] == 401


def test_the_token_is_exchanged_for_a_cookie(everywhere: Client) -> None:
    code, headers, _ = everywhere.get(f"/trip?key=abc&token={TOKEN}")
    cookie = headers["Set-Cookie"]
    assert (code, headers["Location"]) == (303, "/trip?key=abc")
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    given = cookie.partition(";")[0]
    assert everywhere.get(Cookie=given)[0] == 200
    assert everywhere.upgrade(Cookie=given) == 101
    assert everywhere.upgrade(Cookie=given, Origin="http://evil.example") == 403
    assert everywhere.get(f"//evil.example?token={TOKEN}")[1]["Location"] == "/evil.example"


def test_a_browser_with_the_token_sees_the_page(everywhere: Client, page: Page) -> None:
    url = everywhere.place.geturl()
    page.goto(url)
    assert "needs its token" in page.locator("body").inner_text()
    page.goto(f"{url}?token={TOKEN}")
    expect(page.locator("[data-test=state]")).to_contain_text("Not running")
    assert page.url == url
    assert page.evaluate("document.cookie") == ""


def test_a_public_address_needs_a_token(embedded: Pipeline) -> None:
    assert "needs --token" in embedded.fail("dashboard", "--host", "0.0.0.0", code=2)
    assert "at least 16 characters" in embedded.fail("dashboard", "--token", "short", code=2)


def test_the_token_is_never_printed(embedded: Pipeline) -> None:
    line = embedded.fail("dashboard", CHILLFLOW_DASHBOARD_TOKEN="short-secret", code=2)
    assert "short-secret" not in line
    with serving(embedded, "--port", 0, "--token", TOKEN) as (running, url):
        Client(url).get(f"/?token={TOKEN}")
        assert TOKEN not in running.stop().stderr


def test_a_host_name_can_be_allowed(embedded: Pipeline) -> None:
    with serving(embedded, "--port", 0, "--allow-host", "Taxi.Example") as (_, url):
        assert Client(url).get(Host="taxi.example:8050")[0] == 200
        assert Client(url).get(Host="other.example:8050")[0] == 421


def test_a_taken_port_is_reported_in_one_line(embedded: Pipeline) -> None:
    with serving(embedded) as (_, url):
        port = urlsplit(url).port
        assert re.fullmatch(
            rf"cannot serve on 127.0.0.1 port {port}: .* \(see --port\)",
            embedded.fail("dashboard", "--port", port, code=2),
        )
