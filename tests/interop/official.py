"""Official AG-UI clients in processes of their own, as a test sees them."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE
from typing import Any, Final, TypeVar

import anyio
import orjson
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from server.ids import new_id

HERE: Final = Path(__file__).resolve().parent
WAIT_S: Final = 15.0
LINE_BYTES: Final = 1 << 24

Json = dict[str, Any]


class OfficialClient:
    """One client: what it took, what it complained about, and how its stream, or its last run, ended."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.events: list[Json] = []
        self.complaints: list[str] = []
        self.ending: Any = None
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

    async def until_ended(self) -> Any:
        """Read to the end of the stream; True when the client took it for a good one, else its error."""
        await self.until(lambda: self.ending is not None)
        return self.ending

    async def report(self) -> Json:
        """Return the client's messages and state."""
        await self.send("report")
        with anyio.fail_after(WAIT_S):
            while True:
                fact = await self._next()
                if "messages" in fact:
                    return fact

    async def send(self, line: str) -> None:
        """Give an order."""
        await self._stdin.send(line.encode() + b"\n")

    async def _next(self) -> Json:
        fact: Json = orjson.loads(await self._lines.receive_until(b"\n", LINE_BYTES))
        if "event" in fact:
            self.events.append(fact["event"])
        elif "said" in fact:
            self.complaints.append(fact["said"])
        elif "ended" in fact:
            self.ending = fact["ended"]
        return fact


class OfficialAgent(OfficialClient):
    """A client as published, that asks for runs one after the other; `events` are of the last one."""

    def __init__(self, process: Process) -> None:
        super().__init__(process)
        self.finished: Json | None = None
        """What it was told at the end of the last run: `outcome`, `interrupts`, `pendingToolCallIds`."""
        self.failed: Json | None = None
        """The same of RUN_ERROR: `message`, `code`."""

    async def begin(self, text: str | None = None, message_id: str | None = None, **parameters: Any) -> None:
        """Ask for a run, after adding a message if there is one."""
        self.events, self.finished, self.failed, self.ending = [], None, None, None
        if text is not None:
            await self.add({"id": message_id or new_id(), "role": "user", "content": text})
        await self._order(run=parameters)

    async def run(self, text: str | None = None, message_id: str | None = None, **parameters: Any) -> Any:
        """The same, and wait for its end: True, or the error."""
        await self.begin(text, message_id, **parameters)
        return await self.until_ended()

    async def add(self, message: Json) -> None:
        """Add a message to those the client has."""
        await self._order(add=message)

    async def abort(self) -> None:
        """Close the connection, as the client's `abortRun` does."""
        await self._order(abort=True)

    async def report(self) -> Json:
        """Return `messages`, `state` and the interrupts that are `pending`."""
        await self._order(report=True)
        with anyio.fail_after(WAIT_S):
            while True:
                fact = await self._next()
                if "messages" in fact:
                    return fact

    def kinds(self) -> list[str]:
        """Return the types of the last run's events, runs of deltas as one."""
        types = [event["type"] for event in self.events]
        return [kind for at, kind in enumerate(types) if not at or kind != types[at - 1]]

    async def _order(self, **order: Any) -> None:
        await self.send(orjson.dumps(order).decode())

    async def _next(self) -> Json:
        fact = await super()._next()
        self.finished = fact.get("finished", self.finished)
        self.failed = fact.get("failed", self.failed)
        return fact


@asynccontextmanager
async def official_client(url: str, session_id: str) -> AsyncIterator[OfficialClient]:
    """Connect an official client to a session; it must not have said a word when the context is left."""
    stream = f"{url}/api/chat/stream?session_id={session_id}"
    async with _started("agui.mjs", OfficialClient, stream, session_id) as client:
        yield client
        assert client.complaints == []


@asynccontextmanager
async def official_agent(url: str, agent: str, thread_id: str, *, refusals: int = 0) -> AsyncIterator[OfficialAgent]:
    """Have an official client for an agent; it must have said nothing but that so many requests were refused."""
    async with _started("facade.mjs", OfficialAgent, f"{url}/api/agents/{agent}/run", thread_id) as client:
        yield client
        assert len(client.complaints) == refusals, client.complaints
        assert all(said.startswith("error: Agent execution failed:") for said in client.complaints), client.complaints


ClientT = TypeVar("ClientT", bound=OfficialClient)


@asynccontextmanager
async def _started(script: str, kind: type[ClientT], *arguments: str) -> AsyncIterator[ClientT]:
    node = shutil.which("node")
    assert node is not None, "node is missing: `scripts/install test` says what to install"
    assert (HERE / "node_modules" / "@ag-ui").is_dir(), "the official client is missing: run `scripts/install test`"
    async with await anyio.open_process([node, str(HERE / script), *arguments], stderr=PIPE) as process:
        try:
            yield kind(process)
        finally:
            process.kill()
        assert process.stderr is not None
        assert await _all_of(process.stderr) == b""


async def _all_of(stream: anyio.abc.ByteReceiveStream) -> bytes:
    return b"".join([piece async for piece in stream])
