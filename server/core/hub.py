"""Hub: the node. It knows every session in memory, owns every run's task, and ends both when their time comes.

Turning an id into a session takes no lock: the registry is a dict, get-or-create has no await between look and insert,
and whoever comes first loads the session under the session's own lock. A session stays in memory while anybody holds
it; an idle one is forgotten and comes back from the storage unnoticed.

`run` is the whole life: it opens the storage (again and again until that works), ends what a crash left open, then
beats: one timer for all heartbeats, send timeouts and stream ages, one for expiry, collapse and the cut of the journal.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import anyio
from anyio.abc import TaskGroup

from ..errors import Conflict, LimitReached, SessionstreamError, Unavailable
from ..settings import Settings
from .alone import Alone
from .catalog import Agents
from .dialogue import Creation, EndReason
from .figures import Figures
from .journal import Journal
from .nodes import Nodes
from .offers import gone
from .places import Places
from .ports import AgentEntry, Message, SessionKey, StorageError
from .reader import Reader
from .reading import reading
from .recovery import recover
from .resident import Others, Resident
from .run import Run
from .services import Services
from .session import Session
from .storage import Storage
from .stored import copied
from .streams import Streams
from .upkeep import Upkeep
from .watchers import Watchers

_log = logging.getLogger("sessionstream.hub")

_BEAT_S: Final = 1.0
_OPEN_RETRY_S: Final = 1.0
_HISTORY_RETRY_S: Final = 0.1


class Hub:
    """The registry and the owner. One per process; all calls belong to its loop."""

    def __init__(self, settings: Settings, storage: Storage, agents: Agents) -> None:
        self.settings = settings
        self.storage = storage
        self.agents = agents
        sharing = storage.sharing
        self.others: Others = Nodes(self, sharing) if sharing is not None else Alone()
        self.journal = Journal(storage, slow_commit_ms=settings.slow_commit_ms, catch_up=self.others.catch_up)
        self.submit = self.journal.submit
        self.sessions: dict[SessionKey, Session] = {}
        self.streams = Streams(settings.max_streams_per_user)
        self.user_runs: Counter[str] = Counter()
        self.watchers = Watchers()
        self.figures = Figures()
        self.beat_s = min(_BEAT_S, settings.heartbeat_seconds / 4)
        """How often streams are looked at: what is due within that time is done now."""
        self.is_open = False
        self.is_draining = False
        self.services = Services(agents.services)
        self.total = 0
        """Live sessions in the storage."""
        self.upkeep = Upkeep(self)
        self._tasks: TaskGroup | None = None
        self._waiting: set[SessionKey] = set()
        self._runs: set[Run] = set()
        self._places = Places(self)

    # --- life

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled. Started as soon as sessions can be asked for, even when the storage is not there."""
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                tasks.start_soon(self._open_storage)
                tasks.start_soon(self.services.run)
                tasks.start_soon(self._beat)
                tasks.start_soon(self._keep)
                task_status.started()
        finally:
            self._tasks = None
            with anyio.CancelScope(shield=True):
                await self.close()

    def replace_agents(self, agents: Agents) -> None:
        """Have other agents answer from now on; a run keeps the one it began with, and what that needs."""
        self.agents = agents
        self.services.replace(agents.services, self._is_without_old_runs)

    def _is_without_old_runs(self) -> bool:
        """Whether nothing runs that may need what agents of before had.

        A command is no named agent: whenever it began, it may need a tool that was there before.
        """
        now = {id(entry) for entry in self.agents.entries}
        return all(id(run.agent) in now and run.question.performer is None for run in self._runs)

    async def drain(self) -> None:
        """Take nothing new, end the runs with what they have, let every stream say goodbye; all bounded in time."""
        self.is_draining = True
        for session in list(self.sessions.values()):
            if session.run is not None and not session.run.is_foreign:
                session.run.stop(reason="shutdown")
        ends_at = anyio.current_time() + self.settings.drain_seconds
        half_s = self.settings.drain_seconds / 2  # a storage that hangs must not take the time of the goodbyes
        await _until(
            lambda: self.journal.is_empty or not self.is_open or self.journal.fault is not None, ends_at - half_s
        )
        self.streams.drain()
        await _until(lambda: not self.streams, ends_at)
        self.streams.cut()

    async def close(self) -> None:
        """Write what is left and release the storage; safe to call again."""
        if self.is_open and self.journal.fault is None:
            # Runs cancelled just now have appended their last events: write them before the file is closed.
            with anyio.move_on_after(self.settings.drain_seconds):
                await self.journal.flush()
            await self.others.leave()
        self.is_open = False
        await self.storage.close()

    async def _open_storage(self) -> None:
        """Open the storage, as often as it takes, and end what a crash left open; then commit."""
        while not self.is_open:
            try:
                await self.storage.open()
                self.total = await self.storage.count(None)
                await recover(self)
                await self.others.join()
                self.is_open = True
                self.journal.fault = None
            except StorageError as error:
                if self.journal.fault is None:
                    _log.error("the storage cannot be opened: %s", error)
                self.journal.fault = str(error)
                await anyio.sleep(_OPEN_RETRY_S)
        if self._tasks is not None:
            self._tasks.start_soon(self.others.run)
            self._tasks.start_soon(self._start_waiting)
            self._tasks.start_soon(self.upkeep.trim_now)  # what was just folded need not be read at the next start
        await self.journal.run()

    async def _beat(self) -> None:
        """One timer for everything of streams that is due by time; it waits for nothing else."""
        while True:
            await anyio.sleep(self.beat_s)
            self.streams.beat(time.monotonic())
            self.figures.beat()

    async def _keep(self) -> None:
        """One timer for what asks the storage, which may take its time."""
        while True:
            await anyio.sleep(min(_BEAT_S, self.settings.cleanup_interval_seconds))
            self.services.beat()
            await self._start_waiting()
            if self.is_open:
                await self.upkeep.beat(time.monotonic())

    # --- sessions

    @asynccontextmanager
    async def session(
        self, key: SessionKey, creation: Creation | None = None, *, must_be_new: bool = False, is_new_id: bool = False
    ) -> AsyncIterator[Session]:
        """Hold a session: the one in memory, the stored one, or a new one made by `creation`.

        `is_new_id` says that the id was made just now, so that nobody need look whether it is there.

        Raises:
            SessionstreamError: as `Session.load`; Unavailable; LimitReached when there are too many sessions; Conflict
                when it must be new and is not.
        """
        session = self.sessions.get(key)
        if session is None:
            session = self.sessions[key] = Session(key, self)
        session.pins += 1
        try:
            is_new = await self.load(session, creation, is_new_id=is_new_id)
            if must_be_new and not is_new:
                raise Conflict(code="session_exists")
            yield session
        finally:
            session.pins -= 1
            session.last_used = time.monotonic()
            if not session.pins and (not session.is_loaded or session.ended is not None):
                self._forget(session)

    async def load(self, session: Session, creation: Creation | None = None, *, is_new_id: bool = False) -> bool:
        """Load a session that is held already; say whether it was created just now. Raises as `session` does."""
        self.require_open()
        if session.is_loaded and session.ended is None:
            await self._refresh(session)
            if session.is_loaded and session.ended is None:
                return False
        is_new = await session.load(creation, partial(self._place, session.key.user_id), is_new_id=is_new_id)
        if session.record.run_id is not None:
            await self._refresh(session)
        if is_new:
            self.total += 1
            self.figures.news.append(("created", session.key.user_id, None))
            self.changed(session)
        return is_new

    async def _refresh(self, session: Session) -> None:
        if self.storage.sharing is not None:
            with reading(self.settings.storage_timeout_seconds):
                await self.others.refresh(session)

    def _forget(self, session: Resident) -> None:
        if session.lock.locked():
            return  # a commit of it is in flight: who comes meanwhile must wait for that, and upkeep forgets it later
        if self.sessions.get(session.key) is session and not session.streams:
            del self.sessions[session.key]
            session.release()

    @asynccontextmanager
    async def _place(self, user_id: str) -> AsyncIterator[None]:
        if self.is_draining:
            raise Unavailable(code="draining", retry_after_s=1)
        async with self._places.place(user_id):
            yield

    async def end(self, session: Session, reason: EndReason, *, idle_since: float | None = None) -> bool:
        """End a session that is held: delete or expire it. As `Session.end`."""
        has_ended = await session.end(reason, idle_since=idle_since)
        if has_ended:
            self.total -= 1
            self.figures.news.append((reason, session.key.user_id, None))
            self._places.ended(session.key.user_id)
            self.upkeep.has_garbage = True
            self.changed(session)
        return has_ended

    def evict_idle(self, older_than_s: float) -> int:
        """Forget sessions nobody has used for a while; they come back from the storage. Return how many."""
        limit = time.monotonic() - older_than_s
        idle = [one for one in self.sessions.values() if one.last_used < limit and one.is_idle]
        for session in idle:
            del self.sessions[session.key]
            session.release()
        return len(idle)

    # --- streams

    @asynccontextmanager
    async def attach(self, session: Session) -> AsyncIterator[Reader]:
        """Give a stream its reader; `session` must be held. The stream is counted until the context ends.

        Raises:
            LimitReached: too many streams of the session or of the user.
        """
        settings, log = self.settings, session.live
        if settings.max_streams_per_session and session.streams >= settings.max_streams_per_session:
            raise LimitReached(code="limit_streams_per_session", retry_after_s=5)
        reader = Reader(session, self.storage, settings.session_timeout_minutes)
        with self.streams.place(session.key.user_id):
            session.streams += 1
            log.readers.add(reader)
            try:
                yield reader
            finally:
                log.readers.discard(reader)
                session.streams -= 1
                if not session.streams:
                    session.touch()

    # --- what sessions ask of their node (session.Node)

    def agent(self, name: str | None) -> AgentEntry:
        """Return the agent of this name, the default one when it is None, a placeholder when it is gone since."""
        name = self.agents.default if name is None else name
        return self.agents.get(name) or gone(name)

    def admit_run(self, user_id: str) -> None:
        """Raise LimitReached when the user has too many runs, lingering ones included."""
        if self.is_draining:
            raise Unavailable(code="draining", retry_after_s=1)
        self.others.require_lease()
        limit = self.settings.max_runs_per_user
        if limit and self.user_runs[user_id] >= limit:
            raise LimitReached(code="limit_runs_per_user", retry_after_s=5)

    def start(self, session: Resident, run: Run) -> None:
        """Run the run's task in the hub's group: it belongs to no request."""
        session.pins += 1
        self.user_runs[session.key.user_id] += 1
        if self._tasks is None:
            run.end("interrupted", reason="shutdown")
            self._release_run(session)
        else:
            self._runs.add(run)
            self.figures.runs[run] = session.key.user_id
            self._tasks.start_soon(self._drive, session, run)

    async def _drive(self, session: Resident, run: Run) -> None:
        async def history() -> Sequence[Message]:
            known = session.live.stored
            if known is not None:
                return copied(known)
            record = session.record
            with anyio.move_on_after(self.settings.storage_timeout_seconds):
                while True:
                    try:
                        return [row.message for row in await self.storage.messages(record.ref)]
                    except StorageError:
                        await anyio.sleep(_HISTORY_RETRY_S)  # it may be back in a moment, as for a commit
            raise StorageError("the history was not read in time")

        try:
            await run.drive(history)
        finally:
            self._runs.discard(run)
            self.figures.news.append(("ended", session.key.user_id, run))
            self._release_run(session)

    def _release_run(self, session: Resident) -> None:
        session.pins -= 1
        session.last_used = time.monotonic()
        if not session.pins and session.ended is not None:
            self._forget(session)
        user_id = session.key.user_id
        self.user_runs[user_id] -= 1
        if not self.user_runs[user_id]:
            del self.user_runs[user_id]

    def start_later(self, session: Resident) -> None:
        """Start the session's next queued message now if possible, else with the next beat."""
        self._waiting.add(session.key)
        if self._tasks is not None and not self.is_draining:
            self._tasks.start_soon(self._start_next, session.key)

    async def _start_waiting(self) -> None:
        if self.is_open and not self.is_draining:
            for key in list(self._waiting):
                await self._start_next(key)

    async def _start_next(self, key: SessionKey) -> None:
        try:
            async with self.session(key) as session:
                await session.start_next()
        except LimitReached:
            return  # stays in `_waiting`: tried again soon
        except SessionstreamError as error:
            if error.retryable:
                return
        self._waiting.discard(key)

    def require_open(self) -> None:
        """Raise Unavailable while the storage was not opened yet."""
        if not self.is_open:
            raise Unavailable(retry_after_s=1)

    async def storage_health(self) -> dict[str, str]:
        """Say whether a commit would succeed now, by making one: only a real write meets a full disk."""
        timeout_s = self.settings.storage_timeout_seconds
        try:
            self.require_open()
            with reading(timeout_s):
                await self.storage.probe()
                await self.journal.write((), timeout_s=timeout_s)
        except SessionstreamError as error:
            cause = error.__cause__ if isinstance(error.__cause__, StorageError) else None
            return {"status": "down", "detail": self.journal.fault or str(cause or error.detail)}
        return {"status": "ok"}

    def changed(self, session: Resident) -> None:
        """Tell the user's list streams that a session changed."""
        self.watchers.tell(session.key.user_id, session.key)


async def _until(is_done: Callable[[], bool], ends_at: float) -> None:
    # Looked at now and then, not signalled: it happens once in a process, and nothing else pays for it.
    with anyio.CancelScope(deadline=ends_at):
        while not is_done():  # noqa: ASYNC110
            await anyio.sleep(0.01)
