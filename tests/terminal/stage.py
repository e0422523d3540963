"""A real server for the tests of the terminal client, and a plain caller who looks at what it holds."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from scripts.blackbox.caller import Caller
from scripts.blackbox.process import Server

USER = "local"
ASKING = '''\
"""An agent that asks before it acts, or has the client act; it says what it was answered."""

import json


async def agent(turn):
    if turn.resume:
        (entry,) = turn.resume
        if turn.message == "act" and (entry.get("payload") or {}).get("approved"):
            call = next(call for one in reversed(turn.messages) for call in one.get("toolCalls", ()))
            yield {"type": "TOOL_CALL_RESULT", "messageId": f"done-{turn.run_id}", "toolCallId": call["id"],
                   "content": "acted"}
        yield f"I heard {json.dumps(entry.get('payload'), sort_keys=True)} {entry.get('status')}."
        return
    if turn.message not in ("act", "look"):
        yield f"You said {turn.message}."
        return
    call = f"call-{turn.run_id}"
    yield {"type": "TOOL_CALL_START", "toolCallId": call, "toolCallName": turn.message}
    yield {"type": "TOOL_CALL_ARGS", "toolCallId": call, "delta": '{"where": "here"}'}
    yield {"type": "TOOL_CALL_END", "toolCallId": call}
    reason = "approval" if turn.message == "act" else "tool_call"
    question = {"id": f"ask-{turn.run_id}", "reason": reason, "toolCallId": call, "message": f"Shall I {turn.message}?"}
    yield {"type": "RUN_FINISHED", "outcome": {"type": "interrupt", "interrupts": [question]}}
'''


def script(*steps: dict[str, Any]) -> str:
    """Return the message that has the scripted agent play these steps."""
    return json.dumps({"steps": steps}, ensure_ascii=False)


def text(words: str) -> dict[str, Any]:
    """Return the step that says this."""
    return {"text": words}


ENDLESS = {"stall": {"seconds": 3600}}


class Stage:
    """One server with its scripted agent, and with one that asks."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        (folder / "asking.py").write_text(ASKING, encoding="utf-8")
        agents = folder / "agents.toml"
        agents.write_text(
            'default = "scripted"\n[agents.scripted]\nkind = "scripted"\n'
            '[agents.asking]\nkind = "python"\nentrypoint = "asking:agent"\n',
            encoding="utf-8",
        )
        settings = {"AGENTS": str(agents), "NO_DOCS": "1", **settings}
        self.server = Server(folder, settings=settings, scripted=False)
        self.caller = Caller(self.server.wire, "")

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.server.url

    async def sessions(self) -> list[dict[str, Any]]:
        """Return all sessions."""
        found: list[dict[str, Any]] = (await self.caller.call("GET", "/api/sessions")).json()["sessions"]
        return found

    async def the_session(self) -> str:
        """Return the id of the only session there is."""
        (session,) = await self.sessions()
        return str(session["session_id"])

    async def texts(self, session_id: str = "") -> list[str]:
        """Return what was said in a session, by default in the only one."""
        messages = await self.caller.messages(session_id or await self.the_session())
        return [str(message.get("content", "")) for message in messages]


@asynccontextmanager
async def stage(folder: Path, **settings: str) -> AsyncIterator[Stage]:
    """Serve while the block runs."""
    there = Stage(folder, settings)
    await there.server.start()
    try:
        yield there
    finally:
        there.server.kill_now()
        there.server.wire.forget()
