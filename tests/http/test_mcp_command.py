"""POST /api/mcp-command: a tool called by a person, as a run of the session, with a real MCP server."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from scripts.blackbox.arena import script, stall
from scripts.blackbox.caller import Caller
from scripts.blackbox.fold import differences
from scripts.blackbox.process import Server
from scripts.blackbox.wire import Answer
from tests.http.kit import ask, check_problem, eventually, kinds, opened, serving, somebody, start
from tests.support.mcp_running import SCRIPT, marked


@asynccontextmanager
async def _with_tools(folder: Path, more: dict[str, Any] | None = None, **settings: str) -> AsyncIterator[Server]:
    """Run a server whose MCP server `sums` writes its marks into the folder; `more` are other MCP servers."""
    sums = {"command": sys.executable, "args": [str(SCRIPT), "stdio"], "env": {"MARKS": str(folder / "marks")}}
    (folder / "mcp.json").write_text(json.dumps({"mcpServers": {"sums": sums, **(more or {})}}), encoding="utf-8")
    async with serving(folder, MCP=str(folder / "mcp.json"), **settings) as server:
        yield server


@pytest.fixture(scope="module")
async def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the servers of this module live."""
    return tmp_path_factory.mktemp("mcp")


@pytest.fixture(scope="module")
async def tools(folder: Path) -> AsyncIterator[Server]:
    """A server with tools."""
    async with _with_tools(folder, MCP_TIMEOUT_SECONDS="5") as server:
        yield server


@pytest.fixture
def person(tools: Server) -> Caller:
    """A user of that server."""
    return somebody(tools)


async def _command(caller: Caller, command: str, session_id: str | None = "s", **args: Any) -> Answer:
    body = {"command": command, "args": args}
    return await caller.call(
        "POST", "/api/mcp-command", body if session_id is None else {**body, "session_id": session_id}
    )


def _result(answer: Answer) -> dict[str, Any]:
    assert answer.status == 200, answer.body
    result: dict[str, Any] = answer.json()["result"]
    return result


async def test_tools_are_listed_without_touching_a_session(person: Caller) -> None:
    answer = await person.call("POST", "/api/mcp-command", {"command": "tools/list"})
    sessions = (await person.call("GET", "/api/sessions")).json()

    assert answer.json()["session_id"] is None
    assert _result(answer)["tools"][0] == {
        "name": "sums.add",
        "description": "Add two numbers.",
        "inputSchema": {
            "type": "object",
            "properties": {"a": {"title": "A", "type": "integer"}, "b": {"title": "B", "type": "integer"}},
            "required": ["a", "b"],
            "title": "addArguments",
        },
    }
    assert sessions["count"] == 0


async def test_a_tool_is_called_in_a_new_session(person: Caller) -> None:
    answer = await _command(person, "sums.add", None, a=1, b=2)
    (session,) = (await person.call("GET", "/api/sessions")).json()["sessions"]

    assert answer.json() == {
        "session_id": session["session_id"],
        "result": {
            "content": [{"type": "text", "text": "3"}],
            "isError": False,
            "structuredContent": {"result": 3},
        },
    }


async def test_call_and_result_are_in_the_log_of_every_tab(person: Caller) -> None:
    """A run like any other: what streams say is what the state says, and the next run goes on from it."""
    await ask(person, script({"text": "hello"}), session_id="s")
    async with opened(person, "s") as tail:
        await tail.snapshot()
        await _command(person, "sums.add", a=1, b=2)
        frames = await tail.until(lambda frame: frame.event["type"] == "RUN_FINISHED")
        after = await ask(person, script({"text": "next"}), session_id="s")
        await tail.end_of(after["run_id"])
    state = (await person.state("s")).json()
    said, call, result = (await person.messages("s"))[2:5]

    assert kinds(frames) == [
        "RUN_STARTED",
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
        "TOOL_CALL_START",
        "TOOL_CALL_ARGS",
        "TOOL_CALL_END",
        "TOOL_CALL_RESULT",
        "RUN_FINISHED",
    ]
    assert frames[-1].event["outcome"] == {"type": "success"}
    assert differences(tail.fold, state) == []
    assert (said["role"], said["content"]) == ("user", 'sums.add {"a":1,"b":2}')
    assert call["toolCalls"][0]["function"] == {"name": "sums_add", "arguments": '{"a":1,"b":2}'}
    assert (result["role"], result["toolCallId"], result["content"]) == ("tool", call["toolCalls"][0]["id"], "3")


