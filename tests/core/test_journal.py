"""The journal persists, then publishes; a storage that fails delays runs, refuses requests, and loses nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from server.core.alone import Alone
from server.core.journal import Journal
from server.core.outbox import Entry
from server.core.ports import EndSession, SaveSession, Tombstone
from server.core.sessionlog import SessionLog
from server.errors import SessionstreamError, Unavailable
from tests.contract.records import record_of
from tests.support.agents import Puppet, echo
from tests.support.client import Client
from tests.support.node import Node, eventually, open_node
from tests.support.storage import SwitchedStorage, rows_of

NEWS = {"type": "CUSTOM", "name": "n", "value": 1}


# --- one journal, no hub


def journal_of(folder: Path) -> tuple[SwitchedStorage, Journal]:
    storage = SwitchedStorage(folder)
    return storage, Journal(storage, slow_commit_ms=1e9, catch_up=Alone().catch_up)


def log_of(journal: Journal, ref: int = 1) -> SessionLog:
    log = SessionLog(record_of(ref), journal.submit, ring_bytes=1 << 20)
    log.append(Entry(writes=[SaveSession(record_of(ref))]))
    return log


async def test_all_that_waits_is_one_batch(tmp_path: Path) -> None:
    """The way of a message: what arrives in one turn of the loop is one commit."""
    storage, journal = journal_of(tmp_path)
    await storage.open()
    logs = [log_of(journal, ref) for ref in (1, 2, 3)]
    for log in logs:
        log.append(Entry([NEWS]))
    assert not journal.is_empty
    assert await journal.flush()

    assert [log.cursor.seq for log in logs] == [1, 1, 1]
    assert (journal.commits, journal.is_empty, len(storage.batches)) == (1, True, 1)
    assert [len(part.frames) for part in storage.batches[0].parts] == [1, 1, 1]
    await storage.close()


async def test_readers_are_woken_after_the_commit_and_see_it(tmp_path: Path) -> None:
    storage, journal = journal_of(tmp_path)
    await storage.open()
    log = log_of(journal)
    seen: list[tuple[int, int]] = []

    class Looking:
        def wake(self) -> None:
            [[rows]] = rows_of(tmp_path, "SELECT count(*) FROM log")
            seen.append((rows, log.ring.last))

        def hear(self, news: bytes, before: int, last: int) -> None:
            self.wake()

    log.readers.add(Looking())
    log.append(Entry([NEWS]))
    await journal.flush()

    assert seen == [(1, 1)]
    await storage.close()


async def test_a_commit_that_fails_shows_nothing_and_refuses_what_a_request_brought(tmp_path: Path) -> None:
    storage, journal = journal_of(tmp_path)
    await storage.open()
    log = log_of(journal)
    await journal.flush()
    storage.fail()
    happened: list[str] = []
    refused = Entry([NEWS], on_commit=lambda: happened.append("commit"), on_drop=lambda: happened.append("drop"))
    kept = Entry([NEWS], required=True, on_commit=lambda: happened.append("kept"))
    log.append(refused)
    log.append(kept)

    assert not await journal.flush()
    assert (log.cursor.seq, happened, journal.fault, journal.is_empty) == (0, ["drop"], "the test says so", False)

    storage.release()
    assert await journal.flush()
    assert (log.cursor.seq, happened, journal.fault, journal.is_empty) == (1, ["drop", "kept"], None, True)
    assert log.is_settled
    await storage.close()


async def test_a_storage_that_is_busy_for_a_moment_refuses_nothing(tmp_path: Path) -> None:
    storage, journal = journal_of(tmp_path)
    await storage.open()
    log = log_of(journal)
    await journal.flush()
    storage.fail(is_transient=True)
    happened: list[str] = []
    log.append(Entry([NEWS], on_commit=lambda: happened.append("commit"), on_drop=lambda: happened.append("drop")))

    assert not await journal.flush()
    storage.release()
    assert await journal.flush()
    assert (log.cursor.seq, happened) == (1, ["commit"])
    await storage.close()


async def test_writes_of_no_session_wait_or_fail_alike(tmp_path: Path) -> None:
    storage, journal = journal_of(tmp_path)
    await storage.open()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(journal.run)
        await journal.write([SaveSession(record_of())], timeout_s=5)
        assert rows_of(tmp_path, "SELECT count(*) FROM sessions") == [(1,)]
        storage.fail()
        with pytest.raises(Unavailable):
            await journal.write([SaveSession(record_of(2))], timeout_s=5)
        storage.fail(is_transient=True)
        with pytest.raises(Unavailable):
            await journal.write([SaveSession(record_of(3))], timeout_s=0.02)
        storage.release()
        await journal.write([], timeout_s=5)
        tasks.cancel_scope.cancel()

    assert rows_of(tmp_path, "SELECT ref FROM sessions") == [(record_of().ref,)]
    await storage.close()


async def test_what_the_storage_refuses_for_what_is_in_it_fails_alone(tmp_path: Path) -> None:
    """Invariant 7: one bad write must not be taken for a storage that is down, and refuse everybody."""
    storage, journal = journal_of(tmp_path)
    await storage.open()
    broken, sound = log_of(journal, 1), log_of(journal, 2)
    await journal.flush()
    sound.append(Entry([NEWS]))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(journal.run)
        clash = SaveSession(replace(record_of(1), ref=3))  # the same owner and id again
        with pytest.raises(SessionstreamError) as refusal:
            await broken.commit(Entry([NEWS], writes=[clash]), timeout_s=5)
        await eventually(lambda: sound.cursor.seq == 1)
        tasks.cancel_scope.cancel()

    assert (refusal.value.code, broken.cursor.seq, broken.is_settled) == ("internal_error", 0, True)
    await storage.close()


async def test_what_cannot_be_written_stops_its_own_session_only(tmp_path: Path) -> None:
    """Invariant 7: a defect in one session must not stop the journal of all."""
    storage, journal = journal_of(tmp_path)
    await storage.open()
    broken, sound = log_of(journal, 1), log_of(journal, 2)
    await journal.flush()
    sound.append(Entry([NEWS]))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(journal.run)
        with pytest.raises(SessionstreamError):
            await broken.commit(Entry([{"type": "CUSTOM", "name": "n", "value": object()}]), timeout_s=5)
        await eventually(lambda: sound.cursor.seq == 1)
        await broken.commit(Entry([NEWS]), timeout_s=5)
        tasks.cancel_scope.cancel()

    assert broken.cursor.seq == 1
    await storage.close()


@pytest.mark.parametrize("durability", ["normal", "full"])
async def test_a_commit_in_flight_is_not_cut_off(tmp_path: Path, durability: str) -> None:
    """Half-known is worse than late: who cancels the journal waits for what was begun, and nothing is written twice."""
    storage = SwitchedStorage(tmp_path, durability=durability)
    journal = Journal(storage, slow_commit_ms=1e9, catch_up=Alone().catch_up)
    await storage.open()
    log = log_of(journal)
    gate = storage.after = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(journal.run)
        await eventually(lambda: storage.waiting)
        tasks.cancel_scope.cancel()
        gate.set()
    storage.release()

    assert (len(storage.batches), journal.is_empty, log.is_settled) == (1, True, True)
    await storage.close()


async def test_a_buried_session_stays_buried(tmp_path: Path) -> None:
    """Invariant 10, whatever was appended before, with or after the burial."""
    storage, journal = journal_of(tmp_path)
    await storage.open()
    log = log_of(journal)
    await journal.flush()
    log.append(Entry([NEWS], change={"title": "before"}))
    log.append(Entry(writes=[EndSession(log.record, Tombstone("deleted", 1.0))]))
    log.append(Entry([NEWS], change={"title": "with"}))
    await journal.flush()
    log.append(Entry([NEWS], change={"title": "after"}))
    log.spill()
    await journal.flush()

    for table in ("sessions", "log"):
        assert rows_of(tmp_path, f"SELECT count(*) FROM {table}") == [(0,)]
    assert journal.is_empty
    await storage.close()


# --- the same, behind a hub


async def lagging(node: Node, client: Client, puppet: Puppet) -> str:
    """Begin a run, and let what it says from now on fail to be written."""
    run_id = (await node.ask()).run_id
    puppet.say("seen ")
    await client.until(lambda client: client.said == "seen ")
    node.storage.fail()
    puppet.say("unseen ", {"type": "CUSTOM", "name": "n", "value": 1}, "also ")
    await eventually(lambda: puppet.is_idle and node.hub.journal.fault)
    await client.catch_up()
    assert client.said == "seen "
    return run_id


@pytest.mark.parametrize("durability", ["normal", "full"])
async def test_a_run_outlives_a_storage_that_fails(tmp_path: Path, durability: str) -> None:
    """Our contract: streams stay up, nothing is half-written, and it recovers by itself when the cause goes."""
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet, durability=durability) as node, node.client() as client:
        run_id = await lagging(node, client, puppet)
        node.storage.release()
        puppet.say("after")
        puppet.finish()
        await client.until_over(run_id)
        snapshot = await node.snapshot()

        assert client.said == "seen unseen also after"
        assert client.fold.messages == snapshot.messages
        assert client.faults == []
        assert client.ended()[run_id] == "success"
        assert node.rows("SELECT status FROM runs") == [("finished",)]


async def test_a_run_that_ends_while_the_storage_fails_ends_when_it_recovers(tmp_path: Path) -> None:
    puppet = Puppet()
    async with (
        open_node(tmp_path, agent=puppet, agents={"echo": echo}) as node,
        node.client() as client,
    ):
        run_id = await lagging(node, client, puppet)
        puppet.finish()
        with node.impatient():
            with pytest.raises(Unavailable):
                await node.interrupt(run_id)
            with pytest.raises(SessionstreamError) as refusal:
                await node.ask("more")
        node.storage.release()
        await client.until_over(run_id)
        # Nothing of the append side is stuck: the session takes the next message.
        await client.until_over((await node.ask("next", agent="echo")).run_id)

    assert refusal.value.code in ("run_active", "storage_unavailable")
    assert client.said == "next "
    assert client.faults == []
    assert len([event for event in client.events if event.get("runId") == run_id]) == 2


@pytest.mark.parametrize("what", ["ask", "tell", "change", "clear", "end", "create"])
async def test_what_a_request_brings_fails_with_503_and_leaves_nothing(tmp_path: Path, what: str) -> None:
    """Our contract: the POST gets 503 with `retryable`, nothing half-written; later it works."""
    async with open_node(tmp_path) as node, node.client() as client:
        await client.until_over((await node.ask("first")).run_id)
        before = [node.rows(f"SELECT * FROM {table}") for table in ("sessions", "runs", "messages", "log", "journal")]

        async def do() -> None:
            async with node.held() as session:
                match what:
                    case "ask":
                        await node.ask("again", message_id="m")
                    case "tell":
                        await node.tell("note", message_id="m")
                    case "change":
                        await session.change({"title": "other"})
                    case "clear":
                        await session.clear()
                    case "end":
                        await node.hub.end(session, "deleted")
                    case _:
                        await node.ask(session="new")

        node.storage.fail()
        with pytest.raises(Unavailable) as refusal:
            await do()
        assert (refusal.value.status, refusal.value.retryable) == (503, True)
        node.storage.release()
        await node.hub.journal.write([], timeout_s=5)
        await client.catch_up()

        after = [node.rows(f"SELECT * FROM {table}") for table in ("sessions", "runs", "messages", "log", "journal")]
        assert after == before
        assert len(client.ended()) == 2
        assert node.key("new") not in node.hub.sessions
        assert node.hub.total == 1
        await do()


async def test_a_busy_storage_makes_requests_wait(tmp_path: Path) -> None:
    """A file that somebody else holds for a moment is no reason to refuse anybody."""
    async with open_node(tmp_path) as node, node.client() as client:
        node.storage.fail(is_transient=True)
        accepted: list[str] = []

        async def ask() -> None:
            accepted.append((await node.ask()).run_id)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await eventually(lambda: node.hub.journal.fault)
            await anyio.lowlevel.checkpoint()
            assert accepted == []
            node.storage.release()
        await client.until_over(accepted[0])

    assert client.faults == []


@pytest.mark.parametrize("durability", ["normal", "full"])
async def test_a_request_that_gave_up_waiting_leaves_nothing(tmp_path: Path, durability: str) -> None:
    async with (
        open_node(tmp_path, durability=durability) as node,
        node.client() as client,
    ):
        node.storage.fail(is_transient=True)
        for _ in range(3):
            with node.impatient(), pytest.raises(Unavailable):
                await node.ask(message_id="m1")
        node.storage.release()
        await node.hub.journal.write([], timeout_s=5)
        await client.catch_up()

        assert client.fold.messages == []
        assert node.rows("SELECT count(*) FROM runs") == [(0,)]
        await client.until_over((await node.ask(message_id="m1")).run_id)
        assert node.rows("SELECT count(*) FROM runs") == [(1,)]


@pytest.mark.parametrize("durability", ["normal", "full"])
async def test_a_request_repeated_while_its_commit_is_in_flight_waits_for_it(tmp_path: Path, durability: str) -> None:
    """Nobody knows yet what became of the first: the second must not be taken for a new one."""
    async with open_node(tmp_path, durability=durability) as node, node.client() as client:
        gate = node.storage.before = anyio.Event()
        for _ in range(3):
            with node.impatient(), pytest.raises(Unavailable):
                await node.tell("note", message_id="m1")
        gate.set()
        node.storage.before = None
        await node.tell("note", message_id="m1")
        await client.catch_up()

        assert [message["content"] for message in client.fold.messages] == ["note"]
        assert client.kinds().count("TEXT_MESSAGE_START") == 1


async def test_the_health_of_the_storage_is_that_of_a_real_write(tmp_path: Path) -> None:
    async with open_node(tmp_path) as node:
        assert await node.hub.storage_health() == {"status": "ok"}
        node.storage.fail()
        assert await node.hub.storage_health() == {"status": "down", "detail": "the test says so"}
        node.storage.release()
        assert await node.hub.storage_health() == {"status": "ok"}


async def test_slow_commits_are_counted(tmp_path: Path) -> None:
    storage = SwitchedStorage(tmp_path)
    journal = Journal(storage, slow_commit_ms=0, catch_up=Alone().catch_up)
    await storage.open()
    log_of(journal, 1)
    await journal.flush()

    assert journal.slow_commits == 1
    await storage.close()
