"""Upkeep: what has to go in time. Sessions expire, idle ones leave memory, old deltas collapse, the journal is cut.

Nothing here is on the way of a message: it runs on the hub's timer, in small commits between those of the sessions,
and a storage that does not answer only makes it late.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, Protocol

import anyio
import anyio.to_thread

from ..errors import Gone, NotFound, SessionstreamError
from ..settings import Settings
from .dialogue import EndReason
from .events import collapse
from .journal import Journal
from .ports import CutJournal, PurgeTombstones, ReplaceLog, SaveLog, SessionKey, SessionRecord, StorageError, TidySearch
from .session import Session
from .storage import Storage

_log = logging.getLogger("sessionstream.upkeep")

_EXPIRE_AT_ONCE: Final = 500
_COLLAPSE_BYTES: Final = 4 << 20  # read, merged and written in one go: some milliseconds of a thread
_DAY_S: Final = 86_400
_COLLAPSE_S: Final = 5.0  # at most so long in one go: expiry must not wait for it
_TIDY_PAGES: Final = 500
_TIDY_STEPS: Final = 8
_TRIM_S: Final = 10.0  # the journal holds about this much time of what all sessions say


class Kept(Protocol):
    """What upkeep needs of the hub."""

    settings: Settings
    storage: Storage
    journal: Journal
    sessions: dict[SessionKey, Session]

    def session(self, key: SessionKey) -> Any:
        """Hold a session: an async context manager."""

    async def end(self, session: Session, reason: EndReason, *, idle_since: float | None = None) -> bool:
        """End a session that is held, if it is as idle as that."""

    def evict_idle(self, older_than_s: float) -> int:
        """Forget idle sessions."""


class Upkeep:
    """The housekeeper of one hub."""

    def __init__(self, hub: Kept) -> None:
        self._hub = hub
        self._mark = 0
        self._next_run = time.monotonic() + hub.settings.cleanup_interval_seconds
        self._next_trim = 0.0
        self.expired = 0
        self.has_garbage = False
        """Whether something was deleted that the search index still holds, marked."""

    async def beat(self, now: float) -> None:
        """Do what is due. `now` is `time.monotonic()`."""
        interval_s = self._hub.settings.cleanup_interval_seconds
        if now >= self._next_trim:
            await self.trim_now()
            self._next_trim = time.monotonic() + min(_TRIM_S, interval_s)
        if now >= self._next_run:
            await self.run()
            self._next_run = time.monotonic() + interval_s

    async def trim_now(self) -> None:
        """Cut the journal, if that is possible now."""
        await self._try(self.trim_journal)

    async def run(self) -> None:
        """Do all of it once; what fails is left for the next time."""
        for step in (
            self.close_questions,
            self.expire,
            self.collapse_logs,
            self.trim_journal,
            self.purge_tombstones,
            self.tidy_search,
        ):
            await self._try(step)
        self._hub.evict_idle(self._hub.settings.idle_memory_seconds)

    async def _try(self, step: Callable[[], Awaitable[None]]) -> None:
        name = getattr(step, "__name__", "upkeep")
        try:
            await step()
        except (StorageError, SessionstreamError, TimeoutError) as error:
            _log.warning("%s was put off: %s", name, error)
        except Exception:  # boundary: housekeeping that fails must not take the node down
            _log.exception("%s failed", name)

    async def close_questions(self) -> None:
        """Close the questions that nobody answered in time; nothing keeps their sessions any more."""
        with anyio.fail_after(self._hub.settings.storage_timeout_seconds):
            records = await self._hub.storage.overdue(time.time(), _EXPIRE_AT_ONCE)
        for record in records:
            try:
                async with self._hub.session(record.key) as session:
                    await session.expire_pending()
            except (Gone, NotFound):
                continue  # somebody ended it meanwhile

    async def expire(self, user_id: str | None = None, *, limit: int = _EXPIRE_AT_ONCE) -> None:
        """End sessions whose time is over, unless a stream, a run or a queue keeps them alive."""
        timeout_s = self._hub.settings.session_timeout_minutes * 60
        if not timeout_s:
            return
        # Those in memory may have to be spared: they must not fill what is looked at, or nobody else would ever expire.
        limit += len(self._hub.sessions)
        with anyio.fail_after(self._hub.settings.storage_timeout_seconds):
            records = await self._hub.storage.idle_since(time.time() - timeout_s, limit, user_id)
        for record in records:
            if not self._is_in_use(record):
                await self._expire(record, timeout_s)

    def _is_in_use(self, record: SessionRecord) -> bool:
        session = self._hub.sessions.get(record.key)
        if session is None or session.log is None:
            return bool(record.queue or record.run_id)
        record = session.log.record
        return bool(session.pins or session.streams or session.log.run or record.queue or record.pending)

    async def _expire(self, record: SessionRecord, timeout_s: float) -> None:
        try:
            async with self._hub.session(record.key) as session:
                self.expired += await self._hub.end(session, "expired", idle_since=time.time() - timeout_s)
        except (Gone, NotFound):
            return  # somebody ended it meanwhile

    async def collapse_logs(self) -> None:
        """Merge the deltas of runs that ended a while ago; exact resumption inside them is over."""
        settings, before = self._hub.settings, time.time() - self._hub.settings.resume_window_seconds
        ends_at = time.monotonic() + _COLLAPSE_S
        while time.monotonic() < ends_at:
            with anyio.fail_after(settings.storage_timeout_seconds):
                found = await self._hub.storage.collapsible(before, _COLLAPSE_BYTES)
            for rows in found:
                row = await anyio.to_thread.run_sync(partial(_merged, rows))
                await self._hub.journal.write(
                    [ReplaceLog(row, settings.log_kept_bytes)], timeout_s=settings.storage_timeout_seconds
                )
            if not found:
                return

    async def trim_journal(self) -> None:
        """Cut the journal behind the oldest event that only it holds; a session that holds it back is spilled."""
        journal = self._hub.journal
        needed = journal.position + 1
        for session in self._hub.sessions.values():
            log = session.log
            if log is None or log.journal_position is None:
                continue
            needed = min(needed, log.journal_position)
            if log.journal_position <= self._mark:
                log.spill()
        self._mark = journal.position
        if needed > 1:
            await journal.write([CutJournal(needed)], timeout_s=self._hub.settings.storage_timeout_seconds)

    async def tidy_search(self) -> None:
        """Let the search index forget what was deleted: a little at a time, a whole round after each deletion."""
        if not self.has_garbage:
            return
        self.has_garbage = False
        for pages in (-_TIDY_PAGES, *[_TIDY_PAGES] * _TIDY_STEPS):  # the first opens a round, as FTS5 has it
            await self._hub.journal.write([TidySearch(pages)], timeout_s=self._hub.settings.storage_timeout_seconds)

    async def purge_tombstones(self) -> None:
        """Forget what ended long ago."""
        before = time.time() - self._hub.settings.tombstone_days * _DAY_S
        await self._hub.journal.write([PurgeTombstones(before)], timeout_s=self._hub.settings.storage_timeout_seconds)


def _merged(rows: Sequence[SaveLog]) -> SaveLog:
    frames = collapse(b"".join(row.frames for row in rows))
    return SaveLog(rows[0].ref, rows[0].first, rows[-1].last, frames, rows[-1].ended_at)
