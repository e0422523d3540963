"""Transcript: the fold of events into AG-UI messages, as the official client folds them.

Metadata of START, CONTENT and END is merged into the message, key by key. A tool result stands behind the assistant
message that called, after the results already there. Besides the messages it knows what is still open, so that a
snapshot in the middle of a run can re-open it and an ending can close it. The order of `apply` is the order of the
log; an event about something that was never opened changes nothing, as in the client. A run that goes on where another
one asked says in its RUN_STARTED which calls it `carries`: calls of that run which it is to answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jsonpatch

from .ports import Event, Message


class _Text(list[str]):
    """Text that grows by deltas: joined when read, not at each delta."""

    __slots__ = ()

    def __str__(self) -> str:
        if len(self) > 1:
            self[:] = ["".join(self)]
        return self[0] if self else ""


class Transcript:
    """Messages of one run (or of a whole log) and what of them is open."""

    __slots__ = ("_calls", "_carries", "_messages", "open")

    def __init__(self) -> None:
        self._messages: dict[str, Message] = {}
        self._calls: dict[str, tuple[str, dict[str, Any]]] = {}
        self._carries: tuple[str, ...] = ()
        """Calls of earlier runs that this one is to answer."""
        self.open: dict[tuple[str, str], Event] = {}
        """(kind, id) → the event that opened it, in order of opening; kinds are those of `_OPENERS`."""

    def __contains__(self, message_id: str) -> bool:
        return message_id in self._messages

    def __len__(self) -> int:
        return len(self._messages)

    def copy(self) -> Transcript:
        """Return an independent transcript; costs as much as the text it holds."""
        twin = Transcript()
        twin.open, twin._carries = dict(self.open), self._carries
        for message_id, message in self._messages.items():
            twin._messages[message_id] = copied = dict(message)
            if isinstance(message.get("content"), _Text):
                copied["content"] = _Text((str(message["content"]),))
            if "toolCalls" in message:
                copied["toolCalls"] = [_copied_call(call) for call in message["toolCalls"]]
                twin._calls.update((call["id"], (message_id, call)) for call in copied["toolCalls"])
        return twin

    def apply(self, event: Event) -> None:
        """Fold one event; events that carry no message change nothing."""
        handler = _HANDLERS.get(event["type"])
        if handler is not None:
            handler(self, event)

    def messages(self) -> list[Message]:
        """Return the messages as AG-UI JSON, in their order."""
        return [_plain(message) for message in self._messages.values()]

    def unanswered(self) -> list[str]:
        """Return the ids of tool calls without a result, in order of the calls."""
        answered = {message.get("toolCallId") for message in self._messages.values()}
        return [call_id for call_id in (*self._carries, *self._calls) if call_id not in answered]

    def call(self, call_id: str) -> tuple[str, str] | None:
        """Return name and arguments of a call; None when it is none of this run's."""
        if call_id not in self._calls:
            return None
        function = self._calls[call_id][1]["function"]
        return function["name"], str(function["arguments"])

    def reopening(self) -> list[Event]:
        """Return the events that open again what is open, for a client that starts from a snapshot."""
        return list(self.open.values())

    # --- handlers, one per event type

    def _run_started(self, event: Event) -> None:
        if "metadata" in event:
            self._carries = tuple(event["metadata"].get("sessionstream", {}).get("carries", ()))

    def _text_start(self, event: Event) -> None:
        message = self._messages.setdefault(
            event["messageId"], {"id": event["messageId"], "role": event.get("role", "assistant")}
        )
        message.setdefault("content", _Text())
        if "name" in event:
            message["name"] = event["name"]
        _merge_metadata(message, event)
        self.open["text", event["messageId"]] = event

    def _text_content(self, event: Event) -> None:
        message = self._messages.get(event["messageId"])
        if message is not None:
            message["content"].append(event["delta"])
            if "metadata" in event:
                _merge_metadata(message, event)

    def _text_end(self, event: Event) -> None:
        if self.open.pop(("text", event["messageId"]), None) is not None:
            _merge_metadata(self._messages[event["messageId"]], event)

    def _tool_start(self, event: Event) -> None:
        call_id = event["toolCallId"]
        owner_id = event.get("parentMessageId") or call_id
        if owner_id in self._messages and self._messages[owner_id]["role"] != "assistant":
            owner_id = call_id
        owner = self._messages.setdefault(owner_id, {"id": owner_id, "role": "assistant"})
        function = {"name": event["toolCallName"], "arguments": _Text()}
        call: dict[str, Any] = {"id": call_id, "type": "function", "function": function}
        owner.setdefault("toolCalls", []).append(call)
        _merge_metadata(call, event)
        self._calls[call_id] = (owner_id, call)
        self.open["tool", call_id] = event

    def _tool_args(self, event: Event) -> None:
        if event["toolCallId"] in self._calls:
            call = self._calls[event["toolCallId"]][1]
            call["function"]["arguments"].append(event["delta"])
            _merge_metadata(call, event)

    def _tool_end(self, event: Event) -> None:
        if self.open.pop(("tool", event["toolCallId"]), None) is not None:
            _merge_metadata(self._calls[event["toolCallId"]][1], event)

    def _tool_result(self, event: Event) -> None:
        message: Message = {
            "id": event["messageId"],
            "toolCallId": event["toolCallId"],
            "role": "tool",
            "content": event["content"],
        }
        _merge_metadata(message, event)
        owner_id = self._calls[event["toolCallId"]][0] if event["toolCallId"] in self._calls else None
        self._messages = dict(_inserted(self._messages.items(), owner_id, message))

    def _reasoning_span(self, event: Event) -> None:
        self.open["reasoning", event["messageId"]] = event

    def _reasoning_span_end(self, event: Event) -> None:
        self.open.pop(("reasoning", event["messageId"]), None)

    def _reasoning_start(self, event: Event) -> None:
        message = self._messages.setdefault(
            event["messageId"], {"id": event["messageId"], "role": "reasoning", "content": _Text()}
        )
        _merge_metadata(message, event)
        self.open["thought", event["messageId"]] = event

    def _reasoning_end(self, event: Event) -> None:
        if self.open.pop(("thought", event["messageId"]), None) is not None:
            _merge_metadata(self._messages[event["messageId"]], event)

    def _step(self, event: Event) -> None:
        self.open["step", event["stepName"]] = event

    def _step_end(self, event: Event) -> None:
        self.open.pop(("step", event["stepName"]), None)

    def _activity(self, event: Event) -> None:
        known = self._messages.get(event["messageId"])
        if known is None or event.get("replace", True):
            self._messages[event["messageId"]] = known = {
                "id": event["messageId"],
                "role": "activity",
                "activityType": event["activityType"],
                "content": event["content"],
                **({"metadata": known["metadata"]} if known and "metadata" in known else {}),
            }
        _merge_metadata(known, event)

    def _activity_delta(self, event: Event) -> None:
        message = self._messages.get(event["messageId"])
        if message is None:
            return
        message["content"] = jsonpatch.apply_patch(message["content"], event["patch"])
        message["activityType"] = event["activityType"]
        _merge_metadata(message, event)

    def _encrypted(self, event: Event) -> None:
        entity_id = event["entityId"]
        if event["subtype"] == "tool-call":
            target = self._calls[entity_id][1] if entity_id in self._calls else None
        else:
            target = self._messages.get(entity_id)
        if target is not None:
            target["encryptedValue"] = event["encryptedValue"]


