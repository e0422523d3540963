"""Streams: the open SSE responses of a node, counted by user, and the one timer's and the drain's way to them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from ..errors import LimitReached


class Stream(Protocol):
    """An open SSE response."""

    def beat(self, now: float) -> None:
        """Send a heartbeat, or give up, if it is time. `now` is `time.monotonic()`."""

    def drain(self) -> None:
        """End soon, so that the client comes back."""

    def cut(self) -> None:
        """End at once, for a client that takes nothing."""


class Streams:
    """The registry. A place is counted from before the response starts until it ends, however it ends."""

    def __init__(self, max_per_user: int) -> None:
        self.by_user: Counter[str] = Counter()
        self._max_per_user = max_per_user
        self._open: set[Stream] = set()

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def place(self, user_id: str) -> Iterator[None]:
        """Hold one of the user's places.

        Raises:
            LimitReached: all are taken.
        """
        if self._max_per_user and self.by_user[user_id] >= self._max_per_user:
            raise LimitReached(code="limit_streams_per_user", retry_after_s=5)
        self.by_user[user_id] += 1
        try:
            yield
        finally:
            self.by_user[user_id] -= 1
            if not self.by_user[user_id]:
                del self.by_user[user_id]

    def add(self, stream: Stream) -> None:
        """Let the timer know a stream."""
        self._open.add(stream)

    def discard(self, stream: Stream) -> None:
        """Forget a stream. Idempotent."""
        self._open.discard(stream)

    def beat(self, now: float) -> None:
        """Give every stream its turn."""
        for stream in list(self._open):
            stream.beat(now)

    def drain(self) -> None:
        """Ask every stream to end."""
        for stream in list(self._open):
            stream.drain()

    def cut(self) -> None:
        """End every stream that is left."""
        for stream in list(self._open):
            stream.cut()


def retry_ms() -> int:
    """Return how long a client should wait before it comes back: jittered, so that a deploy meets no storm."""
    return 1000 + random.randrange(1000)
