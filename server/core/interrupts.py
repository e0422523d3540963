"""Interrupts: what an agent may end its run by, to wait for the client. AG-UI's `Interrupt`, checked.

An agent that needs the client yields, as its last event, RUN_FINISHED with the outcome `interrupt`. Each interrupt is
one question: about a call of the run that has no result yet (`toolCallId`), or about nothing but itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

from ..ids import is_client_id

_FIELDS: Final = {
    "id": str,
    "reason": str,
    "message": str,
    "toolCallId": str,
    "responseSchema": dict,
    "expiresAt": str,
    "metadata": dict,
}
_MAX_INTERRUPTS: Final = 100
_MAX_REASON_CHARS: Final = 256
_RESERVED_METADATA: Final = frozenset({"sessionstream", "ag-ui"})


class BadInterrupt(ValueError):
    """`where` (a path that begins with `interrupts`) is wrong, and `why`."""

    def __init__(self, where: str, why: str) -> None:
        self.where = where
        self.why = why
        super().__init__(f"{where} {why}")


def checked_interrupts(interrupts: Any, unanswered: Collection[str]) -> list[dict[str, Any]]:
    """Return interrupts without nulls; `unanswered` are the calls that may be asked about.

    Raises:
        BadInterrupt: one of them is wrong.
    """
    if not isinstance(interrupts, list) or not 0 < len(interrupts) <= _MAX_INTERRUPTS:
        raise BadInterrupt("interrupts", f"must be a list of 1 to {_MAX_INTERRUPTS}")
    checked = [_checked(one, f"interrupts[{at}]") for at, one in enumerate(interrupts)]
    names: set[str] = set()
    for at, one in enumerate(checked):
        call_id = one.get("toolCallId", one["id"])
        if "toolCallId" in one and call_id not in unanswered:
            raise BadInterrupt(f"interrupts[{at}].toolCallId", f"{call_id!r} is no finished call without a result")
        # An answer finds its question by either id, so no question's id may be another one's.
        if names & {one["id"], call_id}:
            raise BadInterrupt(f"interrupts[{at}]", "has an id of another one")
        names |= {one["id"], call_id}
    return checked


def _checked(interrupt: Any, where: str) -> dict[str, Any]:
    if not isinstance(interrupt, dict):
        raise BadInterrupt(where, f"is a {type(interrupt).__name__}")
    checked: dict[str, Any] = {name: value for name, value in interrupt.items() if value is not None}
    for name in ("id", "reason"):
        if name not in checked:
            raise BadInterrupt(f"{where}.{name}", "is missing")
    for name, value in checked.items():
        if name not in _FIELDS:
            raise BadInterrupt(f"{where}.{name}", "is not known here")
        if not isinstance(value, _FIELDS[name]):
            raise BadInterrupt(f"{where}.{name}", f"is a {type(value).__name__}")
    _check_values(checked, where)
    return checked


def _check_values(checked: dict[str, Any], where: str) -> None:
    for name in ("id", "toolCallId"):
        if not is_client_id(checked.get(name, "absent")):
            raise BadInterrupt(f"{where}.{name}", "must be 1 to 128 letters, digits, or any of . _ : -")
    if not 0 < len(checked["reason"]) <= _MAX_REASON_CHARS:
        raise BadInterrupt(f"{where}.reason", f"must have 1 to {_MAX_REASON_CHARS} characters")
    if _RESERVED_METADATA & checked.get("metadata", {}).keys():
        raise BadInterrupt(f"{where}.metadata", "uses a reserved key (sessionstream, ag-ui)")
    if "expiresAt" in checked and expiry_of(checked) is None:
        raise BadInterrupt(f"{where}.expiresAt", "is no RFC 3339 time")


def expiry_of(interrupt: Mapping[str, Any]) -> float | None:
    """Return when the agent wants no answer any more, in Unix seconds; None when it did not say, or not so."""
    try:
        when = datetime.fromisoformat(interrupt.get("expiresAt", ""))
        return when.timestamp() if when.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def is_approval(interrupt: Mapping[str, Any]) -> bool:
    """Whether it asks for leave to call a tool of the server, not for what a tool of the client returns.

    Either it says so, or its answer is to say `approved`: frameworks that have one reason for both ask that way.
    """
    if "toolCallId" not in interrupt:
        return False
    properties = interrupt.get("responseSchema", {}).get("properties")
    return interrupt["reason"] == "approval" or (isinstance(properties, dict) and "approved" in properties)
