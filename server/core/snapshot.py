"""Snapshot: the fold of a session's log up to a cursor, as values and as the events that a new stream begins with.

What is stored (ended runs) is read beside the loop; what is not (the active run) is added at one moment of the loop,
together with the cursor. If a run ended between the two, the stored part is read again: `fold_version` says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import Unavailable
from ..ids import Cursor
from . import events
from .history import arranged
from .pending import public as public_pending
from .ports import Event, Message, MessageRecord, SessionRecord
from .queue import public_queue
from .session import Session
from .sessionlog import SessionLog
from .storage import Storage

_ATTEMPTS = 50  # each one more means that another run ended while the messages were read


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything a client can know of a session at `cursor`."""

    cursor: Cursor
    session: dict[str, Any]
    messages: Sequence[Message]
    state: dict[str, Any]
    run: dict[str, Any] | None
    reopening: Sequence[Event]
    """Events that open again what is open in the active run."""

    def as_events(self, *, resumed: bool | None, now: float) -> list[Event]:
        """Return the events of a stream that starts here; `resumed` False says that its cursor was not honoured."""
        session_id = self.session["session_id"]
        run_id = self.run["run_id"] if self.run else f"{events.SYNC_PREFIX}{self.cursor}"
        started = events.run_started(session_id, run_id, now)
        if resumed is not None:
            started["metadata"] = {"sessionstream": {"run_id": run_id, "resumed": resumed}}
        body: list[Event] = [
            started,
            {"type": "MESSAGES_SNAPSHOT", "messages": list(self.messages)},
            {"type": "STATE_SNAPSHOT", "snapshot": self.state},
        ]
        if self.run is None:
            return [*body, events.run_finished(session_id, run_id, "success", now)]
        return [*body, *self.reopening]

    def as_frames(self, *, resumed: bool | None, now: float) -> bytes:
        """Return the same as SSE frames. Only the last has an id: who is cut off before it gets a whole one again."""
        *first, last = self.as_events(resumed=resumed, now=now)
        return b"".join(map(events.bare_frame, first)) + events.frame(self.cursor.epoch, self.cursor.seq, last)


async def take_snapshot(session: Session, storage: Storage, timeout_minutes: float) -> Snapshot:
    """Return the session's snapshot.

    Raises:
        StorageError: the stored messages cannot be read.
        Gone, NotFound: the session ended.
    """
    for _ in range(_ATTEMPTS):
        log = session.live
        version = log.fold_version
        stored: Sequence[MessageRecord] | None = log.stored
        if stored is None:
            stored = await storage.messages(log.record.ref)
        if version == log.fold_version and session.ended is None:
            return _compose(log, stored, timeout_minutes)
    raise Unavailable("the session changes faster than it can be read", retry_after_s=1)


def _compose(log: SessionLog, stored: Sequence[MessageRecord], timeout_minutes: float) -> Snapshot:
    # A commit may be readable before the loop has heard of it: what stands behind the cursor, or is open, is not here.
    last = log.ring.last if log.run is None else log.run.first - 1
    ended = [row.message for row in stored if row.position <= last]
    current = log.transcript.messages() if log.transcript is not None else []
    public = public_session(log, timeout_minutes)
    state = public_state(log, public)
    return Snapshot(
        cursor=log.cursor,
        session=public,
        messages=arranged([*ended, *current]),
        state=state,
        run=state["run"],
        reopening=log.transcript.reopening() if log.transcript is not None else [],
    )


def public_state(log: SessionLog, public: dict[str, Any]) -> dict[str, Any]:
    """Return the state of a session in memory as its log's cursor has it; `public` is its Session object."""
    run = None
    if log.run is not None:
        run = {"run_id": log.run.run_id, "status": "running", "agent": log.run.as_record().agent}
    state = {
        "session": public,
        "run": run,
        "queue": public_queue(log.record.queue),
        "artifacts": dict(log.record.artifacts),
    }
    return {**state, "pending": public_pending(log.record.pending)} if log.record.pending else state


def public_session(log: SessionLog, timeout_minutes: float) -> dict[str, Any]:
    """Return the Session object of a session in memory."""
    return public_record(log.record, timeout_minutes, extra_messages=len(log.transcript) if log.transcript else 0)


def public_record(record: SessionRecord, timeout_minutes: float, *, extra_messages: int = 0) -> dict[str, Any]:
    """Return the Session object of a record."""
    expires_at = _expiry_of(record, timeout_minutes)
    slides = record.artifacts.get("slides")
    pages = slides.get("pages", ()) if isinstance(slides, dict) else ()
    return {
        "session_id": record.session_id,
        "user_id": record.user_id,
        "title": record.title,
        "agent": record.agent,
        "persona": record.persona,
        "created_at": events.rfc3339(record.created_at),
        "last_activity": events.rfc3339(record.last_activity),
        "expires_at": events.rfc3339(expires_at) if expires_at is not None else None,
        "message_count": record.message_count + extra_messages,
        "run": {"run_id": record.run_id, "status": "running"} if record.run_id is not None else None,
        "has_slides": bool(slides),
        "slide_count": len(pages),
        "website_domain": record.website_domain,
        "metadata": dict(record.metadata),
    }


def _expiry_of(record: SessionRecord, timeout_minutes: float) -> float | None:
    """Return when a session expires in which nothing happens any more; a question may keep it for longer."""
    if not timeout_minutes:
        return None
    idle_until = record.last_activity + timeout_minutes * 60
    if not record.pending:
        return idle_until
    asked_until: float | None = record.pending["expires_at"]
    return None if asked_until is None else max(idle_until, asked_until)
