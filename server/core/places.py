"""Places: how many sessions there may be, of one user and of all; those who come at once are counted too.

A place is held from the check until the session that takes it is committed. A node that has the storage for itself
counts a user's sessions once and keeps count from then on, so that any number of them are made at once; where nodes
share it, they are made one after the other, each counted anew. Expired ones are cleared before anybody is refused.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Protocol
from weakref import WeakValueDictionary

from ..errors import LimitReached, Unavailable
from ..settings import Settings
from .reading import reading
from .storage import Storage
from .upkeep import Upkeep

_KEPT: Final = 10_000
_EXPIRED_FOR_ONE: Final = 20  # who needs a place waits for so many to end, not for all


class Counted(Protocol):
    """What counting places needs of the hub."""

    settings: Settings
    storage: Storage
    upkeep: Upkeep
    total: int
    """Live sessions in the storage."""


class _Count:
    """A user's sessions: those that are stored, as far as this node knows, and those that are being made."""

    __slots__ = ("__weakref__", "door", "stored", "taken")

    def __init__(self) -> None:
        self.door = asyncio.Lock()
        self.stored: int | None = None
        self.taken = 0

    def is_known_below(self, limit: int) -> bool:
        """Whether nothing need be counted, or waited for, to see that there is room."""
        return self.stored is not None and self.stored + self.taken < limit and not self.door.locked()


class Places:
    """The places of one hub."""

    def __init__(self, hub: Counted) -> None:
        self._hub = hub
        self._counts: WeakValueDictionary[str, _Count] = WeakValueDictionary()
        self._kept: OrderedDict[str, _Count] = OrderedDict()
        """Those counted last, so that they need not be counted again."""
        self._ends = 0
        self._taken = 0
        """Places of sessions that are being made."""

    @asynccontextmanager
    async def place(self, user_id: str) -> AsyncIterator[None]:
        """Hold a place for a session that is made inside.

        Raises:
            LimitReached: the user has too many. Unavailable: all together have.
            Unavailable also when they cannot be counted.
        """
        async with self._place_of(user_id):
            if not self._has_room():
                with reading(self._hub.settings.storage_timeout_seconds):
                    await self._hub.upkeep.expire(limit=_EXPIRED_FOR_ONE)
            if not self._has_room():
                raise Unavailable(code="server_full", retry_after_s=60)
            self._taken += 1
            try:
                yield
            finally:
                self._taken -= 1

    def ended(self, user_id: str) -> None:
        """Hear that a session of the user is gone."""
        self._ends += 1
        count = self._counts.get(user_id)
        if count is not None and count.stored is not None:
            count.stored -= 1

    @asynccontextmanager
    async def _place_of(self, user_id: str) -> AsyncIterator[None]:
        limit = self._hub.settings.max_sessions_per_user
        if not limit:
            yield
            return
        count = self._counts.get(user_id)
        if count is None:
            count = self._counts[user_id] = _Count()
        if self._hub.storage.sharing is not None:
            await self._enter(user_id, count, limit)
            try:
                yield
            finally:
                count.door.release()
            return
        if not count.is_known_below(limit):
            await self._enter(user_id, count, limit)
            count.door.release()
        count.taken += 1
        self._keep(user_id, count)
        try:
            yield
            assert count.stored is not None
            count.stored += 1
        finally:
            count.taken -= 1

    async def _enter(self, user_id: str, count: _Count, limit: int) -> None:
        """Come through the door, which is left to the caller to close, if there is room."""
        with reading(self._hub.settings.storage_timeout_seconds):
            await count.door.acquire()
            try:
                await self._require_room_of(user_id, count, limit)
            except BaseException:
                count.door.release()
                raise

    def _keep(self, user_id: str, count: _Count) -> None:
        self._kept[user_id] = count
        self._kept.move_to_end(user_id)
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)

    def _has_room(self) -> bool:
        limit = self._hub.settings.max_sessions
        return not limit or self._hub.total + self._taken < limit

    async def _require_room_of(self, user_id: str, count: _Count, limit: int) -> None:
        if await self._counted(user_id, count) + count.taken < limit:
            return
        await self._hub.upkeep.expire(user_id)
        if await self._counted(user_id, count) + count.taken >= limit:
            raise LimitReached(code="limit_sessions_per_user", retry_after_s=60)

    async def _counted(self, user_id: str, count: _Count) -> int:
        """Return how many sessions of the user are stored."""
        if self._hub.storage.sharing is not None:
            return await self._hub.storage.count(user_id)
        while count.stored is None:
            ends = self._ends
            stored = await self._hub.storage.count(user_id)
            if ends == self._ends:  # else one may have ended while they were counted
                count.stored = stored
        return count.stored
