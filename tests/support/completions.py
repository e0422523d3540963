"""A model server that answers what the test says, over a real socket: OpenAI's chat completions, Anthropic's messages.

    async with completions() as server:
        server.will(says("Hel", "lo"))            # one script per request, in order
        server.will(calls("add", '{"a": 1}'))

It notes every request. A script is what is sent, piece by piece: `CUT` drops the connection, an `anyio.Event` waits for
the test, anything else is an event; one of Anthropic's has a type. `Refused` is an answer that is no stream.
"""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import anyio
import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from server.agents.model import ModelAgent

from .model import model_agent

CUT: Final = "cut"
USAGE: Final = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}

_NAME: Final = "scripted"


@dataclass(frozen=True, kw_only=True)
class Refused:
    """An answer that is no stream."""

    status: int
    error: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


Script = Sequence[Any] | Refused


def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    """Return one event of a completion."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": _NAME, "choices": [choice]}


def usage(**counts: Any) -> dict[str, Any]:
    """Return the last event, which says what the request cost."""
    return {**chunk({}), "choices": [], "usage": {**USAGE, **counts}}


def says(*texts: str, finish: str = "stop") -> list[dict[str, Any]]:
    """Return a whole answer of text."""
    return [*(chunk({"role": "assistant", "content": text}) for text in texts), chunk({}, finish), usage()]


def message(*blocks: tuple[dict[str, Any], list[dict[str, Any]]], finish: str = "end_turn") -> list[dict[str, Any]]:
    """Return a whole answer of Anthropic's: blocks, each with the deltas that fill it."""
    start: dict[str, Any] = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": _NAME,
        "content": [],
        "stop_reason": None,
    }
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**start, "usage": {"input_tokens": 11, "output_tokens": 1}}}
    ]
    for index, (block, deltas) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    delta = {"stop_reason": finish, "stop_sequence": None}
    return [
        *events,
        {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 7}},
        {"type": "message_stop"},
    ]


def calls(*asked: tuple[str, str], call_id: str = "call", text: str = "") -> list[dict[str, Any]]:
    """Return a whole answer that calls tools, each by name and arguments; the arguments come in two pieces."""
    events = [chunk({"content": text})] if text else []
    for index, (name, arguments) in enumerate(asked):
        middle = len(arguments) // 2
        first = {"name": name, "arguments": arguments[:middle]}
        begun = {"index": index, "id": f"{call_id}{index}", "type": "function", "function": first}
        events += [chunk({"tool_calls": [begun]})]
        events += [chunk({"tool_calls": [{"index": index, "function": {"arguments": arguments[middle:]}}]})]
    return [*events, chunk({}, "tool_calls"), usage()]


class Completions:
    """What the server is to say, and what it was asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.left = anyio.Event()
        """Set when a client left before its answer ended."""
        self._scripts: list[Script] = []
        self._agents: list[ModelAgent] = []

    def agent(self, **settings: Any) -> ModelAgent:
        """Return an agent with this model; its connections are closed with the server."""
        self._agents.append(model_agent(self.url, **settings))
        return self._agents[-1]

    async def forget(self) -> None:
        """Close the connections of its agents, and be as new."""
        for agent in self._agents:
            await agent.aclose()
        self.requests, self.keys, self.left, self._scripts, self._agents = [], [], anyio.Event(), [], []

    def will(self, *scripts: Script) -> None:
        """Answer the next requests so."""
        self._scripts += scripts

    @property
    def sent(self) -> list[dict[str, Any]]:
        """The messages of the last request."""
        messages: list[dict[str, Any]] = self.requests[-1]["messages"]
        return messages

    async def answer(self, request: Request) -> Response:
        """Play the next script."""
        self.requests.append(orjson.loads(await request.body()))
        self.keys.append(request.headers.get("authorization", ""))
        script = self._scripts.pop(0)
        if isinstance(script, Refused):
            return JSONResponse({"error": script.error}, script.status, script.headers)
        ending = b"data: [DONE]\n\n" if request.url.path.endswith("completions") else b""
        return StreamingResponse(self._play(script, ending), media_type="text/event-stream")

    async def _play(self, script: Sequence[Any], ending: bytes) -> AsyncIterator[bytes]:
        try:
            for piece in script:
                if piece == CUT:
                    raise ConnectionAbortedError  # uvicorn drops the connection
                if isinstance(piece, anyio.Event):
                    await piece.wait()
                else:
                    yield _framed(piece)
            yield ending
        except anyio.get_cancelled_exc_class():
            self.left.set()
            raise


def _framed(piece: Any) -> bytes:
    name = f"event: {piece['type']}\n" if isinstance(piece, dict) and "type" in piece else ""
    # Not orjson: half a surrogate pair is sent as other servers send it.
    return f"{name}data: {json.dumps(piece)}\n\n".encode()


@asynccontextmanager
async def completions() -> AsyncIterator[Completions]:
    """Run such a server."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Completions(f"http://127.0.0.1:{listener.getsockname()[1]}")
        paths = ("/v1/chat/completions", "/v1/messages")
        app = Starlette(routes=[Route(path, server.answer, methods=["POST"]) for path in paths])
        config = uvicorn.Config(app, lifespan="off", log_config=None, log_level="critical")
        process = _Server(config)
        async with anyio.create_task_group() as group:
            group.start_soon(process.serve, [listener])
            try:
                yield server
            finally:
                await server.forget()
                process.should_exit = process.force_exit = True


class _Server(uvicorn.Server):
    """One that leaves signals to the tests."""

    def install_signal_handlers(self) -> None:
        """Do nothing."""
