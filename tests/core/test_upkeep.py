"""What goes in time: sessions nobody uses, memory nobody needs, deltas nobody resumes in, the journal behind them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import anyio
import pytest

from server.core.dialogue import Creation
from server.errors import Gone
from tests.support.agents import Puppet, saying
from tests.support.client import Client, Fold
from tests.support.node import Node, eventually, open_node

SOON: dict[str, Any] = {"session_timeout_minutes": 1.0}
PIECES = [f"w{number} " for number in range(50)]


async def aged(node: Node, *sessions: str) -> None:
    """Let the last activity of sessions lie an hour back."""
    for name in sessions:
        async with node.held(name) as session:
            await session.change({"last_activity": session.record.last_activity - 3600})


def living(node: Node) -> list[str]:
    return sorted(row[0] for row in node.rows("SELECT session_id FROM sessions"))


# --- expiry


async def test_what_nobody_uses_expires_and_is_gone(tmp_path: Path) -> None:
    async with open_node(tmp_path, **SOON) as node:
        for name in ("old", "young"):
            await node.over((await node.ask(session=name)).run_id, session=name)
        await aged(node, "old")
        await node.hub.upkeep.run()

        assert living(node) == ["young"]
        assert node.rows("SELECT session_id, status FROM ended_sessions") == [("old", "expired")]
        assert (node.hub.total, node.hub.upkeep.expired) == (1, 1)
        with pytest.raises(Gone, match="session_expired"):
            await node.ask(session="old")


@pytest.mark.parametrize("use", ["stream", "run", "queue"])
async def test_what_somebody_uses_does_not_expire(tmp_path: Path, use: str) -> None:
    """Edge case 50: activity is a running run or an open stream, not only a request."""
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet, max_runs_per_user=1, **SOON) as node:
        if use == "queue":
            await node.ask(session="s")
            await node.ask("waits", session="s", on_busy="queue")
        elif use == "run":
            await node.ask(session="s")
        else:
            async with node.held():
                pass
        await aged(node, "s")
        if use == "stream":
            async with node.client():
                await node.hub.upkeep.run()
        else:
            await node.hub.upkeep.run()

        assert living(node) == ["s"]


async def test_who_leaves_has_the_whole_timeout_to_come_back(tmp_path: Path) -> None:
    async with open_node(tmp_path, **SOON) as node:
        async with node.client():
            await aged(node, "s")
        await node.calm()
        await node.hub.upkeep.run()

        assert living(node) == ["s"]


async def test_zero_minutes_are_for_ever(tmp_path: Path) -> None:
    async with open_node(tmp_path, session_timeout_minutes=0) as node:
        await aged(node, "s")
        await node.hub.upkeep.run()

        assert living(node) == ["s"]


async def test_watchers_that_stay_for_ever_do_not_keep_others_alive(tmp_path: Path) -> None:
    """Expiry takes the oldest first: those it must spare must not fill what it looks at."""
    async with open_node(tmp_path, max_sessions_per_user=0, **SOON) as node:
        for number in range(510):
            async with node.held(f"watched{number}") as session:
                session.streams += 1
        await node.over((await node.ask(session="old")).run_id, session="old")
        await aged(node, *(f"watched{number}" for number in range(510)))
        await aged(node, "old")
        await node.hub.upkeep.run()

        assert len(living(node)) == 510
        assert "old" not in living(node)


async def test_two_who_clear_the_same_expired_sessions_are_both_let_in(tmp_path: Path) -> None:
    """Limit of sessions: expired ones are cleared before refusing, and not refused to who cleared them."""
    async with open_node(tmp_path, max_sessions_per_user=2, **SOON) as node:
        for name in ("a", "b"):
            async with node.held(name):
                pass
        await aged(node, "a", "b")
        async with anyio.create_task_group() as tasks:
            for name in ("c", "d"):
                tasks.start_soon(_make, node, name)

        assert living(node) == ["c", "d"]


async def _make(node: Node, name: str) -> None:
    async with node.hub.session(node.key(name), Creation(agent="default")):
        pass


# --- memory


async def test_an_idle_session_leaves_memory_and_comes_back_unnoticed(tmp_path: Path) -> None:
    async with open_node(tmp_path) as node:
        async with node.client() as client:
            await client.until_over((await node.ask("one")).run_id)
        before = await node.snapshot()
        await eventually(lambda: node.hub.evict_idle(-1))
        assert node.hub.sessions == {}

        assert await node.snapshot() == before
        async with node.client(client.cursor, fold=client.fold) as back:
            await back.until_over((await node.ask("two")).run_id)
            assert back.fold.messages == (await node.snapshot()).messages
            assert not back.is_snapshot


@pytest.mark.parametrize("use", ["stream", "run", "hold", "queue", "commit"])
async def test_what_is_in_use_stays_in_memory(tmp_path: Path, use: str) -> None:
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet) as node, node.held() as session:
        session.pins -= 1  # this test's own hold must not be what keeps it
        try:
            if use in ("run", "queue"):
                await node.ask()
            if use == "queue":
                await node.ask("waits", on_busy="queue")
            if use == "stream":
                session.streams += 1
            if use == "commit":
                session.live.append_event({"type": "CUSTOM", "name": "n", "value": 1})
            if use == "hold":
                session.pins += 1
            assert node.hub.evict_idle(-1) == 0
        finally:
            session.pins += use != "hold"
            session.streams -= use == "stream"


# --- the log


async def collapsed(node: Node) -> Client:
    """Answer, collapse, forget; return what a witness saw."""
    async with node.client() as witness:
        await witness.until_over((await node.ask()).run_id)
    await node.hub.upkeep.run()
    await eventually(lambda: node.hub.evict_idle(-1))
    return witness


async def test_after_the_window_every_cursor_resumes_exactly_or_starts_afresh(tmp_path: Path) -> None:
    """Cursors stay honest: never a hole, never a repetition."""
    puppet = Puppet()
    outcomes = []
    known: dict[str, Fold] = {}
    async with open_node(tmp_path, agent=puppet, resume_window_seconds=0) as node:
        async with node.client() as witness:
            witness.on_event = lambda cursor, fold: known.__setitem__(cursor, copy.deepcopy(fold))
            known[str(witness.cursor)] = copy.deepcopy(witness.fold)
            run_id = (await node.ask()).run_id
            for piece in PIECES:
                puppet.say(piece)
                await witness.until(lambda client, piece=piece: str(client.said).endswith(piece))  # type: ignore[misc]
            puppet.finish()
            await witness.until_over(run_id)
        [(before,)] = node.rows("SELECT sum(length(frames)) FROM log")
        await node.hub.upkeep.run()
        [(after,)] = node.rows("SELECT sum(length(frames)) FROM log")
        await eventually(lambda: node.hub.evict_idle(-1))
        for place, (cursor, _) in enumerate(witness.log):
            async with node.client(cursor, fold=known.get(cursor)) as client:
                outcomes.append(client.is_snapshot)
                if client.is_snapshot:
                    assert client.events[0]["metadata"]["sessionstream"]["resumed"] is False
                else:
                    assert said_in(client) == said_in(witness, place + 1)
                assert client.picture() == witness.picture()

    assert after < before / 4
    assert set(outcomes) == {True, False}


def said_in(client: Client, first: int = 0) -> str:
    """Return all text of a client's log from a place on."""
    return "".join(event["delta"] for _, event in client.log[first:] if event["type"] == "TEXT_MESSAGE_CONTENT")


