"""Several nodes, at the worst moment: each interleaving that once lost, repeated or stopped something."""

from __future__ import annotations

import contextlib
import gc
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from scripts.blackbox.redis_server import RedisServer
from server.core.outbox import Entry
from server.core.ports import Batch, Committed, StorageError
from server.core.sessionlog import SessionLog
from server.errors import SessionstreamError, Unavailable
from server.storage.redis.sharing import RedisSharing
from server.storage.redis.wire import Command
from tests.support.agents import Puppet
from tests.support.client import Client
from tests.support.node import Node, eventually
from tests.support.nodes import open_shared_node, two_nodes


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = RedisServer(Path(tmp_path_factory.mktemp("redis")))
    server.start()
    yield server.url
    server.stop()


def log_of(node: Node) -> SessionLog:
    log = node.hub.sessions[node.key()].log
    assert log is not None
    return log


def sharing_of(node: Node) -> Any:
    return node.hub.storage.sharing


def leases_of(node: Node) -> Any:
    return node.hub.others._leases  # type: ignore[attr-defined]


async def until_text(client: Client, text: str) -> None:
    await client.until(lambda seen: seen.said == text)


async def until_idle(client: Client) -> None:
    await client.until(lambda seen: seen.fold.run_id is None)


def check(*clients: Client) -> None:
    for client in clients:
        assert not client.faults


async def test_stop_is_not_lost_when_somebody_commits_between_seizing_and_ending(url: str) -> None:
    puppet = Puppet()
    async with two_nodes(url, first=puppet) as (a, b), a.client() as client:
        accepted = await a.ask("hello")
        puppet.say("half")
        await until_text(client, "half")
        commit = b.hub.storage.commit

        async def late(batch: Batch) -> Committed:
            if any(part.is_ending for part in batch.parts):
                b.hub.storage.commit = commit  # type: ignore[method-assign]
                async with a.held() as session:
                    await session.change({"title": "meanwhile"})
            return await commit(batch)

        b.hub.storage.commit = late  # type: ignore[method-assign]
        with b.impatient(1.0):
            receipt = await b.interrupt()
        assert receipt.outcome == "stopped"
        await client.until_over(accepted.run_id)
        check(client)


async def test_a_run_that_was_seized_by_who_did_not_hear_of_it_is_ended_nevertheless(url: str) -> None:
    puppet = Puppet()
    async with two_nodes(url, first=puppet, lease_seconds=1.0) as (a, b), a.client() as client:
        await a.ask("hello")
        puppet.say("half")
        await until_text(client, "half")
        seize = sharing_of(b).seize

        async def unanswered(ref: int, run_id: str) -> bool:
            await seize(ref, run_id)
            raise StorageError("the answer was lost")

        sharing_of(b).seize = unanswered
        with pytest.raises(Unavailable):
            await b.interrupt()
        sharing_of(b).seize = seize
        await eventually(lambda: not a.hub.user_runs)  # its agent was told to go
        await until_idle(client)  # somebody must end it: no node drives it
        check(client)


async def test_a_node_that_loses_its_lease_does_not_end_the_runs_of_others(url: str) -> None:
    puppet = Puppet()
    async with two_nodes(url, first=puppet, lease_seconds=0.5) as (a, b), b.client() as client:
        await a.ask("hello")
        puppet.say("half")
        await until_text(client, "half")
        renew = sharing_of(b).renew_lease
        refused = 0

        async def cut_off(ttl_s: float) -> None:
            nonlocal refused
            refused += 1
            raise StorageError("not reached")

        sharing_of(b).renew_lease = cut_off
        await eventually(lambda: leases_of(b)._is_lapsed())
        seen = refused
        await eventually(lambda: refused >= seen + 3)
        sharing_of(b).renew_lease = renew
        puppet.say(" and whole")
        await until_text(client, "half and whole")
        puppet.finish()
        await client.until(lambda seen: "success" in seen.ended().values())
        check(client)


