"""Runs: how the runs of a session begin and are stopped, and how a repeated POST finds the one it began before.

This is what the transitions of a session are made of. A run is protected by the state `running`, not by the lock:
nothing holds it while an agent works. A run that begins while questions wait closes them in its first commit, so that
no history has a message behind a call that nobody answered.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from ..errors import Conflict, Unavailable
from ..ids import Cursor
from . import events, queue
from .dialogue import Accepted, Creation, Outcome, Receipt
from .memo import Memo, of_no_run
from .offers import limits_of
from .outbox import Entry
from .pending import NOTHING, Closing, closing_of
from .ports import Event, RunRecord, SessionKey
from .question import Question, RunLimits
from .reading import reading
from .resident import Node, Resident
from .run import Run
from .text import title_of


class Runs(Resident):
    """A session whose runs begin and stop. All of it but `_stop` is called with the lock held."""

    __slots__ = ("memo",)

    def __init__(self, key: SessionKey, node: Node) -> None:
        super().__init__(key, node)
        self.memo = Memo()

    def _on_run_over(self, run: Run) -> None:
        # Its record, not the run: that would keep all it said in memory.
        self.memo.note(run.as_record())

    async def load(
        self,
        creation: Creation | None,
        place: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
        *,
        is_new_id: bool = False,
    ) -> bool:
        """Make sure that the session is in memory, as `Resident.load`."""
        is_new = await super().load(creation, place, is_new_id=is_new_id)
        if is_new and creation is not None and not creation.messages and not creation.pending:
            self.memo.is_blank = True
        return is_new

    def vanish(self) -> None:
        """The storage has lost it, and what was answered with it."""
        super().vanish()
        self.memo = Memo()

    def followed(self) -> None:
        """The log took up what other nodes committed."""
        super().followed()
        self.memo.catch_up(self.run)

    # --- beginning

    async def _begin(
        self,
        question: Question,
        agent: str,
        operations: Sequence[Event],
        *,
        rest: Sequence[queue.Waiting] | None = None,
        run_id: str | None = None,
        closing: Closing | None = None,
    ) -> Run:
        """Start a run; what is pending is closed with it, by `closing` if that is given, else as declined."""
        log, answerer = self.live, question.performer or self._node.agent(agent)
        self._node.admit_run(self.key.user_id)
        run = Run(log, answerer, question, limits_of(answerer, self._node.settings), run_id=run_id)
        if closing is None:
            # A command is no message: whoever sends one may still answer.
            closing = self._closing(run) if question.performer is None else NOTHING
        change: dict[str, Any] = {"last_activity": run.started_at, **closing.change}
        if rest is not None:
            change["queue"] = tuple(rest)
        operations = [*closing.operations, *operations, *self._titling(question.message, change)]
        opening = run.opening(closing.events)
        if operations:
            opening.append(events.state_delta(operations))
        entry = Entry(
            opening,
            change=change,
            writes=closing.writes(log.record.ref),
            opens=run,
            on_commit=lambda: self._began(run),
            on_drop=lambda: self._let_go(run),
        )
        self._tail = run
        await self._commit(entry)
        return run

    def _began(self, run: Run) -> None:
        self.memo.note(run)
        self._node.start(self, run)

    def _let_go(self, run: Run) -> None:
        if self._tail is run:
            self._tail = None

    def _closing(self, run: Run) -> Closing:
        return closing_of(self.record.pending, run.run_id, run.started_at)

    def _titling(self, message: str, change: dict[str, Any]) -> list[Event]:
        if self.record.title is not None:
            return []
        change["title"] = title = title_of(message)
        return [{"op": "replace", "path": "/session/title", "value": title}]

    async def _take_stopped(
        self, question: Question, agent: str | None, run_id: str, *, rest: Sequence[queue.Waiting] | None = None
    ) -> Accepted:
        """Record a message whose stop came first: it is in the history, and its run ended before the agent saw it."""
        log = self.live
        limits = RunLimits(timeout_s=0, grace_s=1, max_bytes=1, pending_bytes=1)
        run = Run(log, self._node.agent(agent or log.record.agent), question, limits, run_id=run_id)
        run.ended_at, run.status = time.time(), "interrupted"
        ending = events.run_finished(self.key.session_id, run.run_id, "cancelled", run.ended_at)
        closing = self._closing(run)
        change: dict[str, Any] = {"last_activity": run.ended_at, **closing.change}
        operations = [*closing.operations, *self._titling(question.message, change)]
        if rest is not None:
            change["queue"] = tuple(rest)
            operations = [{"op": "remove", "path": "/queue/0"}, *operations]
        news = [events.state_delta(operations)] if operations else []
        await self._commit(
            Entry(
                [*run.opening(closing.events), *news, ending],
                change=change,
                writes=closing.writes(log.record.ref),
                opens=run,
                closes=run,
                on_commit=lambda: self.memo.note(run.as_record()),
            )
        )
        return Accepted(
            run_id=run.run_id, message_id=question.message_id, status="interrupted", cursor=log.cursor, run=run
        )

    # --- stopping

    async def _stop(self, run: Run, reason: str | None = None) -> Receipt:
        if run.is_foreign:
            with reading(self._node.settings.storage_timeout_seconds):
                await self._node.others.take_over(self, run)
        is_ours = run.stop(reason=reason)
        assert run.closing is not None
        # Also who lost the race waits: the receipt must not precede the terminal event.
        await self.live.committed(run.closing, timeout_s=self._node.settings.storage_timeout_seconds)
        outcome: Outcome = "stopped" if is_ours or run.status == "interrupted" else "already_finished"
        return Receipt(run_id=run.run_id, outcome=outcome, cursor=self.live.cursor)

    async def _stop_active(self) -> None:
        if self.run is not None:
            await self._stop(self.run)
        elif self._tail is not None:
            raise Unavailable(retry_after_s=1)  # its first commit is in flight

    def _accepted(self, run: Run) -> Accepted:
        return Accepted(
            run_id=run.run_id,
            message_id=run.question.message_id,
            status="running",  # what was accepted; who asks may hear of it when it is over already
            cursor=Cursor(self.record.epoch, run.opened),
            run=run,
        )

    # --- repeated POSTs

    async def find_run(self, message_id: str) -> RunRecord | Run | None:
        """Return what a message started, however long ago; None for a new one. Raises Unavailable."""
        known = self.memo.get(message_id)
        if known is None and not self.memo.is_blank:
            with reading(self._node.settings.storage_timeout_seconds):
                known = await self._node.storage.run_by_message(self.record.ref, message_id)
        return known

    async def _known(self, message_id: str) -> RunRecord | Run | None:
        known = await self.find_run(message_id)
        self._require_current()
        run, transcript = self.run, self.live.transcript
        if known is None and run is not None and transcript is not None and message_id in transcript:
            return of_no_run(message_id, run.run_id, run.started_at)  # an answer that is not stored yet
        return known

    def _repeated(self, known: RunRecord | Run, digest: bytes) -> Accepted:
        record = known.as_record() if isinstance(known, Run) else known
        if record.digest != digest:
            raise Conflict(code="message_id_conflict")
        if isinstance(known, Run) and not known.is_over:
            return self._accepted(known)
        run = known if isinstance(known, Run) else None
        ids = {"run_id": record.run_id, "message_id": record.message_id}
        return Accepted(**ids, status=record.status, cursor=self.live.cursor, run=run, record=record)
