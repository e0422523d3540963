"""Snapshot: what of a remote's MESSAGES_SNAPSHOT is news.

A snapshot restates the conversation; our log holds it already. Some agents stream nothing and say their answer by
snapshot alone, and many write new ids for everything in it. So only what stands behind the question of the run counts,
and of that only what has neither a known id nor a text that was said since. A snapshot without the question says
nothing about this run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

from ...core.ports import Event, Message
from ...errors import AgentFailed
from .names import original


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What there is already; ids are the remote's."""

    question: Message | None
    said: Collection[str]
    has_message: Callable[[str], bool]
    has_call: Callable[[str], bool]
    is_waiting: Callable[[str], bool]
    """Whether a call has no result yet."""


def unseen(messages: Any, known: Known) -> Iterator[Event]:
    """Yield the events, in the remote's ids, that say what of a snapshot is news.

    Raises:
        AgentFailed: with `agent_protocol`: it is no list of messages.
    """
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise AgentFailed("the remote agent sent a MESSAGES_SNAPSHOT without a list of messages", code="agent_protocol")
    for message in messages[_behind_question(messages, known.question) :]:
        match message.get("role"):
            case "assistant":
                yield from _answer(message, known)
            case "tool" if known.is_waiting(_id_of(message, "toolCallId")):
                yield {
                    "type": "TOOL_CALL_RESULT",
                    "messageId": _id_of(message),
                    "toolCallId": message["toolCallId"],
                    "content": message.get("content"),
                }
            case "reasoning" if _is_new_text(message, known):
                yield from _text("REASONING_MESSAGE", _id_of(message), message["content"])
            case "activity" if not known.has_message(_id_of(message)):
                yield {
                    "type": "ACTIVITY_SNAPSHOT",
                    "messageId": _id_of(message),
                    "activityType": message.get("activityType"),
                    "content": message.get("content"),
                }


def _behind_question(messages: list[Message], question: Message | None) -> int:
    """Return where the news may begin: behind the question, found by id or else by its text."""
    if question is None:
        return len(messages)
    places = range(len(messages) - 1, -1, -1)
    by_id = (at for at in places if messages[at].get("id") == original(question["id"]))
    by_text = (
        at
        for at in places
        if messages[at].get("role") == question["role"] and messages[at].get("content") == question.get("content")
    )
    return next(by_id, next(by_text, len(messages) - 1)) + 1


def _answer(message: Message, known: Known) -> Iterator[Event]:
    message_id = _id_of(message)
    if _is_new_text(message, known):
        yield from _text("TEXT_MESSAGE", message_id, message["content"])
    calls = message.get("toolCalls") or []
    for call in calls if isinstance(calls, list) else [calls]:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            raise AgentFailed("the remote agent sent a MESSAGES_SNAPSHOT with a wrong toolCalls", code="agent_protocol")
        call_id = _id_of(call)
        if not known.has_call(call_id):
            yield {
                "type": "TOOL_CALL_START",
                "toolCallId": call_id,
                "toolCallName": function.get("name"),
                "parentMessageId": message_id,
            }
            yield {"type": "TOOL_CALL_ARGS", "toolCallId": call_id, "delta": function.get("arguments")}
            yield {"type": "TOOL_CALL_END", "toolCallId": call_id}


def _is_new_text(message: Message, known: Known) -> bool:
    text = message.get("content")
    return isinstance(text, str) and bool(text) and text not in known.said and not known.has_message(_id_of(message))


def _text(kind: str, message_id: str, text: str) -> Iterator[Event]:
    yield {"type": f"{kind}_START", "messageId": message_id}
    yield {"type": f"{kind}_CONTENT", "messageId": message_id, "delta": text}
    yield {"type": f"{kind}_END", "messageId": message_id}


def _id_of(item: Message, key: str = "id") -> str:
    value = item.get(key)
    if not isinstance(value, str):
        raise AgentFailed(
            f"the remote agent sent a MESSAGES_SNAPSHOT with a message without {key}", code="agent_protocol"
        )
    return value
