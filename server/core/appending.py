"""The append side of a session's log: what waits for its commit, and who waits for that.

Entries stand in the order they were appended, consecutive deltas of a message merged. Nothing here is visible to a
client; nothing here is lost either, unless whoever appended it takes it back, or is told that it was refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import SessionstreamError, Unavailable
from . import events
from .outbox import ENTRY_BYTES, Entry, Item, event_size
from .ports import Event


class AppendSide:
    """The outbox of one session. Not thread-safe; all calls belong to the hub's loop."""

    __slots__ = ("_outbox", "_room", "_submit", "is_in_flight", "pending_bytes")

    def __init__(self, submit: Callable[[Any], None]) -> None:
        """Prepare; `submit` tells the journal that something waits in this log."""
        self._submit = submit
        self.pending_bytes = 0
        """What waits, or is being committed."""
        self.is_in_flight = False
        """Whether a part of it is being committed: what is read of it meanwhile may be that part."""
        self._outbox: list[Item] = []
        self._room: list[asyncio.Future[None]] = []

    def append_event(self, event: Event) -> None:
        """Append one event of the active run; a delta is merged into the one before it while that still waits."""
        outbox = self._outbox
        self.pending_bytes += event_size(event)
        if outbox:
            last = outbox[-1]
            if type(last) is dict and events.merge(last, event):
                return
        outbox.append(event)
        self._submit(self)

    def append(self, entry: Entry) -> None:
        """Append an entry; its `done`, if any, tells when it is committed."""
        self.pending_bytes += ENTRY_BYTES + entry.size()
        self._outbox.append(entry)
        self._submit(self)

    async def commit(self, entry: Entry, *, timeout_s: float) -> Entry:
        """Append an entry and wait until clients may see it.

        Raises:
            Unavailable: it was not committed in time. A required entry may still be; others are withdrawn,
                unless their commit is in flight just then.
        """
        entry.done = asyncio.get_running_loop().create_future()
        self.append(entry)
        return await self.committed(entry, timeout_s=timeout_s)

    async def committed(self, entry: Entry, *, timeout_s: float) -> Entry:
        """Wait for an entry that was appended with a `done`."""
        done = entry.done
        assert done is not None
        try:
            # Not a cancel scope around a shield: this is waited for at every POST, and costs a third of them.
            await asyncio.wait((done,), timeout=timeout_s)
        finally:
            self._withdraw(entry)
        if not done.done():
            raise Unavailable(retry_after_s=1)
        done.result()
        return entry

    def _withdraw(self, entry: Entry) -> None:
        """Take back what still waits and nobody waits for: who was told that it failed, or left, may ask again."""
        if entry.required or entry not in self._outbox:
            return
        self._outbox.remove(entry)
        self.pending_bytes -= ENTRY_BYTES + entry.size()
        entry.done = None
        entry.settle(Unavailable())

    async def room(self, limit_bytes: int) -> None:
        """Wait until fewer than `limit_bytes` wait for their commit: the storage paces a producer, no reader does."""
        while self.pending_bytes >= limit_bytes:
            waiter = asyncio.get_running_loop().create_future()
            self._room.append(waiter)
            await waiter

    def _let_in(self) -> None:
        """Let producers look whether there is room."""
        for waiter in self._room:
            if not waiter.done():
                waiter.set_result(None)
        self._room.clear()

    def _refuse(self, items: Sequence[Item], refusal: SessionstreamError) -> None:
        """Drop what is not required of `items` from the outbox, and fail who waits for it."""
        self._drop(dropped := [item for item in items if isinstance(item, Entry) and not item.required])
        for entry in dropped:
            entry.settle(refusal)

    def _drop(self, items: Sequence[Item]) -> None:
        gone = {id(item) for item in items}
        self._outbox = [item for item in self._outbox if id(item) not in gone]
        for item in items:
            self.pending_bytes -= ENTRY_BYTES + item.size() if isinstance(item, Entry) else event_size(item)
        if not self._outbox and not self.is_in_flight:
            self.pending_bytes = 0  # merged deltas weigh less than they did one by one
        self._let_in()
