"""A session's log: appended, prepared, published or taken back, it is one sequence without hole or repetition."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.events import split_frames
from server.core.outbox import Entry, LoggedRun, Prepared
from server.core.ports import Event, RunRecord, SaveLog, SaveSession
from server.core.sessionlog import SessionLog
from server.core.storage import Change
from server.errors import Unavailable
from tests.contract.records import frames_of, record_of
from tests.support.sequences import STEADY

RING_BYTES = 2000


class Bench:
    """A log, and the side of the journal that the test plays."""

    def __init__(self) -> None:
        self.submitted = 0
        self.log = SessionLog(record_of(seq=10), self._submit, ring_bytes=RING_BYTES)
        self.frames: list[bytes] = []
        """All that was published."""
        self.rows: list[SaveLog] = []
        self.part: Prepared | None = None
        """What was prepared and is in flight."""
        self.text = ""
        self.kept = self.refused = 0

    def _submit(self, log: SessionLog) -> None:
        self.submitted += 1

    def publish(self, part: Prepared) -> None:
        """Commit a part."""
        self.frames += part.frames
        self.rows += [write for write in part.writes if isinstance(write, SaveLog)]
        self.log.publish(part, 7)

    def commit(self) -> None:
        """Commit all that waits."""
        self.publish(self.log.prepare())

    def step(self, what: str, number: int) -> None:
        """Do one of the things that happen to a log."""
        if what == "delta":
            self.text += str(number)
            self.log.append_event(delta(str(number)))
        elif what == "news":
            self.kept += 1
            self.log.append(Entry([news()], required=bool(number), on_drop=self._drop))
        elif what == "spill":
            self.log.spill()
        elif what == "prepare":
            self.part = self.part or self.log.prepare()
        elif self.part is not None:
            part, self.part = self.part, None
            if what == "publish":
                self.publish(part)
            else:
                self.log.take_back(part, Unavailable() if what == "refuse" else None)

    def _drop(self) -> None:
        self.refused += 1

    def seqs(self) -> list[int]:
        """Return the sequence numbers that were published."""
        return [seq for _, seq, _ in split_frames(b"".join(self.frames))]


def delta(text: str) -> Event:
    return {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": text}


def news(value: Any = 1) -> Event:
    return {"type": "CUSTOM", "name": "n", "value": value}


def test_nothing_is_visible_before_it_is_published() -> None:
    """Invariant 1."""
    bench = Bench()
    bench.log.append(Entry([news()], change={"title": "new"}))
    part = bench.log.prepare()

    assert (bench.log.cursor.seq, bench.log.record.title, bench.log.ring.size) == (10, None, 0)
    assert not bench.log.is_settled
    bench.publish(part)
    assert (bench.log.cursor.seq, bench.log.record.title) == (11, "new")
    assert bench.log.is_settled


def test_deltas_merge_while_they_wait_and_not_across_anything_else() -> None:
    bench = Bench()
    for event in (delta("a"), delta("b"), news(), delta("c")):
        bench.log.append_event(event)
    part = bench.log.prepare()
    bench.log.append_event(delta("d"))
    bench.log.append_event(delta("e"))
    bench.publish(part)
    bench.commit()

    assert [body for _, _, body in split_frames(b"".join(bench.frames))] == [
        b'{"type":"TEXT_MESSAGE_CONTENT","messageId":"m","delta":"ab"}',
        b'{"type":"CUSTOM","name":"n","value":1}',
        b'{"type":"TEXT_MESSAGE_CONTENT","messageId":"m","delta":"c"}',
        b'{"type":"TEXT_MESSAGE_CONTENT","messageId":"m","delta":"de"}',
    ]
    assert bench.seqs() == [11, 12, 13, 14]


def test_what_happens_outside_a_run_is_folded_into_rows_at_once() -> None:
    """How it is written: without an open run the journal is not needed."""
    bench = Bench()
    bench.log.append(Entry([news(), news()]))
    part = bench.log.prepare()

    [row] = [write for write in part.writes if isinstance(write, SaveLog)]
    [session] = [write for write in part.writes if isinstance(write, SaveSession)]
    assert (row.first, row.last, row.frames) == (11, 12, b"".join(part.frames))
    assert row.ended_at is not None
    assert session.record.seq == 12


def test_a_part_taken_back_is_as_if_never_prepared() -> None:
    bench = Bench()
    entry = Entry([news()], required=True)
    bench.log.append_event(delta("a"))
    bench.log.append(entry)
    pending = bench.log.pending_bytes

    part = bench.log.prepare()
    bench.log.append_event(news("later"))
    assert bench.log.take_back(part, Unavailable())
    bench.log.append_event(news("last"))
    bench.commit()

    assert bench.seqs() == [11, 12, 13, 14]
    assert (entry.first, entry.last) == (12, 12)
    assert pending > 0
    assert bench.log.pending_bytes == 0


async def test_who_waits_for_room_gets_it_by_the_commit() -> None:
    bench = Bench()
    bench.log.append_event(news())
    done: list[int] = []

    async def wait() -> None:
        await bench.log.room(100)
        done.append(bench.log.pending_bytes)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            for _ in range(3):
                await anyio.lowlevel.checkpoint()
            assert done == []
            bench.commit()

    assert done == [0]


async def test_who_gives_up_takes_back_what_still_waits() -> None:
    bench = Bench()
    dropped: list[bool] = []
    entry = Entry([news()], on_drop=lambda: dropped.append(True))
    with pytest.raises(Unavailable):
        await bench.log.commit(entry, timeout_s=0)
    bench.commit()

    assert (dropped, bench.seqs(), bench.log.pending_bytes) == ([True], [], 0)


async def test_who_gives_up_too_late_does_not_undo_a_commit_in_flight() -> None:
    bench = Bench()
    entry = Entry([news()])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_expect_unavailable, bench, entry)
        await anyio.lowlevel.checkpoint()
        part = bench.log.prepare()
        tasks.cancel_scope.deadline = anyio.current_time() + 5
    bench.publish(part)

    assert bench.seqs() == [11]
    assert bench.log.is_settled


async def _expect_unavailable(bench: Bench, entry: Entry) -> None:
    with pytest.raises(Unavailable):
        await bench.log.commit(entry, timeout_s=0.01)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("delta"), st.integers(1, 200)),
            st.tuples(st.just("news"), st.booleans()),
            st.tuples(st.sampled_from(["prepare", "publish", "refuse", "busy", "spill"]), st.just(0)),
        ),
        max_size=60,
    )
)
@STEADY
def test_whatever_fails_the_log_is_one_sequence_and_the_counts_come_out_even(steps: list[tuple[str, int]]) -> None:
    """Invariants 1 and 7: no hole, no repetition, nothing kept is lost, nothing pending is forgotten."""
    bench = Bench()
    for what, number in steps:
        bench.step(what, number)
    bench.step("publish", 0)
    bench.commit()
    bench.commit()

    assert bench.seqs() == list(range(11, 11 + len(bench.frames)))
    assert bench.log.cursor.seq == 10 + len(bench.frames)
    assert b"".join(bench.frames).count(b"CUSTOM") == bench.kept - bench.refused
    deltas = [body for _, _, body in split_frames(b"".join(bench.frames)) if b"delta" in body]
    assert b"".join(body[len(b'{"type":"TEXT_MESSAGE_CONTENT","messageId":"m","delta":"') : -2] for body in deltas) == (
        bench.text.encode()
    )
    assert b"".join(row.frames for row in bench.rows) == b"".join(bench.frames)
    assert bench.log.is_settled
    assert bench.log.ring.size <= RING_BYTES


# --- what other nodes committed


def change_of(log: SessionLog, frames: bytes | None, **fields: Any) -> Change:
    record = replace(log.record, version=log.version + 1, **fields)
    return Change(record=record, run=None, fence=0, node_id="", frames=frames, ended=None)


def no_run(record: RunRecord) -> LoggedRun:
    raise AssertionError("no run is open")


def test_a_log_whose_news_are_not_kept_stands_where_the_storage_stands() -> None:
    """A version that is right beside a position that is not would never be noticed."""
    log = SessionLog(record_of(), lambda log: None, ring_bytes=1 << 20, is_shared=True)
    log.follow(change_of(log, b"", seq=7), no_run)

    assert (log.version, log.ring.base, log.ring.last, log.cursor.seq) == (1, 7, 7, 7)


def test_news_that_follow_are_added_and_news_that_do_not_begin_anew() -> None:
    log = SessionLog(record_of(), lambda log: None, ring_bytes=1 << 20, is_shared=True)
    log.follow(change_of(log, b"".join(frames_of(1, 3)), seq=3), no_run)
    log.follow(change_of(log, b"".join(frames_of(4, 5)), seq=5), no_run)
    assert log.ring.take(0) == b"".join(frames_of(1, 5))

    log.follow(change_of(log, b"".join(frames_of(9, 10)), seq=10), no_run)
    assert log.ring.take(5) is None
    assert log.ring.take(8) == b"".join(frames_of(9, 10))


def test_what_was_decided_on_less_is_decided_again_when_a_log_follows() -> None:
    log = SessionLog(record_of(), lambda log: None, ring_bytes=1 << 20, is_shared=True)
    told: list[str] = []
    log.append(Entry(change={"title": "mine"}, on_drop=lambda: told.append("dropped")))
    log.follow(change_of(log, b"", title="theirs"), no_run)

    assert (told, log.record.title, log.pending_bytes) == (["dropped"], "theirs", 0)
    part = log.prepare()
    assert (part.frames, part.writes) == ([], [])
