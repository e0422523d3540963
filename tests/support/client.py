"""A client of one session: it reads frames, folds them as the contract says, and notes whatever is illegal.

The fold is written from the contract (AG-UI 1.0 and the rules on top of it), not from the server's transcript, so that
the two can be held against each other.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import jsonpatch
import orjson

from scripts.blackbox.grammar import Grammar
from server.core.ports import Event, Message
from server.core.reader import Reader

WAIT_S = 5.0


def frames_of(chunk: bytes) -> Iterator[tuple[str | None, Event]]:
    """Yield (cursor or None, event) of each frame of a chunk."""
    for part in chunk.split(b"\n\n"):
        if part:
            head, _, body = part.rpartition(b"data: ")
            yield (head[4:-1].decode() if head else None), orjson.loads(body)


class Fold:
    """What a client knows: messages, state and the active run."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.state: Any = None
        self.run_id: str | None = None

    def apply(self, event: Event) -> None:
        """Fold one event."""
        kind = event["type"]
        if kind in ("RUN_STARTED", "RUN_FINISHED", "RUN_ERROR"):
            self._run(event)
        elif kind == "MESSAGES_SNAPSHOT":
            self.messages = copy.deepcopy(event["messages"])
        elif kind.startswith("STATE_"):
            self._state(event)
        elif kind.startswith("TOOL_CALL_"):
            self._tool(event)
        elif kind.startswith(("TEXT_MESSAGE_", "REASONING_MESSAGE_")):
            self._text(event)
        elif kind.startswith("ACTIVITY_"):
            self._activity(event)
        elif kind == "REASONING_ENCRYPTED_VALUE":
            self._encrypted(event)

    def text(self, message_id: str) -> Any:
        """Return the content of a message."""
        return next(message.get("content") for message in self.messages if message["id"] == message_id)

    def _state(self, event: Event) -> None:
        if event["type"] == "STATE_SNAPSHOT":
            self.state = copy.deepcopy(event["snapshot"])
            # Who was away for a while does not see its run end: the snapshot says what runs now.
            self.run_id = self.state["run"]["run_id"] if self.state["run"] else None
        elif self.state is not None:
            self.state = jsonpatch.apply_patch(self.state, copy.deepcopy(event["delta"]))

    def _run(self, event: Event) -> None:
        run_id = event.get("runId", "")
        if not run_id.startswith("sync-"):
            self.run_id = run_id if event["type"] == "RUN_STARTED" else None

    def _find(self, message_id: str) -> Message | None:
        return next((message for message in self.messages if message["id"] == message_id), None)

    def _made(self, message_id: str, role: str, **fields: Any) -> Message:
        message = self._find(message_id)
        if message is None:
            message = {"id": message_id, "role": role, **fields}
            self.messages.append(message)
        return message

    def _text(self, event: Event) -> None:
        if event["type"].endswith("_START"):
            role = "reasoning" if event["type"].startswith("REASONING") else event.get("role", "assistant")
            message = self._made(event["messageId"], role)
            message.setdefault("content", "")
            if "name" in event:
                message["name"] = event["name"]
        else:
            found = self._find(event["messageId"])
            assert found is not None, event
            message = found
            message["content"] += event.get("delta", "")
        _merge_metadata(message, event)

    def _call(self, call_id: str) -> tuple[int, dict[str, Any]] | None:
        for index, message in enumerate(self.messages):
            for call in message.get("toolCalls", ()):
                if call["id"] == call_id:
                    return index, call
        return None

    def _tool(self, event: Event) -> None:
        found = self._call(event["toolCallId"])
        if event["type"] == "TOOL_CALL_RESULT":
            self._result(event, found)
            return
        if found is None:
            owner = self._made(str(event.get("parentMessageId", event["toolCallId"])), "assistant")
            function = {"name": event["toolCallName"], "arguments": ""}
            call: dict[str, Any] = {"id": event["toolCallId"], "type": "function", "function": function}
            owner.setdefault("toolCalls", []).append(call)
        else:
            call = found[1]
        call["function"]["arguments"] += event.get("delta", "")
        _merge_metadata(call, event)

    def _result(self, event: Event, found: tuple[int, dict[str, Any]] | None) -> None:
        assert found is not None, event
        result = {
            "id": event["messageId"],
            "toolCallId": event["toolCallId"],
            "role": "tool",
            "content": event["content"],
        }
        _merge_metadata(result, event)
        place = found[0] + 1
        while place < len(self.messages) and self.messages[place]["role"] == "tool":
            place += 1
        self.messages.insert(place, result)

    def _activity(self, event: Event) -> None:
        message = self._find(event["messageId"])
        if event["type"] == "ACTIVITY_DELTA":
            assert message is not None, event
            message["content"] = jsonpatch.apply_patch(message["content"], copy.deepcopy(event["patch"]))
            message["activityType"] = event["activityType"]
        elif message is None or event.get("replace", True):
            message = self._made(event["messageId"], "activity")
            message["activityType"] = event["activityType"]
            message["content"] = copy.deepcopy(event["content"])
        _merge_metadata(message, event)

    def _encrypted(self, event: Event) -> None:
        if event["subtype"] == "message":
            target = self._find(event["entityId"])
        else:
            found = self._call(event["entityId"])
            target = found[1] if found else None
        if target is not None:
            target["encryptedValue"] = event["encryptedValue"]


