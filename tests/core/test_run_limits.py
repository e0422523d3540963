"""Runs are bounded in time, in bytes, in what waits for the disk; stopping does not wait for the agent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from server.core.ports import Event, Turn
from server.errors import LimitReached
from tests.support.agents import Stubborn, saying
from tests.support.client import Client
from tests.support.illegal import CALL, CALL_END, TEXT
from tests.support.node import Node, eventually, open_node


async def failed(node: Node) -> tuple[Client, str]:
    """Ask, and return what a client saw of a run that fails, and its code."""
    async with node.client() as client:
        run_id = (await node.ask()).run_id
        await client.until_over(run_id)
        assert client.faults == []
        assert client.fold.messages == (await node.snapshot()).messages
    return client, (await node.over(run_id)).code or ""


async def test_a_run_that_takes_too_long_is_over_in_time(tmp_path: Path) -> None:
    async def agent(turn: Turn) -> AsyncIterator[str]:
        yield "partial "
        await anyio.sleep_forever()

    async with open_node(tmp_path, agent=agent, run_timeout_seconds=0.3) as node:
        client, code = await failed(node)
        await eventually(lambda: not node.hub.user_runs)

    assert code == client.events[-1]["code"] == "agent_timeout"
    assert client.said == "partial "


async def test_a_run_that_says_too_much_is_over(tmp_path: Path) -> None:
    async with open_node(tmp_path, agent=saying(*["x" * 100] * 1000), max_run_bytes=1024) as node:
        client, code = await failed(node)

    assert code == "run_too_large"
    assert client.said == "x" * 1000


@pytest.mark.parametrize(
    "last",
    [
        {**TEXT, "messageId": "n" * 200},
        {**CALL, "toolCallId": "n" * 200},
        {"type": "STEP_STARTED", "stepName": "n" * 200},
        {"type": "REASONING_MESSAGE_START", "messageId": "n" * 200},
        {"type": "TEXT_MESSAGE_END", "messageId": "m", "metadata": {"k": "x" * 200}},
        {"type": "STATE_SNAPSHOT", "snapshot": {"k": "x" * 200}},
        "x" * 200,
    ],
    ids=lambda event: event["type"] if isinstance(event, dict) else "text",
)
async def test_the_event_that_is_too_much_is_not_sent_and_not_counted_as_open(tmp_path: Path, last: Event) -> None:
    """Invariant 5: what stays open is closed, what never opened is not."""
    agent = saying(TEXT, CALL, CALL_END, "x" * 800, last)
    async with open_node(tmp_path, agent=agent, max_run_bytes=1100) as node:
        client, code = await failed(node)

    assert code == "run_too_large"
    assert "n" * 200 not in str(client.events)


async def test_an_agent_that_ignores_being_stopped_is_over_at_once_and_still_counted(tmp_path: Path) -> None:
    """Stop means stop: the client does not wait for the agent, and the limit knows that it still works."""
    agent = Stubborn()
    async with open_node(
        tmp_path, agent=agent, agents={"other": saying()}, stop_grace_seconds=0.05, max_runs_per_user=1
    ) as node:
        try:
            async with node.client() as client:
                run_id = (await node.ask()).run_id
                await client.until(lambda client: client.said == "never ")
                receipt = await node.interrupt()
                await client.until_over(run_id)

                assert receipt.outcome == "stopped"
                assert (await node.over(run_id)).status == "interrupted"
                with pytest.raises(LimitReached, match="limit_runs_per_user"):
                    await node.ask(agent="other")
                # Asked again every grace period, not at every turn of the loop.
                await eventually(lambda: agent.ignored >= 2)
        finally:
            agent.let_go.set()
        await eventually(lambda: not node.hub.user_runs)
        await node.over((await node.ask(agent="other")).run_id)

        assert "too late" not in str((await node.snapshot()).messages)
        assert client.faults == []


async def test_words_after_the_end_are_dropped(tmp_path: Path) -> None:
    """Edge case 31: nothing comes after the terminal event, also when the agent goes on before it hears of it."""
    stopped = anyio.Event()

    async def agent(turn: Turn) -> AsyncIterator[str | Event]:
        yield "before "
        with anyio.CancelScope(shield=True):
            await stopped.wait()
        yield "after "
        yield {"type": "STATE_SNAPSHOT", "snapshot": {"late": True}}

    async with open_node(tmp_path, agent=agent) as node, node.client() as client:
        run_id = (await node.ask()).run_id
        await client.until(lambda client: client.said == "before ")
        await node.interrupt()
        stopped.set()
        await client.until_over(run_id)
        await eventually(lambda: not node.hub.user_runs)
        await node.calm()
        await client.catch_up()
        snapshot = await node.snapshot()

    assert client.log[-1][1]["type"] == "RUN_FINISHED"
    assert snapshot.messages[-1]["content"] == "before "
    assert snapshot.state["artifacts"] == {}


class Counting:
    """An agent that yields as fast as it may, and counts."""

    def __init__(self, piece: str | Event) -> None:
        self.count = 0
        self._piece = piece

    async def __call__(self, turn: Turn, /) -> AsyncIterator[str | Event]:
        """Yield for ever."""
        while True:
            yield self._piece
            self.count += 1


@pytest.mark.parametrize(
    "piece",
    [
        "x" * 100,
        {"type": "CUSTOM", "name": "n", "value": "x" * 100},
        {"type": "STATE_SNAPSHOT", "snapshot": {"k": "x" * 100}},
    ],
    ids=["text", "event", "state"],
)
async def test_an_agent_is_paced_by_the_storage(tmp_path: Path, piece: str | Event) -> None:
    """Invariant 7: what waits for its commit is bounded, whatever it is, and goes on when the storage does."""
    agent = Counting(piece)
    async with open_node(tmp_path, agent=agent, journal_pending_bytes=10_000) as node:
        await node.ask()
        await eventually(lambda: agent.count > 3)
        gate = node.storage.before = anyio.Event()
        await eventually(lambda: node.storage.waiting)
        async with node.held() as session:
            log = session.live
            await eventually(lambda: log.pending_bytes >= 10_000)
            count = agent.count
            for _ in range(50):
                await anyio.lowlevel.checkpoint()

            assert agent.count == count
            assert log.pending_bytes < 10_000 + 2_000
            gate.set()
            node.storage.before = None
            await eventually(lambda: agent.count > count + 200)


async def test_an_agent_never_waits_for_a_reader(tmp_path: Path) -> None:
    """Edge case 34: a client that reads nothing slows nobody down."""
    agent = Counting("x" * 100)
    async with (
        open_node(tmp_path, agent=agent, journal_pending_bytes=10_000, ring_bytes=4096) as node,
        node.client() as client,
    ):
        await node.ask()
        await eventually(lambda: agent.count > 5_000)
        async with node.held() as session:
            assert session.live.ring.size <= 3 * 4096
        await node.interrupt()
        await node.calm()
        await client.catch_up()

        assert client.faults == []
        assert client.fold.messages == (await node.snapshot()).messages


async def test_a_user_has_only_so_many_runs(tmp_path: Path) -> None:
    async with open_node(tmp_path, agent=Stubborn(), agents={"quick": saying()}, max_runs_per_user=2) as node:
        agent = node.hub.agents.entries[0].agent
        assert isinstance(agent, Stubborn)
        try:
            await node.ask(session="a")
            await node.ask(session="b")
            with pytest.raises(LimitReached, match="limit_runs_per_user"):
                await node.ask(session="c")
            await node.ask(session="d", user="bob")
        finally:
            agent.let_go.set()
