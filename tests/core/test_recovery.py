"""After a crash: what was persisted is there, what was open is ended, and every stream goes on or starts afresh.

A crash is the copy of the files of a running node, opened by another one.
"""

from __future__ import annotations

import copy
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from server.core.ports import Agent, Event
from server.storage.sqlite import FILE_NAME
from tests.support.agents import Puppet, echo
from tests.support.client import Client, Fold
from tests.support.node import Node, eventually, open_node
from tests.support.sequences import SCRIPT
from tests.support.storage import SwitchedStorage, crash_copy, rows_of

BOTH = pytest.mark.parametrize("durability", ["normal", "full"])


async def say(node: Node, client: Client, puppet: Puppet, *pieces: str | Event) -> None:
    """Let the agent say something, and wait until it is committed and seen."""
    puppet.say(*pieces)
    await eventually(lambda: puppet.is_idle)
    await node.calm()
    await client.catch_up()


async def ended_by_crash(left: Path, run_id: str, seen: Client, **settings: Any) -> Client:
    """Open what a crash left; check that its run is over, and that a client that comes back sees exactly that."""
    fold = copy.deepcopy(seen.fold)
    async with open_node(left, **settings) as node:
        async with node.client(seen.cursor, fold=fold) as back:
            await back.catch_up()
            snapshot = await node.snapshot()
            record = await node.over(run_id)

            assert (record.status, record.code) == ("interrupted", None)
            assert not back.is_snapshot
            assert [event["type"] for _, event in back.log].count("RUN_FINISHED") == 1
            assert back.log[-1][1]["runId"] == run_id
            assert back.log[-1][1]["outcome"] == {"type": "cancelled"}
            assert back.log[-1][1]["metadata"]["sessionstream"]["reason"] == "restart"
            assert back.fold.messages == snapshot.messages
            assert (back.fold.run_id, snapshot.run) == (None, None)
            assert snapshot.reopening == []
        again = await node.ask("and now?", agent="default")
        assert (await node.over(again.run_id)).status == "finished"
    return back


@BOTH
async def test_every_moment_of_a_run_can_be_its_last(tmp_path: Path, durability: str) -> None:
    """Invariants 1, 5 and 9: what was shown is kept, what was open is closed, and the session is usable at once."""
    puppet = Puppet()
    crashes: list[tuple[Path, Client]] = []
    async with open_node(tmp_path / "data", agent=puppet, durability=durability) as node, node.client() as client:
        run_id = (await node.ask()).run_id
        for number, piece in enumerate(["", *SCRIPT]):
            await say(node, client, puppet, piece)
            seen = Client(client.reader)
            seen.cursor, seen.fold, seen.log = client.cursor, copy.deepcopy(client.fold), [*client.log]
            crashes.append((crash_copy(tmp_path / "data", tmp_path / str(number)), seen))

    for left, seen in crashes:
        back = await ended_by_crash(left, run_id, seen, durability=durability)
        assert [message["id"] for message in back.fold.messages][: len(seen.fold.messages)] == [
            message["id"] for message in seen.fold.messages
        ]
    assert len(crashes) == len(SCRIPT) + 1


@BOTH
async def test_a_long_run_that_was_spilled_is_taken_up_whole(tmp_path: Path, durability: str) -> None:
    """Frames of it stand in rows, the rest in the journal: together they are the run."""
    puppet = Puppet()
    options: dict[str, Any] = {"ring_bytes": 1024, "durability": durability}
    async with open_node(tmp_path / "data", agent=puppet, **options) as node, node.client() as client:
        run_id = (await node.ask()).run_id
        for number in range(60):
            await say(node, client, puppet, f"word{number} ", {"type": "CUSTOM", "name": "n", "value": "x" * 50})
        assert node.rows("SELECT count(*) FROM log WHERE ended_at IS NULL")[0][0] > 3
        left = crash_copy(tmp_path / "data", tmp_path / "left")

    back = await ended_by_crash(left, run_id, client, **options)
    assert "".join(f"word{number} " for number in range(60)) == back.fold.messages[1]["content"]


