"""Watching one run: as a stream of its own events, or until it is over.

A queued message has no run yet: the watcher waits until it starts, or until it is withdrawn. A run that was over before
(a repeated POST) is told again from the log; when its events are not kept any more, from the messages. The session's
state comes whole, and then its changes: so a stream of one run is legal from its first event, whenever it is opened.
"""

from __future__ import annotations

import time

from ..core import events
from ..core.dialogue import Accepted
from ..core.hub import Hub
from ..core.pending import interrupts_of
from ..core.ports import RunRecord
from ..core.reader import Reader
from ..core.run import Run
from ..core.session import Session
from ..core.snapshot import public_session, public_state, take_snapshot
from ..core.storage import Storage
from .past import Past


class RunSource:
    """The events of one run, from RUN_STARTED to its terminal event, then the end.

    With `is_restated` what was said so far comes as a snapshot, for a client that holds some of it already.
    """

    def __init__(
        self, session: Session, reader: Reader, accepted: Accepted, hub: Hub, *, is_restated: bool = False
    ) -> None:
        self._session = session
        self._reader = reader
        self._accepted = accepted
        self._storage = hub.storage
        self._timeout_minutes = hub.settings.session_timeout_minutes
        self._is_restated = is_restated
        self._run: Run | RunRecord | None = None
        self._past: Past | None = None

    async def take(self) -> bytes | None:
        """Return what is new of the run."""
        if self._run is None:
            run = found(self._session, self._accepted)
            if run is None and is_settled(self._session, self._accepted):
                run = await missed(self._session, self._accepted, self._storage)
            if run is None or not run.first:
                return b""
            if self._is_restated:
                restated = await self._restated(run)
                self._run = run
                return restated
            self._begin(run)
        return await self._news()

    async def _news(self) -> bytes | None:
        run, reader, past = self._run, self._reader, self._past
        assert run is not None
        while True:
            if run.last and reader.position >= run.last:
                return b""
            is_past = past is not None and reader.position < past.until
            bounds = [run.last] if run.last else []
            if past is not None and is_past:
                bounds.append(past.until)
            is_untold = reader.position == run.first - 1
            chunk = await reader.take(min(bounds, default=None))
            if chunk is None and is_untold and isinstance(run, RunRecord):
                return await self._retold(run)
            if not chunk or past is None or not is_past:
                return chunk
            told = past.told(chunk, is_end=reader.position == min(bounds))
            if told:  # it may have been changes of state alone
                return told

    def _begin(self, run: Run | RunRecord) -> None:
        """Take the place before the run; what happened up to now is its past, whose state is known as of now."""
        log = self._session.live
        state = public_state(log, public_session(log, self._timeout_minutes))
        self._past = Past(log.cursor, state, self._accepted.message_id)
        self._reader.begin_at(run.first - 1)
        self._run = run

    async def _restated(self, run: Run | RunRecord) -> bytes:
        """Return what was said so far as a client that joins late gets it."""
        snapshot = await take_snapshot(self._session, self._storage, self._timeout_minutes)
        if snapshot.run is None or snapshot.run["run_id"] != run.run_id:
            return await self._retold(run.as_record() if isinstance(run, Run) else run)
        self._reader.begin_at(snapshot.cursor.seq)
        return snapshot.as_frames(resumed=None, now=time.time())

    async def _retold(self, run: RunRecord) -> bytes:
        """Return a run whose events were collapsed: its start, the messages as they are, its end."""
        snapshot = await take_snapshot(self._session, self._storage, self._timeout_minutes)
        self._reader.begin_at(run.last)
        session_id, ended_at = self._session.key.session_id, run.ended_at or time.time()
        if run.status == "failed":
            ending = events.run_error(run.run_id, "the run failed", run.code or "agent_failed", ended_at)
        else:
            asked = interrupts_of(self._session.record.pending, run.run_id)
            outcome = "cancelled" if run.status != "finished" else "interrupt" if asked else "success"
            ending = events.run_finished(session_id, run.run_id, outcome, ended_at, interrupts=asked)
        told = [
            events.run_started(session_id, run.run_id, run.started_at),
            {"type": "MESSAGES_SNAPSHOT", "messages": list(snapshot.messages)},
            {"type": "STATE_SNAPSHOT", "snapshot": snapshot.state},
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
