"""What a run is asked, and what bounds it: plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

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


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLimits:
    """Bounds of one run; 0 seconds mean no limit."""

    timeout_s: float
    grace_s: float
    max_bytes: int
    pending_bytes: int
