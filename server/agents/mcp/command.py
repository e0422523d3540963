"""A command: one call of a tool by a person, as a run, so that every rule of runs holds for it.

It is in the log for every tab, can be interrupted, ends with its session's node, and leaves a history that a model can
go on from: the call stands there by the name that models know.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final

import orjson

from ...core.ports import AgentEntry, Event, Turn
from ...errors import AgentFailed
from ...ids import new_id
from .results import Outcome, cut

_MAX_DETAIL_BYTES: Final = 1000


class Command:
    """One call; `result` is there once it was made, as the protocol has it."""

    def __init__(
        self,
        name: str,
        arguments: Mapping[str, Any],
        work: Callable[[], Awaitable[Outcome]],
        told: Callable[[Outcome], dict[str, Any]] | None = None,
    ) -> None:
        self.result: dict[str, Any] | None = None
        self.entry = AgentEntry(name="mcp", kind="mcp", agent=self._perform)
        self._name = name
        self._arguments = arguments
        self._work = work
        self._told = told or _told

    async def _perform(self, turn: Turn) -> AsyncIterator[str | Event]:
        call_id = new_id()
        yield {"type": "TOOL_CALL_START", "toolCallId": call_id, "toolCallName": self._name}
        yield {"type": "TOOL_CALL_ARGS", "toolCallId": call_id, "delta": orjson.dumps(self._arguments).decode()}
        yield {"type": "TOOL_CALL_END", "toolCallId": call_id}
        outcome = await self._work()
        yield {
            "type": "TOOL_CALL_RESULT",
            "messageId": new_id(),
            "toolCallId": call_id,
            "content": outcome.text,
            "role": "tool",
        }
        if outcome.is_error:
            raise AgentFailed(cut(outcome.text, _MAX_DETAIL_BYTES), code="tool_failed")
        self.result = self._told(outcome)


def _told(outcome: Outcome) -> dict[str, Any]:
    told = {"content": [{"type": "text", "text": outcome.text}], "isError": False}
    return told if outcome.structured is None else {**told, "structuredContent": outcome.structured}
