"""The order that AG-UI 1.0 demands of a stream, checked as its official client does, one event after the other.

A run starts before anything else and ends once; what it opened it closes before; deltas name what is open. Optional
means absent, never null. Violations are collected, not raised: a soak counts them.
"""

from __future__ import annotations

from typing import Any, Final

_OPENS: Final = {
    "TEXT_MESSAGE_START": ("text", "messageId"),
    "TOOL_CALL_START": ("tool", "toolCallId"),
    "REASONING_START": ("span", "messageId"),
    "REASONING_MESSAGE_START": ("reasoning", "messageId"),
    "STEP_STARTED": ("step", "stepName"),
}
_CONTINUES: Final = {
    "TEXT_MESSAGE_CONTENT": ("text", "messageId"),
    "TOOL_CALL_ARGS": ("tool", "toolCallId"),
    "REASONING_MESSAGE_CONTENT": ("reasoning", "messageId"),
}
_CLOSES: Final = {
    "TEXT_MESSAGE_END": ("text", "messageId"),
    "TOOL_CALL_END": ("tool", "toolCallId"),
    "REASONING_END": ("span", "messageId"),
    "REASONING_MESSAGE_END": ("reasoning", "messageId"),
    "STEP_FINISHED": ("step", "stepName"),
}
_FREE: Final = {
    "TOOL_CALL_RESULT": ("messageId", "toolCallId", "content"),
    "STATE_SNAPSHOT": ("snapshot",),
    "STATE_DELTA": ("delta",),
    "MESSAGES_SNAPSHOT": ("messages",),
    "ACTIVITY_SNAPSHOT": ("messageId", "activityType", "content"),
    "ACTIVITY_DELTA": ("messageId", "activityType", "patch"),
    "REASONING_ENCRYPTED_VALUE": ("subtype", "entityId", "encryptedValue"),
    "RAW": ("event",),
    "CUSTOM": ("name", "value"),
}
_NULLABLE: Final = frozenset({"value", "event", "rawEvent", "result", "snapshot"})
_OUTCOMES: Final = frozenset({"success", "cancelled", "interrupt"})


class Grammar:
    """Where a stream stands: its open run and what that run has open."""

    def __init__(self) -> None:
        self.run_id: str | None = None
        self.open: set[tuple[str, str]] = set()

    def copy(self) -> Grammar:
        """Return an independent twin."""
        twin = Grammar()
        twin.run_id = self.run_id
        twin.open = set(self.open)
        return twin

    def check(self, event: dict[str, Any]) -> list[str]:
        """Take one event; return what is wrong with it."""
        kind = str(event.get("type"))
        found = [f"{kind}.{name} is null" for name, value in event.items() if value is None and name not in _NULLABLE]
        if kind == "RUN_STARTED":
            return found + self._started(event)
        if kind == "RUN_ERROR":
            return found + self._failed(event)
        if self.run_id is None:
            return [*found, f"{kind} outside of a run"]
        if kind == "RUN_FINISHED":
            return found + self._finished(event)
        return found + self._inside(kind, event)

    def _started(self, event: dict[str, Any]) -> list[str]:
        found = [f"RUN_STARTED {event.get('runId')} inside of run {self.run_id}"] if self.run_id is not None else []
        if event.get("protocolVersion") != "1.0" or not event.get("threadId") or not event.get("runId"):
            found.append("RUN_STARTED without protocolVersion, threadId or runId")
        self.run_id = str(event.get("runId"))
        self.open.clear()
        return found

    def _failed(self, event: dict[str, Any]) -> list[str]:
        found = [] if isinstance(event.get("message"), str) else ["RUN_ERROR without message"]
        if self.open:
            found.append(f"RUN_ERROR leaves open {sorted(self.open)}")
        self.run_id = None
        self.open.clear()
        return found

    def _finished(self, event: dict[str, Any]) -> list[str]:
        found = []
        if event.get("runId") != self.run_id:
            found.append(f"RUN_FINISHED {event.get('runId')} ends run {self.run_id}")
        if self.open:
            found.append(f"RUN_FINISHED leaves open {sorted(self.open)}")
        if event.get("outcome", {}).get("type") not in _OUTCOMES:
            found.append("RUN_FINISHED with an unknown outcome")
        self.run_id = None
        self.open.clear()
        return found

    def _inside(self, kind: str, event: dict[str, Any]) -> list[str]:
        if kind in _FREE:
            return [f"{kind} without {name}" for name in _FREE[kind] if name not in event]
        rule = _OPENS.get(kind) or _CONTINUES.get(kind) or _CLOSES.get(kind)
        if rule is None:
            return [f"unknown event {kind}"]
        item = (rule[0], str(event.get(rule[1])))
        if kind in _OPENS:
            twice = item in self.open
            self.open.add(item)
            return [f"{kind} for open {item}"] if twice else []
        found = [] if item in self.open else [f"{kind} for {item}, which is not open"]
        if kind in _CLOSES:
            self.open.discard(item)
        elif not isinstance(event.get("delta"), str):
            found.append(f"{kind} without delta")
        return found
