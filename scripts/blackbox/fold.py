"""The fold of a session's events into messages, state and run, written from the contract alone.

Messages are never changed in place, so a copy of a fold costs one small dict and stays what it was. `digest` is equal
for equal messages in this process only.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from .grammar import Grammar
from .patch import patched

Message = dict[str, Any]

SYNC_PREFIX: Final = "sync-"
# What a client folds from RUN_* and message events, or what time alone changes: no STATE_DELTA says it.
_DERIVED: Final = frozenset({"run", "message_count", "last_activity", "expires_at", "has_slides", "slide_count"})


class Fold:
    """One client's picture of a session."""

    def __init__(self) -> None:
        self.messages: dict[str, Message] = {}
        self.state: Any = {}
        self.run_id: str | None = None
        self.grammar = Grammar()
        self._marks: dict[str, int] = {}
        self._sum = 0

    def copy(self) -> Fold:
        """Return an independent twin."""
        twin = Fold()
        twin.messages = dict(self.messages)
        twin.state, twin.run_id, twin.grammar = self.state, self.run_id, self.grammar.copy()
        twin._marks, twin._sum = dict(self._marks), self._sum
        return twin

    def apply(self, event: dict[str, Any]) -> list[str]:
        """Fold one event; return what is wrong with it."""
        found = self.grammar.check(event)
        handler = _HANDLERS.get(event["type"])
        if handler is not None:
            try:
                handler(self, event)
            except (KeyError, IndexError, TypeError, ValueError) as error:
                found.append(f"{event['type']} cannot be folded: {error!r}")
        return found

    def digest(self) -> int:
        """Return a number that differs when a message differs."""
        for message_id, message in self.messages.items():
            if message_id not in self._marks:
                mark = hash((message_id, orjson.dumps(message, option=orjson.OPT_SORT_KEYS)))
                self._marks[message_id] = mark
                self._sum += mark
        return self._sum

    def text(self, message_id: str) -> str:
        """Return the text of a message, empty when it is not there."""
        return str(self.messages.get(message_id, {}).get("content", ""))

    def forget_messages(self) -> None:
        """Drop all messages, as a client would that shows the newest only."""
        self._replace_all([])

    # --- how messages change

    def _put(self, message_id: str, message: Message) -> None:
        self._sum -= self._marks.pop(message_id, 0)
        self.messages[message_id] = message

    def _changed(self, message_id: str, event: dict[str, Any], **fields: Any) -> None:
        self._put(message_id, _with_metadata({**self.messages[message_id], **fields}, event))

    def _replace_all(self, messages: list[Message]) -> None:
        self.messages = {message["id"]: message for message in messages}
        self._marks.clear()
        self._sum = 0

    # --- handlers, one per event type

    def _run_started(self, event: dict[str, Any]) -> None:
        if not event["runId"].startswith(SYNC_PREFIX):
            self.run_id = event["runId"]

    def _run_ended(self, event: dict[str, Any]) -> None:
        if not event.get("runId", "").startswith(SYNC_PREFIX):
            self.run_id = None

    def _messages_snapshot(self, event: dict[str, Any]) -> None:
        self._replace_all(event["messages"])

    def _text_start(self, event: dict[str, Any]) -> None:
        fresh = {"id": event["messageId"], "role": event.get("role", "assistant")}
        known = self.messages.get(event["messageId"], fresh)
        named = {"name": event["name"]} if "name" in event else {}
        self._put(event["messageId"], _with_metadata({"content": "", **known, **named}, event))

    def _reasoning_start(self, event: dict[str, Any]) -> None:
        fresh = {"id": event["messageId"], "role": "reasoning", "content": ""}
        self._put(event["messageId"], _with_metadata(self.messages.get(event["messageId"], fresh), event))

    def _content(self, event: dict[str, Any]) -> None:
        message_id = event["messageId"]
        self._changed(message_id, event, content=self.messages[message_id]["content"] + event["delta"])

    def _end(self, event: dict[str, Any]) -> None:
        if "metadata" in event:
            self._changed(event["messageId"], event)

    def _tool_start(self, event: dict[str, Any]) -> None:
        if self._find_call(event["toolCallId"]) is not None:  # opened again, behind a snapshot that holds it
            self._tool_changed(event)
            return
        owner_id = event.get("parentMessageId") or event["toolCallId"]
        if self.messages.get(owner_id, {"role": "assistant"})["role"] != "assistant":
            owner_id = event["toolCallId"]
        owner = self.messages.get(owner_id, {"id": owner_id, "role": "assistant"})
        function = {"name": event["toolCallName"], "arguments": ""}
        call = _with_metadata({"id": event["toolCallId"], "type": "function", "function": function}, event)
        self._put(owner_id, {**owner, "toolCalls": [*owner.get("toolCalls", ()), call]})

    def _tool_changed(self, event: dict[str, Any]) -> None:
        owner_id, at = self._call(event["toolCallId"])
        owner = self.messages[owner_id]
        call = owner["toolCalls"][at]
        function = {**call["function"], "arguments": call["function"]["arguments"] + event.get("delta", "")}
        changed = _with_metadata({**call, "function": function}, event)
        calls = [*owner["toolCalls"][:at], changed, *owner["toolCalls"][at + 1 :]]
        self._put(owner_id, {**owner, "toolCalls": calls})

    def _tool_result(self, event: dict[str, Any]) -> None:
        result = {
            "id": event["messageId"],
            "role": "tool",
            "toolCallId": event["toolCallId"],
            "content": event["content"],
        }
        found = self._find_call(event["toolCallId"])
        self._put(event["messageId"], _with_metadata(result, event))
        if found is None:
            return
        # Behind the caller and the results it has already.
        ordered = [message for key, message in self.messages.items() if key != event["messageId"]]
        at = next(index for index, message in enumerate(ordered) if message["id"] == found[0]) + 1
        while at < len(ordered) and ordered[at]["role"] == "tool":
            at += 1
        ordered.insert(at, self.messages[event["messageId"]])
        self.messages = {message["id"]: message for message in ordered}

    def _activity(self, event: dict[str, Any]) -> None:
        known = self.messages.get(event["messageId"])
        if known is not None and not event.get("replace", True):
            return
        kept = {"metadata": known["metadata"]} if known and "metadata" in known else {}
        names = {"id": event["messageId"], "role": "activity", "activityType": event["activityType"]}
        self._put(event["messageId"], _with_metadata({**names, "content": event["content"], **kept}, event))

    def _activity_delta(self, event: dict[str, Any]) -> None:
        content = patched(self.messages[event["messageId"]]["content"], event["patch"])
        self._changed(event["messageId"], event, content=content, activityType=event["activityType"])

    def _state_snapshot(self, event: dict[str, Any]) -> None:
        self.state = event["snapshot"]

    def _state_delta(self, event: dict[str, Any]) -> None:
        self.state = patched(self.state, event["delta"])

    def _call(self, call_id: str) -> tuple[str, int]:
        found = self._find_call(call_id)
        if found is None:
            raise KeyError(call_id)
        return found

    def _find_call(self, call_id: str) -> tuple[str, int] | None:
        for message_id, message in reversed(self.messages.items()):
            for at, call in enumerate(message.get("toolCalls", ())):
                if call["id"] == call_id:
                    return message_id, at
        return None


