"""Who may look: the host that is asked for, the origin that asks, the token; and what a page of ours may load."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["COOKIE", "Guard", "is_loopback"]

COOKIE = "chillflow_dashboard"
_POLICY = "; ".join(
    (
        # NiceGUI's pages hold their scripts and styles, and Vue compiles templates: but all of it comes from here
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "font-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """Around an application: lets pass what it should answer."""

    def __init__(self, app: ASGIApp, token: str | None, names: Collection[str] = ()) -> None:
        """`names` are host names besides `localhost` that this server may be asked for by."""
        self.app = app
        self._token = token
        self._names = {"localhost", *(name.lower() for name in names)}
        # of this process: who has the cookie does not have the token
        self._pass = secrets.token_urlsafe(32)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request to the application, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refused = self._refusal(headers) or self._stranger(scope, headers)
        if refused is None:
            await self.app(scope, receive, _with_headers(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await refused(scope, receive, _with_headers(send))

    def _refusal(self, headers: Headers) -> Response | None:
        """The answer to a request for a host, or from an origin, that is not ours; None if both are.

        A name that is not ours may have been pointed at this address by somebody else's page (DNS rebinding): an
        address cannot. An origin that is not ours is somebody else's page, too.
        """
        host = headers.get("host", "")
        if not self._is_ours(host):
            return PlainTextResponse("not the name of this server (see --allow-host)\n", 421)
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return PlainTextResponse("not from another origin\n", 403)
        return None

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
            if name in self._names:
                return True
            ipaddress.ip_address(name)
            return True
        except ValueError:
            return False

    def _stranger(self, scope: Scope, headers: Headers) -> Response | None:
        """How somebody without the token is answered; with it they get a cookie, and an address without the token."""
        if self._token is None or _same(_cookie(headers), self._pass):
            return None
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        (given,) = query.pop("token", [""])[:1]
        if not _same(given, self._token):
            return PlainTextResponse(
                "This dashboard needs its token: open it once as http://HOST:PORT/?token=TOKEN\n", 401
            )
        rest = urlencode(query, doseq=True)
        path = "/" + scope["path"].lstrip("/")  # two slashes would be another server
        answer = RedirectResponse(f"{path}?{rest}" if rest else path, 303)
        answer.set_cookie(COOKIE, self._pass, httponly=True, samesite="strict", secure=scope["scheme"] == "https")
        return answer


def _cookie(headers: Headers) -> str:
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel is not None else ""


def _same(given: str, kept: str) -> bool:
    """In a time that says nothing of how much of it is right."""
    return hmac.compare_digest(given.encode(), kept.encode())


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(_HEADERS)
        await send(message)

    return sending


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address.

    >>> [is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "example.org")]
    [True, True, True, False, False]
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
