"""Keeping the index up to date: pass after pass over the folder, each in one worker thread, for as long as it runs."""

from __future__ import annotations

import threading
from typing import Final

import anyio
from anyio import CapacityLimiter, to_thread

from .index import Index

_CLOSE_TIMEOUT_S: Final = 2.0


class Upkeep:
    """Passes over the folder of one index; the only one who writes it."""

    def __init__(self, index: Index, *, refresh_s: float) -> None:
        self._index = index
        self._refresh_s = refresh_s
        self._writing = CapacityLimiter(1)
        self._begun = self._ended = 0
        self._passed: anyio.Event | None = None
        self._asked: anyio.Event | None = None
        self._is_asked = False

    async def run(self) -> None:
        """Build the index, then look at the folder again and again until cancelled."""
        stop = threading.Event()
        try:
            while True:
                self._begun += 1
                self._is_asked = False
                looking_s = await to_thread.run_sync(
                    self._index.refresh, stop, abandon_on_cancel=True, limiter=self._writing
                )
                self._ended += 1
                if self._passed is not None:
                    self._passed.set()
                    self._passed = None
                # A folder that takes long to look at is looked at less often: at most a tenth of one thread.
                await self._rest(max(self._refresh_s, 10 * looking_s))
        finally:
            stop.set()
            with anyio.CancelScope(shield=True), anyio.move_on_after(_CLOSE_TIMEOUT_S):
                await to_thread.run_sync(self._index.close, abandon_on_cancel=True)

    async def _rest(self, seconds: float) -> None:
        if self._is_asked:
            return
        self._asked = anyio.Event()
        with anyio.move_on_after(seconds):
            await self._asked.wait()
        self._asked = None

    async def wait_refreshed(self, passes: int = 1) -> None:
        """Wait until so many more passes over the folder have ended; two of them have seen every change before."""
        await self._wait_for(self._ended + passes)

    async def catch_up(self) -> None:
        """Have the folder looked at now; return when a pass that began after this call has ended."""
        self._is_asked = True
        if self._asked is not None:
            self._asked.set()
        await self._wait_for(self._begun + 1)

    async def _wait_for(self, target: int) -> None:
        while self._ended < target:
            if self._passed is None:
                self._passed = anyio.Event()
            await self._passed.wait()
