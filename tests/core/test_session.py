"""A session takes messages once, runs one at a time, and tells every stream what changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from server.core.dialogue import Accepted, Creation
from server.core.ports import RunRecord
from server.errors import Conflict, Gone, Invalid, SessionstreamError, Unavailable
from tests.support.agents import Puppet, echo, saying
from tests.support.client import Client
from tests.support.illegal import TEXT
from tests.support.node import Node, eventually, open_node
from tests.support.standard import violations


async def _many(count: int, ask: Any) -> list[Any]:
    """Call at once; return the answers, or the errors in their place."""
    answers: list[Any] = []

    async def one() -> None:
        try:
            answers.append(await ask())
        except SessionstreamError as error:
            answers.append(error)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for _ in range(count):
                tasks.start_soon(one)
    return answers


def fair(client: Client) -> bool:
    """Say whether all that a client saw was legal and by the standard."""
    return not client.faults and not [line for event in client.events for line in violations(event)]


# --- one run at a time


@pytest.mark.parametrize("durability", ["normal", "full"])
async def test_two_asks_at_once_are_one_run_and_one_conflict(tmp_path: Path, durability: str) -> None:
    """Invariant 3."""
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet, durability=durability) as node:
        answers = await _many(5, node.ask)
        await node.calm()
        [run] = node.rows("SELECT run_id FROM runs WHERE status = 'running'")

        accepted = [answer for answer in answers if isinstance(answer, Accepted)]
        refused = [answer.code for answer in answers if isinstance(answer, Conflict)]
        assert ([answer.run_id for answer in accepted], refused) == ([run[0]], ["run_active"] * 4)
        assert len(puppet.turns) == 1


async def test_a_busy_session_can_be_told_to_stop_first(tmp_path: Path) -> None:
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet) as node, node.client() as client:
        first = await node.ask("one")
        second = await node.ask("two", on_busy="interrupt")
        puppet.finish()
        await client.until_over(second.run_id)

    assert client.ended() == {**client.ended(), first.run_id: "cancelled", second.run_id: "success"}
    assert [message["content"] for message in client.fold.messages] == ["one", "two"]
    assert fair(client)


async def test_what_was_accepted_is_on_the_disk(tmp_path: Path) -> None:
    """Invariant 1: the answer to a POST comes after the commit."""
    async with open_node(tmp_path, agent=Puppet()) as node:
        accepted = await node.ask("remember me")

        assert node.rows("SELECT status FROM runs WHERE run_id = ?", accepted.run_id) == [("running",)]
        [(frames,)] = node.rows("SELECT frames FROM journal")
        assert b"remember me" in frames
        assert f"id: {accepted.cursor}\n".encode() in frames


# --- repeated POSTs


@pytest.mark.parametrize("durability", ["normal", "full"])
async def test_one_message_posted_many_times_at_once_is_one_run(tmp_path: Path, durability: str) -> None:
    """Edge case 47."""
    async with open_node(tmp_path, durability=durability) as node, node.client() as client:
        answers = await _many(20, lambda: node.ask("hello", message_id="m1"))
        await client.until_over(answers[0].run_id)
        late = await node.ask("hello", message_id="m1")

        assert {answer.run_id for answer in answers} == {late.run_id}
        assert late.status == "finished"
        assert client.fold.messages[0]["id"] == "m1"
        assert node.rows("SELECT count(*) FROM runs") == [(1,)]


@pytest.mark.parametrize("forgotten", [False, True], ids=["in memory", "after eviction"])
async def test_the_same_id_for_another_message_is_a_conflict(tmp_path: Path, forgotten: bool) -> None:
    async with open_node(tmp_path) as node:
        accepted = await node.ask("hello", message_id="m1")
        await node.over(accepted.run_id)
        if forgotten:
            assert node.hub.evict_idle(-1) == 1

        with pytest.raises(Conflict) as refusal:
            await node.ask("something else", message_id="m1")
        assert refusal.value.code == "message_id_conflict"
        assert (await node.ask("hello", message_id="m1")).run_id == accepted.run_id
        assert node.rows("SELECT count(*) FROM messages") == [(2,)]


async def test_a_message_is_remembered_however_many_came_after_it(tmp_path: Path) -> None:
    async with open_node(tmp_path, agent=saying()) as node:
        first = await node.ask("first", message_id="m0")
        await node.over(first.run_id)
        for number in range(1, 40):
            await node.over((await node.ask("more", message_id=f"m{number}")).run_id)

        assert (await node.ask("first", message_id="m0")).run_id == first.run_id


@pytest.mark.parametrize("still_runs", [True, False])
async def test_the_id_of_an_answer_cannot_be_posted(tmp_path: Path, still_runs: bool) -> None:
    """A message of that id would grow into the answer on every client."""
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet) as node, node.client() as client:
        run_id = (await node.ask()).run_id
        puppet.say({**TEXT, "messageId": "answer"})
        await client.until(lambda client: client.said == "")
        if not still_runs:
            puppet.finish()
            await client.until_over(run_id)

        refusals = [*await _many(1, lambda: node.ask("x", message_id="answer", on_busy="queue"))]
        refusals += await _many(1, lambda: node.tell("x", message_id="answer"))
        assert [refusal.code for refusal in refusals] == ["message_id_conflict"] * 2


# --- system messages


async def test_a_system_message_between_runs_is_seen_by_all_and_by_the_next_run(tmp_path: Path) -> None:
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet) as node, node.client() as client:
        told = await node.tell("be brief", message_id="n1")
        assert (await node.tell("be brief", message_id="n1")).status == told.status == "finished"
        await client.catch_up()
        snapshot = await node.snapshot()
        await node.ask()
        await eventually(lambda: puppet.turns)

    assert [(message["role"], message["content"]) for message in client.fold.messages] == [("system", "be brief")]
    assert client.fold.messages == snapshot.messages
    assert puppet.turns[0].messages[0]["content"] == "be brief"
    assert fair(client)


async def test_a_system_message_during_a_run_is_part_of_it(tmp_path: Path) -> None:
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet) as node, node.client() as client:
        run_id = (await node.ask()).run_id
        puppet.say("half ")
        await client.until(lambda client: client.said == "half ")
        await node.tell("note")
        puppet.say("done")
        puppet.finish()
        await client.until_over(run_id)
        snapshot = await node.snapshot()

    assert [message["content"] for message in client.fold.messages] == ["hello", "half done", "note"]
    assert client.fold.messages == snapshot.messages
    assert fair(client)


async def test_a_system_message_behind_a_run_that_is_ending_stands_outside_of_it(tmp_path: Path) -> None:
    """The run's last event is appended but not committed: what comes now must not begin that run again."""
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet) as node, node.client() as client:
        run_id = (await node.ask()).run_id
        gate = node.storage.before = anyio.Event()
        puppet.finish()
        await eventually(lambda: node.storage.waiting)
        async with node.held() as session, anyio.create_task_group() as tasks:
            pending = session.live.pending_bytes
            tasks.start_soon(node.tell, "note")
            await eventually(lambda: session.live.pending_bytes > pending)
            gate.set()
        await client.until(lambda client: client.said == "note" and client.events[-1]["type"] == "RUN_FINISHED")

    assert [event["runId"] for event in client.events if event["type"] == "RUN_STARTED"].count(run_id) == 1
    assert client.events[-1]["runId"].startswith("sync-")
    assert fair(client)


