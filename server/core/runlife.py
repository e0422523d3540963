"""RunLife: how a run begins and ends, and who may end it.

Two things can end it, the agent and a stop, and `end` is the one compare-and-set between them: whoever comes first
writes the closing events and the terminal one, and everything the agent yields afterwards is dropped. A stop does not
wait for the agent to notice: the run is over at once, the agent's task is cancelled, and cancelled again while it
ignores that. A run that ends by asking the client something leaves its questions with the session in the same commit.

    running ── end("finished" | "interrupted" | "failed") ──▶ over      (appended, then committed)

A *foreign* run is one whose agent works on another node: it is followed here, and may be taken over and ended here. A
run of ours that another node took becomes foreign: its agent is cancelled, and the other node says how it ended.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ..errors import AgentFailed
from ..ids import new_id
from . import events
from .grammar import Grammar, checked_usage
from .outbox import Entry
from .pending import Pending, call_ids, interrupts_of
from .pending import public as public_pending
from .ports import AgentEntry, Event, Message, RunRecord
from .question import Question, RunLimits, Status
from .sessionlog import SessionLog
from .text import Mender, mended
from .transcript import Transcript

_RESULTS: Final = {"interrupted": "interrupted by the user", "failed": "the run failed", "finished": "no result"}
_ENDINGS: Final[dict[str, Status]] = {"finished": "finished", "interrupted": "interrupted", "failed": "failed"}


class RunLife:
    """A run without what drives it. `end` and `stop` may be called by anyone on the loop, at any time."""

    def __init__(
        self, log: SessionLog, agent: AgentEntry, question: Question, limits: RunLimits, *, run_id: str | None = None
    ) -> None:
        self.run_id = run_id or new_id()
        self.question = question
        self.status: Status = "running"
        self.code: str | None = None
        self.detail = ""
        """What a failed run says went wrong."""
        self.started_at = time.time()
        self.ended_at: float | None = None
        self.usage: list[dict[str, Any]] = []
        self._spent: Any = ()
        """What the agent appended to the usage so far."""
        self.first = 0
        self.last = 0
        self.opened = 0
        """Sequence number of the last event of its opening."""
        self.messages: list[Message] = []
        self.closing: Entry | None = None
        """The entry that ends the run, once it is appended."""
        self.is_lingering = False
        """Over, but the agent has not let go yet."""
        self.is_foreign = False
        """Its agent works on another node."""
        self.is_lost = False
        """Another node is to end it."""
        self.node_id = ""
        """The node that has it, when that is not ours."""
        self._done: asyncio.Future[None] | None = None
        self._log = log
        self._agent = agent
        self._limits = limits
        self._grammar = Grammar(carries=question.carries)
        self._pending: Pending = {}
        """What it ends by asking, if it comes to an end by itself."""
        self._text_id: str | None = None
        self._marks: dict[str, Mapping[str, Any]] = {}
        """Open message → the metadata it began with."""
        self._mender = Mender()
        self._size = 0
        self.pieces = 0
        """How many pieces of its agent were appended: about the tokens."""
        self.first_text_at: float | None = None
        """When the agent said its first word."""
        self._task: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def agent(self) -> AgentEntry:
        """What answers it."""
        return self._agent

    @property
    def is_over(self) -> bool:
        """Whether the last event is appended; what the agent yields now is dropped."""
        return self.closing is not None

    @property
    def is_open(self) -> bool:
        """Whether what is appended now stands inside it: its last event is not appended, here or anywhere we know."""
        return not self.last and (self.closing is None or self.is_lost)

    def is_meant(self, run_id: str | None, message_id: str | None) -> bool:
        """Whether an interrupt that names these means it: also by the message that it still answers."""
        return run_id in (None, self.run_id) and message_id in (None, self.question.message_id, self.question.said_id)

    def as_record(self) -> RunRecord:
        """Return what is stored of the run now."""
        return RunRecord(
            run_id=self.run_id,
            message_id=self.question.message_id,
            digest=self.question.digest,
            agent=self._agent.name,
            status=self.status,
            started_at=self.started_at,
            ended_at=self.ended_at,
            first=self.first,
            last=self.last,
            code=self.code,
            usage=tuple(self.usage),
        )

    def opening(self, before: Sequence[Event] = ()) -> list[Event]:
        """Return the events that begin the run: its start, what comes `before`, and the user's message for every tab.

        A run that goes on where another one asked has no message of its own; its start says which calls it carries.
        """
        asked = self.question
        started = events.run_started(self._log.record.session_id, self.run_id, self.started_at)
        if asked.resume:
            carries = {"carries": list(asked.carries)} if asked.carries else {}
            started["metadata"] = {"sessionstream": {"run_id": self.run_id, **carries}}
            return [started, *before]
        said = events.text_message(asked.message_id, asked.role, asked.message, self.run_id, self.started_at)
        return [started, *before, *said]

    def take_up(self, transcript: Transcript) -> None:
        """Know what is open in it as committed, to be able to end it: after a crash, or for another node."""
        self._grammar = Grammar()
        self._grammar.take_up(transcript.reopening(), transcript.unanswered())
        self._text_id, self._mender = None, Mender()
        for event in transcript.reopening():
            if event["type"] == "TEXT_MESSAGE_START" and "metadata" in event:
                self._marks[event["messageId"]] = event["metadata"]

    # --- other nodes

    def lose(self) -> None:
        """Another node took it: the agent is cancelled, and what it says is dropped. The other node will end it."""
        self.is_foreign = self.is_lost = True
        if self.closing is None:
            self.closing = Entry(done=asyncio.get_running_loop().create_future())
        if self._timer is not None:
            self._timer.cancel()
        self._cancel_agent()

    def ended_elsewhere(self, record: RunRecord, messages: list[Message]) -> None:
        """Another node wrote its last event: tell everybody who waits for that here."""
        self.lose()
        assert self.closing is not None
        # A storage that lost its newest data may believe that it has not even begun.
        self.status = _ENDINGS.get(record.status, "interrupted")
        self.code = record.code
        self.ended_at, self.usage = record.ended_at, list(map(dict, record.usage))
        self.last, self.messages = record.last, messages
        self.closing.settle()

    def regain(self, transcript: Transcript) -> None:
        """It was seized for this node: it may be ended here, whoever was to end it before."""
        self.take_up(transcript)
        if self.is_lost and self.closing is not None:
            self._done, self.closing = self.closing.done, None
        self.is_lost = False

    def give_up(self, code: str, detail: str) -> None:
        """End it as failed, because what it says cannot be stored."""
        self.stop("failed", code=code, detail=detail)

    # --- ending

    def end(self, status: Status, *, code: str | None = None, detail: str = "", reason: str | None = None) -> bool:
        """Decide how the run ends and append its last events; False when that was decided before."""
        if self.closing is not None:
            return False
        self.ended_at = time.time()
        try:
            self.usage = checked_usage(self._spent)
        except AgentFailed as error:
            if status == "finished":
                status, code, detail = "failed", error.code, error.detail
        self.status, self.code, self.detail = status, code, mended(detail)
        self._flush_half()
        asks = self._pending if status == "finished" else {}
        closing = [self._closed(event, status) for event in self._grammar.closing(_RESULTS[status], call_ids(asks))]
        change: dict[str, Any] = {"last_activity": self.ended_at}
        if asks:
            change["pending"] = asks
            closing.append(events.state_delta([{"op": "add", "path": "/pending", "value": public_pending(asks)}]))
        self.closing = Entry(
            events=[*closing, self._terminal(reason, asks)],
            change=change,
            closes=self,
            required=True,
            done=self._done or asyncio.get_running_loop().create_future(),
        )
        self._log.append(self.closing)
        if self._timer is not None:
            self._timer.cancel()
        return True

    def stop(self, status: Status = "interrupted", **why: Any) -> bool:
        """End the run now and cancel the agent; False when it was over already."""
        if not self.end(status, **why):
            return False
        self._cancel_agent()
        return True

    def _terminal(self, reason: str | None, asks: Pending) -> Event:
        assert self.ended_at is not None
        extra: dict[str, Any] = {"usage": list(self.usage)} if self.usage else {}
        if self.status == "failed":
            return events.run_error(self.run_id, self.detail, self.code or "agent_failed", self.ended_at, **extra)
        if reason is not None:
            extra["metadata"] = {"sessionstream": {"run_id": self.run_id, "reason": reason}}
        if asks:
            extra["interrupts"] = interrupts_of(asks, self.run_id)
        outcome = "interrupt" if asks else "success" if self.status == "finished" else "cancelled"
        return events.run_finished(self._log.record.session_id, self.run_id, outcome, self.ended_at, **extra)

    def _closed(self, event: Event, status: Status) -> Event:
        """Mark the answer's END with how it ended, for clients that show it later."""
        if event["type"] == "TEXT_MESSAGE_END" and status != "finished":
            mark = self._marks.get(event["messageId"]) or events.message_metadata(self.run_id, self.started_at)
            why = {"status": status} if self.code is None else {"status": status, "code": self.code}
            return {**event, "metadata": {"sessionstream": {**mark["sessionstream"], **why}}}
        return event

    def _flush_half(self) -> None:
        rest = self._mender.flush()
        if rest and self._text_id is not None:
            self._log.append_event({"type": "TEXT_MESSAGE_CONTENT", "messageId": self._text_id, "delta": rest})

    def _cancel_agent(self) -> None:
        """Cancel the agent's task, again and again while it ignores that.

        A plain `cancel` every grace period, not a cancel scope: a scope cancels again at every turn of the loop, so an
        agent that swallows it would burn a core.
        """
        if self._task is None or self._task.done():
            return
        self._task.cancel()
        self.is_lingering = True
        asyncio.get_running_loop().call_later(self._limits.grace_s, self._cancel_agent)
