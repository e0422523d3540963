"""The server's HTTP contract, as far as a person's client needs it.

Raises only `Refused` (the server said no, and why) and `Unreachable` (it said nothing). A visitor's token that the
server hands out on first contact is kept and sent from then on, so that it is the same visitor who comes back.
"""

from __future__ import annotations

import os
import secrets
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, Final
from urllib.parse import quote, urlsplit

import anyio
import httpx
import orjson
from httpx_sse import EventSource

from .clean import one_line

CALL_TIMEOUT_S: Final = 30.0
CONNECT_TIMEOUT_S: Final = 5.0
SILENCE_S: Final = 60.0
"""A stream sends a comment every 15 s: one that is silent for so long is dead."""
LONGEST_PAUSE_S: Final = 30.0
"""A person waits: whatever a server says, it is asked again after so long."""
DETAIL_CHARS: Final = 500
HOW_TO_SAY_WHO: Final = "--user and CHAT_USER, or --token and CHAT_TOKEN, say who you are"
_LOOPBACK: Final = ("all://localhost", "all://127.0.0.1", "all://[::1]")
VISITOR_TOKEN: Final = "x-visitor-token"

Events = AsyncGenerator[tuple[str, dict[str, Any]], None]
"""(cursor, event); the cursor is empty where the stream gives none."""


class ApiError(Exception):
    """A call that brought no answer to show."""


class Unreachable(ApiError):
    """Nobody answered, or the answer broke off."""


class Refused(ApiError):
    """The server answered with a problem."""

    def __init__(self, status: int, code: str, detail: str, *, is_retryable: bool, retry_after_s: float) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.is_retryable = is_retryable
        self.retry_after_s = retry_after_s

    @property
    def is_gone(self) -> bool:
        """Whether the session is no more, or never was."""
        return self.code in ("session_deleted", "session_expired", "session_not_found")


def not_ours(url: str) -> Refused:
    """Return the error that another server, or something before it, answers there."""
    why = f"{url} answers, but not as this server does: is the address right?"
    return Refused(200, "", why, is_retryable=False, retry_after_s=0.0)


def new_id() -> str:
    """Return an id that nobody else has."""
    return secrets.token_hex(16)


