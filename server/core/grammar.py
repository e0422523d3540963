"""Grammar: what an agent may yield and in which order, checked before anything is written.

Source: AG-UI 1.0, and what its official client enforces. An event that breaks it would be fatal to every client of
the session, so it ends the run with `agent_protocol` instead. `closing` gives the events that end a run legally from
wherever it stands: open items closed, innermost first, and every tool call answered, so that history stays valid for
every model provider.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator
from typing import Any, Final

import jsonpatch
import orjson

from ..errors import AgentFailed
from ..ids import is_client_id, new_id
from .interrupts import BadInterrupt, checked_interrupts
from .ports import Event

MAX_STATE_BYTES: Final = 1 << 20
"""Bound of a session's artifacts and of an activity: each change of them is stored as a whole."""
_MAX_LEVELS: Final = 64
_MAX_OPERATIONS: Final = 1000
_MAX_COPIES: Final = 16
_MAX_NAME_CHARS: Final = 256
_ROLES: Final = ("developer", "system", "assistant", "user")
_RESERVED_METADATA: Final = frozenset({"sessionstream", "ag-ui"})

# type → ({required field: kind}, {optional field: kind}); RUN_STARTED, RUN_ERROR, MESSAGES_SNAPSHOT belong to the run,
# not to agents. RUN_FINISHED is theirs only to ask the client something by it.
_FIELDS: Final[dict[str, tuple[dict[str, Any], dict[str, Any]]]] = {
    "STEP_STARTED": ({"stepName": str}, {}),
    "STEP_FINISHED": ({"stepName": str}, {}),
    "TEXT_MESSAGE_START": ({"messageId": str}, {"role": str, "name": str}),
    "TEXT_MESSAGE_CONTENT": ({"messageId": str, "delta": str}, {}),
    "TEXT_MESSAGE_END": ({"messageId": str}, {}),
    "TOOL_CALL_START": ({"toolCallId": str, "toolCallName": str}, {"parentMessageId": str}),
    "TOOL_CALL_ARGS": ({"toolCallId": str, "delta": str}, {}),
    "TOOL_CALL_END": ({"toolCallId": str}, {}),
    "TOOL_CALL_RESULT": ({"messageId": str, "toolCallId": str, "content": (str, list)}, {"role": str}),
    "STATE_SNAPSHOT": ({"snapshot": dict}, {}),
    "STATE_DELTA": ({"delta": list}, {}),
    "ACTIVITY_SNAPSHOT": ({"messageId": str, "activityType": str, "content": dict}, {"replace": bool}),
    "ACTIVITY_DELTA": ({"messageId": str, "activityType": str, "patch": list}, {}),
    "REASONING_START": ({"messageId": str}, {}),
    "REASONING_END": ({"messageId": str}, {}),
    "REASONING_MESSAGE_START": ({"messageId": str}, {"role": str}),
    "REASONING_MESSAGE_CONTENT": ({"messageId": str, "delta": str}, {}),
    "REASONING_MESSAGE_END": ({"messageId": str}, {}),
    "REASONING_ENCRYPTED_VALUE": ({"subtype": str, "entityId": str, "encryptedValue": str}, {}),
    "RAW": ({"event": object}, {"source": str}),
    "CUSTOM": ({"name": str, "value": object}, {}),
    "RUN_FINISHED": ({"outcome": dict}, {"threadId": str, "runId": str}),
}
_USAGE_COUNTS: Final = frozenset(
    {"inputTokens", "outputTokens", "totalTokens", "reasoningTokens", "cachedInputTokens", "cacheWriteInputTokens"}
)
_COMMON: Final = {"type": str, "timestamp": int, "rawEvent": object, "metadata": dict}
_NULLABLE: Final = frozenset({"value", "event", "rawEvent"})

