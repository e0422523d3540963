"""What stands around every request, as pure ASGI, outermost first.

    RequestId        names the request: X-Request-Id, taken or made
    SecurityHeaders  what browsers must know about every answer
    Origin           writes of other sites refused (CSRF), allowed sites answered (CORS)
    Fault            whatever is raised below becomes problem+json; defects are logged once
    BodyLimit        a body has a bound in bytes and in time
    Authentication   who is asking (`auth`)
    Visitor          a new visitor gets its token (`AUTH=visitor` only)

Each acts on `http` only and leaves `receive` alone once the body is complete, so that a stream sees its client go.
A response is touched at `http.response.start` only; its body passes through a plain call, not a coroutine.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Final

import anyio
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import BadRequest, ConfigError, Forbidden, SessionstreamError, TooLarge
from ..ids import is_client_id, new_id
from ..settings import Settings, canonical_origin, split_list
from .auth import COOKIE, TrustedPeers, is_loopback_host, make_backend
from .problems import answer, log_fault
from .visits import Embedding, Passes, WidgetBackend

BODY: Final = "sessionstream.body"
"""Name of the ASGI extension by which our own server says that the whole body is here: then nothing is waited for."""
STREAM_PATH: Final = "/api/chat/stream"
IMPORT_PATHS: Final = re.compile(r"/api/(sessions/import|documents|agents/[^/]+/run)")
"""Where whole sessions and files come in: `MAX_IMPORT_BYTES` counts, not `MAX_BODY_BYTES`. A client that asks for a run
sends all that it has of the conversation each time."""
COOKIE_MAX_AGE_S: Final = 365 * 24 * 3600
PREFLIGHT_MAX_AGE_S: Final = 600
"""Ten minutes: what Chromium and Firefox keep anyhow, and short enough to change the allow-list."""
CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)

_WRITES: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
# What a page may reach that only some agents allow: these, and single sessions, which are theirs or refused (`access`).
_AGENTS_PATH: Final = re.compile(
    r"/api/(chat(/stream)?|interrupt|system|tool-result|state|agents(/.*)?|sessions(/(?!stream$|import$).+)?)"
)
_ORIGIN: Final = re.compile(r"(https?)://([^/\s,@]+)")
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}

Headers = list[tuple[bytes, bytes]]
AgentsOf = Callable[[str], frozenset[str]]
"""The agents that an origin may talk to, though it is none of `ALLOWED_ORIGINS`."""


def header_values(scope: Scope, name: bytes) -> list[str]:
    """Return all values of a request header; `name` is in lower case."""
    return [str(value, "latin-1") for key, value in scope["headers"] if key == name]


class _Changing:
    """A `send` that changes the headers of the answer: one for all middlewares, and nothing of it is left after that.

    A stream lives for hours behind each of them: a wrapper apiece would be kept, and called, for every piece of it.
    """

    __slots__ = ("_changes", "_send")

    def __init__(self, send: Send) -> None:
        self._send = send
        self._changes: list[Callable[[Headers], object]] = []

    def add(self, change: Callable[[Headers], object]) -> None:
        """Change headers before whoever came earlier does."""
        self._changes.append(change)

    def __call__(self, message: Message) -> Awaitable[None]:
        if self._changes and message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            while self._changes:
                self._changes.pop()(headers)
            message = {**message, "headers": headers}
        return self._send(message)


def _changing(send: Send, change: Callable[[Headers], object]) -> Send:
    changing = send if isinstance(send, _Changing) else _Changing(send)
    changing.add(change)
    return changing


class RequestIdMiddleware:
    """Put the request's id into `scope["state"]["request_id"]` and into the answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take the client's id if it is one, else make one."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = header_values(scope, b"x-request-id")
        request_id = given[0] if len(given) == 1 and is_client_id(given[0]) else new_id()
        # The state of the lifespan is shared by shallow copy per request: writing into it reaches no other request.
        scope.setdefault("state", {})["request_id"] = request_id
        echoed = (b"x-request-id", request_id.encode("ascii"))
        await self.app(scope, receive, _changing(send, lambda headers: headers.append(echoed)))


