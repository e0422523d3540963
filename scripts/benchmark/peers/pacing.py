"""The agents of every app that is measured: the same words at the same moments, whoever carries them.

A message is a spec as JSON (`Spec`). Each token holds one `~`, which the reader counts; a stamped one goes on with the
nanoseconds of its birth, which make its age. Agents that wait for the gate begin when the process gets SIGUSR1. In
step, all agents speak in the same turn of the loop, and then are silent until the next beat, so that every round wakes
every reader; at a rate, they are spread evenly over the interval.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import json
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

WORD: Final = " word~"
_TICK_S: Final = 0.001
_LATE_S: Final = 0.002


@dataclass(frozen=True, slots=True)
class Spec:
    """What an agent shall say: `each` tokens at a time, `tokens` in all (0: until cancelled)."""

    tokens: int = 1
    each: int = 1
    gate: bool = False
    rate: float = 0
    """Tokens a second; 0: as fast as it can."""
    beat_s: float = 0
    """In step with all the others, so many seconds apart."""
    pause_s: float = 0
    """Silence between one token and the next; a millisecond lets the loop do all it has to do first."""
    stamp: bool = False


class Asked(Protocol):
    """What an agent needs of a turn."""

    message: str


class Conductor:
    """The clock that all agents of a process share; it lives on one loop."""

    def __init__(self) -> None:
        self._gate = asyncio.Event()
        self._is_open = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._players = 0
        self._in_step: list[asyncio.Future[None]] = []
        self._due: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0
        self._is_beating = self._is_ticking = False
        self._entered = 0

    def open(self, *_: object) -> None:
        """Let agents begin: what a signal calls, maybe before the first of them waits."""
        self._is_open = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._gate.set)

    async def opened(self) -> None:
        """Wait until the process is told to begin."""
        self._loop = asyncio.get_running_loop()
        if not self._is_open:
            await self._gate.wait()

    def enter(self) -> int:
        """Join those that speak in step; return how many came before."""
        self._players += 1
        self._entered += 1
        return self._entered - 1

    def leave(self) -> None:
        """Speak no more in step."""
        self._players -= 1

    async def beat(self, interval_s: float) -> None:
        """Wait for the next round."""
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        self._in_step.append(waiter)
        if not self._is_beating:
            self._is_beating = True
            loop.call_later(interval_s, self._strike, interval_s)
        await waiter

    def _strike(self, interval_s: float) -> None:
        loop = asyncio.get_running_loop()
        if len(self._in_step) < self._players:  # a round begins when the last one is said
            loop.call_later(_LATE_S, self._strike, interval_s)
            return
        players, self._in_step = self._in_step, []
        for waiter in players:
            if not waiter.done():
                waiter.set_result(None)
        self._is_beating = bool(players)
        if players:
            loop.call_later(interval_s, self._strike, interval_s)

    async def until(self, moment: float) -> None:
        """Wait for a moment of the loop's clock, to the millisecond."""
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        self._count += 1
        heapq.heappush(self._due, (moment, self._count, waiter))
        if not self._is_ticking:
            self._is_ticking = True
            loop.call_later(_TICK_S, self._tick)
        await waiter

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._due and self._due[0][0] <= now:
            waiter = heapq.heappop(self._due)[2]
            if not waiter.done():
                waiter.set_result(None)
        self._is_ticking = bool(self._due)
        if self._due:
            loop.call_later(_TICK_S, self._tick)


CONDUCTOR: Final = Conductor()

# At once, not with the first agent: a signal that nobody expects ends the process.
with contextlib.suppress(ValueError):  # the peers' servers may import this in a thread; their agents wait for no gate
    signal.signal(signal.SIGUSR1, CONDUCTOR.open)


async def agent(turn: Asked) -> AsyncIterator[str]:
    """Say what the message asks for."""
    spec = Spec(**json.loads(turn.message))
    if spec.gate:
        await CONDUCTOR.opened()
    said = 0
    place = CONDUCTOR.enter()
    try:
        started_at = asyncio.get_running_loop().time()
        while not spec.tokens or said < spec.tokens:
            await _pause(spec, said, started_at, place)
            for _ in range(spec.each):
                yield f"~^{time.monotonic_ns():016d} word" if spec.stamp else WORD
            said += spec.each
    finally:
        CONDUCTOR.leave()


async def _pause(spec: Spec, said: int, started_at: float, place: int) -> None:
    if spec.beat_s:
        await CONDUCTOR.beat(spec.beat_s)
    elif spec.rate:
        interval_s = spec.each / spec.rate
        # Golden-ratio phases: even, however many there are.
        phase = place * 0.618033988749895 % 1
        await CONDUCTOR.until(started_at + (said / spec.each + phase) * interval_s)
    elif spec.pause_s and said:
        await asyncio.sleep(spec.pause_s)


def asked(message: str) -> Any:
    """Return a turn, for apps that have none."""
    return _Turn(message)


@dataclass(frozen=True, slots=True)
class _Turn:
    message: str