_OPENS: Final = {
    "TEXT_MESSAGE_START": ("text", "messageId"),
    "TOOL_CALL_START": ("tool", "toolCallId"),
    "REASONING_START": ("reasoning", "messageId"),
    "REASONING_MESSAGE_START": ("thought", "messageId"),
    "STEP_STARTED": ("step", "stepName"),
}
_NEEDS: Final = {
    "TEXT_MESSAGE_CONTENT": ("text", "messageId"),
    "TEXT_MESSAGE_END": ("text", "messageId"),
    "TOOL_CALL_ARGS": ("tool", "toolCallId"),
    "TOOL_CALL_END": ("tool", "toolCallId"),
    "REASONING_END": ("reasoning", "messageId"),
    "REASONING_MESSAGE_CONTENT": ("thought", "messageId"),
    "REASONING_MESSAGE_END": ("thought", "messageId"),
    "STEP_FINISHED": ("step", "stepName"),
}
_CLOSERS: Final = {
    "text": ("TEXT_MESSAGE_END", "messageId"),
    "tool": ("TOOL_CALL_END", "toolCallId"),
    "reasoning": ("REASONING_END", "messageId"),
    "thought": ("REASONING_MESSAGE_END", "messageId"),
    "step": ("STEP_FINISHED", "stepName"),
}


class Grammar:
    """What is open in one run, as appended (not as committed)."""

    __slots__ = ("_activities", "_calls", "_known", "_open", "_roles", "interrupts")

    def __init__(self, known_ids: Collection[str] = (), carries: Iterable[str] = ()) -> None:
        """Start a run in a session whose messages and calls have `known_ids`: reusing one would write into the past.

        `carries` are calls of earlier runs that this one is to answer.
        """
        self._known = frozenset(known_ids)
        self._open: dict[tuple[str, str], None] = {}
        self._roles: dict[str, str] = {}
        self._activities: dict[str, Any] = {}
        self._calls: dict[str, bool] = dict.fromkeys(carries, False)
        self.interrupts: list[dict[str, Any]] = []
        """What the run is to end by asking; nothing may follow that."""

    def check(self, event: Event) -> Event:
        """Return the event as it may be written, and note what it opens or closes.

        Raises:
            AgentFailed: with `agent_protocol` and a detail that names the event and the field.
        """
        event = _checked_shape(event)
        kind = event["type"]
        if self.interrupts:
            raise _broken(f"{kind} after RUN_FINISHED")
        if kind in _NEEDS:
            self._need(kind, event)
        elif kind in _OPENS:
            self._enter(kind, event)
        elif kind == "TOOL_CALL_RESULT":
            self._answer(event)
        elif kind == "ACTIVITY_SNAPSHOT":
            self._claim(kind, event["messageId"], "activity")
            if event.get("replace", True):
                self._activities[event["messageId"]] = event["content"]
            else:
                self._activities.setdefault(event["messageId"], event["content"])
        elif kind == "ACTIVITY_DELTA":
            self._patch(event)
        return event

    def ask(self, event: Event) -> None:
        """Take a RUN_FINISHED, by which the run is to end asking. Raises as `check`."""
        outcome = event["outcome"]
        if outcome.get("type") != "interrupt":
            raise _broken(f"RUN_FINISHED with the outcome {outcome.get('type')!r}: an agent only interrupts by it")
        try:
            self.interrupts = checked_interrupts(outcome.get("interrupts"), self._unanswered())
        except BadInterrupt as error:
            raise _broken(f"RUN_FINISHED.outcome.{error}") from None

    def _unanswered(self) -> set[str]:
        """Return the calls that are whole and have no result."""
        return {one for one, answered in self._calls.items() if not answered and ("tool", one) not in self._open}

    def take_up(self, openers: Iterable[Event], unanswered: Iterable[str]) -> None:
        """Know a run of which only this is known: what opened what is open, and the calls that have no result."""
        for event in openers:
            kind, key = _OPENS[event["type"]]
            self._open[kind, event[key]] = None
        self._calls.update(dict.fromkeys(unanswered, False))

    def closing(self, reason: str, pending: Container[str] = ()) -> list[Event]:
        """Return what closes the run from here; unanswered tool calls that are not `pending` get a result: `reason`."""
        events: list[Event] = []
        for kind, item_id in reversed(self._open):
            closer, key = _CLOSERS[kind]
            events.append({"type": closer, key: item_id})
        events.extend(
            {
                "type": "TOOL_CALL_RESULT",
                "messageId": new_id(),
                "toolCallId": call_id,
                "content": reason,
                "role": "tool",
            }
            for call_id, answered in self._calls.items()
            if not answered and call_id not in pending
        )
        return events

    def _enter(self, kind: str, event: Event) -> None:
        item = _OPENS[kind][0], event[_OPENS[kind][1]]
        if item in self._open:
            raise _broken(f"{kind} for {item[1]!r}, which is open already")
        if kind == "TOOL_CALL_START":
            if item[1] in self._calls:
                raise _broken(f"TOOL_CALL_START for {item[1]!r}, which was called already")
            if item[1] in self._known:
                raise _broken(f"TOOL_CALL_START: toolCallId {item[1]!r} belongs to an earlier message or call")
            self._claim(kind, event.get("parentMessageId") or item[1], "assistant")
            self._calls[item[1]] = False
        elif kind == "TEXT_MESSAGE_START":
            self._claim(kind, item[1], event.get("role", "assistant"))
        elif kind == "REASONING_MESSAGE_START":
            self._claim(kind, item[1], "reasoning")
        self._open[item] = None

    def _need(self, kind: str, event: Event) -> None:
        item = _NEEDS[kind][0], event[_NEEDS[kind][1]]
        if item not in self._open:
            raise _broken(f"{kind} for {item[1]!r}, which is not open")
        if not kind.endswith(("_CONTENT", "_ARGS")):
            del self._open[item]

    def _answer(self, event: Event) -> None:
        call_id = event["toolCallId"]
        if call_id not in self._calls:
            raise _broken(f"TOOL_CALL_RESULT for {call_id!r}, which was not called in this run")
        if ("tool", call_id) in self._open:
            raise _broken(f"TOOL_CALL_RESULT for {call_id!r} before its TOOL_CALL_END")
        if self._calls[call_id]:
            raise _broken(f"a second TOOL_CALL_RESULT for {call_id!r}")
        if event["messageId"] in self._roles:
            raise _broken(f"TOOL_CALL_RESULT: messageId {event['messageId']!r} is taken")
        self._claim("TOOL_CALL_RESULT", event["messageId"], "tool")
        self._calls[call_id] = True

    def _patch(self, event: Event) -> None:
        message_id = event["messageId"]
        if message_id not in self._activities:
            raise _broken(f"ACTIVITY_DELTA for {message_id!r}, which no ACTIVITY_SNAPSHOT began")
        self._activities[message_id] = patched(self._activities[message_id], event["patch"], "ACTIVITY_DELTA")

    def _claim(self, kind: str, message_id: str, role: str) -> None:
        if message_id in self._known:
            raise _broken(f"{kind}: messageId {message_id!r} belongs to an earlier message")
        if self._roles.setdefault(message_id, role) != role:
            raise _broken(f"{kind}: messageId {message_id!r} is a {self._roles[message_id]} message")


