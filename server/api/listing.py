"""GET /api/sessions/stream: the caller's session list, live.

A snapshot, then patches: what changed since the last one, together, at most every `_PAUSE_S`. There is no cursor: the
list is small and a snapshot on every connect is simpler than a log. Each part is a housekeeping run, so that the stream
is legal for the protocol's own clients.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any, Final

import anyio
from starlette.requests import Request
from starlette.responses import Response

from ..core import events
from ..core.hub import Hub
from ..core.ports import Event, SessionKey, SessionRecord, StorageError
from ..core.reading import reading
from ..core.snapshot import public_session
from ..ids import new_id
from .access import hub_of, principal_of
from .events import EventStream
from .sessions import as_listed

_PAUSE_S: Final = 0.2  # below what a person sees as late, above what a busy list would send for every run
_LISTED: Final = 200
_THREAD: Final = "sessions"


class ListSource:
    """One client's view of a user's sessions: what it was told last, and which of them changed since."""

    def __init__(self, hub: Hub, user_id: str) -> None:
        self._hub = hub
        self._user_id = user_id
        self._told: dict[str, dict[str, Any]] = {}
        self._changed: dict[SessionKey, None] = {}
        self._may_lack = False
        self._waiter: asyncio.Future[None] | None = None
        self._quiet_until = 0.0

    def note(self, key: SessionKey | None) -> None:
        """Hear that a session changed; None: that word of it may have been lost."""
        if not self._changed:
            self.wake()
        if key is None:
            self._may_lack = True
        else:
            self._changed[key] = None

    async def begin(self) -> bytes:
        """Return the snapshot."""
        page = await self._hub.storage.sessions(self._user_id, limit=_LISTED, cursor=None, query=None)
        self._told = {record.session_id: as_listed(self._hub, record) for record in page.records}
        return _wrapped({"type": "STATE_SNAPSHOT", "snapshot": {"sessions": self._told}})

    async def take(self) -> bytes | None:
        """Return a patch for all that changed."""
        if not self._changed and not self._may_lack:
            return b""
        early_s = self._quiet_until - time.monotonic()
        if early_s > 0:
            # Also a timer may fire a little early: whoever finds that it is too soon comes back for it.
            asyncio.get_running_loop().call_later(early_s, self.wake)
            return b""
        self._quiet_until = time.monotonic() + _PAUSE_S
        operations: list[Event] = []
        changed: dict[SessionKey, None] = {}
        try:
            with anyio.fail_after(self._hub.settings.storage_timeout_seconds):
                if self._may_lack:
                    await self._compare()
                changed, self._changed = self._changed, {}
                states = {key: await self._now(key) for key in changed}
        except (StorageError, TimeoutError):
            self._changed = {**changed, **self._changed}  # told later: the heartbeat comes back for it
            return b""
        for key, now in states.items():
            operations += self._patch(key, now)
        return _wrapped(events.state_delta(operations)) if operations else b""

    async def _compare(self) -> None:
        """Note every session that is not as it was told."""
        page = await self._hub.storage.sessions(self._user_id, limit=_LISTED, cursor=None, query=None)
        listed = {record.session_id: as_listed(self._hub, record) for record in page.records}
        for session_id in {**listed, **self._told}:
            if listed.get(session_id) != self._told.get(session_id):
                self._changed[SessionKey(self._user_id, session_id)] = None
        self._may_lack = False

    def _patch(self, key: SessionKey, now: dict[str, Any] | None) -> list[Event]:
        path = f"/sessions/{key.session_id}"
        told = self._told.get(key.session_id)
        if now == told:
            return []
        if now is None:
            del self._told[key.session_id]
            return [{"op": "remove", "path": path}]
        self._told[key.session_id] = now
        if told is None:
            return [{"op": "add", "path": path, "value": now}]
        return [
            {"op": "replace", "path": f"{path}/{name}", "value": value}
            for name, value in now.items()
            if told.get(name) != value
        ]

    async def _now(self, key: SessionKey) -> dict[str, Any] | None:
        session = self._hub.sessions.get(key)
        if session is not None and session.is_loaded:
            await self._hub.others.refresh(session)
        if session is not None and session.ended is not None:
            return None
        if session is not None and session.log is not None:
            return public_session(session.log, self._hub.settings.session_timeout_minutes)
        record = await self._hub.storage.load(key)
        return as_listed(self._hub, record) if isinstance(record, SessionRecord) else None

    async def wait(self) -> None:
        """Wait until something changed."""
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def wake(self) -> None:
        """Let `wait` return."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    is_at_end = False

    def farewell(self) -> bytes:
        """Return nothing: a list does not end."""
        return b""


def _wrapped(event: Event) -> bytes:
    run_id = f"{events.SYNC_PREFIX}{new_id()}"
    return b"".join(map(events.bare_frame, events.housekeeping(_THREAD, run_id, time.time(), [event])))


async def sessions_stream(request: Request) -> Response:
    """GET /api/sessions/stream."""
    hub, user_id = hub_of(request), principal_of(request).user_id
    hub.require_open()
    async with AsyncExitStack() as stack:
        stack.enter_context(hub.streams.place(user_id))
        source = ListSource(hub, user_id)
        stack.enter_context(hub.watchers.watching(user_id, source.note))
        with reading(hub.settings.storage_timeout_seconds):
            first = await source.begin()
        return EventStream(hub, source, first, stack.pop_all())
