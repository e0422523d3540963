"""Imported history: AG-UI messages that every provider accepts, or the first wrong field named."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final, Literal

from msgspec import UNSET, Struct, UnsetType

from ..core.ports import Message
from ..ids import is_client_id
from .query import BAD_ID
from .shape import Time, convert
from .strict_json import invalid


class _Part(Struct, forbid_unknown_fields=True, rename="camel"):
    """A piece of content: text, or media with a source."""

    type: Literal["text", "image", "audio", "video", "document"]
    text: str | UnsetType = UNSET
    source: _Source | UnsetType = UNSET
    id: str | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET


class _Source(Struct, forbid_unknown_fields=True, rename="camel"):
    type: Literal["data", "url", "file"]
    value: str
    mime_type: str | UnsetType = UNSET
    provider: str | UnsetType = UNSET


class _Function(Struct, forbid_unknown_fields=True):
    name: str
    arguments: str


class _ToolCall(Struct, forbid_unknown_fields=True, rename="camel"):
    id: str
    type: Literal["function"]
    function: _Function
    metadata: dict[str, Any] | UnsetType = UNSET
    encrypted_value: str | UnsetType = UNSET


_KEPT_NAMES: Final = frozenset({"created_at", "run_id"})


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return name if name in _KEPT_NAMES else first + "".join(map(str.capitalize, rest))


class _Entry(Struct, kw_only=True, forbid_unknown_fields=True, tag_field="role", rename=_camel):
    """What every AG-UI message has, and when and in which run ours was made."""

    id: str
    metadata: dict[str, Any] | UnsetType = UNSET
    encrypted_value: str | UnsetType = UNSET
    subagent_run_id: str | UnsetType = UNSET
    created_at: Time | UnsetType = UNSET
    run_id: str | UnsetType = UNSET


class _User(_Entry, tag="user"):
    content: str | list[_Part]
    name: str | UnsetType = UNSET


class _System(_Entry, tag="system"):
    content: str
    name: str | UnsetType = UNSET


class _Developer(_System, tag="developer"):
    pass


class _Assistant(_Entry, tag="assistant"):
    content: str | UnsetType = UNSET
    tool_calls: list[_ToolCall] = []
    name: str | UnsetType = UNSET


class _Tool(_Entry, tag="tool"):
    content: str | list[_Part]
    tool_call_id: str
    error: str | UnsetType = UNSET


class _Reasoning(_Entry, tag="reasoning"):
    content: str


class _Activity(_Entry, tag="activity"):
    activity_type: str
    content: dict[str, Any]


_History = list[_User | _System | _Developer | _Assistant | _Tool | _Reasoning | _Activity]


def check_history(messages: Sequence[Message], asked: Collection[str] = ()) -> None:
    """Refuse what a provider would: calls that nothing answers, answers to nothing, ids that name two things.

    Calls that are `asked` about need no answer yet.
    """
    message_ids: set[str] = set()
    call_ids: set[str] = set()
    open_calls: dict[str, str] = {}
    for index, entry in enumerate(convert(messages, _History, "messages")):
        where = f"messages[{index}]"
        _claim(message_ids, entry.id, f"{where}.id")
        _check_parts(entry, f"{where}.content")
        if isinstance(entry, _Tool):
            if open_calls.pop(entry.tool_call_id, None) is None:
                raise invalid(f"{where}.toolCallId", "answers no open tool call")
        # Reasoning and activity stand beside the conversation; whatever else follows a call must be its answer.
        elif not isinstance(entry, _Reasoning | _Activity):
            _require_answered(open_calls)
        if isinstance(entry, _Assistant):
            for number, call in enumerate(entry.tool_calls):
                field = f"{where}.toolCalls[{number}].id"
                _claim(call_ids, call.id, field)
                if call.id not in asked:
                    open_calls[call.id] = field
    _require_answered(open_calls)


def _claim(taken: set[str], given: str, field: str) -> None:
    if not is_client_id(given):
        raise invalid(field, BAD_ID)
    if given in taken:
        raise invalid(field, "is used twice")
    taken.add(given)


def _require_answered(open_calls: dict[str, str]) -> None:
    for field in open_calls.values():
        raise invalid(field, "is a tool call without an answer")


def _check_parts(entry: _Entry, where: str) -> None:
    if not isinstance(entry, _User | _Tool) or isinstance(entry.content, str):
        return
    for index, part in enumerate(entry.content):
        needed, other = ("text", part.source) if part.type == "text" else ("source", part.text)
        if getattr(part, needed) is UNSET or other is not UNSET:
            raise invalid(f"{where}[{index}].{needed}", f"must be all that a part of type {part.type} holds")
