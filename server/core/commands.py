"""Commands: tools that a person calls without an agent in between, as a run of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from .ports import AgentEntry


class Command(Protocol):
    """One call that can be made: by the agent `entry`, which leaves its `result` here."""

    entry: AgentEntry
    result: dict[str, Any] | None


class Commands(Protocol):
    """What can be called."""

    async def listing(self) -> dict[str, Any]:
        """Return the tools as the protocol lists them."""

    def command(self, name: str, arguments: Mapping[str, Any]) -> Command:
        """Return one call.

        Raises:
            NotFound: there is no such tool.
        """
