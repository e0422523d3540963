"""What the Redis storage promises when its server is killed, full, cut off, moved, or has lost data; and its keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
import redis
from redis.crc import key_slot

from server.core.ports import Batch, EndSession, SaveRun, SaveSession, StaleError, StorageError, Tombstone
from server.core.storage import Change, Mark
from server.storage.redis import RedisStorage
from tests.contract.records import (
    batch_of,
    found,
    frames_of,
    go_on,
    load,
    log_of,
    logged,
    message_of,
    part_of,
    record_of,
    ref,
    refusal_of,
    run_of,
    saved,
    sharing_of,
    write,
)
from tests.support.redis import PREFIX, RedisCluster, RedisServer, is_installed, opened_redis, redis_storage, tapped

KEY = record_of().key


async def answered(storage: RedisStorage, batch: Batch) -> StorageError:
    """Return why a batch is not taken, whatever became of the connection that it was sent on first."""
    refusal = await refusal_of(storage, batch)
    return await refusal_of(storage, batch) if refusal.is_uncertain else refusal


# --- answers that are lost


async def test_a_commit_whose_answer_was_lost_is_taken_once(redis_server: RedisServer) -> None:
    async with tapped(redis_server) as tap, opened_redis(tap.url) as storage, opened_redis(redis_server.url) as other:
        await write(storage, SaveSession(record_of()))
        batch = await go_on(storage, 1, 3)
        tap.swallows = 1

        refusal = await refusal_of(storage, batch)
        assert refusal.is_uncertain
        await other.commit(await go_on(other, 4, 4))

        assert (await storage.commit(batch)).refused == {}
        assert await logged(storage) == b"".join(frames_of(1, 4))
        assert (await found(storage)).version == 3


async def test_a_part_that_is_committed_again_after_an_answer_is_late(own_redis: RedisStorage) -> None:
    await write(own_redis, SaveSession(record_of()))
    batch = await go_on(own_redis, 1, 3)
    assert (await own_redis.commit(batch)).refused == {}

    assert isinstance(await refusal_of(own_redis, batch), StaleError)
    assert await logged(own_redis) == b"".join(frames_of(1, 3))


@pytest.mark.parametrize("loses", ["creation", "end"])
async def test_a_session_is_created_and_ended_once(redis_server: RedisServer, loses: str) -> None:
    async with tapped(redis_server) as tap, opened_redis(tap.url) as storage:
        created = await batch_of(storage, SaveSession(record_of(message_count=2)))
        tap.swallows = int(loses == "creation")
        if tap.swallows:
            assert (await refusal_of(storage, created)).is_uncertain
        assert (await storage.commit(created)).refused == {}
        ended = await batch_of(storage, EndSession(record_of(message_count=2), Tombstone("deleted", 5.0)))
        tap.swallows = int(loses == "end")
        if tap.swallows:
            assert (await refusal_of(storage, ended)).is_uncertain
        assert (await storage.commit(ended)).refused == {}

        assert await load(storage, KEY) == Tombstone("deleted", 5.0)
        stats = await storage.stats("ann")
        assert (stats["sessions"]["ended"], stats["messages"]) == (1, 2)


async def test_nothing_is_in_doubt_while_nothing_can_be_sent(redis_server: RedisServer) -> None:
    """Unless it was in doubt before: then it must be tried again as it is."""
    async with tapped(redis_server) as tap, opened_redis(tap.url) as storage:
        await write(storage, SaveSession(record_of()))
        batch = await go_on(storage, 1, 1)
        tap.swallows = 1
        assert (await refusal_of(storage, batch)).is_uncertain
        redis_server.kill()

        for _ in range(2):
            assert (await refusal_of(storage, batch)).is_uncertain
        other = await refusal_of(storage, Batch([replace(batch.parts[0])]))
        assert not other.is_uncertain

        redis_server.start()
        assert (await storage.commit(batch)).refused == {}
        assert await logged(storage) == frames_of(1, 1)[0]


async def test_a_server_that_does_not_answer_is_not_waited_for(redis_server: RedisServer) -> None:
    async with opened_redis(redis_server.url, timeout_s=0.3) as storage:
        await write(storage, SaveSession(record_of()))
        batch = await go_on(storage, 1, 1)
        redis_server.pause()
        with anyio.fail_after(5):
            assert (await refusal_of(storage, batch)).is_uncertain
            with pytest.raises(StorageError):
                await storage.load(KEY)
            with pytest.raises(StorageError):
                await storage.probe()
        redis_server.go_on()

        assert (await storage.commit(batch)).refused == {}
        assert await logged(storage) == frames_of(1, 1)[0]


async def test_a_listener_notices_a_dead_link(redis_server: RedisServer) -> None:
    async with tapped(redis_server) as tap, opened_redis(tap.url) as storage:
        wakes = sharing_of(storage).wakes()
        assert await anext(wakes) == []
        tap.is_silent = True

        with anyio.fail_after(15), pytest.raises(StorageError):
            await anext(wakes)


async def test_a_listener_that_hears_nothing_stays(redis_server: RedisServer) -> None:
    async with opened_redis(redis_server.url) as storage, opened_redis(redis_server.url) as other:
        wakes = sharing_of(storage).wakes()
        await anext(wakes)
        with anyio.move_on_after(0.1):
            await anyio.lowlevel.checkpoint()
        await write(other, SaveSession(record_of()))

        with anyio.fail_after(5):
            assert [wake.key for wake in await anext(wakes)] == [KEY]
        await wakes.aclose()  # type: ignore[attr-defined]  # it is a generator


# --- restarts


async def test_a_killed_server_with_a_file_has_lost_nothing(redis_server: RedisServer, own_redis: RedisStorage) -> None:
    await write(own_redis, SaveSession(record_of()), saved(1, message_of(1, "kept")), log_of(1, 3))

    redis_server.restart()

    assert await found(own_redis) == record_of(seq=3, version=1)
    assert (await own_redis.commit(await go_on(own_redis, 4, 4))).refused == {}
    assert await logged(own_redis) == b"".join(frames_of(1, 4))


async def test_a_server_that_lost_newer_data_gives_its_sessions_new_epochs(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis", config={"appendonly": "no"})
    server.start()
    try:
        async with opened_redis(server.url) as storage, opened_redis(server.url) as other:
            running = run_of(status="running", first=3)
            await write(storage, SaveSession(record_of()), log_of(1, 2))
            await write(storage, SaveSession(record_of(run_id="r1")), SaveRun(ref(), running), frames=frames_of(3, 4))
            server.call("SAVE")
            await storage.commit(await go_on(storage, 5, 6))
            late, mark = await go_on(storage, 7, 7), Mark(KEY, ref(), "epoch1", 3, 6, "r1")
            server.restart()

            assert isinstance(await answered(storage, late), StaleError)
            [change] = await sharing_of(storage).changes([mark])

            assert isinstance(change, Change)
            record = change.record
            assert record.epoch != "epoch1"
            assert (record.version, record.seq, record.run_id, change.frames) == (3, 4, "r1", None)
            [whole] = await sharing_of(other).changes([mark._replace(epoch=record.epoch, version=-1, seq=None)])
            assert isinstance(whole, Change)
            assert whole.frames == b"".join(frames_of(3, 4, record.epoch))
            assert await other.read_log(ref(), 1, 1000) is None
            assert (await found(other)).epoch == record.epoch
            part = await part_of(other, KEY)
            part.frames = frames_of(5, 5, record.epoch)
            assert (await other.commit(Batch([part]))).refused == {}
    finally:
        server.stop()


async def test_a_server_that_lost_everything_starts_over(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis", config={"appendonly": "no"})
    server.start()
    try:
        async with opened_redis(server.url) as storage, opened_redis(server.url) as other:
            await write(storage, SaveSession(record_of()))
            late = await go_on(storage, 1, 1)
            server.restart()

            assert isinstance(await answered(storage, late), StaleError)
            assert await storage.load(KEY) is None
            await write(other, SaveSession(record_of()))
            assert (await storage.commit(await go_on(storage, 1, 1))).refused == {}
            assert (await found(other)).epoch == "epoch1"
    finally:
        server.stop()


async def test_a_replica_is_refused(redis_server: RedisServer, tmp_path: Path) -> None:
    replica = RedisServer(tmp_path / "replica", config={"replicaof": f"127.0.0.1 {redis_server.port}"})
    replica.start()
    try:
        storage = redis_storage(replica.url, PREFIX)
        with pytest.raises(StorageError, match="replica"):
            await storage.open()
        await storage.close()
    finally:
        replica.stop()


async def test_what_was_a_replica_may_lack_something(redis_server: RedisServer, tmp_path: Path) -> None:
    replica = RedisServer(tmp_path / "replica", config={"replicaof": f"127.0.0.1 {redis_server.port}"})
    replica.start()
    try:
        async with opened_redis(redis_server.url) as storage:
            await write(storage, SaveSession(record_of()))
            with redis.Redis(port=redis_server.port, protocol=2) as client:
                client.set("last", "1")  # WAIT waits for what this connection wrote, and all before it
                assert client.wait(1, 30_000) == 1
        replica.call("REPLICAOF", "NO", "ONE")

        async with opened_redis(replica.url) as storage:
            assert (await found(storage)).epoch != "epoch1"
    finally:
        replica.stop()


async def test_scripts_that_were_flushed_are_sent_again(own_redis: RedisStorage, client: redis.Redis) -> None:
    await write(own_redis, SaveSession(record_of()))
    client.script_flush()

    assert (await own_redis.commit(await go_on(own_redis, 1, 1))).refused == {}
    assert await logged(own_redis) == frames_of(1, 1)[0]


# --- a full server


async def test_a_full_server_takes_only_what_ends_something(own_redis: RedisStorage, client: redis.Redis) -> None:
    await write(own_redis, SaveSession(record_of(1)), SaveSession(record_of(2)))
    await write(
        own_redis,
        SaveSession(record_of(run_id="r1")),
        SaveRun(ref(), run_of(status="running", first=1)),
        frames=frames_of(1, 2),
    )
    client.config_set("maxmemory", 1)

    assert (await refusal_of(own_redis, await batch_of(own_redis, SaveSession(record_of(3))))).is_full
    assert (await refusal_of(own_redis, await go_on(own_redis, 3, 3))).is_full
    with pytest.raises(StorageError) as probe:
        await own_redis.probe()
    assert probe.value.is_full
    writes = SaveRun(ref(), run_of(status="failed", first=1, last=3)), saved(1, message_of(1)), log_of(1, 3, 50.0)
    ending = await batch_of(own_redis, *writes, SaveSession(record_of(run_count=1)), frames=frames_of(3, 3))
    ending.parts[0].is_ending = True
    assert (await own_redis.commit(ending)).refused == {}
    await write(own_redis, EndSession(record_of(2), Tombstone("deleted", 1.0)))

    assert await logged(own_redis) == b"".join(frames_of(1, 3))
    assert [row.last for [row, *_] in await own_redis.collapsible(60.0, 1000)] == [2]
    assert await load(own_redis, record_of(2).key) == Tombstone("deleted", 1.0)
    client.config_set("maxmemory", 0)
    await write(own_redis, SaveSession(record_of(3)))


# --- a cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RedisCluster]:
    """Run a cluster that one test may rearrange."""
    if not is_installed():
        pytest.skip("no redis-server on this machine")
    cluster = RedisCluster(tmp_path / "cluster")
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


async def test_a_session_that_moves_to_another_server_is_followed(cluster: RedisCluster) -> None:
    async with opened_redis(cluster.url) as storage:
        await write(storage, SaveSession(record_of()), log_of(1, 2))
        with moving(cluster, key_slot(f"{ref():016x}".encode())) as finish:
            assert await found(storage) == record_of(seq=2, version=1)
            assert (await storage.commit(await go_on(storage, 3, 3))).refused == {}
            # Of all its keys some are not there yet: only the owner of the slot can say that they never were.
            batch = await batch_of(storage, saved(1, message_of(1)))
            assert (await refusal_of(storage, batch)).is_uncertain
            finish()

        assert (await storage.commit(batch)).refused == {}
        assert (await logged(storage), len(await storage.messages(ref()))) == (b"".join(frames_of(1, 3)), 1)
        assert [record.session_id for record in await storage.idle_since(9999.0, 10)] == ["s1"]


@contextmanager
def moving(cluster: RedisCluster, slot: int) -> Iterator[Callable[[], None]]:
    """Move a slot's keys to another server; the slot itself follows when that is called."""
    clients: list[Any] = [redis.Redis(port=server.port, protocol=2) for server in cluster.servers]
    ids = [client.execute_command("CLUSTER MYID").decode() for client in clients]
    [source] = [at for at, client in enumerate(clients) if client.execute_command("CLUSTER COUNTKEYSINSLOT", slot)]
    target = (source + 1) % len(clients)
    clients[target].execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[source])
    clients[source].execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[target])
    keys = clients[source].execute_command("CLUSTER GETKEYSINSLOT", slot, 100)
    clients[source].execute_command("MIGRATE", "127.0.0.1", cluster.servers[target].port, "", 0, 5000, "KEYS", *keys)

    def finish() -> None:
        for client in (clients[target], clients[source], *clients):
            client.execute_command("CLUSTER SETSLOT", slot, "NODE", ids[target])

    try:
        yield finish
    finally:
        for client in clients:
            client.close()
