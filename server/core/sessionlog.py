"""SessionLog: one session's log, from the outbox to the readers.

Two sides, and the commit between them. The *append side* is the outbox: events in their order, consecutive deltas
merged while they wait. The *committed side* is what clients may see: the ring of frames, the transcript of the active
run, the record. `prepare` turns the outbox into frames and writes without changing the committed side; `publish`
makes them visible after the commit; `take_back` undoes `prepare`. Only the journal calls these three.

When no run is open, everything stands in the session's own rows and the journal is not needed for it: an ended run is
folded (its messages, its frames) in the commit that ends it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import anyio

from ..errors import SessionstreamError, Unavailable
from ..ids import Cursor
from . import events
from .fold import Fold
from .outbox import ENTRY_BYTES, Entry, Item, LoggedRun, Prepared, event_size
from .ports import (
    EndSession,
    Event,
    SessionRecord,
)
from .ring import Ring
from .transcript import Transcript


class SessionLog:
    """The log of a loaded session. Not thread-safe; all calls belong to the hub's loop."""

    __slots__ = (
        "__weakref__",
        "_outbox",
        "_ring_bytes",
        "_room",
        "_submit",
        "artifacts",
        "fold_version",
        "is_buried",
        "journal_position",
        "on_change",
        "pending_bytes",
        "readers",
        "record",
        "ring",
        "run",
        "transcript",
    )

    def __init__(self, record: SessionRecord, submit: Callable[[SessionLog], None], *, ring_bytes: int) -> None:
        self.record = record
        self.ring = Ring(record.seq)
        self.run: LoggedRun | None = None
        """The active run, as committed."""
        self.transcript: Transcript | None = None
        """Its messages, as committed."""
        self.artifacts: dict[str, Any] = dict(record.artifacts)
        """The state agents write, as appended."""
        self.fold_version = 0
        """Grows whenever stored messages change: who read them beside a change reads again."""
        self.journal_position: int | None = None
        """The journal is needed from here on for this session."""
        self.is_buried = False
        """Whether the storage has nothing of it any more: whatever was appended meanwhile must not come back."""
        self.pending_bytes = 0
        self.readers: set[Callable[[], None]] = set()
        """Called after each publish."""
        self.on_change: Callable[[], None] | None = None
        """Called when the record or the run changed, not for tokens."""
        self._submit = submit
        self._ring_bytes = ring_bytes
        self._outbox: list[Item] = []
        self._room: list[asyncio.Future[None]] = []

    @property
    def cursor(self) -> Cursor:
        """The newest position a client can hold."""
        return Cursor(self.record.epoch, self.ring.last)

    @property
    def is_settled(self) -> bool:
        """Whether nothing waits for a commit and nothing needs the journal."""
        return not self.pending_bytes and not self._outbox and self.journal_position is None

    # --- append side

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
            with anyio.move_on_after(timeout_s):
                await asyncio.shield(done)
                return entry
        finally:
            self._withdraw(entry)
        raise Unavailable(retry_after_s=1)

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

    # --- the commit between the sides

    def prepare(self) -> Prepared:
        """Take the outbox and return what a commit must write for it."""
        items = self._outbox
        if self.is_buried:
            self._outbox = []
            return Prepared(items, self.pending_bytes, [], [], self.record, folded=True)
        fold = Fold(self.record, self.ring, self.run, self.transcript)
        for item in items:
            fold.take(item)
        self._outbox = []
        return Prepared(items, self.pending_bytes, fold.frames, fold.finish(), fold.record, fold.is_folded)

    def discard(self) -> None:
        """Drop an outbox that cannot be prepared, and fail who waits for it."""
        items, self._outbox, self.pending_bytes = self._outbox, [], 0
        self._fail(items)

    def reject(self, part: Prepared) -> None:
        """Drop a part that the storage refuses for what is in it, and fail who waits for it."""
        self.pending_bytes -= part.size
        self._fail(part.items)

    def _fail(self, items: list[Item]) -> None:
        for item in items:
            if not isinstance(item, Entry):
                continue
            if item.closes is not None and not item.is_reduced:
                # The end of a run is never dropped, or its session were locked for ever: here at least its last event.
                item.events, item.writes, item.is_reduced = item.events[-1:], (), True
                self.append(item)
            else:
                item.settle(SessionstreamError())

    def take_back(self, part: Prepared, refusal: SessionstreamError | None) -> bool:
        """Undo `prepare`; say whether anything is left to commit.

        With a refusal, what is not required fails to its caller; without one everything waits for another try.
        """
        dropped = [item for item in part.items if isinstance(item, Entry) and not item.required and refusal is not None]
        self._outbox = [item for item in part.items if item not in dropped] + self._outbox
        for entry in dropped:
            self.pending_bytes -= ENTRY_BYTES + entry.size()
        for entry in dropped:
            entry.settle(refusal)
        return bool(self._outbox)

    def publish(self, part: Prepared, position: int) -> None:
        """Make a committed part visible and wake everybody who waits for it."""
        changed = part.record is not self.record
        self.record = part.record
        self.is_buried = self.is_buried or any(isinstance(write, EndSession) for write in part.writes)
        self.ring.extend(part.frames)
        self.pending_bytes -= part.size
        for item in part.items:
            changed = self._apply(item) or changed
        if part.folded:
            self.ring.spilled = self.ring.last
            self.journal_position = None
        elif self.journal_position is None and part.frames:
            self.journal_position = position
        self._bound_ring()
        self._wake()
        for item in part.items:
            if isinstance(item, Entry):
                item.settle()
        if changed and self.on_change is not None:
            self.on_change()

    def _apply(self, item: Item) -> bool:
        """Fold an item into the committed side; say whether it is news for those who list sessions."""
        if isinstance(item, Entry):
            return self._apply_entry(item)
        if self.transcript is not None:
            self.transcript.apply(item)
        return False

    def _wake(self) -> None:
        for waiter in self._room:
            if not waiter.done():
                waiter.set_result(None)
        self._room.clear()
        for wake in self.readers:
            wake()

    def restore(self, frames: list[bytes], *, first: int, stored: int) -> None:
        """Take up the log where a crash left it: frames from `first` on, of which those up to `stored` are in rows."""
        self.ring = Ring(first - 1)
        self.ring.extend(frames)
        self.ring.spilled = max(stored, first - 1)
        self.journal_position = 0

    def spill(self) -> None:
        """Ask that what only ring and journal hold is written to the session's own rows."""
        self.append(Entry(required=True, spills=True))

    def _apply_entry(self, entry: Entry) -> bool:
        if entry.opens is not None:
            self.run, self.transcript = entry.opens, Transcript()
            self.run.first, self.run.opened = entry.first, entry.last
        if self.transcript is not None:
            for event in entry.events:
                self.transcript.apply(event)
        if entry.clears:
            self.ring.drop_through(entry.first - 1)
            self.fold_version += 1
        if entry.closes is not None:
            entry.closes.last = entry.last
            entry.closes.messages = self.transcript.messages() if self.transcript else []
            self.run = self.transcript = None
        if self.run is None:
            self.fold_version += 1
        changes_run = entry.opens is not None or entry.closes is not None
        entry.closes = None  # the run keeps its last entry: who waits for it asks there; as a cycle both would stay
        return changes_run

    def _bound_ring(self) -> None:
        if self.ring.size <= self._ring_bytes:
            return
        self.ring.trim(self._ring_bytes // 2)
        if self.ring.size > self._ring_bytes:
            self.spill()