@BOTH
async def test_a_journal_that_was_cut_still_has_what_is_needed(tmp_path: Path, durability: str) -> None:
    """The cut removes only what stands in rows; who holds it back is spilled, and nobody loses anything."""
    puppet, other = Puppet(), Puppet()
    agents: dict[str, Agent] = {"other": other, "echo": echo}
    crashes: list[tuple[Path, Any, Any]] = []
    async with (
        open_node(tmp_path / "data", agent=puppet, agents=agents, durability=durability) as node,
        node.client() as client,
        node.client(session="t") as second,
    ):
        run_id = (await node.ask()).run_id
        other_id = (await node.ask(session="t", agent="other")).run_id
        for number in range(12):
            await say(node, client, puppet, f"a{number} ")
            if number % 2:
                await say(node, second, other, f"b{number} ")
            await node.over((await node.ask(session="u", agent="echo")).run_id, session="u")
            if number % 3 == 2:
                await node.hub.upkeep.trim_journal()
                await node.calm()
                left = crash_copy(tmp_path / "data", tmp_path / str(number))
                crashes.append((left, client.said, second.said))
        [(oldest, newest)] = node.rows("SELECT min(id), max(id) FROM journal")

    assert oldest > newest // 3, "it was cut"
    for left, said, also_said in crashes:
        async with open_node(left, durability=durability) as node:
            assert (await node.over(run_id)).status == "interrupted"
            assert (await node.over(other_id, session="t")).status == "interrupted"
            assert (await node.snapshot()).messages[1]["content"] == said
            assert (await node.snapshot("t")).messages[1]["content"] == also_said
    assert said == "".join(f"a{number} " for number in range(12))


async def test_all_sessions_that_were_running_are_ended_in_one_go(tmp_path: Path) -> None:
    async with open_node(tmp_path / "data", agent=Puppet()) as node:
        runs = {name: (await node.ask(session=name)).run_id for name in ("a", "b", "c")}
        left = crash_copy(tmp_path / "data", tmp_path / "left")

    async with open_node(left) as node:
        assert len(node.storage.batches) == 1
        assert node.hub.total == 3
        for name, run_id in runs.items():
            assert (await node.over(run_id, session=name)).status == "interrupted"
        assert node.rows("SELECT count(*) FROM runs WHERE status = 'running'") == [(0,)]


async def test_a_post_repeated_after_the_crash_finds_its_run(tmp_path: Path) -> None:
    """Edge case 47: the client does not know whether its message arrived; asking again tells."""
    async with open_node(tmp_path / "data", agent=Puppet()) as node:
        accepted = await node.ask(message_id="m1")
        left = crash_copy(tmp_path / "data", tmp_path / "left")

    async with open_node(left) as node:
        again = await node.ask(message_id="m1")
        assert (again.run_id, again.status) == (accepted.run_id, "interrupted")
        assert [message["id"] for message in (await node.snapshot()).messages] == ["m1"]


async def test_a_crash_in_the_middle_of_recovery_changes_nothing(tmp_path: Path) -> None:
    """Edge case 33: nothing is tried twice, nothing is ended twice."""
    puppet = Puppet()
    async with open_node(tmp_path / "data", agent=puppet) as node, node.client() as client:
        run_id = (await node.ask()).run_id
        await say(node, client, puppet, "partial")
        left = crash_copy(tmp_path / "data", tmp_path / "left")

    async with open_node(left):
        twice = crash_copy(left, tmp_path / "twice")
    await ended_by_crash(twice, run_id, client)


@pytest.mark.parametrize("is_transient", [True, False])
async def test_recovery_that_fails_is_tried_again_and_ends_each_run_once(tmp_path: Path, is_transient: bool) -> None:
    """Our contract of `recover`: calling again is safe."""
    puppet = Puppet()
    async with open_node(tmp_path / "data", agent=puppet) as node, node.client() as client:
        run_id = (await node.ask()).run_id
        await say(node, client, puppet, "partial", {"type": "TOOL_CALL_START", "toolCallId": "t", "toolCallName": "f"})
        left = crash_copy(tmp_path / "data", tmp_path / "left")

    storage = SwitchedStorage(left)
    storage.fail(is_transient=is_transient)
    async with open_node(left, storage=storage) as node:
        assert not node.hub.is_open
        await eventually(lambda: storage.attempts >= 1)
        storage.release()
        await eventually(lambda: node.hub.is_open)
        await node.calm()
        frames = b"".join(row[0] for row in rows_of(left, "SELECT frames FROM journal ORDER BY id"))
        assert frames.count(b'"RUN_FINISHED"') == 1
    await ended_by_crash(left, run_id, client)