async def test_who_comes_back_after_a_clear_elsewhere_is_where_the_log_is(url: str) -> None:
    async with two_nodes(url) as (a, b):
        await b.tell("one")
        await a.tell("two")
        async with a.held() as session:
            await session.clear()
        async with b.held():
            assert log_of(b).cursor == log_of(a).cursor
        await b.tell("three")
        assert [one["content"] for one in (await a.snapshot()).messages] == ["three"]


async def test_a_stream_elsewhere_sees_a_run_that_is_cleared_away(url: str) -> None:
    puppet = Puppet()
    async with two_nodes(url, first=puppet) as (a, b):
        for _ in range(20):
            async with b.client() as client:
                await a.ask("hello")
                puppet.say("text")
                await until_text(client, "text")
                async with a.held() as session:
                    await session.clear()
                with anyio.fail_after(4):
                    while client.fold.messages:
                        chunk = await client.reader.take()
                        if chunk is None:
                            break
                        client.read(chunk)
                        if not chunk:
                            await client.reader.wait()
                assert log_of(b).cursor == log_of(a).cursor
                check(client)
            await eventually(lambda: puppet.is_idle and not a.hub.user_runs)


async def test_a_run_taken_back_closes_only_what_was_opened(url: str) -> None:
    puppet = Puppet()
    async with two_nodes(url, first=puppet) as (a, b), a.client() as client, b.client() as other:
        accepted = await a.ask("hello")
        ref = log_of(a).record.ref
        await a.calm()
        commit = a.hub.storage.commit

        async def late(batch: Batch) -> Committed:
            a.hub.storage.commit = commit  # type: ignore[method-assign]
            await sharing_of(b).seize(ref, accepted.run_id)  # and dies before it ends it
            return await commit(batch)

        a.hub.storage.commit = late  # type: ignore[method-assign]
        puppet.say("never stored")
        await eventually(lambda: not a.hub.user_runs)
        await a.interrupt()
        await client.until_over(accepted.run_id)
        await other.until_over(accepted.run_id)
        check(client, other)


async def test_a_message_stopped_beforehand_is_taken_once(url: str) -> None:
    async with two_nodes(url) as (a, b), a.client() as client:
        await a.interrupt(message_id="m1")
        first = await b.ask("hello", message_id="m1")
        again = await a.ask("hello", message_id="m1")
        assert (again.run_id, again.status) == (first.run_id, "interrupted")
        snapshot = await a.snapshot()
        assert snapshot.session["message_count"] == len(snapshot.messages) == 1
        await client.catch_up()
        started = [event for event in client.events if event["type"] == "TEXT_MESSAGE_START"]
        assert len(started) == 1
        check(client)


async def test_a_queue_that_waits_for_a_place_is_worked_on_by_the_session_that_is_known(url: str) -> None:
    puppet, other, last = Puppet(), Puppet(), Puppet()
    async with two_nodes(url, first=puppet, second=last, lease_seconds=0.5, max_runs_per_user=1) as (a, b):
        b.hub.is_draining = True  # it leaves the queue alone
        await a.ask("long", session="x")  # a is at its limit
        prefix = b.hub.storage._core.keys.prefix  # type: ignore[attr-defined]
        async with open_shared_node(url, prefix, agent=other, max_runs_per_user=1) as c:
            await c.ask("first")
            await c.ask("second", on_busy="queue")
            await c.hub.drain()
        key = a.key()
        await eventually(lambda: key in a.hub._waiting)
        # Everybody who has it lets it go: then memory may forget it.
        await eventually(lambda: a.hub.evict_idle(0) and key not in a.hub.sessions)
        puppet.finish()
        await eventually(lambda: len(puppet.turns) == 2)
        async with b.held() as session:
            await session.change({"title": "meanwhile"})
        puppet.say("an answer")
        await eventually(lambda: puppet.is_idle)
        await a.calm()
        async with a.held() as session:
            await eventually(lambda: session.run is None or a.hub.user_runs)
            assert session.run is not None
            assert not session.run.is_foreign  # it is driven here, so this is its session


