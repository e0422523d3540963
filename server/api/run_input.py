"""AG-UI's RunAgentInput, read for what this server takes of it.

The history and the state it brings are the server's own already, so of `messages` two things count: the last user
message, which is the question, and the tool messages at the end, which answer calls. All of it is checked for shape
nevertheless: a wrong field is named by its path. Fields that the protocol does not know are let through unread, and
null means absent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from ..ids import is_client_id
from ..settings import Settings
from .bodies import MAX_NAME_CHARS, check_message, check_object
from .query import BAD_ID
from .shape import convert
from .strict_json import invalid, parse_json

MAX_TOOLS: Final = 128
MAX_TOOLS_BYTES: Final = 128 << 10
"""Of `tools`, and of `context`: both are kept for as long as the run waits for its client."""


class _Part(Struct):
    type: str
    text: str | None = None


class _Function(Struct):
    name: str
    arguments: str


class _ToolCall(Struct):
    id: str
    function: _Function


class _Entry(Struct, tag_field="role", rename="camel", kw_only=True):
    id: str


class _User(_Entry, tag="user"):
    content: str | list[_Part]


class _System(_Entry, tag="system"):
    content: str


class _Developer(_System, tag="developer"):
    pass


class _Assistant(_Entry, tag="assistant"):
    content: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Tool(_Entry, tag="tool"):
    content: str | list[_Part]
    tool_call_id: str
    error: str | None = None


class _Reasoning(_Entry, tag="reasoning"):
    content: str


class _Activity(_Entry, tag="activity"):
    activity_type: str
    content: dict[str, Any]


_AnyMessage = _User | _System | _Developer | _Assistant | _Tool | _Reasoning | _Activity


class _ClientTool(Struct, omit_defaults=True):
    name: str
    description: str
    parameters: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None


class _Context(Struct):
    description: str
    value: str


class _Resume(Struct, rename="camel"):
    interrupt_id: str
    status: Literal["resolved", "cancelled"]
    payload: Any = None


class _Input(Struct, rename="camel", kw_only=True):
    thread_id: str
    run_id: str
    messages: list[_AnyMessage]
    parent_run_id: str | None = None
    protocol_version: str | None = None
    tools: list[_ClientTool] | None = None
    context: list[_Context] | None = None
    state: Any = None
    forwarded_props: dict[str, Any] | None = None
    resume: list[_Resume] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UserMessage:
    """The question: the last user message."""

    message_id: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolMessage:
    """What the client says a tool call gave; `field` is its place in the input."""

    tool_call_id: str
    content: str
    error: str | None
    field: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumption:
    """What the client says to one interrupt; `field` is its place in the input."""

    interrupt_id: str
    status: Literal["resolved", "cancelled"]
    payload: Any
    field: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInput:
    """What a request for a run asks for."""

    thread_id: str
    run_id: str
    parent_run_id: str | None
    question: UserMessage | None
    """None when the request answers what was asked and its history does not end with a user message."""
    results: Sequence[ToolMessage]
    """The tool messages at the end of the history, in order."""
    resume: Sequence[Resumption]
    tools: Sequence[Mapping[str, Any]]
    context: Sequence[Mapping[str, Any]]
    options: Mapping[str, Any]
    message_ids: frozenset[str]
    """Of all messages that the client has."""


def parse_run_input(raw: bytes, settings: Settings) -> RunInput:
    """Return what a body asks for.

    Raises:
        SessionstreamError: BadRequest 400 `malformed_json`, Invalid 422 with `field`.
    """
    content = parse_json(raw)
    if not isinstance(content, dict):
        raise invalid("", "must be a JSON object")
    given = convert(content, _Input)
    for field, value in (("threadId", given.thread_id), ("runId", given.run_id), ("parentRunId", given.parent_run_id)):
        if value is not None and not is_client_id(value):
            raise invalid(field, BAD_ID)
    resume = _resume(given.resume or ())
    if given.forwarded_props is not None and (reason := check_object(given.forwarded_props, settings)):
        raise invalid("forwardedProps", reason)
    return RunInput(
        thread_id=given.thread_id,
        run_id=given.run_id,
        parent_run_id=given.parent_run_id,
        question=_question(given.messages, settings) if not resume or _ends_with_question(given.messages) else None,
        results=_results(given.messages),
        resume=resume,
        tools=_tools(given.tools or ()),
        context=_bounded("context", [msgspec.to_builtins(one) for one in given.context or ()]),
        options=given.forwarded_props or {},
        message_ids=frozenset(message.id for message in given.messages),
    )


def _ends_with_question(messages: Sequence[_AnyMessage]) -> bool:
    return bool(messages) and isinstance(messages[-1], _User)


def _question(messages: Sequence[_AnyMessage], settings: Settings) -> UserMessage:
    for index in range(len(messages) - 1, -1, -1):
        message = messages[index]
        if isinstance(message, _User):
            where = f"messages[{index}]"
            if not is_client_id(message.id):
                raise invalid(f"{where}.id", BAD_ID)
            text = _text(message.content, f"{where}.content")
            if reason := check_message(text, settings):
                raise invalid(f"{where}.content", reason)
            return UserMessage(message_id=message.id, text=text)
    raise invalid("messages", "must hold a user message: the last one is the question")


def _results(messages: Sequence[_AnyMessage]) -> list[ToolMessage]:
    found = []
    for index in range(len(messages) - 1, -1, -1):
        message = messages[index]
        if not isinstance(message, _Tool):
            break
        where = f"messages[{index}]"
        text = _text(message.content, f"{where}.content")
        found.append(
            ToolMessage(
                tool_call_id=message.tool_call_id, content=text, error=message.error or None, field=f"{where}.content"
            )
        )
    return found[::-1]


def _text(content: str | list[_Part], where: str) -> str:
    """Return the text of a message: its parts, one behind the other."""
    if isinstance(content, str):
        return content
    texts = []
    for index, part in enumerate(content):
        if part.type != "text":
            raise invalid(f"{where}[{index}].type", "must be text: this server takes no media")
        if part.text is None:
            raise invalid(f"{where}[{index}].text", "is missing")
        texts.append(part.text)
    return "".join(texts)


def _resume(entries: Sequence[_Resume]) -> list[Resumption]:
    answered: set[str] = set()
    found = []
    for index, entry in enumerate(entries):
        where = f"resume[{index}]"
        if entry.interrupt_id in answered:
            raise invalid(f"{where}.interruptId", "is answered twice")
        answered.add(entry.interrupt_id)
        found.append(
            Resumption(
                interrupt_id=entry.interrupt_id, status=entry.status, payload=entry.payload, field=f"{where}.payload"
            )
        )
    return found


def _tools(tools: Sequence[_ClientTool]) -> Sequence[Mapping[str, Any]]:
    if len(tools) > MAX_TOOLS:
        raise invalid("tools", f"must be at most {MAX_TOOLS}")
    names: set[str] = set()
    for index, tool in enumerate(tools):
        where = f"tools[{index}].name"
        if not tool.name.strip() or len(tool.name) > MAX_NAME_CHARS:
            raise invalid(where, f"must have 1 to {MAX_NAME_CHARS} characters")
        if tool.name in names:
            raise invalid(where, "is there twice")
        names.add(tool.name)
    return _bounded("tools", [msgspec.to_builtins(tool) for tool in tools])


def _bounded(field: str, entries: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    if len(msgspec.json.encode(entries)) > MAX_TOOLS_BYTES:
        raise invalid(field, f"must have at most {MAX_TOOLS_BYTES} bytes as JSON")
    return entries
