"""The SSE response: a reader on one side, a socket on the other, and nothing between them.

A subclass of sse-starlette's `EventSourceResponse` with a `__call__` of its own: the request's task alone instead of
five (our own server says when the connection is gone), no generator and no cancel scope per chunk. What the library's
`__call__` did is supplied here: heartbeats and send timeouts by the hub's one timer (`beat`), the end on shutdown by
the hub (`drain`), HEAD without a stream, cleanup in one `finally`. Frames arrive encoded, LF only.

While its task waits for news, a stream whose client keeps up is written to by whoever publishes them; the task is woken
for everything else: a client that is behind, a log that must be read from the storage, a heartbeat, the end.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, Final, Protocol

import anyio
from sse_starlette.sse import EventSourceResponse
from starlette.types import Receive, Scope, Send

from ..core.hub import Hub
from ..core.ports import StorageError
from ..core.reader import Reader
from ..core.streams import retry_ms
from ..errors import SessionstreamError

_log = logging.getLogger("sessionstream.stream")

_SLICE_BYTES: Final = 256 << 10
HEARTBEAT: Final = b": \n\n"
TRANSPORT: Final = "sessionstream.transport"
"""Name of the ASGI extension under which our own server passes the connection, so that a dead one can be cut."""
PUSH: Final = "sessionstream.push"
"""Name of the one that writes to it at once: a client that keeps up costs no task switch for a token."""
LOST: Final = "sessionstream.lost"
"""Name of the one that says when it is gone: a stream then needs no second task that waits for that."""


class Source(Protocol):
    """Where a stream's frames come from."""

    async def take(self) -> bytes | None:
        """Return what is new, b"" when nothing is, None when the stream must end and its client come back."""

    async def wait(self) -> None:
        """Wait until there may be something new."""

    def wake(self) -> None:
        """Let `wait` return."""

    @property
    def is_at_end(self) -> bool:
        """Whether nothing will ever come again."""

    def farewell(self) -> bytes:
        """Return the last frames of a stream that is at its end."""


