"""One line on stderr that says how far it is; nothing when nobody looks."""

from __future__ import annotations

import sys
import time
from typing import Final

_EVERY_S: Final = 0.2


class Progress:
    """How many of `total` are done: percent, how many a second, how long it will take."""

    def __init__(self, title: str, total: int) -> None:
        self._title = title
        self._total = total
        self._done = 0
        self._started_at = time.monotonic()
        self._shown_at = 0.0
        self._is_shown = sys.stderr.isatty()

    def step(self) -> None:
        """One more is done."""
        self._done += 1
        now = time.monotonic()
        if self._is_shown and now - self._shown_at >= _EVERY_S:
            self._shown_at = now
            print(f"\r\033[K{self.line(now)}", end="", file=sys.stderr, flush=True)

    def line(self, now: float) -> str:
        """Return the line."""
        total = max(self._total, self._done)
        rate = self._done / max(now - self._started_at, 1e-3)
        minutes, seconds = divmod(round((total - self._done) / max(rate, 1e-9)), 60)
        return f"{self._title} {100 * self._done // max(total, 1):3d} %  {rate:,.0f}/s  {minutes}:{seconds:02d} left"

    def close(self) -> None:
        """Take the line away."""
        if self._is_shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
