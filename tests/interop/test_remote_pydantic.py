"""pydantic-ai's own AG-UI app as the remote agent of a real server: text, tools, approval, a client's tool, stop.

Both are real: this server is a process, the app runs on uvicorn and its model is pydantic-ai's scripted one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from scripts.blackbox.caller import Caller
from scripts.blackbox.process import Server
from tests.http.kit import Tail, ask, new_session, opened, somebody, start, streaming
from tests.support.pydantic_remote import PydanticRemote
from tests.support.remote import listening

Json = dict[str, Any]

AGENTS = """\
[agents.remote]
kind = "remote"
url = "{url}"
"""
SIGN = {"name": "sign", "description": "signs a text", "parameters": {"type": "object"}}


@asynccontextmanager
async def serving_remote(folder: Path, url: str) -> AsyncIterator[Server]:
    """Run a server whose only agent is at `url`."""
    server = Server(folder)
    (folder / "agents.toml").write_text(AGENTS.format(url=url), encoding="utf-8")
    try:
        await server.start()
        yield server
    finally:
        server.kill_now()
        server.wire.forget()
        await anyio.lowlevel.checkpoint()


@pytest.fixture
async def app() -> PydanticRemote:
    return PydanticRemote()


@pytest.fixture
async def ann(tmp_path: Path, app: PydanticRemote) -> AsyncIterator[Caller]:
    async with listening(app) as address, serving_remote(tmp_path, f"{address}/") as server:
        yield somebody(server)


async def asked(caller: Caller, message: str, session_id: str) -> list[Json]:
    """Ask, wait for the end, and return the messages that the run added behind the question."""
    messages: list[Json] = (await ask(caller, message, session_id=session_id))["messages"]
    return messages[1:]


async def pending_call(caller: Caller, session_id: str) -> str:
    """Return the id of the one call that waits for the client."""
    [question] = (await caller.state(session_id)).json()["state"]["pending"]
    return str(question["toolCallId"])


async def answered(caller: Caller, session_id: str, content: str) -> Tail:
    """Answer the one call that waits; return the stream of the session at the end of the run that goes on."""
    call_id = await pending_call(caller, session_id)
    body = {"session_id": session_id, "tool_call_id": call_id, "content": content}
    async with opened(caller, session_id) as tail:
        await tail.snapshot()
        answer = await caller.call("POST", "/api/tool-result", body)
        assert answer.status == 202, answer.body
        await tail.end_of(answer.json()["run_id"])
        return tail


async def test_text_comes_with_what_was_said_before(ann: Caller) -> None:
    session_id = await new_session(ann)

    await asked(ann, "one", session_id)
    [second] = await asked(ann, "two", session_id)

    assert second["content"] == "You said one, two"


async def test_reasoning_and_usage_come_too(ann: Caller) -> None:
    answer = await ask(ann, "think")

    thought, said = answer["messages"][1:]
    assert (thought["role"], thought["content"]) == ("reasoning", "hm")
    assert said["content"] == "You said think"
    [usage] = answer["usage"]
    assert usage["inputTokens"] > 0
    assert usage["outputTokens"] > 0


async def test_a_tool_of_the_remote_is_called_there(ann: Caller) -> None:
    session_id = await new_session(ann)

    called, result, said = await asked(ann, "add", session_id)
    [again] = await asked(ann, "thanks", session_id)

    assert called["toolCalls"][0]["function"] == {"name": "add", "arguments": '{"a": 1, "b": 2}'}
    assert (result["role"], result["content"]) == ("tool", "3")
    assert said["content"] == "The result is 3."
    assert again["content"] == "You said add, thanks"


async def test_a_tool_that_needs_approval_waits_for_it_and_runs_there(ann: Caller, app: PydanticRemote) -> None:
    session_id = await new_session(ann)

    [called] = await asked(ann, "pay", session_id)
    assert app.paid == 0
    tail = await answered(ann, session_id, "approved")

    *_, result, said = tail.fold.messages.values()
    assert app.paid == 1
    assert (result["toolCallId"], result["content"]) == (called["toolCalls"][0]["id"], "paid 5")
    assert said["content"] == "The result is paid 5."
    assert "pending" not in (await ann.state(session_id)).json()["state"]


async def test_a_tool_that_is_refused_does_not_run(ann: Caller, app: PydanticRemote) -> None:
    session_id = await new_session(ann)

    await asked(ann, "pay", session_id)
    tail = await answered(ann, session_id, "declined")
    [after] = await asked(ann, "thanks", session_id)

    assert app.paid == 0
    results = [message for message in tail.fold.messages.values() if message["role"] == "tool"]
    assert [result["content"] for result in results] == ["declined by the user"]
    assert after["content"] == "You said pay, thanks"


async def test_another_message_refuses_what_was_asked(ann: Caller, app: PydanticRemote) -> None:
    session_id = await new_session(ann)

    await asked(ann, "pay", session_id)
    messages = await asked(ann, "never mind", session_id)

    assert app.paid == 0
    assert messages[-1]["content"] == "You said pay, never mind"


async def test_a_tool_of_the_client_is_left_to_it(ann: Caller) -> None:
    """pydantic-ai ends such a run well and names the call; the session waits for its result."""
    session_id = await new_session(ann)
    run_input = {
        "threadId": session_id,
        "runId": "first",
        "messages": [{"id": "u1", "role": "user", "content": "sign"}],
        "tools": [SIGN],
        "context": [],
        "state": {},
        "forwardedProps": {},
    }

    async with streaming(ann, "/api/agents/remote/run", method="POST", body=run_input) as tail:
        [*_, last] = await tail.rest()
    call_id = await pending_call(ann, session_id)
    session = await answered(ann, session_id, "signed")

    assert last.event["outcome"] == {"type": "success", "pendingToolCallIds": [call_id]}
    *_, result, said = session.fold.messages.values()
    assert (result["content"], said["content"]) == ("signed", "The result is signed.")


async def test_stop_is_seen_by_the_model_there(ann: Caller, app: PydanticRemote) -> None:
    session_id = await new_session(ann)
    async with opened(ann, session_id) as tail:
        await tail.snapshot()
        begun = await start(ann, "wait", session_id=session_id)
        await tail.text("Well")

        stopped = await ann.interrupt(session_id)
        [*_, last] = await tail.end_of(begun["run_id"])

    assert stopped.json()["outcome"] == "stopped"
    assert last.event["outcome"] == {"type": "cancelled"}
    with anyio.fail_after(10):
        await app.stopped.wait()
    # The history with what was cut off is one that the framework takes.
    [said] = await asked(ann, "go on", session_id)
    assert said["content"] == "You said wait, go on"


async def test_a_session_of_another_server_of_ours_can_be_the_remote(tmp_path: Path, ann: Caller) -> None:
    """Its own facade is an AG-UI endpoint as any other: text, a tool call, a question and its answer, through both."""
    url = f"http://{ann.wire.host}:{ann.wire.port}/api/agents/remote/run"
    (tmp_path / "outer").mkdir()
    async with serving_remote(tmp_path / "outer", url) as server:
        outer = somebody(server)
        session_id = await new_session(outer)

        first = await asked(outer, "one", session_id)
        second = await asked(outer, "add", session_id)
        [called] = await asked(outer, "pay", session_id)
        tail = await answered(outer, session_id, "approved")
        [last] = await asked(outer, "two", session_id)

    assert [message["content"] for message in first] == ["You said one"]
    assert [message["role"] for message in second] == ["assistant", "tool", "assistant"]
    *_, result, said = tail.fold.messages.values()
    assert (result["toolCallId"], result["content"]) == (called["toolCalls"][0]["id"], "paid 5")
    assert said["content"] == "The result is paid 5."
    assert last["content"] == "You said one, add, pay, two"
