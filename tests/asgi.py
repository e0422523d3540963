"""A client that calls an ASGI app in this process and reads its answer while it is made; no socket, no buffering.

    async with open_request(app, "GET", "/api/chat/stream") as response:   # returns when the headers are there
        first = await response.next_chunk()                                # b"" at the end of the body
    # leaving tells the app that the client left, and waits until the app is done

`request` is the same for answers that end by themselves. A body may be bytes, or chunks that arrive one by one; what
the app raises is raised here. Every wait is bounded by `WAIT_S`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import msgspec
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Scope

WAIT_S = 5
MAX_UNREAD_CHUNKS = 1000
HOST = "localhost:8000"

Pairs = Iterable[tuple[str, str]] | dict[str, str]


class Response:
    """The answer, and the app's side of it: `receive` and `send`."""

    status: int
    headers: Headers

    def __init__(self, chunks: list[bytes], body_ends: bool) -> None:
        self._requests: list[Message] = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
        self._requests[-1]["more_body"] = not body_ends
        self._writer, self._reader = anyio.create_memory_object_stream[bytes](MAX_UNREAD_CHUNKS)
        self._has_started, self._is_left = anyio.Event(), anyio.Event()
        self.failure: Exception | None = None

    async def next_chunk(self) -> bytes:
        """Return the next piece of the body, as the app sent it; empty at the end."""
        with anyio.fail_after(WAIT_S), suppress(anyio.EndOfStream):
            return await self._reader.receive()
        return b""

    async def read(self) -> bytes:
        """Return the rest of the body."""
        chunks = []
        while chunk := await self.next_chunk():
            chunks.append(chunk)
        return b"".join(chunks)

    async def json(self) -> Any:
        """Return the rest of the body as JSON."""
        return msgspec.json.decode(await self.read())

    async def call(self, app: ASGIApp, scope: Scope) -> None:
        """Run the app to its end."""
        try:
            await app(scope, self._receive, self._send)
            assert self._has_started.is_set(), "the app answered nothing"
        except Exception as error:
            self.failure = error
        finally:
            self._has_started.set()
            self._writer.close()

    async def wait_started(self) -> None:
        """Wait for the status and headers, or raise what the app raised instead."""
        with anyio.fail_after(WAIT_S):
            await self._has_started.wait()
        if not hasattr(self, "status") and self.failure is not None:
            raise self.failure

    def leave(self) -> None:
        """Go, as a browser tab does that is closed."""
        self._is_left.set()
        self._reader.close()

    async def _receive(self) -> Message:
        if self._requests:
            return self._requests.pop(0)
        await self._is_left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], Headers(raw=list(message.get("headers", ())))
            self._has_started.set()
            return
        # As a real server does: what is sent to a client that left goes nowhere.
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            if message.get("body"):
                await self._writer.send(message["body"])
        if not message.get("more_body", False):
            self._writer.close()


def make_scope(method: str, target: str, headers: Pairs = (), **more: Any) -> Scope:
    """Return the scope of a request; it has a Host of this machine unless `headers` bring one."""
    path, _, query = target.partition("?")
    pairs = list(headers.items() if isinstance(headers, dict) else headers)
    if "host" not in {name.lower() for name, _ in pairs}:
        pairs.insert(0, ("Host", HOST))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "root_path": "",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in pairs],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8000),
        "state": {},
    } | more


@asynccontextmanager
async def open_request(
    app: ASGIApp, method: str, target: str, *, headers: Pairs = (), body: bytes | Iterable[bytes] = b"", **more: Any
) -> AsyncIterator[Response]:
    """Send a request; `content=…` goes as JSON, `body_ends=False` leaves the body open, others are of `make_scope`."""
    pairs = list(headers.items() if isinstance(headers, dict) else headers)
    if "content" in more:
        body = msgspec.json.encode(more.pop("content"))
        pairs.append(("Content-Type", "application/json"))
    response = Response([body] if isinstance(body, bytes) else list(body), more.pop("body_ends", True))
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(response.call, app, make_scope(method, target, pairs, **more))
            try:
                await response.wait_started()
                yield response
            finally:
                response.leave()
                group.cancel_scope.deadline = anyio.current_time() + WAIT_S
        assert not group.cancel_scope.cancelled_caught, "the app went on after its client left"
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    if response.failure is not None:
        raise response.failure


async def request(app: ASGIApp, method: str, target: str, **more: Any) -> tuple[Response, bytes]:
    """Send a request and return its whole answer."""
    async with open_request(app, method, target, **more) as response:
        return response, await response.read()
