"""A client that follows one session: it folds what comes, keeps its cursor and checks every step.

Checked is what the contract promises: a stream opened with a good cursor goes on with the very next event; without,
or with a bad one, a snapshot comes first (and says so when a cursor was refused); `seq` grows by exactly one; the
grammar holds over the seam; and an event, once shown to anybody, is shown byte-alike to everybody for ever (`Ledger`).
A snapshot is taken as a whole or not at all, as a careful client would.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable

import anyio
import orjson

from .caller import Caller
from .fold import SYNC_PREFIX, Fold
from .tally import Tally
from .wire import Broken, Frame, Stream


class Ledger:
    """All events that anybody saw, by session and position, and how each run ended."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self._seen: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
        self.endings: dict[tuple[str, str, str], dict[str, str]] = defaultdict(dict)
        """(user, session, run) → cursor → outcome: one entry each, or a run ended twice."""
        self.started: dict[tuple[str, str], list[str]] = defaultdict(list)

    def note(self, key: tuple[str, str], cursor: str, event: dict[str, object], run_id: str | None) -> None:
        """Record one event of the log; `run_id` is the run that was open before it."""
        mark = hash(orjson.dumps(event, option=orjson.OPT_SORT_KEYS))
        if self._seen[key].setdefault(cursor, mark) != mark:
            self.tally.fault("rewritten", f"{key} {cursor} was another event before; now {str(event)[:200]}")
        kind = event["type"]
        if kind == "RUN_STARTED" and event["runId"] not in self.started[key]:
            self.started[key].append(str(event["runId"]))
        if kind in ("RUN_FINISHED", "RUN_ERROR") and run_id is not None:
            outcome = "error" if kind == "RUN_ERROR" else str(event["outcome"]["type"])  # type: ignore[index]  # JSON
            endings = self.endings[(*key, run_id)]
            endings[cursor] = outcome
            if len(endings) > 1 and not run_id.startswith(SYNC_PREFIX):
                self.tally.fault("ended_twice", f"{key} run {run_id}: {endings}")

    def outcome(self, key: tuple[str, str], run_id: str) -> str | None:
        """Return how a run ended, None while nobody saw it end."""
        return next(iter(self.endings.get((*key, run_id), {}).values()), None)


