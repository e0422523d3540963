"""Fold: events of a remote run as events of ours.

The remote's own RUN_STARTED, RUN_FINISHED and RUN_ERROR are read, not passed on: our run has its own. Everything else
is rebuilt from the fields that our grammar knows, under our ids, and checked by the run that takes it. What the
protocol has and our grammar has not (subagents, events of later versions) is passed on as RAW. What would tell the
session something that it knows already is left out: its own messages, results that it has, a state that it is in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from ...core.ports import Event, Turn
from ...core.text import Mender
from ...errors import AgentFailed
from ...ids import new_id
from .ending import Ending, error_of, finish_of
from .names import Kind, Names, spelled
from .past import Past
from .plain import Plain
from .request import PERFORMED
from .snapshot import Known, unseen
from .state import State

_RAW_SOURCE: Final = "ag-ui"
_OWN_CUSTOM: Final = "sessionstream."
_RESERVED_METADATA: Final = frozenset({"sessionstream", "ag-ui"})
_ITEMS: Final[dict[str, tuple[Kind, str]]] = {
    "TEXT_MESSAGE": ("message", "messageId"),
    "TOOL_CALL": ("call", "toolCallId"),
    "REASONING_MESSAGE": ("reasoning", "messageId"),
}
"""What opens, grows and closes → what its id names, and where it stands."""


class Fold:
    """One remote run, event by event, until `ending` says how it ended."""

    def __init__(self, turn: Turn) -> None:
        self.has_started = False
        self.ending: Ending | None = None
        self._past = Past(turn.messages)
        self._names = Names(self._past.taken)
        self._plain = Plain()
        self._client_tools = {tool["name"] for tool in turn.tools}
        self._state = State(turn.state)
        self._repeated: set[tuple[Kind, str]] = set()
        """What the remote says again; the session has it."""
        self._menders: dict[tuple[Kind, str], Mender] = {}
        self._texts: dict[tuple[Kind, str], list[str]] = {}
        self._waiting: dict[str, str] = {}
        """Calls of this run without a result → their tools."""

    def take(self, event: Event) -> Iterator[Event]:
        """Yield what an event means for our run.

        Raises:
            AgentFailed: with `agent_protocol`: it breaks AG-UI in a way that the run would not find.
        """
        for plain in self._plain.expand(event):
            if not self.has_started and plain["type"] not in ("RUN_STARTED", "RUN_ERROR"):
                raise _broken(f"{plain['type']} before RUN_STARTED")
            yield from self._fold(plain)

    def interrupts(self) -> list[dict[str, Any]]:
        """Return what the client is to be asked, by our ids: what the remote asks, and calls that it leaves to it."""
        assert self.ending is not None
        asked = [self._asked(one) for one in self.ending.interrupts]
        covered = {one.get("toolCallId") for one in asked}
        left = self.ending.pending
        for call_id, tool in self._waiting.items():
            is_left = tool in self._client_tools if left is None else call_id in left
            ours = self._names.name("call", call_id)
            if is_left and ours not in covered:
                asked.append({"id": f"{PERFORMED}{new_id()}", "reason": "tool_call", "toolCallId": ours})
        return asked

    def _asked(self, interrupt: dict[str, Any]) -> dict[str, Any]:
        asked = {name: value for name, value in interrupt.items() if name not in ("metadata", "subagentRunId")}
        asked |= {"id": spelled(interrupt["id"]), **_metadata(interrupt)}
        call_id = interrupt.get("toolCallId")
        if isinstance(call_id, str):
            asked["toolCallId"] = self._call(call_id)
        return asked

    def _fold(self, event: Event) -> Iterator[Event]:
        handler = _HANDLERS.get(event["type"])
        if handler is None:
            yield {"type": "RAW", "event": event, "source": _RAW_SOURCE}
        else:
            yield from handler(self, event)

    # --- the run itself

    def _started(self, event: Event) -> Iterator[Event]:
        if self.has_started:
            raise _broken("a second RUN_STARTED")
        self.has_started = True
        metadata = event.get("metadata")
        self._state.is_inside = isinstance(metadata, dict) and "sessionstream" in metadata
        yield from ()

    def _finished(self, event: Event) -> Iterator[Event]:
        self.ending = finish_of(event)
        yield from ()

    def _failed(self, event: Event) -> Iterator[Event]:
        self.ending = error_of(event)
        yield from ()

    # --- what opens, grows and closes

    def _open(self, event: Event) -> Iterator[Event]:
        kind, key, remote_id = _item(event)
        if self._is_repeated(kind, remote_id, event):
            self._repeated.add((kind, remote_id))
            return
        self._menders[kind, remote_id] = Mender()
        told: Event = {"type": event["type"], key: self._names.name(kind, remote_id)}
        if kind != "call":
            self._texts.setdefault((kind, remote_id), [])
            told |= _fields(event, "role", "name") if kind == "message" else {}
        else:
            self._waiting[remote_id] = str(event.get("toolCallName"))
            told |= _fields(event, "toolCallName")
            if isinstance(event.get("parentMessageId"), str):
                told["parentMessageId"] = self._names.name("message", event["parentMessageId"])
        yield told | _metadata(event)

    def _is_repeated(self, kind: Kind, remote_id: str, event: Event) -> bool:
        if kind == "message":
            is_ours = event.get("role") not in (None, "assistant")
            return is_ours and remote_id in self._past.message_ids and self._names.known(kind, remote_id) is None
        return kind == "call" and remote_id in self._past.pending

    def _grow(self, event: Event) -> Iterator[Event]:
        kind, key, remote_id = _item(event)
        if (kind, remote_id) in self._repeated:
            return
        delta = event.get("delta")
        mender = self._menders.get((kind, remote_id))
        if isinstance(delta, str) and mender is not None:
            delta = mender.feed(delta)
            if kind != "call":
                self._texts[kind, remote_id].append(delta)
        if delta != "":
            # Without its timestamp and metadata: what is plain is stored merged with what follows.
            yield {"type": event["type"], key: self._known(kind, remote_id), "delta": delta}

    def _close(self, event: Event) -> Iterator[Event]:
        kind, key, remote_id = _item(event)
        if (kind, remote_id) in self._repeated:
            self._repeated.discard((kind, remote_id))
            return
        ours = self._known(kind, remote_id)
        mender = self._menders.pop((kind, remote_id), None)
        if mender is not None and (rest := mender.flush()):
            yield {"type": _CONTENTS[event["type"]], key: ours, "delta": rest}
        yield {"type": event["type"], key: ours, **_metadata(event)}

    def _known(self, kind: Kind, remote_id: str) -> str:
        """Return our id for what should be open; when it is not, the run will say so."""
        return self._names.known(kind, remote_id) or spelled(remote_id)

    # --- tools

    def _call(self, remote_id: str) -> str:
        """Return our id for a call of this run, or for one of an earlier run that waits for its result."""
        return self._names.known("call", remote_id) or self._past.pending.get(remote_id) or spelled(remote_id)

    def _result(self, event: Event) -> Iterator[Event]:
        call_id = _text(event, "toolCallId")
        if self._names.known("call", call_id) is None and call_id in self._past.answered:
            return
        self._waiting.pop(call_id, None)
        result_id = event.get("messageId")
        yield {
            "type": "TOOL_CALL_RESULT",
            # Always another one: some agents give all results of an answer its id.
            "messageId": self._names.rename("result", result_id if isinstance(result_id, str) else ""),
            "toolCallId": self._call(call_id),
            "role": "tool",
            **_fields(event, "content"),
            **_metadata(event),
        }

    # --- reasoning, steps, activities

    def _span(self, event: Event) -> Iterator[Event]:
        ours = self._names.name("reasoning", _text(event, "messageId"))
        yield {"type": event["type"], "messageId": ours, **_metadata(event)}

    def _encrypted(self, event: Event) -> Iterator[Event]:
        entity_id = _text(event, "entityId")
        if event.get("subtype") == "tool-call":
            ours = self._call(entity_id)
        else:
            kinds: tuple[Kind, ...] = ("reasoning", "result", "message")
            ours = next(filter(None, (self._names.known(kind, entity_id) for kind in kinds)), spelled(entity_id))
        yield {
            "type": event["type"],
            "entityId": ours,
            **_fields(event, "subtype", "encryptedValue"),
            **_metadata(event),
        }

    def _activity(self, event: Event) -> Iterator[Event]:
        ours = self._names.name("activity", _text(event, "messageId"))
        told = _fields(event, "activityType", "content", "replace", "patch")
        yield {"type": event["type"], "messageId": ours, **told, **_metadata(event)}

    def _step(self, event: Event) -> Iterator[Event]:
        yield {"type": event["type"], **_fields(event, "stepName"), **_metadata(event)}

    def _custom(self, event: Event) -> Iterator[Event]:
        if str(event.get("name")).startswith(_OWN_CUSTOM):
            # Clients act on these names; here they would speak of another server's session.
            yield {"type": "RAW", "event": event, "source": _RAW_SOURCE}
        else:
            yield {"type": "CUSTOM", **_fields(event, "name", "value", nullable="value"), **_metadata(event)}

    def _raw(self, event: Event) -> Iterator[Event]:
        yield {"type": "RAW", **_fields(event, "event", "source", nullable="event"), **_metadata(event)}

    # --- snapshots and state

    def _state_snapshot(self, event: Event) -> Iterator[Event]:
        yield from self._state.replaced(event.get("snapshot"))

    def _state_delta(self, event: Event) -> Iterator[Event]:
        yield from self._state.patched(event.get("delta"))

    def _messages(self, event: Event) -> Iterator[Event]:
        names, past = self._names, self._past
        known = Known(
            question=past.question,
            said=past.said | {"".join(parts) for parts in self._texts.values()},
            has_message=lambda message_id: (
                message_id in past.message_ids
                or any(names.known(kind, message_id) for kind in ("message", "reasoning", "activity"))
            ),
            has_call=lambda call_id: (
                bool(names.known("call", call_id)) or call_id in past.pending or call_id in past.answered
            ),
            is_waiting=lambda call_id: (
                call_id in self._waiting or (call_id in past.pending and names.known("call", call_id) is None)
            ),
        )
        # One by one: what a message of the snapshot opens, the next one may answer.
        for said in unseen(event.get("messages"), known):
            yield from self._fold(said)


_CONTENTS: Final = {
    "TEXT_MESSAGE_END": "TEXT_MESSAGE_CONTENT",
    "TOOL_CALL_END": "TOOL_CALL_ARGS",
    "REASONING_MESSAGE_END": "REASONING_MESSAGE_CONTENT",
}
_HANDLERS: Final[dict[str, Callable[[Fold, Event], Iterator[Event]]]] = {
    "RUN_STARTED": Fold._started,
    "RUN_FINISHED": Fold._finished,
    "RUN_ERROR": Fold._failed,
    "TEXT_MESSAGE_START": Fold._open,
    "TEXT_MESSAGE_CONTENT": Fold._grow,
    "TEXT_MESSAGE_END": Fold._close,
    "TOOL_CALL_START": Fold._open,
    "TOOL_CALL_ARGS": Fold._grow,
    "TOOL_CALL_END": Fold._close,
    "TOOL_CALL_RESULT": Fold._result,
    "REASONING_START": Fold._span,
    "REASONING_END": Fold._span,
    "REASONING_MESSAGE_START": Fold._open,
    "REASONING_MESSAGE_CONTENT": Fold._grow,
    "REASONING_MESSAGE_END": Fold._close,
    "REASONING_ENCRYPTED_VALUE": Fold._encrypted,
    "ACTIVITY_SNAPSHOT": Fold._activity,
    "ACTIVITY_DELTA": Fold._activity,
    "STEP_STARTED": Fold._step,
    "STEP_FINISHED": Fold._step,
    "STATE_SNAPSHOT": Fold._state_snapshot,
    "STATE_DELTA": Fold._state_delta,
    "MESSAGES_SNAPSHOT": Fold._messages,
    "CUSTOM": Fold._custom,
    "RAW": Fold._raw,
}


def _item(event: Event) -> tuple[Kind, str, str]:
    kind, key = _ITEMS[event["type"].rpartition("_")[0]]
    return kind, key, _text(event, key)


def _text(event: Event, name: str) -> str:
    value = event.get(name)
    if not isinstance(value, str):
        raise _broken(f"{event['type']} without {name}")
    return value


def _fields(event: Event, *names: str, nullable: str = "") -> Event:
    """Return the fields that are there."""
    return {name: event[name] for name in names if name in event and (event[name] is not None or name == nullable)}


def _metadata(event: Event) -> Event:
    """Return the metadata without what is ours or the protocol's, and with the subagent that the event is of."""
    metadata = event.get("metadata")
    if isinstance(metadata, dict):
        metadata = {name: value for name, value in metadata.items() if name not in _RESERVED_METADATA}
    if "subagentRunId" in event and (metadata is None or isinstance(metadata, dict)):
        metadata = {**(metadata or {}), "subagentRunId": event["subagentRunId"]}
    return {"metadata": metadata} if metadata else {}


def _broken(detail: str) -> AgentFailed:
    return AgentFailed(f"the remote agent sent {detail}", code="agent_protocol")
