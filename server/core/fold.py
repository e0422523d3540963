"""Fold: what a commit must write for one session's outbox: frames in order, and what an ended run leaves behind."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

from . import events
from .outbox import Entry, Item, LoggedRun
from .ports import (
    ClearMessages,
    EndSession,
    Event,
    MessageRecord,
    SaveLog,
    SaveMessages,
    SaveRun,
    SaveSession,
    SessionRecord,
    Write,
)
from .ring import Ring
from .transcript import Transcript


class Fold:
    """One pass over an outbox: frames in order, and the writes they entail."""

    def __init__(self, record: SessionRecord, ring: Ring, run: LoggedRun | None, transcript: Transcript | None) -> None:
        self.frames: list[bytes] = []
        self.record = record
        """As the commit leaves it, once the pass is finished."""
        self.is_folded = run is None
        self._changes: dict[str, Any] = {}
        """What becomes of it: it is made anew once, at the end."""
        self._message_count = record.message_count
        self._ring = ring
        self._committed = transcript
        self._seq = ring.last
        self._writes: list[Write] = []
        self._run = run
        self._transcript: Transcript | None = None
        self._since_run: list[Event] = []
        self._row_start = 0
        self._is_spilling = False
        self.is_ending = False
        """Whether a run, or the session, ends here."""
        self._burial: EndSession | None = None

    def take(self, item: Item) -> None:
        """Encode an item's events; note what its commit changes."""
        if type(item) is dict:
            self._encode(item)
            return
        assert isinstance(item, Entry)
        item.first = self._seq + 1
        if item.clears:
            self._clear()
        if item.opens is not None:
            self._open(item.opens, item.first)
        for event in item.events:
            self._encode(event)
        item.last = self._seq
        self._writes.extend(item.writes)
        self._burial = next((write for write in item.writes if isinstance(write, EndSession)), self._burial)
        self._is_spilling = self._is_spilling or item.spills
        if item.change:
            self._changes.update(item.change)
        if item.closes is not None:
            self._close(item.closes)
        elif self._run is None and item.events:
            self._save_messages(_messages_of(item), item.first, "")

    def finish(self) -> list[Write]:
        """Return all writes, after what follows from the pass as a whole."""
        self.is_folded = self._run is None or self._is_spilling
        if self._burial is not None:
            self.is_ending = True
            return [self._burial]  # whatever else was in the batch must not bring a row back
        if self.is_folded and self._seq > self._ring.spilled:
            ended_at = time.time() if self._run is None else None
            frames = self.frames[self._row_start :]
            if not self._row_start:
                frames = self._ring.unspilled() + frames
            if frames:
                self._writes.append(
                    SaveLog(self.record.ref, self._seq - len(frames) + 1, self._seq, b"".join(frames), ended_at)
                )
            self._changes["seq"] = self._seq
        if self._changes:
            self.record = dataclasses.replace(self.record, **self._changes)
            self._writes.append(SaveSession(self.record))
        return self._writes

    def _encode(self, event: Event) -> None:
        self._seq += 1
        self.frames.append(events.frame(self.record.epoch, self._seq, event))
        if self._run is not None:
            self._since_run.append(event)

    def _clear(self) -> None:
        self._row_start = len(self.frames)
        self._writes.append(ClearMessages(self.record.ref, self._seq))
        self._count_messages(-self._message_count)

    def _open(self, run: LoggedRun, first: int) -> None:
        self._run, self._transcript, self._since_run = run, Transcript(), []
        run.first = first
        self._writes.append(SaveRun(self.record.ref, run.as_record()))
        self._changes["run_id"] = run.run_id

    def _close(self, run: LoggedRun) -> None:
        """Fold the run: its messages as they will stand once this batch is committed, and its end."""
        transcript = self._transcript
        if transcript is None:
            transcript = self._committed.copy() if self._committed is not None else Transcript()
        for event in self._since_run:
            transcript.apply(event)
        ended = run.as_record()
        self._save_messages(transcript.messages(), run.first, run.run_id, ended.usage)
        run_count: int = self._changes.get("run_count", self.record.run_count)
        self._changes |= {"run_count": run_count + 1, "run_id": None}
        self.is_ending = True
        self._writes.append(SaveRun(self.record.ref, dataclasses.replace(ended, last=self._seq)))
        self._run, self._transcript, self._since_run = None, None, []

    def _save_messages(
        self, messages: list[dict[str, Any]], first: int, run_id: str, usage: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        if not messages:
            return
        now = time.time()
        answer = next((one["id"] for one in reversed(messages) if one["role"] == "assistant"), None)
        spent = [sum(one.get(name, 0) for one in usage) for name in ("inputTokens", "outputTokens")]
        self._writes.append(
            SaveMessages(
                self.record.ref,
                [
                    MessageRecord(
                        position=first + index,
                        run_id=run_id,
                        created_at=now,
                        message=message,
                        # What a run cost is noted once, with its last answer.
                        tokens_in=spent[0] if message["id"] == answer else 0,
                        tokens_out=spent[1] if message["id"] == answer else 0,
                    )
                    for index, message in enumerate(messages)
                ],
            )
        )
        self._count_messages(len(messages))

    def _count_messages(self, more: int) -> None:
        self._message_count += more
        self._changes["message_count"] = self._message_count


def _messages_of(entry: Entry) -> list[dict[str, Any]]:
    transcript = Transcript()
    for event in entry.events:
        transcript.apply(event)
    return transcript.messages()