async def test_a_lost_creation_leaves_nothing_behind(url: str) -> None:
    async with two_nodes(url) as (a, b):

        async def make(node: Node, name: str) -> None:
            async with node.held(name):
                pass

        for number in range(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(make, a, f"s{number}")
                tasks.start_soon(make, b, f"s{number}")
        gc.collect()
        torn = [*a.hub.others._torn, *b.hub.others._torn]  # type: ignore[attr-defined]
        assert not torn


async def test_what_was_cleared_elsewhere_is_not_told_again(url: str) -> None:
    async with two_nodes(url) as (a, b), b.client() as client:
        start = client.cursor
        await a.tell("secret")
        await until_text(client, "secret")
        async with a.held() as session:
            await session.clear()
        await client.until(lambda seen: not seen.fold.messages)
        for node in (a, b):
            async with node.client(start) as late:
                await late.catch_up()
                assert not any("secret" in str(event) for event in late.events), node is a


async def test_a_holder_that_changes_nothing_does_not_make_others_fail(url: str) -> None:
    async with two_nodes(url) as (a, b):
        await a.tell("one")
        await b.tell("two")
        for _ in range(5):
            await sharing_of(b).hold(log_of(b).record.ref, 0.1)  # as take_turn does; then it finds that it is busy
            await a.tell("three")


async def test_runs_end_after_redis_lost_data(url: str) -> None:
    puppet = Puppet()
    async with two_nodes(url, first=puppet, lease_seconds=1.0) as (a, b), b.client():
        await a.ask("hello")
        puppet.say("half")
        await eventually(lambda: puppet.is_idle)
        await a.calm()
        core: Any = b.hub.storage._core  # type: ignore[attr-defined]
        await core.wire.run([_command(core)])  # what any node does that meets a server which has less
        await core.continuity.check()
        puppet.say("more")
        await eventually(lambda: puppet.is_idle)
        with anyio.fail_after(8):
            while True:
                async with a.held() as session:
                    if session.run is None or not a.hub.user_runs:
                        break
                await anyio.lowlevel.checkpoint()
        async with a.held() as session:
            await eventually(lambda: session.run is None or a.hub.user_runs)  # driven or over, never neither


async def test_a_run_that_was_started_elsewhere_while_another_is_stopped_is_no_place_for_a_third(url: str) -> None:
    puppet, second = Puppet(), Puppet()
    async with two_nodes(url, first=puppet, second=second) as (a, b), a.client() as client:
        accepted = await a.ask("first")
        await a.ask("queued", on_busy="queue")
        seize = sharing_of(b).seize

        async def late(ref: int, run_id: str) -> bool:
            sharing_of(b).seize = seize
            puppet.finish()
            await client.until_over(accepted.run_id)
            await client.until(lambda seen: seen.said == "queued")
            return bool(await seize(ref, run_id))

        sharing_of(b).seize = late
        await b.ask("third", on_busy="interrupt")
        second.finish()
        await client.until(lambda seen: seen.said == "third")
        await until_idle(client)
        check(client)


async def test_a_message_that_was_started_elsewhere_while_it_is_looked_up_is_taken_once(url: str) -> None:
    puppet = Puppet()
    async with two_nodes(url, first=puppet) as (a, b), b.client() as client:
        await b.tell("before")
        look_up = b.hub.storage.run_by_message

        async def late(ref: int, message_id: str) -> Any:
            b.hub.storage.run_by_message = look_up  # type: ignore[method-assign]
            found = await look_up(ref, message_id)
            await a.ask("hello", message_id="m1")
            await client.until(lambda seen: seen.said == "hello")
            return found

        b.hub.storage.run_by_message = late  # type: ignore[method-assign]
        await b.ask("hello", message_id="m1", on_busy="queue")
        assert not (await b.snapshot()).state["queue"]
        puppet.finish()
        await until_idle(client)
        assert [one["id"] for one in (await b.snapshot()).messages].count("m1") == 1


async def test_a_full_redis_still_takes_a_stop_from_another_node_and_leases(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    server.start()
    try:
        puppet = Puppet()
        async with two_nodes(server.url, first=puppet) as (a, b), a.client() as client:
            accepted = await a.ask("hello")
            puppet.say("half")
            await until_text(client, "half")
            wire = b.hub.storage._core.wire  # type: ignore[attr-defined]
            await wire.run([Command("x", ("CONFIG", "SET", "maxmemory", "1"))])
            await leases_of(a).renew()
            assert (await b.interrupt()).outcome == "stopped"
            await client.until_over(accepted.run_id)
            check(client)
            async with b.held() as session:
                assert await b.hub.end(session, "deleted")
    finally:
        server.stop()


def _command(core: Any) -> Any:
    key = core.keys.generation
    return Command(key, ("HINCRBY", key, "n", 1))


async def test_an_older_redis_in_which_the_run_still_waited_takes_no_node_down(url: str) -> None:
    puppet = Puppet()
    async with two_nodes(url, first=puppet) as (a, b), b.client() as client:
        await a.ask("first")
        await a.ask("second", on_busy="queue", message_id="m2")
        await a.calm()
        core: Any = b.hub.storage._core  # type: ignore[attr-defined]
        ref = log_of(a).record.ref
        keys = core.keys.of(ref)
        dumps = await core.ask([Command(key, ("DUMP", key)) for key in keys])
        puppet.finish()
        await client.until(lambda seen: any(m["content"] == "second" for m in seen.fold.messages))
        await a.calm()
        # Redis comes back as it was a moment ago: what follows is what a restart from a dump is to the nodes.
        restore = [
            Command(key, ("RESTORE", key, 0, dump, "REPLACE")) if dump else Command(key, ("DEL", key))
            for key, dump in zip(keys, dumps, strict=True)
        ]
        await core.tell([*restore, _command(core)])
        await core.continuity.check()
        await a.hub.storage._core.continuity.check()  # type: ignore[attr-defined]
        with contextlib.suppress(SessionstreamError):
            await b.snapshot()
        assert a.hub._tasks is not None
        assert b.hub._tasks is not None
        await b.snapshot()
        await a.snapshot()


async def test_one_unreadable_session_stops_nobody_else(url: str) -> None:
    async with two_nodes(url) as (a, b):
        await a.tell("one")
        await b.tell("two")
        core: Any = a.hub.storage._core  # type: ignore[attr-defined]
        [key] = core.keys.of(log_of(a).record.ref, 1)
        async with a.held():
            await core.tell([Command(key, ("HSET", key, "r", "{}")), Command(key, ("HINCRBY", key, "v", 1))])
            log_of(a).append(_touch())
            await a.tell("fine", session="other")
            await a.tell("fine too", session="other")


def _touch() -> Any:
    return Entry(change={"last_activity": 1.0})


async def test_a_message_that_was_lost_with_its_session_can_be_posted_again(url: str) -> None:
    async with two_nodes(url) as (a, b), a.client() as client:
        first = await a.ask("hello", message_id="m1")
        await client.until_over(first.run_id)
        core: Any = a.hub.storage._core  # type: ignore[attr-defined]
        await core.tell([Command(key, ("DEL", key)) for key in core.keys.of(log_of(a).record.ref)])
        await a.ask("hello", message_id="m1")
        assert [one["id"] for one in (await b.snapshot()).messages][:1] == ["m1"]


async def test_a_storage_that_takes_no_lease_at_the_start_is_waited_for(url: str) -> None:
    original = RedisSharing.renew_lease
    handler = signal.signal(signal.SIGTERM, lambda *_: None)  # a hub that ends takes its process with it
    calls = 0

    async def slow(self: Any, ttl_s: float) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            await anyio.sleep_forever()
        await original(self, ttl_s)

    RedisSharing.renew_lease = slow  # type: ignore[method-assign]
    try:
        async with open_shared_node(url, "startslow", lease_seconds=0.5) as node:
            await node.tell("hello")
    finally:
        signal.signal(signal.SIGTERM, handler)
        RedisSharing.renew_lease = original  # type: ignore[method-assign]
