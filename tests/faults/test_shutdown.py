"""The end of a server that is told to stop: everybody hears a goodbye, keeps what was said, and finds it again."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from scripts.blackbox.arena import emit, script
from scripts.blackbox.fold import without_derived
from scripts.blackbox.follower import Follower
from scripts.blackbox.process import Server
from scripts.blackbox.waiting import poll
from scripts.blackbox.wire import Broken, Stream, deaf_socket
from tests.faults.causes import file_is_locked
from tests.faults.stage import (
    BRISK,
    ENDLESS,
    Stage,
    answer_text,
    assert_unavailable,
    grown,
    heard,
    is_counting,
    staged,
    until,
)

EXIT_WITHIN_S = 5.0
"""The contract's number: what supervisors give is twice that or more."""
STREAMS = 40
RUNS = 8


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)])
async def test_a_stop_ends_every_stream_cleanly_and_keeps_what_was_said(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """Last chunk on every stream, partial texts kept as interrupted, exit in time, everything there after a restart."""
    async with staged(tmp_path) as stage:
        await stage.server.start()
        runs = [await stage.run(f"talk-{n}", ENDLESS) for n in range(RUNS)]
        clients = [Follower(stage.caller(), f"talk-{n % RUNS}", stage.ledger) for n in range(STREAMS)]
        others = [await stage.caller().wire.stream("/api/sessions/stream", headers=stage.caller().headers)]
        body = {"message": script(ENDLESS), "session_id": "posted"}
        others.append(
            await stage.server.wire.stream("/api/chat", method="POST", body=body, headers=stage.caller().headers)
        )
        stage.streams.extend(others)
        async with anyio.create_task_group() as readers:
            for client in clients:
                readers.start_soon(_read_to_end, client)
            for stream in others:
                readers.start_soon(_drain, stream)
            for client in clients:
                await heard(client, 20)

            assert await _stopped(stage.server, number) == code

        assert [client.ended_by for client in clients] == ["clean"] * STREAMS
        assert [stream.ending for stream in others] == ["clean"] * len(others)
        await stage.server.start()
        for client in clients:
            seen = answer_text(client)
            state = (await client.caller.state(client.session_id)).json()
            assert state["run"] is None
            assert await client.catch_up(state["cursor"])
            await stage.same(client)
            text = answer_text(client)
            assert text.startswith(seen)
            assert is_counting(text)
            assert state["messages"][-1]["metadata"]["sessionstream"]["status"] == "interrupted"
            assert stage.ledger.outcome(client.key, runs[int(client.session_id[-1])]) == "cancelled"
        assert stage.tally.counts["snapshots"] == STREAMS, "a cursor did not outlive the stop"


async def test_a_clean_restart_changes_no_cursor(tmp_path: Path) -> None:
    """Nothing is appended by stopping and starting: who comes back gets nothing, then exactly what is next."""
    async with staged(tmp_path, **BRISK) as stage:
        await stage.server.start()
        talk = await stage.watch("talk")
        run_id = await stage.run("talk", emit(5, 0))
        assert await talk.until_ended(run_id)
        before = await stage.same(talk)

        for _ in range(3):
            await stage.server.terminate()
            await stage.server.start()

        after = (await stage.caller().state("talk")).json()
        for part in ("cursor", "messages", "run"):
            assert after[part] == before[part]
        assert without_derived(after["state"]) == without_derived(before["state"])
        stream = await stage.stream("talk", before["cursor"])
        assert await stream.read() == []
        await stage.run("talk", emit(5, 0))
        frames = await stream.read()
        while not frames:
            frames = await stream.read()
        epoch, _, seq = before["cursor"].rpartition("-")
        assert frames[0].cursor == f"{epoch}-{int(seq) + 1}"
        assert stage.tally.counts["snapshots"] == 1


async def test_a_post_while_the_server_drains_is_refused_as_such(tmp_path: Path) -> None:
    """Over a connection still open: 503 `draining`, come back. A client that never reads makes the drain last."""
    async with staged(tmp_path, DRAIN_SECONDS="1.5") as stage:
        await stage.server.start()
        caller, wire = stage.caller(), stage.server.wire
        answer = await caller.chat(script({"giant": {"bytes": 8_000_000}}), session_id="talk", wait=True)
        assert answer.status == 200
        target = "/api/chat/stream?session_id=talk"
        with await anyio.to_thread.run_sync(deaf_socket, wire.host, wire.port, target, caller.headers) as deaf:
            assert await anyio.to_thread.run_sync(deaf.recv, 1), "its stream is not open"
            assert (await wire.call("GET", "/health")).status == 200
            os.kill(stage.server.pid, signal.SIGTERM)
            assert await until(lambda: _drains(stage))

            assert_unavailable(await caller.chat("hello", session_id="talk"), "draining")
            assert_unavailable(await caller.chat("hello", session_id="new"), "draining")
            assert_unavailable(await caller.call("POST", "/api/sessions", {}), "draining")
            assert (await caller.call("GET", "/health")).status == 200
            assert await poll(lambda: _is_gone(stage.server.pid), timeout_s=EXIT_WITHIN_S)
        assert "Traceback" not in stage.server.tail()


async def test_a_stop_does_not_wait_for_an_agent_that_ignores_it(tmp_path: Path) -> None:
    """Shutdown ends the run in the log at once; whatever the agent does with its cancellation, the process goes."""
    async with staged(tmp_path) as stage:
        await stage.server.start()
        talk = await stage.watch("talk")
        run_id = await stage.run("talk", {"ignore_cancel": {"seconds": 60}})
        await heard(talk, 3)

        await _stopped(stage.server, signal.SIGTERM)

        await stage.server.start()
        assert (await stage.same(talk))["run"] is None
        assert stage.ledger.outcome(talk.key, run_id) == "cancelled"
        assert is_counting(answer_text(talk))


async def test_a_stop_does_not_wait_for_a_storage_that_hangs(tmp_path: Path) -> None:
    """What cannot be committed cannot be waited for: the next start ends the run, and nothing shown is lost."""
    async with staged(tmp_path, STORAGE_TIMEOUT_SECONDS="0.5") as stage:
        await stage.server.start()
        talk = await stage.watch("talk")
        run_id = await stage.run("talk", ENDLESS)
        await grown(talk)
        with file_is_locked(stage):
            await _stopped(stage.server, signal.SIGTERM)

        await stage.server.start()
        assert (await stage.same(talk))["run"] is None
        assert stage.ledger.outcome(talk.key, run_id) == "cancelled"
        assert is_counting(answer_text(talk))


async def test_streams_rotate_at_their_age_and_nothing_is_lost_or_seen_twice(tmp_path: Path) -> None:
    """STREAM_MAX_AGE_SECONDS: a clean end, and the client goes on from its cursor, also in the middle of a run."""
    async with staged(tmp_path, STREAM_MAX_AGE_SECONDS="0.2", HEARTBEAT_SECONDS="0.1") as stage:
        await stage.server.start()
        talk = await stage.watch("talk")
        run_id = await stage.run("talk", ENDLESS)
        endings = []
        for _ in range(4):
            client = Follower(stage.caller(), "talk", stage.ledger)
            await _read_to_end(client)
            endings.append(client.ended_by)
        await stage.caller().interrupt("talk", run_id=run_id)
        assert await talk.until_ended(run_id)

        assert endings == ["clean"] * 4
        await stage.same(talk)
        assert is_counting(answer_text(talk))
        assert stage.tally.counts["snapshots"] == 5, "a rotated stream had to start over"


async def _read_to_end(client: Follower) -> None:
    """Read one stream until the server ends it."""
    try:
        await client.connect(client.cursor)
        while await client.pump():
            pass
    except Broken as broken:
        client.ended_by = str(broken)
    finally:
        client.close()


async def _drain(stream: Stream) -> None:
    while await stream.read() is not None:
        pass


async def _drains(stage: Stage) -> bool:
    answer = await stage.server.wire.call("GET", "/health/ready")
    return answer.status == 503 and answer.json()["parts"].get("server") == {"status": "draining"}


async def _stopped(server: Server, number: signal.Signals) -> int:
    """Send a signal, wait until the process is gone, and return its exit code."""
    os.kill(server.pid, number)
    assert await poll(lambda: _is_gone(server.pid), timeout_s=EXIT_WITHIN_S), f"still there\n{server.tail()}"
    code, _ = await server.terminate()
    return code


def _is_gone(pid: int) -> bool:
    """Say whether a child of ours has ended; until it is waited for it is a zombie."""
    return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] == "Z"