# --- changes


async def test_a_change_reaches_every_stream_and_the_disk(tmp_path: Path) -> None:
    async with open_node(tmp_path) as node, node.client() as one, node.client() as two:
        async with node.held() as session:
            record = await session.change({"title": "New", "metadata": {"a": 1}, "config": {"top_k": 2}})
        for client in (one, two):
            await client.until(lambda client: client.fold.state["session"]["title"] == "New")
            assert client.fold.state["session"]["metadata"] == {"a": 1}
            assert "config" not in str(client.events)
            assert fair(client)

        assert (record.title, record.title_given, record.config) == ("New", True, {"top_k": 2})
        assert one.fold.state["session"] == {**(await node.snapshot()).session, **_times(one)}
        assert node.rows("SELECT title FROM sessions") == [("New",)]


def _times(client: Client) -> dict[str, Any]:
    return {name: client.fold.state["session"][name] for name in ("last_activity", "expires_at", "message_count")}


async def test_the_first_message_names_the_session_once(tmp_path: Path) -> None:
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    async with open_node(tmp_path, agent=saying()) as node:
        for message in (f"  What\n is   {family * 20}", "another"):
            await node.over((await node.ask(message)).run_id)
        title = (await node.snapshot()).session["title"]

    assert title == f"What is {family * 10}…"


async def test_clearing_removes_everything_said_here_and_on_every_client(tmp_path: Path) -> None:
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet) as node, node.client() as client:
        first = await node.ask("secret one")
        puppet.say("secret two")
        await client.until(lambda client: client.said == "secret two")
        async with anyio.create_task_group() as tasks, node.held() as session:
            tasks.start_soon(client.until, lambda client: client.fold.messages == [])
            await anyio.lowlevel.checkpoint()
            await session.clear()
        snapshot = await node.snapshot()
        await node.hub.upkeep.trim_journal()
        async with node.client(str(first.cursor)) as back:
            assert back.is_snapshot
            assert "secret two" not in str(back.events)

        assert snapshot.messages == []
        assert snapshot.session["message_count"] == 0
        assert client.ended()[first.run_id] == "cancelled"
        assert client.cursor == str(snapshot.cursor)
        assert fair(client)
        assert node.rows("SELECT count(*) FROM messages") == [(0,)]
        for table in ("log", "journal"):
            assert node.rows(f"SELECT count(*) FROM {table} WHERE instr(frames, 'secret')") == [(0,)]


async def test_a_cleared_session_goes_on_with_new_history_only(tmp_path: Path) -> None:
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet) as node:
        puppet.finish()
        await node.over((await node.ask("old")).run_id)
        async with node.held() as session:
            await session.clear()
        puppet.finish()
        await node.over((await node.ask("new")).run_id)

        assert [message["content"] for message in puppet.turns[1].messages] == ["new"]
        assert [message["content"] for message in (await node.snapshot()).messages] == ["new"]


