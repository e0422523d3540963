"""A TCP proxy between one node and Redis, which can do to the traffic what networks do.

`is_cut`: nothing comes through in either direction and no connection ends, as with a cable pulled out; what was sent
meanwhile arrives when the cable is back, as TCP has it. `drops_messages`: connections that subscribe lose the messages
that are published to them, and nothing else: the loss that nobody is told about. `answers_to_lose`: so many times,
what was asked is done, and the connection ends instead of saying so.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import anyio
import anyio.lowlevel

READ_BYTES: Final = 1 << 16


class Gate:
    """One way to one Redis."""

    def __init__(self, redis_url: str) -> None:
        parts = urlsplit(redis_url)
        self._redis = (parts.hostname or "127.0.0.1", parts.port or 6379)
        self._parts = parts
        self._port = 0
        self._is_open = anyio.Event()
        self._is_open.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.drops_messages = False
        self.dropped = 0
        """Messages that were lost on purpose."""
        self.answers_to_lose = 0
        self.answers_lost = 0

    @property
    def url(self) -> str:
        """Where the node finds Redis."""
        return urlunsplit(self._parts._replace(netloc=f"127.0.0.1:{self._port}"))

    @property
    def is_cut(self) -> bool:
        """Whether nothing comes through."""
        return not self._is_open.is_set()

    def cut(self) -> None:
        """Pull the cable out."""
        self._is_open = anyio.Event()

    def mend(self) -> None:
        """Put it back."""
        self._is_open.set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Gate]:
        """Let connections through until the context ends."""
        async with anyio.create_task_group() as tasks:

            def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                tasks.start_soon(self._serve, reader, writer)

            server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=READ_BYTES)
            self._port = server.sockets[0].getsockname()[1]
            try:
                yield self
            finally:
                server.close()
                tasks.cancel_scope.cancel()
                for writer in self._writers:
                    writer.transport.abort()
        await anyio.lowlevel.checkpoint()  # aborted transports close in the next turn of the loop

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._is_open.wait()
            with suppress(OSError):
                redis_reader, redis_writer = await asyncio.open_connection(*self._redis)
                self._writers.add(redis_writer)
                try:
                    thinner = _Thinner(self)
                    async with anyio.create_task_group() as both:
                        both.start_soon(self._pump, reader, redis_writer, thinner.asked)
                        both.start_soon(self._pump, redis_reader, writer, thinner.answered)
                finally:
                    redis_writer.transport.abort()
                    self._writers.discard(redis_writer)
        finally:
            writer.transport.abort()
            self._writers.discard(writer)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passed: Callable[[bytes], bytes]
    ) -> None:
        with suppress(OSError):
            while piece := await reader.read(READ_BYTES):
                await self._is_open.wait()
                if writer.is_closing():
                    break
                writer.write(passed(piece))
                await writer.drain()
        await self._is_open.wait()  # the other side does not hear of the end either
        writer.close()


class _Thinner:
    """Finds the messages in what Redis sends to a subscriber, by RESP alone."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._subscribes = False
        self._rest = b""

    def asked(self, piece: bytes) -> bytes:
        """Look whether the node subscribes."""
        self._subscribes = self._subscribes or b"SUBSCRIBE" in piece.upper()
        return piece

    def answered(self, piece: bytes) -> bytes:
        """Return what the node may see of what Redis sent."""
        if not self._subscribes:
            if self._gate.answers_to_lose:
                self._gate.answers_to_lose -= 1
                self._gate.answers_lost += 1
                raise ConnectionAbortedError("this answer is lost")
            return piece
        buffer, kept, start = self._rest + piece, [], 0
        while (end := reply_end(buffer, start)) is not None:
            reply = buffer[start:end]
            is_message = reply[:1] in b"*>" and b"message\r\n" in reply[:24]
            if is_message and self._gate.drops_messages:
                self._gate.dropped += 1
            else:
                kept.append(reply)
            start = end
        self._rest = buffer[start:]
        return b"".join(kept)


def reply_end(buffer: bytes, start: int) -> int | None:
    """Return where the RESP reply that begins at `start` ends; None when not all of it is there."""
    line_end = buffer.find(b"\r\n", start)
    if line_end < 0:
        return None
    kind, head, end = buffer[start : start + 1], buffer[start + 1 : line_end], line_end + 2
    if kind in (b"$", b"=", b"!"):
        size = int(head)
        end += size + 2 if size >= 0 else 0
        return end if end <= len(buffer) else None
    for _ in range(int(head) * (2 if kind == b"%" else 1) if kind in (b"*", b">", b"~", b"%") else 0):
        inner = reply_end(buffer, end)
        if inner is None:
            return None
        end = inner
    return end
