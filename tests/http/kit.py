"""What the tests of the HTTP contract share: a real server with a few agents, streams that fold, whole problems."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.lowlevel

from scripts.blackbox.caller import Caller
from scripts.blackbox.fold import Fold
from scripts.blackbox.process import Server
from scripts.blackbox.wire import Answer, Frame, Stream
from server.errors import CODES, RETRYABLE
from server.ids import new_id

Event = dict[str, Any]

WAIT_S: Final = 15.0
UUID7: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
CURSOR: Final = re.compile(r"[A-Za-z0-9-]{3,63}")
TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
SESSION_FIELDS: Final = {
    "session_id",
    "user_id",
    "title",
    "agent",
    "persona",
    "created_at",
    "last_activity",
    "expires_at",
    "message_count",
    "run",
    "has_slides",
    "slide_count",
    "website_domain",
    "metadata",
}
PROBLEM_FIELDS: Final = {"type", "title", "status", "detail", "code", "retryable", "request_id"}

_AGENTS: Final = """\
default = "scripted"

[agents.scripted]
kind = "scripted"

[agents.mirror]
kind = "python"
entrypoint = "mirror:agent"

[agents.broken]
kind = "python"
entrypoint = "mirror:broken"
"""
# One agent that says what it was asked, and one that breaks the order of events.
_MIRROR: Final = """\
import json

async def agent(turn):
    turn.usage.append({"model": "mirror", "inputTokens": 3, "outputTokens": 5})
    seen = {"message": turn.message, "persona": turn.persona, "options": dict(turn.options), "user": turn.user_id}
    yield json.dumps({**seen, "history": [[one["role"], one["content"]] for one in turn.messages]})

async def broken(turn):
    yield {"type": "TEXT_MESSAGE_END", "messageId": "never-opened"}
"""


@asynccontextmanager
async def serving(folder: Path, **settings: str) -> AsyncIterator[Server]:
    """Run a server in `folder`; its agents are scripted (the default), mirror and broken."""
    server = Server(folder, settings=settings)
    (folder / "agents.toml").write_text(_AGENTS, encoding="utf-8")
    (folder / "mirror.py").write_text(_MIRROR, encoding="utf-8")
    try:
        await server.start()
        yield server
    finally:
        server.kill_now()
        server.wire.forget()
        # Aborted transports close in the next turn of the loop.
        await anyio.lowlevel.checkpoint()


def somebody(server: Server) -> Caller:
    """Return a user that nobody was before."""
    return Caller(server.wire, f"user-{new_id()}")


def check_problem(answer: Answer, code: str, field: str | None = None) -> dict[str, Any]:
    """Assert that an answer is this problem, whole; return its body."""
    body: dict[str, Any] = answer.json()
    status, meaning = CODES[code]

    assert (answer.status, body["code"], body.get("field")) == (status, code, field), body
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(body) == PROBLEM_FIELDS | ({"field"} if field is not None else set())
    assert body["type"] == f"urn:sessionstream:error:{code}"
    assert (body["title"], body["status"], body["retryable"]) == (meaning, status, code in RETRYABLE)
    assert body["detail"]
    assert body["request_id"] == answer.headers["x-request-id"]
    assert ("retry-after" in answer.headers) == (status in (429, 503))
    assert int(answer.headers.get("retry-after", "1")) >= 1
    return body


class Tail:
    """One open stream: what came, folded as it came, unless its beginning is elsewhere (`folds=False`)."""

    def __init__(self, stream: Stream, fold: Fold | None = None, *, folds: bool = True) -> None:
        self.stream = stream
        self.fold = fold or Fold()
        self._folds = folds
        self.frames: list[Frame] = []
        self._unread: list[Frame] = []

    @property
    def cursor(self) -> str:
        """The newest cursor that came."""
        return [frame.cursor for frame in self.frames if frame.cursor is not None][-1]

    @property
    def events(self) -> list[Event]:
        """All events that came."""
        return [frame.event for frame in self.frames]

    async def next(self) -> Frame | None:
        """Return the next frame, None at the end."""
        while not self._unread:
            piece = await self.stream.read(WAIT_S)
            if piece is None:
                return None
            self._unread = piece
        frame = self._unread.pop(0)
        self.frames.append(frame)
        wrong = self.fold.apply(frame.event) if self._folds else []
        assert not wrong, (wrong, frame)
        return frame

    async def until(self, is_it: Callable[[Frame], bool]) -> list[Frame]:
        """Return the frames up to the first that is it."""
        taken = []
        # Heartbeats keep a stream from being silent: the wait as a whole is bounded too.
        with anyio.fail_after(WAIT_S):
            while (frame := await self.next()) is not None:
                taken.append(frame)
                if is_it(frame):
                    return taken
        raise AssertionError(f"the stream ended before it came: {taken[-3:]}")

    async def snapshot(self) -> list[Frame]:
        """Return the frames of a snapshot: its last is the first that has a cursor."""
        return await self.until(lambda frame: frame.cursor is not None)

    async def text(self, wanted: str) -> list[Frame]:
        """Return the frames until some answer holds this text."""
        return await self.until(
            lambda frame: (
                frame.cursor is not None
                and any(
                    message["role"] == "assistant" and wanted in str(message.get("content"))
                    for message in self.fold.messages.values()
                )
            )
        )

    async def end_of(self, run_id: str) -> list[Frame]:
        """Return the frames until this run ended."""
        return await self.until(lambda frame: ends(frame.event, run_id))

    async def rest(self) -> list[Frame]:
        """Return the frames that come until the stream ends."""
        taken = []
        with anyio.fail_after(WAIT_S):
            while (frame := await self.next()) is not None:
                taken.append(frame)
        return taken


def ends(event: Event, run_id: str) -> bool:
    """Say whether this is the terminal event of a run."""
    if event["type"] == "RUN_ERROR":
        return bool(event["metadata"]["sessionstream"]["run_id"] == run_id)
    return bool(event["type"] == "RUN_FINISHED" and event["runId"] == run_id)


def resumed(event: Event) -> bool | None:
    """Return what the first event of a stream says about the cursor that was brought, None when nothing."""
    said: bool | None = event.get("metadata", {}).get("sessionstream", {}).get("resumed")
    return said


def kinds(frames: list[Frame]) -> list[str]:
    """Return the types of events, runs of deltas as one."""
    found: list[str] = []
    for frame in frames:
        kind = frame.event["type"]
        if not (found and found[-1] == kind and kind.endswith(("_CONTENT", "_ARGS"))):
            found.append(kind)
    return found


@asynccontextmanager
async def opened(
    caller: Caller, session_id: str, cursor: str | None = None, *, in_query: bool = False, **more: Any
) -> AsyncIterator[Tail]:
    """Open a session's stream, with a cursor in the header or in the query; `more` is of the `Tail`."""
    stream = await caller.stream(session_id, cursor, in_query=in_query)
    try:
        assert stream.status == 200, await stream.refusal()
        yield Tail(stream, **more)
    finally:
        stream.close()


