"""History: stored and current messages put together, in the order in which clients fold them.

Messages are stored in the order of the log. A result may come long after its call, with others between the two (a
system message, say); in the history it stands behind its caller, as providers demand and clients show it.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

from ..ids import new_id
from .ports import Message


def arranged(history: Sequence[Message]) -> list[Message]:
    """Return messages with each tool result behind its caller, and behind the results that this has already.

    Of a part of a history: results whose caller stands before that part come first.
    """
    callers = {call["id"]: message["id"] for message in history for call in message.get("toolCalls", ())}
    results: dict[str | None, list[Message]] = {}
    others: list[Message] = []
    for message in history:
        if message["role"] == "tool":
            results.setdefault(callers.get(message["toolCallId"]), []).append(message)
        else:
            others.append(message)
    found = results.pop(None, [])
    for message in others:
        found.append(message)
        found += results.get(message["id"], ())
    return found


def unanswered(history: Sequence[Message]) -> dict[str, tuple[str, str]]:
    """Return the tool calls without a result: id → name and arguments."""
    answered = {message["toolCallId"] for message in history if message["role"] == "tool"}
    calls = [call for message in history for call in message.get("toolCalls", ())]
    return {
        call["id"]: (call["function"]["name"], call["function"]["arguments"])
        for call in calls
        if call["id"] not in answered
    }


def completed(history: Sequence[Message], content: str, *, apart_from: Container[str] = ()) -> list[Message]:
    """Return messages in which every tool call has a result: calls without one, but for some, get this content."""
    left = unanswered(history).keys()
    found: list[Message] = []
    for message in history:
        found.append(message)
        found += [
            {"id": new_id(), "role": "tool", "toolCallId": call["id"], "content": content}
            for call in message.get("toolCalls", ())
            if call["id"] in left and call["id"] not in apart_from
        ]
    return found
