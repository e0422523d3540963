"""Run: one turn of an agent in a session, from its first event to its last.

A run is a task of the hub; no request owns it. Here it is driven: the agent is asked, what it yields is checked, folded
into events and appended; `RunLife` says how it begins and ends.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any, Final

import orjson

from ..errors import AgentFailed
from ..ids import new_id
from . import events
from .grammar import Grammar, check_state, patched
from .history import arranged, completed
from .offers import persona_of
from .outbox import Entry
from .pending import MAX_PENDING_BYTES, Call, asking
from .ports import Event, Message, StorageError, Turn
from .runlife import RunLife
from .text import MAX_DELTA_CHARS, pieces
from .transcript import Transcript
from .yielded import closable, encoded, ids_of, moved_to_artifacts

_log = logging.getLogger("sessionstream.run")

_MAX_EVENT_BYTES: Final = 4 << 20  # an official client gives up on a frame of more than 10 MiB
_STARTS: Final = frozenset({"TOOL_CALL_START", "TEXT_MESSAGE_START"})
_PIECES_PER_TURN: Final = 16  # an agent that never waits must let the loop breathe, and the journal batch


class Run(RunLife):
    """An active run; `drive` is the task."""

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
        if self._grammar.interrupts:
            await self._prepare_to_ask()
        self.end("finished")  # closes what is open; nothing when a stop came first

    async def _prepare_to_ask(self) -> None:
        """Find the calls that the questions are about, once all that was said of them is in the transcript."""
        await self._log.room(1)
        log, interrupts = self._log, self._grammar.interrupts
        if self.is_over or log.transcript is None:
            return
        if log.record.pending:
            raise AgentFailed("a question of the session waits already", code="agent_protocol")
        asked = [(one, self._call_of(one.get("toolCallId", ""), log.transcript)) for one in interrupts]
        pending = asking(self.question, self._agent.name, self.run_id, asked, self._limits.answer_s)
        if len(orjson.dumps(pending)) > MAX_PENDING_BYTES:
            raise AgentFailed(f"a question of more than {MAX_PENDING_BYTES} bytes", code="run_too_large")
        self._pending = pending

    def _call_of(self, call_id: str, transcript: Transcript) -> Call | None:
        found = transcript.call(call_id) or self.question.carries.get(call_id)
        return Call(*found) if found is not None else None

    async def _turn(self, history: Callable[[], Any]) -> Turn:
        stored: Sequence[Message] = await history()
        current = self._log.transcript.messages() if self._log.transcript is not None else []
        record = self._log.record
        past = arranged([*stored, *current])
        self._grammar = Grammar(ids_of(past), self.question.carries)
        return Turn(
            session_id=record.session_id,
            run_id=self.run_id,
            user_id=record.user_id,
            message=self.question.message,
            messages=completed(past, "no result", apart_from=self.question.carries),
            persona=persona_of(self._agent, self.question.persona or record.persona),
            state=record.artifacts,
            options={**record.config, **self.question.options},
            metadata=record.metadata,
            tools=self.question.tools,
            context=self.question.context,
            resume=self.question.resume,
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
        if kind == "RUN_FINISHED":
            self._end_text()
            self._grammar.ask(event)
            return
        if kind in _STARTS:
            self._fit(event)
        if kind in ("STATE_DELTA", "STATE_SNAPSHOT"):
            self._append_state(event)
            await self._pace()
        elif len(event.get("delta", "")) > MAX_DELTA_CHARS:
            for part in pieces(event["delta"]):
                await self._append({**event, "delta": part})
        else:
            await self._append(event)

    def _fit(self, event: Event) -> None:
        """Fit a new call or message into what is open: text that the agent only yielded ends here."""
        if event["type"] == "TEXT_MESSAGE_START":
            self._end_text()
            now = time.time()
            self.first_text_at = self.first_text_at or now
            event["metadata"] = {**event.get("metadata", {}), **events.message_metadata(self.run_id, now)}
            self._marks[event["messageId"]] = event["metadata"]
        elif "parentMessageId" not in event and self._text_id is not None:
            event["parentMessageId"] = self._text_id
            self._end_text()

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
        self.pieces += 1
        return not self.pieces % _PIECES_PER_TURN or self._log.pending_bytes >= self._limits.pending_bytes

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
        self._text_id, now = new_id(), time.time()
        self.first_text_at = self.first_text_at or now
        start = events.text_start(self._text_id, "assistant", self.run_id, now)
        self._marks[self._text_id] = start["metadata"]
        self._grammar.check({"type": "TEXT_MESSAGE_START", "messageId": self._text_id, "role": "assistant"})
        self._log.append_event(start)

    def _end_text(self) -> None:
        if self._text_id is not None and not self.is_over:
            self._flush_half()
            self._log.append_event(self._grammar.check({"type": "TEXT_MESSAGE_END", "messageId": self._text_id}))
            self._text_id = None
