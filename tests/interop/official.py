"""The official AG-UI client in a process of its own, as a test sees it."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE
from typing import Any, Final

import anyio
import orjson
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

HERE: Final = Path(__file__).resolve().parent
WAIT_S: Final = 15.0
LINE_BYTES: Final = 1 << 24

Json = dict[str, Any]


class OfficialClient:
    """One client: what it took, what it complained about, and how its stream ended."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.events: list[Json] = []
        self.complaints: list[str] = []
        self.ending: str | bool | None = None
        self._stdin = process.stdin
        self._lines = BufferedByteReceiveStream(process.stdout)

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Read on until something is so."""
        with anyio.fail_after(WAIT_S):
            while not is_so():
                await self._next()

    async def until_event(self, kind: str, **fields: Any) -> None:
        """Read on until the newest event is one of this kind with these fields."""
        await self.until(
            lambda: (
                bool(self.events)
                and self.events[-1]["type"] == kind
                and all(self.events[-1].get(name) == value for name, value in fields.items())
            )
        )

    async def until_ended(self) -> str | bool | None:
        """Read to the end of the stream; True when the client took it for a good one, else its error."""
        await self.until(lambda: self.ending is not None)
        return self.ending

    async def report(self) -> Json:
        """Return the client's messages and state."""
        await self._stdin.send(b"report\n")
        with anyio.fail_after(WAIT_S):
            while True:
                fact = await self._next()
                if "messages" in fact:
                    return fact

    async def _next(self) -> Json:
        fact: Json = orjson.loads(await self._lines.receive_until(b"\n", LINE_BYTES))
        if "event" in fact:
            self.events.append(fact["event"])
        elif "said" in fact:
            self.complaints.append(fact["said"])
        elif "ended" in fact:
            self.ending = fact["ended"]
        return fact


@asynccontextmanager
async def official_client(url: str, session_id: str) -> AsyncIterator[OfficialClient]:
    """Connect an official client to a session; it must not have said a word when the context is left."""
    node = shutil.which("node")
    assert node is not None, "node is missing: `scripts/install test` says what to install"
    assert (HERE / "node_modules" / "@ag-ui").is_dir(), "the official client is missing: run `scripts/install test`"
    stream = f"{url}/api/chat/stream?session_id={session_id}"
    async with await anyio.open_process([node, str(HERE / "agui.mjs"), stream, session_id], stderr=PIPE) as process:
        client = OfficialClient(process)
        try:
            yield client
        finally:
            process.kill()
        assert client.complaints == []
        assert process.stderr is not None
        assert await _all_of(process.stderr) == b""


async def _all_of(stream: anyio.abc.ByteReceiveStream) -> bytes:
    return b"".join([piece async for piece in stream])
