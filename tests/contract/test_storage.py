"""What every storage promises to the core about sessions, messages and runs; the log and the lists have files beside.

Exact results, through the port only: no test looks at tables. `again` opens the same data once more, as the next
process would.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import pytest

from server.core.ports import (
    Batch,
    ClearMessages,
    CutJournal,
    EndSession,
    LogSlice,
    MessageRecord,
    PurgeTombstones,
    SaveRun,
    SaveSession,
    SessionKey,
    StorageError,
    Tombstone,
)
from server.core.storage import Storage
from tests.contract.records import (
    batch_of,
    frames_of,
    load,
    log_of,
    message_of,
    record_of,
    ref,
    refusal_of,
    run_of,
    said,
    saved,
    write,
)

Again = Callable[[], AbstractAsyncContextManager[Storage]]


# --- life


async def test_a_new_storage_is_empty(storage: Storage) -> None:
    assert await load(storage, SessionKey("ann", "s1")) is None
    assert await storage.count(None) == 0
    assert await storage.open_runs() == []
    assert (await storage.sessions("ann", limit=5, cursor=None, query=None)) == ([], None)
    await storage.probe()


async def test_closing_twice_is_closing(storage: Storage) -> None:
    await storage.close()
    await storage.close()


async def test_a_closed_storage_takes_nothing(storage: Storage) -> None:
    await storage.close()

    with pytest.raises(StorageError):
        await storage.commit(Batch())


async def test_what_was_committed_is_there_after_opening_again(storage: Storage, again: Again) -> None:
    await write(storage, SaveSession(record_of()))

    async with again() as other:
        assert await load(other, SessionKey("ann", "s1")) == record_of()


async def test_references_are_never_given_twice(storage: Storage, again: Again) -> None:
    keys = [SessionKey("ann", f"n{number}") for number in range(6)]
    first = [storage.new_ref(key) for key in keys[:3]]
    await write(storage, *(SaveSession(record_of(at, session_id=f"n{at}")) for at in range(3)))

    async with again() as other:
        second = [other.new_ref(key) for key in keys[3:]]

    assert len({*first, *second}) == 6


async def test_positions_grow_and_an_empty_commit_returns_the_last(lone: Storage, lone_again: Again) -> None:
    """A journal in arrival order is kept by storages of one node only."""
    first = await said(lone, frames_of(1, 2))
    second = await said(lone, frames_of(3, 3))
    assert first < second
    assert (await lone.commit(Batch())).position == second

    await write(lone, CutJournal(second + 1))
    async with lone_again() as other:
        assert await said(other, frames_of(4, 4)) > second


async def test_an_empty_commit_is_a_probe(storage: Storage) -> None:
    assert (await storage.commit(Batch())).refused == {}
    await storage.probe()


async def test_a_part_is_taken_whole_or_not_at_all(storage: Storage) -> None:
    """What is wrong is named a defect, so that the journal can take the rest without it."""
    await write(storage, SaveSession(record_of()))
    broken = message_of(2)
    broken.message["odd"] = object()
    wrong = saved(1, broken)
    batch = await batch_of(
        storage,
        SaveSession(record_of(title="changed")),
        saved(1, message_of(1)),
        SaveRun(ref(), run_of(status="running")),
        wrong,
        frames=frames_of(1, 2),
    )

    refusal = await refusal_of(storage, batch)

    assert (refusal.is_defect, refusal.is_transient) == (True, False)
    assert await load(storage, record_of().key) == record_of()
    assert await storage.messages(ref()) == []
    assert await storage.run_by_id(ref(), "r1") is None
    batch.parts[0].writes.remove(wrong)
    assert (await storage.commit(Batch(batch.parts))).refused == {}
    assert len(await storage.messages(ref())) == 1


async def test_logs_keep_their_names_when_nothing_is_missing(storage: Storage, again: Again) -> None:
    assert await storage.renew_epochs() is False
    await write(storage, SaveSession(record_of()), SaveRun(ref(), run_of(status="running")))

    async with again() as other:
        assert await other.renew_epochs() is False
        assert await load(other, record_of().key) == record_of()


# --- sessions


async def test_a_session_comes_back_as_it_was_saved(storage: Storage) -> None:
    full = record_of(
        seq=41,
        title="Größe 漢字 😀",
        title_given=True,
        persona="pirate",
        message_count=3,
        run_count=2,
        website_domain="example.org",
        ip_address="::1",
        config={"top_k": 3},
        metadata={"a": [1, {"b": None}]},
        artifacts={"slides": {"pages": []}},
        queue=({"message_id": "q", "options": {}},),
    )
    await write(storage, SaveSession(full))

    assert await load(storage, full.key) == full


async def test_saving_again_replaces(storage: Storage) -> None:
    await write(storage, SaveSession(record_of()))
    changed = record_of(seq=9, title="new", agent="other", last_activity=5.0, metadata={"x": 1})

    await write(storage, SaveSession(changed))

    assert await load(storage, changed.key) == changed
    assert await storage.count("ann") == 1


async def test_the_owner_is_part_of_the_key(storage: Storage) -> None:
    """Invariant 8: another user's session with the same id is another session."""
    anns, bobs = record_of(session_id="s"), record_of(session_id="s", user_id="bob")
    await write(storage, SaveSession(anns), SaveSession(bobs))

    assert await load(storage, SessionKey("ann", "s")) == anns
    assert await load(storage, SessionKey("bob", "s")) == bobs
    assert await load(storage, SessionKey("eve", "s")) is None
    assert sorted(await storage.owners("s")) == ["ann", "bob"]
    assert await storage.owners("t") == []
    assert [await storage.count(user) for user in ("ann", "bob", "eve", None)] == [1, 1, 0, 2]


