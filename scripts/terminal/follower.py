"""The follower: a session's events, across lost connections and restarted servers, each of them once.

It comes back by cursor, at first at once, then with growing pauses and jitter. It never gives up by itself: it ends
when the server says that there is nothing to follow.
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Final

import anyio
from httpx_sse import SSEError

from .api import Api, Refused, Unreachable

FIRST_DELAY_S: Final = 0.2
LONGEST_DELAY_S: Final = 5.0
STABLE_S: Final = 5.0
"""A connection that lasted so long was a good one."""


def delay_s(attempt: int, chance: float | None = None) -> float:
    """Return how long to wait before a repetition: doubling, with jitter, so that clients do not come in step."""
    ceiling: float = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(attempt, 16))
    return ceiling * (0.5 + (random.random() if chance is None else chance) / 2)


class Follower:
    """One session's stream and its comings back. `on_connected` hears what is wrong with the connection, or nothing."""

    def __init__(self, api: Api, session_id: str, on_connected: Callable[[str], None]) -> None:
        self._api = api
        self._session_id = session_id
        self._on_connected = on_connected
        self._nudged = anyio.Event()

    def nudge(self) -> None:
        """Try now, if it waits to try again: the server was heard."""
        self._nudged.set()

    async def events(self, cursor: str = "") -> AsyncGenerator[dict[str, Any], None]:
        """Yield the events behind `cursor`, or a snapshot first if it is empty; without end.

        Raises:
            Refused: the session ended, or is not the caller's, or the caller is not known.
        """
        attempt, wait_s = 0, 0.0
        while True:
            opened_at, why = None, "it closed the stream"
            try:
                async with self._api.stream(self._session_id, cursor) as events, aclosing(events):
                    opened_at = time.monotonic()
                    self._on_connected("")
                    async for at, event in events:
                        attempt = 0
                        cursor = at or cursor
                        yield event
            except (Unreachable, SSEError) as error:
                why = str(error)
            except Refused as refused:
                if not refused.is_retryable:
                    raise
                wait_s, why = refused.retry_after_s, refused.detail
            self._on_connected(why)
            if opened_at is not None and time.monotonic() - opened_at > STABLE_S:
                attempt = 0
            await self._wait(max(wait_s, delay_s(attempt)))
            attempt, wait_s = attempt + 1, 0.0

    async def _wait(self, seconds: float) -> None:
        self._nudged = anyio.Event()
        with anyio.move_on_after(seconds):
            await self._nudged.wait()
