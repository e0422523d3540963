"""The move: session by session, each whole or not at all, so that it can end anywhere and be called again.

What the target has already, and is equal, is passed over; what differs is written anew. A target that has something of
its own is refused before anything is written: a session that the source does not know, or one that went on since.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from scripts.migration.progress import Progress
from server.core.ports import SessionKey, SessionRecord, StorageError, Tombstone
from server.storage.moving import Content, EndedSession, Movable, MoveRefused, WholeSession, content

_IN_FLIGHT: Final = 4
_BURIED_AT_ONCE: Final = 100


async def each(keys: AsyncIterator[SessionKey], work: Callable[[SessionKey], Awaitable[None]]) -> None:
    """Call `work` for every key, a few at once."""
    give, take = anyio.create_memory_object_stream[SessionKey](0)

    async def follow(mine: MemoryObjectReceiveStream[SessionKey]) -> None:
        async with mine:
            async for key in mine:
                await work(key)

    async with anyio.create_task_group() as tasks, give:
        for _ in range(_IN_FLIGHT):
            tasks.start_soon(follow, take.clone())
        take.close()
        async for key in keys:
            await give.send(key)


async def read_content(storage: Movable, key: SessionKey) -> tuple[WholeSession | None, Content | None]:
    """Return a session and its hash; None for one that is not there, or is there and cannot be read."""
    try:
        session = await storage.read(key)
    except StorageError as error:
        if not error.is_defect:
            raise
        return None, None
    return (session, content(session)) if session is not None else (None, None)


class Move:
    """One move from a source to a target; both are open."""

    def __init__(self, source: Movable, target: Movable) -> None:
        self._source = source
        self._target = target
        self._leftovers: list[SessionKey] = []
        self.written = 0
        self.passed = 0

    async def run(self) -> None:
        """Move everything.

        Raises:
            MoveRefused: something could be lost; nothing was written.
            StorageError: one of the storages failed; calling again goes on from there.
        """
        await self._source.require_stopped()
        await self._source.require_settled()
        await self._target.require_stopped()
        await self._require_own()
        progress = Progress("moving", await self._source.count())

        async def move(key: SessionKey) -> None:
            await self._move(key)
            progress.step()

        try:
            await each(self._source.keys(), move)
        finally:
            progress.close()
        for key in self._leftovers:
            await self._target.drop(key)
        await self._bury()
        await self._target.finish()
        await self._source.require_stopped()
        await self._target.require_stopped()

    async def _move(self, key: SessionKey) -> None:
        session, wanted = await read_content(self._source, key)
        if session is None:
            return  # it cannot be read: the comparison names it
        _, found = await read_content(self._target, key)
        if found == wanted:
            self.passed += 1
            return
        await self._target.write(session)
        self.written += 1

    # --- what the target may have

    async def _require_own(self) -> None:
        """Refuse a target that has anything but a part of this source."""
        async for key in self._target.keys():
            there = await record_of(self._target, key)
            here = await self._source.load(key)
            if isinstance(here, Tombstone) and (there is None or there.last_activity <= here.ended_at):
                self._leftovers.append(key)
            elif not isinstance(here, SessionRecord):
                raise MoveRefused(f"the target has sessions of its own, such as {key.session_id}: use an empty one")
            elif there is not None:
                _require_older(there, here)
        async for one in self._target.ended():
            if isinstance(await self._source.load(one.key), SessionRecord):
                raise MoveRefused(f"the target was used since: session {one.key.session_id} has ended there")

    async def _bury(self) -> None:
        waiting: list[EndedSession] = []
        async for one in self._source.ended():
            if isinstance(await self._source.load(one.key), Tombstone):
                waiting.append(one)
            if len(waiting) == _BURIED_AT_ONCE:
                await self._target.bury(waiting)
                waiting = []
        if waiting:
            await self._target.bury(waiting)


async def record_of(storage: Movable, key: SessionKey) -> SessionRecord | None:
    """Return a session's record, None for one that is not there, or is there and cannot be read."""
    try:
        found = await storage.load(key)
    except StorageError as error:
        if not error.is_defect:
            raise
        return None
    return found if isinstance(found, SessionRecord) else None


def _require_older(there: SessionRecord, here: SessionRecord) -> None:
    if there.created_at != here.created_at:
        raise MoveRefused(f"session {here.session_id} of the target is another one: use an empty target")
    if there.last_activity > here.last_activity or (there.epoch == here.epoch and there.seq > here.seq):
        raise MoveRefused(f"the target was used since: session {here.session_id} went on there")