async def test_an_ended_session_leaves_its_tombstone_and_nothing_else(storage: Storage) -> None:
    """Invariant 10."""
    record = record_of(message_count=1, run_count=1)
    await write(
        storage,
        SaveSession(record),
        SaveSession(record_of(2)),
        SaveRun(ref(), run_of(status="running")),
        saved(1, message_of(1, "secret")),
        log_of(1, 3),
    )

    await write(storage, EndSession(record, Tombstone("deleted", 50.0)))

    assert await load(storage, record.key) == Tombstone("deleted", 50.0)
    assert await storage.messages(ref()) == []
    assert await storage.run_by_id(ref(), "r1") is None
    assert await storage.run_by_message(ref(), "m1") is None
    assert await storage.read_log(ref(), 1, 1000) in (None, LogSlice(b"", 1))
    assert await storage.owners("s1") == []
    assert await storage.count(None) == 1
    assert (await storage.sessions("ann", limit=5, cursor=None, query="secret")).records == []
    assert await storage.open_runs() == []


async def test_tombstones_are_forgotten_when_told_so(lone: Storage) -> None:
    """Where nodes share them, they run out by themselves."""
    storage = lone
    for number, ended_at in ((1, 10.0), (2, 20.0)):
        await write(storage, SaveSession(record_of(number)))
        await write(storage, EndSession(record_of(number), Tombstone("expired", ended_at)))

    await write(storage, PurgeTombstones(20.0))

    assert await load(storage, SessionKey("ann", "s1")) is None
    assert await load(storage, SessionKey("ann", "s2")) == Tombstone("expired", 20.0)


async def test_idle_sessions_are_found_oldest_first(storage: Storage) -> None:
    records = [record_of(ref, last_activity=float(age), user_id=user) for ref, age, user in
               ((1, 30, "ann"), (2, 10, "bob"), (3, 20, "ann"), (4, 40, "ann"))]  # fmt: skip
    await write(storage, *map(SaveSession, records))

    async def idle(before: float, limit: int = 10, user: str | None = None) -> list[str]:
        return [record.session_id for record in await storage.idle_since(before, limit, user)]

    assert await idle(40) == ["s2", "s3", "s1"]
    assert await idle(40, limit=2) == ["s2", "s3"]
    assert await idle(100, user="ann") == ["s3", "s1", "s4"]
    assert await idle(10) == []


# --- messages and runs


