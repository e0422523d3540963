"""The catalog as the node sees it: every named agent, and what they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from .commands import Commands
from .ports import AgentEntry, Service


class Agents(Protocol):
    """Every named agent, and what they share."""

    @property
    def default(self) -> str:
        """The agent that answers when a session names none."""

    @property
    def entries(self) -> tuple[AgentEntry, ...]:
        """All of them."""

    @property
    def personas(self) -> Sequence[Mapping[str, Any]]:
        """The personas that the server has: name, description, greeting, and temperature if that is set."""

    @property
    def commands(self) -> Commands | None:
        """The tools that people may call directly; None when there are none."""

    @property
    def services(self) -> Mapping[str, Service]:
        """What they need beside runs, by the names of the parts in readiness."""

    def get(self, name: str) -> AgentEntry | None:
        """Return the agent of this name."""