async def test_a_listing_in_a_session_is_in_its_log(person: Caller) -> None:
    listed = _result(await _command(person, "tools/list"))
    history = await person.messages("s")

    assert listed == _result(await person.call("POST", "/api/mcp-command", {"command": "tools/list"}))
    assert [message["role"] for message in history] == ["user", "assistant", "tool"]
    assert history[0]["content"] == "tools/list"
    assert history[1]["toolCalls"][0]["function"]["name"] == "tools_list"
    assert json.loads(history[2]["content"]) == listed


async def test_a_tool_that_fails_is_a_502_and_its_call_is_answered(person: Caller) -> None:
    problem = check_problem(await _command(person, "sums.fail", why="rough sea"), "tool_failed")
    history = await person.messages("s")
    after = await ask(person, script({"text": "next"}), session_id="s")

    assert problem["detail"] == "Error executing tool fail: rough sea"
    assert (history[-1]["role"], history[-1]["content"]) == ("tool", "Error executing tool fail: rough sea")
    assert after["status"] == "finished"


async def test_wrong_arguments_are_said_by_the_tool(person: Caller) -> None:
    problem = check_problem(await _command(person, "sums.add", a="one"), "tool_failed")

    assert "valid integer" in problem["detail"]


@pytest.mark.parametrize("name", ["sums.swim", "nobody.add", "sums", "sums.", "tools/call", "add"])
async def test_a_tool_that_is_not_there_is_a_404(person: Caller, name: str) -> None:
    """Nothing is touched: the session it was to be called in is not made."""
    check_problem(await _command(person, name), "tool_not_found")
    check_problem(await person.state("s"), "session_not_found")


async def test_a_busy_session_refuses(person: Caller) -> None:
    await start(person, script({"text": "so far"}, stall(60)), session_id="s")
    check_problem(await _command(person, "sums.add", a=1, b=2), "run_active")
    await person.interrupt("s")

    assert _result(await _command(person, "sums.add", a=1, b=2))["content"] == [{"type": "text", "text": "3"}]


