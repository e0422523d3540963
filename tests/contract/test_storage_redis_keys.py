"""What the Redis storage promises of its keys: whose they are, where they are, and how long."""

from __future__ import annotations

import time

import pytest
import redis
from redis.crc import key_slot

from server.core.ports import ClearMessages, EndSession, LogSlice, ReplaceLog, SaveRun, SaveSession, Tombstone
from server.storage.redis import RedisStorage
from tests.contract.records import (
    frames_of,
    go_on,
    log_of,
    message_of,
    record_of,
    ref,
    run_of,
    saved,
    sharing_of,
    write,
)
from tests.support.redis import PREFIX, RedisServer, opened_redis, redis_storage

KEY = record_of().key


def keys_of(client: redis.Redis, pattern: str) -> list[str]:
    return [key.decode() if isinstance(key, bytes) else key for key in client.keys(pattern)]


# --- keys


async def test_all_keys_have_the_prefix_and_a_sessions_keys_one_slot(
    own_redis: RedisStorage, client: redis.Redis
) -> None:
    await sharing_of(own_redis).renew_lease(60)
    await write(own_redis, SaveSession(record_of(queue=({"message_id": "q"},))), saved(1, message_of(1)), log_of(1, 3))
    await write(own_redis, SaveSession(record_of(run_id="r1")), SaveRun(ref(), run_of()), log_of(4, 6))
    await write(own_redis, ReplaceLog(log_of(1, 3), 1000))
    await own_redis.probe()
    await write(own_redis, SaveSession(record_of(2)))
    await write(own_redis, EndSession(record_of(2), Tombstone("expired", 1.0)))

    keys = keys_of(client, "*")
    slots: dict[str, set[int]] = {}
    for key in keys:
        slots.setdefault(key.split(":")[1], set()).add(key_slot(key.encode()))

    assert all(key.startswith(f"{PREFIX}:") for key in keys)
    assert len({key for key in keys if key.startswith(f"{PREFIX}:{{{ref():016x}}}:")}) == 8
    assert all(len(found) == 1 for tag, found in slots.items() if tag.startswith("{"))


async def test_prefixes_do_not_see_each_other(redis_server: RedisServer) -> None:
    async with opened_redis(redis_server.url, "a") as one, opened_redis(redis_server.url, "b") as two:
        wakes = sharing_of(two).wakes()
        await anext(wakes)
        await write(one, SaveSession(record_of()))
        await sharing_of(one).renew_lease(60)
        await write(two, SaveSession(record_of(2)))

        assert await two.load(KEY) is None
        assert (await two.count(None), await two.owners("s1")) == (1, [])
        assert (await two.stats(None))["sessions"]["total"] == 1
        assert await sharing_of(two).lapsed() == {}
        await wakes.aclose()  # type: ignore[attr-defined]  # it is a generator


@pytest.mark.parametrize("prefix", ["", "a:b", "{a}", "a b", "ä"])
def test_a_prefix_that_could_be_taken_for_something_else_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        redis_storage("redis://localhost", prefix)


async def test_every_key_of_a_session_runs_out_some_time(own_redis: RedisStorage, client: redis.Redis) -> None:
    """A day after the session would have expired, for deployments that no node is left of."""
    await write(own_redis, SaveSession(record_of()))
    await own_redis.commit(await go_on(own_redis, 1, 3))
    await write(own_redis, SaveRun(ref(), run_of()), saved(1, message_of(1)), log_of(1, 3), SaveSession(record_of()))
    await own_redis.commit(await go_on(own_redis, 4, 4))
    await write(own_redis, ReplaceLog(log_of(1, 3), 1000), SaveSession(record_of(2)))
    await write(own_redis, EndSession(record_of(2), Tombstone("deleted", 1.0)))

    ttls = {key.split(":")[-1]: client.ttl(key) for key in keys_of(client, f"{PREFIX}:{{{ref():016x}}}:*")}
    [grave] = client.keys(f"{PREFIX}:{{{ref(2):016x}}}:*")

    assert set(ttls) == {"s", "log", "old", "msgs", "bodies", "runs", "by"}
    assert all(86_400 < ttl <= 3600 + 86_400 for ttl in ttls.values()), ttls
    assert 0 < client.ttl(grave) <= 600


@pytest.mark.parametrize("days", [3, None])
async def test_keys_stay_as_long_as_a_question_may_wait(
    own_redis: RedisStorage, client: redis.Redis, days: int | None
) -> None:
    """Also when a node says that the session is in use, which is for less."""
    expires_at = None if days is None else time.time() + days * 86_400
    await write(own_redis, SaveSession(record_of(pending={"expires_at": expires_at})), saved(1, message_of(1)))
    await sharing_of(own_redis).keep([KEY])

    ttls = [client.ttl(key) for key in keys_of(client, f"{PREFIX}:{{*")]
    assert all(ttl == -1 if days is None else 4 * 86_400 - 60 < ttl <= 4 * 86_400 for ttl in ttls), ttls

    await write(own_redis, SaveSession(record_of()))
    assert client.ttl(f"{PREFIX}:{{{ref():016x}}}:s") <= 3600 + 86_400


async def test_sessions_that_never_expire_are_kept_for_good(redis_server: RedisServer, client: redis.Redis) -> None:
    async with opened_redis(redis_server.url) as storage:
        await write(storage, SaveSession(record_of()), saved(1, message_of(1)))
    async with opened_redis(redis_server.url, session_timeout_s=0) as storage:
        await write(storage, SaveSession(record_of(title="t")))

    assert {client.ttl(key) for key in client.keys(f"{PREFIX}:{{*")} == {-1}


async def test_a_session_whose_keys_ran_out_leaves_the_lists(own_redis: RedisStorage, client: redis.Redis) -> None:
    await write(own_redis, SaveSession(record_of(1)), SaveSession(record_of(2)))
    client.delete(*client.keys(f"{PREFIX}:{{{ref():016x}}}:*"))

    assert [record.session_id for record in await own_redis.idle_since(9999.0, 10)] == ["s2"]

    assert (await own_redis.count(None), await own_redis.count("ann"), await own_redis.owners("s1")) == (1, 1, [])


async def test_clearing_leaves_nothing_of_what_was_said(own_redis: RedisStorage, client: redis.Redis) -> None:
    await write(own_redis, SaveSession(record_of()), saved(1, message_of(1, "secret")), log_of(1, 3))
    await write(own_redis, ReplaceLog(log_of(1, 3), 1000), log_of(4, 6))

    await write(own_redis, ClearMessages(ref(), 8), frames=frames_of(7, 9))

    assert await own_redis.read_log(ref(), 8, 1000) == LogSlice(frames_of(9, 9)[0], 9)
    assert {key.split(":")[-1] for key in keys_of(client, f"{PREFIX}:{{*")} == {"s", "log", "old"}
    assert client.xlen(f"{PREFIX}:{{{ref():016x}}}:log") == 1


async def test_marks_of_many_nodes_do_not_pile_up(redis_server: RedisServer, client: redis.Redis) -> None:
    async with opened_redis(redis_server.url) as storage:
        await write(storage, SaveSession(record_of()))
    for _ in range(130):
        async with opened_redis(redis_server.url) as storage:
            await write(storage, SaveSession(record_of()))

    assert client.hlen(f"{PREFIX}:{{{ref():016x}}}:s") < 125
