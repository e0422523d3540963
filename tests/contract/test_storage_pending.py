"""Sessions in which a question waits: kept whole, found when its time is over, and spared until then."""

from __future__ import annotations

from typing import Any

import pytest

from server.core.ports import EndSession, SaveSession, Tombstone
from server.core.storage import Storage
from tests.contract.conftest import Made
from tests.contract.records import load, record_of, ref, sharing_of, write

pytestmark = pytest.mark.anyio


def pending(expires_at: float | None) -> dict[str, Any]:
    return {"run_id": "r1", "expires_at": expires_at, "questions": [{"interrupt": {"id": "größe"}, "answer": None}]}


async def overdue(storage: Storage, before: float, limit: int = 10) -> list[str]:
    return [record.session_id for record in await storage.overdue(before, limit)]


async def test_what_is_pending_is_kept_whole(storage: Storage) -> None:
    record = record_of(pending=pending(5.5))
    await write(storage, SaveSession(record))

    assert await load(storage, record.key) == record


async def test_what_is_pending_is_there_when_the_storage_is_opened_again(backend: Made) -> None:
    record = record_of(pending=pending(None))
    for at in range(2):
        storage = backend()
        await storage.open()
        if not at:
            await write(storage, SaveSession(record))
        assert await load(storage, record.key) == record
        await storage.close()


async def test_questions_whose_time_is_over_are_found_oldest_first(storage: Storage) -> None:
    for number, expires_at in ((1, 30.0), (2, 10.0), (3, None), (4, 20.0)):
        await write(storage, SaveSession(record_of(number, pending=pending(expires_at))))
    await write(storage, SaveSession(record_of(5)))

    assert await overdue(storage, 30.0) == ["s2", "s4"]
    assert await overdue(storage, 31.0) == ["s2", "s4", "s1"]
    assert await overdue(storage, 31.0, limit=1) == ["s2"]
    assert await overdue(storage, 10.0) == []


async def test_what_was_answered_or_asked_anew_or_ended_is_not_overdue(storage: Storage) -> None:
    for number in (1, 2, 3):
        await write(storage, SaveSession(record_of(number, pending=pending(10.0))))
    await write(storage, SaveSession(record_of(1)))
    await write(storage, SaveSession(record_of(2, pending=pending(50.0))))
    await write(storage, EndSession(record_of(3), Tombstone("deleted", 1.0)))

    assert await overdue(storage, 20.0) == []
    assert await overdue(storage, 60.0) == ["s2"]


async def test_sessions_in_which_a_question_waits_are_not_idle(storage: Storage) -> None:
    """They would fill what is looked at, and nobody else would ever expire."""
    await write(storage, SaveSession(record_of(1, pending=pending(9999.0))), SaveSession(record_of(2)))

    assert [record.session_id for record in await storage.idle_since(9999.0, 1)] == ["s2"]
    assert [record.session_id for record in await storage.idle_since(9999.0, 5, "ann")] == ["s2"]


async def test_messages_behind_a_question_do_not_wait_for_a_node(shared: Storage) -> None:
    """Nobody can start them before it is closed; from then on somebody must."""
    queue = ({"message_id": "q"},)
    await write(shared, SaveSession(record_of(1, pending=pending(None), queue=queue)))
    assert await sharing_of(shared).waiting() == []

    await write(shared, SaveSession(record_of(1, queue=queue)))
    assert await sharing_of(shared).waiting() == [record_of(1).key]
    assert ref(1) == record_of(1).ref
