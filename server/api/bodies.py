"""What clients send: JSON bodies and query parameters, checked completely before anything else sees them.

A body passes four gates, each cheap when nothing is wrong: the media type; JSON (strict UTF-8, no NaN, at most 64
levels: else 400); what JSON allows but no consumer should meet (duplicate names, integers beyond 64 bit, infinite
floats, NUL and lone surrogates in any text: 422); the shape (msgspec: unknown, missing, wrong types: 422), then the
limits of each field. Every refusal names the first wrong field by its path: `options.top_k`, `messages[3].role`.
Characters are counted as code points, encoded sizes as bytes of compact UTF-8 JSON.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Literal, NoReturn, TypeVar

import anyio.to_thread
import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from starlette.requests import Request

from ..core.ports import Message
from ..errors import BadRequest, Invalid, NotJson
from ..ids import is_client_id
from ..settings import Settings
from .problems import MAX_FIELD_CHARS

MAX_LEVELS: Final = 64
"""Deeper than any message; far from where a recursive consumer would fail."""
MAX_OBJECT_BYTES: Final = 16 << 10
MAX_OBJECT_LEVELS: Final = 8
MAX_TITLE_CHARS: Final = 200
MAX_NAME_CHARS: Final = 128
MAX_PERSONA_CHARS: Final = 4000
MAX_QUERY_CHARS: Final = 200
MAX_DETAIL_CHARS: Final = 400
"""What is said about a wrong field may quote it: longer quotes are cut."""
THREAD_BYTES: Final = 256 << 10
"""Larger bodies are read in a worker thread: a long parse on the loop would stall every stream."""


class Body(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request body. Where `null_is_absent`, a field that is null was not sent; else UNSET says that it was not."""

    null_is_absent: ClassVar[bool] = True


class ChatBody(Body, frozen=True, kw_only=True):
    """POST /api/chat."""

    message: str
    session_id: str | None = None
    message_id: str | None = None
    agent: str | None = None
    persona: str | None = None
    on_busy: Literal["reject", "queue", "interrupt"] = "reject"
    options: dict[str, Any] = {}
    wait: bool = False


class InterruptBody(Body, frozen=True, kw_only=True):
    """POST /api/interrupt."""

    session_id: str
    run_id: str | None = None
    message_id: str | None = None


class SystemBody(Body, frozen=True, kw_only=True):
    """POST /api/system."""

    message: str
    session_id: str | None = None
    message_id: str | None = None
    respond: bool = False


class ToolResultBody(Body, frozen=True, kw_only=True):
    """POST /api/tool-result."""

    session_id: str
    tool_call_id: str
    content: str
    error: str | None = None


class NewSessionBody(Body, frozen=True, kw_only=True):
    """POST /api/sessions."""

    session_id: str | None = None
    title: str | None = None
    agent: str | None = None
    persona: str | None = None
    metadata: dict[str, Any] = {}


class PatchSessionBody(Body, frozen=True, kw_only=True):
    """PATCH /api/sessions/{id}: UNSET leaves a field as it is, null takes its value away."""

    null_is_absent: ClassVar[bool] = False

    title: str | UnsetType | None = UNSET
    persona: str | UnsetType | None = UNSET
    agent: str | UnsetType | None = UNSET
    config: dict[str, Any] | UnsetType | None = UNSET
    metadata: dict[str, Any] | UnsetType | None = UNSET


class PatchQueueBody(Body, frozen=True, kw_only=True):
    """PATCH /api/sessions/{id}/queue/{entry}."""

    message: str | None = None
    position: Annotated[int, Meta(ge=0)] | None = None


Time = Annotated[datetime, Meta(tz=True)]


class ImportSession(Body, frozen=True, kw_only=True):
    """The session of an export. What describes the place it came from is accepted and means nothing here."""

    title: str | None = None
    agent: str | None = None
    persona: str | None = None
    config: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    created_at: Time | None = None
    last_activity: Time | None = None
    website_domain: str | None = None
    session_id: str | None = None
    user_id: Any = None
    expires_at: Any = None
    message_count: Any = None
    run: Any = None
    has_slides: Any = None
    slide_count: Any = None


class ImportBody(Body, frozen=True, kw_only=True):
    """POST /api/sessions/import: an export of version 1. `messages` are AG-UI messages that any provider accepts."""

    version: Literal[1]
    session: ImportSession
    messages: list[Message]
    exported_at: Time | None = None
    artifacts: dict[str, Any] = {}


