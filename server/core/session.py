"""Session: one conversation, and the only place that changes it.

    loading ──▶ idle ──▶ running ──▶ idle … ──▶ ended (deleted | expired)

Every method that changes something is one transition under the session's own lock: check, append one entry, wait for
its commit; the change is applied by the commit, not by the waiter, so a caller that gives up changes nothing. A run is
protected by the state `running`, not by the lock: nothing holds it while an agent works. Interrupting takes no lock at
all when there is a run to stop: `Run.end` decides.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from ..errors import Conflict, LimitReached, Unavailable
from ..ids import Cursor, new_id
from . import events, queue
from .dialogue import Accepted, Creation, EndReason, OnBusy, Outcome, Receipt
from .memo import Memo, intent_to_stop, is_intent, of_no_run
from .outbox import Entry
from .ports import EndSession, Event, RunRecord, SaveRun, SessionKey, SessionRecord, Tombstone
from .question import Question, RunLimits
from .reading import reading
from .resident import Node, Resident, decided_anew
from .run import Run
from .text import title_of


class Session(Resident):
    """One conversation in memory. Made by the hub only; loaded, or created, by the first who needs it."""

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
        if is_new and creation is not None and not creation.messages:
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
            stopped_run_id = known.run_id if known is not None else None
            if self.is_busy and on_busy == "queue":
                return await self._enqueue(question, agent, stopped_run_id)
            if self.is_busy:
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
        is_meant = run is not None and run_id in (None, run.run_id) and message_id in (None, run.question.message_id)
        if run is not None and is_meant and not run.is_foreign:
            return await self._stop(run)
        async with self.transition():
            return await self._forestall(run_id, message_id)

    @decided_anew
    async def end_orphan(self, node_id: str) -> None:
        """End the run that a dead node left open, if it did."""
        async with self.transition():
            if self.run is not None and self.run.is_foreign and self.run.node_id == node_id:
                await self._stop(self.run, reason="node_lost")

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

    async def _forestall(self, run_id: str | None, message_id: str | None) -> Receipt:
        log, run = self.live, self.run
        if self._tail is not None and run is None:
            raise Unavailable(retry_after_s=1)  # its first commit is in flight: nobody knows yet whether it runs
        if run is not None and run_id in (None, run.run_id) and message_id in (None, run.question.message_id):
            return await self._stop(run)
        for waiting in log.record.queue:
            if waiting["run_id"] == run_id or waiting["message_id"] == message_id:
                await self._withdraw(waiting)
                return Receipt(run_id=waiting["run_id"], outcome="pending", cursor=log.cursor)
        known = await self._known(message_id) if message_id else None
        if known is None and run_id is not None:
            with reading(self._node.settings.storage_timeout_seconds):
                known = await self._node.storage.run_by_id(log.record.ref, run_id)
        if known is not None:
            is_pending = not isinstance(known, Run) and known.started_at == 0
            return Receipt(
                run_id=known.run_id, outcome="pending" if is_pending else "already_finished", cursor=log.cursor
            )
        if message_id is None:
            return Receipt(run_id=None, outcome="idle", cursor=log.cursor)
        intent = intent_to_stop(message_id, log.record.agent)
        await self._commit(Entry(writes=[SaveRun(log.record.ref, intent)], on_commit=lambda: self.memo.note(intent)))
        return Receipt(run_id=intent.run_id, outcome="pending", cursor=log.cursor)

    # --- the queue

    @decided_anew
    async def start_next(self) -> None:
        """Start the first queued message if nothing runs. Called by the hub when a run ended, and after a restart."""
        async with self.transition():
            log = self.live
            if self._tail is not None or self.run is not None or not log.record.queue:
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
        await self._save_queue([*record.queue, waiting], [queue.run_record_of(waiting, status, now)])
        return Accepted(
            run_id=waiting["run_id"], message_id=question.message_id, status=status, cursor=self.live.cursor
        )

    async def _withdraw(self, waiting: Mapping[str, Any]) -> None:
        """Remove a waiting message for good: its run ends as interrupted before it began."""
        rest = queue.without(self.record.queue, waiting)
        await self._save_queue(rest, [queue.run_record_of(waiting, "interrupted", 0)])

    async def _save_queue(self, waiting: Sequence[queue.Waiting], runs: Sequence[RunRecord]) -> None:
        operation = {"op": "replace", "path": "/queue", "value": queue.public_queue(waiting)}

        def remember() -> None:
            for run in runs:
                self.memo.note(run)

        await self._commit(
            self._housekeeping(
                [events.state_delta([operation])],
                change={"queue": tuple(waiting)},
                writes=[SaveRun(self.record.ref, run) for run in runs],
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
            if idle_since is not None and (self.is_busy or self.streams or log.record.last_activity > idle_since):
                return False
            await self._stop_active()
            tombstone = Tombstone(reason, time.time())

            def bury() -> None:
                self.ended = tombstone

            await self._commit(Entry(writes=[EndSession(log.record, tombstone)], on_commit=bury))
        for reader in tuple(log.readers):
            reader.wake()
        return True

    # --- inside the lock

    async def _begin(
        self,
        question: Question,
        agent: str,
        operations: Sequence[Event],
        *,
        rest: Sequence[queue.Waiting] | None = None,
        run_id: str | None = None,
    ) -> Run:
        log, settings = self.live, self._node.settings
        self._node.admit_run(self.key.user_id)
        limits = RunLimits(
            timeout_s=settings.run_timeout_seconds,
            grace_s=settings.stop_grace_seconds,
            max_bytes=settings.max_run_bytes,
            pending_bytes=settings.journal_pending_bytes,
        )
        run = Run(log, self._node.agent(agent), question, limits, run_id=run_id)
        change: dict[str, Any] = {"last_activity": run.started_at}
        if rest is not None:
            change["queue"] = tuple(rest)
        operations = [*operations, *self._titling(question.message, change)]
        opening = run.opening()
        if operations:
            opening.append(events.state_delta(operations))
        entry = Entry(
            opening,
            change=change,
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
        change: dict[str, Any] = {"last_activity": run.ended_at}
        operations = self._titling(question.message, change)
        if rest is not None:
            change["queue"] = tuple(rest)
            operations = [{"op": "remove", "path": "/queue/0"}, *operations]
        news = [events.state_delta(operations)] if operations else []
        await self._commit(
            Entry(
                [*run.opening(), *news, ending],
                change=change,
                opens=run,
                closes=run,
                on_commit=lambda: self.memo.note(run.as_record()),
            )
        )
        return Accepted(
            run_id=run.run_id, message_id=question.message_id, status="interrupted", cursor=log.cursor, run=run
        )

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

    async def _known(self, message_id: str) -> RunRecord | Run | None:
        known = self.memo.get(message_id)
        if known is None and not self.memo.is_blank:
            with reading(self._node.settings.storage_timeout_seconds):
                known = await self._node.storage.run_by_message(self.record.ref, message_id)
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
