"""Refuses requests that a browser could be tricked into sending, and bodies that are too large.

Without tokens, listening on loopback does not protect: a page on any site can make its visitor's
browser send requests to 127.0.0.1, and can rename itself to look local (DNS rebinding). So a
request must name this host by an address or a known name, and a change must not come from another
origin.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.doorkeeper import Doorkeeper, client_of
from gateway.hosts import is_local_or_address, is_origin_of, read_host
from gateway.openai.errors import PREFIX as OPENAI
from gateway.problems import ProblemError
from gateway.sessions import SIGN_IN, Sessions

_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
_API = ("/api/", OPENAI)
_UPLOADS = "/api/training/datasets"
_DRAIN_BYTES = 16 << 20
_DRAIN_SECONDS = 2.0


class Guard:
    """ASGI middleware: Host, Origin, tokens and body sizes are checked before any route runs."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        allowed_hosts: Iterable[str],
        doorkeeper: Doorkeeper,
        sessions: Sessions,
        client_seconds: float,
        max_body_bytes: int,
        max_upload_bytes: int,
    ) -> None:
        self._app = app
        self._hosts = {host.lower() for host in allowed_hosts}
        self._doorkeeper = doorkeeper
        self._sessions = sessions
        self._client_seconds = client_seconds
        self._max_body = max_body_bytes
        self._max_upload = max_upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        limit = self._limit(scope)
        try:
            self._check(scope, headers, limit)
            self._authenticate(scope, headers)
        except ProblemError as problem:
            await drained(receive)
            await problem.response(scope["path"])(scope, receive, send)
            return
        body = _Body(receive, limit, self._client_seconds, renewed=limit == self._max_upload)
        private = scope["path"].startswith(_API)
        await self._app(scope, body.receive, _hardened(send, private))

    def _limit(self, scope: Scope) -> int:
        return self._max_upload if scope["path"] == _UPLOADS else self._max_body

    def _check(self, scope: Scope, headers: Headers, limit: int) -> None:
        self._check_host(headers.get("host", ""))
        _check_encoding(headers)
        if scope["method"] not in _SAFE_METHODS:
            _check_origin(headers)
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > limit:
            raise _too_large(limit)

    def _authenticate(self, scope: Scope, headers: Headers) -> None:
        """Put a session's token into the headers.

        Raises:
            ProblemError: The request has neither a known token nor a session.
        """
        if not scope["path"].startswith(_API) or scope["path"] == SIGN_IN:
            return
        authorization = headers.get("authorization")
        if self._doorkeeper.accepts(authorization, client_of(scope)):
            return
        # A token that is sent has to be right: a cookie does not make up for a wrong one.
        session = self._sessions.read(headers.get("cookie", "")) if authorization is None else None
        if session is None:
            raise ProblemError(
                "the request carries no known token; send `Authorization: Bearer TOKEN` with a "
                "token that the gateway was started with, or sign in on the dashboard",
                reason="UNAUTHENTICATED",
            )
        _check_own_page(scope["method"], headers)
        token = (b"authorization", b"Bearer " + session.token.encode())
        scope["headers"] = [*scope["headers"], token]

    def _check_host(self, host: str) -> None:
        name_and_port = read_host(host)
        if name_and_port is not None:
            name, _port = name_and_port
            if name in self._hosts or is_local_or_address(name):
                return
        raise ProblemError(
            f"the request names the host {host!r}, which this gateway does not go by; call it by "
            "its address, or start it with --allowed-host",
            reason="PERMISSION_DENIED",
        )


def _check_encoding(headers: Headers) -> None:
    """Refuse a compressed body: it would be misread as JSON, or stored as it is."""
    encoding = ", ".join(headers.getlist("content-encoding")).strip()
    if encoding.lower() in ("", "identity"):
        return
    raise ProblemError(
        f"the body comes with Content-Encoding {encoding!r}, and none is read here; send it as it "
        "is, without that header",
        reason="CONTENT_ENCODING_UNSUPPORTED",
        headers={"Accept-Encoding": "identity"},
    )


def _check_origin(headers: Headers) -> None:
    origin = headers.get("origin")
    site = headers.get("sec-fetch-site")
    # A browser that speaks Fetch Metadata knows best, also behind a proxy that renames hosts.
    own = (
        site in ("same-origin", "none")
        if site is not None
        else origin is None or is_origin_of(origin, headers.get("host", ""))
    )
    if not own:
        raise ProblemError(
            f"a page from {origin or 'another site'} may not change anything here; open the "
            "dashboard of this gateway itself",
            reason="PERMISSION_DENIED",
        )


def _check_own_page(method: str, headers: Headers) -> None:
    """Refuse a cookie that a page of another origin made its browser send.

    SameSite=Strict does not refuse it: a site is a host whatever its port, and other programs of
    this machine serve pages too. A browser sends Fetch Metadata only to https and loopback. Without
    it, the browser names the origin of every change and of every answer that a script could read.
    """
    origin = headers.get("origin")
    site = headers.get("sec-fetch-site")
    safe = method in _SAFE_METHODS
    if site is not None:
        own = site == "same-origin" or (site == "none" and safe)  # none: typed, or a bookmark
    elif origin is not None:
        own = is_origin_of(origin, headers.get("host", ""))
    else:
        own = safe
    if not own:
        raise ProblemError(
            f"{origin or 'this page'} may not use the session of this gateway's dashboard; "
            "open the dashboard itself, or send `Authorization: Bearer TOKEN`",
            reason="PERMISSION_DENIED",
        )


def _too_large(limit: int) -> ProblemError:
    return ProblemError(
        f"the body is larger than the {limit} bytes that are accepted here",
        reason="PAYLOAD_TOO_LARGE",
        # The rest of the body will not be read.
        headers={"Connection": "close"},
    )


def _too_slow(seconds: float) -> ProblemError:
    return ProblemError(
        f"the rest of the body did not come within {seconds:g} s; send it without a pause",
        status=408,
        headers={"Connection": "close"},
    )


class _Body:
    """Reads a request's body, and refuses one that is too large or too slow."""

    def __init__(self, receive: Receive, limit: int, seconds: float, *, renewed: bool) -> None:
        self._receive = receive
        self._limit = limit
        self._seconds = seconds
        self._renewed = renewed
        """Whether each piece has the whole time: an upload may take long, but must not pause."""
        self._received = 0
        self._complete = False
        self._deadline: float | None = None

    async def receive(self) -> Message:
        """Return the next message.

        Raises:
            ProblemError: The body comes too slowly (408) or is too large (413).
        """
        if self._complete:  # only the end of the connection can follow
            return await self._receive()
        now = asyncio.get_running_loop().time()
        if self._deadline is None or self._renewed:
            self._deadline = now + self._seconds
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise _too_slow(self._seconds) from None
        self._complete = not message.get("more_body", False)
        self._received += len(message.get("body", b""))
        if self._received > self._limit:
            await drained(self._receive)
            raise _too_large(self._limit)
        return message


async def drained(receive: Receive) -> None:
    """Read and drop for a moment what a refused client still sends.

    A connection that is closed while its client is sending is reset, and the client may never see
    the answer that says why.
    """
    dropped = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            while dropped < _DRAIN_BYTES:
                message = await receive()
                dropped += len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return


def _hardened(send: Send, private: bool) -> Send:
    """Return `send` with headers that keep browsers from guessing types, framing and embedding."""

    async def hardened(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.setdefault("X-Content-Type-Options", "nosniff")
            headers.setdefault("Referrer-Policy", "no-referrer")
            headers.setdefault("X-Frame-Options", "DENY")
            headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
            if private:
                headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return hardened
