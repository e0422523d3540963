"""What clients send: JSON bodies and query parameters, checked completely before anything else sees them.

A body passes four gates, each cheap when nothing is wrong: the media type; JSON (strict UTF-8, no NaN, at most 64
levels: else 400); what JSON allows but no consumer should meet (duplicate names, integers beyond 64 bit, infinite
floats, NUL and lone surrogates in any text: 422); the shape (msgspec: unknown, missing, wrong types: 422), then the
limits of each field. Every refusal names the first wrong field by its path: `options.top_k`, `messages[3].role`.
Characters are counted as code points, encoded sizes as bytes of compact UTF-8 JSON.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Annotated, Any, ClassVar, Final, Literal, TypeVar

import anyio.to_thread
import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from starlette.requests import Request

from ..core.ports import Message
from ..errors import NotJson
from ..ids import is_client_id
from ..settings import Settings
from .history import check_history
from .query import BAD_ID
from .questions import ImportPending, asked_in, check_pending
from .shape import Time, convert
from .strict_json import invalid, parse_json

MAX_OBJECT_BYTES: Final = 16 << 10
MAX_OBJECT_LEVELS: Final = 8
MAX_TITLE_CHARS: Final = 200
MAX_NAME_CHARS: Final = 128
MAX_PERSONA_CHARS: Final = 4000
THREAD_BYTES: Final = 256 << 10
"""Larger bodies are read in a worker thread: a long parse on the loop would stall every stream."""


class Body(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request body. Where `null_is_absent`, a field that is null was not sent; else UNSET says that it was not."""

    null_is_absent: ClassVar[bool] = True
    own_checks: ClassVar[frozenset[str]] = frozenset()
    """Fields that mean something else here than elsewhere: whoever reads them checks their limits."""


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
    """POST /api/tool-result. `content` is text or any other JSON, of the size of a message."""

    session_id: str
    tool_call_id: str
    content: Any
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
    config: dict[str, Any] = {}
    pending: ImportPending | None = None


BodyT = TypeVar("BodyT", bound=Body)
ParsedT = TypeVar("ParsedT")


async def read_body(request: Request, kind: type[BodyT], settings: Settings) -> BodyT:
    """Return the request's body as a `kind`.

    Raises:
        SessionstreamError: NotJson 415, BadRequest 400 `malformed_json`, Invalid 422 with `field`; and what
            `BodyLimitMiddleware` raises while the body arrives.
    """
    return await read_json(request, partial(parse_body, kind=kind, settings=settings))


async def read_json(request: Request, parse: Callable[[bytes], ParsedT]) -> ParsedT:
    """Return what `parse` makes of the request's body, which says that it is JSON; raises as `parse`, or NotJson."""
    _check_media_type(request.headers.get("content-type", ""))
    raw = await request.body()
    if len(raw) > THREAD_BYTES:
        return await anyio.to_thread.run_sync(parse, raw)
    return parse(raw)


def parse_body(raw: bytes, kind: type[BodyT], settings: Settings) -> BodyT:
    """Return `raw` as a `kind`; raises as `read_body`."""
    content = parse_json(raw)
    if not isinstance(content, dict):
        raise invalid("", "must be a JSON object")
    if kind.null_is_absent:
        content = _without_nulls(content, kind)
    body = _check_fields(convert(content, kind), settings)
    if isinstance(body, ImportBody):
        check_history(body.messages, asked_in(body.pending))
        check_pending(body.pending, body.messages)
        body = msgspec.structs.replace(body, session=_check_fields(body.session, settings, "session."))
    return body


def _check_media_type(content_type: str) -> None:
    if content_type == "application/json":
        return
    media_type, _, parameters = content_type.lower().partition(";")
    charset = parameters.strip().replace('"', "")
    if media_type.strip() != "application/json" or charset not in ("", "charset=utf-8", "charset=utf8"):
        raise NotJson


# --- shape


def _without_nulls(content: dict[str, Any], kind: type[Body]) -> dict[str, Any]:
    known = kind.__struct_fields__
    return {name: value for name, value in content.items() if value is not None or name not in known}


# --- limits of fields


def _check_fields(body: BodyT, settings: Settings, prefix: str = "") -> BodyT:
    for name in body.__struct_fields__:
        value = getattr(body, name)
        if value is None or value is UNSET or name not in _CHECKS or name in body.own_checks:
            continue
        reason = _CHECKS[name](value, settings)
        if reason is not None:
            raise invalid(prefix + name, reason)
    title = getattr(body, "title", None)
    return msgspec.structs.replace(body, title=title.strip()) if isinstance(title, str) else body


def _check_id(text: str, _: Settings) -> str | None:
    return None if is_client_id(text) else BAD_ID


def check_message(text: str, settings: Settings) -> str | None:
    """Say what is wrong with the text of a message, None when nothing is."""
    return "must not be blank" if not text or text.isspace() else _check_text(text, settings)


def _check_text(text: str, settings: Settings) -> str | None:
    limit = settings.max_message_chars
    return f"has {len(text)} characters, more than MAX_MESSAGE_CHARS ({limit})" if len(text) > limit else None


def _check_content(value: Any, settings: Settings) -> str | None:
    if isinstance(value, str):
        return _check_text(value, settings)
    return _check_text(msgspec.json.encode(value).decode(), settings)


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


def check_object(value: dict[str, Any], _: Settings) -> str | None:
    """Say what is wrong with an object that a client gave to be kept, None when nothing is."""
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
    **dict.fromkeys(("options", "config", "metadata"), check_object),
    **dict.fromkeys(("created_at", "last_activity", "exported_at"), _check_time),
    "content": _check_content,
    "error": _check_text,
    "message": check_message,
    "persona": _check_persona,
    "title": _check_line(MAX_TITLE_CHARS),
    "agent": _check_line(MAX_NAME_CHARS),
    "website_domain": _check_line(MAX_TITLE_CHARS),
}
