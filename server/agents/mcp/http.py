"""Streamable HTTP: a client for the protocol's own transport that bounds what it reads, in bytes and in time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import httpx2

from .config import HttpConfig

_STREAM_SILENCE_S: Final = 300.0  # a stream of notifications may be silent for long; it is opened again then


def bounded_client(
    config: HttpConfig, *, max_message_bytes: int, connect_timeout_s: float, call_timeout_s: float
) -> httpx2.AsyncClient:
    """Return the client of one server, to be entered by who uses it."""

    async def bound(response: httpx2.Response) -> None:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise httpx2.DecodingError("the answer is compressed, which was not asked for", request=response.request)
        # A stream of events goes on for ever: the transport bounds each event instead.
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            response.stream = _BoundedBody(response.stream, max_message_bytes)

    return httpx2.AsyncClient(
        # Compressed, a small answer may be a large one: it is counted as it comes.
        headers={**config.headers, "Accept-Encoding": "identity"},
        # How long an answer may take is the caller's; this only says when a connection has died unnoticed.
        timeout=httpx2.Timeout(connect_timeout_s, read=max(_STREAM_SILENCE_S, call_timeout_s + connect_timeout_s)),
        event_hooks={"response": [bound]},
    )


class _BoundedBody(httpx2.AsyncByteStream):
    """A body that fails when it is longer than it may be, before more of it is read."""

    def __init__(self, body: httpx2.AsyncByteStream, max_bytes: int) -> None:
        self._body = body
        self._max_bytes = max_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._body:
            size += len(chunk)
            if size > self._max_bytes:
                raise httpx2.StreamError(f"the answer has more than {self._max_bytes} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._body.aclose()
