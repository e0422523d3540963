"""What an agent must not yield: sequences that no client would survive, and what the refusal says."""

from __future__ import annotations

from typing import Any, Final

from server.core.ports import Event

TEXT: Event = {"type": "TEXT_MESSAGE_START", "messageId": "m"}
TEXT_END: Event = {"type": "TEXT_MESSAGE_END", "messageId": "m"}
CALL: Event = {"type": "TOOL_CALL_START", "toolCallId": "t", "toolCallName": "f"}
CALL_END: Event = {"type": "TOOL_CALL_END", "toolCallId": "t"}
RESULT: Event = {"type": "TOOL_CALL_RESULT", "messageId": "r", "toolCallId": "t", "content": "x"}
PLAN: Event = {"type": "ACTIVITY_SNAPSHOT", "messageId": "p", "activityType": "plan", "content": {"a": 1}}

_TABLE: Final[list[tuple[str, list[Any], str]]] = [
    ("not an object", ["text"], "not an event"),
    ("no object at all", [None], "not an event"),
    ("no type", [{"messageId": "m"}], "not an event"),
    ("type is no text", [{"type": 1}], "not an event"),
    ("unknown type", [{"type": "TEXT_MESSAGE_CHUNK", "messageId": "m", "delta": "x"}], "TEXT_MESSAGE_CHUNK"),
    ("a run of its own", [{"type": "RUN_STARTED", "threadId": "s", "runId": "r"}], "RUN_STARTED"),
    ("an end of its own", [{"type": "RUN_FINISHED", "threadId": "s", "runId": "r"}], "RUN_FINISHED"),
    ("an error of its own", [{"type": "RUN_ERROR", "message": "x"}], "RUN_ERROR"),
    ("history of its own", [{"type": "MESSAGES_SNAPSHOT", "messages": []}], "MESSAGES_SNAPSHOT"),
    ("content before start", [{"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "x"}], "not open"),
    ("end before start", [TEXT_END], "not open"),
    ("end twice", [TEXT, TEXT_END, TEXT_END], "not open"),
    ("start twice", [TEXT, TEXT], "open already"),
    ("another's role", [TEXT, TEXT_END, {**TEXT, "role": "user"}], "is a assistant message"),
    ("a role that is none", [{**TEXT, "role": "tool"}], "none of"),
    ("an earlier message", [{**TEXT, "messageId": "old"}], "earlier message"),
    ("a call in an earlier message", [{**CALL, "parentMessageId": "old"}], "earlier message"),
    ("a result over an earlier message", [CALL, CALL_END, {**RESULT, "messageId": "old"}], "earlier message"),
    ("a call in a user's message", [{**TEXT, "role": "user"}, {**CALL, "parentMessageId": "m"}], "user message"),
    ("args before call", [{"type": "TOOL_CALL_ARGS", "toolCallId": "t", "delta": "{"}], "not open"),
    ("a call twice", [CALL, CALL_END, CALL], "called already"),
    ("a call twice at once", [CALL, CALL], "open already"),
    ("a result without call", [RESULT], "not called"),
    ("a result too early", [CALL, RESULT], "before its TOOL_CALL_END"),
    ("two results", [CALL, CALL_END, RESULT, {**RESULT, "messageId": "r2"}], "second"),
    ("a result with a taken id", [TEXT, TEXT_END, CALL, CALL_END, {**RESULT, "messageId": "m"}], "taken"),
    ("a thought that is not open", [{"type": "REASONING_MESSAGE_END", "messageId": "m"}], "not open"),
    ("a span that is not open", [{"type": "REASONING_END", "messageId": "m"}], "not open"),
    ("a step that is not open", [{"type": "STEP_FINISHED", "stepName": "one"}], "not open"),
    ("a step twice", [{"type": "STEP_STARTED", "stepName": "one"}] * 2, "open already"),
    ("a delta without activity", [{**PLAN, "type": "ACTIVITY_DELTA", "content": None, "patch": []}], "no ACTIVITY"),
    ("a patch that does not apply", [PLAN, {"op": "remove", "path": "/b"}], "does not apply"),
    ("a patch of nothing", [PLAN, 1], "does not apply"),
    ("a patch that leaves no object", [PLAN, {"op": "replace", "path": "", "value": 1}], "object"),
    ("a missing field", [{"type": "TEXT_MESSAGE_START"}], "without messageId"),
    ("null for a required field", [{"type": "TEXT_MESSAGE_START", "messageId": None}], "without messageId"),
    ("an unknown field", [{**TEXT, "color": "red"}], "no field 'color'"),
    ("a field of the wrong kind", [{**TEXT, "messageId": 7}], "messageId is a int"),
    ("a boolean for a number", [{**TEXT, "timestamp": True}], "timestamp is a bool"),
    ("an empty id", [{**TEXT, "messageId": ""}], "1 to 128"),
    ("an endless id", [{**TEXT, "messageId": "m" * 257}], "1 to 128"),
    ("our metadata", [{**TEXT, "metadata": {"sessionstream": {}}}], "reserved"),
    ("the standard's metadata", [{**TEXT, "metadata": {"ag-ui": {}}}], "reserved"),
    ("secrets of nothing", [{"type": "REASONING_ENCRYPTED_VALUE", "subtype": "x", "entityId": "m",
                            "encryptedValue": "e"}], "subtype"),
]  # fmt: skip


def _as_patch(event: Any) -> Any:
    """Shorthand of the table: an operation, or a number in its place, patches the plan."""
    if isinstance(event, int) or (isinstance(event, dict) and "op" in event):
        return {"type": "ACTIVITY_DELTA", "messageId": "p", "activityType": "plan", "patch": [event]}
    return event


ILLEGAL: Final = {name: ([_as_patch(event) for event in events], says) for name, events, says in _TABLE}
"""Name → (events of which the last is refused, part of the refusal). One message, "old", is an earlier one."""