class Client:
    """One stream: a reader, the fold of what it handed out, and what was wrong with it."""

    def __init__(self, reader: Reader, fold: Fold | None = None) -> None:
        self.reader = reader
        self.fold = copy.deepcopy(fold) if fold is not None else Fold()
        self.cursor: str | None = None
        self.log: list[tuple[str, Event]] = []
        """What carried a cursor."""
        self.events: list[Event] = []
        """All events, those of a snapshot included."""
        self.faults: list[str] = []
        self.start: str | None = None
        """The cursor of its place: the one it came with, or that of its snapshot."""
        self.is_snapshot = False
        self.on_frame: Callable[[bytes], None] | None = None
        self.on_event: Callable[[str, Fold], None] | None = None
        self._grammar = Grammar() if fold is None else None

    async def begin(self, cursor: str | None = None) -> None:
        """Take a place in the log."""
        with anyio.fail_after(WAIT_S):
            self.read(await self.reader.begin(cursor))
        self.is_snapshot = self.kinds()[1:2] == ["MESSAGES_SNAPSHOT"]
        self.start = self.cursor if self.is_snapshot else cursor

    async def catch_up(self) -> bool:
        """Take all that is there; False when the stream ended instead."""
        with anyio.fail_after(WAIT_S):
            while chunk := await self.reader.take():
                self.read(chunk)
        return chunk is not None

    async def until(self, is_enough: Callable[[Client], bool]) -> None:
        """Read until the test has seen enough."""
        with anyio.fail_after(WAIT_S):
            while not is_enough(self):
                chunk = await self.reader.take()
                assert chunk is not None, "the stream ended"
                if chunk:
                    self.read(chunk)
                elif not is_enough(self):
                    await self.reader.wait()

    async def until_over(self, run_id: str) -> None:
        """Read until a run was seen to end."""
        await self.until(lambda client: run_id in client.ended())

    def ended(self) -> dict[str, str]:
        """Return how each run ended that ended within this stream: success, cancelled, or the code of its failure."""
        endings = {}
        for event in self.events:
            if event["type"] == "RUN_FINISHED":
                endings[event["runId"]] = event["outcome"]["type"]
            elif event["type"] == "RUN_ERROR":
                endings[event["metadata"]["sessionstream"]["run_id"]] = event["code"]
        return endings

    @property
    def said(self) -> Any:
        """Return the content of the last message, None without one."""
        return self.fold.messages[-1].get("content") if self.fold.messages else None

    def kinds(self) -> list[str]:
        """Return the types of all events, in order."""
        return [event["type"] for event in self.events]

    def picture(self) -> tuple[list[Message], Any, str | None]:
        """Return what two clients at the same cursor must agree on."""
        return self.fold.messages, without_derived(self.fold.state), self.fold.run_id

    def read(self, chunk: bytes) -> None:
        """Take frames."""
        if self.on_frame is not None:
            for part in chunk.split(b"\n\n"):
                if part.startswith(b"id: "):
                    self.on_frame(part + b"\n\n")
        for cursor, event in frames_of(chunk):
            if cursor is not None:
                self.cursor = cursor
                self.log.append((cursor, event))
            self.events.append(event)
            self.fold.apply(event)
            if cursor is not None and self.on_event is not None:
                self.on_event(cursor, self.fold)
            if self._grammar is not None:
                self.faults += self._grammar.check(event)


def without_derived(state: Any) -> Any:
    """Return the state without what clients fold from run and message events, or what time alone changes."""
    if state is None:
        return None
    derived = ("run", "message_count", "last_activity", "expires_at")
    session = {name: value for name, value in state["session"].items() if name not in derived}
    return {**{name: value for name, value in state.items() if name != "run"}, "session": session}


def _merge_metadata(target: dict[str, Any], event: Event) -> None:
    if "metadata" in event:
        target["metadata"] = {**target.get("metadata", {}), **event["metadata"]}
