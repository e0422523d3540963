"""Moving all sessions between storages: real files, a real redis-server, a real process that is killed.

What arrived is read through the storage port, as a server would read it.
"""

from __future__ import annotations

import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from scripts.blackbox.process import ROOT
from server.core.ports import EndSession, SaveMessages, SaveSession, SessionKey, Tombstone
from server.storage.sqlite import FILE_NAME
from tests.contract.records import log_of, message_of, record_of, ref, write
from tests.storage.places import KEYS, WAIT_S, Place, fill, move, told, verified
from tests.support.redis import RedisCluster, redis_storage
from tests.support.storage import rows_of

NOW: Final = 4_000_000_000.0  # far ahead: nothing runs out during a test


async def test_a_server_on_the_target_reads_what_one_on_the_source_read(pair: tuple[Place, Place]) -> None:
    source, target = pair
    async with source.opened() as storage:
        await fill(storage)
        before = [await told(storage, key) for key in KEYS]
        stats = await storage.stats(None)
        listed = await storage.sessions("ann", limit=10, cursor=None, query=None)

    assert await move(source, target)

    async with target.opened() as storage:
        assert [await told(storage, key) for key in KEYS] == before
        assert await storage.stats(None) == stats
        again = await storage.sessions("ann", limit=10, cursor=None, query=None)
        assert [one.key for one in again.records] == [one.key for one in listed.records]
        found = await storage.sessions("ann", limit=10, cursor=None, query="größe")
        assert [one.session_id for one in found.records] == ["s1"]
        assert sorted(await storage.owners("s1")) == ["ann", "bob"]
        assert [one.session_id for one in await storage.overdue(8.0, 10)] == ["s2"]
        left = [one.record.key for one in await storage.open_runs()]
        assert (await storage.sharing.waiting() if storage.sharing else left) == [SessionKey("ann", "s1")]


async def test_there_and_back_is_what_it_was(files: Callable[[str], Place], shared: Place) -> None:
    first, last = files("first"), files("last")
    async with first.opened() as storage:
        await fill(storage)
        ended = record_of(9, message_count=7, run_count=2)
        await write(storage, SaveSession(ended))
        await write(storage, EndSession(ended, Tombstone("deleted", NOW)))
        stats = {user: await storage.stats(user) for user in (None, "ann", "bob")}

    assert await move(first, shared)
    async with shared.opened() as storage:
        assert await storage.load(ended.key) == Tombstone("deleted", NOW)
        assert {user: await storage.stats(user) for user in stats} == stats
    assert await move(shared, last)

    assert await verified(first, last) == []
    async with last.opened() as storage:
        assert await storage.load(ended.key) == Tombstone("deleted", NOW)
        assert {user: await storage.stats(user) for user in stats} == stats


async def test_what_nodes_on_redis_ended_moves_too(files: Callable[[str], Place], shared: Place) -> None:
    target, ended = files("b"), record_of(9, user_id="a|b é", message_count=7, run_count=2)
    async with shared.opened() as storage:
        await fill(storage)
        await write(storage, SaveSession(ended))
        await write(storage, EndSession(ended, Tombstone("expired", NOW)))
        stats = {user: await storage.stats(user) for user in (None, "ann", ended.user_id)}

    assert await move(shared, target)

    async with target.opened() as storage:
        assert await storage.load(ended.key) == Tombstone("expired", NOW)
        assert {user: await storage.stats(user) for user in stats} == stats


async def test_the_source_is_only_read(files: Callable[[str], Place], shared: Place, tmp_path: Path) -> None:
    source = files("a")
    async with source.opened() as storage:
        await fill(storage)
    before = (tmp_path / "a" / FILE_NAME).read_bytes()

    assert await move(source, shared)

    assert (tmp_path / "a" / FILE_NAME).read_bytes() == before
    assert (
        not (tmp_path / "a" / f"{FILE_NAME}-wal").exists() or not (tmp_path / "a" / f"{FILE_NAME}-wal").stat().st_size
    )


async def test_a_session_of_thousands_of_messages_arrives_whole(files: Callable[[str], Place], shared: Place) -> None:
    first, last = files("first"), files("last")
    record = record_of(1, seq=20_000, message_count=5000)
    async with first.opened() as storage:
        writes = [log_of(at, at + 99, 3.0) for at in range(1, 20_000, 100)]
        said = SaveMessages(record.ref, [message_of(number, f"message {number} é") for number in range(1, 5001)])
        await write(storage, SaveSession(record), said, *writes)

    assert await move(first, shared)
    assert await move(shared, last)

    assert await verified(first, last) == []
    async with shared.opened() as storage:
        assert len(await storage.messages(ref())) == 5000
        rest = await storage.read_log(ref(), 19_990, 1 << 20)
        assert rest is not None
        assert (rest.last, rest.frames.count(b"\n\n")) == (20_000, 10)


async def test_an_empty_deployment_moves_too(pair: tuple[Place, Place]) -> None:
    source, target = pair
    async with source.opened():
        pass

    assert await move(source, target)

    async with target.opened() as storage:
        assert await storage.count(None) == 0