class EventStream(EventSourceResponse):
    """One client's SSE response. `stack` holds what the stream holds; it is closed when the stream ends, however."""

    def __init__(
        self, hub: Hub, source: Source, first: bytes, stack: AsyncExitStack, headers: dict[str, str] | None = None
    ) -> None:
        # Not the library's own: it prepares for its `__call__` what would be kept, unused, for every idle stream; and
        # it sends `Connection`, which HTTP/2 forbids and HTTP/1.1 does not need.
        self.status_code = 200
        self.media_type = "text/event-stream"
        self.background = None
        self.init_headers({"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no", **(headers or {})})
        self._hub = hub
        self._source = source
        self._first = first
        self._stack = stack
        self._is_due = False
        self._is_leaving = False
        self._is_lost = False
        self._last_sent = time.monotonic()
        self._sending_since: float | None = None
        self._scope: anyio.CancelScope | None = None
        self._transport: Any = None
        self._push: Callable[[bytes], bool] | None = None
        self._pushed: Reader | None = None
        self._seen = -1
        max_age_s = hub.settings.stream_max_age_seconds
        # Jitter, so that streams which were opened together do not come back together.
        self._leave_at = self._last_sent + max_age_s * random.uniform(0.8, 1.2) if max_age_s else float("inf")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the stream until it ends, its client goes, or the server does."""
        try:
            if scope["method"] == "HEAD":
                await self._send_head(send)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                return
            extensions = scope.get("extensions", {})
            self._transport, self._push = extensions.get(TRANSPORT), extensions.get(PUSH)
            self._hub.streams.add(self)
            if self._hub.is_draining:
                self.drain()  # it was not there when the others were told
            on_lost = extensions.get(LOST)
            if on_lost is None:
                await self._stream_beside(receive, send)
            else:
                await self._stream_alone(send, on_lost)
        finally:
            self._hub.streams.discard(self)
            with anyio.CancelScope(shield=True):
                await self._stack.aclose()

    async def _stream_alone(self, send: Send, on_lost: Callable[[Callable[[], None] | None], None]) -> None:
        """Stream on our own server."""
        on_lost(self._lose)
        try:
            await self._stream(send)
        finally:
            on_lost(None)

    async def _stream_beside(self, receive: Receive, send: Send) -> None:
        """Stream on a server that is not ours: a disconnect must be waited for, in a task of its own."""
        async with anyio.create_task_group() as tasks:
            self._scope = tasks.cancel_scope
            tasks.start_soon(self._stream, send)
            while (await receive())["type"] != "http.disconnect":
                pass
            tasks.cancel_scope.cancel()

    def _lose(self) -> None:
        """Hear that the connection is gone."""
        self._is_lost = True
        self._wake_task()

    def push_for(self, reader: Reader) -> None:
        """Let the reader's news be written at once, as long as there is nothing else to do."""
        self._pushed = reader

    def outlast(self) -> None:
        """Stay until the source ends, whatever its age: for a stream that its client cannot come back to."""
        self._leave_at = float("inf")

    def _let_push(self) -> None:
        if self._pushed is not None and not self._is_leaving and not self._is_lost:
            self._pushed.push = self._push

    def _wake_task(self) -> None:
        if self._pushed is not None:
            self._pushed.push = None
        self._source.wake()

    # --- the hub's timer and end

    def beat(self, now: float) -> None:
        """Notice a socket that takes nothing, a heartbeat that is due, an age at which to come back."""
        settings = self._hub.settings
        if self._pushed is not None and self._pushed.position != self._seen:
            self._seen, self._last_sent = self._pushed.position, now
        if self._sending_since is not None:
            if now - self._sending_since > settings.send_timeout_seconds:
                _log.info("a client took nothing for %g s: cut", settings.send_timeout_seconds)
                self.cut()
        elif now > self._leave_at:
            self.drain()
        elif now - self._last_sent >= settings.heartbeat_seconds - self._hub.beat_s:
            self._is_due = True
            self._wake_task()

    def drain(self) -> None:
        """End after what is there, with a clean close and a time to come back."""
        self._is_leaving = True
        self._wake_task()

    def cut(self) -> None:
        """End at once, whatever the client takes or not."""
        if self._transport is not None:
            # Closing would wait for the peer to take what is buffered, which is what it does not do.
            self._transport.abort()
        if self._scope is not None:
            self._scope.cancel()

    # --- sending

    async def _stream(self, send: Send) -> None:
        try:
            await self._write(send)
        except OSError:
            _log.debug("the client went away while something was sent")  # how ASGI 2.4 servers say so
        if self._scope is not None:
            self._scope.cancel()

    async def _write(self, send: Send) -> None:
        await self._send_head(send)
        preamble = b"retry: %d\n: connected\n\n" % retry_ms()
        first, self._first = memoryview(self._first), b""
        # In slices: the transport would copy what the client has not taken yet, however much that is.
        await self._send(send, preamble + bytes(first[:_SLICE_BYTES]))
        for start in range(_SLICE_BYTES, len(first), _SLICE_BYTES):
            await self._send(send, bytes(first[start : start + _SLICE_BYTES]))
        del first
        self._let_push()
        while not self._is_lost:
            chunk = await self._next()
            if chunk:
                await self._send(send, chunk)
                continue
            if chunk is None:
                break
            if self._source.is_at_end:
                await self._send(send, self._source.farewell())
                break
            if self._is_leaving:
                await self._send(send, b"retry: %d\n\n" % retry_ms())
                break
            if self._is_due:
                self._is_due = False
                await self._send(send, HEARTBEAT)
                self._let_push()
                continue
            await self._source.wait()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _next(self) -> bytes | None:
        try:
            return await self._source.take()
        except StorageError:
            return b""  # the stream stays up; it tries again when it is woken or the heartbeat is due
        except SessionstreamError:
            return b"" if self._source.is_at_end else None

    async def _send(self, send: Send, chunk: bytes) -> None:
        now = time.monotonic()
        self._sending_since = now
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
        self._sending_since = None
        self._last_sent = now

    async def _send_head(self, send: Send) -> None:
        headers, self.raw_headers = self.raw_headers, []  # sent once, and not kept for as long as the stream lives
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
