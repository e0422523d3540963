"""What several nodes cost and bring: tokens a second and memory a session, beside one node with its own database.

    scripts/compare_nodes            the whole table
    scripts/compare_nodes --quick    a tenth of the numbers: whether it runs, not how fast

Tokens are counted end to end: agents that speak as fast as they can, a reader for each session, both at random nodes.
Nodes, Redis and the readers share the cores of this machine: with few cores, more nodes are not faster here.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Final

import anyio
import anyio.lowlevel

from ..arena import emit, script
from ..caller import Caller
from ..process import Server
from ..redis_server import RedisServer
from ..wire import Stream
from .cluster import Cluster, used_bytes

SESSIONS: Final = 100
TOKENS: Final = 10_000
ROUNDS: Final = 5
COUNTS: Final = (0, 1, 2, 3)
"""How many nodes at a Redis; 0 is one node with its own database."""
IDLE: Final = 2_000
AT_ONCE: Final = 50
# As an operator would have it; the table is no test of crashes.
REDIS: Final = {"appendonly": "yes", "appendfsync": "everysec"}


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        prog="scripts/compare_nodes", description="What several nodes cost, beside one with its own database."
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the numbers")
    options = parser.parse_args()
    anyio.run(_compare, 10 if options.quick else 1, backend_options={"use_uvloop": True})
    return 0


async def _compare(less: int) -> None:
    print(f"{os.cpu_count()} cores, shared by nodes, Redis and {SESSIONS} readers; ratios to the first line")
    print(f"{'':<16}{'tokens/s':>12}{'ratio':>8}{'kB/session':>12}{'ratio':>8}{'in Redis kB':>13}", flush=True)
    speeds = await _speeds(less)
    sizes = [await _size(count, less) for count in COUNTS]
    for count, rounds, (size, redis_size) in zip(COUNTS, speeds, sizes, strict=True):
        name = f"{count} node{'s' if count > 1 else ''}, Redis" if count else "1 node, SQLite"
        # Round by round: what else the machine did meanwhile slowed all of a round alike.
        ratio = median(speed / first for speed, first in zip(rounds, speeds[0], strict=True))
        print(
            f"{name:<16}{median(rounds):>12,.0f}{ratio:>8.2f}{size:>12.1f}{size / sizes[0][0]:>8.2f}{redis_size:>13.1f}"
        )


async def _speeds(less: int) -> list[list[float]]:
    """Return the tokens a second of each set of nodes, round by round, all in turns."""
    speeds: list[list[float]] = [[] for _ in COUNTS]
    async with AsyncExitStack() as stack:
        sets = [await stack.enter_async_context(_nodes(count)) for count in COUNTS]
        for number in range(ROUNDS + 1):
            for at, together in enumerate(sets):
                speed = await _speak(together, TOKENS // less, f"round-{number}", random.Random(number))
                if number:  # the first one warms up
                    speeds[at].append(speed)
    return speeds


async def _size(count: int, less: int) -> tuple[float, float]:
    """Return the kB that an idle session with one stream takes, in the nodes and in Redis."""
    chance = random.Random(count)
    async with _nodes(count) as together:
        await _sit(together, IDLE // 10 // less, "warm", chance)
        before, redis_before = _rss_kb(together), _redis_kb(together)
        idle = IDLE // less
        streams = await _sit(together, idle, "idle", chance)
        grown, redis_grown = _rss_kb(together) - before, _redis_kb(together) - redis_before
        for stream in streams:
            stream.close()
        await anyio.lowlevel.checkpoint()
    return grown / idle, redis_grown / idle


@asynccontextmanager
async def _nodes(count: int) -> AsyncIterator[Cluster]:
    with tempfile.TemporaryDirectory(prefix="sessionstream-compare-") as folder:
        redis = RedisServer(Path(folder) / "redis", config=REDIS) if count else None
        if redis is not None:
            redis.start()
        together = Cluster(Path(folder), count=count or 1, redis=redis)
        try:
            await together.start()
            yield together
        finally:
            together.kill_now()
            if redis is not None:
                redis.kill()
            await anyio.lowlevel.checkpoint()  # aborted transports close in the next turn of the loop


async def _speak(together: Cluster, tokens: int, name: str, chance: random.Random) -> float:
    """Let all sessions speak at once; return the tokens a second that their readers got."""
    readers: list[Stream] = []
    ids = [f"{name}-{number}" for number in range(SESSIONS)]
    for one in ids:
        stream = await Caller(_any(together, chance).wire, "user").stream(one)
        await _read_until(stream, b'"RUN_FINISHED"')  # the snapshot of an idle session
        readers.append(stream)
    started_at = time.monotonic()
    async with anyio.create_task_group() as tasks:
        for stream in readers:
            tasks.start_soon(_read_until, stream, b'"RUN_FINISHED"')
        for one in ids:
            answer = await Caller(_any(together, chance).wire, "user").chat(script(emit(tokens, 0)), session_id=one)
            if answer.status != 202:
                raise ValueError(f"{one}: {answer.status} {answer.body!r}")
    seconds = time.monotonic() - started_at
    for stream in readers:
        stream.close()
    await _check_whole(together, ids, tokens)
    return SESSIONS * tokens / seconds


async def _check_whole(together: Cluster, ids: list[str], tokens: int) -> None:
    """What is fast and wrong is not counted."""
    for one in ids:
        history = await Caller(together.nodes[0].wire, "user").messages(one)
        said = len(str(history[-1]["content"]).split())
        if said != tokens:
            raise ValueError(f"{one} said {said} of {tokens} tokens: {history[-1]['metadata']}")


async def _sit(together: Cluster, sessions: int, name: str, chance: random.Random) -> list[Stream]:
    """Open so many sessions with one stream each, and wait until nothing grows any more."""
    streams: list[Stream] = []
    numbers = iter(range(sessions))

    async def work() -> None:
        for number in numbers:
            stream = await Caller(_any(together, chance).wire, f"user{number % 20}").stream(f"{name}-{number}")
            await _read_until(stream, b'"RUN_FINISHED"')
            streams.append(stream)

    async with anyio.create_task_group() as tasks:
        for _ in range(AT_ONCE):
            tasks.start_soon(work)
    await anyio.sleep(3)
    return streams


async def _read_until(stream: Stream, mark: bytes) -> None:
    tail = b""
    while mark not in tail:
        piece = await stream.read_bytes(120)
        if piece is None:
            raise ValueError(f"a stream ended: {stream.status} {stream.ending}")
        tail = tail[-len(mark) :] + piece


def _any(together: Cluster, chance: random.Random) -> Server:
    return chance.choice(together.nodes)


def _rss_kb(together: Cluster) -> int:
    return sum(node.sample().rss_kb for node in together.nodes)


def _redis_kb(together: Cluster) -> float:
    return 0.0 if together.redis is None else used_bytes(together.redis) / 1024


if __name__ == "__main__":
    sys.exit(main())