def forge(folder: Path, **meta: str) -> None:
    """Change what a stopped database says of the machine it ran on."""
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection, connection:
        connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", meta.items())


@pytest.mark.parametrize(("durability", "changes"), [("normal", True), ("full", False)])
async def test_a_machine_that_went_down_gives_clients_snapshots_unless_it_was_durable(
    tmp_path: Path, durability: str, changes: bool
) -> None:
    """The words: `epoch` changes only when the log lost its continuity."""
    puppet = Puppet()
    async with open_node(tmp_path / "data", agent=puppet, durability=durability) as node, node.client() as client:
        puppet.say("answer")
        puppet.finish()
        await client.until_over((await node.ask("first")).run_id)
        cut_off = (await node.ask("second")).run_id
        await say(node, client, puppet, "partial")
        left = crash_copy(tmp_path / "data", tmp_path / "left")

    forge(left, boot_id="another")
    async with open_node(left, durability=durability) as node:
        snapshot = await node.snapshot()
        assert (str(snapshot.cursor).split("-")[0] != str(client.cursor).split("-")[0]) is changes
        assert (await node.over(cut_off)).status == "interrupted"
        async with node.client(client.cursor, fold=client.fold) as back:
            await back.catch_up()
            assert back.is_snapshot is changes
            assert back.fold.messages == snapshot.messages
            if changes:
                assert back.events[0]["metadata"]["sessionstream"]["resumed"] is False
            await back.until_over((await node.ask("third")).run_id)
            assert back.fold.messages == (await node.snapshot()).messages
    assert [message["content"] for message in snapshot.messages] == ["first", "answer", "second", "partial"]


@pytest.mark.parametrize("meta", [{"boot_id": "another", "stop": "clean"}, {"stop": "unclean"}])
async def test_a_process_that_went_down_keeps_the_epoch(tmp_path: Path, meta: dict[str, str]) -> None:
    """`kill -9` loses nothing, nor does a machine that goes down after a clean stop."""
    async with open_node(tmp_path) as node, node.client() as client:
        await client.until_over((await node.ask()).run_id)
    forge(tmp_path, **meta)

    async with open_node(tmp_path) as node, node.client(client.cursor, fold=Fold()) as back:
        assert back.events == []


async def test_a_clean_stop_says_so(tmp_path: Path) -> None:
    async with open_node(tmp_path) as node:
        assert node.rows("SELECT value FROM meta WHERE name = 'stop'") == [("unclean",)]
        await node.ask()

    assert rows_of(tmp_path, "SELECT value FROM meta WHERE name = 'stop'") == [("clean",)]


async def test_a_log_that_cannot_be_folded_keeps_nobody_out(tmp_path: Path) -> None:
    """Edge case 33: one damaged session must not make every start fail."""
    async with open_node(tmp_path / "data", agent=Puppet()) as node:
        runs = {name: (await node.ask(session=name)).run_id for name in ("damaged", "sound")}
        left = crash_copy(tmp_path / "data", tmp_path / "left")

    with closing(sqlite3.connect(left / FILE_NAME)) as connection, connection:
        [(epoch,)] = connection.execute("SELECT epoch FROM sessions WHERE session_id = 'damaged'")
        for row_id, blob in connection.execute("SELECT id, frames FROM journal").fetchall():
            if epoch.encode() in blob:
                damaged = blob.replace(b'"messageId"', b'"messageIx"')
                connection.execute("UPDATE journal SET frames = ? WHERE id = ?", (damaged, row_id))

    async with open_node(left) as node:
        for name, run_id in runs.items():
            assert (await node.over(run_id, session=name)).status == "interrupted"
            await node.ask("again", session=name)