BodyT = TypeVar("BodyT", bound=Body)


async def read_body(request: Request, kind: type[BodyT], settings: Settings) -> BodyT:
    """Return the request's body as a `kind`.

    Raises:
        SessionstreamError: NotJson 415, BadRequest 400 `malformed_json`, Invalid 422 with `field`; and what
            `BodyLimitMiddleware` raises while the body arrives.
    """
    _check_media_type(request.headers.get("content-type", ""))
    raw = await request.body()
    if len(raw) > THREAD_BYTES:
        return await anyio.to_thread.run_sync(parse_body, raw, kind, settings)
    return parse_body(raw, kind, settings)


def parse_body(raw: bytes, kind: type[BodyT], settings: Settings) -> BodyT:
    """Return `raw` as a `kind`; raises as `read_body`."""
    content = parse_json(raw)
    if not isinstance(content, dict):
        raise _invalid("", "must be a JSON object")
    if kind.null_is_absent:
        content = _without_nulls(content, kind)
    body = _check_fields(_convert(content, kind), settings)
    if isinstance(body, ImportBody):
        _check_history(body.messages)
        body = msgspec.structs.replace(body, session=_check_fields(body.session, settings, "session."))
    return body


def _check_media_type(content_type: str) -> None:
    if content_type == "application/json":
        return
    media_type, _, parameters = content_type.lower().partition(";")
    charset = parameters.strip().replace('"', "")
    if media_type.strip() != "application/json" or charset not in ("", "charset=utf-8", "charset=utf8"):
        raise NotJson


def _invalid(field: str, reason: str) -> Invalid:
    # A path holds names as they were sent, and may be refused for being no text at all.
    field = field.removeprefix(".")[:MAX_FIELD_CHARS].encode(errors="replace").decode() or "body"
    return Invalid(f"{field} {reason}"[:MAX_DETAIL_CHARS], field=field)


# --- JSON


class _Suspect(Exception):
    """The fast reading met something to refuse; the slow one says where it is."""


