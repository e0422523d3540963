"""Plain: chunks and older events as the plain events of AG-UI 1.0.

A chunk is a START, a CONTENT or ARGS, and an END in one: the first of an id opens it, and whatever follows closes it,
but for events that may stand anywhere. Agents from before 1.0 say THINKING_… without ids where REASONING_… is meant.
Both are expanded as the official client does.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from ...core.ports import Event
from ...errors import AgentFailed
from ...ids import new_id


class _Chunked(NamedTuple):
    key: str
    start: str
    content: str
    end: str
    told_by: tuple[str, ...]
    """What of the first chunk belongs to START."""


_CHUNKS: Final = {
    "TEXT_MESSAGE_CHUNK": _Chunked(
        "messageId", "TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END", ("role", "name")
    ),
    "TOOL_CALL_CHUNK": _Chunked(
        "toolCallId", "TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_END", ("toolCallName", "parentMessageId")
    ),
    "REASONING_MESSAGE_CHUNK": _Chunked(
        "messageId", "REASONING_MESSAGE_START", "REASONING_MESSAGE_CONTENT", "REASONING_MESSAGE_END", ()
    ),
}
_ANYWHERE: Final = frozenset({"RAW", "ACTIVITY_SNAPSHOT", "ACTIVITY_DELTA", "REASONING_ENCRYPTED_VALUE"})
_THINKING: Final = {
    "THINKING_START": ("REASONING_START", "span"),
    "THINKING_END": ("REASONING_END", "span"),
    "THINKING_TEXT_MESSAGE_START": ("REASONING_MESSAGE_START", "message"),
    "THINKING_TEXT_MESSAGE_CONTENT": ("REASONING_MESSAGE_CONTENT", "message"),
    "THINKING_TEXT_MESSAGE_END": ("REASONING_MESSAGE_END", "message"),
}


class Plain:
    """What chunks have opened in one run, and the ids that older events lack."""

    def __init__(self) -> None:
        self._open: tuple[_Chunked, str] | None = None
        self._thinking: dict[str, str] = {}

    def expand(self, event: Event) -> list[Event]:
        """Return the plain events that this one means.

        Raises:
            AgentFailed: with `agent_protocol`: a first chunk without an id.
        """
        kind = event["type"]
        if kind in _CHUNKS:
            return self._chunk(_CHUNKS[kind], event)
        if kind in _THINKING:
            return [*self._close(), self._thought(event)]
        return [event] if kind in _ANYWHERE else [*self._close(), event]

    def _chunk(self, chunked: _Chunked, event: Event) -> list[Event]:
        item_id = event.get(chunked.key)
        if self._open is not None and self._open[0] is chunked and item_id in (None, self._open[1]):
            return self._content(event)
        if not isinstance(item_id, str):
            raise AgentFailed(
                f"the remote agent sent a first {event['type']} without {chunked.key}", code="agent_protocol"
            )
        closing = self._close()
        self._open = chunked, item_id
        told = {name: event[name] for name in (*chunked.told_by, "metadata") if event.get(name) is not None}
        return [*closing, {"type": chunked.start, chunked.key: item_id, **told}, *self._content(event)]

    def _content(self, event: Event) -> list[Event]:
        assert self._open is not None
        chunked, item_id = self._open
        delta: Any = event.get("delta")
        return [] if delta in (None, "") else [{"type": chunked.content, chunked.key: item_id, "delta": delta}]

    def _close(self) -> list[Event]:
        if self._open is None:
            return []
        (chunked, item_id), self._open = self._open, None
        return [{"type": chunked.end, chunked.key: item_id}]

    def _thought(self, event: Event) -> Event:
        kind, what = _THINKING[event["type"]]
        if kind.endswith("_START") or what not in self._thinking:
            self._thinking[what] = new_id()
        return {**event, "type": kind, "messageId": self._thinking[what]}
