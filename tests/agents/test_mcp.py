"""MCP servers, on pipes and over HTTP: what their tools return, and what becomes of a call that goes wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from scripts.blackbox.waiting import poll
from server.agents.mcp.server import McpServer
from tests.support.mcp_running import WAIT_S, HttpProcess, is_soon, marked, one_of, running, stdio

TOOLS = [
    "add",
    "echo",
    "wait",
    "block",
    "fail",
    "huge",
    "picture",
    "environment",
    "header",
    "processes",
    "crash",
    "grow",
]
both = pytest.mark.parametrize("transport", ["stdio", "http"])


@asynccontextmanager
async def _sums(transport: str, marks: Path, **limits: Any) -> AsyncIterator[McpServer]:
    """Run the server over this transport until it is there."""
    process = HttpProcess(marks)
    if transport == "http":
        process.start()
    try:
        async with running(stdio(marks) if transport == "stdio" else process.config(), **limits) as servers:
            await is_soon(one_of(servers), "ok")
            yield one_of(servers)
    finally:
        process.kill()


@both
async def test_tools_are_listed_and_called(transport: str, tmp_path: Path) -> None:
    async with _sums(transport, tmp_path / "marks") as sums:
        outcome = await sums.call("add", {"a": 1, "b": 2})

        assert [tool.name for tool in sums.tools] == TOOLS
        assert sums.health() == {"status": "ok", "required": False, "tools": len(TOOLS)}
        assert (outcome.text, outcome.structured, outcome.is_error) == ("3", {"result": 3}, False)


@both
async def test_what_a_tool_cannot_do_is_an_outcome(transport: str, tmp_path: Path) -> None:
    """A model is told, and goes on: nothing is raised."""
    async with _sums(transport, tmp_path / "marks") as sums:
        failed = await sums.call("fail", {"why": "the sea is rough"})
        unknown = await sums.call("swim", {})
        wrong = await sums.call("add", {"a": "one"})

    assert (failed.text, failed.is_error) == ("Error executing tool fail: the sea is rough", True)
    assert unknown.is_error
    assert "swim" in unknown.text
    assert wrong.is_error
    assert "valid integer" in wrong.text


@both
async def test_results_are_bounded_in_bytes(transport: str, tmp_path: Path) -> None:
    """What a model sees is cut; what is too large to be read at all fails its own call only."""
    bounds = {"max_result_bytes": 1000, "max_message_bytes": 100_000}
    async with _sums(transport, tmp_path / "marks", **bounds) as sums:
        small = await sums.call("huge", {"size": 1000})
        large = await sums.call("huge", {"size": 20_000})
        giant = await sums.call("huge", {"size": 10_000_000})
        after = await sums.call("add", {"a": 1, "b": 2})

    assert small.text == "x" * 1000
    assert len(large.text.encode()) == 1000
    assert large.text.endswith("xxx\n[cut here: the result has 20000 bytes]")
    assert (large.structured, large.is_error) == (None, False)
    assert giant.is_error
    assert "the answer has more than 100000 bytes" in giant.text
    assert after.text == "3"
    assert await marked(tmp_path / "marks", "started") == ["started"]


@both
async def test_characters_are_cut_whole(transport: str, tmp_path: Path) -> None:
    async with _sums(transport, tmp_path / "marks", max_result_bytes=100) as sums:
        outcome = await sums.call("echo", {"text": "😀" * 100})

    assert len(outcome.text.encode()) <= 100
    assert outcome.text.startswith("😀😀")
    assert "\ufffd" not in outcome.text


async def test_an_image_is_described(tmp_path: Path) -> None:
    async with _sums("stdio", tmp_path / "marks") as sums:
        outcome = await sums.call("picture", {})

    assert outcome.text == "look:\n[image: image/png, 100 bytes]"


@both
async def test_a_slow_call_times_out_and_the_server_is_told(transport: str, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    async with _sums(transport, marks, call_timeout_s=0.5) as sums:
        outcome = await sums.call("wait", {})

        assert (outcome.text, outcome.is_error) == ("sums.wait did not answer within 0.5 s", True)
        assert await marked(marks, "cancelled") == ["started", "began", "cancelled"]
        assert (await sums.call("add", {"a": 1, "b": 2})).text == "3"


@both
async def test_a_cancelled_call_is_cancelled_at_the_server(transport: str, tmp_path: Path) -> None:
    """Stop means stop: also for what a run has asked others to do."""
    marks = tmp_path / "marks"
    async with _sums(transport, marks) as sums:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sums.call, "wait", {})
            await marked(marks, "began")
            tasks.cancel_scope.cancel()

        assert await marked(marks, "cancelled") == ["started", "began", "cancelled"]
        assert (await sums.call("add", {"a": 1, "b": 2})).text == "3"


@both
async def test_a_list_that_changed_is_read_again(transport: str, tmp_path: Path) -> None:
    """The server says so; nobody asks now and then within this test."""
    async with _sums(transport, tmp_path / "marks", check_s=1000) as sums:
        await sums.call("grow", {})

        assert await poll(lambda: [tool.name for tool in sums.tools] == [*TOOLS, "grown"], timeout_s=WAIT_S)
        assert (await sums.call("grown", {})).text == "grown"


async def test_a_crash_fails_its_calls_and_the_next_one_works(tmp_path: Path) -> None:
    """Also that of others which were on their way; the one after waits for the new process."""
    marks = tmp_path / "marks"
    lost = "the MCP server sums was lost during the call; it may be there again soon"
    outcomes = {}
    async with _sums("stdio", marks) as sums:

        async def call(tool: str) -> None:
            outcomes[tool] = await sums.call(tool, {})

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, "wait")
            await marked(marks, "began")
            await call("crash")
            after = await sums.call("add", {"a": 1, "b": 2})

    assert {tool: (one.text, one.is_error) for tool, one in outcomes.items()} == {
        "wait": (lost, True),
        "crash": (lost, True),
    }
    assert (after.text, after.is_error) == ("3", False)
    assert await marked(marks, "started") == ["started", "began", "started"]


async def test_a_crash_of_a_server_elsewhere_is_got_over_once_it_is_back(tmp_path: Path) -> None:
    process = HttpProcess(tmp_path / "marks")
    process.start()
    try:
        async with running(process.config(), check_s=0.1) as servers:
            sums = one_of(servers)
            await is_soon(sums, "ok")
            lost = await sums.call("crash", {})
            await is_soon(sums, "down")
            down = await sums.call("add", {"a": 1, "b": 2})
            process.kill()
            process.start()
            await is_soon(sums, "ok")
            after = await sums.call("add", {"a": 1, "b": 2})
    finally:
        process.kill()

    assert lost.is_error
    assert "was lost during the call" in lost.text
    assert (down.text, down.is_error) == ("the MCP server sums is down: All connection attempts failed", True)
    assert (after.text, after.is_error) == ("3", False)


async def test_headers_are_sent(tmp_path: Path) -> None:
    process = HttpProcess(tmp_path / "marks")
    process.start()
    try:
        async with running(process.config(headers={"X-Key": "k3y"})) as servers:
            await is_soon(one_of(servers), "ok")
            outcome = await one_of(servers).call("header", {"name": "x-key"})
    finally:
        process.kill()

    assert outcome.text == "k3y"