_HANDLERS = {
    "RUN_STARTED": Transcript._run_started,
    "TEXT_MESSAGE_START": Transcript._text_start,
    "TEXT_MESSAGE_CONTENT": Transcript._text_content,
    "TEXT_MESSAGE_END": Transcript._text_end,
    "TOOL_CALL_START": Transcript._tool_start,
    "TOOL_CALL_ARGS": Transcript._tool_args,
    "TOOL_CALL_END": Transcript._tool_end,
    "TOOL_CALL_RESULT": Transcript._tool_result,
    "REASONING_START": Transcript._reasoning_span,
    "REASONING_END": Transcript._reasoning_span_end,
    "REASONING_MESSAGE_START": Transcript._reasoning_start,
    "REASONING_MESSAGE_CONTENT": Transcript._text_content,
    "REASONING_MESSAGE_END": Transcript._reasoning_end,
    "STEP_STARTED": Transcript._step,
    "STEP_FINISHED": Transcript._step_end,
    "ACTIVITY_SNAPSHOT": Transcript._activity,
    "ACTIVITY_DELTA": Transcript._activity_delta,
    "REASONING_ENCRYPTED_VALUE": Transcript._encrypted,
}


def _copied_call(call: dict[str, Any]) -> dict[str, Any]:
    function = {**call["function"], "arguments": _Text((str(call["function"]["arguments"]),))}
    return {**call, "function": function}


def _merge_metadata(target: dict[str, Any], event: Event) -> None:
    if "metadata" in event:
        target["metadata"] = {**target.get("metadata", {}), **event["metadata"]}


def _inserted(
    items: Iterable[tuple[str, Message]], owner_id: str | None, result: Message
) -> Iterable[tuple[str, Message]]:
    """Yield the messages with a tool result behind its caller's other results, or at the end without a caller."""
    pending = False
    placed = False
    for message_id, message in items:
        if pending and message["role"] != "tool":
            yield result["id"], result
            pending, placed = False, True
        yield message_id, message
        pending = pending or message_id == owner_id
    if not placed:
        yield result["id"], result


def _plain(message: Message) -> Message:
    plain = dict(message)
    if isinstance(plain.get("content"), _Text):
        plain["content"] = str(plain["content"])
    if "toolCalls" in plain:
        plain["toolCalls"] = [
            {**call, "function": {**call["function"], "arguments": str(call["function"]["arguments"])}}
            for call in plain["toolCalls"]
        ]
    return plain
