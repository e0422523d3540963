"""What every storage promises to the core about the log: exact reading, honest collapsing, and what a crash leaves."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from server.core.events import collapse, frame
from server.core.ports import (
    Batch,
    ClearMessages,
    CutJournal,
    EndSession,
    LogSlice,
    OpenRun,
    ReplaceLog,
    SaveLog,
    SaveRun,
    SaveSession,
    Storage,
    Tombstone,
)
from tests.contract.records import delta, frames_of, log_of, record_of, run_of, write

Again = Callable[[], AbstractAsyncContextManager[Storage]]


# --- the log


async def test_the_log_is_read_from_any_position(storage: Storage) -> None:
    await write(storage, SaveSession(record_of()), log_of(1, 3), log_of(4, 4), log_of(5, 9))

    for after in range(10):
        assert await storage.read_log(1, after, 10_000) == LogSlice(b"".join(frames_of(after + 1, 9)), 9)


async def test_a_read_is_bounded_but_takes_at_least_one_row(storage: Storage) -> None:
    await write(storage, SaveSession(record_of()), log_of(1, 3), log_of(4, 6), log_of(7, 9))
    row_bytes = len(b"".join(frames_of(1, 3)))

    assert await storage.read_log(1, 0, 1) == LogSlice(b"".join(frames_of(1, 3)), 3)
    assert await storage.read_log(1, 0, row_bytes + 1) == LogSlice(b"".join(frames_of(1, 6)), 6)
    assert await storage.read_log(1, 1, 1) == LogSlice(b"".join(frames_of(2, 3)), 3)


async def test_a_position_that_is_no_longer_kept_is_none(storage: Storage) -> None:
    await write(storage, SaveSession(record_of()), log_of(11, 13), log_of(20, 21))

    assert await storage.read_log(1, 5, 10_000) is None
    assert await storage.read_log(1, 10, 10_000) == LogSlice(b"".join(frames_of(11, 13)), 13)
    assert await storage.read_log(1, 15, 10_000) is None
    assert await storage.read_log(1, 21, 10_000) == LogSlice(b"", 21)


async def test_a_collapsed_log_resumes_exactly_or_not_at_all(storage: Storage) -> None:
    """Cursors stay honest."""
    end = {"type": "TEXT_MESSAGE_END", "messageId": "m"}
    log = [frame("epoch1", 1, delta("a")), frame("epoch1", 2, delta("b")), frame("epoch1", 3, end)]
    log += frames_of(4, 5)
    row = SaveLog(1, 1, 5, b"".join(log), 1.0)
    await write(storage, SaveSession(record_of()), row)

    merged = collapse(row.frames)
    await write(storage, ReplaceLog(SaveLog(1, 1, 5, merged, 1.0), 10_000))

    last = frame("epoch1", 5, delta("<4><5>"))
    assert await storage.read_log(1, 0, 10_000) == LogSlice(merged, 5)
    assert await storage.read_log(1, 1, 10_000) is None
    assert await storage.read_log(1, 2, 10_000) == LogSlice(log[2] + last, 5)
    assert await storage.read_log(1, 3, 10_000) == LogSlice(last, 5)
    assert await storage.read_log(1, 4, 10_000) is None


async def test_rows_of_ended_runs_are_offered_for_collapsing_once(storage: Storage) -> None:
    rows = [log_of(1, 3, 10.0), log_of(4, 6, 10.0), log_of(7, 8, 30.0)]
    others = [log_of(1, 2, 10.0, ref=2), log_of(3, 3, None, ref=2)]
    await write(storage, SaveSession(record_of()), SaveSession(record_of(2)), *rows, *others)

    assert await storage.collapsible(20.0, 10_000) == [rows[:2], others[:1]]
    assert len(await storage.collapsible(20.0, 1)) == 1
    assert await storage.collapsible(10.0, 10_000) == []

    await write(storage, ReplaceLog(SaveLog(1, 1, 6, rows[0].frames + rows[1].frames, 10.0), 10_000))
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

    assert await storage.read_log(1, 0, 10_000) is None
    assert await storage.read_log(1, 3, 10_000) == LogSlice(b"".join(frames_of(4, 9)), 9)


async def test_collapsing_brings_nothing_back(storage: Storage) -> None:
    """Rows are merged beside the commits: what was cleared or ended meanwhile stays gone."""
    await write(storage, SaveSession(record_of()), log_of(1, 3), SaveSession(record_of(2)), log_of(1, 3, ref=2))
    await write(storage, ClearMessages(1, 3), EndSession(record_of(2), Tombstone("deleted", 1.0)))

    await write(storage, ReplaceLog(log_of(1, 3), 10_000), ReplaceLog(log_of(1, 3, ref=2), 10_000))

    assert await storage.read_log(1, 1, 10_000) in (None, LogSlice(b"", 1))
    assert await storage.collapsible(20.0, 10_000) == []


# --- what a crash leaves


async def left(storage: Storage) -> OpenRun:
    [one] = await storage.open_runs()
    return one


async def test_an_open_run_is_found_with_its_frames(storage: Storage, again: Again) -> None:
    running = run_of(status="running")
    await storage.commit(
        Batch(frames_of(1, 2) + frames_of(1, 1, "epoch2"), [SaveSession(record_of()), SaveRun(1, running)])
    )
    await storage.commit(Batch(frames_of(3, 3)))

    async with again() as other:
        one = await left(other)

    assert (one.record, one.stored, list(one.frames)) == (record_of(), 0, frames_of(1, 3))
    assert one.run is not None
    assert (one.run.run_id, one.run.status) == ("r1", "running")


async def test_frames_that_stand_in_rows_come_first_and_none_twice(storage: Storage, again: Again) -> None:
    """Invariant 9: a long run was spilled; the journal holds the spilled part too, and what came after it."""
    await storage.commit(Batch(frames_of(1, 4), [SaveSession(record_of()), SaveRun(1, run_of(status="running"))]))
    await storage.commit(Batch(frames_of(5, 6), [log_of(1, 6, None), SaveSession(record_of(seq=6))]))
    await storage.commit(Batch(frames_of(7, 8)))

    async with again() as other:
        one = await left(other)

    assert (one.stored, list(one.frames)) == (6, frames_of(1, 8))


async def test_a_cut_journal_still_has_what_stands_nowhere_else(storage: Storage, again: Again) -> None:
    first = await storage.commit(
        Batch(frames_of(1, 4), [SaveSession(record_of()), SaveRun(1, run_of(status="running")), log_of(1, 4, None)])
    )
    second = await storage.commit(Batch(frames_of(5, 6)))

    await write(storage, CutJournal(second))
    assert first < second

    async with again() as other:
        assert list((await left(other)).frames) == frames_of(1, 6)


async def test_frames_of_ended_runs_are_no_part_of_an_open_one(storage: Storage, again: Again) -> None:
    await storage.commit(Batch(frames_of(1, 4), [SaveSession(record_of(seq=4)), SaveRun(1, run_of()), log_of(1, 4)]))
    await storage.commit(Batch(frames_of(5, 6), [SaveRun(1, run_of("r2", status="running"))]))

    async with again() as other:
        one = await left(other)

    assert (one.stored, list(one.frames)) == (4, frames_of(5, 6))


async def test_a_waiting_queue_is_found_without_a_run(storage: Storage, again: Again) -> None:
    waiting = record_of(queue=({"message_id": "q"},), seq=4)
    await write(storage, SaveSession(waiting), SaveSession(record_of(2)), SaveRun(1, run_of(status="queued")))

    async with again() as other:
        assert await left(other) == OpenRun(record=waiting, run=None, frames=[], stored=4)


async def test_ended_runs_leave_nothing_to_take_up(storage: Storage, again: Again) -> None:
    await storage.commit(Batch(frames_of(1, 4), [SaveSession(record_of(seq=4)), SaveRun(1, run_of()), log_of(1, 4)]))

    async with again() as other:
        assert await other.open_runs() == []
