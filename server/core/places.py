"""Places: how many sessions there may be, of one user and of all; those who come at once are counted too.

A place is held from the check until the session that takes it is committed. Sessions of one user are made one after
the other, so that the storage's count of them is exact; expired ones are cleared before anybody is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Protocol
from weakref import WeakValueDictionary

from ..errors import LimitReached, Unavailable
from ..settings import Settings
from .storage import Storage
from .upkeep import Upkeep

_EXPIRED_FOR_ONE: Final = 20  # who needs a place waits for so many to end, not for all


class Counted(Protocol):
    """What counting places needs of the hub."""

    settings: Settings
    storage: Storage
    upkeep: Upkeep
    total: int
    """Live sessions in the storage."""


class Places:
    """The places of one hub."""

    def __init__(self, hub: Counted) -> None:
        self._hub = hub
        self._doors: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._taken = 0
        """Places of sessions that are being made."""

    @asynccontextmanager
    async def place(self, user_id: str) -> AsyncIterator[None]:
        """Hold a place for a session that is made inside.

        Raises:
            LimitReached: the user has too many. Unavailable: all together have.
            StorageError: they cannot be counted.
        """
        door = self._doors.get(user_id)
        if door is None:
            door = self._doors[user_id] = asyncio.Lock()
        async with door:
            if not self._has_room():
                await self._hub.upkeep.expire(limit=_EXPIRED_FOR_ONE)
            if not self._has_room():
                raise Unavailable(code="server_full", retry_after_s=60)
            self._taken += 1
            try:
                await self._require_room_of(user_id)
                yield
            finally:
                self._taken -= 1

    def _has_room(self) -> bool:
        limit = self._hub.settings.max_sessions
        return not limit or self._hub.total + self._taken < limit

    async def _require_room_of(self, user_id: str) -> None:
        hub, limit = self._hub, self._hub.settings.max_sessions_per_user
        if not limit or await hub.storage.count(user_id) < limit:
            return
        await hub.upkeep.expire(user_id)
        if await hub.storage.count(user_id) >= limit:
            raise LimitReached(code="limit_sessions_per_user", retry_after_s=60)
