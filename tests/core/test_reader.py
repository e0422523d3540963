"""A reader gives exactly what follows a cursor, from memory or from the disk, else a fresh snapshot."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from server.core.ports import StorageError
from tests.support.agents import Puppet, saying
from tests.support.client import Client
from tests.support.node import Node, eventually, open_node
from tests.support.storage import is_on_disk

WORDS = [f"word{number} " for number in range(400)]
CUSTOM = [{"type": "CUSTOM", "name": "n", "value": "x" * 100}] * 300


async def answered(node: Node, *, session: str = "s") -> str:
    """Ask and wait until the run is over; return its id."""
    run_id = (await node.ask(session=session)).run_id
    await node.over(run_id, session=session)
    return run_id


# --- cursors


@pytest.mark.parametrize("cursor", [None, "", "-1"])
async def test_no_cursor_is_a_snapshot_that_claims_nothing(tmp_path: Path, cursor: str | None) -> None:
    """Edge case 11: the official JavaScript client always sends -1."""
    async with open_node(tmp_path) as node, node.client(cursor) as client:
        assert client.is_snapshot
        assert "metadata" not in client.events[0]


@pytest.mark.parametrize(
    "spelled",
    ["{epoch}-{ahead}", "other-1", "{epoch}", "{epoch}-", "{epoch}-01", "{epoch}-x", "{epoch}--1", " {epoch}-1", "0",
     "{epoch}-1\n", "{epoch}-9999999999999999999999", "\u0661-\u0661", "null", "{other}"],
)  # fmt: skip
async def test_a_cursor_that_names_no_place_in_this_log_is_a_snapshot_that_says_so(
    tmp_path: Path, spelled: str
) -> None:
    """Edge cases 11 and 23: never silence, never everything again, never another session's events."""
    async with open_node(tmp_path) as node:
        await answered(node)
        await answered(node, session="other")
        own = (await node.snapshot()).cursor
        cursor = spelled.format(epoch=own.epoch, ahead=own.seq + 1, other=(await node.snapshot("other")).cursor)
        async with node.client(cursor) as client:
            assert client.is_snapshot
            assert client.events[0]["metadata"]["sessionstream"]["resumed"] is False
            assert client.fold.messages == (await node.snapshot()).messages
            assert client.faults == []


async def test_the_newest_cursor_gets_nothing_until_something_happens(tmp_path: Path) -> None:
    async with open_node(tmp_path) as node:
        await answered(node)
        async with node.client(str((await node.snapshot()).cursor)) as client:
            assert client.events == []
            await client.until_over(await answered(node))
            assert client.kinds()[0] == "RUN_STARTED"


@pytest.mark.parametrize("where", ["in memory", "after eviction"])
async def test_every_cursor_of_an_ended_run_resumes_exactly(tmp_path: Path, where: str) -> None:
    async with open_node(tmp_path, agent=saying(*CUSTOM), ring_bytes=2048) as node:
        async with node.client() as witness:
            await witness.until_over(await answered(node))
        whole = [cursor for cursor, _ in witness.log]
        if where == "after eviction":
            assert node.hub.evict_idle(-1) == 1
        for place in range(0, len(whole), 37):
            async with node.client(whole[place]) as client:
                await client.catch_up()
                assert [cursor for cursor, _ in client.log] == whole[place + 1 :]


# --- the disk behind the ring


@pytest.mark.parametrize("durability", ["normal", "full"])
async def test_memory_is_bounded_for_a_long_run_and_a_slow_reader_misses_nothing(
    tmp_path: Path, durability: str
) -> None:
    """Edge cases 34 and 36: the ring is bounded in bytes; who stays behind reads the disk."""
    puppet = Puppet()
    async with (
        open_node(tmp_path, agent=puppet, ring_bytes=2048, durability=durability) as node,
        node.client() as slow,
        node.client() as fast,
    ):
        run_id = (await node.ask()).run_id
        for event in CUSTOM:
            puppet.say(event)
            if len(puppet.turns) and puppet.taken % 10 == 0:
                await eventually(lambda: puppet.is_idle)
                await node.calm()
                async with node.held() as session:
                    assert session.live.ring.size < 2 * 2048
                await fast.catch_up()
        await eventually(lambda: puppet.is_idle)
        await node.calm()
        # In the middle of the run, from far behind.
        assert await slow.catch_up()
        puppet.finish()
        await slow.until_over(run_id)
        await fast.until_over(run_id)

    assert slow.log[1:] == fast.log[1:]  # the first is the snapshot's own, made for each
    assert slow.kinds().count("CUSTOM") == len(CUSTOM)
    assert slow.faults == []


@pytest.mark.parametrize("durability", ["normal", "full"])
async def test_no_frame_is_in_a_readers_hands_before_it_is_on_the_disk(tmp_path: Path, durability: str) -> None:
    """Invariant 1, seen by a fresh connection at the moment the frame is handed out."""
    puppet = Puppet()
    late: list[bytes] = []

    def look(frame: bytes) -> None:
        if not is_on_disk(tmp_path, frame):
            late.append(frame)

    async with open_node(tmp_path, agent=puppet, durability=durability) as node, node.client() as client:
        client.on_frame = look
        for round_ in range(3):
            run_id = (await node.ask(f"question {round_}")).run_id
            for word in ("some ", "words ", "in ", "turn"):
                puppet.say(word)
                await client.until(lambda client, word=word: str(client.said).endswith(word))  # type: ignore[misc]
            await node.tell("note")
            puppet.finish()
            await client.until_over(run_id)

    assert late == []
    assert len(client.log) > 30


