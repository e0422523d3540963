"""The view: events in, pieces out. Pure: no clock, no network, no terminal.

A terminal can only add lines, so each part of the transcript is handed out once, by `drain`, as soon as nothing can
change it any more; `live` is what is still growing. A snapshot (after a start, or when a cursor was not honoured) adds
what was not shown yet: messages are told apart by their ids, and a message that grew meanwhile goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import orjson

from ..blackbox.fold import SYNC_PREFIX, Fold, Message
from .blocks import Blocks
from .clean import Cleaner, clean
from .pieces import Answered, Asked, Called, Note, Piece, Prose, Said, Thought

HISTORY: Final = 20
"""Of a session that is come back to, so many messages are shown."""

Event = dict[str, Any]


class _Shown:
    """What is on the screen of one message."""

    __slots__ = ("_cleaner", "blocks", "is_open", "role", "seen")

    def __init__(self, role: str) -> None:
        self.role = role
        self.seen = ""
        self.is_open = True
        self.blocks = Blocks()
        self._cleaner = Cleaner()

    def extend(self, text: str) -> None:
        """Add text at the end."""
        self.blocks.extend(self._cleaner.clean(text))


class View:
    """One session as a terminal shows it."""

    def __init__(self, *, shows_thinking: bool = False) -> None:
        self.fold = Fold()
        self.run_id = ""
        """The active run."""
        self.ended = ""
        """Why the session ended: `deleted`, `expired`, or nothing."""
        self._shows_thinking = shows_thinking
        self._is_syncing = False
        self._shown: dict[str, _Shown] = {}
        self._known: set[str] = set()
        """Calls, questions and endings that were handed out."""
        self._out: list[Piece] = []

    # --- what there is

    @property
    def state(self) -> dict[str, Any]:
        """The session's state."""
        return self.fold.state if isinstance(self.fold.state, dict) else {}

    @property
    def session(self) -> dict[str, Any]:
        """The Session object."""
        return self.state.get("session") or {}

    @property
    def queue(self) -> list[dict[str, Any]]:
        """Messages that wait for their run."""
        return self.state.get("queue") or []

    @property
    def questions(self) -> list[Asked]:
        """What waits for the person's answer."""
        return [Asked(one) for one in self.state.get("pending") or () if not one.get("answered")]

    def holds(self, message_id: str) -> bool:
        """Whether a message is in the transcript, or waits in the queue."""
        return message_id in self.fold.messages or any(one["message_id"] == message_id for one in self.queue)

    # --- events in

    def apply(self, event: Event) -> None:
        """Take one event."""
        self.fold.apply(event)
        handler = _HANDLERS.get(event["type"])
        if handler is not None:
            handler(self, event)

    # --- pieces out

    def drain(self) -> list[Piece]:
        """Return what is complete and was not returned yet, in order."""
        for shown in self._shown.values():
            if shown.is_open:
                self._advance(shown)
        out, self._out = self._out, []
        return out

    def live(self) -> list[Piece]:
        """Return what is still growing, to be shown below what was drained."""
        found: list[Piece] = []
        for shown in self._shown.values():
            rest = shown.blocks.rest if shown.is_open else None
            if rest is not None and shown.role == "assistant":
                found.append(Prose(rest.text, rest.continues))
            elif rest is not None and shown.role == "reasoning":
                found.append(Thought(rest.text))
        calls = {opened for kind, opened in self.fold.grammar.open if kind == "tool"} - self._known
        found += [Called(call["function"]["name"], "") for call in self._calls() if call["id"] in calls]
        return found

    def _calls(self) -> Iterator[dict[str, Any]]:
        for message in reversed(self.fold.messages.values()):
            yield from message.get("toolCalls", ())

    def _advance(self, shown: _Shown, *, is_final: bool = False) -> None:
        if shown.role == "assistant":
            self._out += [Prose(*block) for block in shown.blocks.take(is_final=is_final)]
        elif is_final:
            self._out += [self._whole(shown.role, block.text) for block in shown.blocks.take(is_final=True)]

    def _whole(self, role: str, text: str) -> Piece:
        if role == "user":
            return Said(text)
        if role == "reasoning":
            return Thought(text) if self._shows_thinking else Note(f"thought, {counted(len(text.split()), 'word')}")
        return Note(text)

    # --- messages

    def _message(self, message_id: str, role: str) -> _Shown:
        """Return what is shown of a message that is about to grow; others come to rest before it."""
        shown = self._shown.get(message_id)
        if shown is None:
            self._settle(message_id)
            shown = self._shown[message_id] = _Shown(role)
        shown.is_open = True
        return shown

    def _settle(self, but: str = "") -> None:
        """Hand out all that is there: something else comes behind it."""
        for message_id, shown in self._shown.items():
            if shown.is_open and message_id != but:
                self._advance(shown, is_final=True)

    def _close(self, message_id: str) -> None:
        shown = self._shown.get(message_id)
        if shown is not None and shown.is_open:
            self._advance(shown, is_final=True)
            shown.is_open = False

    def _started(self, event: Event) -> None:
        role = event.get("role", "reasoning" if event["type"].startswith("REASONING") else "assistant")
        self._message(event["messageId"], role)

    def _grew(self, event: Event) -> None:
        shown = self._shown.get(event["messageId"])
        if shown is not None:
            shown.extend(event["delta"])
            shown.seen = self.fold.text(event["messageId"])

    def _finished(self, event: Event) -> None:
        self._close(event["messageId"])

    def _called(self, event: Event) -> None:
        call = next((call for call in self._calls() if call["id"] == event["toolCallId"]), None)
        if call is not None:
            self._show_call(call)

    def _show_call(self, call: dict[str, Any]) -> None:
        if call["id"] not in self._known:
            self._known.add(call["id"])
            self._settle()
            self._out.append(Called(call["function"]["name"], call["function"]["arguments"]))

    def _happened(self, event: Event) -> None:
        """A tool returned something, or an activity was told."""
        message = self.fold.messages.get(event["messageId"])
        if message is not None:
            self._catch_up(message, is_growing=False)

    # --- snapshots

    def _restated(self, event: Event) -> None:
        messages: list[Message] = event["messages"]
        if self._is_syncing:
            self.run_id = ""  # its end may have been missed
        if self._shown and not any(message["id"] in self._shown for message in messages):
            self._settle()
            self._shown.clear()
            self._out.append(Note("The messages of this session were cleared."))
        elif not self._shown and len(messages) > HISTORY:
            for message in messages[:-HISTORY]:
                self._pass_over(message)
            self._out.append(Note(f"{counted(len(messages) - HISTORY, 'earlier message')} not shown; /export has all."))
        for message in messages:
            self._catch_up(message, is_growing=message is messages[-1] and self.run_id != "")

    def _pass_over(self, message: Message) -> None:
        shown = self._shown[message["id"]] = _Shown(message["role"])
        shown.seen, shown.is_open = text_of(message), False
        self._known |= {call["id"] for call in message.get("toolCalls", ())} | {f"end-{message['id']}"}

    def _catch_up(self, message: Message, *, is_growing: bool) -> None:
        text = text_of(message)
        known = self._shown.get(message["id"])
        if known is None or (known.seen != text and message["role"] != "activity"):
            self._add(message, text)
        for call in message.get("toolCalls", ()):
            self._show_call(call)
        if not is_growing:
            self._close(message["id"])
            self._show_ending(message)

    def _add(self, message: Message, text: str) -> None:
        shown = self._message(message["id"], message["role"])
        if message["role"] == "tool":
            self._settle()
            self._out.append(Answered(text))
        elif text.startswith(shown.seen):
            shown.extend(text[len(shown.seen) :])
        else:
            self._settle()
            self._out.append(Note("This message was changed:"))
            shown.extend(text)
        shown.seen = text

    def _show_ending(self, message: Message) -> None:
        ours = (message.get("metadata") or {}).get("sessionstream") or {}
        if message["role"] != "assistant" or ours.get("status") not in ("interrupted", "failed"):
            return
        if f"end-{message['id']}" not in self._known:
            self._known.add(f"end-{message['id']}")
            failed = f"The answer failed ({ours['code']})." if "code" in ours else "The answer failed."
            self._out.append(Note("Stopped.") if ours["status"] == "interrupted" else Note(failed, "bad"))

    # --- runs, state

    def _run_started(self, event: Event) -> None:
        self._is_syncing = event["runId"].startswith(SYNC_PREFIX)
        if not self._is_syncing:
            self.run_id = event["runId"]

    def _run_finished(self, event: Event) -> None:
        self._is_syncing = False
        if not event.get("runId", "").startswith(SYNC_PREFIX):
            self._end_run()
            if (event.get("outcome") or {}).get("type") == "cancelled":
                self._out.append(Note("Stopped."))

    def _run_failed(self, event: Event) -> None:
        self._end_run()
        self._out.append(Note(f"The answer failed: {clean(event.get('message') or event.get('code', ''))}", "bad"))

    def _end_run(self) -> None:
        self.run_id = ""
        for message_id, shown in self._shown.items():
            self._close(message_id)
            if shown.role == "assistant":
                self._known.add(f"end-{message_id}")  # said here and now, in better words

    def _state_changed(self, event: Event) -> None:
        for asked in self.questions:
            if f"ask-{asked.id}" not in self._known:
                self._known.add(f"ask-{asked.id}")
                self._settle()
                self._out.append(asked)

    def _custom(self, event: Event) -> None:
        if event.get("name") == "sessionstream.session_ended":
            self.ended = str((event.get("value") or {}).get("reason", "deleted"))


def counted(number: int, noun: str) -> str:
    """Return so many of something."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def text_of(message: Message) -> str:
    """Return the text of a message, whatever its content is made of."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return "" if content is None else orjson.dumps(content).decode()


_HANDLERS: Final[dict[str, Callable[[View, Event], None]]] = {
    "RUN_STARTED": View._run_started,
    "RUN_FINISHED": View._run_finished,
    "RUN_ERROR": View._run_failed,
    "MESSAGES_SNAPSHOT": View._restated,
    "STATE_SNAPSHOT": View._state_changed,
    "STATE_DELTA": View._state_changed,
    "TEXT_MESSAGE_START": View._started,
    "TEXT_MESSAGE_CONTENT": View._grew,
    "TEXT_MESSAGE_END": View._finished,
    "REASONING_MESSAGE_START": View._started,
    "REASONING_MESSAGE_CONTENT": View._grew,
    "REASONING_MESSAGE_END": View._finished,
    "TOOL_CALL_END": View._called,
    "TOOL_CALL_RESULT": View._happened,
    "ACTIVITY_SNAPSHOT": View._happened,
    "CUSTOM": View._custom,
}
