"""Ending: how a remote run ended, as ours is to end: well, by a question to the client, or failed."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ...core.grammar import checked_usage
from ...core.ports import Event
from ...core.text import mended
from ...errors import AgentFailed

_log = logging.getLogger("sessionstream.remote")

_MAX_DETAIL_CHARS: Final = 1000
_INTERRUPT_FIELDS: Final = (
    "id",
    "reason",
    "message",
    "toolCallId",
    "responseSchema",
    "expiresAt",
    "metadata",
    "subagentRunId",
)
_USAGE_FIELDS: Final = frozenset(
    {
        "provider",
        "model",
        "inputTokens",
        "outputTokens",
        "totalTokens",
        "reasoningTokens",
        "cachedInputTokens",
        "cacheWriteInputTokens",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How it ended. Ids are the remote's."""

    failure: AgentFailed | None = None
    interrupts: list[dict[str, Any]] = field(default_factory=list)
    pending: Collection[str] | None = None
    """The calls that it says it leaves to the client; None when it does not say."""
    usage: list[dict[str, Any]] = field(default_factory=list)


def error_of(event: Event) -> Ending:
    """Return the ending that a RUN_ERROR says. Its message is for the user, so it goes on; its code is in the log."""
    message = event.get("message")
    detail = mended(message)[:_MAX_DETAIL_CHARS] if isinstance(message, str) else ""
    code = str(event.get("code"))[:_MAX_DETAIL_CHARS]
    _log.warning("the remote agent ended its run by an error, code %r: %r", code, detail)
    return Ending(failure=AgentFailed(detail, code="remote_failed"), usage=_usage_of(event))


def finish_of(event: Event) -> Ending:
    """Return the ending that a RUN_FINISHED says.

    Raises:
        AgentFailed: with `agent_protocol`: its outcome is none of AG-UI's.
    """
    outcome = event.get("outcome")
    if outcome is None:
        return Ending(usage=_usage_of(event))
    if not isinstance(outcome, Mapping):
        raise _broken(f"is a {type(outcome).__name__}")
    match outcome.get("type"):
        case "success":
            return Ending(pending=_pending_of(outcome), usage=_usage_of(event))
        case "interrupt":
            return Ending(interrupts=_interrupts_of(outcome), usage=_usage_of(event))
        case "cancelled":
            failure = AgentFailed("the remote agent's run was cancelled where it runs", code="remote_failed")
            return Ending(failure=failure, usage=_usage_of(event))
        case other:
            raise _broken(f"has the type {other!r}")


def _pending_of(outcome: Mapping[str, Any]) -> Collection[str] | None:
    pending = outcome.get("pendingToolCallIds")
    if pending is None:
        return None
    if not isinstance(pending, list) or not all(isinstance(one, str) for one in pending):
        raise _broken("must hold pendingToolCallIds as a list of texts")
    return pending


def _interrupts_of(outcome: Mapping[str, Any]) -> list[dict[str, Any]]:
    interrupts = outcome.get("interrupts")
    if not isinstance(interrupts, list) or not interrupts or not all(isinstance(one, dict) for one in interrupts):
        raise _broken("must hold interrupts, at least one")
    kept = [{name: one[name] for name in _INTERRUPT_FIELDS if one.get(name) is not None} for one in interrupts]
    if not all(isinstance(one.get("id"), str) for one in kept):
        raise _broken("holds an interrupt without an id")
    return kept


def _usage_of(event: Event) -> list[dict[str, Any]]:
    """Return what was used. It says nothing about the answer, so a wrong report costs no answer."""
    usage = event.get("usage")
    try:
        return checked_usage(
            [{name: value for name, value in one.items() if name in _USAGE_FIELDS} for one in usage or ()]
        )
    except (AgentFailed, AttributeError, TypeError):
        _log.warning("the remote agent reported its usage otherwise than AG-UI has it; it is not counted")
        return []


def _broken(detail: str) -> AgentFailed:
    return AgentFailed(f"the remote agent's RUN_FINISHED: outcome {detail}", code="agent_protocol")
