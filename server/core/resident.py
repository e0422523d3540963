"""Resident: one session in memory, and the primitives by which it is changed.

    loading ──▶ living ──▶ ended (deleted | expired)

Every change is one entry, appended under the session's lock and applied by its commit, not by whoever waits for it: a
caller that gives up changes nothing. What happens outside a run is wrapped into a housekeeping run, so that every
stream stays legal.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import wraps
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar

from ..errors import Gone, NotFound, Unavailable
from ..ids import new_id
from ..settings import Settings
from . import events
from .dialogue import Creation
from .offers import check_persona
from .outbox import Entry, Stale
from .ports import AgentEntry, Event, SessionKey, SessionRecord, Tombstone, Write
from .reading import reading
from .run import Run
from .sessionlog import SessionLog
from .storage import Storage

_ATTEMPTS: Final = 20
_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


class Others(Protocol):
    """The other nodes, as hub, journal and sessions see them."""

    async def join(self) -> None:
        """Become one of them. Raises StorageError."""

    async def run(self) -> None:
        """Follow them until cancelled."""

    async def leave(self) -> None:
        """Tell them that all runs here have ended."""

    def require_lease(self) -> None:
        """Raise Unavailable while the others may take this node for dead."""

    async def refresh(self, session: Resident) -> None:
        """Bring a session to where the storage is. Raises StorageError."""

    async def catch_up(self, logs: Sequence[SessionLog]) -> None:
        """The same for logs whose commit lost to another node's."""

    async def take_turn(self, session: Resident, attempt: int) -> None:
        """Make ready for another attempt at a change that lost to other nodes so many times."""

    async def take_over(self, session: Resident, run: Run) -> None:
        """Take a run of another node, so that it can be ended here."""


class Node(Protocol):
    """What a session needs of the node it lives in."""

    settings: Settings
    storage: Storage

    @property
    def others(self) -> Others:
        """The nodes that share its storage."""

    def submit(self, log: SessionLog) -> None:
        """Tell the journal that a log has something to commit."""

    def agent(self, name: str | None) -> AgentEntry:
        """Return the agent of this name, the default one when it is None, a placeholder when it is gone."""

    def admit_run(self, user_id: str) -> None:
        """Raise LimitReached when the user has too many runs."""

    def start(self, session: Resident, run: Run) -> None:
        """Run the run's task."""

    def start_later(self, session: Resident) -> None:
        """Start the session's next queued message as soon as that is possible."""

    def changed(self, session: Resident) -> None:
        """The session's record or run changed."""


def decided_anew(
    change: Callable[Concatenate[Any, _Given], Coroutine[Any, Any, _Result]],
) -> Callable[Concatenate[Any, _Given], Coroutine[Any, Any, _Result]]:
    """Make a transition begin again when another node changed the session before it was committed."""

    @wraps(change)
    async def again(session: Any, /, *args: _Given.args, **kwargs: _Given.kwargs) -> _Result:
        for attempt in range(_ATTEMPTS):
            try:
                return await change(session, *args, **kwargs)
            except Stale:
                await session.catch_up(attempt)
        raise Unavailable("the session changes faster than it can be changed", retry_after_s=1)

    return again


