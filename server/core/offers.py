"""Offers: what a named agent takes, checked before a message is: its personas, its limits, and whether it is there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from ..errors import AgentFailed, Invalid
from ..settings import Settings
from .ports import AgentEntry, Event, Turn
from .question import Question, RunLimits

_GONE: Final = "gone"


def gone(name: str) -> AgentEntry:
    """Return what stands for an agent that is no longer named: its runs keep its name, and new ones fail."""

    async def agent(turn: Turn) -> AsyncIterator[str | Event]:
        raise AgentFailed(f"the agent {name!r} is not there any more")
        yield ""

    return AgentEntry(name=name, kind=_GONE, agent=agent)


def check_question(entry: AgentEntry, question: Question) -> None:
    """Raise Invalid when the agent is not there any more, or does not take what is asked of it."""
    if entry.kind == _GONE:
        detail = f"agent: the session's agent {entry.name!r} is not there any more: name another, here or by PATCH"
        raise Invalid(detail, field="agent")
    check_persona(entry, question.persona)
    check_length(entry, question.message)


def knows(entry: AgentEntry, persona: str) -> bool:
    """Say whether an agent takes this persona."""
    return entry.personas is None or persona in entry.personas


def check_persona(entry: AgentEntry, persona: str | None) -> None:
    """Raise Invalid when the agent does not know a persona of this name."""
    if persona is not None and not knows(entry, persona):
        known = ", ".join(entry.personas or ()) or "none"
        raise Invalid(f"persona: the agent {entry.name!r} knows {known}", field="persona")


def check_length(entry: AgentEntry, message: str) -> None:
    """Raise Invalid when a message is longer than the agent takes."""
    limit = entry.limits.max_message_chars
    if limit is not None and len(message) > limit:
        detail = f"message: has {len(message)} characters, more than the agent {entry.name!r} takes ({limit})"
        raise Invalid(detail, field="message")


def persona_of(entry: AgentEntry, named: str | None) -> str | None:
    """Return the persona of a turn: the one that was named if the agent knows it, else the agent's own."""
    return named if named is not None and knows(entry, named) else entry.persona


def limits_of(entry: AgentEntry, settings: Settings) -> RunLimits:
    """Return what bounds a run of this agent."""
    own = entry.limits
    return RunLimits(
        timeout_s=settings.run_timeout_seconds if own.run_timeout_s is None else own.run_timeout_s,
        grace_s=settings.stop_grace_seconds,
        max_bytes=settings.max_run_bytes if own.max_run_bytes is None else own.max_run_bytes,
        pending_bytes=settings.journal_pending_bytes,
        answer_s=settings.approval_timeout_minutes * 60,
    )
