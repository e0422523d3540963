"""Watching one run: as a stream of its own events, or until it is over.

A queued message has no run yet: the watcher waits until it starts, or until it is withdrawn. A run that was over before
(a repeated POST) is told again from the log; when its events are not kept any more, from the messages.
"""

from __future__ import annotations

import time

from ..core import events
from ..core.dialogue import Accepted
from ..core.ports import RunRecord
from ..core.reader import Reader
from ..core.run import Run
from ..core.session import Session
from ..core.snapshot import take_snapshot
from ..core.storage import Storage


class RunSource:
    """The events of one run, from RUN_STARTED to its terminal event, then the end."""

    def __init__(self, session: Session, reader: Reader, accepted: Accepted, storage: Storage) -> None:
        self._session = session
        self._reader = reader
        self._accepted = accepted
        self._storage = storage
        self._run: Run | RunRecord | None = None

    async def take(self) -> bytes | None:
        """Return what is new of the run."""
        if self._run is None:
            run = found(self._session, self._accepted)
            if run is None and is_settled(self._session, self._accepted):
                run = await missed(self._session, self._accepted, self._storage)
            if run is None or not run.first:
                return b""
            self._run = run
            self._reader.begin_at(run.first - 1)
        last = self._run.last
        if last and self._reader.position >= last:
            return b""
        chunk = await self._reader.take(until=last or None)
        if chunk is None and isinstance(self._run, RunRecord):
            return await self._retold(self._run)
        return chunk

    async def _retold(self, run: RunRecord) -> bytes:
        """Return a run whose events were collapsed: its start, the messages as they are, its end."""
        snapshot = await take_snapshot(self._session, self._storage, 0)
        self._reader.begin_at(run.last)
        session_id, ended_at = self._session.key.session_id, run.ended_at or time.time()
        if run.status == "failed":
            ending = events.run_error(run.run_id, "the run failed", run.code or "agent_failed", ended_at)
        else:
            outcome = "success" if run.status == "finished" else "cancelled"
            ending = events.run_finished(session_id, run.run_id, outcome, ended_at)
        told = [
            events.run_started(session_id, run.run_id, run.started_at),
            {"type": "MESSAGES_SNAPSHOT", "messages": list(snapshot.messages)},
            ending,
        ]
        return b"".join(map(events.bare_frame, told))

    async def wait(self) -> None:
        """Wait until there may be something new."""
        await self._reader.wait()

    def wake(self) -> None:
        """Let `wait` return."""
        self._reader.wake()

    @property
    def is_at_end(self) -> bool:
        """Whether the terminal event was taken, or there will be no run."""
        run = self._run
        if run is not None:
            return bool(run.last) and self._reader.position >= run.last
        return is_settled(self._session, self._accepted)

    def farewell(self) -> bytes:
        """Return nothing: the terminal event was the last."""
        return b""


async def await_end(session: Session, reader: Reader, accepted: Accepted, storage: Storage) -> Run | RunRecord | None:
    """Return the run when it is over, None when there will be none."""
    while True:
        run = found(session, accepted)
        if run is not None and run.last:
            return run
        if run is None and is_settled(session, accepted):
            return await missed(session, accepted, storage)
        is_there = session.log is not None and session.ended is None
        if is_settled(session, accepted) and not (isinstance(run, Run) and is_there):
            return run
        await reader.wait()


def found(session: Session, accepted: Accepted) -> Run | RunRecord | None:
    """Return what is known of the run of a message: itself while it lives, what is stored of it afterwards."""
    return accepted.run or session.memo.get(accepted.message_id) or accepted.record


async def missed(session: Session, accepted: Accepted, storage: Storage) -> RunRecord | None:
    """Return the run of a message that started and ended on another node before this one looked."""
    if session.log is None or session.ended is not None:
        return None
    return await storage.run_by_message(session.log.record.ref, accepted.message_id)


def is_settled(session: Session, accepted: Accepted) -> bool:
    """Whether nothing will start any more for this message: it is not in the queue, or the session ended."""
    if session.ended is not None or session.log is None:
        return True
    return all(waiting["message_id"] != accepted.message_id for waiting in session.record.queue)
