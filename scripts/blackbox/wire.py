"""HTTP/1.1 over plain sockets: one request at a time per connection, and event streams read as they arrive.

A stream knows how it ended: `clean` (the last chunk came) or `cut` (the socket ended before it). That difference is
what a test of a shutdown is about and what client libraries hide. Only `Broken` is raised for a connection that
failed; every wait is bounded by `timeout_s`.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import anyio
import orjson

CONNECT_TIMEOUT_S: Final = 10.0
CALL_TIMEOUT_S: Final = 30.0
POOLED_S: Final = 2.0  # below the 5 s after which common servers close an idle connection
READ_BYTES: Final = 1 << 18

Headers = Mapping[str, str]


class Broken(Exception):
    """The connection was refused, cut or silent for too long."""


class Frame(NamedTuple):
    """One SSE event: its id, if it had one, and its data as JSON."""

    cursor: str | None
    event: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON; None when it is empty."""
        return orjson.loads(self.body) if self.body else None

    @property
    def code(self) -> str:
        """The `code` of a problem document, or an empty text."""
        with suppress(orjson.JSONDecodeError, AttributeError):
            return str(self.json().get("code", ""))
        return ""


@dataclass(slots=True)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    used_at: float = field(default_factory=time.monotonic)

    def abort(self) -> None:
        self.writer.transport.abort()


