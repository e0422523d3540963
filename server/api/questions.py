"""Questions in an export: what a session's last run ended by, which is asked again where it is imported.

    "pending": {"asked": {"message", "message_id", "role", "persona", "options", "tools", "context"}, "interrupts": […]}

The interrupts are AG-UI's; the calls that they are about stand in the history, without results. Answers that were given
to some of them do not move: whoever gave them may give them again. The time to answer begins anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import orjson
from msgspec import Struct

from ..core.history import unanswered
from ..core.interrupts import BadInterrupt, checked_interrupts
from ..core.pending import MAX_PENDING_BYTES, Call, Pending, asking
from ..core.ports import Message
from ..core.question import Question
from ..ids import is_client_id, new_id
from .query import BAD_ID
from .strict_json import invalid


class _Asked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The message of the run that asked, and how it was to be answered."""

    message: str
    message_id: str
    role: Literal["user", "system"] = "user"
    persona: str | None = None
    options: dict[str, Any] = {}
    tools: list[dict[str, Any]] = []
    context: list[dict[str, Any]] = []


class ImportPending(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`pending` of an export."""

    asked: _Asked
    interrupts: list[dict[str, Any]]


def exported(pending: Pending) -> dict[str, Any] | None:
    """Return what an export holds of what is pending; None when nothing is."""
    if not pending:
        return None
    asked = {name: pending["asked"][name] for name in _Asked.__struct_fields__}
    return {"asked": asked, "interrupts": [_without_time(one["interrupt"]) for one in pending["questions"]]}


def _without_time(interrupt: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in interrupt.items() if name != "expiresAt"}


def asked_in(pending: ImportPending | None) -> set[str]:
    """Return what may be the calls that are asked about."""
    found = [one.get("toolCallId") for one in pending.interrupts] if pending is not None else []
    return {one for one in found if isinstance(one, str)}


def check_pending(pending: ImportPending | None, messages: Sequence[Message]) -> None:
    """Refuse questions that no agent could have asked after these messages."""
    if pending is None:
        return
    if not is_client_id(pending.asked.message_id):
        raise invalid("pending.asked.message_id", BAD_ID)
    try:
        checked_interrupts(pending.interrupts, unanswered(messages).keys())
    except BadInterrupt as error:
        raise invalid(f"pending.{error.where}", error.why) from None
    if len(orjson.dumps(imported(pending, messages, "", 0))) > MAX_PENDING_BYTES:
        raise invalid("pending", f"must have at most {MAX_PENDING_BYTES} bytes as JSON")


def imported(
    pending: ImportPending | None, messages: Sequence[Message], agent: str, answer_s: float
) -> dict[str, Any] | None:
    """Return what is pending in the new session, for at most `answer_s`; None when nothing is."""
    if pending is None:
        return None
    asked = pending.asked
    question = Question(
        message=asked.message,
        message_id=asked.message_id,
        digest=b"",
        role=asked.role,
        persona=asked.persona,
        options=asked.options,
        tools=asked.tools,
        context=asked.context,
    )
    calls = unanswered(messages)
    about = [(one, calls.get(one.get("toolCallId", ""))) for one in pending.interrupts]
    return asking(question, agent, new_id(), [(one, Call(*call) if call else None) for one, call in about], answer_s)