async def test_nothing_is_shown_while_its_commit_waits(tmp_path: Path) -> None:
    """Invariant 1: also not to who comes just then, and not by a snapshot."""
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet, durability="full") as node, node.client() as client:
        run_id = (await node.ask()).run_id
        await client.until(lambda client: client.said == "hello")
        gate = node.storage.before = anyio.Event()
        puppet.say("secret")
        puppet.finish()
        await eventually(lambda: node.storage.waiting and puppet.is_idle)
        await client.catch_up()
        async with node.client() as late:
            snapshot = await node.snapshot()

            assert "secret" not in str((client.events, late.events, snapshot))
            assert snapshot.run is not None
            assert str(snapshot.cursor) == client.cursor
            gate.set()
            node.storage.before = None
            await client.until_over(run_id)
            await late.until_over(run_id)
            assert client.fold.messages == late.fold.messages


@pytest.mark.parametrize("resumed", [True, False])
async def test_what_is_on_the_disk_but_not_yet_published_comes_once(tmp_path: Path, resumed: bool) -> None:
    """A commit in the writer's thread is readable a moment before the loop hears of it."""
    puppet = Puppet()
    async with (
        open_node(tmp_path, agent=puppet, ring_bytes=1024, durability="full") as node,
        node.client() as witness,
        node.client() as slow,
    ):
        run_id = (await node.ask()).run_id
        puppet.say(*CUSTOM[:40])
        await witness.until(lambda client: client.kinds().count("CUSTOM") == 40)
        gate = node.storage.after = anyio.Event()
        puppet.finish()
        await eventually(lambda: node.storage.waiting)
        if resumed:
            async with node.client(slow.cursor) as client:
                await self_check(client, witness, run_id, gate)
        else:
            await self_check(slow, witness, run_id, gate)


async def self_check(client: Client, witness: Client, run_id: str, gate: anyio.Event) -> None:
    """Read all there is, before and after the loop hears of the commit: the witness's log, once."""
    await client.catch_up()
    await client.catch_up()
    gate.set()
    for one in (witness, client):
        await one.until_over(run_id)
        await one.catch_up()
    places = [cursor for cursor, _ in witness.log]
    assert [cursor for cursor, _ in client.log if cursor != client.start] == places[1:]
    assert client.ended()[run_id] == "success"


async def test_a_log_of_which_nothing_is_kept_is_a_snapshot(tmp_path: Path) -> None:
    """A place so old that no event after it is kept either: a snapshot, not a stream that ends for ever."""
    async with open_node(tmp_path, agent=saying(*CUSTOM), resume_window_seconds=0, log_kept_bytes=0) as node:
        async with node.client() as witness:
            await witness.until_over(await answered(node))
        await node.hub.upkeep.run()
        node.hub.evict_idle(-1)
        for place in (0, len(witness.log) // 2, len(witness.log) - 2):
            async with node.client(witness.log[place][0]) as client:
                assert client.is_snapshot
                assert client.events[0]["metadata"]["sessionstream"]["resumed"] is False
        async with node.client(witness.cursor) as client:
            assert client.events == []


async def test_a_stream_whose_place_is_lost_ends_so_that_its_client_comes_back(tmp_path: Path) -> None:
    """In the middle of a stream a snapshot could be illegal: a run may be open there."""
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet, ring_bytes=1024) as node, node.client() as slow:
        puppet.say(*CUSTOM)
        puppet.finish()
        await answered(node)
        async with node.held() as session:
            await session.clear()

        assert await slow.catch_up() is False
        async with node.client(slow.cursor) as back:
            assert back.is_snapshot
            assert back.fold.messages == []


async def test_a_disk_that_does_not_answer_is_asked_again_from_the_same_place(tmp_path: Path) -> None:
    """A failed read moves nothing: the next one goes on where the last good one stopped."""
    async with open_node(tmp_path, agent=saying(*CUSTOM), ring_bytes=1024) as node, node.client() as slow:
        await answered(node)
        position = slow.reader.position
        node.storage.unreadable = True
        with pytest.raises(StorageError):
            await slow.reader.take()
        assert slow.reader.position == position
        node.storage.unreadable = False
        await slow.catch_up()

    assert slow.kinds().count("CUSTOM") == len(CUSTOM)


async def test_a_stream_of_one_run_ends_with_it(tmp_path: Path) -> None:
    """`until` shows nothing of what came later, from memory and from the disk."""
    for ring_bytes in (1024, 1 << 18):
        async with open_node(tmp_path / str(ring_bytes), agent=saying(*CUSTOM), ring_bytes=ring_bytes) as node:
            async with node.held() as session, node.hub.attach(session) as reader:
                accepted = await node.ask()
                assert accepted.run is not None
                await node.over(accepted.run_id)
                await answered(node)
                client = Client(reader)
                reader.begin_at(accepted.run.first - 1)
                while chunk := await reader.take(until=accepted.run.last):
                    client.read(chunk)

            assert client.faults == []
            assert client.kinds().count("RUN_STARTED") == 1
            assert client.events[-1]["type"] == "RUN_FINISHED"
            assert reader.position == accepted.run.last