async def test_within_the_window_nothing_is_collapsed(tmp_path: Path) -> None:
    async with open_node(tmp_path, agent=saying(*PIECES), resume_window_seconds=300) as node:
        witness = await collapsed(node)
        async with node.client(witness.log[1][0]) as client:
            assert [cursor for cursor, _ in client.log] == [cursor for cursor, _ in witness.log[2:]]


async def test_the_log_of_a_session_that_is_cleared_meanwhile_does_not_come_back(tmp_path: Path) -> None:
    async with open_node(tmp_path, agent=saying("secret"), resume_window_seconds=0) as node:
        await node.over((await node.ask()).run_id)
        gate = node.storage.before = anyio.Event()
        async with anyio.create_task_group() as tasks, node.held() as session:
            tasks.start_soon(session.clear)
            await eventually(lambda: node.storage.waiting)
            tasks.start_soon(node.hub.upkeep.collapse_logs)
            await eventually(lambda: not node.hub.journal.is_empty)
            gate.set()
        await node.calm()

        assert node.rows("SELECT count(*) FROM log WHERE instr(frames, 'secret')") == [(0,)]


# --- the journal


async def test_a_quiet_journal_is_empty(tmp_path: Path) -> None:
    """What was said stands in rows; the journal keeps nothing of it, not even in its last one."""
    async with open_node(tmp_path, agent=saying("secret")) as node:
        await node.over((await node.ask()).run_id)
        await node.hub.upkeep.run()

        assert node.rows("SELECT sum(length(frames)) FROM journal") == [(0,)]


async def test_a_run_that_holds_the_journal_back_is_spilled(tmp_path: Path) -> None:
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet, agents={"other": saying("x")}) as node, node.client() as client:
        run_id = (await node.ask()).run_id
        for _ in range(3):
            puppet.say("words ")
            await client.until(lambda client: str(client.said).endswith("words "))
            await node.over((await node.ask(session="t", agent="other")).run_id, session="t")
            await node.hub.upkeep.trim_journal()
            await node.calm()

        assert node.rows("SELECT count(*) FROM log WHERE ended_at IS NULL")[0][0] >= 1
        assert node.rows("SELECT min(id) FROM journal")[0][0] > 1
        puppet.finish()
        await client.until_over(run_id)
        assert node.rows("SELECT count(*) FROM log WHERE ended_at IS NULL") == [(0,)]


# --- all of it


async def test_tombstones_are_forgotten(tmp_path: Path) -> None:
    async with open_node(tmp_path, tombstone_days=0) as node:
        async with node.held() as session:
            await node.hub.end(session, "deleted")
        await node.hub.upkeep.run()

        assert node.rows("SELECT count(*) FROM ended_sessions") == [(0,)]
        assert (await node.over((await node.ask()).run_id)).status == "finished"


async def test_a_storage_that_fails_only_makes_upkeep_late(tmp_path: Path) -> None:
    async with open_node(tmp_path, resume_window_seconds=0, **SOON) as node:
        await node.over((await node.ask()).run_id)
        await aged(node, "s")
        node.storage.fail()
        await node.hub.upkeep.run()
        assert living(node) == ["s"]

        node.storage.release()
        await node.hub.upkeep.run()
        assert living(node) == []


async def test_upkeep_runs_by_itself(tmp_path: Path) -> None:
    async with open_node(tmp_path, cleanup_interval_seconds=0.05, idle_memory_seconds=0, **SOON) as node:
        await aged(node, "s")
        await eventually(lambda: living(node) == [] and not node.hub.sessions)