async def test_an_interrupt_stops_the_call_and_its_server_is_told(person: Caller, folder: Path) -> None:
    """Stop means stop: the session is free at once, and no provider meets a call without a result."""
    answers: list[Answer] = []

    async def call() -> None:
        answers.append(await _command(person, "sums.wait"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        await marked(folder / "marks", "began")
        check_problem(await person.chat("hello", session_id="s"), "run_active")
        stopped = (await person.interrupt("s")).json()
    await marked(folder / "marks", "began", "cancelled")
    state = (await person.state("s")).json()

    assert stopped["outcome"] == "stopped"
    assert _result(answers[0]) == {"content": [{"type": "text", "text": "interrupted by the user"}], "isError": True}
    assert state["messages"][-1]["content"] == "interrupted by the user"
    assert state["run"] is None


async def test_a_client_that_hangs_up_stops_nothing(person: Caller, folder: Path) -> None:
    """A run belongs to the server, not to a request."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_command, person, "sums.wait")
        await marked(folder / "marks", "began")
        tasks.cancel_scope.cancel()
    run = (await person.state("s")).json()["run"]
    await person.interrupt("s")
    await marked(folder / "marks", "began", "cancelled")

    assert run["status"] == "running"


async def test_a_slow_tool_is_given_up(person: Caller, folder: Path) -> None:
    problem = check_problem(await _command(person, "sums.wait"), "tool_failed")
    await marked(folder / "marks", "began", "cancelled")

    assert problem["detail"] == "sums.wait did not answer within 5 s"


async def test_a_crash_is_a_502_and_the_next_call_works(person: Caller) -> None:
    problem = check_problem(await _command(person, "sums.crash"), "tool_failed")
    after = _result(await _command(person, "sums.add", a=1, b=2))

    assert problem["detail"] == "the MCP server sums was lost during the call; it may be there again soon"
    assert after["content"] == [{"type": "text", "text": "3"}]
    assert [message["role"] for message in await person.messages("s")] == ["user", "assistant", "tool"] * 2


async def test_a_huge_result_is_bounded(person: Caller) -> None:
    cut = _result(await _command(person, "sums.huge", size=1_000_000))
    giant = check_problem(await _command(person, "sums.huge", size=50_000_000), "tool_failed")

    assert len(cut["content"][0]["text"]) == 64 << 10
    assert cut["content"][0]["text"].endswith("[cut here: the result has 1000000 bytes]")
    assert "structuredContent" not in cut
    assert "the answer has more than" in giant["detail"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "command"),
        ({"command": 1}, "command"),
        ({"command": ""}, "command"),
        ({"command": "x" * 257}, "command"),
        ({"command": "tools/list\n"}, "command"),
        ({"command": "sums.add", "args": []}, "args"),
        ({"command": "sums.add", "args": {"a": "x" * 100_000}}, "args"),
        ({"command": "sums.add", "session_id": "not an id"}, "session_id"),
        ({"command": "sums.add", "arguments": {}}, "arguments"),
    ],
)
async def test_a_wrong_field_is_named(person: Caller, body: dict[str, Any], field: str) -> None:
    check_problem(await person.call("POST", "/api/mcp-command", body), "invalid_field", field)


async def test_another_users_session_is_another_session(person: Caller, tools: Server) -> None:
    await _command(person, "sums.add", a=1, b=2)
    other = somebody(tools)
    await _command(other, "sums.add", a=3, b=4)

    assert [message["content"] for message in await person.messages("s") if message["role"] == "tool"] == ["3"]
    assert [message["content"] for message in await other.messages("s") if message["role"] == "tool"] == ["7"]


async def test_without_servers_there_is_nothing_to_call(user: Caller) -> None:
    listed = await user.call("POST", "/api/mcp-command", {"command": "tools/list"})

    assert listed.json() == {"session_id": None, "result": {"tools": []}}
    check_problem(await _command(user, "sums.add"), "tool_not_found")


@pytest.mark.parametrize(("setting", "is_open"), [("admins", False), ("everyone", True)])
async def test_on_a_public_site_admins_alone_call_tools(tmp_path: Path, setting: str, is_open: bool) -> None:
    """No agent's list of allowed tools stands in between."""
    async with _with_tools(tmp_path, AUTH="proxy", ADMINS="boss", MCP_COMMANDS=setting) as server:
        boss, visitor = Caller(server.wire, "boss"), Caller(server.wire, "visitor")
        assert _result(await _command(boss, "sums.add", a=1, b=2))["isError"] is False
        listed = await visitor.call("POST", "/api/mcp-command", {"command": "tools/list"})
        called = await _command(visitor, "sums.add", a=1, b=2)

        if is_open:
            assert (listed.status, called.status) == (200, 200)
        else:
            check_problem(listed, "admin_only")
            check_problem(called, "admin_only")


async def test_a_page_that_may_talk_to_one_agent_calls_no_tool(tmp_path: Path) -> None:
    """Its agent's list of allowed tools would not count for it."""
    page = {"Origin": "https://shop.example"}
    server = Server(tmp_path)
    (tmp_path / "agents.toml").write_text(
        '[agents.shop]\nkind = "scripted"\nallowed_origins = ["https://shop.example"]\n', encoding="utf-8"
    )
    try:
        await server.start()
        nobody = Caller(server.wire, "")
        chat = await nobody.call("POST", "/api/chat", {"message": "hello"}, headers=page)
        listed = await nobody.call("POST", "/api/mcp-command", {"command": "tools/list"}, headers=page)
    finally:
        server.kill_now()
        server.wire.forget()

    assert chat.status == 202
    check_problem(listed, "origin_refused")


async def test_readiness_names_each_server_and_waits_for_those_that_are_required(tmp_path: Path) -> None:
    """One that is down takes the node out of service only if its operator said that nothing works without it."""
    late = tmp_path / "late"
    more = {
        "spare": {"command": "/nowhere"},
        "needed": {"command": str(late), "args": [str(SCRIPT), "stdio"], "required": True},
    }
    (tmp_path / "mcp.json").write_text("{}", encoding="utf-8")
    late.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', encoding="utf-8")
    late.chmod(0o755)
    async with _with_tools(tmp_path, more) as server:
        nobody = Caller(server.wire, "")

        async def parts() -> tuple[int, dict[str, Any]]:
            answer = await nobody.call("GET", "/health/ready")
            return answer.status, {name: part["status"] for name, part in answer.json()["parts"].items()}

        async def is_up() -> bool:
            return await parts() == (200, {**up, "mcp:spare": "down"})

        async def is_down() -> bool:
            return await parts() == (503, {**up, "mcp:spare": "down", "mcp:needed": "down"})

        up = {"storage": "ok", "mcp:sums": "ok", "mcp:spare": "ok", "mcp:needed": "ok"}
        await eventually(is_up)
        late.unlink()
        check_problem(await _command(nobody, "needed.crash"), "tool_failed")
        await eventually(is_down)
        problem = check_problem(await _command(nobody, "needed.add", a=1, b=2), "tool_failed")

    assert problem["detail"] == f"the MCP server needed is down: {late} cannot be started: No such file or directory"


async def test_a_mistake_in_the_file_ends_the_start(tmp_path: Path) -> None:
    """The operator is told file and key, before anybody is served."""
    with pytest.raises(RuntimeError, match=r"mcp\.json: mcpServers\.a\.comand: unknown key"):
        async with _with_tools(tmp_path, {"a": {"command": "x", "comand": "y"}}):
            pass