class Resident:
    """One conversation in memory. Made by the hub only; loaded, or created, by the first who needs it."""

    __slots__ = (
        "_follows",
        "_in_flight",
        "_in_line",
        "_node",
        "_tail",
        "ended",
        "is_loaded",
        "key",
        "last_used",
        "lock",
        "log",
        "pins",
        "streams",
    )

    def __init__(self, key: SessionKey, node: Node) -> None:
        self.key = key
        self.pins = 0
        """Who holds the session right now; it stays in memory while anybody does."""
        self.streams = 0
        self.last_used = time.monotonic()
        self.lock = asyncio.Lock()
        self._in_line = 0
        """How many wait for the lock: it may be free, and theirs already."""
        self.log: SessionLog | None = None
        self.ended: Tombstone | None = None
        self.is_loaded = False
        """Whether `log` is what the storage has; not before the commit that creates the session."""
        self._node = node
        self._follows = 0
        """How much of other nodes' commits was known when the transition began."""
        self._in_flight: asyncio.Future[None] | None = None
        """A change that nobody waits for any more and whose commit has begun."""
        self._tail: Run | None = None
        """The run that is open on the append side: from its first event appended to its last one appended."""

    # --- reading

    @property
    def record(self) -> SessionRecord:
        """The session as committed."""
        return self.live.record

    @property
    def live(self) -> SessionLog:
        """The log of a loaded, living session.

        Raises:
            Gone: it was deleted or expired.
            NotFound: it is not there.
        """
        if self.ended is not None:
            raise Gone(code=f"session_{self.ended.reason}")
        if self.log is None:
            raise NotFound
        return self.log

    @property
    def run(self) -> Run | None:
        """The active run, as committed."""
        run = self.log.run if self.log is not None else None
        assert run is None or isinstance(run, Run)
        return run

    @property
    def is_busy(self) -> bool:
        """Whether a message would have to wait."""
        return self._tail is not None or self.run is not None or bool(self.record.queue)

    @property
    def _is_held(self) -> bool:
        """Whether nothing runs because a question waits for its answer."""
        return self._tail is None and self.run is None and bool(self.record.pending)

    @property
    def is_idle(self) -> bool:
        """Whether memory may forget it: nobody holds it, nothing runs, waits or needs the journal."""
        if self.pins or self.streams or self.lock.locked():
            return False
        if self.log is None or self.ended is not None:
            return True
        if self.log.is_shared and (self.log.run is None or self.log.run.is_foreign):
            return self.log.is_settled
        is_waiting = bool(self.log.record.queue) and not self.log.record.pending
        return self.log.is_settled and self.log.run is None and not is_waiting

    # --- loading

    @decided_anew
    async def load(
        self,
        creation: Creation | None,
        place: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
        *,
        is_new_id: bool = False,
    ) -> bool:
        """Make sure that the session is in memory; say whether it was created just now, within a `place`.

        Raises:
            NotFound: it does not exist and there is no `creation`.
            Gone: it ended.
            Unavailable: it cannot be read, or written.
        """
        if self.is_loaded and self.ended is None:
            return False
        async with self.transition():
            if self.ended is not None:
                raise Gone(code=f"session_{self.ended.reason}")
            if self.is_loaded:
                return False
            is_unused = is_new_id or self._node.storage.is_unused(self.key)
            found = None if is_unused else await self._stored()
            if isinstance(found, Tombstone):
                self.ended = found
                raise Gone(code=f"session_{found.reason}")
            if found is not None:
                self.adopt(found)
                return False
            if creation is None:
                raise NotFound
            async with place():
                await self._create(creation)
            return True

    async def _stored(self) -> SessionRecord | Tombstone | None:
        with reading(self._node.settings.storage_timeout_seconds):
            return await self._node.storage.load(self.key)

    def adopt(self, record: SessionRecord) -> SessionLog:
        """Take a stored record as the session's."""
        self.is_loaded = True
        return self._use(record)

    def _use(self, record: SessionRecord) -> SessionLog:
        log = SessionLog(
            record,
            self._node.submit,
            ring_bytes=self._node.settings.ring_bytes,
            is_shared=self._node.storage.sharing is not None,
        )
        log.on_change = self._on_change
        self.log = log
        return log

    def release(self) -> None:
        """Let go of what refers back, when it leaves the registry: no garbage collector need look for it."""
        if self.log is not None:
            self.log.on_change = None

    def _on_change(self) -> None:
        if self._tail is not None and self._tail.is_over and self.run is None:
            self._on_run_over(self._tail)
            self._tail = None
        # While a question waits, so do they: what was said before it is no answer to it.
        is_next = self.ended is None and bool(self.record.queue) and not self.record.pending
        if is_next and self._tail is None and self.run is None:
            self._node.start_later(self)
        self._node.changed(self)

    async def start_next(self) -> None:
        """Start the first queued message if nothing runs."""
        raise NotImplementedError

    def _on_run_over(self, run: Run) -> None:
        """Hear that the active run is over and committed."""

    async def _create(self, creation: Creation) -> None:
        check_persona(self._node.agent(creation.agent), creation.persona)
        record = creation.as_record(self.key, self._node.storage.new_ref(self.key), time.time())
        self._use(record)
        try:
            await self._commit(Entry(writes=creation.writes(record)))
        except BaseException:
            self.log = None
            raise
        self.is_loaded = True

    # --- other nodes

    def followed(self) -> None:
        """The log took up what other nodes committed."""
        self._tail = self.run

    async def catch_up(self, attempt: int) -> None:
        """Learn what other nodes changed, before a change that lost to them is tried again."""
        if not self.is_loaded:
            return  # it was created elsewhere: the next attempt loads it
        with reading(self._node.settings.storage_timeout_seconds):
            await self._node.others.take_turn(self, attempt)

    def vanish(self) -> None:
        """The storage has lost it, with all it held: streams end, and who comes back begins anew."""
        log, self.log, self.is_loaded, self._tail = self.log, None, False, None
        if log is not None:
            log.on_change = None
            log.leave(Stale(retry_after_s=1))

    def bury(self, tombstone: Tombstone) -> None:
        """Another node ended it: streams say goodbye."""
        self.ended, self._tail = tombstone, None
        if self.log is not None:
            self.log.leave(Gone(code=f"session_{tombstone.reason}"))

    # --- changing

    @asynccontextmanager
    async def transition(self) -> AsyncIterator[None]:
        """Hold the lock. Who stands in line longer than a commit may take is told to come back.

        Raises:
            Unavailable: those before it wait for a storage that does not answer.
        """
        await self._take_lock()
        self._in_flight = None
        self._follows = self.log.follows if self.log is not None else 0
        try:
            yield
        finally:
            if self._in_flight is None:
                self.lock.release()
            else:
                # Nobody knows yet what was decided: who comes next must wait until that is known.
                self._in_flight.add_done_callback(self._release)

    async def _take_lock(self) -> None:
        if not self.lock.locked() and not self._in_line:
            await self.lock.acquire()  # at once: nothing to bound
            return
        self._in_line += 1
        try:
            with reading(self._node.settings.storage_timeout_seconds):
                await self.lock.acquire()
        finally:
            self._in_line -= 1

    def _release(self, settled: asyncio.Future[None]) -> None:
        if not settled.cancelled():
            settled.exception()  # looked at: who waited for it was told already
        self.lock.release()

    @decided_anew
    async def change(self, fields: Mapping[str, Any]) -> SessionRecord:
        """Replace fields of the record (title, persona, agent, config, metadata) and tell every stream."""
        async with self.transition():
            operations = [
                {"op": "replace", "path": f"/session/{name}", "value": value}
                for name, value in fields.items()
                if name != "config"
            ]
            if fields.get("persona") is not None:
                check_persona(self._node.agent(fields.get("agent", self.record.agent)), fields["persona"])
            changed = {**fields, "title_given": True} if fields.get("title") is not None else dict(fields)
            news = [events.state_delta(operations)] if operations else []
            await self._commit(self._housekeeping(news, change=changed))
            return self.record

    def touch(self) -> None:
        """Count the end of a stream as activity, so that a reader who leaves has the whole timeout to come back."""
        if self.ended is None and self.log is not None and time.time() - self.log.record.last_activity > 1:
            self.log.append(Entry(change={"last_activity": time.time()}))

    def _housekeeping(
        self,
        news: Sequence[Event],
        *,
        change: Mapping[str, Any],
        writes: Sequence[Write] = (),
        on_commit: Callable[[], None] | None = None,
    ) -> Entry:
        wrapped = self._wrapped(news, f"{events.SYNC_PREFIX}{new_id()}", time.time()) if news else ()
        return Entry(wrapped, change=change, writes=writes, on_commit=on_commit)

    def _wrapped(self, news: Sequence[Event], run_id: str, when: float) -> Sequence[Event]:
        """Wrap events in a housekeeping run of their own, unless a run is open that can carry them."""
        is_open = self._tail is not None and self._tail.is_open
        return news if is_open else events.housekeeping(self.key.session_id, run_id, when, news)

    def _require_current(self) -> None:
        """Raise Stale when another node changed the session since the transition began: it is decided anew."""
        if self.live.follows != self._follows:
            raise Stale(retry_after_s=1)

    async def _commit(self, entry: Entry) -> None:
        try:
            self._require_current()
        except Stale as error:
            entry.settle(error)
            raise
        try:
            await self.live.commit(entry, timeout_s=self._node.settings.storage_timeout_seconds)
        finally:
            if entry.done is not None and not entry.done.done():
                self._in_flight = entry.done
