"""Requests for runs as clients of AG-UI make them, and an agent that asks its client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from scripts.blackbox.caller import Caller
from scripts.blackbox.wire import Answer
from server.ids import new_id
from tests.http.kit import Tail, serving, somebody, streaming

Json = dict[str, Any]

ASKER = '''
import json


async def asker(turn):
    """Asks for the tools that the message names, the last one for an approval; then tells what it was answered."""
    if turn.resume:
        results = [message["content"] for message in turn.messages if message["role"] == "tool"]
        yield json.dumps({"results": results, "tools": [tool["name"] for tool in turn.tools]})
        return
    asked = []
    for at, name in enumerate(turn.message.split()):
        call_id = f"{name}-{turn.run_id}"
        yield {"type": "TOOL_CALL_START", "toolCallId": call_id, "toolCallName": name}
        yield {"type": "TOOL_CALL_END", "toolCallId": call_id}
        reason = "approval" if name == "launch" else "tool_call"
        asked.append({"id": f"about-{call_id}", "reason": reason, "toolCallId": call_id})
    yield {"type": "RUN_FINISHED", "outcome": {"type": "interrupt", "interrupts": asked}}
'''
_ENTRY = '\n[agents.asker]\nkind = "python"\nentrypoint = "asker:asker"\n'
PAINT = {"name": "paint", "description": "Paints the page."}


@asynccontextmanager
async def asking(folder: Path, **settings: str) -> AsyncIterator[Caller]:
    """Run a server that has the asker too; give one user of it."""
    async with serving(folder, **settings) as server:
        await server.terminate()
        (folder / "asker.py").write_text(ASKER, encoding="utf-8")
        with (folder / "agents.toml").open("a", encoding="utf-8") as agents:
            agents.write(_ENTRY)
        await server.start()
        yield somebody(server)


def user_message(text: Any, message_id: str | None = None) -> Json:
    """Return a user message."""
    return {"id": message_id or new_id(), "role": "user", "content": text}


def asked(*messages: Json, thread_id: str = "s", **fields: Any) -> Json:
    """Return a RunAgentInput."""
    return {"threadId": thread_id, "runId": "mine", "messages": list(messages), **fields}


async def refused(user: Caller, body: Any, agent: str = "mirror") -> Answer:
    """Send a request that is not answered by a stream."""
    return await user.call("POST", f"/api/agents/{agent}/run", body)


@asynccontextmanager
async def running(user: Caller, body: Json, agent: str = "scripted") -> AsyncIterator[Tail]:
    """Open the stream of a run."""
    async with streaming(user, f"/api/agents/{agent}/run", method="POST", body=body) as tail:
        yield tail


async def ran(user: Caller, body: Json, agent: str = "scripted") -> list[Json]:
    """Return the events of a run."""
    async with running(user, body, agent) as tail:
        frames = await tail.rest()
        assert tail.stream.ending == "clean"
        assert [frame.cursor for frame in frames if frame.cursor is not None] == []
        return [frame.event for frame in frames]


def own_id(event: Json) -> str:
    """Return the id that the server gave the run."""
    return str(event["metadata"]["sessionstream"]["run_id"])


def text_of(events: list[Json]) -> str:
    """Return what was said."""
    return "".join(event["delta"] for event in events if event["type"] == "TEXT_MESSAGE_CONTENT")
