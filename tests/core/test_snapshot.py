"""A snapshot is the fold of the log at its cursor: no message twice, none missing, whatever is committed beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from server.core.snapshot import Snapshot, public_record
from tests.contract.records import record_of
from tests.support.agents import Puppet, echo, saying
from tests.support.node import TOO_LONG_TO_KEEP, Node, eventually, open_node
from tests.support.standard import violations


def texts(snapshot: Snapshot) -> list[Any]:
    return [message.get("content") for message in snapshot.messages]


async def test_an_idle_session_is_its_stored_messages(tmp_path: Path) -> None:
    async with open_node(tmp_path) as node, node.client() as client:
        run_id = (await node.ask("hello there")).run_id
        await client.until_over(run_id)
        snapshot = await node.snapshot()

    assert texts(snapshot) == ["hello there", "hello there "]
    assert snapshot.run is None
    assert snapshot.reopening == []
    assert snapshot.session == {
        "session_id": "s",
        "user_id": "ann",
        "title": "hello there",
        "agent": "default",
        "persona": None,
        "created_at": snapshot.session["created_at"],
        "last_activity": snapshot.session["last_activity"],
        "expires_at": snapshot.session["expires_at"],
        "message_count": 2,
        "run": None,
        "has_slides": False,
        "slide_count": 0,
        "website_domain": None,
        "metadata": {},
    }
    assert snapshot.state == {"session": snapshot.session, "run": None, "queue": [], "artifacts": {}}


async def test_a_running_session_has_the_partial_message_and_opens_it_again(tmp_path: Path) -> None:
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet) as node, node.client() as client:
        run_id = (await node.ask()).run_id
        puppet.say("partial")
        await client.until(lambda client: client.said == "partial")
        snapshot = await node.snapshot()

    assert texts(snapshot) == ["hello", "partial"]
    assert snapshot.run == {"run_id": run_id, "status": "running", "agent": "default"}
    assert [event["type"] for event in snapshot.reopening] == ["TEXT_MESSAGE_START"]
    assert snapshot.session["message_count"] == 2
    made = snapshot.as_events(resumed=False, now=5.0)
    assert [line for event in made for line in violations(event)] == []
    assert made[0]["metadata"] == {"sessionstream": {"run_id": run_id, "resumed": False}}


async def test_a_snapshot_taken_while_runs_end_belongs_to_one_moment(tmp_path: Path) -> None:
    """Stored messages are read beside the loop: when a run ends meanwhile, they are read again."""
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet) as node, node.client() as client:
        puppet.finish()
        await client.until_over((await node.ask(TOO_LONG_TO_KEEP)).run_id)
        run_id = (await node.ask("two")).run_id
        puppet.say("answer")
        await client.until(lambda client: client.said == "answer")
        gate = node.storage.read_gate = anyio.Event()
        taken: list[Snapshot] = []

        async def take() -> None:
            taken.append(await node.snapshot())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(take)
            await eventually(lambda: node.storage.readers)
            puppet.finish()
            await client.until_over(run_id)
            gate.set()

    assert texts(taken[0]) == [TOO_LONG_TO_KEEP, "two", "answer"]
    assert str(taken[0].cursor) == client.cursor
    assert taken[0].run is None


async def _while_committed_but_unpublished(node: Node, do: Any) -> Snapshot:
    """Take a snapshot while a commit is on the disk and the loop has not heard of it."""
    gate = node.storage.after = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(do)
        await eventually(lambda: node.storage.waiting)
        snapshot = await node.snapshot()
        gate.set()
        node.storage.after = None
    return snapshot


async def test_what_is_stored_but_not_yet_published_is_not_in_it(tmp_path: Path) -> None:
    """In `full` the writer's thread is ahead of the loop: a run must not be there twice, folded and open."""
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet, durability="full") as node, node.client() as client:
        puppet.finish()
        await client.until_over((await node.ask("one")).run_id)
        await node.ask("two")
        puppet.say("answer")
        await client.until(lambda client: client.said == "answer")

        async def finish() -> None:
            puppet.finish()

        ending = await _while_committed_but_unpublished(node, finish)
        assert texts(ending) == ["one", "two", "answer"]
        assert ending.run is not None
        assert str(ending.cursor) == client.cursor

        await client.until(lambda client: client.fold.run_id is None)
        told = await _while_committed_but_unpublished(node, lambda: node.tell("note"))
        assert texts(told) == ["one", "two", "answer"]
        assert str(told.cursor) == client.cursor


async def test_the_slides_of_a_session_are_counted() -> None:
    record = record_of(artifacts={"slides": {"pages": [{}, {}]}}, last_activity=3600.0)

    public = public_record(record, 60)
    assert (public["has_slides"], public["slide_count"]) == (True, 2)
    assert public["expires_at"] == "1970-01-01T02:00:00.000Z"
    assert public_record(record_of(artifacts={"slides": "odd"}), 0)["slide_count"] == 0
    assert public_record(record_of(), 0)["expires_at"] is None


@pytest.mark.parametrize("agent", [echo, saying()])
async def test_state_and_stream_agree_after_every_run(tmp_path: Path, agent: Any) -> None:
    """Invariant 2: `/api/state` and a stream's snapshot are the same fold."""
    async with open_node(tmp_path, agent=agent) as node:
        for message in ("a", "b"):
            await node.over((await node.ask(message)).run_id)
            async with node.client() as client:
                snapshot = await node.snapshot()
                assert client.fold.messages == snapshot.messages
                assert client.fold.state == snapshot.state
                assert client.cursor == str(snapshot.cursor)
