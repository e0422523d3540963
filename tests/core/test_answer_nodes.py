"""Questions where several nodes share a Redis: asked at one, answered at another, closed by exactly one thing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from scripts.blackbox.redis_server import RedisServer
from server.core.dialogue import Accepted
from server.errors import Conflict, SessionstreamError
from tests.core.test_answer import outline, require_valid, results_in
from tests.support.agents import Puppet
from tests.support.node import Node, eventually
from tests.support.nodes import two_nodes
from tests.support.wallet import APPROVAL, CALL, Asker, about

TIMES = 5
"""How often a race is run: the moment differs each time."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = RedisServer(Path(tmp_path_factory.mktemp("redis")))
    server.start()
    yield server.url
    server.stop()


def asker(*interrupts: dict[str, str]) -> Puppet:
    """Return an agent that asks in its first turn."""
    puppet = Puppet()
    puppet.say(*Asker(*interrupts).first())
    puppet.finish()
    return puppet


async def paused(node: Node) -> Accepted:
    accepted = await node.ask("pay")
    await node.over(accepted.run_id)
    return accepted


async def tried(found: list[object], call: object) -> None:
    try:
        found.append(await call)  # type: ignore[misc]
    except SessionstreamError as error:
        found.append(error)


async def test_what_is_asked_at_one_node_is_answered_at_the_other(url: str) -> None:
    second = Puppet()
    async with two_nodes(url, first=asker(CALL), second=second) as (a, b), a.client() as client:
        await paused(a)
        accepted = await b.answer("c1", "0x2")
        second.say("Thanks.")
        second.finish()
        await client.until_over(accepted.run_id)
        again = await a.answer("c1", "0x2")
        with pytest.raises(Conflict):
            await a.answer("c1", "0x3")

        assert again.run_id == accepted.run_id
        assert client.faults == []
        assert "pending" not in client.fold.state
        assert outline(client.fold.messages) == ["user", "assistant", "tool", "assistant"]
        assert client.fold.messages == (await b.snapshot()).messages == (await a.snapshot()).messages
        assert second.turns[0].messages == client.fold.messages[:3]


@pytest.mark.parametrize("time_number", range(TIMES))
async def test_of_two_answers_at_two_nodes_one_counts(url: str, time_number: int) -> None:
    first, second = asker(CALL), Puppet()
    async with two_nodes(url, first=first, second=second) as (a, b), a.client() as client:
        await paused(a)
        found: list[object] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(tried, found, a.answer("c1", "one"))
            tasks.start_soon(tried, found, b.answer("c1", "two"))
        [accepted] = [one for one in found if isinstance(one, Accepted)]
        [refused] = [one for one in found if isinstance(one, SessionstreamError)]
        first.finish()
        second.finish()
        await client.until_over(accepted.run_id)

        assert refused.code == "tool_result_conflict"
        assert len(results_in(client.fold.messages)) == 1
        assert client.faults == []
        assert len(first.turns) + len(second.turns) == 2


@pytest.mark.parametrize("time_number", range(TIMES))
async def test_of_an_answer_and_a_message_at_two_nodes_one_counts(url: str, time_number: int) -> None:
    first, second = asker(CALL), Puppet()
    async with two_nodes(url, first=first, second=second) as (a, b), a.client() as client:
        await paused(a)
        found: list[object] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(tried, found, b.answer("c1", "one"))
            tasks.start_soon(tried, found, a.ask("rather not"))
        [accepted] = [one for one in found if isinstance(one, Accepted)]
        [refused] = [one for one in found if isinstance(one, SessionstreamError)]
        first.finish()
        second.finish()
        await client.until_over(accepted.run_id)
        messages = list((await b.snapshot()).messages)

        assert refused.code in ("tool_result_conflict", "run_active")
        require_valid(messages)
        assert client.faults == []
        assert client.fold.messages == messages
        [(_, content)] = results_in(messages)
        assert content == ("one" if refused.code == "run_active" else "declined by the user")


async def test_answers_that_come_to_two_nodes_go_on_once(url: str) -> None:
    first, second = asker(about("c1"), about("c2")), Puppet()
    async with two_nodes(url, first=first, second=second) as (a, b), a.client() as client:
        await paused(a)
        found: list[object] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(tried, found, a.answer("c1", "one"))
            tasks.start_soon(tried, found, b.answer("c2", "two"))
        answers = [one for one in found if isinstance(one, Accepted)]
        first.finish()
        second.finish()
        await client.until_over(answers[0].run_id)

        assert sorted(one.status for one in answers) == ["running", "waiting"]
        assert len({one.run_id for one in answers}) == 1
        assert results_in(client.fold.messages) == [("c1", "one"), ("c2", "two")]
        assert client.faults == []
        assert len(first.turns) + len(second.turns) == 2


async def test_a_run_that_carries_a_call_answers_it_when_another_node_stops_it(url: str) -> None:
    """Who takes a run over reads from its log which calls it carries."""
    first, second = asker(APPROVAL), Puppet()
    async with two_nodes(url, first=first, second=second) as (a, b), b.client() as client:
        await paused(a)
        accepted = await a.answer("c1", True)
        first.say("half ")
        await client.until(lambda client: client.said == "half ")
        receipt = await b.interrupt()
        await client.until_over(accepted.run_id)
        messages = list((await b.snapshot()).messages)

        assert receipt.outcome == "stopped"
        assert results_in(messages) == [("c1", "interrupted by the user")]
        require_valid(messages)
        assert client.fold.messages == messages


async def test_a_question_of_a_node_that_left_expires_at_another(url: str) -> None:
    async with two_nodes(url, first=asker(CALL), approval_timeout_minutes=0.0001) as (a, b), b.client() as client:
        await paused(a)
        await client.until(lambda client: "pending" in client.fold.state)
        async with b.held() as held:
            expires_at = held.record.pending["expires_at"]
        await eventually(lambda: time.time() > expires_at)
        await b.hub.upkeep.close_questions()
        await client.until(lambda client: "pending" not in client.fold.state)

        assert results_in((await a.snapshot()).messages) == [("c1", "expired: nobody answered in time")]
        assert client.faults == []


async def test_a_queue_waits_for_the_answer_on_every_node(url: str) -> None:
    first, second = Puppet(), Puppet()
    async with two_nodes(url, first=first, second=second) as (a, b), a.client() as client:
        asked = await a.ask("pay")
        queued = await b.ask("and then?", on_busy="queue")
        first.say(*Asker(CALL).first())
        first.finish()
        await a.over(asked.run_id)
        sharing = b.hub.storage.sharing
        assert sharing is not None
        assert await sharing.waiting() == []
        await b.interrupt()
        first.finish()
        second.finish()
        await client.until_over(queued.run_id)

        assert results_in(client.fold.messages) == [("c1", "declined by the user")]
        assert client.faults == []
