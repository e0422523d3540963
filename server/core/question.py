"""What a run is asked, what it is answered when it asks back, and what bounds it: plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from .ports import AgentEntry

Status = Literal["queued", "running", "finished", "interrupted", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a POST asks for: the message and how to answer it."""

    message: str
    message_id: str
    digest: bytes
    is_new_id: bool = False
    """The server made the message's id just now: nobody can have said it before."""
    role: Literal["user", "system"] = "user"
    persona: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    tools: Sequence[Mapping[str, Any]] = ()
    context: Sequence[Mapping[str, Any]] = ()
    resume: Sequence[Mapping[str, Any]] = ()
    """It goes on where a run ended by asking: these are the answers, and the message was said before."""
    carries: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Calls of earlier runs that it must answer: id → name and arguments."""
    said_id: str = ""
    """Where it goes on: the id that its message was said under; `message_id` names the answers."""
    performer: AgentEntry | None = None
    """Who answers it instead of the session's agent: a command. Such a question is never queued."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a client says to one question that a run ended by. The tool call's id finds it, and the interrupt's."""

    id: str
    payload: Any = None
    """Any JSON: what the tool returned, or whether it may be called (see `approval`)."""
    status: Literal["resolved", "cancelled"] = "resolved"
    """As in AG-UI's ResumeEntry; cancelled: declined."""
    error: str | None = None
    """The client could not do it."""
    field: str = "content"
    """How a wrong payload is named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLimits:
    """Bounds of one run; 0 seconds mean no limit."""

    timeout_s: float
    grace_s: float
    max_bytes: int
    pending_bytes: int
    answer_s: float = 0
    """How long a question that the run ends by may wait for its answer."""
