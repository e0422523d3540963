"""SessionLog: one session's log, from the outbox to the readers.

Two sides, and the commit between them. The *append side* is the outbox: events in their order, consecutive deltas
merged while they wait. The *committed side* is what clients may see: the ring of frames, the transcript of the active
run, the record. `prepare` turns the outbox into frames and writes without changing the committed side; `publish`
makes them visible after the commit; `take_back` undoes `prepare`. Only the journal calls these three.

When no run is open, everything stands in the session's own rows and the journal is not needed for it: an ended run is
folded (its messages, its frames) in the commit that ends it. A storage that nodes share has no journal: everything
stands in the session's rows at once, and what other nodes commit is taken up by `follow`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Final, Protocol

from ..errors import SessionstreamError
from ..ids import Cursor
from . import events
from .appending import AppendSide
from .events import body_of, seq_of, split_whole
from .fold import Fold
from .outbox import Entry, Item, LoggedRun, Prepared, Stale
from .ports import EndSession, RunRecord, SessionRecord
from .ring import Ring
from .storage import Change
from .stored import Stored, after
from .transcript import Transcript

_CLEARED: Final = b'{"type":"MESSAGES_SNAPSHOT","messages":[]}'
"""What stands in a log where everything before it was removed."""


class Listener(Protocol):
    """Who reads a log; hears of each publish."""

    def wake(self) -> None:
        """Look for what is new."""

    def hear(self, news: bytes, before: int, last: int) -> None:
        """The same, told what it is: the frames after `before`, up to `last`."""


class SessionLog(AppendSide):
    """The log of a loaded session. Not thread-safe; all calls belong to the hub's loop."""

    __slots__ = (
        "__weakref__",
        "_ring_bytes",
        "artifacts",
        "fence",
        "fold_version",
        "follows",
        "is_buried",
        "is_shared",
        "journal_position",
        "on_change",
        "readers",
        "record",
        "ring",
        "run",
        "stored",
        "transcript",
        "version",
    )

    def __init__(
        self, record: SessionRecord, submit: Callable[[SessionLog], None], *, ring_bytes: int, is_shared: bool = False
    ) -> None:
        super().__init__(submit)
        self.record = record
        self.ring = Ring(record.seq)
        self.run: LoggedRun | None = None
        """The active run, as committed."""
        self.transcript: Transcript | None = None
        """Its messages, as committed."""
        self.artifacts: dict[str, Any] = dict(record.artifacts)
        """The state agents write, as appended."""
        self.stored: Stored | None = None if record.message_count else ()
        """The stored messages, where they need not be read."""
        self.fold_version = 0
        """Grows whenever stored messages change: who read them beside a change reads again."""
        self.journal_position: int | None = None
        """The journal is needed from here on for this session."""
        self.is_buried = False
        """Whether the storage has nothing of it any more: whatever was appended meanwhile must not come back."""
        self.is_shared = is_shared
        """Whether other nodes write this log too."""
        self.version = record.version
        """How many commits it has seen."""
        self.follows = 0
        """How often it took up what others committed: who decided on less than that decides again."""
        self.fence = 0
        """That of the open run, 0 when none is."""
        self.readers: set[Listener] = set()
        self.on_change: Callable[[], None] | None = None
        """Called when the record or the run changed, not for tokens."""
        self._ring_bytes = ring_bytes

    @property
    def cursor(self) -> Cursor:
        """The newest position a client can hold."""
        return Cursor(self.record.epoch, self.ring.last)

    @property
    def is_settled(self) -> bool:
        """Whether nothing waits for a commit and nothing needs the journal."""
        return not self.pending_bytes and not self._outbox and self.journal_position is None

    # --- what other nodes commit

    def follow(self, change: Change, foreign: Callable[[RunRecord], LoggedRun]) -> None:
        """Take up a change. `foreign` makes the run that another node has opened.

        What was appended here and is not committed yet was decided on less than is known now: requests are told so, and
        decide again; what a run of ours said stays, unless the run is not ours any more.
        """
        frames = split_whole(change.frames or b"")
        first = seq_of(frames[0]) if frames else change.record.seq + 1
        self.follows += 1
        self.stored = None
        if change.record.epoch != self.record.epoch or first != self.ring.last + 1:
            self.ring, self.transcript = Ring(first - 1), None
            self.fold_version += 1
        self.ring.extend(frames)
        self.ring.spilled = self.ring.last
        if (change.record.message_count, change.record.run_id) != (self.record.message_count, self.record.run_id):
            self.fold_version += 1
        self.record, self.version = change.record, change.record.version
        if _CLEARED in (change.frames or b""):
            self.ring.drop_through(first - 1)
        before, fence = self.run, self.fence
        self._follow_run(change, frames, foreign)
        self._refuse(self._outbox, Stale())
        self.fence = change.fence
        if self.run is None or self.run.is_foreign:
            self.artifacts = dict(change.record.artifacts)
        if self.run is not before or fence != self.fence:
            self._forget_run()
        self._bound_ring()
        self._wake()

    def _follow_run(self, change: Change, frames: list[bytes], foreign: Callable[[RunRecord], LoggedRun]) -> None:
        before, now = self.run, change.run
        if before is not None and (now is None or now.run_id != before.run_id):
            self._end_followed(before, change.ended, frames)
        if now is None:
            self.run = self.transcript = None
            return
        if self.run is None:
            self.run, self.transcript = foreign(now), Transcript()
        elif change.fence != self.fence:
            self.run.lose()
        self.run.node_id = change.node_id
        if self.transcript is None:
            self.transcript = Transcript()
        for frame in frames:
            if seq_of(frame) >= now.first:
                self.transcript.apply(body_of(frame))

    def _end_followed(self, run: LoggedRun, record: RunRecord | None, frames: list[bytes]) -> None:
        record = record or dataclasses.replace(run.as_record(), status="interrupted", last=self.ring.last)
        transcript = self.transcript or Transcript()
        for frame in frames:
            if seq_of(frame) <= record.last:
                transcript.apply(body_of(frame))
        run.ended_elsewhere(record, transcript.messages())
        self.run = self.transcript = None

    def _forget_run(self) -> None:
        """Drop what is left of a run that is not ours (any more): its last events were written by another node."""
        self._drop([item for item in self._outbox if not isinstance(item, Entry) or item.required])

    def leave(self, refusal: SessionstreamError) -> None:
        """Drop everything that waits: the session is not there any more."""
        self.is_buried = True
        if self.run is not None:
            self._end_followed(self.run, None, [])
        items, self._outbox, self.pending_bytes = self._outbox, [], 0
        for item in items:
            if isinstance(item, Entry):
                item.settle(refusal)
        self._wake()

    # --- the commit between the sides

    def prepare(self) -> Prepared:
        """Take the outbox and return what a commit must write for it."""
        items = self._outbox
        if self.is_buried:
            self._outbox = []
            return Prepared(
                before=self.record, record=self.record, items=items, size=self.pending_bytes, folded=True, version=-1
            )
        is_plain = bool(items) and self.run is not None
        for item in items:
            is_plain = is_plain and type(item) is dict
        part = self._prepared_plain(items) if is_plain else self._prepared_whole(items)
        self._outbox = []
        self.is_in_flight = True
        return part

    def _prepared_plain(self, items: list[Any]) -> Prepared:
        """The way of a token: frames, and nothing else changes. All items are events."""
        record = self.record
        return Prepared(
            before=record,
            record=record,
            version=self.version,
            fence=self.fence,
            frames=events.frames_of(record.epoch, self.ring.last + 1, items),
            items=items,
            size=self.pending_bytes,
            is_plain=True,
            folded=False,
        )

    def _prepared_whole(self, items: list[Item]) -> Prepared:
        fold = Fold(self.record, self.ring, self.run, self.transcript)
        for item in items:
            fold.take(item)
        writes = fold.finish()
        return Prepared(
            before=self.record,
            record=fold.record,
            version=self.version,
            fence=self.fence,
            frames=fold.frames,
            writes=writes,
            is_ending=fold.is_ending,
            items=items,
            size=self.pending_bytes,
            folded=fold.is_folded,
        )

    def discard(self) -> None:
        """Drop an outbox that cannot be prepared, and fail who waits for it."""
        items, self._outbox, self.pending_bytes = self._outbox, [], 0
        self._fail(items)

    def reject(self, part: Prepared) -> None:
        """Drop a part that the storage refuses for what is in it, and fail who waits for it."""
        self.is_in_flight = False
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
        self._let_in()

    def take_back(self, part: Prepared, refusal: SessionstreamError | None) -> bool:
        """Undo `prepare`; say whether anything is left to commit.

        With a refusal, what is not required fails to its caller; without one everything waits for another try.
        """
        self.is_in_flight = False
        self._outbox = part.items + self._outbox
        if refusal is not None:
            self._refuse(part.items, refusal)
        return bool(self._outbox)

    def publish(self, part: Prepared, position: int) -> None:
        """Make a committed part visible and wake everybody who waits for it."""
        if part.is_plain:
            self._publish_plain(part, position)
            return
        changed = part.record is not self.record
        self._move_on(part)
        self.is_buried = self.is_buried or any(isinstance(write, EndSession) for write in part.writes)
        self.stored = after(self.stored, part.writes)
        self.ring.extend(part.frames)
        self.pending_bytes -= part.size
        for item in part.items:
            changed = self._apply(item) or changed
        if part.folded or self.is_shared:
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

    def _publish_plain(self, part: Prepared, position: int) -> None:
        self.is_in_flight = False
        self.version += 1
        self.pending_bytes -= part.size
        ring, frames, transcript = self.ring, part.frames, self.transcript
        before = ring.last
        ring.extend(frames)
        if transcript is not None:
            said: list[Any] = part.items
            for event in said:
                transcript.apply(event)
        if self.is_shared:
            ring.spilled = ring.last
        elif self.journal_position is None:
            self.journal_position = position
        if ring.size > self._ring_bytes:
            self._bound_ring()
        if self._room:
            self._let_in()
        if self.readers:
            self._tell(frames, before)

    def _tell(self, frames: list[bytes], before: int) -> None:
        """Tell the readers what is new, joined once for all of them: they need not look it up."""
        news, last = frames[0] if len(frames) == 1 else b"".join(frames), self.ring.last
        for reader in self.readers:
            reader.hear(news, before, last)

    def _move_on(self, part: Prepared) -> None:
        self.is_in_flight = False
        if part.record.run_id != self.record.run_id:
            self.fence = part.version + 1 if part.record.run_id is not None else 0
        if part.frames or part.writes:
            self.version += 1
        self.record = part.record

    def _apply(self, item: Item) -> bool:
        """Fold an item into the committed side; say whether it is news for those who list sessions."""
        if isinstance(item, Entry):
            return self._apply_entry(item)
        if self.transcript is not None:
            self.transcript.apply(item)
        return False

    def _wake(self) -> None:
        self._let_in()
        for reader in self.readers:
            reader.wake()

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
