"""kill -9: nothing that was shown or accepted is lost, and everybody goes on where he stood."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from scripts.blackbox.arena import emit, script
from scripts.blackbox.follower import Follower
from scripts.blackbox.process import Server
from scripts.blackbox.waiting import poll
from scripts.blackbox.wire import Broken
from tests.faults.stage import ENDLESS, WAIT_S, Stage, answer_text, heard, is_counting, staged

SESSIONS = 6


@pytest.mark.parametrize("durability", ["normal", "full"])
async def test_a_killed_server_goes_on_with_every_session_where_it_was(tmp_path: Path, durability: str) -> None:
    """Invariants 1, 2 and 9: all open runs end as interrupted, cursors go on exactly, queues go on."""
    async with staged(tmp_path, DURABILITY=durability) as stage:
        await stage.server.start()
        followers = [await stage.watch(f"talk-{number % SESSIONS}") for number in range(2 * SESSIONS)]
        runs = [await stage.run(f"talk-{number}", ENDLESS, message_id=f"m-{number}") for number in range(SESSIONS)]
        queued = await stage.run("talk-0", emit(7, 0), on_busy="queue", message_id="waiting")
        for follower in followers:
            await heard(follower, 20)
        seen = {follower.session_id: answer_text(follower) for follower in followers}

        await stage.server.kill()
        await stage.server.start()

        for number, run_id in enumerate(runs):
            state = (await stage.caller().state(f"talk-{number}")).json()
            ended = {message["id"]: message for message in state["messages"]}
            assert f"m-{number}" in ended, "an accepted message is not in the history"
            assert (state["run"] or {}).get("run_id") != run_id, "a run that the kill left open is open after readiness"
            first = next(message for message in state["messages"] if message["role"] == "assistant")
            assert first["content"].startswith(seen[f"talk-{number}"])
            assert is_counting(first["content"])
            assert first["metadata"]["sessionstream"]["status"] == "interrupted"
        for follower in followers:
            await stage.same(follower)
            assert stage.ledger.outcome(follower.key, runs[int(follower.session_id[-1])]) == "cancelled"
        assert await followers[0].until_ended(queued)
        assert answer_text(followers[0]) == "w0 w1 w2 w3 w4 w5 w6 "
        assert stage.tally.counts["snapshots"] == len(followers), "somebody had to start over"


async def test_a_repeated_post_after_a_kill_is_answered_with_the_run_it_started(tmp_path: Path) -> None:
    """The answer to an accepted POST may be lost with the server: asking again with the same id starts nothing new."""
    async with staged(tmp_path) as stage:
        await stage.server.start()
        run_id = await stage.run("talk", ENDLESS, message_id="once")
        await stage.server.kill()
        await stage.server.start()

        again = await stage.caller().chat(script(ENDLESS), session_id="talk", message_id="once")

        assert again.status == 202
        assert again.json()["run_id"] == run_id
        assert again.json()["status"] == "interrupted"


async def test_kills_during_recovery_change_nothing(tmp_path: Path) -> None:
    """A crash in the middle of ending what a crash left open: the next start ends it, once."""
    async with staged(tmp_path) as stage:
        await stage.server.start()
        followers = [await stage.watch(f"talk-{number}") for number in range(SESSIONS)]
        for follower in followers:
            await stage.run(follower.session_id, ENDLESS)
            await heard(follower, 5)
        for number in range(50):
            await stage.run(f"crowd-{number}", ENDLESS)
        await stage.server.kill()

        for _ in range(5):
            stage.server.spawn()
            assert await poll(lambda: _has_database(stage.server), timeout_s=WAIT_S, step_s=0.001)
            await stage.server.kill()
        await stage.server.start()

        for follower in followers:
            state = await stage.same(follower)
            assert state["run"] is None
            assert is_counting(answer_text(follower))
        await stage.server.terminate()
        stage.sound()


@pytest.mark.parametrize("durability", ["normal", "full"])
async def test_a_kill_while_sessions_are_made_forgets_none_that_was_answered(tmp_path: Path, durability: str) -> None:
    """Whatever was answered 2xx is there; what was not may be asked again under its id, and is there once."""
    async with staged(tmp_path, DURABILITY=durability) as stage:
        await stage.server.start()
        made: list[str] = []
        async with anyio.create_task_group() as users:
            for worker in range(8):
                users.start_soon(_make_sessions, stage, worker, made)
            assert await poll(lambda: len(made) >= 200, timeout_s=WAIT_S, step_s=0.001)
            await stage.server.kill()
        await stage.server.start()

        assert len(made) >= 200
        for session_id in made:
            history = await stage.caller().messages(session_id)
            assert [message["id"] for message in history][:1] == ["first"], session_id
        for worker in range(8):
            late = f"new-{worker}-{sum(name.startswith(f'new-{worker}-') for name in made)}"
            again = await stage.caller().chat(script(emit(1, 0)), session_id=late, message_id="first", wait=True)
            assert again.status == 200
            history = await stage.caller().messages(late)
            assert history[0]["role"] == "user"
            assert [message["id"] for message in history].count("first") == 1
        await stage.server.terminate()
        stage.sound()


async def test_kills_during_upkeep_leave_every_history_whole(tmp_path: Path) -> None:
    """Collapse of old deltas and the cut of the journal are commits like all others: done, or not done."""
    settings = {"CLEANUP_INTERVAL_SECONDS": "0.05", "RESUME_WINDOW_SECONDS": "0", "LOG_KEPT_BYTES": "4096"}
    async with staged(tmp_path, **settings) as stage:
        await stage.server.start()
        for round_number in range(5):
            for number in range(8):
                answer = await stage.caller().chat(
                    script(emit(200, 0), {"event": {"type": "CUSTOM", "name": "x", "value": 1}}, emit(200, 0)),
                    session_id=f"talk-{number}",
                    message_id=f"m-{round_number}",
                    wait=True,
                )
                assert answer.status == 200, answer.body
            if round_number % 2:  # else it is killed in the middle of things, as early as it comes
                assert await poll(lambda: stage.rows()["journal"] <= 1, timeout_s=WAIT_S, step_s=0.001), "never cut"
            before = [(await stage.caller().state(f"talk-{number}")).json() for number in range(8)]
            await stage.server.kill()
            await stage.server.start()
            for number, state in enumerate(before):
                fresh = Follower(stage.caller(), f"talk-{number}", stage.ledger)
                assert await fresh.catch_up(state["cursor"])
                assert (await stage.same(fresh))["messages"] == state["messages"]
        await stage.server.terminate()
        stage.sound()


async def _make_sessions(stage: Stage, worker: int, made: list[str]) -> None:
    """Start new sessions one after the other until the server is gone."""
    caller = stage.caller()
    with suppress(Broken):
        for number in range(10_000):
            session_id = f"new-{worker}-{number}"
            answer = await caller.chat(script(emit(1, 0)), session_id=session_id, message_id="first")
            assert answer.status == 202, answer.body
            made.append(session_id)


def _has_database(server: Server) -> bool:
    """Say whether a starting server has opened its database: from then on it recovers."""
    with suppress(FileNotFoundError):
        folder = f"/proc/{server.pid}/fd"
        for name in os.listdir(folder):
            with suppress(FileNotFoundError):
                if os.readlink(f"{folder}/{name}").endswith("sessionstream.db"):
                    return True
    return False
