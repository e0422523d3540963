"""Leases: how nodes know of each other that they live, and who ends what a dead one left.

Each node holds one lease in the shared storage and renews it; its runs are as good as that. Of the lease time, most is
the life of the lease itself; the rest is the time that another node watches a lapsed one before it acts, so that nodes
which lost the storage together, because it was restarted, find time to renew. A node that could not renew for the whole
time stops its runs: others may have ended them, and what it still says is refused by their fences.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import anyio

from ..errors import Gone, NotFound, SessionstreamError, Unavailable
from .ports import SessionKey, StorageError
from .resident import Node
from .session import Session
from .storage import Sharing, Storage

_log = logging.getLogger("sessionstream.leases")

_LIFE: Final = 0.6  # of the lease time; the rest is patience and the time it takes
_PATIENCE: Final = 0.25
_QUEUE_PATIENCE_S: Final = 1.0  # who ended the run starts the next at once; two who do it are one by their commits
_BEATS: Final = 10  # in a lease time
_LONGEST_BEAT_S: Final = 1.0


_Seen = tuple[str, str | SessionKey]


class Leasing(Node, Protocol):
    """What leases need of the hub."""

    sessions: dict[SessionKey, Session]
    storage: Storage
    total: int
    is_draining: bool

    def session(self, key: SessionKey) -> Any:
        """Hold a session: an async context manager."""


class Leases:
    """The lease of one node, and its watch over those of others."""

    def __init__(self, hub: Leasing, sharing: Sharing) -> None:
        self._hub = hub
        self._sharing = sharing
        self._lease_s = hub.settings.lease_seconds
        self._beat_s = min(_LONGEST_BEAT_S, self._lease_s / _BEATS)
        self._renewed_at = 0.0
        self._first_seen: dict[_Seen, float] = {}
        """When a lapsed node, a queue or a run that nobody works on, was seen first."""
        self._kept: dict[SessionKey, float] = {}
        """When a session with streams was last said to be in use."""

    def require(self) -> None:
        """Raise Unavailable while other nodes may take this one for dead."""
        if self._is_lapsed():
            raise Unavailable(retry_after_s=1)

    def _is_lapsed(self) -> bool:
        return time.monotonic() - self._renewed_at > self._lease_s

    async def renew(self) -> None:
        """Renew the lease. Counted from before it was asked for: the storage counts from later."""
        asked_at = time.monotonic()
        try:
            with anyio.fail_after(self._lease_s / 2):
                await self._sharing.renew_lease(self._lease_s * _LIFE)
        except TimeoutError as error:
            raise StorageError("the lease was not renewed in time") from error
        self._renewed_at = asked_at

    # --- our own

    async def keep(self) -> None:
        """Renew for as long as the node lives; stop its runs when that fails for too long."""
        while True:
            await anyio.sleep(self._beat_s)
            await _tried(self.renew)
            if self._is_lapsed():
                self._stop_runs()

    def _stop_runs(self) -> None:
        for session in list(self._hub.sessions.values()):
            run = session.run
            if run is not None and not run.is_foreign and run.stop(reason="lease_lost"):
                _log.warning("run %s is stopped: the storage was not reached for %g s", run.run_id, self._lease_s)

    # --- those of others

    async def sweep(self) -> None:
        """End what dead nodes left, go on with queues they left, say which sessions are in use here."""
        while True:
            await anyio.sleep(self._beat_s)
            if self._hub.is_draining:
                continue
            steps = (self._end_orphans, self._end_unattended, self._start_queues, self._keep_streams, self._count)
            if self._is_lapsed() or not all([await _tried(step) for step in steps]):
                self._first_seen.clear()  # who was seen before the storage was away gets the whole patience again

    async def _end_orphans(self) -> None:
        lapsed = await self._sharing.lapsed()
        for node_id, keys in lapsed.items():
            if not self._is_patience_over(("node", node_id), self._lease_s * _PATIENCE):
                continue
            ended = [await self._end_orphan(key, node_id) for key in keys]
            if all(ended):
                await self._sharing.forget_node(node_id)
                _log.warning("node %s is gone: of its runs %d were looked after here", node_id, len(keys))
        self._forget_seen(lambda one: one[0] == "node" and one[1] not in lapsed)

    async def _end_unattended(self) -> None:
        """End runs that were seized for this node and left open, because the answer was lost or the end refused."""
        held = await self._sharing.held()
        unattended = [key for key in held if not self._is_driven(key)]
        for key in unattended:
            if self._is_patience_over(("run", key), self._lease_s * _PATIENCE):
                await self._end_orphan(key, self._sharing.node_id)
        self._forget_seen(lambda one: one[0] == "run" and one[1] not in unattended)

    def _is_driven(self, key: SessionKey) -> bool:
        session = self._hub.sessions.get(key)
        run = session.run if session is not None else None
        return run is not None and not run.is_foreign

    async def _end_orphan(self, key: SessionKey, node_id: str) -> bool:
        try:
            async with self._hub.session(key) as session:
                await session.end_orphan(node_id)
        except (NotFound, Gone):
            return True
        except SessionstreamError as error:
            _log.warning("a run of node %s is not ended yet: %s", node_id, error)
            return False
        return True

    async def _start_queues(self) -> None:
        waiting = await self._sharing.waiting()
        for key in waiting:
            if self._is_patience_over(("queue", key), min(_QUEUE_PATIENCE_S, self._lease_s * _PATIENCE)):
                await self._start_queue(key)
        self._forget_seen(lambda one: one[0] == "queue" and one[1] not in waiting)

    async def _start_queue(self, key: SessionKey) -> None:
        try:
            async with self._hub.session(key) as session:
                if session.run is None and session.record.queue:
                    self._hub.start_later(session)
                else:
                    self._first_seen.pop(("queue", key), None)
        except SessionstreamError:
            return  # it is gone, or looked at again

    def _is_patience_over(self, one: _Seen, patience_s: float) -> bool:
        now = time.monotonic()
        return now - self._first_seen.setdefault(one, now) >= patience_s

    def _forget_seen(self, is_over: Callable[[_Seen], bool]) -> None:
        self._first_seen = {one: when for one, when in self._first_seen.items() if not is_over(one)}

    async def _keep_streams(self) -> None:
        """Say which sessions have streams: no other node knows, and they must not expire."""
        now = time.monotonic()
        again_s = self._hub.settings.session_timeout_minutes * 60 / 4
        used = [key for key, session in self._hub.sessions.items() if session.streams]
        due = [key for key in used if now - self._kept.get(key, -again_s) >= again_s]
        if due and again_s:
            await self._sharing.keep(due)
        self._kept = {key: now if key in due else self._kept.get(key, now) for key in used}

    async def _count(self) -> None:
        self._hub.total = await self._hub.storage.count(None)


async def _tried(step: Callable[[], Awaitable[None]]) -> bool:
    try:
        await step()
        return True
    except (StorageError, SessionstreamError, TimeoutError) as error:
        _log.debug("%s was put off: %s", getattr(step, "__name__", "a step"), error)
    except Exception:  # boundary: a defect here must not take the node down; its lease runs out at worst
        _log.exception("%s failed", getattr(step, "__name__", "a step"))
    return False