class Api:
    """One server, as one user. Use it as an async context manager."""

    def __init__(self, url: str, *, user: str = "", token: str = "", visitor_token: str = "") -> None:
        """`visitor_token` is one that this server gave at another time: dropped if the server does not know it."""
        self.url = without_password(url).rstrip("/")
        """The server, as it may be shown."""
        self._meeting = anyio.Lock()
        self._has_met = False
        self._is_visitor = bool(visitor_token and not token)
        self.visitor_token = ""
        """What the server gave a visitor who came without a token."""
        headers = {b"X-Forwarded-User": user.encode()} if user else {}
        self._client = httpx.AsyncClient(
            base_url=f"{url.rstrip('/')}/",
            headers=headers,
            timeout=httpx.Timeout(CALL_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            limits=httpx.Limits(max_keepalive_connections=2),
            mounts=dict.fromkeys(_LOOPBACK),  # what is on this machine is not behind a proxy
        )
        if token or visitor_token:
            self._client.headers["Authorization"] = f"Bearer {token or visitor_token}"

    async def __aenter__(self) -> Api:
        """Use it."""
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close its connections."""
        await self._client.aclose()

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str | int] | None = None,
        holds: str = "",
    ) -> dict[str, Any]:
        """Return the JSON object that the server answers; `holds` names a field that this server's has."""
        answer = await self.download(method, path, body, query=query)
        try:
            found = orjson.loads(answer)
        except orjson.JSONDecodeError:
            raise not_ours(self.url) from None
        if not isinstance(found, dict) or (holds and holds not in found):
            raise not_ours(self.url)
        return found

    async def download(
        self, method: str, path: str, body: Any = None, *, query: Mapping[str, str | int] | None = None
    ) -> bytes:
        """Return what the server answers, as it is."""
        content = None if body is None else orjson.dumps(body)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        try:
            async with self._turn():
                response = await self._client.request(method, path, content=content, headers=headers, params=query)
                self._hear(response)
        except httpx.HTTPError as error:
            raise Unreachable(_why(error)) from error
        if not response.is_success:
            raise self._refusal(response)
        return response.content

    @asynccontextmanager
    async def stream(self, session_id: str, cursor: str) -> AsyncIterator[Events]:
        """Open a session's stream: (cursor or nothing, event), from `cursor` on; from a snapshot if that is empty."""
        query = {"session_id": session_id, **({"last_event_id": cursor} if cursor else {})}
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        timeout = httpx.Timeout(CALL_TIMEOUT_S, connect=CONNECT_TIMEOUT_S, read=SILENCE_S)
        try:
            async with self._client.stream(
                "GET", "api/chat/stream", params=query, headers=headers, timeout=timeout
            ) as response:
                self._hear(response)
                if not response.is_success:
                    await response.aread()
                    raise self._refusal(response)
                yield _events(response)
        except httpx.HTTPError as error:
            raise Unreachable(_why(error)) from error

    # --- the calls by name

    async def chat(self, session_id: str, message_id: str, message: str, **fields: Any) -> dict[str, Any]:
        """Send a message; to a session with an active run it waits in the queue."""
        body = {"session_id": session_id, "message_id": message_id, "message": message, "on_busy": "queue", **fields}
        return await self.call("POST", "api/chat", body, holds="run_id")

    async def interrupt(self, session_id: str, message_id: str = "") -> dict[str, Any]:
        """Stop the active run, or the one of a message."""
        named = {"message_id": message_id} if message_id else {}
        return await self.call("POST", "api/interrupt", {"session_id": session_id, **named})

    async def answer(self, session_id: str, call_id: str, content: Any, error: str = "") -> None:
        """Answer what a run ended by asking."""
        body = {"session_id": session_id, "tool_call_id": call_id, "content": content}
        await self.call("POST", "api/tool-result", {**body, **({"error": error} if error else {})})

    async def sessions(self, query: str = "", limit: int = 20) -> list[dict[str, Any]]:
        """Return the latest sessions, those that hold `query` if it is given."""
        wanted: dict[str, str | int] = {"limit": limit, **({"q": query} if query else {})}
        page = await self.call("GET", "api/sessions", query=wanted, holds="sessions")
        found: list[dict[str, Any]] = page["sessions"]
        return found

    async def session(self, session_id: str) -> dict[str, Any]:
        """Return one Session."""
        return await self.call("GET", session_path(session_id), holds="session_id")

    async def change(self, session_id: str, **fields: Any) -> dict[str, Any]:
        """Change a session's title, persona, agent or metadata."""
        return await self.call("PATCH", session_path(session_id), fields, holds="session_id")

    def _turn(self) -> AbstractAsyncContextManager[Any]:
        """Let the first call end before others begin: a visitor who made two at once would be two visitors."""
        return nullcontext() if self._has_met else self._meeting

    def _hear(self, response: httpx.Response) -> None:
        self._has_met = True
        token = response.headers.get(VISITOR_TOKEN, "")
        if token and "Authorization" not in self._client.headers:
            self.visitor_token = token
            self._client.headers["Authorization"] = f"Bearer {token}"
            self._client.cookies.clear()  # the token says it already

    def _refusal(self, response: httpx.Response) -> Refused:
        refused = _read_refusal(response)
        if response.status_code == httpx.codes.UNAUTHORIZED and self._is_visitor:
            self._is_visitor = False
            del self._client.headers["Authorization"]
            refused.is_retryable = True  # as somebody new
        return refused


def without_password(url: str) -> str:
    """Return the address without the password in it."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return parts._replace(netloc=f"{parts.username}@{parts.netloc.rpartition('@')[2]}").geturl()


def session_path(session_id: str, part: str = "") -> str:
    """Return the path of a session, or of a part of it."""
    return f"api/sessions/{quote(session_id, safe='')}{part}"


async def _events(response: httpx.Response) -> Events:
    source = EventSource(response)
    last = ""
    async for frame in source.aiter_sse():
        # The decoder repeats the last id where a frame has none; a snapshot has one on its last frame only.
        cursor, last = (frame.id if frame.id != last else ""), frame.id
        if frame.data:
            yield cursor, _event(frame.data)


def _event(data: str) -> dict[str, Any]:
    try:
        event: dict[str, Any] = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise Unreachable("what it streams is not JSON") from error
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        raise Unreachable("what it streams are no events")
    return event


def _read_refusal(response: httpx.Response) -> Refused:
    try:
        problem = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    detail = problem.get("detail") or problem.get("title") or f"{response.status_code} {response.reason_phrase}"
    if response.has_redirect_location:  # not followed: who is asking is nobody else's business
        detail = f"this address sends on to {response.headers['location']}: if that is right, give that one"
    if response.status_code == httpx.codes.UNAUTHORIZED:
        detail = f"{detail} ({HOW_TO_SAY_WHO})"
    is_retryable = problem.get("retryable", response.status_code in (429, 502, 503, 504))
    try:
        retry_after_s = float(response.headers.get("retry-after", "0"))
    except ValueError:
        retry_after_s = 0.0
    return Refused(
        response.status_code,
        str(problem.get("code", "")),
        one_line(str(detail), DETAIL_CHARS),
        is_retryable=bool(is_retryable),
        retry_after_s=min(retry_after_s, LONGEST_PAUSE_S) if retry_after_s > 0 else 0.0,
    )


def _why(error: httpx.HTTPError) -> str:
    """Return what the system says is wrong, in its words, if it says so; it stands below what others made of it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return f"TLS fails: {cause.reason or cause}"
        if isinstance(cause, OSError) and cause.errno:
            return (os.strerror(cause.errno) if cause.errno > 0 else str(cause.strerror)).lower()
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx.TimeoutException):
        return "it does not answer"
    if isinstance(error, httpx.RemoteProtocolError) and "illegal" in str(error):
        return "what answers there does not speak HTTP"
    return str(error) or type(error).__name__
