"""Access control: host, origin and token of each request, and the content policy of the pages."""

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
        # NiceGUI's pages have inline scripts and styles, and Vue compiles templates; all are served by us
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
    """ASGI middleware that refuses requests from other sites and viewers without the token."""

    def __init__(self, app: ASGIApp, token: str | None, names: Collection[str] = ()) -> None:
        """`names` are allowed host names besides `localhost`."""
        self.app = app
        self._token = token
        self._names = {"localhost", *(name.lower() for name in names)}
        # random for each process, so the cookie does not reveal the token
        self._pass = secrets.token_urlsafe(32)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refused = self._refusal(headers) or self._login(scope, headers)
        if refused is None:
            await self.app(scope, receive, _with_headers(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await refused(scope, receive, _with_headers(send))

    def _refusal(self, headers: Headers) -> Response | None:
        """The refusal of a foreign host or origin; None if both are ours.

        Host names must be known, because another site can point its own name at this address (DNS rebinding). IP
        addresses are safe from that.
        """
        host = headers.get("host", "")
        if not self._is_ours(host):
            return PlainTextResponse("unknown host name (see --allow-host)\n", 421)
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return PlainTextResponse("cross-origin requests are refused\n", 403)
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

    def _login(self, scope: Scope, headers: Headers) -> Response | None:
        """The answer to a viewer without the cookie: a refusal, or with the token the cookie and a redirect.

        The redirect removes the token from the address. None for a viewer with the cookie.
        """
        if self._token is None or _same(_cookie(headers), self._pass):
            return None
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        (given,) = query.pop("token", [""])[:1]
        if not _same(given, self._token):
            return PlainTextResponse("This dashboard needs its token: open http://HOST:PORT/?token=TOKEN once\n", 401)
        rest = urlencode(query, doseq=True)
        path = "/" + scope["path"].lstrip("/")  # two slashes would redirect to another server
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
    """Whether the two are equal, in constant time."""
    return hmac.compare_digest(given.encode(), kept.encode())


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(_HEADERS)
        await send(message)

    return sending


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address.

    >>> [is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "example.org")]
    [True, True, True, False, False]
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