def _is_part(part: Any) -> bool:
    if not isinstance(part, dict):
        return False
    held = part.get("text") if part.get("type") == "text" else part.get("source")
    return isinstance(part.get("type"), str) and isinstance(held, str if part["type"] == "text" else dict)


def patched(value: dict[str, Any], operations: list[Any], kind: str) -> dict[str, Any]:
    """Return an object after a JSON Patch.

    Raises:
        AgentFailed: with `agent_protocol`: it does not apply, or leaves no object, or one that is too large.
    """
    copies = sum(1 for one in operations if isinstance(one, dict) and one.get("op") == "copy")
    if len(operations) > _MAX_OPERATIONS or copies > _MAX_COPIES:
        raise _broken(f"{kind} has more than {_MAX_OPERATIONS} operations, or {_MAX_COPIES} copies")
    result: Any = value
    for group in _groups(operations):
        try:
            result = jsonpatch.apply_patch(result, group)
        except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError, KeyError, ValueError) as error:
            raise _broken(f"{kind} does not apply: {error}") from None
        check_state(result, kind)
    return result  # type: ignore[no-any-return]  # an object: checked


def check_state(value: Any, kind: str) -> None:
    """Refuse a state that is no object, or larger than one may be: it is stored and sent as a whole."""
    if not isinstance(value, dict):
        raise _broken(f"{kind} must leave an object")
    if _levels(value) > _MAX_LEVELS or len(orjson.dumps(value)) > MAX_STATE_BYTES:
        raise _broken(f"{kind} leaves more than {MAX_STATE_BYTES} bytes, or {_MAX_LEVELS} levels")