# --- the end


async def test_a_deleted_session_says_goodbye_and_leaves_only_its_tombstone(tmp_path: Path) -> None:
    """Invariant 10."""
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet, agents={"echo": echo}) as node:
        await node.ask("bystander", session="other", agent="echo")
        async with node.client() as client:
            await node.ask("secret")
            puppet.say("secret too")
            await client.until(lambda client: client.said == "secret too")
            async with node.held() as session:
                await node.hub.end(session, "deleted")
            await client.catch_up()
            assert client.reader.is_at_end
            client.read(client.reader.farewell())
            with pytest.raises(Gone, match="session_deleted"):
                await node.ask("more")
        await eventually(lambda: node.key() not in node.hub.sessions)
        await node.hub.upkeep.trim_journal()

        assert client.events[-2]["value"] == {"session_id": "s", "reason": "deleted"}
        assert fair(client)
        assert node.rows("SELECT session_id, status FROM ended_sessions") == [("s", "deleted")]
        for table, where in (("sessions", "ref = 2"), ("messages", "ref = 2"), ("runs", "ref = 2"), ("log", "ref = 2")):
            assert node.rows(f"SELECT count(*) FROM {table} WHERE {where}") == [(0,)], table
        for table in ("log", "journal"):
            assert node.rows(f"SELECT count(*) FROM {table} WHERE instr(frames, 'secret')") == [(0,)]
        with pytest.raises(Gone, match="session_deleted"):
            await node.ask("again")


@pytest.mark.parametrize("durability", ["normal", "full"])
async def test_a_stream_that_leaves_while_its_session_is_deleted_brings_nothing_back(
    tmp_path: Path, durability: str
) -> None:
    """Invariant 10: the last stream's farewell counts as activity, but not of a session that is being buried."""
    async with open_node(tmp_path, durability=durability) as node:
        await _age(node)
        gate = anyio.Event()
        async with anyio.create_task_group() as tasks:
            async with node.held() as session, node.client():
                node.storage.before = gate
                tasks.start_soon(node.hub.end, session, "deleted")
                await eventually(lambda: node.storage.waiting)
            gate.set()
        await node.calm()

        assert node.rows("SELECT count(*) FROM sessions") == [(0,)]


async def _age(node: Node) -> None:
    """Make the session old enough for a leaving stream to count."""
    async with node.held() as session:
        await session.change({"last_activity": 5.0})


# --- creation


async def test_a_session_is_seen_by_nobody_before_it_is_committed(tmp_path: Path) -> None:
    """Invariant 1: whoever asks meanwhile waits for the same commit."""
    async with open_node(tmp_path) as node:
        gate = node.storage.before = anyio.Event()
        seen: list[Any] = []

        async def look() -> None:
            async with node.held(create=False):
                seen.append(node.rows("SELECT session_id FROM sessions"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(node.ask)
            await eventually(lambda: node.storage.waiting)
            tasks.start_soon(look)
            for _ in range(20):
                await anyio.lowlevel.checkpoint()
            assert seen == []
            gate.set()

        assert seen == [[("s",)]]


async def test_a_session_whose_creation_timed_out_was_not_created(tmp_path: Path) -> None:
    """A 503 leaves nothing, also not later."""
    async with open_node(tmp_path, agent=Puppet()) as node:
        node.storage.fail(is_transient=True)
        with node.impatient(), pytest.raises(Unavailable):
            await node.ask(message_id="m1")
        node.storage.release()
        await node.calm()
        await node.hub.journal.write((), timeout_s=5)

        assert node.rows("SELECT count(*) FROM sessions") == [(0,)]
        assert node.hub.sessions == {}
        accepted = await node.ask(message_id="m1")
        assert accepted.status == "running"


async def test_an_imported_message_keeps_its_place_before_what_follows(tmp_path: Path) -> None:
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet) as node:
        old = [{"id": f"i{at}", "role": "user", "content": f"old {at}"} for at in range(3)]
        async with node.hub.session(node.key(), Creation(agent="default", messages=old, title="Old")):
            pass
        puppet.finish()
        await node.over((await node.ask("new")).run_id)

        assert [message["content"] for message in puppet.turns[0].messages] == ["old 0", "old 1", "old 2", "new"]
        assert (await node.snapshot()).messages == puppet.turns[0].messages
        with pytest.raises(Conflict, match="message_id_conflict"):
            await node.ask("x", message_id="i1")


async def test_agents_are_chosen_by_message_then_by_session_then_by_default(tmp_path: Path) -> None:
    async def run_of(node: Node, agent: str | None) -> RunRecord:
        return await node.over((await node.ask(agent=agent)).run_id)

    async with open_node(tmp_path, agent=saying(), agents={"echo": echo, "silent": saying()}) as node:
        assert (await run_of(node, None)).agent == "default"
        assert (await run_of(node, "silent")).agent == "silent"
        async with node.held() as session:
            await session.change({"agent": "echo"})
        assert (await run_of(node, None)).agent == "echo"
        with pytest.raises(Invalid, match="'gone since' is not there any more"):
            await run_of(node, "gone since")
