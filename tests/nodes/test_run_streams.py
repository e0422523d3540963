"""The stream of one run, asked for at a node where the run is not: the same events, the same state, and its end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from scripts.blackbox.arena import script
from scripts.blackbox.nodes.cluster import Cluster, cluster
from tests.faults.stage import ENDLESS, heard, is_counting
from tests.http.kit import Tail, streaming
from tests.nodes.company import BRISK, Company, needs_redis, visited

pytestmark = [pytest.mark.anyio, needs_redis]

A, B = 0, 1
LIST: list[dict[str, Any]] = [
    {"state": [{"op": "add", "path": "/list", "value": []}]},
    *({"state": [{"op": "add", "path": "/list/-", "value": number}]} for number in range(9)),
]


@pytest.fixture(scope="module")
async def together(anyio_backend: str) -> AsyncIterator[Cluster]:
    """Two nodes for all tests of this file: nothing here breaks them."""
    async with cluster(count=2, settings=BRISK) as made:
        yield made


@pytest.fixture
async def company(together: Cluster) -> AsyncIterator[Company]:
    """The users of one test."""
    async with visited(together) as made:
        yield made


def state_of(tail: Tail) -> Any:
    """Return what the agent has put into the state."""
    return tail.fold.state["artifacts"]["list"]


@pytest.mark.parametrize("path", ["/api/chat", "/api/agents/scripted/run"])
async def test_a_repeated_request_at_another_node_follows_the_run_to_its_end(company: Company, path: str) -> None:
    session_id, text = f"of-{path.count('/')}", script(*LIST, ENDLESS)
    question = {"id": "m", "role": "user", "content": text}
    body: dict[str, Any] = {"threadId": session_id, "runId": "mine", "messages": [question]}
    if path == "/api/chat":
        body = {"message": text, "session_id": session_id, "message_id": "m", "agent": "scripted"}
    talk = await company.watch(A, session_id)
    async with streaming(company.caller(A), path, method="POST", body=body) as first:
        await heard(talk, 5)
        async with streaming(company.caller(B), path, method="POST", body=body) as second:
            await second.until(lambda frame: frame.event["type"] == "TEXT_MESSAGE_CONTENT")
            assert (await company.caller(B).interrupt(session_id)).json()["outcome"] == "stopped"
            endings = [(await tail.rest())[-1].event for tail in (first, second)]
    state = await company.same(session_id, talk)

    assert [ending["outcome"] for ending in endings] == [{"type": "cancelled"}] * 2
    assert state_of(first) == state_of(second) == state["state"]["artifacts"]["list"] == [*range(9)]
    for tail in (first, second):
        [said] = [one["content"] for one in tail.fold.messages.values() if one["role"] == "assistant"]
        assert is_counting(said)
        assert said == state["messages"][-1]["content"]