@asynccontextmanager
async def streaming(caller: Caller, target: str, *, method: str = "GET", body: Any = None) -> AsyncIterator[Tail]:
    """Open any other event stream."""
    stream = await caller.wire.stream(target, headers=caller.headers, method=method, body=body)
    try:
        assert stream.status == 200, await stream.refusal()
        yield Tail(stream)
    finally:
        stream.close()


async def raw(server: Server, *pieces: bytes) -> bytes:
    """Send bytes as they are and return what comes until the server closes."""
    with anyio.fail_after(WAIT_S):
        async with await anyio.connect_tcp(server.wire.host, server.wire.port) as connection:
            received = b""
            with suppress(anyio.BrokenResourceError, anyio.EndOfStream):
                for piece in pieces:
                    await connection.send(piece)
            with suppress(anyio.BrokenResourceError, anyio.EndOfStream):
                while True:
                    received += await connection.receive()
    return received


def parsed(received: bytes) -> Answer:
    """Return one whole answer that was received raw."""
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return Answer(int(first.split(" ")[1]), {name.lower(): value.strip() for name, _, value in pairs}, body)


async def eventually(is_so: Callable[[], Awaitable[bool]], *, step_s: float = 0.05) -> None:
    """Look again and again until it is so: the state is the server's, it sets no event of ours."""
    with anyio.fail_after(WAIT_S):
        while not await is_so():  # noqa: ASYNC110 - as above
            await anyio.sleep(step_s)


async def new_session(caller: Caller, **fields: Any) -> str:
    """Create a session; return its id."""
    answer = await caller.call("POST", "/api/sessions", fields)
    assert answer.status == 201, answer.body
    return str(answer.json()["session_id"])


async def ask(caller: Caller, message: str, **fields: Any) -> dict[str, Any]:
    """Send a message and return the answer to it, after the run."""
    answer = await caller.chat(message, wait=True, **fields)
    assert answer.status == 200, answer.body
    answered: dict[str, Any] = answer.json()
    return answered


async def start(caller: Caller, message: str, **fields: Any) -> dict[str, Any]:
    """Send a message and return its receipt."""
    answer = await caller.chat(message, **fields)
    assert answer.status == 202, answer.body
    receipt: dict[str, Any] = answer.json()
    return receipt