async def test_messages_come_back_in_order_and_in_pages(storage: Storage) -> None:
    rows = [message_of(position, f"text {position}") for position in (-2, -1, 1, 5, 9)]
    await write(storage, SaveSession(record_of()), saved(1, *rows[2:]), saved(1, *rows[:2]))

    assert await storage.messages(ref()) == rows
    assert await storage.messages(ref(), limit=2) == rows[3:]
    assert await storage.messages(ref(), before="m5") == rows[:3]
    assert await storage.messages(ref(), before="m5", limit=1) == rows[2:3]
    assert await storage.messages(ref(), before="m-2") == []
    assert await storage.messages(ref(), before="nobody's") == []
    assert await storage.messages(ref(2)) == []


async def test_a_message_is_kept_whole(storage: Storage) -> None:
    message = {
        "id": "m",
        "role": "assistant",
        "content": "漢\x00\u2028😀",
        "toolCalls": [{"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        "metadata": {"sources": [{"path": "a/b.md"}], "sessionstream": {"run_id": "r"}},
    }
    row = MessageRecord(position=3, run_id="r", created_at=1.5, message=message, tokens_in=10, tokens_out=20)
    await write(storage, SaveSession(record_of()), saved(1, row))

    assert await storage.messages(ref()) == [row]


async def test_saving_a_message_again_replaces_it(storage: Storage) -> None:
    await write(storage, SaveSession(record_of()), saved(1, message_of(1, "apple"), message_of(2, "x")))

    await write(storage, saved(1, message_of(1, "pear")))

    assert [row.message["content"] for row in await storage.messages(ref())] == ["pear", "x"]
    assert (await storage.sessions("ann", limit=5, cursor=None, query="apple")).records == []
    assert [
        record.session_id for record in (await storage.sessions("ann", limit=5, cursor=None, query="pear")).records
    ] == ["s1"]


async def test_a_run_is_found_by_its_id_and_by_its_message(storage: Storage) -> None:
    run = run_of(ended_at=2.5, code="agent_failed", status="failed", usage=({"model": "m", "inputTokens": 1},))
    await write(
        storage, *(SaveSession(record_of(n)) for n in (1, 2)), SaveRun(ref(), run), SaveRun(ref(2), run_of("r2"))
    )

    found = await storage.run_by_id(ref(), "r1")
    assert found is not None
    assert replace(found, usage=tuple(found.usage)) == run
    assert await storage.run_by_message(ref(), "m-r1") == found
    assert await storage.run_by_id(ref(), "r2") is None
    assert await storage.run_by_message(ref(), "m-r2") is None


async def test_a_run_is_replaced_as_it_goes_on(storage: Storage) -> None:
    await write(storage, SaveSession(record_of()), SaveRun(ref(), run_of(status="running")))

    await write(storage, SaveRun(ref(), run_of(status="interrupted", ended_at=3.0)))

    found = await storage.run_by_message(ref(), "m-r1")
    assert found is not None
    assert (found.status, found.ended_at) == ("interrupted", 3.0)


async def test_the_id_of_a_message_no_run_began_with_is_taken_too(storage: Storage) -> None:
    """A POST that repeats an answer's id, or an imported message's, is a conflict: its digest is nobody's."""
    await write(storage, SaveSession(record_of()), saved(1, message_of(4, message_id="answer")))

    found = await storage.run_by_message(ref(), "answer")

    assert found is not None
    assert (found.run_id, found.message_id, found.digest, found.started_at > 0) == ("r1", "answer", b"", True)


async def test_clearing_removes_messages_and_the_log_before_it(storage: Storage) -> None:
    await write(
        storage,
        SaveSession(record_of()),
        saved(1, message_of(1, "secret")),
        SaveRun(ref(), run_of()),
        log_of(1, 4),
    )

    await write(storage, ClearMessages(ref(), 4), log_of(5, 7))

    assert await storage.messages(ref()) == []
    assert await storage.read_log(ref(), 2, 1000) is None
    assert await storage.read_log(ref(), 4, 1000) == LogSlice(b"".join(frames_of(5, 7)), 7)
    assert await storage.run_by_message(ref(), "m-r1") is not None
    assert (await storage.sessions("ann", limit=5, cursor=None, query="secret")).records == []
