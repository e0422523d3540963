"""The queue of a session: messages that wait for the active run to end, as plain JSON in the session's record."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import NotFound
from ..ids import new_id
from .events import rfc3339
from .ports import RunRecord
from .question import Question

Waiting = Mapping[str, Any]
"""One waiting message, with all that its run will need."""

_PUBLIC = ("message_id", "run_id", "message", "created_at")


def waiting_of(question: Question, agent: str, now: float, stopped_run_id: str | None = None) -> Waiting:
    """Return a question as it waits; its run is named already. One that was stopped beforehand waits for its record."""
    return {
        "is_stopped": stopped_run_id is not None,
        "run_id": stopped_run_id or new_id(),
        "created_at": rfc3339(now),
        "agent": agent,
        **asked_of(question),
    }


def asked_of(question: Question) -> dict[str, Any]:
    """Return a question as plain JSON: all of it that does not follow from where it stands."""
    return {
        "message_id": question.said_id or question.message_id,
        "message": question.message,
        "role": question.role,
        "persona": question.persona,
        "options": dict(question.options),
        "tools": list(question.tools),
        "context": list(question.context),
        "digest": question.digest.hex(),
    }


def question_of(waiting: Waiting) -> Question:
    """Return what was asked; what an older version has stored knows of no tools."""
    return Question(
        message=waiting["message"],
        message_id=waiting["message_id"],
        digest=bytes.fromhex(waiting["digest"]),
        role=waiting["role"],
        persona=waiting["persona"],
        options=waiting["options"],
        tools=tuple(waiting.get("tools", ())),
        context=tuple(waiting.get("context", ())),
    )


def run_record_of(waiting: Waiting, status: str, started_at: float) -> RunRecord:
    """Return the stored run of a message that has not started (`queued`) or never will (`interrupted`)."""
    return RunRecord(
        run_id=waiting["run_id"],
        message_id=waiting["message_id"],
        digest=bytes.fromhex(waiting["digest"]),
        agent=waiting["agent"],
        status=status,
        started_at=started_at,
        ended_at=None if status == "queued" else time.time(),
    )


def public_queue(queue: Sequence[Waiting]) -> list[dict[str, Any]]:
    """Return the queue as clients see it."""
    return [{name: item[name] for name in _PUBLIC} for item in queue]


def find(queue: Sequence[Waiting], message_id: str) -> Waiting:
    """Return a waiting message.

    Raises:
        NotFound: it does not wait (any more).
    """
    for waiting in queue:
        if waiting["message_id"] == message_id:
            return waiting
    raise NotFound(code="queue_entry_not_found")


def edited(queue: Sequence[Waiting], message_id: str, message: str | None, position: int | None) -> list[Waiting]:
    """Return the queue with another text, or another place, of one message."""
    waiting = find(queue, message_id)
    others = without(queue, waiting)
    changed = {**waiting, "message": message} if message is not None else waiting
    place = queue.index(waiting) if position is None else min(position, len(others))
    return [*others[:place], changed, *others[place:]]


def without(queue: Sequence[Waiting], waiting: Waiting) -> list[Waiting]:
    """Return the queue without one message."""
    return [item for item in queue if item is not waiting]
