"""Reader: one client's place in one session's log.

It holds a position and nothing else, and it pulls: what the ring still has after the position, else what the storage
has. When neither has it any more, the stream ends, and its client, coming back with its cursor, is given a snapshot: in
the middle of a stream one could be illegal, because a run may be open there. So a slow client costs no memory and
nobody ever waits for it. Attaching is race-free by construction: the position comes first, then a read, then the wait.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Final

import anyio.to_thread

from ..ids import parse_cursor
from . import events
from .events import cut_frames
from .session import Session
from .sessionlog import SessionLog
from .snapshot import take_snapshot
from .storage import Storage

_LARGE_SNAPSHOT: Final = 200  # messages
_CHUNK_BYTES: Final = 256 << 10  # what one cold read takes from the storage


class Reader:
    """An async source of chunks of whole frames. Use it inside `Hub.attach`, from one task."""

    __slots__ = ("_epoch", "_position", "_session", "_storage", "_timeout_minutes", "_waiter", "push")

    def __init__(self, session: Session, storage: Storage, timeout_minutes: float) -> None:
        self._session = session
        self._storage = storage
        self._timeout_minutes = timeout_minutes
        self._epoch = ""
        self._position = -1
        self._waiter: asyncio.Future[None] | None = None
        self.push: Callable[[bytes], bool] | None = None
        """Takes news while `wait` waits, so that nobody need be woken for them; False when it did not take them."""

    @property
    def position(self) -> int:
        """Sequence number of the last event that was handed out."""
        return self._position

    def wake(self) -> None:
        """Let `wait` return, or push what is new; safe at any time."""
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        session, push = self._session, self.push
        log = session.log
        if push is not None and log is not None and session.ended is None and log.record.epoch == self._epoch:
            ring = log.ring
            if self._position != ring.last and (chunk := ring.take(self._position)) and push(chunk):
                self._position = ring.last
                return
        waiter.set_result(None)

    def hear(self, news: bytes, before: int, last: int) -> None:
        """The same, told what is new: the frames after `before`, up to `last`."""
        waiter, push = self._waiter, self.push
        if waiter is None or waiter.done():
            return
        # A log that began anew has woken everybody before anything is said in it.
        if push is not None and self._position == before and push(news):
            self._position = last
        else:
            self.wake()

    async def wait(self) -> None:
        """Wait until there may be something new. Call only when `take` returned nothing."""
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    async def begin(self, cursor_text: str | None) -> bytes:
        """Take the place that a client's cursor names; return what it must see first (a snapshot, or nothing).

        Raises:
            StorageError: neither log nor messages can be read now.
        """
        if cursor_text in (None, "", "-1"):
            return await self._snapshot(resumed=None)
        cursor = parse_cursor(cursor_text or "")
        log = self._session.live
        self._epoch = log.record.epoch
        if cursor is None or cursor.epoch != log.record.epoch or cursor.seq > log.ring.last:
            return await self._snapshot(resumed=False)
        self._position = cursor.seq
        if cursor.seq >= log.ring.base:
            return b""
        frames = await self._stored(log, None)
        return frames if frames is not None else await self._snapshot(resumed=False)

    def begin_at(self, seq: int) -> None:
        """Take a place that is known to be kept: just before a run that was started by the caller."""
        self._epoch = self._session.record.epoch
        self._position = seq

    async def take(self, until: int | None = None) -> bytes | None:
        """Return the frames after the position (up to `until`) and move behind them.

        b"" when there are none yet, None when they are gone.

        Raises:
            StorageError: they must come from the storage, which does not answer now.
        """
        log = self._session.log
        if log is None or log.record.epoch != self._epoch:
            return None  # the storage lost it, or its end
        if self._position == log.ring.last:
            return b""
        chunk = log.ring.take(self._position, until)
        if chunk is not None:
            self._position = log.ring.last if until is None else until
            return chunk
        return await self._stored(log, until)

    @property
    def is_at_end(self) -> bool:
        """Whether the session ended and everything of it was handed out."""
        log = self._session.log
        return self._session.ended is not None and (log is None or self._position >= log.ring.last)

    def farewell(self) -> bytes:
        """Return the last event of a stream whose session ended: without a cursor, there is nothing to come back to."""
        assert self._session.ended is not None
        now = time.time()
        session_id = self._session.key.session_id
        news = {
            "type": "CUSTOM",
            "name": "sessionstream.session_ended",
            "value": {"session_id": session_id, "reason": self._session.ended.reason},
        }
        wrapped = events.housekeeping(session_id, f"{events.SYNC_PREFIX}end", now, [news])
        return b"".join(map(events.bare_frame, wrapped))

    async def _stored(self, log: SessionLog, until: int | None) -> bytes | None:
        stored = await self._storage.read_log(log.record.ref, self._position, _CHUNK_BYTES)
        if stored is None or not stored.frames:
            return None
        # A commit may be readable before the loop has heard of it: what is not published yet comes from the ring.
        last = log.ring.last if until is None else min(until, log.ring.last)
        self._position = min(stored.last, last)
        return stored.frames if stored.last <= last else cut_frames(stored.frames, last)

    async def _snapshot(self, *, resumed: bool | None) -> bytes:
        snapshot = await take_snapshot(self._session, self._storage, self._timeout_minutes)
        self._epoch, self._position = snapshot.cursor
        encode = partial(snapshot.as_frames, resumed=resumed, now=time.time())
        if len(snapshot.messages) < _LARGE_SNAPSHOT:
            return encode()
        return await anyio.to_thread.run_sync(encode)  # a long history would hold up every other stream