def _groups(operations: list[Any]) -> Iterator[list[Any]]:
    """Cut a patch behind every copy: each may double the value, so its size is looked at before the next."""
    group: list[Any] = []
    for operation in operations:
        group.append(operation)
        if isinstance(operation, dict) and operation.get("op") == "copy":
            yield group
            group = []
    yield group


def _levels(value: Any) -> int:
    levels, layer = 0, [value]
    while layer and levels <= _MAX_LEVELS:
        levels += 1
        layer = [
            item
            for one in layer
            for item in (one.values() if isinstance(one, dict) else one)
            if isinstance(item, dict | list)
        ]
    return levels


def checked_usage(usage: Any) -> list[dict[str, Any]]:
    """Return what an agent reports as its usage, without nulls.

    Raises:
        AgentFailed: with `agent_protocol`: it is no list of AG-UI's TokenUsage.
    """
    spent = []
    for item in usage:
        if not isinstance(item, dict):
            raise _broken(f"usage holds a {type(item).__name__}")
        spent.append({name: value for name, value in item.items() if value is not None})
        for name, value in spent[-1].items():
            if name in ("provider", "model"):
                is_right = isinstance(value, str) and value.isprintable()
            else:
                is_right = name in _USAGE_COUNTS and type(value) is int and 0 <= value < 1 << 53
            if not is_right:
                raise _broken(f"usage: {name!r} is not as AG-UI says")
    return spent


def _broken(detail: str) -> AgentFailed:
    return AgentFailed(detail, code="agent_protocol")


def _checked_shape(event: Event) -> Event:
    """Return the event without nulls (in AG-UI, optional means absent); refuse what no client would take."""
    kind = event.get("type") if isinstance(event, dict) else None
    if not isinstance(kind, str) or kind not in _FIELDS:
        raise _broken(f"not an event an agent may yield: {kind or type(event).__name__!r}")
    required, optional = _FIELDS[kind]
    event = {name: value for name, value in event.items() if value is not None or name in _NULLABLE}
    for name in required:
        if name not in event:
            raise _broken(f"{kind} without {name}")
    for name, value in event.items():
        _check_field(kind, name, value, required.get(name) or optional.get(name) or _COMMON.get(name))
    _check_values(kind, event)
    return event


def _check_field(kind: str, name: str, value: Any, expected: Any) -> None:
    if expected is None:
        raise _broken(f"{kind} has no field {name!r}")
    if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
        raise _broken(f"{kind}.{name} is a {type(value).__name__}")
    if isinstance(value, str) and name.endswith("Id") and not is_client_id(value):
        raise _broken(f"{kind}.{name} must be 1 to 128 letters, digits, or any of . _ : -")
    if isinstance(value, str) and name.endswith("Name") and not 0 < len(value) <= _MAX_NAME_CHARS:
        raise _broken(f"{kind}.{name} must have 1 to {_MAX_NAME_CHARS} characters")


def _check_values(kind: str, event: Event) -> None:
    if kind == "TEXT_MESSAGE_START" and event.get("role", "assistant") not in _ROLES:
        raise _broken(f"TEXT_MESSAGE_START.role {event['role']!r} is none of {', '.join(_ROLES)}")
    if kind == "REASONING_ENCRYPTED_VALUE" and event["subtype"] not in ("tool-call", "message"):
        raise _broken(f"REASONING_ENCRYPTED_VALUE.subtype is {event['subtype']!r}")
    if isinstance(event.get("content"), list) and not all(map(_is_part, event["content"])):
        raise _broken(f"{kind}.content must be text, or parts with a type and a text or a source")
    if _RESERVED_METADATA & event.get("metadata", {}).keys():
        raise _broken(f"{kind}.metadata uses a reserved key (sessionstream, ag-ui)")
