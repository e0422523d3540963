"""The hub: who is let in and how many, what belongs to whom, and how it all ends."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from server.core.dialogue import Creation
from server.core.ports import Turn
from server.errors import LimitReached, NotFound, SessionstreamError, Unavailable
from tests.support.agents import Puppet, saying
from tests.support.node import Node, eventually, open_node
from tests.support.storage import SwitchedStorage, rows_of

NEW = Creation(agent="default")


async def make(node: Node, session: str, user: str = "ann") -> None:
    """Create a session."""
    async with node.hub.session(node.key(session, user), NEW):
        pass


async def made(node: Node, *keys: tuple[str, str]) -> list[str]:
    """Create sessions at once; return the codes of those that were refused."""
    refused: list[str] = []

    async def one(session: str, user: str) -> None:
        try:
            await make(node, session, user)
        except SessionstreamError as error:
            refused.append(error.code)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for session, user in keys:
                tasks.start_soon(one, session, user)
    return refused


# --- sessions


async def test_a_session_is_there_only_for_its_owner(tmp_path: Path) -> None:
    """Invariant 8: foreign and missing are the same."""
    async with open_node(tmp_path) as node:
        await make(node, "s")
        for key in (node.key("s", "bob"), node.key("missing")):
            with pytest.raises(NotFound) as refusal:
                async with node.hub.session(key):
                    pass
            assert refusal.value.code == "session_not_found"
        assert list(node.hub.sessions) == [node.key("s")]


async def test_many_who_come_first_share_one_session(tmp_path: Path) -> None:
    """Edge case 49: get-or-create is one thing."""
    async with open_node(tmp_path) as node:
        held: list[int] = []

        async def hold() -> None:
            async with node.held() as session:
                held.append(id(session))
                await eventually(lambda: len(held) == 20)

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(hold)

        assert len(set(held)) == 1
        assert node.hub.total == 1
        assert node.rows("SELECT count(*) FROM sessions") == [(1,)]


async def test_who_is_refused_leaves_no_trace(tmp_path: Path) -> None:
    """Edge case 51: refused requests leak as easily as others."""
    async with open_node(tmp_path, max_sessions_per_user=1, max_streams_per_user=1) as node:
        await make(node, "s")
        assert await made(node, ("t", "ann"), ("u", "ann")) == ["limit_sessions_per_user"] * 2
        async with node.client():
            with pytest.raises(LimitReached, match="limit_streams_per_user"):
                async with node.client():
                    pass

        assert list(node.hub.sessions) == [node.key("s")]
        assert (node.hub.streams.by_user, node.hub.user_runs) == ({}, {})
        assert node.hub.sessions[node.key("s")].pins == 0
        assert node.hub.total == 1


async def test_who_was_told_too_early_that_a_session_was_not_made_finds_it(tmp_path: Path) -> None:
    """Whose commit was in flight when its time was over: who comes back waits for it, and makes no second one."""
    async with open_node(tmp_path) as node:
        gate = node.storage.before = anyio.Event()
        with node.impatient(), pytest.raises(Unavailable):
            await make(node, "s")
        assert node.storage.waiting
        [session] = node.hub.sessions.values()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(make, node, "s")
            await eventually(lambda: session.pins)
            gate.set()

        assert node.rows("SELECT count(*) FROM sessions") == [(1,)]
        assert list(node.hub.sessions) == [node.key("s")]
        node.hub.evict_idle(-1)
        assert node.hub.sessions == {}


@pytest.mark.parametrize("durability", ["normal", "full"])
async def test_limits_of_sessions_hold_for_those_who_come_at_once(tmp_path: Path, durability: str) -> None:
    async with open_node(tmp_path, max_sessions_per_user=3, max_sessions=5, durability=durability) as node:
        assert await made(node, *((f"s{number}", "ann") for number in range(6))) == ["limit_sessions_per_user"] * 3
        assert await made(node, *((f"s{number}", f"u{number}") for number in range(4))) == ["server_full"] * 2
        assert node.rows("SELECT count(*) FROM sessions") == [(5,)]
        assert node.hub.total == 5


async def test_an_end_makes_room(tmp_path: Path) -> None:
    async with open_node(tmp_path, max_sessions_per_user=1, max_sessions=1) as node:
        async with node.held() as session:
            await node.hub.end(session, "deleted")
        assert (await made(node, ("t", "ann")), node.hub.total) == ([], 1)


async def test_streams_are_counted_by_session_and_by_user(tmp_path: Path) -> None:
    async with open_node(tmp_path, max_streams_per_session=2, max_streams_per_user=3) as node:
        async with node.client(), node.client(), node.client(session="t"):
            with pytest.raises(LimitReached, match="limit_streams_per_session"):
                async with node.client():
                    pass
            with pytest.raises(LimitReached, match="limit_streams_per_user"):
                async with node.client(session="t"):
                    pass
            assert node.hub.streams.by_user == {"ann": 3}
        assert node.hub.streams.by_user == {}


async def test_streams_change_nothing_but_their_number(tmp_path: Path) -> None:
    """Invariant 6: who leaves in the middle of a run cancels nothing."""
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet) as node:
        async with node.client() as client:
            run_id = (await node.ask()).run_id
            puppet.say("one ")
            await client.until(lambda client: client.said == "one ")
        puppet.say("two ")
        puppet.finish()
        assert (await node.over(run_id)).status == "finished"
        assert (await node.snapshot()).messages[-1]["content"] == "one two "
        assert node.rows("SELECT count(*) FROM messages") == [(2,)]


async def test_nothing_is_left_of_what_ended(tmp_path: Path) -> None:
    """Invariant 10 and edge case 51: every way to end, again and again, and memory is where it was."""
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet) as node:
        files = len(os.listdir("/proc/self/fd"))
        for number in range(10):
            for way in ("finish", "stop", "fail", "delete"):
                name = way if way != "delete" else f"{number}"
                async with node.client(session=name) as client:
                    await node.ask(session=name)
                    await eventually(lambda: len(node.hub.user_runs))
                    if way == "finish":
                        puppet.finish()
                    elif way == "fail":
                        puppet.fail(RuntimeError("boom"))
                    elif way == "stop":
                        await node.interrupt(session=name)
                    else:
                        async with node.held(name) as session:
                            await node.hub.end(session, "deleted")
                    await eventually(lambda: not node.hub.user_runs)
                    await client.catch_up()
        await eventually(lambda: node.hub.evict_idle(-1) or not node.hub.sessions)

        assert node.hub.sessions == {}
        assert (node.hub.user_runs, node.hub.streams.by_user, node.hub.watchers.users) == ({}, {}, [])
        assert len(os.listdir("/proc/self/fd")) <= files + 4  # the storage's readers


# --- runs belong to the hub


async def test_drain_ends_runs_with_what_they_have_and_lets_nobody_in(tmp_path: Path) -> None:
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet) as node, node.client() as client:
        run_id = (await node.ask()).run_id
        puppet.say("partial")
        await client.until(lambda client: client.said == "partial")
        await node.hub.drain()
        await client.until_over(run_id)

        assert client.events[-1]["outcome"] == {"type": "cancelled"}
        assert client.events[-1]["metadata"]["sessionstream"]["reason"] == "shutdown"
        assert node.rows("SELECT status FROM runs") == [("interrupted",)]
        for session in ("s", "new"):
            with pytest.raises(Unavailable, match="draining"):
                await node.ask(session=session)


async def test_a_queue_waits_for_the_next_process_when_this_one_drains(tmp_path: Path) -> None:
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet) as node:
        await node.ask("first")
        await node.ask("second", on_busy="queue")
        await node.hub.drain()
    assert [turn.message for turn in puppet.turns] == ["first"]

    async with open_node(tmp_path) as node:
        await eventually(lambda: node.rows("SELECT count(*) FROM runs WHERE status = 'finished'") == [(1,)])


@pytest.mark.parametrize("durability", ["normal", "full"])
async def test_a_hub_that_is_closed_without_a_drain_still_writes_how_its_runs_ended(
    tmp_path: Path, durability: str
) -> None:
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet, durability=durability) as node, node.client() as client:
        await node.ask()
        puppet.say("partial")
        await client.until(lambda client: client.said == "partial")

    assert rows_of(tmp_path, "SELECT status FROM runs") == [("interrupted",)]
    assert rows_of(tmp_path, "SELECT text FROM messages WHERE role = 'assistant'") == [("partial",)]


async def test_an_agent_hears_that_the_node_goes_down(tmp_path: Path) -> None:
    heard: list[str] = []

    async def agent(turn: Turn) -> AsyncIterator[str]:
        try:
            yield "x"
            await anyio.sleep_forever()
        finally:
            heard.append("cancelled")

    async with open_node(tmp_path, agent=agent) as node, node.client() as client:
        await node.ask()
        await client.until(lambda client: client.said == "x")

    assert heard == ["cancelled"]


# --- a storage that is not there yet


async def test_sessions_are_refused_until_the_storage_opens(tmp_path: Path) -> None:
    """Our contract: readiness says so, POSTs get 503, and it recovers by itself when the cause goes."""
    folder = tmp_path / "data"
    folder.write_text("a file where the folder should be")
    storage = SwitchedStorage(folder)
    storage.fail()  # only so that `open_node` does not wait
    async with open_node(folder, storage=storage) as node:
        await eventually(lambda: node.hub.journal.fault)
        with pytest.raises(Unavailable, match="storage_unavailable"):
            await node.ask()
        assert (await node.hub.storage_health())["status"] == "down"
        storage.release()
        folder.unlink()
        await eventually(lambda: node.hub.is_open)
        assert (await node.hub.storage_health())["status"] == "ok"
        await node.over((await node.ask()).run_id)


# --- lists


async def test_watchers_hear_of_their_users_sessions_only(tmp_path: Path) -> None:
    heard: list[Any] = []
    async with open_node(tmp_path, agent=saying()) as node:
        with node.hub.watchers.watching("ann", heard.append):
            await make(node, "s")
            await make(node, "s", "bob")
            assert heard == [node.key("s")]
            await node.over((await node.ask()).run_id)
            async with node.held() as session:
                await session.change({"title": "new"})
                await node.hub.end(session, "deleted")
            await node.calm()
            assert set(heard) == {node.key("s")}
            # Made, begun, over, renamed, deleted: each at least once, no more than a few.
            assert 5 <= len(heard) <= 10
        await make(node, "t")
        assert node.key("t") not in heard
        assert node.hub.watchers.users == []