# --- called again


async def test_called_again_it_writes_only_what_changed(
    files: Callable[[str], Place], shared: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    source = files("a")
    async with source.opened() as storage:
        await fill(storage)
    assert await move(source, shared)
    assert "4 sessions written, 0 were there already" in capsys.readouterr().out

    async with source.opened() as storage:
        record = record_of(2, seq=4, message_count=2, run_count=1, last_activity=2500.0)
        await write(storage, SaveSession(record), SaveMessages(record.ref, [message_of(2, "one more")]))
        await write(storage, EndSession(record_of(3, message_count=1, run_count=1), Tombstone("expired", NOW)))
    assert await move(source, shared)

    assert "1 sessions written, 2 were there already" in capsys.readouterr().out
    async with shared.opened() as storage:
        assert [one.message["content"] for one in await storage.messages(ref(2))] == ["text 2", "one more"]
        assert await storage.load(KEYS[2]) == Tombstone("expired", NOW)
        assert await storage.count("ann") == 2


@pytest.mark.parametrize("way", ["to redis", "to sqlite"])
async def test_stopped_at_any_moment_it_goes_on(
    way: str, files: Callable[[str], Place], shared: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed or interrupted, several times: the next call goes on, and nothing is there twice or half."""
    sessions, per_round = 400, 40
    source, target = (files("a"), shared) if way == "to redis" else (shared, files("b"))
    async with source.opened() as storage:
        await fill(storage, sessions)

    arrived = 0
    for number, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130), (signal.SIGTERM, 130)):
        process = _start_killable(source, target)
        try:
            with anyio.fail_after(WAIT_S):
                while await _seen(target) < arrived + per_round:
                    assert process.poll() is None, "it ended before it was killed"
                    await anyio.lowlevel.checkpoint()
            process.send_signal(number)
            assert process.wait(WAIT_S) == code
        finally:
            process.kill()
            process.wait()
        arrived, before = await _count(target), arrived
        assert before < arrived < sessions

    capsys.readouterr()
    assert await move(source, target)

    found = re.match(r"(\d+) sessions written, (\d+) were there already", capsys.readouterr().out)
    assert found is not None
    assert (int(found[1]) + int(found[2]), int(found[2])) == (sessions + 1, arrived)
    assert await verified(source, target) == []


async def test_a_cluster_is_a_place_too(files: Callable[[str], Place], tmp_path: Path) -> None:
    first, last, cluster = files("first"), files("last"), RedisCluster(tmp_path / "cluster")
    try:
        await anyio.to_thread.run_sync(cluster.start)
        shared = Place(cluster.url, "moved", lambda: redis_storage(cluster.url, "moved"))
        async with first.opened() as storage:
            await fill(storage, 20)
            await write(storage, EndSession(record_of(9, message_count=1, run_count=1), Tombstone("deleted", NOW)))
            stats = await storage.stats(None)

        assert await move(first, shared)
        async with shared.opened() as storage:
            assert await storage.stats(None) == stats
        assert await move(shared, last)

        assert await verified(first, last) == []
    finally:
        cluster.stop()


async def test_the_progress_is_for_people_only(files: Callable[[str], Place]) -> None:
    """A terminal sees how far it is; a file gets nothing but faults."""
    source, target = files("a"), files("b")
    async with source.opened() as storage:
        await fill(storage, 50)
    mine, terminal = pty.openpty()
    try:
        command = [sys.executable, "-m", "scripts.migrate", source.url, target.url]
        for stderr in (terminal, subprocess.PIPE):
            done = await anyio.run_process(command, cwd=ROOT, env={}, stderr=stderr)
            assert not done.stderr
        shown = os.read(mine, 1 << 16)
    finally:
        os.close(mine)
        os.close(terminal)
    assert re.search(rb"moving +\d+ %  [\d,]+/s  \d+:\d\d left", shown)
    assert shown.endswith(b"\r\x1b[K")


def _start_killable(source: Place, target: Place) -> subprocess.Popen[bytes]:
    prefix = source.prefix or target.prefix
    return subprocess.Popen(
        [sys.executable, "-m", "scripts.migrate", source.url, target.url],
        cwd=ROOT,
        env={"REDIS_PREFIX": prefix},
        stdout=subprocess.DEVNULL,
    )


async def _seen(place: Place) -> int:
    """Return about how many sessions are there, seen from outside while the move runs."""
    if not place.prefix:
        with suppress(sqlite3.Error):
            return int(rows_of(Path(place.url.removeprefix("sqlite:///")), "SELECT count(*) FROM sessions")[0][0])
        return 0
    async with place.opened() as storage:
        return await storage.count(None)


async def _count(place: Place) -> int:
    """Return how many sessions are there."""
    storage = place.movable()
    await storage.open()
    try:
        return len([key async for key in storage.keys()])  # noqa: SIM118
    finally:
        await storage.close()