class SecurityHeadersMiddleware:
    """Say to browsers: no sniffing, no embedding elsewhere, no referrer, no foreign code, no cached API answers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add what the answer does not say itself."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_api = scope["path"].startswith("/api/")
        await self.app(scope, receive, _changing(send, lambda headers: self._secure(headers, is_api)))

    @staticmethod
    def _secure(headers: Headers, is_api: bool) -> None:
        names = {name.lower(): value for name, value in headers}
        added = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]
        added.append((b"cross-origin-resource-policy", b"same-origin"))
        if names.get(b"content-type", b"").startswith(b"text/html"):
            added.append((b"content-security-policy", CSP.encode("ascii")))
        if is_api:
            added.append((b"cache-control", b"no-store"))
        headers.extend((name, value) for name, value in added if name not in names)


class OriginMiddleware:
    """Pages of other sites may neither write (unless allowed) nor read (unless allowed).

    Ours is an Origin whose scheme, host and port are those that the request was sent to; what a trusted proxy says
    (`X-Forwarded-Proto`, `X-Forwarded-Host`) counts, and where it says no scheme, the host alone is compared.
    An origin that only some agents allow gets no further than to these: `scope["state"]["agents"]` names them.
    """

    def __init__(
        self, app: ASGIApp, allowed_origins: tuple[str, ...], trusted: TrustedPeers, agents_of: AgentsOf
    ) -> None:
        self.app = app
        self._allowed = frozenset(_allowed_origin(text) for text in allowed_origins)
        self._trusted = trusted
        self._agents_of = agents_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, answer a preflight, or pass on with the headers of CORS."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        origins = header_values(scope, b"origin")
        is_allowed = len(origins) == 1 and (origins[0] in self._allowed or self._is_for_agents(scope, origins))
        added = _cors_headers(origins[0]) if is_allowed else []
        if is_allowed or scope["path"].startswith("/api/"):
            added.append((b"vary", b"Origin"))
        if added:
            send = _changing(send, lambda headers: _replace(headers, added))
        asks = scope["method"] == "OPTIONS" and bool(header_values(scope, b"access-control-request-method"))
        app = self.app
        if origins and asks:
            app = _preflight()
        # The stream of an unknown id opens that session: it is a write as far as pages of other sites go.
        is_write = scope["method"] in _WRITES or scope["path"] == STREAM_PATH
        is_foreign = scope["path"] == STREAM_PATH and header_values(scope, b"sec-fetch-site") == ["cross-site"]
        origins = origins or (["null"] if is_foreign else [])  # an image of another site carries no Origin
        if origins and (asks or is_write) and not (is_allowed or self._is_ours(scope, origins)):
            refusal = Forbidden("the Origin is neither ours nor one of ALLOWED_ORIGINS", code="origin_refused")
            app = answer(scope, refusal)
        await app(scope, receive, send)

    def _is_for_agents(self, scope: Scope, origins: list[str]) -> bool:
        agents = self._agents_of(origins[0])
        if not agents or not _AGENTS_PATH.fullmatch(scope["path"]) or self._is_ours(scope, origins):
            return False
        scope.setdefault("state", {})["agents"] = agents
        return True

    def _is_ours(self, scope: Scope, origins: list[str]) -> bool:
        match = _ORIGIN.fullmatch(origins[0].lower())
        hosts = header_values(scope, b"host")
        scheme: str | None = scope.get("scheme", "http")
        if self._trusted.has(scope):
            hosts = header_values(scope, b"x-forwarded-host") or hosts
            # A proxy that ends TLS and does not say so: the scheme is unknown, not http.
            scheme = _forwarded_scheme(scope)
        if match is None or len(origins) != 1 or len(hosts) != 1 or scheme not in (None, match[1]):
            return False
        port = _DEFAULT_PORTS[match[1]]
        return match[2].removesuffix(port) == hosts[0].lower().removesuffix(port)


def _forwarded_scheme(scope: Scope) -> str | None:
    return next(iter(header_values(scope, b"x-forwarded-proto")), "").strip().lower() or None


def _allowed_origin(text: str) -> str:
    origin = canonical_origin(text)
    if origin is None:
        raise ConfigError(f"ALLOWED_ORIGINS must hold origins such as https://example.org, not {text!r}")
    return origin


def _cors_headers(origin: str) -> Headers:
    return [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-expose-headers", b"X-Session-Id, X-Request-Id, Retry-After"),
        (b"cross-origin-resource-policy", b"cross-origin"),
    ]


def _replace(headers: Headers, added: Headers) -> None:
    ours = {name for name, _ in added} - {b"vary"}
    headers[:] = [pair for pair in headers if pair[0] not in ours] + added


def _preflight() -> Response:
    return Response(
        status_code=204,
        headers={
            "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
            "Access-Control-Allow-Headers": "Content-Type, Authorization, Last-Event-ID, X-Request-Id",
            "Access-Control-Max-Age": str(PREFLIGHT_MAX_AGE_S),
        },
    )


class FaultMiddleware:
    """Answer what is raised outside of Starlette's own handlers; nothing passes it but cancellation."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Turn an error into its problem, unless the response started: then the server cuts the connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_started = False

        def mark(_headers: Headers) -> None:
            nonlocal is_started
            is_started = True

        try:
            await self.app(scope, receive, _changing(send, mark))
        # Nobody is there to be answered. Not one of Starlette's handlers: they cannot take it once a response started.
        except ClientDisconnect:
            return
        # Boundary: the last place that knows the request, so the one that logs what nobody foresaw.
        except Exception as error:
            is_foreseen = isinstance(error, SessionstreamError) and not is_started
            if not is_foreseen:
                log_fault(scope, error)
            if not is_started:
                problem = error if isinstance(error, SessionstreamError) else SessionstreamError()
                await answer(scope, problem)(scope, receive, send)


