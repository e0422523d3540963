"""Run: one turn of an agent in a session, from its first event to its last.

A run is a task of the hub; no request owns it. Two things can end it, the agent and a stop, and `end` is the one
compare-and-set between them: whoever comes first writes the closing events and the terminal one, and everything the
agent yields afterwards is dropped. A stop does not wait for the agent to notice: the run is over at once, the agent's
task is cancelled, and cancelled again while it ignores that.

    running ── end("finished" | "interrupted" | "failed") ──▶ over      (appended, then committed)

A *foreign* run is one whose agent works on another node: it is followed here, and may be taken over and ended here. A
run of ours that another node took becomes foreign: its agent is cancelled, and the other node says how it ended.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

import orjson

from ..errors import AgentFailed
from ..ids import new_id
from . import events
from .grammar import Grammar, check_state, checked_usage, patched
from .outbox import Entry
from .ports import AgentEntry, Event, Message, RunRecord, StorageError, Turn
from .question import Question, RunLimits, Status
from .sessionlog import SessionLog
from .text import MAX_DELTA_CHARS, Mender, mended, pieces
from .transcript import Transcript
from .yielded import closable, encoded, ids_of, moved_to_artifacts

_log = logging.getLogger("sessionstream.run")

_MAX_EVENT_BYTES: Final = 4 << 20  # an official client gives up on a frame of more than 10 MiB
_RESULTS: Final = {"interrupted": "interrupted by the user", "failed": "the run failed", "finished": "no result"}
_ENDINGS: Final[dict[str, Status]] = {"finished": "finished", "interrupted": "interrupted", "failed": "failed"}
_PIECES_PER_TURN: Final = 16  # an agent that never waits must let the loop breathe, and the journal batch


class Run:
    """An active run. `drive` is the task; `end` and `stop` may be called by anyone on the loop, at any time."""

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
        self._grammar = Grammar()
        self._text_id: str | None = None
        self._marks: dict[str, Mapping[str, Any]] = {}
        """Open message → the metadata it began with."""
        self._mender = Mender()
        self._size = 0
        self._pieces = 0
        self._task: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_over(self) -> bool:
        """Whether the last event is appended; what the agent yields now is dropped."""
        return self.closing is not None

    @property
    def is_open(self) -> bool:
        """Whether what is appended now stands inside it: its last event is not appended, here or anywhere we know."""
        return not self.last and (self.closing is None or self.is_lost)

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

    def opening(self) -> list[Event]:
        """Return the events that begin the run: its start, and the user's message for every tab."""
        session_id = self._log.record.session_id
        return [
            events.run_started(session_id, self.run_id, self.started_at),
            *events.text_message(
                self.question.message_id, self.question.role, self.question.message, self.run_id, self.started_at
            ),
        ]

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
        closing = [self._closed(event, status) for event in self._grammar.closing(_RESULTS[status])]
        self.closing = Entry(
            events=[*closing, self._terminal(reason)],
            change={"last_activity": self.ended_at},
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

    def _terminal(self, reason: str | None) -> Event:
        assert self.ended_at is not None
        extra: dict[str, Any] = {"usage": list(self.usage)} if self.usage else {}
        if self.status == "failed":
            return events.run_error(self.run_id, self.detail, self.code or "agent_failed", self.ended_at, **extra)
        if reason is not None:
            extra["metadata"] = {"sessionstream": {"run_id": self.run_id, "reason": reason}}
        outcome = "success" if self.status == "finished" else "cancelled"
        return events.run_finished(self._log.record.session_id, self.run_id, outcome, self.ended_at, **extra)

    def _closed(self, event: Event, status: Status) -> Event:
        """Mark the answer's END with how it ended, for clients that show it later."""
        if event["type"] == "TEXT_MESSAGE_END" and status != "finished":
            mark = self._marks.get(event["messageId"]) or events.message_metadata(self.run_id, self.started_at)
            why = {"status": status} if self.code is None else {"status": status, "code": self.code}
            return {**event, "metadata": {"sessionstream": {**mark["sessionstream"], **why}}}
        return event

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

    # --- driving

    async def drive(self, history: Callable[[], Any]) -> None:
        """Run the agent to its end; `history` returns the stored messages. Returns when the agent has let go."""
        self._task = asyncio.current_task()
        if self._limits.timeout_s:
            self._timer = asyncio.get_running_loop().call_later(self._limits.timeout_s, self._time_out)
        try:
            await self._drive(history)
        except asyncio.CancelledError:
            if self._end_cancelled():
                raise
        except AgentFailed as error:
            self.end("failed", code=error.code, detail=error.detail)
        except StorageError:
            self.end("failed", code="storage_unavailable", detail="the history could not be read")
        except Exception as error:  # boundary: agents are other people's code, whatever they raise ends their run only
            if not self.is_over:
                _log.exception("run %s: the agent %r raised", self.run_id, self._agent.name)
            self.end("failed", code="agent_failed", detail=f"the agent raised {type(error).__name__}")
        finally:
            self.is_lingering = False
            self._task = None

    def _end_cancelled(self) -> bool:
        """Say whether a cancellation is the hub's: the node goes down, and it wants to hear it.

        It is ours when the run is over: a stop. One that nobody asked for came out of the agent.
        """
        if self._task is None or not self._task.cancelling():
            self.end("failed", code="agent_failed", detail="the agent raised CancelledError")
            return False
        return self.end("interrupted", reason="shutdown")

    async def _drive(self, history: Callable[[], Any]) -> None:
        if self.is_over:
            return
        turn = await self._turn(history)
        self._spent = turn.usage
        answer = self._agent.agent(turn)
        async with aclosing(closable(answer)) as yielded:
            async for piece in yielded:
                if type(piece) is not str:
                    await self._take_event(piece)
                    continue
                for part in (piece,) if len(piece) <= MAX_DELTA_CHARS else pieces(piece):
                    if self.is_over:
                        return
                    self._take_text(part)
                    if self._is_pause_due():  # asked here, so that a token that need not wait costs no coroutine
                        await self._pause()
        self.end("finished")  # closes what is open; nothing when a stop came first

    async def _turn(self, history: Callable[[], Any]) -> Turn:
        stored: Sequence[Message] = await history()
        current = self._log.transcript.messages() if self._log.transcript is not None else []
        record = self._log.record
        self._grammar = Grammar(ids_of([*stored, *current]))
        return Turn(
            session_id=record.session_id,
            run_id=self.run_id,
            user_id=record.user_id,
            message=self.question.message,
            messages=[*stored, *current],
            persona=self.question.persona or record.persona,
            state=record.artifacts,
            options={**record.config, **self.question.options},
            metadata=record.metadata,
        )

    def _time_out(self) -> None:
        self.stop("failed", code="agent_timeout", detail=f"the run took longer than {self._limits.timeout_s:g} s")

    # --- what the agent yields

    def _take_text(self, text: str) -> None:
        text = self._mender.feed(text)
        if not text:
            return
        self._grow(len(text))
        if self._text_id is None:
            self._begin_text()
        assert self._text_id is not None
        self._log.append_event({"type": "TEXT_MESSAGE_CONTENT", "messageId": self._text_id, "delta": text})

    async def _take_event(self, event: Any) -> None:
        if self.is_over:
            return
        # Encoded before it is checked: what cannot be sent must open nothing. Decoded again: the agent may go on to
        # change what it yielded.
        body = encoded(event)
        self._grow(len(body))
        event = self._grammar.check(orjson.loads(body))
        if len(body) > _MAX_EVENT_BYTES and not isinstance(event.get("delta"), str):
            raise AgentFailed(f"an event of more than {_MAX_EVENT_BYTES} bytes", code="run_too_large")
        kind = event["type"]
        if kind == "TOOL_CALL_START" and "parentMessageId" not in event and self._text_id is not None:
            event["parentMessageId"] = self._text_id
            self._end_text()
        if kind == "TEXT_MESSAGE_START":
            self._end_text()
            event["metadata"] = {
                **event.get("metadata", {}),
                **events.message_metadata(self.run_id, time.time()),
            }
            self._marks[event["messageId"]] = event["metadata"]
        if kind in ("STATE_DELTA", "STATE_SNAPSHOT"):
            self._append_state(event)
            await self._pace()
        elif len(event.get("delta", "")) > MAX_DELTA_CHARS:
            for part in pieces(event["delta"]):
                await self._append({**event, "delta": part})
        else:
            await self._append(event)

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > self._limits.max_bytes:
            raise AgentFailed(f"the run produced more than {self._limits.max_bytes} bytes", code="run_too_large")

    async def _append(self, event: Event) -> None:
        if self.is_over:
            return
        self._log.append_event(event)
        await self._pace()

    async def _pace(self) -> None:
        if self._is_pause_due():
            await self._pause()

    def _is_pause_due(self) -> bool:
        self._pieces += 1
        return not self._pieces % _PIECES_PER_TURN or self._log.pending_bytes >= self._limits.pending_bytes

    async def _pause(self) -> None:
        if self._log.pending_bytes >= self._limits.pending_bytes:
            await self._log.room(self._limits.pending_bytes)
        else:
            await asyncio.sleep(0)

    def _append_state(self, event: Event) -> None:
        """Fold the agent's state: it lives under `artifacts` of the session's state, so its paths are moved there."""
        if event["type"] == "STATE_SNAPSHOT":
            check_state(event["snapshot"], "STATE_SNAPSHOT")
            operations = [{"op": "replace", "path": "/artifacts", "value": event["snapshot"]}]
            artifacts = event["snapshot"]
        else:
            artifacts = patched(self._log.artifacts, event["delta"], "STATE_DELTA")
            operations = moved_to_artifacts(event["delta"])
        self._log.artifacts = artifacts
        self._log.append(Entry([events.state_delta(operations)], change={"artifacts": artifacts}, required=True))

    def _begin_text(self) -> None:
        self._text_id = new_id()
        start = events.text_start(self._text_id, "assistant", self.run_id, time.time())
        self._marks[self._text_id] = start["metadata"]
        self._grammar.check({"type": "TEXT_MESSAGE_START", "messageId": self._text_id, "role": "assistant"})
        self._log.append_event(start)

    def _end_text(self) -> None:
        if self._text_id is not None and not self.is_over:
            self._flush_half()
            self._log.append_event(self._grammar.check({"type": "TEXT_MESSAGE_END", "messageId": self._text_id}))
            self._text_id = None

    def _flush_half(self) -> None:
        rest = self._mender.flush()
        if rest and self._text_id is not None:
            self._log.append_event({"type": "TEXT_MESSAGE_CONTENT", "messageId": self._text_id, "delta": rest})
