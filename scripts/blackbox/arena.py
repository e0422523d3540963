"""What every scenario gets: its randomness, its scale, a folder of its own, and the words to write scripts with."""

from __future__ import annotations

import random
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anyio.lowlevel
import orjson

from .process import Server

STREAM_FAULTS: Final = (
    "lost",
    "repeated",
    "out_of_order",
    "rewritten",
    "ended_twice",
    "grammar",
    "cursor_refused",
    "no_snapshot",
    "resumed_unsaid",
    "refused",
    "fold_differs",
)
"""What a `Follower` may find; every scenario with followers shows all of them."""


@dataclass(frozen=True, slots=True)
class Arena:
    """Scale and randomness of one scenario."""

    random: random.Random
    is_quick: bool

    def scaled(self, full: int, quick: int) -> int:
        """Return the number for this scale."""
        return quick if self.is_quick else full

    @asynccontextmanager
    async def server(self, settings: Mapping[str, str] | None = None) -> AsyncIterator[Server]:
        """Give a server in a folder of its own, running; both are gone afterwards."""
        with tempfile.TemporaryDirectory(prefix="sessionstream-soak-") as folder:
            server = Server(Path(folder), settings=settings)
            try:
                await server.start()
                yield server
            finally:
                server.kill_now()
                server.wire.forget()
                await anyio.lowlevel.checkpoint()  # aborted transports close in the next turn of the loop


# --- the scripted agent's steps


def script(*steps: dict[str, Any]) -> str:
    """Return the message that makes the scripted agent take these steps."""
    return orjson.dumps({"steps": steps}).decode()


def emit(tokens: int, rate: float) -> dict[str, Any]:
    """Stream so many tokens, so many a second."""
    return {"emit": {"tokens": tokens, "rate": rate}}


def stall(seconds: float) -> dict[str, Any]:
    """Say nothing for a while."""
    return {"stall": {"seconds": seconds}}


def fail(text: str) -> dict[str, Any]:
    """Raise."""
    return {"raise": text}
