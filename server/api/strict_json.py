"""JSON as every consumer reads it alike: strict, bounded in depth, without duplicates and without text that breaks.

Two readings: a fast one that meets nothing wrong in a body of an honest client, and a slow one that says where it is.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any, Final, NoReturn

from ..errors import BadRequest, Invalid
from .problems import MAX_FIELD_CHARS

MAX_LEVELS: Final = 64
"""Deeper than any message; far from where a recursive consumer would fail."""
MAX_DETAIL_CHARS: Final = 400
"""What is said about a wrong field may quote it: longer quotes are cut."""


def invalid(field: str, reason: str) -> Invalid:
    """Return the refusal of a field, named by its path."""
    # A path holds names as they were sent, and may be refused for being no text at all.
    field = field.removeprefix(".")[:MAX_FIELD_CHARS].encode(errors="replace").decode() or "body"
    return Invalid(f"{field} {reason}"[:MAX_DETAIL_CHARS], field=field)


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
        raise invalid("".join(reversed(fault.path)), fault.reason) from None
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
