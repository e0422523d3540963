"""Alone: what the other nodes come to when there are none."""

from __future__ import annotations

from collections.abc import Sequence

from .resident import Resident
from .run import Run
from .sessionlog import SessionLog


class Alone:
    """There are none: the storage belongs to this node."""

    async def join(self) -> None:
        """Nothing to join."""

    async def run(self) -> None:
        """Nobody to follow."""

    async def leave(self) -> None:
        """Nobody to tell."""

    def require_lease(self) -> None:
        """Nobody doubts that this node lives."""

    async def refresh(self, session: Resident) -> None:
        """What is in memory is what there is."""

    async def catch_up(self, logs: Sequence[SessionLog]) -> None:
        """No commit ever loses."""

    async def take_turn(self, session: Resident, attempt: int) -> None:
        """No change ever loses."""

    async def take_over(self, session: Resident, run: Run) -> None:
        """Every run is ours."""
