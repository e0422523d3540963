"""Watching one run: as a stream of its own events, or until it is over.

A queued message has no run yet: the watcher waits until it starts, or until it is withdrawn.
"""

from __future__ import annotations

from ..core.dialogue import Accepted
from ..core.ports import RunRecord
from ..core.reader import Reader
from ..core.run import Run
from ..core.session import Session


class RunSource:
    """The events of one run, from RUN_STARTED to its terminal event, then the end."""

    def __init__(self, session: Session, reader: Reader, accepted: Accepted) -> None:
        self._session = session
        self._reader = reader
        self._accepted = accepted
        self._run: Run | None = None

    async def take(self) -> bytes | None:
        """Return what is new of the run."""
        run = self._run
        if run is None:
            run = self._run = _found(self._session, self._accepted)
            if run is None or not run.first:
                self._run = None
                return b""
            self._reader.begin_at(run.first - 1)
        return await self._reader.take(until=run.last or None)

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
        return _is_settled(self._session, self._accepted)

    def farewell(self) -> bytes:
        """Return nothing: the terminal event was the last."""
        return b""


async def await_end(session: Session, reader: Reader, accepted: Accepted) -> Run | RunRecord | None:
    """Return the run when it is over; what is stored of it when it was over before; None when its session is gone."""
    while True:
        run = _found(session, accepted)
        if run is not None and run.last:
            return run
        if run is None and _is_settled(session, accepted):
            known = session.memo.get(accepted.message_id)
            return known if isinstance(known, RunRecord) else None
        await reader.wait()


def _found(session: Session, accepted: Accepted) -> Run | None:
    run = accepted.run or session.memo.get(accepted.message_id)
    return run if isinstance(run, Run) else None


def _is_settled(session: Session, accepted: Accepted) -> bool:
    """Whether nothing will start any more for this message: it is not in the queue, or the session ended."""
    if session.ended is not None:
        return True
    return all(waiting["message_id"] != accepted.message_id for waiting in session.record.queue)
