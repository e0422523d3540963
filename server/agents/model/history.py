"""AG-UI messages as pydantic-ai's, such that every provider takes them.

Whatever happened before, what is sent is valid: neighbours of one side are one message (some chat templates refuse
two in a row), a call without a result gets one that says so, a result without a call and a blank text are left out,
and names and ids have only the letters that all providers allow. A conversation that the assistant, or nobody, began
gets a first word of the user. Thoughts go back only to the provider that signed them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from pydantic_ai.messages import (
    BinaryContent,
    ImageUrl,
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    ModelResponsePart,
    SystemPromptPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserContent,
    UserPromptPart,
)

from ...core.ports import Message
from .calling import is_failure, marked, wire_name

NO_RESULT: Final = "no result: the call was interrupted"
_EMPTY_RESULT: Final = "(an empty result)"
_NO_TEXT: Final = "(no text)"
_BEGINNING: Final = "(The assistant begins.)"
_ASKED_BY_SYSTEM: Final = "(Please respond to the system's message.)"
_MEDIA: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "application/pdf"})
"""What is sent as it is: because of other kinds a provider would refuse the whole conversation, now and in all turns
to come."""
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,40}", re.ASCII)


def model_messages(messages: Sequence[Message], *, system: str = "", provider: str = "") -> list[ModelMessage]:
    """Return a conversation as it is sent; `system` stands before it, `provider` is who will read it."""
    history = _History(provider)
    if system:
        history.ask(SystemPromptPart(system))
    results: dict[str, Message] = {}
    for message in messages:
        if message["role"] == "tool":
            results.setdefault(message["toolCallId"], message)
    for message in messages:
        history.take(message, results)
    history.end()
    return history.messages


class _History:
    def __init__(self, provider: str) -> None:
        self.messages: list[ModelMessage] = []
        self._provider = provider
        self._thoughts: list[ModelResponsePart] = []
        self._is_begun = False
        """Whether something stands there that is not the system's."""

    def take(self, message: Message, results: Mapping[str, Message]) -> None:
        match message["role"]:
            case "system" | "developer":
                if text := text_of(message.get("content")).strip():
                    self.ask(SystemPromptPart(text))
            case "user":
                self._is_begun = True
                self._thoughts = []
                self._ask_user(_user_content(message.get("content")))
            case "reasoning":
                self._thoughts += _thoughts(message, self._provider)
            case "assistant":
                self._take_answer(message, results)

    def ask(self, *parts: ModelRequestPart) -> None:
        """Add to what is said to the model."""
        if self.messages and isinstance(self.messages[-1], ModelRequest):
            self.messages[-1].parts = [*self.messages[-1].parts, *parts]
        else:
            self.messages.append(ModelRequest(parts=list(parts)))

    def end(self) -> None:
        """See that something is asked."""
        last = self.messages[-1] if self.messages else None
        if not isinstance(last, ModelRequest) or all(isinstance(part, SystemPromptPart) for part in last.parts):
            self.ask(UserPromptPart(_ASKED_BY_SYSTEM))

    def _ask_user(self, content: str | list[UserContent]) -> None:
        last = self.messages[-1] if self.messages else None
        before = last.parts[-1] if isinstance(last, ModelRequest) else None
        if isinstance(last, ModelRequest) and isinstance(before, UserPromptPart):
            last.parts = [*last.parts[:-1], UserPromptPart(_joined(before.content, content))]
        else:
            self.ask(UserPromptPart(content))

    def _take_answer(self, message: Message, results: Mapping[str, Message]) -> None:
        text = text_of(message.get("content"))
        calls = message.get("toolCalls", ())
        parts: list[ModelResponsePart] = [TextPart(text)] if text.strip() else []
        parts += [
            ToolCallPart(wire_name(call["function"]["name"]), call["function"]["arguments"] or "{}", _id(call["id"]))
            for call in calls
        ]
        if not parts:
            return
        if not self._is_begun:
            self._is_begun = True
            self._ask_user(_BEGINNING)
        parts = [*self._thoughts, *parts]
        self._thoughts = []
        if self.messages and isinstance(self.messages[-1], ModelResponse):
            self.messages[-1].parts = [*self.messages[-1].parts, *parts]
        else:
            self.messages.append(ModelResponse(parts=parts))
        if calls:
            self.ask(*(_result(call, results.get(call["id"])) for call in calls))


def text_of(content: Any) -> str:
    """Return what of a message's content is text."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    return "\n".join(part["text"] for part in parts if part.get("type") == "text")


def returned(
    name: str, call_id: str, content: str, outcome: Literal["success", "failed", "interrupted"]
) -> ToolReturnPart:
    """Return a result as it is sent: one that is blank in words, as some providers refuse it."""
    return ToolReturnPart(wire_name(name), content if content.strip() else _EMPTY_RESULT, call_id, outcome=outcome)


def _result(call: Mapping[str, Any], message: Message | None) -> ToolReturnPart:
    name, call_id = call["function"]["name"], _id(call["id"])
    if message is None:
        return returned(name, call_id, NO_RESULT, "interrupted")
    return returned(name, call_id, text_of(message.get("content")), "failed" if is_failure(message) else "success")


def _thoughts(message: Message, provider: str) -> list[ModelResponsePart]:
    signed = marked(message, "signed")
    if "encryptedValue" not in message or not isinstance(signed, dict) or signed.get("by") != provider:
        return []
    return [
        ThinkingPart(
            text_of(message.get("content")),
            id=signed.get("id"),
            signature=message["encryptedValue"],
            provider_name=provider,
        )
    ]


def _user_content(content: Any) -> str | list[UserContent]:
    if not isinstance(content, list):
        text = text_of(content)
        return text if text.strip() else _NO_TEXT
    return [part for part in map(_part, content) if not isinstance(part, str) or part.strip()] or _NO_TEXT


def _part(part: Mapping[str, Any]) -> UserContent:
    """Return a part as it is; what only a provider's own storage or a download could bring is named instead."""
    source = part.get("source", {})
    mime_type = source.get("mimeType")
    match part.get("type"), source.get("type"):
        case "text", _:
            return str(part["text"])
        case _, "data" if mime_type == "text/plain" and (content := _decoded(source)):
            return content.decode(errors="replace")
        case _, "data" if mime_type in _MEDIA and (content := _decoded(source)):
            return BinaryContent(content, media_type=mime_type)
        case "image", "url" if str(source["value"]).startswith("https://"):
            return ImageUrl(source["value"])
    return f"(a part of type {part.get('type')} that cannot be read here)"


def _decoded(source: Mapping[str, Any]) -> bytes:
    """Return the bytes of a medium, none when they cannot be read."""
    try:
        return base64.b64decode(source["value"], validate=True)
    except (binascii.Error, TypeError, ValueError):
        return b""


def _joined(one: str | Sequence[UserContent], other: str | Sequence[UserContent]) -> str | list[UserContent]:
    if isinstance(one, str) and isinstance(other, str):
        return f"{one}\n\n{other}"
    return [*([one] if isinstance(one, str) else one), *([other] if isinstance(other, str) else other)]


def _id(call_id: str) -> str:
    return call_id if _ID.fullmatch(call_id) else f"call_{hashlib.sha256(call_id.encode()).hexdigest()[:32]}"
