"""Query parameters: each is there once or not at all, and a wrong one is named."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from starlette.requests import Request

from ..ids import is_client_id
from .strict_json import invalid

MAX_QUERY_CHARS: Final = 200
BAD_ID: Final = "must be 1 to 128 letters, digits, or any of . _ : -"
_WHOLE: Final = re.compile(r"-?[0-9]{1,18}", re.ASCII)


def query_int(request: Request, name: str, default: int, minimum: int, maximum: int) -> int:
    """Return a whole number of the query; `default` when it is missing or empty."""
    text = _query(request, name)
    if text is None:
        return default
    if not _WHOLE.fullmatch(text) or not minimum <= int(text) <= maximum:
        raise invalid(name, f"must be a whole number from {minimum} to {maximum}")
    return int(text)


def query_choice(request: Request, name: str, choices: Sequence[str], default: str) -> str:
    """Return one of `choices`; `default` when it is missing or empty."""
    text = _query(request, name) or default
    if text not in choices:
        raise invalid(name, f"must be one of {', '.join(choices)}")
    return text


def query_id(request: Request, name: str) -> str | None:
    """Return an id of the query, None when it is missing or empty."""
    text = _query(request, name)
    if text is not None and not is_client_id(text):
        raise invalid(name, BAD_ID)
    return text


def query_text(request: Request, name: str) -> str | None:
    """Return a text to search for, None when it is missing or blank."""
    text = (_query(request, name) or "").strip()
    if len(text) > MAX_QUERY_CHARS or "\0" in text:
        raise invalid(name, f"must have at most {MAX_QUERY_CHARS} characters, and no NUL")
    return text or None


def _query(request: Request, name: str) -> str | None:
    values = request.query_params.getlist(name)
    if len(values) > 1:
        raise invalid(name, "is there more than once")
    return values[0] or None if values else None
