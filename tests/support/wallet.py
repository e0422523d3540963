"""What an agent yields that has the client do something: a call, and the question about it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from server.core.ports import Event, Turn

CALL = {"id": "ask-c1", "reason": "tool_call", "toolCallId": "c1"}
"""The client is to perform call c1."""
APPROVAL = {"id": "ask-c1", "reason": "approval", "toolCallId": "c1", "message": "May I?"}
"""The client is to say whether c1 may be called."""


def call(call_id: str, name: str, arguments: str) -> list[Event]:
    """Return the events of a whole call."""
    return [
        {"type": "TOOL_CALL_START", "toolCallId": call_id, "toolCallName": name},
        {"type": "TOOL_CALL_ARGS", "toolCallId": call_id, "delta": arguments},
        {"type": "TOOL_CALL_END", "toolCallId": call_id},
    ]


def asking(*interrupts: dict[str, Any]) -> Event:
    """Return the last event of a run that asks."""
    return {"type": "RUN_FINISHED", "outcome": {"type": "interrupt", "interrupts": list(interrupts)}}


def about(call_id: str, reason: str = "tool_call") -> dict[str, Any]:
    """Return a question about a call."""
    return {"id": f"ask-{call_id}", "reason": reason, "toolCallId": call_id}


def result(call_id: str, content: str) -> Event:
    """Return the result of a call."""
    return {"type": "TOOL_CALL_RESULT", "messageId": f"result-{call_id}", "toolCallId": call_id, "content": content}


class Asker:
    """An agent that asks in its first turn, and says what the test wants in those that follow."""

    def __init__(self, *interrupts: dict[str, Any], then: tuple[str | Event, ...] = ("done",), text: str = "") -> None:
        self.turns: list[Turn] = []
        self._interrupts = interrupts
        self._then = then
        self._text = text

    async def __call__(self, turn: Turn, /) -> AsyncIterator[str | Event]:
        """Ask, or go on."""
        self.turns.append(turn)
        if len(self.turns) > 1:
            for piece in self._then:
                yield piece
            return
        for piece in self.first():
            yield piece

    def first(self) -> list[str | Event]:
        """Return what it yields in its first turn."""
        calls = [call(one["toolCallId"], "sign", '{"to":"0x1"}') for one in self._interrupts if "toolCallId" in one]
        said: list[str | Event] = [self._text] if self._text else []
        return [*said, *(event for events in calls for event in events), asking(*self._interrupts)]
