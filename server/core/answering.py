"""Answering: what clients say to the questions that a run ended by, and when those are closed without an answer.

    running ──▶ paused ──▶ answered in part ──▶ running again
                   └── a new message, an interrupt, time: closed ──▶ idle

All of it is decided under the session's lock and by the commit: of two that answer, or of an answer and whatever closes
the question, exactly one finds it open.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import Conflict, Invalid, NotFound
from . import events
from .dialogue import Accepted
from .pending import (
    DECLINED,
    EXPIRED,
    Pending,
    answered,
    answered_name,
    check_kept,
    closing_of,
    digest_of,
    find,
    given,
    gone_on,
    is_settled,
    next_run_of,
    resumed_name,
)
from .ports import RunRecord
from .question import Answer
from .resident import decided_anew
from .run import Run
from .runs import Runs


class Answering(Runs):
    """A session whose runs may end by asking."""

    __slots__ = ()

    @decided_anew
    async def answer(
        self,
        answers: Sequence[Answer],
        *,
        must_settle: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        context: Sequence[Mapping[str, Any]] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Accepted:
        """Take answers, all of them or none; when no question is left, the run goes on under the id it was given then.

        Tools, context and options that are None are those of the run that asked. Repeated, it answers as it did.

        Raises:
            NotFound: nothing of that name was ever asked.
            Conflict: it was answered otherwise, or closed; or a command runs just now.
            Invalid: it is no answer to what was asked; or, where it `must_settle` all questions, one is left.
            LimitReached, Unavailable: the run cannot start; nothing happened.
        """
        async with self.transition():
            pending = self.live.record.pending
            changed, known = await self._taken(answers)
            if changed is pending:  # all of it was said before
                return known or self._waiting(pending)
            if self._tail is not None or self.run is not None:
                raise Conflict(retry_after_s=1)
            if is_settled(changed):
                fresh = {"tools": tools, "context": context, "options": options}
                return await self._go_on(changed, {name: one for name, one in fresh.items() if one is not None})
            if must_settle:
                raise Invalid("a question is left without an answer: all of them must have one", field="resume")
            check_kept(changed, answers[-1].field)
            await self._keep(changed)
            return self._waiting(changed)

    async def _taken(self, answers: Sequence[Answer]) -> tuple[Pending, Accepted | None]:
        """Return what is pending after answers; and what one came to whose question is not open any more."""
        pending: Pending = self.record.pending
        known: Accepted | None = None
        for one in answers:
            at = find(pending, one.id)
            if at is None:
                known = await self._answered_before(one)
            elif given(pending, at) is None:
                pending = answered(pending, at, one)
            elif given(pending, at) != digest_of(one):
                raise Conflict(code="tool_result_conflict")
        return pending, known

    async def _go_on(self, pending: Pending, changed: Mapping[str, Any]) -> Accepted:
        now = time.time()
        question, results = gone_on(pending, now, **changed)
        closing = closing_of(pending, pending["next_run_id"], now, results=results)
        run = await self._begin(question, pending["agent"], (), run_id=pending["next_run_id"], closing=closing)
        return self._accepted(run)

    async def _keep(self, pending: Pending) -> None:
        """Keep answers until the others come."""
        before = self.record.pending["questions"]
        operations = [
            {"op": "replace", "path": f"/pending/{at}/answered", "value": True}
            for at, (was, now) in enumerate(zip(before, pending["questions"], strict=True))
            if was is not now
        ]
        change = {"pending": pending, "last_activity": time.time()}
        await self._commit(self._housekeeping([events.state_delta(operations)], change=change))

    def _waiting(self, pending: Pending) -> Accepted:
        run_id = pending["next_run_id"]
        return Accepted(run_id=run_id, message_id=f"resume/{run_id}", status="waiting", cursor=self.live.cursor)

    async def _answered_before(self, answer: Answer) -> Accepted:
        """Return what an answer to a question came to that is not open any more."""
        record = await self._known(answered_name(answer.id))
        if not isinstance(record, RunRecord):
            raise NotFound(code="tool_call_not_found")
        if record.digest != digest_of(answer):
            raise Conflict(code="tool_result_conflict")
        run = await self._known(resumed_name(record))
        if run is not None:
            return self._repeated(run, run.question.digest if isinstance(run, Run) else run.digest)
        # Others were not answered: they were closed, and nothing went on.
        run_id, message_id = next_run_of(record), resumed_name(record)
        return Accepted(run_id=run_id, message_id=message_id, status="interrupted", cursor=self.live.cursor)

    @decided_anew
    async def expire_pending(self) -> bool:
        """Close what nobody answered in time; say whether there was something."""
        async with self.transition():
            expires_at = self.live.record.pending.get("expires_at")
            if expires_at is None or expires_at > time.time():
                return False
            await self._close_pending(EXPIRED)
            return True

    async def _close_pending(self, why: str = DECLINED, **change: Any) -> None:
        """Close the questions outside of a run. With the lock held."""
        pending = self.record.pending
        closing = closing_of(pending, pending["run_id"], time.time(), why)
        news = [*closing.events, events.state_delta(closing.operations)]
        writes = closing.writes(self.record.ref)
        await self._commit(self._housekeeping(news, change={**closing.change, **change}, writes=writes))