class Follower:
    """One client of one session. `cursor` and `fold` belong together at any moment."""

    def __init__(self, caller: Caller, session_id: str, ledger: Ledger) -> None:
        self.caller = caller
        self.session_id = session_id
        self.ledger = ledger
        self.tally = ledger.tally
        self.cursor: str | None = None
        self.fold = Fold()
        self.ended_by = ""
        """How the last stream ended: clean, cut, closed by us, or the status and code it was refused with."""
        self.farewell = ""
        """Why the session ended, once its stream said so."""
        self._staged: Fold | None = None
        self._expects_resume = False
        self._brought: str | None = None
        self._stream: Stream | None = None
        self._changed = anyio.Event()

    @property
    def key(self) -> tuple[str, str]:
        """User and session."""
        return self.caller.user, self.session_id

    async def connect(self, brings: str | None = None, *, good: bool = True, in_query: bool = False) -> bool:
        """Open a stream; say whether it was accepted. `good`: the cursor must be honoured. Raises `Broken`."""
        self.close()
        stream = await self.caller.stream(self.session_id, brings, in_query=in_query)
        if stream.status != 200:
            self.ended_by = f"{stream.status} {(await stream.refusal()).code}"
            return False
        self._stream = stream
        self._brought = brings
        self._expects_resume = good and brings is not None
        self._staged = None if self._expects_resume else Fold()
        return True

    async def pump(self, timeout_s: float = 60.0) -> bool:
        """Take what comes next; False at the end of the stream. Raises `Broken` on silence."""
        if self._stream is None:
            return False
        frames = await self._stream.read(timeout_s)
        if frames is None:
            self.ended_by = self._stream.ending
            return False
        for frame in frames:
            self._take(frame)
        if frames:
            self._changed.set()
            self._changed = anyio.Event()
        return True

    def close(self) -> None:
        """Cut the stream, if one is open."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def disturb(self) -> None:
        """Cut the stream from outside `follow`, which then comes back."""
        if self._stream is not None:
            self._stream.close()

    async def follow(self, pause_s: Callable[[], float] = lambda: random.uniform(0.02, 0.2)) -> None:
        """Follow until cancelled, coming back with the cursor whenever the stream ends, as a browser does."""
        while True:
            try:
                if await self.connect(self.cursor):
                    while await self.pump():
                        pass
                elif not self.ended_by.startswith("5"):
                    self.tally.fault("refused", f"stream of {self.key}: {self.ended_by}")
            except Broken:
                self.tally.count("stream_breaks")
            finally:
                self.close()
            await anyio.sleep(pause_s())

    async def until(self, predicate: Callable[[], bool], timeout_s: float = 20.0) -> bool:
        """Wait until the fold satisfies `predicate`, while another task pumps; False when it never did."""
        with anyio.move_on_after(timeout_s):
            while not predicate():
                await self._changed.wait()
        return predicate()

    async def until_attached(self) -> bool:
        """Wait until the first snapshot is there."""
        return await self.until(lambda: self.cursor is not None)

    async def until_reached(self, cursor: str) -> bool:
        """Wait until this client stands at or behind a position."""
        return await self.until(lambda: self.has_reached(cursor))

    async def until_ended(self, run_id: str, timeout_s: float = 20.0) -> bool:
        """Wait until a run has ended, for this client too."""
        return await self.until(lambda: self.has_ended(run_id), timeout_s)

    async def catch_up(self, cursor: str, timeout_s: float = 20.0) -> bool:
        """Connect once, with the cursor, read up to a position and leave; False when it was not reached."""
        with anyio.move_on_after(timeout_s):
            await self.connect(self.cursor)
            while not self.has_reached(cursor) and await self.pump():
                pass
        self.close()
        return self.has_reached(cursor)

    def has_reached(self, cursor: str) -> bool:
        """Say whether this client stands at or behind a position of its own log."""
        if self.cursor is None:
            return False
        epoch, _, seq = self.cursor.rpartition("-")
        wanted_epoch, _, wanted = cursor.rpartition("-")
        return epoch == wanted_epoch and int(seq) >= int(wanted)

    def has_ended(self, run_id: str) -> bool:
        """Say whether anybody saw this run end and this client is not inside of it."""
        return self.ledger.outcome(self.key, run_id) is not None and self.fold.run_id != run_id

    def _take(self, frame: Frame) -> None:
        self.tally.count("events")
        if self._expects_resume and _says_refused(frame):
            self.tally.fault("cursor_refused", f"{self.key} brought {self._brought}, got {str(frame.event)[:200]}")
            self._staged = Fold()
        self._expects_resume = False
        if self._staged is not None:
            self._take_snapshot(frame)
        elif frame.cursor is None:
            self._take_farewell(frame)
        else:
            self._take_next(frame, frame.cursor)

    def _take_farewell(self, frame: Frame) -> None:
        """Events without a cursor behind the snapshot: only those that end the stream of a session that is gone."""
        self._note_violations(self.fold.apply(frame.event))
        if frame.event["type"] == "CUSTOM" and frame.event["name"] == "sessionstream.session_ended":
            self.farewell = str(frame.event["value"]["reason"])
        elif frame.event["type"] not in ("RUN_STARTED", "RUN_FINISHED"):
            self.tally.fault("grammar", f"{self.key} at {self.cursor}: no cursor on {str(frame.event)[:200]}")

    def _take_snapshot(self, frame: Frame) -> None:
        assert self._staged is not None
        if frame.cursor is not None and self._staged.grammar.run_id is None:
            self.tally.fault("no_snapshot", f"{self.key} brought {self._brought}, got {frame.cursor} at once")
        if frame.event["type"] == "RUN_STARTED" and self._brought not in (None, "", "-1") and not _says_refused(frame):
            self.tally.fault("resumed_unsaid", f"{self.key} brought {self._brought}, got {str(frame.event)[:200]}")
        self._brought = None
        self._note_violations(self._staged.apply(frame.event))
        if frame.cursor is not None:
            self.tally.count("snapshots")
            self.fold, self._staged, self.cursor = self._staged, None, frame.cursor

    def _take_next(self, frame: Frame, cursor: str) -> None:
        if self.cursor is not None:
            epoch, _, seq = self.cursor.rpartition("-")
            next_epoch, _, next_seq = cursor.rpartition("-")
            step = int(next_seq) - int(seq)
            if epoch != next_epoch:
                self.tally.fault("out_of_order", f"{self.key}: epoch {next_epoch} after {self.cursor}")
            elif step != 1:
                kind = "lost" if step > 1 else "repeated"
                self.tally.fault(kind, f"{self.key}: {cursor} after {self.cursor}")
        self._brought = None
        self.ledger.note(self.key, cursor, frame.event, self.fold.grammar.run_id)
        self.cursor = cursor
        self._note_violations(self.fold.apply(frame.event))

    def _note_violations(self, violations: list[str]) -> None:
        for violation in violations:
            self.tally.fault("grammar", f"{self.key} at {self.cursor}: {violation}")


def _says_refused(frame: Frame) -> bool:
    return frame.event.get("metadata", {}).get("sessionstream", {}).get("resumed") is False
