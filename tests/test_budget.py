"""What the server may take, in counts that no machine changes: what makes it dearer fails here, without a clock.

Each bound is what was counted when it was set, and a little room. Lower them when the server gets cheaper.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from scripts.benchmark.counts import Cost, Counter, counting

SESSIONS = 40
ROUNDS = 10

CREATE_STATEMENTS = 6
CREATE_CALLS = 365
POST_STATEMENTS = 8
POST_COMMITS = 1
POST_CALLS = 690
OPEN_TASKS = 1
OPEN_KEPT_BYTES = 27_500
OPEN_KEPT_BLOCKS = 235
TOKEN_CALLS = 37
TOKEN_KEPT_BLOCKS = 1.6
WAITING_TOKEN_CALLS = 13.5
ROUND_STATEMENTS = 3
END_STATEMENTS = 12
END_CALLS = 190


@asynccontextmanager
async def _talking(folder: Path, ids: list[str]) -> AsyncIterator[Counter]:
    """Give sessions with streams whose agents have said a word already."""
    async with counting(folder) as counter:
        await counter.open(ids)
        for session_id in ids:
            await counter.post(session_id)
        await counter.tokens(1)
        yield counter


@pytest.fixture
def ids() -> list[str]:
    return [f"session-{number}" for number in range(SESSIONS)]


async def test_post_takes_one_commit_of_few_statements(tmp_path: Path) -> None:
    """A message is one transaction, whether its session is new or not."""
    async with counting(tmp_path) as counter:
        await counter.open(["first", "talk"])
        await counter.post("first")  # what is made once for all
        costs: list[Cost] = []
        for _ in range(2):
            costs.append(await counter.post("talk"))
            await counter.end()

    assert [cost.commits for cost in costs] == [POST_COMMITS, POST_COMMITS]
    assert max(cost.statements for cost in costs) <= POST_STATEMENTS
    assert max(cost.calls for cost in costs) <= POST_CALLS


async def test_creating_a_session_takes_one_commit_and_no_thread(tmp_path: Path) -> None:
    """Whether the id is free is seen where the commit looks anyway: nothing is read apart from it."""
    async with counting(tmp_path) as counter:
        await counter.create("first")  # counts what there is
        cost = await counter.create("second")

    assert cost.commits == 1
    assert cost.statements <= CREATE_STATEMENTS
    assert cost.calls <= CREATE_CALLS


async def test_idle_stream_takes_one_task_and_little_memory(tmp_path: Path, ids: list[str]) -> None:
    """The request's own; the session counts with its stream."""
    async with counting(tmp_path) as counter:
        await counter.open(["first"])  # what is made once for all
        cost = await counter.open(ids)

    assert cost.tasks <= OPEN_TASKS
    assert cost.kept_bytes <= OPEN_KEPT_BYTES
    assert cost.blocks <= OPEN_KEPT_BLOCKS


async def test_token_takes_one_send_and_a_share_of_one_commit(tmp_path: Path, ids: list[str]) -> None:
    """All sessions that speak in one turn of the loop share a commit; each reader is sent each token once."""
    async with _talking(tmp_path, ids) as counter:
        cost = await counter.tokens(ROUNDS)

    assert cost.sends == 1
    assert cost.events == 1
    assert cost.commits * SESSIONS <= 1
    assert cost.statements * SESSIONS <= ROUND_STATEMENTS
    assert cost.calls <= TOKEN_CALLS
    assert cost.blocks <= TOKEN_KEPT_BLOCKS


async def test_waiting_tokens_go_together(tmp_path: Path, ids: list[str]) -> None:
    """Ten words that wait for the same commit are sent at most twice."""
    async with _talking(tmp_path, ids) as counter:
        cost = await counter.tokens(ROUNDS, waiting=10)

    assert cost.sends <= 0.2
    assert cost.events <= 0.2
    assert cost.calls <= WAITING_TOKEN_CALLS


async def test_runs_that_end_together_share_a_commit(tmp_path: Path, ids: list[str]) -> None:
    """The end of a run is its last events, its messages, its log and its record: a few statements, one send."""
    async with _talking(tmp_path, ids) as counter:
        cost = await counter.end()

    assert cost.sends == 1
    assert cost.commits * SESSIONS <= 1
    assert cost.statements <= END_STATEMENTS
    assert cost.calls <= END_CALLS
