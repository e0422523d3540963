"""One connection: uvicorn's HTTP/1.1, bounded before a request is one.

uvicorn (0.54) takes a head of any size, and waits for one as long as the peer likes; here both have a bound. What is no
HTTP is answered in the shape of every other problem. The connection itself is in the scope, so that a stream can cut a
peer that takes nothing, write to one that keeps up without waking a task for it, and read a body that is here at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ..errors import BadRequest
from ..ids import new_id
from .events import LOST, PUSH, TRANSPORT
from .middleware import BODY
from .problems import problem_response

MAX_HEAD_BYTES: Final = 64 << 10
"""Twice what common proxies pass on."""


class Protocol(HttpToolsProtocol):
    """One connection. `head_timeout_s` is how long a request may take to say what it is."""

    head_timeout_s: ClassVar[float] = 15.0
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None
    """There while a head is waited for."""
    _on_lost: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._end_head()
        super().connection_lost(exc)
        if self._on_lost is not None:
            self._on_lost()

    def data_received(self, data: bytes) -> None:
        """Take what came; refuse a head that does not end."""
        super().data_received(data)
        if self._head_timer is None or self.transport.is_closing():
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self.send_400_response(f"the request's head exceeds {MAX_HEAD_BYTES} bytes")

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        ours: Any = {TRANSPORT: self.transport, PUSH: self.push, LOST: self.on_lost, BODY: self.is_body_here}
        self.scope["extensions"] = ours
        self._await_head()

    def on_headers_complete(self) -> None:
        """Hand the request to the app."""
        self._end_head()
        super().on_headers_complete()

    def is_body_here(self) -> bool:
        """Whether nothing of the request's body is still to come."""
        return not self.cycle.more_body

    def on_lost(self, notice: Callable[[], None] | None) -> None:
        """Call `notice` when the connection is lost; None: nobody waits for that any more."""
        self._on_lost = notice
        if notice is not None and self.transport.is_closing():
            notice()

    def push(self, chunk: bytes) -> bool:
        """Write a piece of the body that is being streamed; False when it cannot be written now, and nothing was."""
        cycle = self.cycle
        if self.flow.write_paused or self.transport.is_closing() or not cycle.chunked_encoding:
            return False
        if cycle.disconnected or not cycle.response_started or cycle.response_complete:
            return False
        self.transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        return True

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request, and close."""
        response = problem_response(BadRequest(msg), new_id())
        head = b"".join(b"%s: %s\r\n" % pair for pair in response.raw_headers)
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n%sconnection: close\r\n\r\n%s" % (head, response.body))
        self.transport.close()

    def _await_head(self) -> None:
        self._end_head()
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(self.head_timeout_s, self.transport.close)

    def _end_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def make_protocol(timeout_s: float) -> type[Protocol]:
    """Return the protocol whose heads arrive within `timeout_s`."""
    return type("BoundedProtocol", (Protocol,), {"head_timeout_s": timeout_s})
