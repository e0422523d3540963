"""One run, as whoever asked for it sees it: the text as it grows, and how it ended. Pure."""

from __future__ import annotations

from typing import Any, Literal

from ..blackbox.fold import SYNC_PREFIX, Fold, Message
from .view import Event, text_of

Outcome = Literal["", "answered", "stopped", "asked", "failed"]


class OneRun:
    """What one run of a session says. Events of others pass."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.outcome: Outcome = ""
        self.trouble = ""
        self.questions: list[dict[str, Any]] = []
        self._fold = Fold()
        self._told: dict[str, int] = {}

    def apply(self, event: Event) -> str:
        """Take one event; return what it adds to the text."""
        self._fold.apply(event)
        kind = event["type"]
        if kind == "MESSAGES_SNAPSHOT":
            return "".join(self._news(message_id) for message_id in self._fold.messages)
        if kind in ("RUN_FINISHED", "RUN_ERROR"):
            self._end(event)
        return self._news(event["messageId"]) if "messageId" in event else ""

    def summary(self) -> dict[str, Any]:
        """Return all there is to know of it, as JSON."""
        messages = self._messages()
        text = "\n\n".join(filter(None, (text_of(one) for one in messages if one["role"] == "assistant")))
        trouble = {"error": self.trouble} if self.trouble else {}
        asked = {"questions": self.questions} if self.questions else {}
        return {"run_id": self.run_id, "outcome": self.outcome, "text": text, **trouble, **asked, "messages": messages}

    def _messages(self) -> list[Message]:
        return [message for message in self._fold.messages.values() if _ours(message).get("run_id") == self.run_id]

    def _news(self, message_id: str) -> str:
        message = self._fold.messages.get(message_id)
        if message is None or message["role"] != "assistant" or _ours(message).get("run_id") != self.run_id:
            return ""
        text, told = text_of(message), self._told.get(message_id, 0)
        if len(text) <= told:
            return ""
        gap = "\n\n" if told == 0 and self._told else ""
        self._told[message_id] = len(text)
        return gap + text[told:]

    def _end(self, event: Event) -> None:
        ended = event.get("runId") or _ours(event).get("run_id", "")
        if ended.startswith(SYNC_PREFIX):
            self._look_back()
        elif ended == self.run_id and event["type"] == "RUN_ERROR":
            self.outcome, self.trouble = "failed", str(event.get("message") or event.get("code", ""))
        elif ended == self.run_id:
            outcome = event.get("outcome") or {}
            kinds: dict[str, Outcome] = {"cancelled": "stopped", "interrupt": "asked"}
            self.outcome = kinds.get(outcome.get("type", ""), "answered")
            self.questions = outcome.get("interrupts") or []

    def _look_back(self) -> None:
        """Behind a snapshot of an idle session: the run may have ended meanwhile. How, its last message says."""
        messages = self._messages()
        if not messages:
            return
        ours = _ours(messages[-1])
        state = self._fold.state if isinstance(self._fold.state, dict) else {}
        self.questions = [one for one in state.get("pending") or () if not one.get("answered")]
        ends: dict[str, Outcome] = {"interrupted": "stopped", "failed": "failed"}
        self.outcome = ends.get(ours.get("status", ""), "asked" if self.questions else "answered")
        self.trouble = str(ours.get("code", ""))


def _ours(message: Message) -> dict[str, Any]:
    found: dict[str, Any] = (message.get("metadata") or {}).get("sessionstream") or {}
    return found
