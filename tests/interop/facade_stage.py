"""A stage for official clients: agents that call tools of the page and ask for approvals, and what both sides hold."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from scripts.blackbox.arena import script
from tests.faults.stage import Stage, staged
from tests.interop.official import Json, OfficialAgent

AGENTS = '''
import json


def call(turn, name, arguments, number=0):
    call_id = f"{turn.run_id}-{number}"
    of = {"parentMessageId": f"calls-{turn.run_id}"}
    yield {"type": "TOOL_CALL_START", "toolCallId": call_id, "toolCallName": name, **of}
    yield {"type": "TOOL_CALL_ARGS", "toolCallId": call_id, "delta": json.dumps(arguments)}
    yield {"type": "TOOL_CALL_END", "toolCallId": call_id}


def asking(*interrupts):
    return {"type": "RUN_FINISHED", "outcome": {"type": "interrupt", "interrupts": list(interrupts)}}


async def mirror(turn):
    seen = {"message": turn.message, "options": dict(turn.options), "context": list(turn.context)}
    yield json.dumps({**seen, "history": [[one["role"], one.get("content")] for one in turn.messages]})


async def painter(turn):
    """Has the page paint, as often as the message says, then tells what the page answered."""
    if turn.resume:
        results = [message["content"] for message in turn.messages if message["role"] == "tool"]
        yield f"The page says: {' and '.join(results)}."
        return
    yield "One moment. "
    numbers = range(int(turn.message))
    for number in numbers:
        for event in call(turn, "paint", {"color": "blue"}, number):
            yield event
    asked = [{"id": f"paint-{turn.run_id}-{at}", "toolCallId": f"{turn.run_id}-{at}"} for at in numbers]
    yield asking(*({**one, "reason": "tool_call"} for one in asked))


async def pilot(turn):
    """Asks before it launches; launches when it may."""
    if turn.resume:
        [said] = turn.resume
        if said["status"] == "resolved":
            yield {"type": "TOOL_CALL_RESULT", "messageId": f"r-{turn.run_id}", "toolCallId": said["toolCallId"],
                   "content": "launched"}
        yield "Lift-off." if said["status"] == "resolved" else "Staying."
        return
    for event in call(turn, "launch", {"pad": 39}):
        yield event
    yield asking({"id": f"launch-{turn.run_id}", "reason": "approval", "message": "Launch?",
                  "toolCallId": f"{turn.run_id}-0"})
'''

NAMED = "".join(
    f'\n[agents.{name}]\nkind = "python"\nentrypoint = "facade_agents:{name}"\n'
    for name in ("mirror", "painter", "pilot")
)
PAINT = {"name": "paint", "description": "Paints the page.", "parameters": {"type": "object", "properties": {}}}


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Stage]:
    """Set a stage whose server has these agents beside the scripted one."""
    async with staged(folder) as stage:
        (folder / "facade_agents.py").write_text(AGENTS, "utf-8")
        with (folder / "agents.toml").open("a", encoding="utf-8") as agents:
            agents.write(NAMED)
        await stage.server.start()
        yield stage


def steps(*items: Json) -> str:
    """Return a message that the scripted agent obeys."""
    return script(*items)


async def same(stage: Stage, client: OfficialAgent, session_id: str = "talk") -> Json:
    """Check that the client holds what the server holds; return it."""
    state = (await stage.caller().state(session_id)).json()
    report = await client.report()
    assert [plain(one) for one in report["messages"]] == [plain(one) for one in state["messages"]]
    assert report["state"]["artifacts"] == state["state"]["artifacts"]
    assert report["state"]["session"]["title"] == state["session"]["title"]
    assert report["state"].get("pending") == state["state"].get("pending")
    return report


def plain(message: Json) -> Json:
    """Return a message without what only one side knows: the server's marks, and the ids of results clients brought."""
    kept = {name: value for name, value in message.items() if name != "metadata"}
    if message["role"] == "tool":
        del kept["id"]
    if "toolCalls" in kept:
        kept["toolCalls"] = [{name: call[name] for name in ("id", "type", "function")} for call in kept["toolCalls"]]
    return kept


def refusal(ending: Json) -> tuple[int, str, str | None]:
    """Return status, code and field of a problem document that the client got."""
    problem = json.loads(ending["payload"])  # the client parses it for another media type only
    return ending["status"], problem["code"], problem.get("field")


def answer_of(report: Json) -> str:
    """Return the newest message's text."""
    return str(report["messages"][-1]["content"])
