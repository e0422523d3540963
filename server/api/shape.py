"""Shapes of JSON: msgspec converts, and says which field is unknown, missing or of a wrong type."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta

from .strict_json import invalid

Time = Annotated[datetime, Meta(tz=True)]
"""RFC 3339 with an offset."""

ShapeT = TypeVar("ShapeT")


def convert(content: Any, kind: type[ShapeT], at: str = "") -> ShapeT:
    """Return `content` as a `kind`; raises Invalid with the path of the first field that is not one, behind `at`."""
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
            raise invalid(f"{field}.{named[2]}", reason) from None
        raise invalid(field, f"is wrong: {what[:1].lower()}{what[1:]}") from None


_NAMED: Final = re.compile(r"Object (contains unknown|missing required) field `(.*)`", re.DOTALL)
