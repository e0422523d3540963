"""Journal: the group commit. Merge, persist, then publish.

Everything that changes anything passes here. What all sessions append during one turn of the loop, or while a commit
is in flight, is one batch: that is the only batching there is, so it adapts to load by itself and an idle server
commits at once. One commit runs at a time. When it fails, what belongs to a run waits and is tried again with back-off;
what belongs to a request fails to its caller; nothing was half-written and no reader saw any of it. When nobody knows
whether it failed, the very same batch is tried again. A part that was decided on less than other nodes have committed
is refused alone: its log catches up, and what is still right of it goes into the next batch.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import anyio

from ..errors import SessionstreamError, Unavailable
from .outbox import Prepared, Stale
from .ports import Batch, StaleError, StorageError, Write
from .sessionlog import SessionLog
from .storage import Storage

_log = logging.getLogger("sessionstream.journal")

_FIRST_RETRY_S = 0.05
_LAST_RETRY_S = 1.0  # a disk that was freed is noticed within a second


_Part = tuple[SessionLog, Prepared]
_Loose = tuple[Sequence[Write], asyncio.Future[None]]


class _Attempt(NamedTuple):
    """One batch and whose it is."""

    parts: Sequence[_Part]
    loose: Sequence[_Loose]
    batch: Batch


class Journal:
    """The one writer of a node. `run` is owned by the hub; all other calls belong to the same loop."""

    def __init__(
        self,
        storage: Storage,
        *,
        slow_commit_ms: float,
        catch_up: Callable[[Sequence[SessionLog]], Awaitable[None]],
    ) -> None:
        self._storage = storage
        self._catch_up = catch_up
        """Brings logs to where the storage is; raises StorageError."""
        self._behind: dict[SessionLog, None] = {}
        self._unsure: _Attempt | None = None
        """A batch that may, or may not, have been taken."""
        self._slow_commit_ms = slow_commit_ms
        self._dirty: dict[SessionLog, None] = {}
        self._loose: list[_Loose] = []
        self._waiter: asyncio.Future[None] | None = None
        self._is_working = False
        self.fault: str | None = None
        """Why the last commit failed, None after one that succeeded."""
        self.slow_commits = 0
        self.commits = 0
        self.position = 0
        """The storage's position of the last commit."""

    def submit(self, log: SessionLog) -> None:
        """Note that a session has something in its outbox."""
        self._dirty[log] = None
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def write(self, writes: Sequence[Write], *, timeout_s: float) -> None:
        """Commit writes that belong to no session in memory.

        Raises:
            Unavailable: they were not, or not in time, committed.
        """
        done = asyncio.get_running_loop().create_future()
        self._loose.append((writes, done))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        with anyio.move_on_after(timeout_s):
            await done
            return
        self._loose = [item for item in self._loose if item[1] is not done]
        raise Unavailable

    @property
    def is_empty(self) -> bool:
        """Whether all that was submitted is committed."""
        return not (self._dirty or self._loose or self._behind or self._unsure or self._is_working)

    async def run(self) -> None:
        """Commit what comes, until cancelled."""
        retry_s = _FIRST_RETRY_S
        while True:
            if self.is_empty:
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter
            if await self.flush():
                retry_s = _FIRST_RETRY_S
            else:
                await anyio.sleep(retry_s)
                retry_s = min(2 * retry_s, _LAST_RETRY_S)

    async def flush(self) -> bool:
        """Commit everything that waits; say whether the storage took it."""
        self._is_working = True
        try:
            return await self._flush()
        finally:
            self._is_working = False

    async def _flush(self) -> bool:
        if self._unsure is not None:
            return await self._try(self._unsure)
        if self._behind and not await self._follow():
            return False
        dirty, self._dirty = self._dirty, {}
        loose, self._loose = self._loose, []
        parts = [(log, part) for log in dirty if (part := self._prepared(log)) is not None]
        waiting = [(writes, done) for writes, done in loose if not done.done()]
        if not parts and not waiting:
            return True
        return await self._try(_attempt(parts, waiting))

    async def _try(self, attempt: _Attempt) -> bool:
        self._unsure = None
        try:
            await self._commit(attempt)
        except StorageError as error:
            if error.is_uncertain:
                self._unsure = attempt
                self._note_fault(error)
                return False
            if not error.is_defect:
                self._give_back(attempt.parts, attempt.loose, error)
                return False
            await self._commit_apart(attempt)
        return await self._follow()

    async def _follow(self) -> bool:
        """Let the logs that are behind catch up; say whether they could."""
        if not self._behind:
            return True
        try:
            await self._catch_up(tuple(self._behind))
        except StorageError as error:
            self._note_fault(error)
            return False
        self._behind.clear()
        return True

    async def _commit(self, attempt: _Attempt) -> None:
        """Commit parts and loose writes as one, and make visible what was taken."""
        started = time.perf_counter()
        with anyio.CancelScope(shield=True):  # half-known is worse than late: the storage bounds it
            position, refused = await self._storage.commit(attempt.batch)
        self.position = position
        self._note_commit(time.perf_counter() - started)
        for index, (log, part) in enumerate(attempt.parts):
            if index in refused:
                self._refuse(log, part, refused[index])
            else:
                self._publish(log, part, position)
        for _, done in attempt.loose:
            if not done.done():
                done.set_result(None)

    def _refuse(self, log: SessionLog, part: Prepared, error: StorageError) -> None:
        """Deal with one part that was not taken while the others were."""
        if isinstance(error, StaleError):
            self._behind[log] = None
            if log.take_back(part, Stale(retry_after_s=1)):
                self._dirty[log] = None
        elif error.is_full:
            if log.take_back(part, Unavailable(code="storage_full", retry_after_s=60)):
                self._dirty[log] = None
            if log.run is not None and not log.run.is_foreign:
                log.run.give_up("storage_full", "the storage is full")
        elif error.is_defect:
            _log.error("session %s: a commit was refused: %s", log.record.session_id, error)
            log.reject(part)
        else:
            self._give_back([(log, part)], [], error)

    async def _commit_apart(self, attempt: _Attempt) -> None:
        """Commit one by one what was refused together: what is wrong with one must not fail the others."""
        for log, part in attempt.parts:
            try:
                await self._commit(_attempt([(log, part)], []))
            except StorageError as error:
                self._refuse(log, part, error)
        for writes, done in attempt.loose:
            try:
                await self._commit(_attempt([], [(writes, done)]))
            except StorageError as error:
                self._give_back([], [(writes, done)], error)

    def _prepared(self, log: SessionLog) -> Prepared | None:
        try:
            part = log.prepare()
        except Exception:  # boundary: a defect in one session must not stop the journal of all
            _log.exception("session %s: what it appended cannot be written", log.record.session_id)
            log.discard()
            return None
        if part.frames or part.writes:
            return part
        self._publish(log, part, self.position)  # nothing to store: what was said came to nothing
        return None

    def _publish(self, log: SessionLog, part: Prepared, position: int) -> None:
        try:
            log.publish(part, position)
        except Exception:  # boundary: as above; it is committed, and a restart shows it
            _log.exception("session %s: what is committed cannot be shown", log.record.session_id)

    def forget(self) -> None:
        """Drop what waits for a commit: recovery starts over, from what is stored."""
        self._dirty.clear()
        self._behind.clear()
        self._unsure = None

    def as_error(self) -> StorageError:
        """Return the last fault as an error."""
        return StorageError(self.fault or "the storage did not take a commit")

    def _note_commit(self, seconds: float) -> None:
        self.commits += 1
        if self.fault is not None:
            _log.warning("the storage takes writes again")
            self.fault = None
        if seconds * 1000 > self._slow_commit_ms:
            self.slow_commits += 1
            _log.warning("slow commit: %.0f ms", seconds * 1000)

    def _note_fault(self, error: StorageError) -> None:
        if self.fault is None:
            _log.error("the storage does not take writes: %s", error)
        self.fault = str(error) or type(error).__name__

    def _give_back(self, parts: Sequence[_Part], loose: Sequence[_Loose], error: StorageError) -> None:
        self._note_fault(error)
        refusal: SessionstreamError = Unavailable(retry_after_s=1)
        for log, part in parts:
            if log.take_back(part, None if error.is_transient else refusal):
                self._dirty[log] = None
        if error.is_transient:
            self._loose = [*loose, *self._loose]
            return
        for _, done in loose:
            if not done.done():
                done.set_exception(refusal)


def _attempt(parts: Sequence[_Part], loose: Sequence[_Loose]) -> _Attempt:
    return _Attempt(parts, loose, Batch([part for _, part in parts], [one for item in loose for one in item[0]]))
