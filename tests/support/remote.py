"""An AG-UI endpoint of another server, on a real uvicorn in this process: it streams what the test says.

async with remote_endpoint() as remote:
    remote.will(STARTED, *text("m1", "Hello"), FINISHED)
    agent = RemoteAgent(remote.url, …)
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import anyio
import orjson
import uvicorn
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from server.core.grammar import Grammar
from server.core.history import unanswered
from server.core.ports import Agent, Event, Message, Service, Turn
from server.core.yielded import ids_of

from .client import Fold
from .node import eventually

Json = dict[str, Any]

QUESTION: Final[Message] = {"id": "u1", "role": "user", "content": "hi"}
STARTED: Final[Event] = {"type": "RUN_STARTED", "threadId": "t", "runId": "r", "protocolVersion": "1.0"}
FINISHED: Final[Event] = {"type": "RUN_FINISHED", "threadId": "t", "runId": "r", "outcome": {"type": "success"}}


def text(message_id: str, *deltas: str, **fields: Any) -> list[Event]:
    """Return the events of one message."""
    return [
        {"type": "TEXT_MESSAGE_START", "messageId": message_id, "role": "assistant", **fields},
        *({"type": "TEXT_MESSAGE_CONTENT", "messageId": message_id, "delta": delta} for delta in deltas),
        {"type": "TEXT_MESSAGE_END", "messageId": message_id},
    ]


def call(call_id: str, tool: str = "add", arguments: str = "{}") -> list[Event]:
    """Return the events of one tool call."""
    return [
        {"type": "TOOL_CALL_START", "toolCallId": call_id, "toolCallName": tool},
        {"type": "TOOL_CALL_ARGS", "toolCallId": call_id, "delta": arguments},
        {"type": "TOOL_CALL_END", "toolCallId": call_id},
    ]


def result(call_id: str, content: str, message_id: str = "result") -> Event:
    """Return the result of a call."""
    return {"type": "TOOL_CALL_RESULT", "messageId": message_id, "toolCallId": call_id, "content": content}


def frame(event: Event) -> bytes:
    """Return an event as the protocol's encoder writes it."""
    return b"data: %s\n\n" % orjson.dumps(event)


class Remote:
    """The endpoint. What it was asked stands in `inputs` and `headers`, newest last."""

    def __init__(self) -> None:
        self.url = ""
        self.inputs: list[Json] = []
        self.headers: list[dict[str, str]] = []
        self.callers: list[Any] = []
        """The address behind each request: one for each connection."""
        self.ended: list[str] = []
        """How each response ended: `whole`, or `cut` when the caller left before."""
        self._replies: list[Response] = []

    def will(self, *parts: Event | bytes | anyio.Event | Exception, status: int = 200) -> None:
        """Stream these to the next caller: events, bytes as they are, what to wait for, or a break."""
        stream = self._stream(parts)
        self._replies.append(StreamingResponse(stream, status, media_type="text/event-stream"))

    def will_answer(self, response: Response) -> None:
        """Give the next caller this instead."""
        self._replies.append(response)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a request as an ASGI app."""
        request = Request(scope, receive)
        self.headers.append(dict(request.headers))
        self.callers.append(request.client)
        self.inputs.append(await request.json())
        await self._replies.pop(0)(scope, receive, send)

    async def _stream(self, parts: tuple[Event | bytes | anyio.Event | Exception, ...]) -> AsyncIterator[bytes]:
        ending = "cut"
        try:
            for part in parts:
                if isinstance(part, Exception):
                    raise part
                if isinstance(part, anyio.Event):
                    await part.wait()
                else:
                    yield part if isinstance(part, bytes) else frame(part)
            ending = "whole"
        finally:
            self.ended.append(ending)


class _Uvicorn(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the tests."""
        yield


@asynccontextmanager
async def listening(app: ASGIApp) -> AsyncIterator[str]:
    """Serve an ASGI app on a port of its own; gives its address."""
    config = uvicorn.Config(app, lifespan="off", log_config=None, timeout_graceful_shutdown=1)
    server = _Uvicorn(config)
    with socket.create_server(("127.0.0.1", 0)) as bound:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.serve, [bound])
            await eventually(lambda: server.started)
            try:
                yield f"http://127.0.0.1:{bound.getsockname()[1]}"
            finally:
                server.should_exit = True


@asynccontextmanager
async def remote_endpoint() -> AsyncIterator[Remote]:
    """Serve an endpoint."""
    remote = Remote()
    async with listening(remote) as address:
        remote.url = f"{address}/agent"
        yield remote


@asynccontextmanager
async def running(service: Service) -> AsyncIterator[None]:
    """Run a service of an agent, as the hub does."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(service.run)
        await eventually(lambda: service.health()["status"] == "ok")
        try:
            yield
        finally:
            tasks.cancel_scope.cancel()


# --- what is asked, and what comes of it


def turn_of(*messages: Message, **fields: Any) -> Turn:
    """Return a turn that asks the last of these."""
    history = [*messages] or [QUESTION]
    made = {"session_id": "s", "run_id": "r1", "user_id": "ann", "message": str(history[-1].get("content")), **fields}
    return Turn(messages=history, **made)


async def told(agent: Agent, turn: Turn | None = None) -> list[Event]:
    """Return the events of an answer, each legal where it stands; a question to the client stands last."""
    turn = turn or turn_of()
    grammar = Grammar(ids_of(turn.messages), unanswered(turn.messages))
    events: list[Event] = []
    with anyio.fail_after(10):
        async for event in agent(turn):
            assert isinstance(event, dict)
            events.append(event if event["type"] == "RUN_FINISHED" else grammar.check(event))
    return events


async def messages_of(agent: Agent, turn: Turn | None = None) -> list[Message]:
    """Return the messages that an answer adds."""
    fold = Fold()
    for event in await told(agent, turn):
        fold.apply(event)
    return fold.messages
