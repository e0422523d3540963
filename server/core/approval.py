"""Approval: what a person may answer when an agent asks for leave to call a tool.

`true`, `false`, `"approved"`, `"declined"`, or `{"approved": bool, "reason"?: text, "editedArgs"?: object}`, also as
the text of that JSON. Anything else is an error, never a yes.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from ..errors import Invalid

_WORDS: Final = {"approved": True, "declined": False}
_FIELDS: Final = {"approved": bool, "reason": str, "editedArgs": dict}
_MAX_NAME_CHARS: Final = 100  # it is the client's
_KINDS: Final = {bool: "true or false", str: "text", dict: "an object"}


def checked_approval(payload: Any, field: str) -> dict[str, Any]:
    """Return the answer as an object with `approved`, without nulls; `field` names the payload in errors.

    Raises:
        Invalid: it is no such answer.
    """
    given = _read(payload)
    if not isinstance(given, dict):
        words = 'true, false, "approved", "declined", or an object with `approved`'
        raise Invalid(f"{field} must be {words}: the call waits for an approval", field=field)
    given = {name: value for name, value in given.items() if value is not None}
    for name, value in given.items():
        if name not in _FIELDS:
            name = name[:_MAX_NAME_CHARS]
            raise Invalid(f"{field}.{name} is not known here", field=f"{field}.{name}")
        if not isinstance(value, _FIELDS[name]):
            raise Invalid(f"{field}.{name} must be {_KINDS[_FIELDS[name]]}", field=f"{field}.{name}")
    if "approved" not in given:
        raise Invalid(f"{field}.approved is missing", field=f"{field}.approved")
    if "editedArgs" in given and not given["approved"]:
        raise Invalid(f"{field}.editedArgs belongs to an approval only", field=f"{field}.editedArgs")
    return given


def _read(payload: Any) -> Any:
    if isinstance(payload, str):
        word = payload.strip()
        try:
            payload = _WORDS[word.lower()] if word.lower() in _WORDS else orjson.loads(word)
        except orjson.JSONDecodeError:
            return None
    return {"approved": payload} if isinstance(payload, bool) else payload
