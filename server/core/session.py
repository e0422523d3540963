"""Session: one conversation, and the only place that changes it.

    loading ──▶ idle ──▶ running ──▶ idle … ──▶ ended (deleted | expired)

Every method that changes something is one transition under the session's own lock: check, append one entry, wait for
its commit; the change is applied by the commit, not by the waiter, so a caller that gives up changes nothing. A run is
protected by the state `running`, not by the lock: nothing holds it while an agent works. Interrupting takes no lock at
all when there is a run to stop: `Run.end` decides.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import Conflict, LimitReached, Unavailable
from ..ids import new_id
from . import events, queue
from .answering import Answering
from .dialogue import Accepted, EndReason, OnBusy, Outcome, Receipt
from .memo import intent_to_stop, is_intent
from .offers import check_length, check_question
from .outbox import Entry
from .pending import NOTHING, Closing, Pending, closing_of
from .ports import EndSession, Event, RunRecord, SaveRun, SessionRecord, Tombstone
from .question import Question
from .reading import reading
from .resident import decided_anew
from .run import Run


class Session(Answering):
    """One conversation in memory. Made by the hub only; loaded, or created, by the first who needs it."""

    __slots__ = ()

    # --- messages

    @decided_anew
    async def ask(self, question: Question, *, agent: str | None, on_busy: OnBusy) -> Accepted:
        """Take a user's message: start a run, or queue it, or stop the active run first.

        Raises:
            Conflict: the session is busy and `on_busy` is reject, or the message id was used for something else.
            LimitReached: too many runs, or too many waiting messages.
            Unavailable: not committed; nothing happened.
        """
        async with self.transition():
            log = self.live
            known = None if question.is_new_id else await self._known(question.message_id)
            if known is not None and not is_intent(known):
                return self._repeated(known, question.digest)
            check_question(question.performer or self._node.agent(agent or log.record.agent), question)
            stopped_run_id = known.run_id if known is not None else None
            is_held = self._is_held and question.performer is None
            if is_held and (log.record.queue or question.role == "system"):
                return await self._enqueue(question, agent, stopped_run_id)
            if self.is_busy and not is_held and on_busy == "queue":
                return await self._enqueue(question, agent, stopped_run_id)
            if self.is_busy and not is_held:
                if on_busy == "reject":
                    raise Conflict(retry_after_s=1)
                await self._stop_active()
            if stopped_run_id is not None:
                return await self._take_stopped(question, agent, stopped_run_id)
            run = await self._begin(question, agent or log.record.agent, ())
            return self._accepted(run)

    @decided_anew
    async def tell(self, text: str, message_id: str, digest: bytes) -> Accepted:
        """Put a system message into the transcript; the agent sees it from the next run on."""
        async with self.transition():
            log = self.live
            known = await self._known(message_id)
            if known is not None:
                return self._repeated(known, digest)
            now = time.time()
            is_inside = self._tail is not None and self._tail.is_open
            run_id = self._tail.run_id if self._tail and is_inside else f"{events.SYNC_PREFIX}{new_id()}"
            record = RunRecord(
                run_id=f"{events.SYNC_PREFIX}{message_id}",
                message_id=message_id,
                digest=digest,
                agent=log.record.agent,
                status="finished",
                started_at=now,
                ended_at=now,
            )
            told = events.text_message(message_id, "system", text, run_id, now)
            await self._commit(
                Entry(
                    self._wrapped(told, run_id, now),
                    change={"last_activity": now},
                    writes=[SaveRun(log.record.ref, record)],
                    on_commit=lambda: self.memo.note(record),
                )
            )
            return Accepted(run_id=run_id, message_id=message_id, status="finished", cursor=log.cursor)

    @decided_anew
    async def interrupt(self, run_id: str | None, message_id: str | None) -> Receipt:
        """Stop the active run, or make sure that a message which has not started never does. Idempotent."""
        run = self.run
        if run is not None and not run.is_foreign and run.is_meant(run_id, message_id):
            receipt = await self._stop(run)
            if not self._has_asked(run):
                return receipt
            run_id, message_id = run.run_id, None  # it came to an end just then, by asking
        async with self.transition():
            return await self._forestall(run_id, message_id)

    @decided_anew
    async def end_orphan(self, node_id: str) -> None:
        """End the run that a dead node left open, if it did."""
        async with self.transition():
            if self.run is not None and self.run.is_foreign and self.run.node_id == node_id:
                await self._stop(self.run, reason="node_lost")

    async def _forestall(self, run_id: str | None, message_id: str | None) -> Receipt:
        log, run = self.live, self.run
        if self._tail is not None and run is None:
            raise Unavailable(retry_after_s=1)  # its first commit is in flight: nobody knows yet whether it runs
        if run is not None and run.is_meant(run_id, message_id):
            receipt = await self._stop(run)
            if not self._has_asked(run):
                return receipt
        waited = await self._stop_waiting(run_id, message_id)
        if waited is not None:
            return waited
        known = await self._known(message_id) if message_id else None
        if known is None and run_id is not None:
            with reading(self._node.settings.storage_timeout_seconds):
                known = await self._node.storage.run_by_id(log.record.ref, run_id)
        if known is not None:
            return self._receipt_of(known)
        if message_id is None:
            return Receipt(run_id=None, outcome="idle", cursor=log.cursor)
        intent = intent_to_stop(message_id, log.record.agent)
        await self._commit(Entry(writes=[SaveRun(log.record.ref, intent)], on_commit=lambda: self.memo.note(intent)))
        return Receipt(run_id=intent.run_id, outcome="pending", cursor=log.cursor)

    async def _stop_waiting(self, run_id: str | None, message_id: str | None) -> Receipt | None:
        """Close the question that waits, or take back the message that does, if it is meant."""
        log = self.live
        if self._is_meant(log.record.pending, run_id, message_id):
            asked_by = log.record.pending["run_id"]
            await self._close_pending(last_activity=time.time())
            return Receipt(run_id=asked_by, outcome="stopped", cursor=log.cursor)
        for waiting in log.record.queue:
            if waiting["run_id"] == run_id or waiting["message_id"] == message_id:
                await self._withdraw(waiting)
                return Receipt(run_id=waiting["run_id"], outcome="pending", cursor=log.cursor)
        return None

    def _receipt_of(self, known: RunRecord | Run) -> Receipt:
        is_pending = not isinstance(known, Run) and known.started_at == 0
        outcome: Outcome = "pending" if is_pending else "already_finished"
        return Receipt(run_id=known.run_id, outcome=outcome, cursor=self.live.cursor)

    def _has_asked(self, run: Run) -> bool:
        return self.record.pending.get("run_id") == run.run_id

    def _is_meant(self, pending: Pending, run_id: str | None, message_id: str | None) -> bool:
        """Whether an interrupt means the question that waits: by the run that asked, or the one that would go on."""
        if not pending:
            return False
        runs, messages = (pending["run_id"], pending["next_run_id"]), (pending["asked"]["message_id"],)
        return run_id in (None, *runs) and message_id in (None, *messages)

    # --- the queue

    @decided_anew
    async def start_next(self) -> None:
        """Start the first queued message if nothing runs. Called by the hub when a run ended, and after a restart."""
        async with self.transition():
            log = self.live
            if self._tail is not None or self.run is not None or log.record.pending or not log.record.queue:
                return
            waiting, rest = log.record.queue[0], log.record.queue[1:]
            question = queue.question_of(waiting)
            if waiting.get("is_stopped"):
                await self._take_stopped(question, waiting["agent"], waiting["run_id"], rest=rest)
                return
            operations = [{"op": "remove", "path": "/queue/0"}]
            await self._begin(question, waiting["agent"], operations, rest=rest, run_id=waiting["run_id"])

    @decided_anew
    async def edit_queue(
        self, message_id: str, *, message: str | None, position: int | None
    ) -> Sequence[Mapping[str, Any]]:
        """Change the text or the place of a waiting message; return the queue."""
        async with self.transition():
            agent = queue.find(self.live.record.queue, message_id)["agent"]
            check_length(self._node.agent(agent), message or "")
            changed = queue.edited(self.live.record.queue, message_id, message, position)
            await self._save_queue(changed, ())
            return self.record.queue

    @decided_anew
    async def remove_queued(self, message_id: str) -> Sequence[Mapping[str, Any]]:
        """Take a waiting message back; return the queue."""
        async with self.transition():
            await self._withdraw(queue.find(self.live.record.queue, message_id))
            return self.record.queue

    async def _enqueue(self, question: Question, agent: str | None, stopped_run_id: str | None) -> Accepted:
        record = self.record
        if len(record.queue) >= self._node.settings.max_queue:
            raise LimitReached(code="queue_full", retry_after_s=5)
        now = time.time()
        waiting = queue.waiting_of(question, agent or record.agent, now, stopped_run_id)
        status = "queued" if stopped_run_id is None else "interrupted"  # it waits for its place in the history only
        # A user's message closes what is asked, also when it waits for others; a system message waits for the answer.
        closing = closing_of(record.pending, waiting["run_id"], now) if question.role == "user" else NOTHING
        await self._save_queue([*record.queue, waiting], [queue.run_record_of(waiting, status, now)], closing)
        return Accepted(
            run_id=waiting["run_id"], message_id=question.message_id, status=status, cursor=self.live.cursor
        )

    async def _withdraw(self, waiting: Mapping[str, Any]) -> None:
        """Remove a waiting message for good: its run ends as interrupted before it began."""
        rest = queue.without(self.record.queue, waiting)
        await self._save_queue(rest, [queue.run_record_of(waiting, "interrupted", 0)])

    async def _save_queue(
        self, waiting: Sequence[queue.Waiting], runs: Sequence[RunRecord], closing: Closing = NOTHING
    ) -> None:
        operation = {"op": "replace", "path": "/queue", "value": queue.public_queue(waiting)}

        def remember() -> None:
            for run in runs:
                self.memo.note(run)

        await self._commit(
            self._housekeeping(
                [*closing.events, events.state_delta([*closing.operations, operation])],
                change={"queue": tuple(waiting), **closing.change},
                writes=[*(SaveRun(self.record.ref, run) for run in runs), *closing.writes(self.record.ref)],
                on_commit=remember,
            )
        )
        if self._tail is None and self.run is None and waiting:
            self._node.start_later(self)  # the run it waited for ended meanwhile

    # --- clearing and ending

    @decided_anew
    async def clear(self) -> SessionRecord:
        """Remove all messages, here, in the storage and in every client; stop what runs."""
        async with self.transition():
            await self._stop_active()
            now = time.time()
            news: list[Event] = [{"type": "MESSAGES_SNAPSHOT", "messages": []}]
            change: dict[str, Any] = {"last_activity": now}
            if not self.record.title_given and self.record.title is not None:
                # A title made of the first message would keep what was to be cleared.
                change["title"] = None
                news.append(events.state_delta([{"op": "replace", "path": "/session/title", "value": None}]))
            if self.record.pending:
                change["pending"] = {}
                news.append(events.state_delta([{"op": "remove", "path": "/pending"}]))
            entry = self._housekeeping(news, change=change)
            entry.clears = True
            await self._commit(entry)
            return self.record

    @decided_anew
    async def end(self, reason: EndReason, *, idle_since: float | None = None) -> bool:
        """End the session: stop its run, remove everything of it, let its streams say goodbye.

        With `idle_since`, only if nothing happened after that time and nothing keeps it alive; say whether it ended.
        """
        async with self.transition():
            log = self.live
            is_needed = self.is_busy or self.streams or bool(log.record.pending)
            if idle_since is not None and (is_needed or log.record.last_activity > idle_since):
                return False
            await self._stop_active()
            tombstone = Tombstone(reason, time.time())

            def bury() -> None:
                self.ended = tombstone

            await self._commit(Entry(writes=[EndSession(log.record, tombstone)], on_commit=bury))
        for reader in tuple(log.readers):
            reader.wake()
        return True
