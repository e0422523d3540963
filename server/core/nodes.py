"""Nodes: follow what other nodes commit to the sessions that are in memory here.

Word of a commit (a wake) only says where to look; what is taken up always comes from the storage, in the order of the
log. Word may be lost: whoever is about to use a session looks first (`refresh`), and sessions with streams are compared
with the storage every few seconds. All looks that are asked for meanwhile go out together, as commits do.

A session in memory is moved on by its own commits and by what is read here, never by both at once: what was read while
a part was in flight, or before the last move, is read again.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol
from weakref import WeakSet

import anyio

from .leases import Leases, Leasing
from .outbox import Stale
from .ports import RunRecord, StorageError, Tombstone
from .question import Question, RunLimits
from .resident import Resident
from .run import Run
from .session import Session
from .sessionlog import SessionLog
from .storage import Change, Mark, Sharing, Wake
from .watchers import Watchers

_log = logging.getLogger("sessionstream.nodes")

_AGAIN_S: Final = 0.2
_CHECK_S: Final = 3.0  # a lost wake is found within this
_CHECKS: Final = 10  # in so many parts, so that no look is a big one
_LIST_CHECKS: Final = 10 * _CHECKS  # lists are longer, and late news of them does less harm
_PATIENT_ATTEMPTS: Final = 2
_HELD_S: Final = 0.005
_TURN_S: Final = 0.1  # some round trips; after that the others go on
_NO_LIMITS: Final = RunLimits(timeout_s=0, grace_s=1, max_bytes=1, pending_bytes=1)


class Followed(Leasing, Protocol):
    """What following needs of the hub."""

    watchers: Watchers


class _Look(NamedTuple):
    session: Session
    log: SessionLog
    version: int
    mark: Mark


class Nodes:
    """The other nodes, seen from one hub. `run` is owned by it."""

    def __init__(self, hub: Followed, sharing: Sharing) -> None:
        self._hub = hub
        self._sharing = sharing
        self._leases = Leases(hub, sharing)
        self._wanted: dict[Session, asyncio.Future[None]] = {}
        self._waiter: asyncio.Future[None] | None = None
        self._torn: WeakSet[SessionLog] = WeakSet()
        """Logs that cannot go on from where they are: they are taken up anew."""

    # --- life

    async def join(self) -> None:
        """Take the lease."""
        await self._leases.renew()

    async def run(self) -> None:
        """Follow, until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._listen)
            tasks.start_soon(self._look)
            tasks.start_soon(self._check)
            tasks.start_soon(self._leases.keep)
            tasks.start_soon(self._leases.sweep)

    async def leave(self) -> None:
        """Give the lease back."""
        try:
            with anyio.fail_after(self._hub.settings.drain_seconds):
                await self._sharing.drop_lease()
        except (StorageError, TimeoutError) as error:
            _log.warning("the lease was not given back, it runs out by itself: %s", error)

    def require_lease(self) -> None:
        """Raise Unavailable while other nodes may take this one for dead."""
        self._leases.require()

    # --- what sessions ask for

    async def refresh(self, session: Resident) -> None:
        """Bring a session to where the storage is."""
        assert isinstance(session, Session)
        await asyncio.shield(self._want(session))

    async def catch_up(self, logs: Sequence[SessionLog]) -> None:
        """Bring logs to where the storage is, at once: the journal waits."""
        left = self._sessions_of(logs)
        for log in {*logs} - {session.log for session in left}:
            log.leave(Stale())  # its session is not in memory any more: nobody waits for it
        before = {session: session.log.version for session in left if session.log is not None}
        while left:
            left = await self._read_all(left)
        if any(session.log is not None and session.log.version == version for session, version in before.items()):
            await anyio.sleep(_HELD_S)  # nothing is new: another node has its turn, and needs a moment for it

    async def _read_all(self, sessions: Sequence[Session]) -> list[Session]:
        """Read what happened to sessions, even when what is stored of one makes no sense."""
        try:
            return await self._read(sessions)
        except StorageError as error:
            if not error.is_defect:
                raise
            if len(sessions) > 1:
                return [again for one in sessions for again in await self._read_all([one])]
            _log.error("session %s cannot be followed: %s", sessions[0].key.session_id, error)
            sessions[0].vanish()
            return []

    async def take_turn(self, session: Resident, attempt: int) -> None:
        """Catch up; from the third attempt on keep the others out meanwhile."""
        if attempt >= _PATIENT_ATTEMPTS and session.log is not None:
            while session.log is not None and not await self._sharing.hold(session.log.record.ref, _TURN_S):  # noqa: ASYNC110 - another process has it
                await anyio.sleep(_HELD_S)
        await self.refresh(session)

    async def take_over(self, session: Resident, run: Run) -> None:
        """Seize a run, and take up all that its node has said in it."""
        await self._sharing.seize(session.live.record.ref, run.run_id)
        await self.refresh(session)
        if session.run is run and session.live.transcript is not None:
            run.regain(session.live.transcript)

    # --- hearing

    async def _listen(self) -> None:
        is_deaf = False
        while True:
            try:
                async for wakes in self._sharing.wakes():
                    is_deaf = False
                    if not wakes:
                        self._want_all(self._hub.sessions.values())
                        self._compare_lists(0, 1)
                    for wake in wakes:
                        self._heed(wake)
            except StorageError as error:
                if not is_deaf:
                    _log.warning("%s; sessions are compared every %g s instead", error, _CHECK_S)
                is_deaf = True
            except Exception:  # boundary: what cannot be understood is compared all the same
                _log.exception("word of other nodes cannot be understood")
            await anyio.sleep(_AGAIN_S)

    def _heed(self, wake: Wake) -> None:
        session = self._hub.sessions.get(wake.key)
        log = session.log if session is not None else None
        if session is not None and log is not None and wake.version > log.version and _is_followed(session, log):
            self._want(session)
        if wake.is_news:
            self._hub.watchers.tell(wake.key.user_id, wake.key)

    async def _check(self) -> None:
        """Look at every followed session now and then: word of it may be lost."""
        for turn in itertools.count():
            await anyio.sleep(_CHECK_S / _CHECKS)
            sessions = list(self._hub.sessions.values())
            self._want_all(sessions[turn % _CHECKS :: _CHECKS])
            self._compare_lists(turn, _LIST_CHECKS)

    def _compare_lists(self, turn: int, turns: int) -> None:
        """Let some of the list streams compare what they told: word of sessions that are in no memory is lost too."""
        for user_id in self._hub.watchers.users[turn % turns :: turns]:
            self._hub.watchers.tell(user_id, None)

    def _want_all(self, sessions: Iterable[Session]) -> None:
        for session in sessions:
            if session.log is not None and _is_followed(session, session.log):
                self._want(session)

    # --- looking

    def _want(self, session: Session) -> asyncio.Future[None]:
        """Have a session looked at, by a look that begins after this."""
        done = self._wanted.get(session)
        if done is None:
            done = self._wanted[session] = asyncio.get_running_loop().create_future()
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)
        return done

    async def _look(self) -> None:
        while True:
            if not self._wanted:
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter
            wanted, self._wanted = self._wanted, {}
            try:
                again = await self._read(list(wanted))
            except StorageError as error:
                if error.is_defect and len(wanted) > 1:
                    await self._look_apart(wanted)
                    continue
                _settle(wanted.values(), error)
                await anyio.sleep(_AGAIN_S)
                continue
            for session in again:
                _chain(self._want(session), wanted.pop(session))
            _settle(wanted.values(), None)
            if again:
                await anyio.sleep(_HELD_S)  # a part of it is in flight: nothing can be taken up before that is known

    async def _look_apart(self, wanted: Mapping[Session, asyncio.Future[None]]) -> None:
        """Look at sessions one by one: what cannot be read of one must not hide the others."""
        for session, done in wanted.items():
            try:
                if await self._read([session]):
                    _chain(self._want(session), done)
                else:
                    _settle([done], None)
            except StorageError as error:
                _settle([done], error)

    async def _read(self, sessions: Sequence[Session]) -> list[Session]:
        """Read what happened to sessions and take it up; return those that must be read again."""
        looks = [self._look_of(session, session.log) for session in sessions if session.log is not None]
        if not looks:
            return []
        found = await self._sharing.changes([look.mark for look in looks])
        return [look.session for look, news in zip(looks, found, strict=True) if not self._is_taken(look, news)]

    def _is_taken(self, look: _Look, news: Change | Tombstone | str) -> bool:
        try:
            return self._has_taken(look, news)
        except Exception:  # boundary: a log that cannot be followed is taken up anew by who uses it next
            _log.exception("session %s cannot be followed", look.session.key.session_id)
            if look.session.log is not None and look.session.is_loaded:
                look.session.vanish()
            return True

    def _look_of(self, session: Session, log: SessionLog) -> _Look:
        record = log.record
        run_id = log.run.run_id if log.run is not None else None
        # A run is open of which nothing is in memory: the session was only just loaded.
        is_whole = log in self._torn or record.run_id != run_id
        mark = Mark(
            session.key,
            record.ref,
            record.epoch,
            -1 if is_whole else log.version,
            None if is_whole else log.ring.last,
            run_id,
        )
        return _Look(session, log, log.version, mark)

    def _has_taken(self, look: _Look, news: Change | Tombstone | str) -> bool:
        """Take up what was read; False when it must be read again."""
        session, log = look.session, look.log
        if session.log is not log or session.ended is not None or news == "same":
            return True
        if log.is_in_flight or log.version != look.version:
            return isinstance(news, Change) and log.version >= news.record.version
        if news == "absent":
            # A session that is being made is absent until its first commit.
            if session.is_loaded:
                _log.warning("session %s: the storage has lost it", session.key.session_id)
                session.vanish()
            return True
        if isinstance(news, Tombstone):
            session.bury(news)
            self._hub.watchers.tell(session.key.user_id, session.key)
            return True
        assert isinstance(news, Change)
        is_torn = news.frames is None or news.record.epoch != log.record.epoch
        if is_torn and look.mark.seq is not None:
            self._torn.add(log)
            return False
        self._torn.discard(log)
        log.follow(news, lambda run: self._foreign(log, run, news.node_id))
        session.followed()
        return True

    def _foreign(self, log: SessionLog, record: RunRecord, node_id: str) -> Run:
        """Return the run of another node, as it is known here."""
        question = Question(message="", message_id=record.message_id, digest=record.digest)
        run = Run(log, self._hub.agent(record.agent), question, _NO_LIMITS, run_id=record.run_id)
        run.started_at, run.first, run.opened = record.started_at, record.first, record.first
        run.is_foreign, run.node_id = True, node_id
        return run

    def _sessions_of(self, logs: Sequence[SessionLog]) -> list[Session]:
        found = [self._hub.sessions.get(log.record.key) for log in logs]
        return [one for one, log in zip(found, logs, strict=True) if one is not None and one.log is log]


def _is_followed(session: Session, log: SessionLog) -> bool:
    """Whether somebody here wants to hear of it at once; whoever else uses it looks first."""
    return bool(log.readers) or (log.run is not None and not log.run.is_foreign) or bool(session.pins)


def _settle(futures: Iterable[asyncio.Future[None]], error: StorageError | None) -> None:
    for future in futures:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
            future.exception()  # looked at: mostly nobody waits


def _chain(new: asyncio.Future[None], old: asyncio.Future[None]) -> None:
    """Let who waits for a look that must be repeated wait for the next one."""

    def settle(done: asyncio.Future[None]) -> None:
        error = done.exception()
        _settle([old], error if isinstance(error, StorageError) else None)

    new.add_done_callback(settle)
