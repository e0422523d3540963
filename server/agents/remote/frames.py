"""Frames: an event stream in, events of AG-UI out; what is unfinished is bounded in bytes.

Each SSE event is one JSON object with a `type`. Lines end in LF, CR or CRLF; `id:`, `event:`, `retry:` and comments say
nothing here. Half a surrogate pair in a string, as JavaScript leaves it when it cuts an emoji, is legal JSON: a delta
keeps it for whoever joins the pieces, anything else has it replaced.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, Final, NoReturn

import httpx
import orjson

from ...core.ports import Event
from ...core.text import mended
from ...errors import AgentFailed

MAX_FRAME_BYTES: Final = 10 << 20
"""What the official client takes at most; a snapshot of a long conversation is one frame."""

_FRAME_ENDS: Final = (b"\n\n", b"\r\n\r\n", b"\r\r")
_LONGEST_END: Final = 4


class BoundedStream(httpx.AsyncByteStream):
    """The bytes of a response, until one frame has too many of them: what reads them keeps each until it is whole."""

    def __init__(self, stream: httpx.AsyncByteStream, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._stream = stream
        self._max_frame_bytes = max_frame_bytes
        self._unfinished = 0
        self._tail = b""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            self._count(chunk)
            yield chunk

    async def aclose(self) -> None:
        """Close what is below."""
        await self._stream.aclose()

    def _count(self, chunk: bytes) -> None:
        seen = self._tail + chunk
        end = max((at + len(mark) for mark in _FRAME_ENDS if (at := seen.rfind(mark)) >= 0), default=0)
        self._unfinished = len(seen) - end if end else self._unfinished + len(chunk)
        self._tail = seen[max(end, len(seen) - _LONGEST_END + 1) :]
        if self._unfinished > self._max_frame_bytes:
            raise AgentFailed(
                f"the remote agent sent an event of more than {self._max_frame_bytes} bytes", code="agent_protocol"
            )


def parse_event(data: str) -> Event:
    """Return the event that a frame holds.

    Raises:
        AgentFailed: with `agent_protocol`: it is no JSON object with a type.
    """
    try:
        event = orjson.loads(data)
    except ValueError:
        event = _with_halves(data)
    if not isinstance(event, dict) or not isinstance(event.get("type"), str) or not event["type"]:
        raise AgentFailed("the remote agent sent JSON that is no event: an object with a type", code="agent_protocol")
    return event


def _with_halves(data: str) -> Any:
    try:
        value = json.loads(data, parse_constant=_refuse)
        delta = value.get("delta") if isinstance(value, dict) else None
        value = _whole(value)
    except (ValueError, RecursionError):
        raise AgentFailed("the remote agent sent an event that is not JSON", code="agent_protocol") from None
    return {**value, "delta": delta} if isinstance(delta, str) else value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _whole(value: Any) -> Any:
    match value:
        case str():
            return mended(value)
        case list():
            return [_whole(item) for item in value]
        case dict():
            return {mended(name): _whole(item) for name, item in value.items()}
        case _:
            return value
