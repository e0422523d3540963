"""A storage that fails under the server: it says so, refuses what it cannot keep, and goes on by itself afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from scripts.blackbox.arena import emit, script
from scripts.blackbox.caller import Caller
from scripts.blackbox.process import Server
from scripts.blackbox.wire import Broken, Stream
from tests.faults.causes import (
    Cause,
    can_mount,
    disk_is_full,
    disk_takes_no_more,
    file_is_garbage,
    file_is_gone,
    file_is_locked,
    folder_is_gone,
    folder_is_occupied,
    folder_is_read_only,
    small_disk,
    spawn_obedient,
)
from tests.faults.stage import (
    BRISK,
    ENDLESS,
    Stage,
    answer_text,
    assert_unavailable,
    grown,
    is_counting,
    staged,
    until,
)

ANSWER_WITHIN_S = 1.5
"""Of requests that come all at once, with half a second of STORAGE_TIMEOUT_SECONDS: none waits for all the others."""
BACK_WITHIN_S = 3.0
"""The contract says about two seconds from the end of the cause; a busy machine gets one more."""

CASES = [
    pytest.param(disk_takes_no_more, "normal", id="full disk"),
    pytest.param(disk_takes_no_more, "full", id="full disk, durability full"),
    pytest.param(file_is_locked, "normal", id="locked"),
    pytest.param(file_is_garbage, "normal", id="corrupt"),
    pytest.param(file_is_gone, "normal", id="file removed"),
    pytest.param(folder_is_gone, "normal", id="folder removed"),
]
if can_mount():
    CASES.append(pytest.param(disk_is_full, "normal", id="full disk, a real one"))


@pytest.mark.parametrize(("cause", "durability"), CASES)
async def test_a_storage_fault_is_said_survived_and_forgotten(tmp_path: Path, cause: Cause, durability: str) -> None:
    """Readiness names it, POSTs are refused and leave nothing, streams stay, the run goes on when the cause goes."""
    async with staged(tmp_path, **BRISK, DURABILITY=durability) as stage:
        with ExitStack() as disks:
            if cause is disk_is_full:
                disks.enter_context(small_disk(stage.server.data))
            await stage.server.start()
            await _check_fault(stage, cause)
            await stage.server.terminate()
            stage.sound()


async def _check_fault(stage: Stage, cause: Cause) -> None:
    await stage.run("idle", emit(3, 0), wait=False)
    idle = await stage.watch("idle")
    talk = await stage.watch("talk")
    run_id = await stage.run("talk", ENDLESS)
    await grown(talk)
    quiet = await stage.stream("idle")
    busy = await stage.stream("talk")

    with cause(stage):
        assert await until(lambda: _is_down(stage)), "readiness never says that the storage is down"
        await _check_refusals(stage)
        async with anyio.create_task_group() as listeners:
            for stream in (quiet, busy):
                listeners.start_soon(_hear_heartbeats, stream)
        status, storage = await stage.readiness()
        assert (status, storage["status"]) == (503, "down")
        assert storage["detail"]
    assert await until(lambda: _is_up(stage), timeout_s=BACK_WITHIN_S), "the storage is not taken back"

    await grown(talk)
    await _check_nothing_half_written(stage)
    stopped = await stage.caller().interrupt("talk", run_id=run_id)
    assert (stopped.status, stopped.json()["outcome"]) == (200, "stopped")
    state = await stage.same(talk)
    assert is_counting(answer_text(talk))
    await stage.same(idle)
    for stream in (quiet, busy):
        assert stream.ending == "open"
        stream.close()
    assert stage.tally.counts["snapshots"] == 2, "a stream did not stay up"

    await stage.server.terminate()
    await stage.server.start()
    assert (await stage.same(talk))["messages"] == state["messages"]


async def _check_refusals(stage: Stage) -> None:
    """Everything that would have to be kept is refused, all at once; what needs nothing of the storage is not."""
    caller = stage.caller()
    assert (await caller.call("GET", "/health")).status == 200
    say = {"message": "lost?", "message_id": "refused"}
    writes: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/api/chat", {**say, "session_id": "idle"}),
        ("POST", "/api/chat", {**say, "session_id": "idle", "wait": True}),
        ("POST", "/api/chat", {**say, "session_id": "never"}),
        ("POST", "/api/sessions", {"session_id": "never"}),
        ("POST", "/api/system", {**say, "session_id": "idle", "message_id": "refused-system"}),
        ("POST", "/api/interrupt", {"session_id": "idle", "message_id": "unsent"}),
        ("PATCH", "/api/sessions/idle", {"title": "never"}),
    ]
    reads = ["state?session_id=idle", "sessions", "sessions/idle", "sessions/idle/messages", "sessions?q=w0", "stats"]

    async def write(method: str, path: str, body: dict[str, Any]) -> None:
        assert_unavailable(await caller.call(method, path, body, timeout_s=ANSWER_WITHIN_S))

    async def read(path: str) -> None:
        answer = await caller.call("GET", f"/api/{path}", timeout_s=ANSWER_WITHIN_S)
        if answer.status != 200:  # some faults let the storage be read, some do not
            assert_unavailable(answer)

    async with anyio.create_task_group() as requests:
        for one in writes:
            requests.start_soon(write, *one)
        for path in reads:
            requests.start_soon(read, path)


async def _hear_heartbeats(stream: Stream) -> None:
    """Read on until nothing but heartbeats comes, several times."""
    heartbeats = 0
    while heartbeats < 3:
        frames = await stream.read(timeout_s=5)
        assert frames is not None, f"the stream ended: {stream.ending}"
        heartbeats = 0 if frames else heartbeats + 1


async def _check_nothing_half_written(stage: Stage) -> None:
    """What was refused is nowhere; sent again under the same id it is new, and is there once."""
    caller = stage.caller()
    assert (await caller.state("never")).status == 404
    state = (await caller.state("idle")).json()
    assert state["session"]["title"] != "never"
    assert [message["role"] for message in state["messages"]] == ["user", "assistant"]
    again = await caller.chat(script(emit(2, 0)), session_id="idle", message_id="refused", wait=True)
    assert again.status == 200, again.body
    history = await caller.messages("idle")
    assert [message["id"] for message in history].count("refused") == 1


async def test_heartbeats_do_not_wait_for_a_storage_that_hangs(tmp_path: Path) -> None:
    """Upkeep and queues ask the storage and may hang with it; what keeps streams alive may not."""
    settings = {"STORAGE_TIMEOUT_SECONDS": "10", "HEARTBEAT_SECONDS": "0.1", "CLEANUP_INTERVAL_SECONDS": "0.05"}
    async with staged(tmp_path, **settings) as stage:
        await stage.server.start()
        await stage.run("talk", emit(3, 0), wait=False)
        stream = await stage.stream("talk")
        with file_is_locked(stage):
            for _ in range(5):
                await _hear_heartbeats(stream)


async def test_a_folder_that_turns_read_only_is_said_and_survived(tmp_path: Path) -> None:
    """Open files stay writable until they must be opened again, so a failing write comes first."""
    async with staged(tmp_path, **BRISK) as stage:
        spawn_obedient(stage.server)
        await stage.server.ready()

        @contextmanager
        def turns_read_only(stage: Stage) -> Iterator[None]:
            with folder_is_read_only(stage), disk_takes_no_more(stage):
                yield

        await _check_fault(stage, turns_read_only)


START_CASES = [
    pytest.param(folder_is_occupied, True, id="a file in its place"),
    pytest.param(folder_is_occupied, False, id="a file in its place, at the first start"),
    pytest.param(folder_is_read_only, True, id="read-only"),
    pytest.param(folder_is_read_only, False, id="read-only parent, at the first start"),
    pytest.param(file_is_garbage, True, id="corrupt"),
    pytest.param(file_is_locked, True, id="locked"),
]


@pytest.mark.parametrize(("cause", "has_data"), START_CASES)
async def test_a_server_that_starts_without_its_storage_waits_for_it(
    tmp_path: Path, cause: Cause, has_data: bool
) -> None:
    """It answers, says why it is not ready, refuses with 503, and is ready as soon as the cause is gone."""
    async with staged(tmp_path, **BRISK) as stage:
        if has_data:
            await stage.server.start()
            await stage.run("talk", emit(3, 0), wait=False)
            before = await stage.same(await stage.watch("talk"))
            await stage.server.terminate()

        stage.server.log.touch()  # ours, in a folder that may be read-only in a moment
        with cause(stage):
            spawn_obedient(stage.server)
            assert await until(lambda: _is_down(stage)), stage.server.tail()
            await _check_all_refused(stage)
        assert await until(lambda: _is_up(stage), timeout_s=BACK_WITHIN_S), "the storage is not taken"

        if has_data:
            assert (await stage.caller().state("talk")).json()["messages"] == before["messages"]
        await stage.run("talk", emit(3, 0), message_id="welcome")
        await stage.same(await stage.watch("talk"))
        await stage.server.terminate()
        stage.sound()


async def _check_all_refused(stage: Stage) -> None:
    caller = stage.caller()
    assert (await caller.call("GET", "/health")).status == 200
    assert (await caller.call("GET", "/")).status == 200
    assert_unavailable(await caller.chat("hello", session_id="talk"))
    assert_unavailable(await caller.state("talk"))
    for path in ("/api/sessions", "/api/sessions/talk", "/api/sessions/talk/messages", "/api/stats"):
        assert_unavailable(await caller.call("GET", path))
    for path in ("/api/chat/stream?session_id=talk", "/api/sessions/stream"):
        stream = await caller.wire.stream(path)
        assert_unavailable(await stream.refusal())


async def test_a_second_server_is_refused_the_folder_and_takes_over(tmp_path: Path) -> None:
    """Two servers on one folder would each believe to decide alone: the second waits until the first is gone."""
    async with staged(tmp_path, **BRISK) as stage:
        await stage.server.start()
        talk = await stage.watch("talk")
        await stage.run("talk", ENDLESS)
        await grown(talk)
        second = _beside(stage.server, tmp_path)
        try:
            second.spawn()
            other = Stage(second, stage.tasks)
            assert await until(lambda: _is_down(other)), second.tail()
            _, storage = await other.readiness()
            assert "another server" in storage["detail"]
            assert_unavailable(await other.caller().chat("hello", session_id="talk"))
            await grown(talk)

            await stage.server.kill()
            assert await until(lambda: _is_up(other), timeout_s=BACK_WITHIN_S), "the second server does not take over"
            state = (await Caller(second.wire, "user").state("talk")).json()
            assert state["run"] is None
            assert state["messages"][-1]["content"].startswith(answer_text(talk))
        finally:
            second.kill_now()
            second.wire.forget()


def _beside(server: Server, folder: Path) -> Server:
    """Return a server of its own port on the data folder of another."""
    second = folder / "second"
    second.mkdir()
    (second / "data").symlink_to(server.data)
    return Server(second, settings=BRISK)


async def _is_down(stage: Stage) -> bool:
    status, storage = await stage.readiness()
    return status == 503 and storage["status"] == "down" and bool(storage["detail"])


async def _is_up(stage: Stage) -> bool:
    with suppress(Broken):
        return (await stage.readiness())[0] == 200
    return False
