"""Two nodes on one Redis: whoever asks, and whoever watches, meets one session."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import pytest

from scripts.blackbox.redis_server import RedisServer
from server.core.dialogue import Accepted
from server.core.ports import Turn
from server.errors import Conflict, Gone
from tests.support.agents import Puppet
from tests.support.client import Client
from tests.support.node import Node, eventually
from tests.support.nodes import two_nodes


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = RedisServer(Path(tmp_path_factory.mktemp("redis")))
    server.start()
    yield server.url
    server.stop()


async def until_text(client: Client, text: str) -> None:
    """Read until the last message is this."""
    await client.until(lambda seen: seen.said == text)


async def until_idle(client: Client) -> None:
    """Read until no run is open."""
    await client.until(lambda seen: seen.fold.run_id is None)


async def endless(turn: Turn) -> AsyncIterator[str]:
    """Never pause."""
    while True:
        yield "word "


async def agree(*nodes: Node) -> None:
    """Hold what the nodes show against each other."""
    first, *others = [await node.snapshot() for node in nodes]
    for other in others:
        assert (other.cursor, other.messages, other.state) == (first.cursor, first.messages, first.state)


async def test_a_stream_on_one_node_shows_a_run_of_the_other_token_by_token(url: str) -> None:
    puppet = Puppet()
    async with two_nodes(url, first=puppet) as (a, b), b.client() as client:
        await a.ask("hello")
        puppet.say("one ")
        await until_text(client, "one ")
        puppet.say("two")
        await until_text(client, "one two")
        await agree(a, b)
        puppet.finish()
        await until_idle(client)

        assert [message["role"] for message in client.fold.messages] == ["user", "assistant"]
        await agree(a, b)


async def test_who_comes_in_mid_run_to_the_other_node_gets_the_partial_answer(url: str) -> None:
    puppet = Puppet()
    async with two_nodes(url, first=puppet) as (a, b):
        async with a.client() as witness:
            await a.ask("hello")
            puppet.say("so far")
            await until_text(witness, "so far")
        async with b.client() as late:
            assert late.fold.messages[-1]["content"] == "so far"
            assert late.fold.run_id is not None
            puppet.say(", so good")
            await until_text(late, "so far, so good")
            puppet.finish()
            await until_idle(late)


async def test_stop_works_from_the_other_node(url: str) -> None:
    puppet = Puppet()
    async with two_nodes(url, first=puppet) as (a, b), a.client() as client:
        accepted = await a.ask("hello")
        puppet.say("half an ans")
        await until_text(client, "half an ans")
        receipt = await b.interrupt()

        assert (receipt.run_id, receipt.outcome) == (accepted.run_id, "stopped")
        await until_idle(client)
        assert client.fold.messages[-1]["content"] == "half an ans"
        await eventually(lambda: not a.hub.user_runs)
        await agree(a, b)
        record = await a.over(accepted.run_id)
        assert record.status == "interrupted"
        assert (await a.interrupt()).outcome == "idle"


async def test_stop_from_the_other_node_ends_an_agent_that_never_pauses(url: str) -> None:
    async with two_nodes(url, first=endless, max_run_bytes=1 << 40) as (a, b), a.client() as client:
        accepted = await a.ask("hello")
        await client.until(lambda seen: len(seen.fold.messages) == 2)
        receipt = await b.interrupt()

        assert receipt.outcome == "stopped"
        await eventually(lambda: not a.hub.user_runs)
        assert (await b.over(accepted.run_id)).status == "interrupted"
        await agree(a, b)


async def test_two_chats_at_once_on_two_nodes_are_one_run_and_one_conflict(url: str) -> None:
    puppet = Puppet()
    async with two_nodes(url, first=puppet, second=puppet) as (a, b):
        async with a.held(), b.held():
            pass
        answers: list[Accepted | Conflict] = []

        async def ask(node: Node) -> None:
            try:
                answers.append(await node.ask(f"from {id(node)}"))
            except Conflict as error:
                answers.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, a)
            tasks.start_soon(ask, b)

        assert sorted(type(answer).__name__ for answer in answers) == ["Accepted", "Conflict"]
        await agree(a, b)


async def test_the_same_message_posted_to_two_nodes_is_one_run(url: str) -> None:
    puppet = Puppet()
    async with two_nodes(url, first=puppet, second=puppet) as (a, b):
        answers: list[Accepted] = []

        async def ask(node: Node) -> None:
            answers.append(await node.ask("hello", message_id="m1"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, a)
            tasks.start_soon(ask, b)

        assert answers[0].run_id == answers[1].run_id
        assert len(puppet.turns) <= 1
        snapshot = await b.snapshot()
        assert [message["id"] for message in snapshot.messages] == ["m1"]


async def test_changes_of_one_node_are_seen_by_streams_of_the_other(url: str) -> None:
    async with two_nodes(url) as (a, b), b.client() as client:
        async with a.held() as session:
            await session.change({"title": "another name"})
        await a.tell("be brief")
        await until_text(client, "be brief")
        assert client.fold.state["session"]["title"] == "another name"
        async with a.held() as session:
            await session.clear()
        await client.until(lambda seen: not seen.fold.messages)
        await agree(a, b)


async def test_both_nodes_change_one_session_at_the_same_time_and_nothing_is_lost(url: str) -> None:
    async with two_nodes(url) as (a, b), a.client() as one, b.client() as two:

        async def tell(node: Node, name: str) -> None:
            for number in range(20):
                await node.tell(f"{name}{number}")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(tell, a, "a")
            tasks.start_soon(tell, b, "b")

        told = [str(message["content"]) for message in (await a.snapshot()).messages]
        assert sorted(told) == sorted(f"{name}{number}" for name in "ab" for number in range(20))
        assert [text for text in told if text[0] == "a"] == [f"a{number}" for number in range(20)]
        for client in (one, two):
            await until_text(client, told[-1])
            assert [message["content"] for message in client.fold.messages] == told
        await agree(a, b)


async def test_the_other_node_can_change_the_session_of_an_agent_that_never_pauses(url: str) -> None:
    async with two_nodes(url, first=endless, max_run_bytes=1 << 40) as (a, b):
        await a.ask("hello")
        async with b.held() as session:
            await session.change({"title": "in between"})
        await b.tell("also this")
        assert (await a.snapshot()).session["title"] == "in between"
        await b.interrupt()
        await agree(a, b)


async def test_a_session_deleted_on_one_node_says_goodbye_on_the_other(url: str) -> None:
    puppet = Puppet()
    async with two_nodes(url, first=puppet) as (a, b), a.client() as client:
        await a.ask("hello")
        puppet.say("text")
        await until_text(client, "text")
        async with b.held() as session:
            await b.hub.end(session, "deleted")

        await eventually(lambda: a.hub.sessions[a.key()].ended is not None)
        assert await client.catch_up()
        assert client.reader.is_at_end
        await eventually(lambda: not a.hub.user_runs)
        for node in (a, b):
            with pytest.raises(Gone):
                await node.ask("again")


async def test_a_queue_is_one_queue(url: str) -> None:
    puppet = Puppet()
    async with two_nodes(url, first=puppet, second=puppet) as (a, b), b.client() as client:
        await a.ask("first")
        await b.ask("second", on_busy="queue")
        await a.ask("third", on_busy="queue")
        assert [one["message"] for one in (await b.snapshot()).state["queue"]] == ["second", "third"]
        for _ in range(3):
            puppet.say("answer")
            puppet.finish()
        await client.until(lambda seen: len(seen.fold.messages) == 6 and seen.fold.run_id is None)
        assert [m["content"] for m in client.fold.messages if m["role"] == "user"] == ["first", "second", "third"]
        assert len(puppet.turns) == 3
        await agree(a, b)


async def test_runs_of_a_dead_node_end_and_its_queue_goes_on_elsewhere(url: str) -> None:
    puppet, second = Puppet(), Puppet()
    async with two_nodes(url, first=puppet, second=second, lease_seconds=1.0) as (a, b), b.client() as client:
        await a.ask("first")
        puppet.say("so much")
        await until_text(client, "so much")
        await a.ask("next", on_busy="queue")
        # Dead is who renews nothing any more, whatever else it still does.
        assert a.hub.storage.sharing is not None
        await a.hub.storage.sharing.drop_lease()
        a.hub.others._leases._beat_s = 1e9  # type: ignore[attr-defined]
        second.say("from the other node")
        second.finish()
        await until_text(client, "from the other node")
        await until_idle(client)

        assert [message["content"] for message in client.fold.messages] == [
            "first",
            "so much",
            "next",
            "from the other node",
        ]
        await eventually(lambda: puppet.is_idle and not a.hub.user_runs)
        await agree(a, b)
