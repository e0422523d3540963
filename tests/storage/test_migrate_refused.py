"""What a move refuses, and what the comparison finds: real files, a real redis-server, a real server.

A refusal is told before anything is written.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from scripts.blackbox.process import ROOT, Server
from server.core.ports import Batch, EndSession, Part, SaveRun, SaveSession, SessionRecord, Tombstone
from server.core.storage import Storage
from server.storage.moving import MoveRefused
from server.storage.redis.keys import ref_of
from server.storage.sqlite import FILE_NAME
from tests.contract.records import frames_of, record_of, run_of, said, write
from tests.storage.places import KEYS, WAIT_S, Place, fill, move, verified
from tests.support.redis import RedisServer

Files = Callable[[str], Place]


def change(folder: Path, query: str, *values: object) -> None:
    with closing(sqlite3.connect(folder / FILE_NAME, isolation_level=None)) as connection:
        connection.execute(query, values)


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scripts.migrate", *arguments]
    return subprocess.run(command, cwd=ROOT, env={}, capture_output=True, text=True, timeout=WAIT_S, check=False)


async def alter(storage: Storage, make: Callable[[SessionRecord], SaveSession | EndSession]) -> None:
    """Commit a change of the second session as it is stored."""
    before = await storage.load(KEYS[1])
    assert isinstance(before, SessionRecord)
    change = make(before)
    part = Part(before=before, record=change.record, version=before.version, writes=[change])
    assert not (await storage.commit(Batch([part]))).refused


# --- who is using it


async def test_a_folder_whose_server_runs_is_refused(tmp_path: Path) -> None:
    server = Server(tmp_path)
    other = f"sqlite:///{tmp_path / 'other'}"
    try:
        await server.start()
        for pair in ((f"sqlite:///{server.data}", other), (other, f"sqlite:///{server.data}")):
            found = await anyio.to_thread.run_sync(run_command, *pair)
            assert (found.returncode, found.stdout) == (2, "")
            assert "a server uses" in found.stderr
        assert not (tmp_path / "other").exists()
    finally:
        server.kill_now()
        server.wire.forget()
        await anyio.lowlevel.checkpoint()  # aborted transports close in the next turn of the loop


async def test_a_redis_whose_node_lives_is_refused_unless_forced(files: Files, shared: Place) -> None:
    target = files("b")
    async with shared.opened() as storage:
        await fill(storage)
        assert storage.sharing is not None
        await storage.sharing.renew_lease(60)
        for pair in ((shared, target), (target, shared)):
            with pytest.raises(MoveRefused, match="1 nodes use this Redis"):
                await move(*pair)
        forced = shared.movable(is_forced=True)
        await forced.open()
        await forced.close()

    assert await move(shared, target)


# --- what is not in order


async def test_a_source_with_an_open_run_is_refused(pair: tuple[Place, Place]) -> None:
    source, target = pair
    async with source.opened() as storage:
        if storage.sharing is not None:
            await storage.sharing.seize(record_of().ref, "r1")  # notes that this node may have it
        run = run_of("r1", status="running", first=1)
        await write(storage, SaveSession(record_of(run_id="r1")), SaveRun(record_of().ref, run))

    with pytest.raises(MoveRefused, match=r"(run was|runs were) open"):
        await move(source, target)


async def test_a_file_with_events_that_are_in_no_session_yet_is_refused(files: Files) -> None:
    source = files("a")
    async with source.opened() as storage:
        await write(storage, SaveSession(record_of()))
        await said(storage, frames_of(1, 2))

    with pytest.raises(MoveRefused, match="start the server on it once"):
        await move(source, files("b"))


async def test_a_file_that_may_lack_its_end_is_refused(files: Files, tmp_path: Path) -> None:
    source = files("a")
    async with source.opened() as storage:
        await fill(storage)
    change(tmp_path / "a", "UPDATE meta SET value = 'unclean' WHERE name = 'stop'")
    change(tmp_path / "a", "UPDATE meta SET value = 'another' WHERE name = 'boot_id'")

    with pytest.raises(MoveRefused, match="the machine went down"):
        await move(source, files("b"))


async def test_a_file_of_another_version_is_refused(files: Files, tmp_path: Path) -> None:
    source = files("a")
    async with source.opened():
        pass
    change(tmp_path / "a", "PRAGMA user_version = 77")

    with pytest.raises(MoveRefused, match="schema 77"):
        await move(source, files("b"))


async def test_a_source_that_is_not_there_is_refused_and_not_made(files: Files, shared: Place, tmp_path: Path) -> None:
    with pytest.raises(MoveRefused, match="no database"):
        await move(files("a"), shared)
    with pytest.raises(MoveRefused, match="nothing under the prefix"):
        await move(shared, files("a"))

    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("url", ["", "data", "sqlite:///", "http://localhost", "redis://:secret@host:none/0"])
def test_a_url_that_names_no_storage_is_refused_without_being_shown(url: str, tmp_path: Path) -> None:
    found = run_command(url, f"sqlite:///{tmp_path / 'b'}")

    assert (found.returncode, "secret" in found.stderr, "Traceback" in found.stderr) == (2, False, False)


async def test_a_redis_that_is_not_there_is_told(tmp_path: Path) -> None:
    found = await anyio.to_thread.run_sync(run_command, "redis://127.0.0.1:1/0", f"sqlite:///{tmp_path / 'b'}")

    assert (found.returncode, "Traceback" in found.stderr) == (1, False)


# --- what the target has


async def test_a_target_with_sessions_of_its_own_is_refused(pair: tuple[Place, Place]) -> None:
    source, target = pair
    async with source.opened() as storage:
        await fill(storage)
    async with target.opened() as storage:
        await write(storage, SaveSession(record_of(77)))

    with pytest.raises(MoveRefused, match="sessions of its own, such as s77"):
        await move(source, target)

    async with target.opened() as storage:
        assert await storage.count(None) == 1


async def test_another_session_of_the_same_name_is_refused(pair: tuple[Place, Place]) -> None:
    source, target = pair
    async with source.opened() as storage:
        await fill(storage)
    async with target.opened() as storage:
        await write(storage, SaveSession(record_of(2, created_at=1.0)))

    with pytest.raises(MoveRefused, match="s2 of the target is another one"):
        await move(source, target)


async def test_a_target_that_went_on_since_is_not_set_back(pair: tuple[Place, Place]) -> None:
    source, target = pair
    async with source.opened() as storage:
        await fill(storage)
    assert await move(source, target)
    async with target.opened() as storage:
        await alter(storage, lambda record: SaveSession(replace(record, last_activity=9000.0)))

    with pytest.raises(MoveRefused, match="s2 went on there"):
        await move(source, target)


async def test_a_session_that_ended_in_the_target_does_not_come_back(files: Files) -> None:
    source, target = files("a"), files("b")
    async with source.opened() as storage:
        await fill(storage)
    assert await move(source, target)
    async with target.opened() as storage:
        await alter(storage, lambda record: EndSession(record, Tombstone("deleted", 5000.0)))

    with pytest.raises(MoveRefused, match="s2 has ended there"):
        await move(source, target)


# --- what the comparison finds


async def test_damage_in_redis_is_found_and_mended(files: Files, shared: Place, redis: RedisServer) -> None:
    source = files("a")
    async with source.opened() as storage:
        await fill(storage)
    assert await move(source, shared)
    place = f"{shared.prefix}:{{{ref_of(KEYS[0]):016x}}}:"
    for damage in (
        ("HDEL", f"{place}bodies", "m2"),
        ("ZADD", f"{place}msgs", "9", "m2"),
        ("ZREM", f"{place}msgs", "m5"),
        ("XDEL", f"{place}log", "10-0"),
        ("HDEL", f"{place}by", "m-r1"),
        ("HSET", f"{place}runs", "r1", "rubbish"),
        ("HSET", f"{place}s", "r", "rubbish"),
        ("HSET", f"{place}s", "q", "19"),
        ("DEL", f"{place}s"),
    ):
        redis.call(*damage)

        assert await verified(source, shared) == ["session s1 of ann"], damage
        assert await move(source, shared), damage

    assert await verified(source, shared) == []


async def test_damage_in_a_file_is_found_and_mended(files: Files, shared: Place, tmp_path: Path) -> None:
    source, target = files("a"), files("b")
    async with source.opened() as storage:
        await fill(storage)
    assert await move(source, target)
    one = "ref = (SELECT ref FROM sessions WHERE user_id = 'ann' AND session_id = 's1')"
    for damage in (
        f"DELETE FROM messages WHERE {one} AND position = 2",
        f"UPDATE messages SET body = x'7b' WHERE {one} AND position = 2",
        f"UPDATE log SET frames = CAST(replace(frames, '<3>', '<4>') AS BLOB) WHERE {one}",
        f"DELETE FROM log WHERE {one} AND first = 1",
        f"UPDATE runs SET code = 'other' WHERE {one} AND run_id = 'r2'",
        f"UPDATE sessions SET config = 'rubbish' WHERE {one}",
        f"UPDATE sessions SET title = 'other' WHERE {one}",
        f"DELETE FROM sessions WHERE {one}",
    ):
        change(tmp_path / "b", damage)

        assert await verified(source, target) == ["session s1 of ann"], damage
        assert await move(source, target), damage

    assert await verified(source, target) == []


async def test_the_command_says_what_differs(files: Files, tmp_path: Path) -> None:
    source, target = files("a"), files("b")
    async with source.opened() as storage:
        await fill(storage)
    assert (await anyio.to_thread.run_sync(run_command, source.url, target.url)).returncode == 0
    change(tmp_path / "b", "UPDATE sessions SET title = 'other' WHERE session_id = 's2'")

    found = await anyio.to_thread.run_sync(run_command, "--verify", source.url, target.url)

    assert found.returncode == 1
    assert "DIFFERENT: session s2 of ann\nNOT EQUAL" in found.stdout
    assert found.stderr == ""


async def test_a_source_session_that_cannot_be_read_is_named_and_the_others_move(files: Files, tmp_path: Path) -> None:
    source, target = files("a"), files("b")
    async with source.opened() as storage:
        await fill(storage)
    change(tmp_path / "a", "UPDATE messages SET body = x'7b' WHERE position = 2")

    found = await anyio.to_thread.run_sync(run_command, source.url, target.url)

    assert found.returncode == 1
    assert "DIFFERENT: session s1 of ann cannot be read in the source" in found.stdout
    async with target.opened() as storage:
        assert await storage.count(None) == 3
