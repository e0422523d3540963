"""A run as strict AG-UI, for the protocol's official clients: what they asked for, under the names they gave.

The run keeps the id that the server gave it, in `metadata.sessionstream.run_id`; on this stream it has the client's.
What the request brought is not streamed back: the question, and results of tool calls. A run that waits for nothing but
tools of this client ends as success with `pendingToolCallIds`, as the protocol wants it of frontend tools; whatever
else it waits for is an interrupt. The last event is terminal, also when the stream cannot go on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from ..core import pending
from ..core.events import bare_frame, split_whole
from ..core.interrupts import is_approval
from ..core.ports import Event
from ..core.session import Session
from ..errors import SessionstreamError, Unavailable
from .past import user_message
from .run_input import RunInput
from .watch import RunSource

_BOUNDARY: Final = b'{"type":"RUN_'
_RESULT: Final = b'{"type":"TOOL_CALL_RESULT"'


class Facade:
    """One run, told to the client that asked for it; `tools` are those of the client that the run has."""

    def __init__(
        self, source: RunSource, session: Session, given: RunInput, tools: Sequence[Mapping[str, Any]]
    ) -> None:
        self._source = source
        self._session = session
        self._given = given
        self._echo = user_message(given.question.message_id) if given.question is not None else ()
        self._brought = frozenset(result.tool_call_id for result in given.results)
        self._offered = frozenset(tool["name"] for tool in tools)
        self._is_over = False

    async def take(self) -> bytes | None:
        """Return what is new of the run, as the client is told it."""
        while not self._is_over:
            try:
                chunk = await self._source.take()
                if chunk is None:
                    raise Unavailable("the events of the run are gone; the session's messages are there")
                told = self._told(chunk)
            except SessionstreamError as error:
                return self._broken(error)
            if told or not chunk:
                return told
        return b""

    async def wait(self) -> None:
        """Wait until there may be something new."""
        await self._source.wait()

    def wake(self) -> None:
        """Let `wait` return."""
        self._source.wake()

    @property
    def is_at_end(self) -> bool:
        """Whether the terminal event was taken, or there will be no run."""
        return self._is_over or self._source.is_at_end

    def farewell(self) -> bytes:
        """Return the terminal event of a run that has none."""
        return b"" if self._is_over else self._broken(SessionstreamError("the session ended", code="session_deleted"))

    def _broken(self, error: SessionstreamError) -> bytes:
        self._is_over = True
        return bare_frame({"type": "RUN_ERROR", "message": error.detail, "code": error.code})

    def _told(self, chunk: bytes) -> bytes:
        told = []
        for frame in split_whole(chunk):
            data = frame[frame.index(b"data: ") + 6 :]
            if data.startswith(_BOUNDARY):
                told.append(bare_frame(self._boundary(orjson.loads(data))))
            elif not data.startswith(self._echo) and not self._is_brought(data):
                told.append(b"data: " + data)
        return b"".join(told)

    def _is_brought(self, data: bytes) -> bool:
        # Decoded only when it may matter: most requests bring no result.
        return bool(self._brought) and data.startswith(_RESULT) and orjson.loads(data)["toolCallId"] in self._brought

    def _boundary(self, event: Event) -> Event:
        if event["type"] == "RUN_ERROR":
            self._is_over = True
            return event
        run_id, event["runId"] = event["runId"], self._given.run_id
        own: dict[str, Any] = event.setdefault("metadata", {}).setdefault("sessionstream", {})
        own["run_id"] = run_id
        if event["type"] == "RUN_FINISHED":
            self._is_over = True
            event["outcome"] = self._outcome(event["outcome"], run_id)
        elif self._given.parent_run_id is not None:
            event["parentRunId"] = self._given.parent_run_id
        return event

    def _outcome(self, outcome: dict[str, Any], run_id: str) -> dict[str, Any]:
        if outcome["type"] != "interrupt":
            return outcome
        waiting = self._session.record.pending
        interrupts = pending.interrupts_of(waiting, run_id)
        if not interrupts:
            # It was answered since, and this is told again: a client would never get past a question nobody asks.
            return {"type": "success"}
        names = {one.get("toolCallId"): one.get("toolCallName") for one in pending.public(waiting)}
        if any(is_approval(one) or names.get(one.get("toolCallId")) not in self._offered for one in interrupts):
            return outcome
        return {"type": "success", "pendingToolCallIds": [one["toolCallId"] for one in interrupts]}
