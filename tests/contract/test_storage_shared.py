"""What a storage that nodes share promises besides: who is late is refused, and everybody can see what happened.

`shared` and `other` are two nodes on the same data.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from server.core.ports import (
    ClearMessages,
    EndSession,
    Part,
    SaveRun,
    SaveSession,
    SessionRecord,
    StaleError,
    Tombstone,
)
from server.core.storage import Change, Mark, Storage
from tests.contract.records import (
    batch_of,
    begin,
    frames_of,
    load,
    log_of,
    part_of,
    record_of,
    ref,
    run_of,
    sharing_of,
    take,
    write,
)

KEY = record_of().key


def mark_of(record: SessionRecord, version: int, seq: int | None, run_id: str | None = None) -> Mark:
    return Mark(record.key, record.ref, record.epoch, version, seq, run_id)


async def news(storage: Storage, mark: Mark) -> Any:
    [found] = await sharing_of(storage).changes([mark])
    return found


# --- who may commit


async def test_who_does_not_know_the_newest_version_is_refused(shared: Storage, other: Storage) -> None:
    await write(shared, SaveSession(record_of()))
    mine, theirs = await part_of(shared, KEY), await part_of(other, KEY)
    for part, title in ((mine, "mine"), (theirs, "theirs")):
        part.record = record_of(title=title)
        part.writes = [SaveSession(part.record)]

    assert await take(other, theirs) == [None]
    [refusal] = await take(shared, mine)

    assert isinstance(refusal, StaleError)
    assert await load(shared, KEY) == record_of(title="theirs")


async def test_only_the_late_part_of_a_batch_is_refused(shared: Storage, other: Storage) -> None:
    await write(shared, SaveSession(record_of(1)), SaveSession(record_of(2)))
    batch = await batch_of(shared, log_of(1, 2), log_of(1, 2, number=2))
    await write(other, log_of(1, 1))

    committed = await shared.commit(batch)

    assert list(committed.refused) == [0]
    assert await other.read_log(ref(2), 0, 1000) is not None


async def test_of_two_nodes_that_create_a_session_one_does(shared: Storage, other: Storage) -> None:
    parts = [Part(before=one, record=one, writes=[SaveSession(one)]) for one in (record_of(), record_of(title="late"))]

    [first], [second] = await take(shared, parts[0]), await take(other, parts[1])

    assert first is None
    assert isinstance(second, StaleError)
    assert await load(other, KEY) == record_of()


async def test_nodes_take_turns_in_one_log(shared: Storage, other: Storage) -> None:
    await write(shared, SaveSession(record_of()))

    for seq in range(1, 10):
        node = (shared, other)[seq % 2]
        part = await part_of(node, KEY)
        part.frames = frames_of(seq, seq)
        assert await take(node, part) == [None]

    log = await shared.read_log(ref(), 0, 10_000)
    assert log is not None
    assert log.frames == b"".join(frames_of(1, 9))


async def test_frames_that_do_not_follow_the_log_are_a_defect(shared: Storage) -> None:
    part = await begin(shared)
    part.frames = frames_of(6, 6)

    [refusal] = await take(shared, part)

    assert refusal is not None
    assert refusal.is_defect


async def test_a_seized_run_takes_nothing_more_from_its_node(shared: Storage, other: Storage) -> None:
    late = await begin(shared)
    late.frames = frames_of(4, 4)

    assert await sharing_of(other).seize(ref(), "r1")

    [refusal] = await take(shared, late)
    assert isinstance(refusal, StaleError)
    taken = await part_of(other, KEY)
    assert taken.fence > late.fence
    unfenced = replace(await part_of(shared, KEY), fence=late.fence, frames=frames_of(4, 4))
    [refusal] = await take(shared, unfenced)
    assert isinstance(refusal, StaleError)
    taken.frames = frames_of(4, 4)
    assert await take(other, taken) == [None]


async def test_only_an_open_run_can_be_seized(shared: Storage, other: Storage) -> None:
    await begin(shared)
    assert not await sharing_of(other).seize(ref(), "another")

    await write(shared, SaveSession(record_of()), SaveRun(ref(), run_of()))

    assert not await sharing_of(other).seize(ref(), "r1")
    assert not await sharing_of(other).seize(ref(2), "r1")


async def test_who_holds_a_session_commits_alone_until_he_has(shared: Storage, other: Storage) -> None:
    await write(shared, SaveSession(record_of()))
    assert await sharing_of(shared).hold(ref(), 60)
    assert await sharing_of(shared).hold(ref(), 60)
    assert not await sharing_of(other).hold(ref(), 60)

    with pytest.raises(StaleError):
        await write(other, SaveSession(record_of(title="theirs")))
    await write(shared, SaveSession(record_of(title="mine")))
    await write(other, SaveSession(record_of(title="theirs")))

    assert await load(shared, KEY) == record_of(title="theirs")


async def test_a_hold_runs_out(shared: Storage, other: Storage) -> None:
    await write(shared, SaveSession(record_of()))
    await sharing_of(shared).hold(ref(), 0)

    await write(other, SaveSession(record_of(title="theirs")))


async def test_an_ended_session_is_not_created_again(shared: Storage, other: Storage) -> None:
    await write(shared, SaveSession(record_of()))
    await write(shared, EndSession(record_of(), Tombstone("deleted", 5.0)))

    [refusal] = await take(other, Part(before=record_of(), record=record_of(), writes=[SaveSession(record_of())]))

    assert isinstance(refusal, StaleError)
    assert await load(other, KEY) == Tombstone("deleted", 5.0)


# --- what others see


async def test_what_is_the_same_or_absent_or_ended_is_said(shared: Storage, other: Storage) -> None:
    for number in (1, 2):
        await write(shared, SaveSession(record_of(number)))
    await write(shared, EndSession(record_of(2), Tombstone("expired", 7.5)))

    found = await sharing_of(other).changes([mark_of(record_of(number), 1, 0) for number in (1, 2, 3)])

    assert found == ["same", Tombstone("expired", 7.5), "absent"]


async def test_a_change_has_all_that_happened_since_the_mark(shared: Storage, other: Storage) -> None:
    part = await begin(shared)
    part.frames = frames_of(4, 5)
    await take(shared, part)

    change = await news(other, mark_of(record_of(), 2, 3, "r1"))

    assert change == Change(
        record=record_of(run_id="r1", seq=5, version=3),
        run=run_of(status="running", first=1, usage=[]),
        fence=2,
        node_id=sharing_of(shared).node_id,
        frames=b"".join(frames_of(4, 5)),
        ended=None,
    )


async def test_who_knows_nothing_gets_the_open_run_whole(shared: Storage, other: Storage) -> None:
    await write(shared, SaveSession(record_of()), log_of(1, 4), log_of(5, 6))
    running = run_of(status="running", first=7)
    await write(shared, SaveSession(record_of(run_id="r1")), SaveRun(ref(), running), frames=frames_of(7, 8))
    await write(shared, SaveSession(record_of(run_id="r1", title="t")), frames=frames_of(9, 9))

    change = await news(other, mark_of(record_of(), -1, None))

    assert change.frames == b"".join(frames_of(7, 9))
    assert (change.run, change.record.seq) == (replace(running, usage=[]), 9)


async def test_who_knows_nothing_of_an_idle_session_gets_no_frames(shared: Storage, other: Storage) -> None:
    await write(shared, SaveSession(record_of()), log_of(1, 4))

    change = await news(other, mark_of(record_of(), -1, None))

    assert (change.frames, change.run, change.fence, change.record.seq) == (b"", None, 0, 4)


async def test_a_change_says_how_the_run_of_the_mark_ended(shared: Storage, other: Storage) -> None:
    await begin(shared)
    ended = run_of(status="interrupted", first=1, last=4, ended_at=9.5)
    again = run_of("r2", status="running", first=5)
    await write(
        shared,
        SaveSession(record_of(run_id="r2")),
        SaveRun(ref(), ended),
        SaveRun(ref(), again),
        frames=frames_of(4, 5),
    )

    change = await news(other, mark_of(record_of(), 2, 3, "r1"))

    assert change.ended == replace(ended, usage=[])
    assert (change.run.run_id, change.fence, change.record.run_id) == ("r2", 3, "r2")


@pytest.mark.parametrize("seq", [0, 2, 9])
async def test_frames_that_are_not_kept_are_said_to_be_gone(shared: Storage, other: Storage, seq: int) -> None:
    """Before what is kept, and after what there is: neither is ever made up."""
    await write(shared, SaveSession(record_of()), log_of(1, 4))
    await write(shared, ClearMessages(ref(), 4), frames=frames_of(5, 6))

    change = await news(other, mark_of(record_of(), 1, seq))

    assert change.frames is None
    assert change.record.version == 2


async def test_a_log_of_another_epoch_is_not_continued(shared: Storage, other: Storage) -> None:
    await write(shared, SaveSession(record_of()), log_of(1, 4))

    change = await news(other, mark_of(record_of(epoch="another"), 1, 4))

    assert change.frames is None


async def test_many_marks_are_answered_in_their_order(shared: Storage, other: Storage) -> None:
    records = [record_of(number) for number in range(450)]
    await write(shared, *map(SaveSession, records))
    await write(other, SaveSession(record_of(317, title="changed")))

    found = await sharing_of(shared).changes([mark_of(record, 1, 0) for record in records])

    assert [at for at, one in enumerate(found) if one != "same"] == [317]