_HANDLERS: Final = {
    "RUN_STARTED": Fold._run_started,
    "RUN_FINISHED": Fold._run_ended,
    "RUN_ERROR": Fold._run_ended,
    "MESSAGES_SNAPSHOT": Fold._messages_snapshot,
    "STATE_SNAPSHOT": Fold._state_snapshot,
    "STATE_DELTA": Fold._state_delta,
    "TEXT_MESSAGE_START": Fold._text_start,
    "TEXT_MESSAGE_CONTENT": Fold._content,
    "TEXT_MESSAGE_END": Fold._end,
    "REASONING_MESSAGE_START": Fold._reasoning_start,
    "REASONING_MESSAGE_CONTENT": Fold._content,
    "REASONING_MESSAGE_END": Fold._end,
    "TOOL_CALL_START": Fold._tool_start,
    "TOOL_CALL_ARGS": Fold._tool_changed,
    "TOOL_CALL_END": Fold._tool_changed,
    "TOOL_CALL_RESULT": Fold._tool_result,
    "ACTIVITY_SNAPSHOT": Fold._activity,
    "ACTIVITY_DELTA": Fold._activity_delta,
}


def differences(fold: Fold, answered: dict[str, Any]) -> list[str]:
    """Compare a fold with what `GET /api/state` answered at the same position."""
    found = []
    ours, theirs = list(fold.messages.values()), answered["messages"]
    if ours != theirs:
        at = next(
            (i for i, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]),
            min(len(ours), len(theirs)),
        )
        shown = [str(side[at])[:300] if at < len(side) else "nothing" for side in (ours, theirs)]
        found.append(f"message {at} of {len(ours)}/{len(theirs)}: client {shown[0]} / store {shown[1]}")
    if without_derived(fold.state) != without_derived(answered["state"]):
        found.append(f"state: client {without_derived(fold.state)} / store {without_derived(answered['state'])}")
    running = (answered["run"] or {}).get("run_id") if (answered["run"] or {}).get("status") == "running" else None
    if fold.run_id != running:
        found.append(f"run: client {fold.run_id} / store {running}")
    return found


def without_derived(state: Any) -> Any:
    """Return the state without what a client folds from other events, or what time alone changes."""
    if not isinstance(state, dict):
        return state
    kept = {key: value for key, value in state.items() if key != "run"}
    if isinstance(state.get("session"), dict):
        kept["session"] = {key: value for key, value in state["session"].items() if key not in _DERIVED}
    return kept


def _with_metadata(message: Message, event: dict[str, Any]) -> Message:
    if "metadata" not in event:
        return message
    return {**message, "metadata": {**message.get("metadata", {}), **event["metadata"]}}