class _Fault(Exception):
    """What to refuse, and where: `path` is filled from the inside out while this travels up."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path: list[str] = []


class _Pairs(list[tuple[str, Any]]):
    """An object as it was written, duplicates and all."""


class _Unkept(str):
    """In the place of a number that cannot be kept: why."""


def _pairs_to_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise _Suspect
    return content


def _integer(text: str) -> int | _Unkept:
    # By length first: int() of thousands of digits is slow, and refused beyond 4300.
    return int(text) if len(text) < 21 and int(text) in _INT64 else _Unkept("is an integer beyond 64 bit")


def _real(text: str) -> float | _Unkept:
    return number if math.isfinite(number := float(text)) else _Unkept("is a number out of range")


def _kept(convert: Callable[[str], Any]) -> Callable[[str], Any]:
    def number(text: str) -> Any:
        if isinstance(value := convert(text), _Unkept):
            raise _Suspect
        return value

    return number


def _constant(name: str) -> NoReturn:
    raise ValueError(name)


_INT64: Final = range(-(2**63), 2**63)
_SUSPECT_ESCAPE: Final = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
_FAST: Final = json.JSONDecoder(
    object_pairs_hook=_pairs_to_dict, parse_int=_kept(_integer), parse_float=_kept(_real), parse_constant=_constant
)
_SLOW: Final = json.JSONDecoder(
    object_pairs_hook=_Pairs, parse_int=_integer, parse_float=_real, parse_constant=_constant
)


def parse_json(raw: bytes) -> Any:
    """Return what `raw` says, if it is JSON that every consumer reads alike.

    Raises:
        SessionstreamError: BadRequest `malformed_json`; or Invalid with the path of a duplicate name, a number out
            of range, or text with NUL or a lone surrogate.
    """
    try:
        text = raw.decode("utf-8")
        try:
            content = _FAST.decode(text)
        except _Suspect:
            content = _SLOW.decode(text)
            _inspect(content, 0)
        # Only an escape can spell NUL or a lone surrogate, and only so many brackets can nest too deep.
        if _SUSPECT_ESCAPE.search(text) or text.count("{") + text.count("[") > MAX_LEVELS:
            _inspect(content, 0)
    except _Fault as fault:
        raise _invalid("".join(reversed(fault.path)), fault.reason) from None
    except json.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}", code="malformed_json") from None
    except (ValueError, RecursionError):
        raise BadRequest(code="malformed_json") from None
    return content


def _inspect(value: Any, level: int, key: str = "") -> None:
    try:
        if isinstance(value, _Unkept):
            raise _Fault(value)
        if isinstance(value, str):
            _inspect_text(value)
        elif isinstance(value, dict | list):
            if level >= MAX_LEVELS:
                raise ValueError
            _inspect_members(value, level + 1)
    except _Fault as fault:
        fault.path.append(key)
        raise


def _inspect_members(value: dict[str, Any] | list[Any], level: int) -> None:
    if isinstance(value, list) and not isinstance(value, _Pairs):
        for index, item in enumerate(value):
            _inspect(item, level, f"[{index}]")
        return
    seen: set[str] = set()
    for name, item in value.items() if isinstance(value, dict) else value:
        key = f".{name}"
        if name in seen:
            fault = _Fault("is there more than once")
            fault.path.append(key)
            raise fault
        seen.add(name)
        _inspect(name, level, key)
        _inspect(item, level, key)


def _inspect_text(text: str) -> None:
    if "\0" in text:
        raise _Fault("must not hold NUL")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _Fault("must not hold half of a surrogate pair") from None


# --- shape


def _without_nulls(content: dict[str, Any], kind: type[Body]) -> dict[str, Any]:
    known = kind.__struct_fields__
    return {name: value for name, value in content.items() if value is not None or name not in known}


ShapeT = TypeVar("ShapeT")


def _convert(content: Any, kind: type[ShapeT], at: str = "") -> ShapeT:
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        what, _, path = str(error).rpartition(" - at `$")
        if not what:
            what, path = path, ""
        field = at + path.removesuffix("`")
        named = _NAMED.fullmatch(what)
        if named:
            reason = "is not known here" if named[1] == "contains unknown" else "is missing"
            raise _invalid(f"{field}.{named[2]}", reason) from None
        raise _invalid(field, f"is wrong: {what[:1].lower()}{what[1:]}") from None


_NAMED: Final = re.compile(r"Object (contains unknown|missing required) field `(.*)`", re.DOTALL)


# --- limits of fields


def _check_fields(body: BodyT, settings: Settings, prefix: str = "") -> BodyT:
    for name in body.__struct_fields__:
        value = getattr(body, name)
        if value is None or value is UNSET or name not in _CHECKS:
            continue
        reason = _CHECKS[name](value, settings)
        if reason is not None:
            raise _invalid(prefix + name, reason)
    title = getattr(body, "title", None)
    return msgspec.structs.replace(body, title=title.strip()) if isinstance(title, str) else body


_BAD_ID: Final = "must be 1 to 128 letters, digits, or any of . _ : -"


def _check_id(text: str, _: Settings) -> str | None:
    return None if is_client_id(text) else _BAD_ID


def _check_message(text: str, settings: Settings) -> str | None:
    return "must not be blank" if not text or text.isspace() else _check_text(text, settings)


def _check_text(text: str, settings: Settings) -> str | None:
    limit = settings.max_message_chars
    return f"has {len(text)} characters, more than MAX_MESSAGE_CHARS ({limit})" if len(text) > limit else None


def _check_line(limit: int) -> Callable[[str, Settings], str | None]:
    def check(text: str, _: Settings) -> str | None:
        if not text.strip():
            return "must not be blank"
        if len(text.strip()) > limit:
            return f"must have at most {limit} characters"
        if not text.isprintable() and any(unicodedata.category(c) in _BREAKING or c in _BIDI for c in text):
            return "must not hold control characters, line breaks or marks that reorder text"
        return None

    return check


# Of the marks that are written invisibly, these make a text look like another; joiners of scripts and emoji may stay.
_BIDI: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_BREAKING: Final = frozenset({"Cc", "Zl", "Zp"})


def _check_persona(text: str, _: Settings) -> str | None:
    return None if text.strip() and len(text) <= MAX_PERSONA_CHARS else f"must have 1 to {MAX_PERSONA_CHARS} characters"


def _check_object(value: dict[str, Any], _: Settings) -> str | None:
    if len(msgspec.json.encode(value)) > MAX_OBJECT_BYTES:
        return f"must have at most {MAX_OBJECT_BYTES} bytes as JSON"
    return None if _levels(value) <= MAX_OBJECT_LEVELS else f"must have at most {MAX_OBJECT_LEVELS} levels"


def _levels(value: Any) -> int:
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(map(_levels, value.values() if isinstance(value, dict) else value), default=0)


def _check_time(time: datetime, _: Settings) -> str | None:
    return None if 1970 < time.year < 9999 else "must lie between 1971 and 9998"


_CHECKS: Final[dict[str, Callable[[Any, Settings], str | None]]] = {
    **dict.fromkeys(("session_id", "message_id", "run_id", "tool_call_id"), _check_id),
    **dict.fromkeys(("options", "config", "metadata"), _check_object),
    **dict.fromkeys(("created_at", "last_activity", "exported_at"), _check_time),
    **dict.fromkeys(("content", "error"), _check_text),
    "message": _check_message,
    "persona": _check_persona,
    "title": _check_line(MAX_TITLE_CHARS),
    "agent": _check_line(MAX_NAME_CHARS),
    "website_domain": _check_line(MAX_TITLE_CHARS),
}


# --- imported history


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


def _check_history(messages: Sequence[Message]) -> None:
    """Refuse what a provider would: calls that nothing answers, answers to nothing, ids that name two things."""
    message_ids: set[str] = set()
    call_ids: set[str] = set()
    open_calls: dict[str, str] = {}
    for index, entry in enumerate(_convert(messages, _History, "messages")):
        where = f"messages[{index}]"
        _claim(message_ids, entry.id, f"{where}.id")
        _check_parts(entry, f"{where}.content")
        if isinstance(entry, _Tool):
            if open_calls.pop(entry.tool_call_id, None) is None:
                raise _invalid(f"{where}.toolCallId", "answers no open tool call")
        # Reasoning and activity stand beside the conversation; whatever else follows a call must be its answer.
        elif not isinstance(entry, _Reasoning | _Activity):
            _require_answered(open_calls)
        if isinstance(entry, _Assistant):
            for number, call in enumerate(entry.tool_calls):
                field = f"{where}.toolCalls[{number}].id"
                _claim(call_ids, call.id, field)
                open_calls[call.id] = field
    _require_answered(open_calls)


def _claim(taken: set[str], given: str, field: str) -> None:
    if not is_client_id(given):
        raise _invalid(field, _BAD_ID)
    if given in taken:
        raise _invalid(field, "is used twice")
    taken.add(given)


def _require_answered(open_calls: dict[str, str]) -> None:
    for field in open_calls.values():
        raise _invalid(field, "is a tool call without an answer")


def _check_parts(entry: _Entry, where: str) -> None:
    if not isinstance(entry, _User | _Tool) or isinstance(entry.content, str):
        return
    for index, part in enumerate(entry.content):
        needed, other = ("text", part.source) if part.type == "text" else ("source", part.text)
        if getattr(part, needed) is UNSET or other is not UNSET:
            raise _invalid(f"{where}[{index}].{needed}", f"must be all that a part of type {part.type} holds")


# --- query


def query_int(request: Request, name: str, default: int, minimum: int, maximum: int) -> int:
    """Return a whole number of the query; `default` when it is missing or empty."""
    text = _query(request, name)
    if text is None:
        return default
    if not _WHOLE.fullmatch(text) or not minimum <= int(text) <= maximum:
        raise _invalid(name, f"must be a whole number from {minimum} to {maximum}")
    return int(text)


def query_choice(request: Request, name: str, choices: Sequence[str], default: str) -> str:
    """Return one of `choices`; `default` when it is missing or empty."""
    text = _query(request, name) or default
    if text not in choices:
        raise _invalid(name, f"must be one of {', '.join(choices)}")
    return text


def query_id(request: Request, name: str) -> str | None:
    """Return an id of the query, None when it is missing or empty."""
    text = _query(request, name)
    if text is not None and not is_client_id(text):
        raise _invalid(name, _BAD_ID)
    return text


def query_text(request: Request, name: str) -> str | None:
    """Return a text to search for, None when it is missing or blank."""
    text = (_query(request, name) or "").strip()
    if len(text) > MAX_QUERY_CHARS or "\0" in text:
        raise _invalid(name, f"must have at most {MAX_QUERY_CHARS} characters, and no NUL")
    return text or None


def _query(request: Request, name: str) -> str | None:
    values = request.query_params.getlist(name)
    if len(values) > 1:
        raise _invalid(name, "is there more than once")
    return values[0] or None if values else None


_WHOLE: Final = re.compile(r"-?[0-9]{1,18}", re.ASCII)
