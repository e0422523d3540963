"""The queue: messages wait in order, seen by all, can be changed, start by themselves, and outlive the process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from server.core import queue
from server.core.question import Question
from server.errors import Conflict, LimitReached, NotFound, Unavailable
from tests.support.agents import Puppet, saying
from tests.support.client import Client
from tests.support.node import Node, eventually, open_node
from tests.support.storage import crash_copy


async def fill(node: Node, *messages: str) -> None:
    """Queue messages; the id of each is its text."""
    for message in messages:
        accepted = await node.ask(message, message_id=message, on_busy="queue")
        assert accepted.status == "queued"


def waiting(client: Client) -> list[str]:
    """Return the texts of the queue as a client sees it."""
    return [item["message"] for item in client.fold.state["queue"]]


def asked(puppet: Puppet) -> list[str]:
    return [turn.message for turn in puppet.turns]


def texts(client: Client) -> list[Any]:
    return [message["content"] for message in client.fold.messages]


async def test_messages_wait_in_order_and_start_by_themselves(tmp_path: Path) -> None:
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet) as node, node.client() as client:
        await node.ask("first")
        await fill(node, "a", "b", "c")
        await client.until(lambda client: waiting(client) == ["a", "b", "c"])
        for left in (["b", "c"], ["c"], []):
            puppet.finish()
            await client.until(lambda client, left=left: waiting(client) == left)  # type: ignore[misc]
        puppet.finish()
        await client.until(lambda client: client.fold.run_id is None)

        assert asked(puppet) == texts(client) == ["first", "a", "b", "c"]
        assert client.faults == []
        assert node.rows("SELECT DISTINCT status FROM runs") == [("finished",)]


async def test_a_queue_is_seen_by_who_comes_later(tmp_path: Path) -> None:
    async with open_node(tmp_path, agent=Puppet()) as node:
        await node.ask("first")
        await fill(node, "a")
        async with node.client() as client:
            [item] = client.fold.state["queue"]
            snapshot = await node.snapshot()

    assert set(item) == {"message_id", "run_id", "message", "created_at"}
    assert snapshot.state["queue"] == [item]


async def test_texts_and_places_can_be_changed(tmp_path: Path) -> None:
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet) as node, node.client() as client:
        await node.ask("first")
        await fill(node, "a", "b", "c")
        async with node.held() as session:
            await session.edit_queue("c", message=None, position=0)
            await session.edit_queue("a", message="A", position=None)
            await session.edit_queue("b", message="B", position=99)
            left = await session.edit_queue("b", message=None, position=1)
        await client.until(lambda client: waiting(client) == ["c", "B", "A"])
        for _ in range(4):
            puppet.finish()
        await client.until(lambda client: len(texts(client)) == 4 and client.fold.run_id is None)

    assert [item["message_id"] for item in left] == ["c", "b", "a"]
    assert asked(puppet) == ["first", "c", "B", "A"]
    assert client.faults == []


async def test_a_withdrawn_message_never_runs_and_cannot_be_posted_again(tmp_path: Path) -> None:
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet) as node, node.client() as client:
        first = await node.ask("first")
        await fill(node, "a", "b", "c")
        async with node.held() as session:
            await session.remove_queued("b")
        receipt = await node.interrupt(message_id="c")
        again = await node.ask("b", message_id="b")
        await client.until(lambda client: waiting(client) == ["a"])
        puppet.finish()
        puppet.finish()
        await client.until(lambda client: client.fold.run_id is None and waiting(client) == [])

        assert (receipt.outcome, again.status) == ("pending", "interrupted")
        assert (await node.interrupt(message_id="c")).outcome == "pending"
        assert (await node.interrupt(first.run_id)).outcome == "already_finished"
        with pytest.raises(NotFound, match="queue_entry_not_found"):
            async with node.held() as session:
                await session.remove_queued("b")
    assert asked(puppet) == ["first", "a"]


async def test_a_repeated_post_waits_once(tmp_path: Path) -> None:
    async with open_node(tmp_path, agent=Puppet()) as node, node.client() as client:
        await node.ask("first")
        await fill(node, "a", "a")
        await client.until(lambda client: waiting(client) == ["a"])
        with pytest.raises(Conflict, match="message_id_conflict"):
            await node.ask("other", message_id="a", on_busy="queue")

        assert waiting(client) == ["a"]


async def test_a_full_queue_refuses(tmp_path: Path) -> None:
    async with open_node(tmp_path, agent=Puppet(), max_queue=2) as node:
        await node.ask("first")
        await fill(node, "a", "b")
        with pytest.raises(LimitReached, match="queue_full"):
            await node.ask("c", on_busy="queue")


async def test_a_failed_run_lets_the_next_one_start(tmp_path: Path) -> None:
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet) as node, node.client() as client:
        await node.ask("first")
        await fill(node, "a")
        puppet.fail(RuntimeError("boom"))
        puppet.finish()
        await client.until(lambda client: texts(client) == ["first", "a"] and client.fold.run_id is None)

    assert client.faults == []


async def test_a_run_that_is_stopped_lets_the_next_one_start(tmp_path: Path) -> None:
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet) as node:
        first = await node.ask("first")
        await fill(node, "a")
        await node.interrupt(first.run_id)
        await eventually(lambda: asked(puppet) == ["first", "a"])


async def test_stopping_to_say_something_else_leaves_the_queue_waiting_behind_it(tmp_path: Path) -> None:
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet) as node, node.client() as client:
        await node.ask("first")
        await fill(node, "a")
        await node.ask("now", on_busy="interrupt")
        puppet.finish()
        puppet.finish()
        await client.until(lambda client: texts(client) == ["first", "now", "a"] and client.fold.run_id is None)

    assert asked(puppet)[-2:] == ["now", "a"]
    assert client.faults == []


@pytest.mark.parametrize("durability", ["normal", "full"])
async def test_a_queue_goes_on_in_the_next_process(tmp_path: Path, durability: str) -> None:
    """Invariant 9: the open run ends, what waited behind it starts, once."""
    before = Puppet()
    async with open_node(tmp_path / "data", agent=before, durability=durability) as node:
        first = await node.ask("first")
        await fill(node, "a", "b")
        await node.calm()
        left = crash_copy(tmp_path / "data", tmp_path / "left")

    after = Puppet()
    for _ in range(2):
        after.finish()
    async with open_node(left, agent=after, durability=durability) as node, node.client() as client:
        await client.until(lambda client: waiting(client) == [] and client.fold.run_id is None)
        again = await node.ask("a", message_id="a", on_busy="queue")

        assert (await node.over(first.run_id)).status == "interrupted"
        assert again.status == "finished"
    assert asked(before) == ["first"]
    assert asked(after) == ["a", "b"]
    assert texts(client) == ["first", "a", "b"]
    assert client.faults == []


async def test_a_queue_waits_for_a_place_among_the_users_runs(tmp_path: Path) -> None:
    """A limit delays what waits, it does not lose it."""
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet, max_runs_per_user=1) as node:
        first = await node.ask("first")
        await fill(node, "a")
        with pytest.raises(LimitReached, match="limit_runs_per_user"):
            await node.ask("x", session="u")
        puppet.finish()
        await node.over(first.run_id)
        await eventually(lambda: asked(puppet) == ["first", "a"])


async def test_what_cannot_be_queued_now_is_not_queued_later(tmp_path: Path) -> None:
    """A 503 leaves nothing."""
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet) as node, node.client() as client:
        await node.ask("first")
        node.storage.fail()
        with pytest.raises(Unavailable):
            await node.ask("a", message_id="a", on_busy="queue")
        node.storage.release()
        await node.calm()
        await client.catch_up()

        assert waiting(client) == []
        await fill(node, "a")
        with anyio.fail_after(5):
            await client.until(lambda client: waiting(client) == ["a"])


def test_a_message_comes_out_as_it_went_in() -> None:
    question = Question(
        message="m",
        message_id="1",
        digest=b"\x00\xff",
        role="system",
        persona="p",
        options={"top_k": 2},
        tools=({"name": "sign", "description": "", "parameters": {}},),
        context=({"description": "chain", "value": "1"},),
    )

    assert queue.question_of(queue.waiting_of(question, "agent", 5.0)) == question


def test_the_public_part_tells_nothing_of_how_it_will_be_answered() -> None:
    entry = queue.waiting_of(Question(message="m", message_id="1", digest=b"d", options={"secret": 1}), "a", 5.0)

    assert queue.public_queue([entry]) == [
        {"message_id": "1", "run_id": entry["run_id"], "message": "m", "created_at": "1970-01-01T00:00:05.000Z"}
    ]


async def test_a_queue_is_not_touched_by_agents_that_say_nothing(tmp_path: Path) -> None:
    """Runs that end in the same turn of the loop they began in still take one message each."""
    async with open_node(tmp_path, agent=saying()) as node, node.client() as client:
        first = await node.ask("0", message_id="0")
        for number in range(1, 10):
            await node.ask(str(number), message_id=str(number), on_busy="queue")
        await client.until(lambda client: len(texts(client)) == 10 and client.fold.run_id is None)

    assert texts(client) == [str(number) for number in range(10)]
    assert client.ended()[first.run_id] == "success"
    assert client.faults == []