class Wire:
    """The way to one server. Keeps idle connections for calls; each stream has its own."""

    def __init__(self, host: str, port: int, *, is_secure: bool = False) -> None:
        self.host = host
        self.port = port
        self._tls = ssl.create_default_context() if is_secure else None
        self._idle: list[_Connection] = []

    async def call(
        self,
        method: str,
        target: str,
        *,
        headers: Headers | None = None,
        body: Any = None,
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> Answer:
        """Send one request and return its whole response. `body`: bytes as they are, anything else as JSON."""
        try:
            with anyio.fail_after(timeout_s):
                connection = await self._taken()
                try:
                    connection.writer.write(_request(self.host, self.port, method, target, headers, body))
                    answer, reusable = await _answer(connection.reader)
                except BaseException:
                    connection.abort()
                    raise
        except (OSError, EOFError, ValueError) as error:  # TimeoutError is an OSError
            raise Broken(f"{method} {target.partition('?')[0]}: {type(error).__name__}") from error
        if reusable:
            connection.used_at = time.monotonic()
            self._idle.append(connection)
        else:
            connection.abort()
        return answer

    async def stream(
        self, target: str, *, headers: Headers | None = None, method: str = "GET", body: Any = None
    ) -> Stream:
        """Open an event stream: its status and headers are known, nothing of its body is read yet."""
        try:
            with anyio.fail_after(CONNECT_TIMEOUT_S):
                connection = await self._opened()
                try:
                    connection.writer.write(
                        _request(
                            self.host,
                            self.port,
                            method,
                            target,
                            {"Accept": "text/event-stream", **(headers or {})},
                            body,
                        )
                    )
                    status, answered = await _head(connection.reader)
                except BaseException:
                    connection.abort()
                    raise
        except (OSError, EOFError, ValueError) as error:
            raise Broken(f"{method} {target.partition('?')[0]}: {type(error).__name__}") from error
        return Stream(connection, status, answered)

    async def abandon(self, method: str, target: str, part: bytes, *, headers: Headers | None = None) -> None:
        """Send a request whose body is announced longer than `part`, and hang up."""
        try:
            with anyio.fail_after(CONNECT_TIMEOUT_S):
                connection = await self._opened()
                whole = _request(self.host, self.port, method, target, headers, part + b" " * 100)
                connection.writer.write(whole[:-100])
                await connection.writer.drain()
                connection.abort()
        except OSError as error:
            raise Broken(f"{method} {target}: {type(error).__name__}") from error

    def forget(self) -> None:
        """Drop idle connections: the server behind them is gone."""
        while self._idle:
            self._idle.pop().abort()

    async def _taken(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if time.monotonic() - connection.used_at < POOLED_S and not connection.reader.at_eof():
                return connection
            connection.abort()
        return await self._opened()

    async def _opened(self) -> _Connection:
        reader, writer = await asyncio.open_connection(self.host, self.port, limit=1 << 22, ssl=self._tls)
        return _Connection(reader, writer)


class Stream:
    """One open event stream, read in pieces of whole frames."""

    def __init__(self, connection: _Connection, status: int, headers: dict[str, str]) -> None:
        self.status = status
        self.headers = headers
        self.ending = "open"
        self._connection = connection
        self._chunks = ChunkDecoder()
        self._chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        self._rest = b""

    async def read(self, timeout_s: float = 60.0) -> list[Frame] | None:
        """Return the next frames (an empty list when only comments came), or None at the end; see `ending`."""
        text = await self.read_bytes(timeout_s)
        if text is None:
            return None
        parts = (self._rest + text).split(b"\n\n")
        self._rest = parts.pop()
        return [frame for part in parts if (frame := parse_frame(part)) is not None]

    async def read_bytes(self, timeout_s: float = 60.0) -> bytes | None:
        """Return the next bytes of the body (maybe none), or None at the end. Not to be mixed with `read`."""
        if self.ending != "open":
            return None
        try:
            with anyio.fail_after(timeout_s):
                piece = await self._connection.reader.read(READ_BYTES)
        except TimeoutError:
            raise Broken("the stream was silent for too long") from None
        except OSError:
            piece = b""
        text = self._chunks.feed(piece) if self._chunked else piece
        if not piece or self._chunks.ended:
            self.ending = "clean" if self._chunks.ended else "cut"
            self._connection.abort()
        return text if piece else None

    async def refusal(self) -> Answer:
        """Return the whole response of a stream that was refused."""
        length = int(self.headers.get("content-length", "0"))
        try:
            with anyio.fail_after(CALL_TIMEOUT_S):
                return Answer(self.status, self.headers, await self._connection.reader.readexactly(length))
        except (OSError, EOFError) as error:
            raise Broken("the refusal was cut") from error
        finally:
            self.close()

    def close(self) -> None:
        """Cut the connection. Idempotent."""
        if self.ending == "open":
            self.ending = "closed"
        self._connection.abort()


class ChunkDecoder:
    """The chunked transfer coding, piece by piece."""

    def __init__(self) -> None:
        self.ended = False
        self._buffer = b""
        self._left = 0  # bytes of the current chunk that have not come yet, its line end included
        self._is_last = False

    def feed(self, piece: bytes) -> bytes:
        """Return the payload that `piece` completes. Raises `ValueError` for a wrong chunk size."""
        buffer = self._buffer + piece
        out: list[bytes] = []
        start = 0
        while not self.ended and start < len(buffer):
            if self._left:
                taken = min(self._left, len(buffer) - start)
                payload = min(taken, max(self._left - 2, 0))
                out.append(buffer[start : start + payload])
                self._left -= taken
                start += taken
                self.ended = self._is_last and not self._left
                continue
            line_end = buffer.find(b"\r\n", start)
            if line_end < 0:
                break
            size = int(buffer[start:line_end].partition(b";")[0], 16)
            start = line_end + 2
            self._is_last = size == 0
            self._left = size + 2
        self._buffer = buffer[start:]
        return b"".join(out)


def parse_frame(part: bytes) -> Frame | None:
    """Return the event of one SSE block, None when it holds only comments or `retry`. Raises on what we never send."""
    cursor: str | None = None
    event: dict[str, Any] | None = None
    for line in part.split(b"\n"):
        name, _, value = line.partition(b": ")
        if name == b"data":
            if event is not None:
                raise ValueError("a frame holds two data lines")
            event = orjson.loads(value)
        elif name == b"id":
            cursor = value.decode("ascii")
        elif line and not line.startswith((b":", b"retry: ")):
            raise ValueError(f"unexpected line in a stream: {line[:80]!r}")
    return None if event is None else Frame(cursor, event)


def deaf_socket(host: str, port: int, target: str, headers: Headers) -> socket.socket:
    """Ask for a stream on a socket with the smallest receive buffer, and never read from it."""
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    deaf.settimeout(CONNECT_TIMEOUT_S)
    deaf.connect((host, port))
    deaf.sendall(_request(host, port, "GET", target, {"Accept": "text/event-stream", **headers}, None))
    return deaf


def _request(host: str, port: int, method: str, target: str, headers: Headers | None, body: Any) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}:{port}"]
    payload = b""
    if body is not None:
        payload = body if isinstance(body, bytes) else orjson.dumps(body)
        if not any(name.lower() == "content-type" for name in headers or ()):
            lines.append("Content-Type: application/json")
    if payload or method not in ("GET", "HEAD"):
        lines.append(f"Content-Length: {len(payload)}")
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode("utf-8") + payload


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip().split("\r\n")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return int(first.split(" ", 2)[1]), headers


async def _answer(reader: asyncio.StreamReader) -> tuple[Answer, bool]:
    status, headers = await _head(reader)
    if headers.get("transfer-encoding", "").lower() == "chunked":
        decoder = ChunkDecoder()
        body = b""
        while not decoder.ended:
            piece = await reader.read(READ_BYTES)
            if not piece:
                raise EOFError("cut in the middle of a chunked body")
            body += decoder.feed(piece)
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Answer(status, headers, body), headers.get("connection", "").lower() != "close"
