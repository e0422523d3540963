"""What every storage promises to the core about the log: exact reading, honest collapsing, and what a crash leaves."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from server.core.events import collapse, frame
from server.core.ports import (
    ClearMessages,
    CutJournal,
    EndSession,
    LogSlice,
    ReplaceLog,
    SaveLog,
    SaveRun,
    SaveSession,
    Tombstone,
)
from server.core.storage import OpenRun, Storage
from tests.contract.records import delta, frames_of, log_of, record_of, ref, run_of, said, write

Again = Callable[[], AbstractAsyncContextManager[Storage]]


# --- the log


async def test_the_log_is_read_from_any_position(storage: Storage) -> None:
    await write(storage, SaveSession(record_of()), log_of(1, 3), log_of(4, 4), log_of(5, 9))

    for after in range(10):
        assert await storage.read_log(ref(), after, 10_000) == LogSlice(b"".join(frames_of(after + 1, 9)), 9)


async def test_a_read_is_bounded_but_takes_at_least_one_row(storage: Storage) -> None:
    await write(storage, SaveSession(record_of()), log_of(1, 3), log_of(4, 6), log_of(7, 9))
    row_bytes = len(b"".join(frames_of(1, 3)))

    assert await storage.read_log(ref(), 0, 1) == LogSlice(b"".join(frames_of(1, 3)), 3)
    assert await storage.read_log(ref(), 0, row_bytes + 1) == LogSlice(b"".join(frames_of(1, 6)), 6)
    assert await storage.read_log(ref(), 1, 1) == LogSlice(b"".join(frames_of(2, 3)), 3)


async def test_a_position_that_is_no_longer_kept_is_none(storage: Storage) -> None:
    await write(storage, SaveSession(record_of()), log_of(11, 13), log_of(20, 21))

    assert await storage.read_log(ref(), 5, 10_000) is None
    assert await storage.read_log(ref(), 10, 10_000) == LogSlice(b"".join(frames_of(11, 13)), 13)
    assert await storage.read_log(ref(), 15, 10_000) is None
    assert await storage.read_log(ref(), 21, 10_000) == LogSlice(b"", 21)


async def test_a_collapsed_log_resumes_exactly_or_not_at_all(storage: Storage) -> None:
    """Cursors stay honest."""
    end = {"type": "TEXT_MESSAGE_END", "messageId": "m"}
    log = [frame("epoch1", 1, delta("a")), frame("epoch1", 2, delta("b")), frame("epoch1", 3, end)]
    log += frames_of(4, 5)
    row = SaveLog(ref(), 1, 5, b"".join(log), 1.0)
    await write(storage, SaveSession(record_of()), row)

    merged = collapse(row.frames)
    await write(storage, ReplaceLog(SaveLog(ref(), 1, 5, merged, 1.0), 10_000))

    last = frame("epoch1", 5, delta("<4><5>"))
    assert await storage.read_log(ref(), 0, 10_000) == LogSlice(merged, 5)
    assert await storage.read_log(ref(), 1, 10_000) is None
    assert await storage.read_log(ref(), 2, 10_000) == LogSlice(log[2] + last, 5)
    assert await storage.read_log(ref(), 3, 10_000) == LogSlice(last, 5)
    assert await storage.read_log(ref(), 4, 10_000) is None


async def test_rows_of_ended_runs_are_offered_for_collapsing_once(storage: Storage) -> None:
    rows = [log_of(1, 3, 10.0), log_of(4, 6, 10.0), log_of(7, 8, 30.0)]
    others = [log_of(1, 2, 10.0, number=2), log_of(3, 3, None, number=2)]
    await write(storage, SaveSession(record_of()), SaveSession(record_of(2)), *rows, *others)

    found = await storage.collapsible(20.0, 10_000)
    assert sorted(found, key=lambda one: one[0].ref) == sorted([rows[:2], others[:1]], key=lambda one: one[0].ref)
    assert len(await storage.collapsible(20.0, 1)) == 1
    assert await storage.collapsible(10.0, 10_000) == []

    await write(storage, ReplaceLog(SaveLog(ref(), 1, 6, rows[0].frames + rows[1].frames, 10.0), 10_000))
    assert await storage.collapsible(20.0, 10_000) == [others[:1]]


async def test_stretches_with_a_hole_between_are_collapsed_apart(storage: Storage) -> None:
    await write(storage, SaveSession(record_of()), log_of(1, 3), log_of(7, 8))

    assert await storage.collapsible(20.0, 10_000) == [[log_of(1, 3)]]


async def test_a_row_that_ends_a_run_says_so_of_those_before_it(storage: Storage) -> None:
    """A long run is spilled in rows without an end; the last one ends them all."""
    await write(storage, SaveSession(record_of()), log_of(1, 3, None), log_of(4, 6, None))
    assert await storage.collapsible(20.0, 10_000) == []

    await write(storage, log_of(7, 8, 5.0))

    assert await storage.collapsible(20.0, 10_000) == [[log_of(1, 3, 5.0), log_of(4, 6, 5.0), log_of(7, 8, 5.0)]]


async def test_collapsing_keeps_the_newest_up_to_a_bound(storage: Storage) -> None:
    await write(storage, SaveSession(record_of()), log_of(1, 3))
    row_bytes = len(log_of(1, 3).frames)
    for first in (1, 4, 7):
        await write(storage, log_of(first, first + 2))
        await write(storage, ReplaceLog(log_of(first, first + 2), 2 * row_bytes))

    assert await storage.read_log(ref(), 0, 10_000) is None
    assert await storage.read_log(ref(), 3, 10_000) == LogSlice(b"".join(frames_of(4, 9)), 9)


async def test_collapsing_brings_nothing_back(storage: Storage) -> None:
    """Rows are merged beside the commits: what was cleared or ended meanwhile stays gone."""
    await write(storage, SaveSession(record_of()), log_of(1, 3), SaveSession(record_of(2)), log_of(1, 3, number=2))
    await write(storage, ClearMessages(ref(), 3), EndSession(record_of(2), Tombstone("deleted", 1.0)))

    await write(storage, ReplaceLog(log_of(1, 3), 10_000), ReplaceLog(log_of(1, 3, number=2), 10_000))

    assert await storage.read_log(ref(), 1, 10_000) in (None, LogSlice(b"", 1))
    assert await storage.collapsible(20.0, 10_000) == []


# --- what a crash leaves


async def left(storage: Storage) -> OpenRun:
    [one] = await storage.open_runs()
    return one


async def test_an_open_run_is_found_with_its_frames(lone: Storage, lone_again: Again) -> None:
    running = run_of(status="running")
    await write(lone, SaveSession(record_of()), SaveRun(ref(), running), frames=frames_of(1, 2))
    await said(lone, frames_of(1, 1, "epoch2"))
    await said(lone, frames_of(3, 3))

    async with lone_again() as other:
        one = await left(other)

    assert (one.record, one.stored, list(one.frames)) == (record_of(), 0, frames_of(1, 3))
    assert one.run is not None
    assert (one.run.run_id, one.run.status) == ("r1", "running")


async def test_frames_that_stand_in_rows_come_first_and_none_twice(lone: Storage, lone_again: Again) -> None:
    """Invariant 9: a long run was spilled; the journal holds the spilled part too, and what came after it."""
    await write(lone, SaveSession(record_of()), SaveRun(ref(), run_of(status="running")), frames=frames_of(1, 4))
    await write(lone, log_of(1, 6, None), SaveSession(record_of(seq=6)), frames=frames_of(5, 6))
    await said(lone, frames_of(7, 8))

    async with lone_again() as other:
        one = await left(other)

    assert (one.stored, list(one.frames)) == (6, frames_of(1, 8))


async def test_a_cut_journal_still_has_what_stands_nowhere_else(lone: Storage, lone_again: Again) -> None:
    writes = SaveSession(record_of()), SaveRun(ref(), run_of(status="running")), log_of(1, 4, None)
    first = await said(lone, frames_of(1, 4), *writes)
    second = await said(lone, frames_of(5, 6))

    await write(lone, CutJournal(second))
    assert first < second

    async with lone_again() as other:
        assert list((await left(other)).frames) == frames_of(1, 6)


async def test_frames_of_ended_runs_are_no_part_of_an_open_one(lone: Storage, lone_again: Again) -> None:
    await write(lone, SaveSession(record_of(seq=4)), SaveRun(ref(), run_of()), log_of(1, 4), frames=frames_of(1, 4))
    await write(lone, SaveRun(ref(), run_of("r2", status="running")), frames=frames_of(5, 6))

    async with lone_again() as other:
        one = await left(other)

    assert (one.stored, list(one.frames)) == (4, frames_of(5, 6))


async def test_a_waiting_queue_is_found_without_a_run(lone: Storage, lone_again: Again) -> None:
    waiting = record_of(queue=({"message_id": "q"},), seq=4)
    await write(lone, SaveSession(waiting), SaveSession(record_of(2)), SaveRun(ref(), run_of(status="queued")))

    async with lone_again() as other:
        assert await left(other) == OpenRun(record=waiting, run=None, frames=[], stored=4)


async def test_ended_runs_leave_nothing_to_take_up(lone: Storage, lone_again: Again) -> None:
    await write(lone, SaveSession(record_of(seq=4)), SaveRun(ref(), run_of()), log_of(1, 4), frames=frames_of(1, 4))

    async with lone_again() as other:
        assert await other.open_runs() == []
