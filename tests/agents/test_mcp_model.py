"""Tools of a real MCP server, called by the model agent: the list that allows them, results, crashes, Stop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.completions import Completions, calls, completions, says
from tests.support.mcp_running import marked, running, stdio
from tests.support.node import open_node


@pytest.fixture
async def model() -> AsyncIterator[Completions]:
    async with completions() as server:
        yield server


async def test_a_model_calls_what_its_list_allows(tmp_path: Path, model: Completions) -> None:
    model.will(calls(("sums_add", '{"a": 1, "b": 2}')), says("It is 3."))
    async with running(stdio(tmp_path / "marks")) as servers:
        agent = model.agent(toolboxes=[servers.toolbox(["sums.add", "sums.w*"])])
        async with open_node(tmp_path, agent=agent) as node, node.client() as client:
            await client.until_over((await node.ask("What is 1 + 2?")).run_id)

    assert [tool["function"]["name"] for tool in model.requests[0]["tools"]] == ["sums_add", "sums_wait"]
    assert client.faults == []
    assert [one["role"] for one in client.fold.messages] == ["user", "assistant", "tool", "assistant"]
    assert [one.get("content") for one in client.fold.messages[2:]] == ["3", "It is 3."]
    assert model.sent[-1]["content"] == "3"


async def test_a_model_hears_of_a_crash_and_can_call_again(tmp_path: Path, model: Completions) -> None:
    """The call is answered, so that the provider takes the history, and the next one waits for the new process."""
    model.will(
        calls(("sums_crash", "{}"), call_id="first"),
        calls(("sums_add", '{"a": 1, "b": 2}'), call_id="second"),
        says("It is 3, at last."),
    )
    async with running(stdio(tmp_path / "marks")) as servers:
        agent = model.agent(toolboxes=[servers.toolbox(["*"])])
        async with open_node(tmp_path, agent=agent) as node, node.client() as client:
            await client.until_over((await node.ask("Crash, then add.")).run_id)

    assert client.faults == []
    assert [one["content"] for one in client.fold.messages if one["role"] == "tool"] == [
        "the MCP server sums was lost during the call; it may be there again soon",
        "3",
    ]
    assert client.fold.messages[-1]["content"] == "It is 3, at last."


async def test_stop_reaches_the_tool_that_a_model_called(tmp_path: Path, model: Completions) -> None:
    marks = tmp_path / "marks"
    model.will(calls(("sums_wait", "{}")))
    async with running(stdio(marks)) as servers:
        agent = model.agent(toolboxes=[servers.toolbox(["sums.*"])])
        async with open_node(tmp_path, agent=agent) as node, node.client() as client:
            accepted = await node.ask("Wait.")
            await marked(marks, "began")
            await node.interrupt(accepted.run_id)
            await client.until_over(accepted.run_id)
            await marked(marks, "began", "cancelled")

    assert client.faults == []
    assert client.events[-1]["outcome"] == {"type": "cancelled"}
    assert client.fold.messages[-1]["content"] == "interrupted by the user"
