"""Others: what a node needs of the nodes it shares its storage with, and what that comes to when there are none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .resident import Resident
from .run import Run
from .sessionlog import SessionLog


class Others(Protocol):
    """The other nodes, as hub, journal and sessions see them."""

    async def join(self) -> None:
        """Become one of them. Raises StorageError."""

    async def run(self) -> None:
        """Follow them until cancelled."""

    async def leave(self) -> None:
        """Tell them that all runs here have ended."""

    def require_lease(self) -> None:
        """Raise Unavailable while the others may take this node for dead."""

    async def refresh(self, session: Resident) -> None:
        """Bring a session to where the storage is. Raises StorageError."""

    async def catch_up(self, logs: Sequence[SessionLog]) -> None:
        """The same for logs whose commit lost to another node's."""

    async def take_turn(self, session: Resident, attempt: int) -> None:
        """Make ready for another attempt at a change that lost to other nodes so many times."""

    async def take_over(self, session: Resident, run: Run) -> None:
        """Take a run of another node, so that it can be ended here."""


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