class BodyLimitMiddleware:
    """Bound a request's body in bytes and in time, while it is read.

    Raises out of `receive` what the request is answered with: `TooLarge` (413) or 408 `body_timeout`.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self._max_bytes = settings.max_body_bytes
        self._max_import_bytes = settings.max_import_bytes
        self._timeout_s = settings.body_timeout_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a body that is announced too large, and watch one that is not announced."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_import = IMPORT_PATHS.fullmatch(scope["path"]) is not None
        limit = self._max_import_bytes if is_import else self._max_bytes
        for length in header_values(scope, b"content-length"):
            if not (length.isascii() and length.isdigit()):
                raise BadRequest("Content-Length is not a number")
            # By length first: int() of thousands of digits is slow, and refused beyond 4300.
            if len(length) > 18 or int(length) > limit:
                raise _too_large(limit, is_import)
        # Other methods have no body that anyone reads; their `receive` only tells when the client leaves.
        if scope["method"] in _WITH_BODY:
            is_here = scope.get("extensions", {}).get(BODY, _unknown)
            receive = self._watched(receive, is_here, limit, is_import)
        await self.app(scope, receive, send)

    def _watched(self, receive: Receive, is_here: Callable[[], bool], limit: int, is_import: bool) -> Receive:
        received = 0
        deadline: float | None = None
        is_complete = False

        async def next_message() -> Message:
            nonlocal received, deadline, is_complete
            if is_complete:
                return await receive()
            if deadline is None:
                deadline = anyio.current_time() + self._timeout_s
            message = await receive() if is_here() else await _in_time(receive, deadline)
            received += len(message.get("body", b""))
            if received > limit:
                raise _too_large(limit, is_import)
            is_complete = not message.get("more_body", False)
            return message

        return next_message


async def _in_time(receive: Receive, deadline: float) -> Message:
    message: Message = {}
    with anyio.CancelScope(deadline=deadline) as patience:
        message = await receive()
    if patience.cancelled_caught:
        raise SessionstreamError(code="body_timeout")
    return message


def _unknown() -> bool:
    return False


def _too_large(limit: int, is_import: bool) -> TooLarge:
    return TooLarge(f"the body exceeds {'MAX_IMPORT_BYTES' if is_import else 'MAX_BODY_BYTES'} ({limit} bytes)")


class VisitorMiddleware:
    """Hand a new visitor its token, as cookie and as `X-Visitor-Token`, once. Stands inside authentication."""

    def __init__(self, app: ASGIApp, trusted: TrustedPeers) -> None:
        self.app = app
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Touch the response of a first contact only."""
        token = scope.get("state", {}).pop("visitor_token", None) if scope["type"] == "http" else None
        if token is None:
            await self.app(scope, receive, send)
            return
        secure = "; Secure" if self._is_secure(scope) else ""
        cookie = f"{COOKIE}={token}; Path=/; Max-Age={COOKIE_MAX_AGE_S}; HttpOnly; SameSite=Lax{secure}"
        added = [(b"set-cookie", cookie.encode("ascii")), (b"x-visitor-token", token.encode("ascii"))]

        def hand_over(headers: Headers) -> None:
            # A cache on the way must not hand one visitor's identity to the next.
            headers[:] = [pair for pair in headers if pair[0] != b"cache-control"]
            headers.extend([*added, (b"cache-control", b"no-store, no-transform")])

        await self.app(scope, receive, _changing(send, hand_over))

    def _is_secure(self, scope: Scope) -> bool:
        scheme = scope.get("scheme")
        if self._trusted.has(scope):
            scheme = _forwarded_scheme(scope) or scheme
        hosts = header_values(scope, b"host")
        return scheme == "https" or not (hosts and is_loopback_host(hosts[0]))


def _of_no_agent(origin: str) -> frozenset[str]:
    return frozenset()


def build_middleware(settings: Settings, secret: bytes, agents_of: AgentsOf = _of_no_agent) -> list[Middleware]:
    """Return the middleware of the app, outermost first.

    Raises:
        ConfigError: `ALLOWED_ORIGINS` or `TRUSTED_PROXIES` cannot be read.
    """
    trusted = TrustedPeers(settings.trusted_proxies)
    for origin in split_list(settings.allowed_origins):
        _allowed_origin(origin)
    others = make_backend(settings, secret)
    backend = WidgetBackend(others, settings, Passes(secret), Embedding(settings, agents_of), _AGENTS_PATH)
    stack = [
        Middleware(RequestIdMiddleware),
        Middleware(SecurityHeadersMiddleware),
        Middleware(OriginMiddleware, split_list(settings.allowed_origins), trusted, agents_of),
        Middleware(FaultMiddleware),
        Middleware(BodyLimitMiddleware, settings),
        Middleware(AuthenticationMiddleware, backend=backend),
    ]
    if settings.auth == "visitor":
        stack.append(Middleware(VisitorMiddleware, trusted))
    return stack
