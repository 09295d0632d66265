"""Who may speak to the desk: the one browser that opened its link, from the desk's own page.

The link is good once. Pages of other origins, and names that merely lead to this machine, are refused.
"""

import hmac
import secrets
from http.cookies import CookieError, SimpleCookie
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from cipherlens.inference import LOOPBACK

START = "/start/"
_SAFE = ("GET", "HEAD")
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
REPORT_HEADERS = {
    "Content-Security-Policy": "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'",
    "Cross-Origin-Opener-Policy": "unsafe-none",  # a sandbox has an origin of its own
}
_HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Gate:
    """In front of the application. ``link`` is the path that opens the desk, once."""

    def __init__(self, app: Any, port: int, link: str) -> None:
        self._app, self._link = app, link
        self._hosts = {f"{host}:{port}" for host in LOOPBACK if ":" not in host}
        self._cookie = f"cipherlens-desk-{port}"  # cookies know no ports, and there may be several desks
        self._session = secrets.token_urlsafe(32)
        self._opened = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Called by the web server."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        refusal = self._judge(scope)
        if refusal is not None:
            refusal.headers.update(_HEADERS)
            await refusal(scope, receive, send)
            return

        async def protect(message: Any) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                more = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]
                message["headers"] = [*message["headers"], *(pair for pair in more if pair[0] not in given)]
            await send(message)

        await self._app(scope, receive, protect)

    def _judge(self, scope: Any) -> Response | None:
        """The answer to a request that goes no further: a refusal, or the first opening."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if host not in self._hosts:
            return _refuse("another host")
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
        writes = scope["method"] not in _SAFE
        if (origin is not None or writes) and origin != f"http://{host}":
            return _refuse("a page of another origin")
        if site not in ("none", "same-origin"):
            return _refuse("a page of another origin")
        if scope["path"].startswith(START) and scope["method"] == "GET":
            return self._open(scope["path"])
        if not hmac.compare_digest(_read_cookie(headers.get("cookie", ""), self._cookie), self._session):
            return _refuse("no session")
        return None

    def _open(self, path: str) -> Response:
        if self._opened or not hmac.compare_digest(path.encode(), self._link.encode()):
            return _refuse("this link is not, or no longer, good")
        self._opened = True
        answer = RedirectResponse("/", 303)
        answer.set_cookie(self._cookie, self._session, httponly=True, samesite="strict")
        return answer


def make_link() -> str:
    """The path of a link that nobody can guess."""
    return START + secrets.token_urlsafe(32)


def _read_cookie(header: str, name: str) -> str:
    try:
        found = SimpleCookie(header).get(name)
    except CookieError:
        return ""
    return "" if found is None or not found.value.isascii() else found.value


def _refuse(why: str) -> Response:
    words = f"Refused: {why}. Start `cipherlens desk` again, and open the link that it shows."
    return PlainTextResponse(words, 403)
