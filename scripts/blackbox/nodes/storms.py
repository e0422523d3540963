"""The same crowd in every weather: none, killed nodes, a killed Redis, cut connections, lost messages, a deploy."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import anyio

from ..arena import Arena
from ..tally import Tally
from .cluster import LEASE_S, Cluster, cluster
from .talks import FAULTS, Crowd

Storm = Callable[[Arena, Cluster, Tally], Awaitable[None]]
NODES: Final = 3
EXIT_WITHIN_S: Final = 6.0


class Scale(NamedTuple):
    """How much of it."""

    sessions: int
    seconds: float
    pause_s: float
    """The longest that anybody is silent."""


async def steady(arena: Arena) -> Tally:
    """Three nodes, everybody at random ones, no fault at all: no call may be refused or cut either."""
    tally = await weather(arena, "steady", calm)
    for name in ("calls_refused_and_sent_again", "calls_cut_and_sent_again", "stream_breaks"):
        tally.expect(not tally.counts.get(name), "refused", f"{name} without a fault: {tally.counts.get(name)}")
    return tally


async def kills(arena: Arena) -> Tally:
    """The same while a node is killed every five seconds and started again."""
    return await weather(arena, "kills", _kill_nodes)


async def restarts(arena: Arena) -> Tally:
    """The same while Redis is killed every 15 seconds and started again."""
    return await weather(arena, "restarts", _restart_redis)


async def disconnects(arena: Arena) -> Tally:
    """The same while Redis throws out its clients every second: calls, and who listens for messages."""
    return await weather(arena, "disconnects", _disconnect)


async def deaf(arena: Arena) -> Tally:
    """The same while what Redis publishes is lost, and nobody is told."""
    tally = await weather(arena, "deaf", _deafen, is_gated=True)
    tally.expect(tally.counts.get("messages_dropped", 0) > 0, "refused", "no message was there to be dropped")
    return tally


async def unanswered(arena: Arena) -> Tally:
    """The same while Redis does what it is asked and the connection ends before it says so: nothing is done twice."""
    return await weather(arena, "unanswered", _lose_answers, is_gated=True)


async def freezes(arena: Arena) -> Tally:
    """The same while nodes, and Redis, stand still for longer than a lease and then go on as if nothing had been."""
    return await weather(arena, "freezes", _freeze)


async def everything(arena: Arena) -> Tally:
    """All of that at once."""
    return await weather(arena, "everything", _do_everything, is_gated=True)


async def rolling(arena: Arena) -> Tally:
    """The same while all nodes are restarted one after the other, as a deploy does."""
    return await weather(arena, "rolling", _roll)


async def weather(
    arena: Arena, name: str, storm: Storm, *, is_gated: bool = False, scale: Scale | None = None
) -> Tally:
    """Let a crowd talk through a storm, and judge."""
    tally = Tally(name, faults=FAULTS)
    scale = scale or Scale(arena.scaled(200, 40), arena.scaled(60, 20), arena.scaled(8, 3))
    async with cluster(count=NODES, is_gated=is_gated) as together:
        crowd = Crowd(together, arena.random, tally, sessions=scale.sessions)
        try:
            async with crowd.talking(pause_s=scale.pause_s):
                with anyio.move_on_after(scale.seconds):
                    await storm(arena, together, tally)
        except BaseException:
            tally.progress(together.tails(), always=True)
            raise
    return tally


async def calm(arena: Arena, together: Cluster, tally: Tally) -> None:
    """No storm."""
    await anyio.sleep_forever()


async def _kill_nodes(arena: Arena, together: Cluster, tally: Tally) -> None:
    while True:
        await anyio.sleep(5)
        node = arena.random.choice(together.nodes)
        with anyio.CancelScope(shield=True):
            await node.kill()
            tally.count("kills")
            await anyio.sleep(arena.random.uniform(0, 2))
            await node.start()


async def _restart_redis(arena: Arena, together: Cluster, tally: Tally) -> None:
    while True:
        await anyio.sleep(arena.scaled(15, 6))
        with anyio.CancelScope(shield=True):
            await together.restart_redis()
            tally.count("restarts_of_redis")


async def _disconnect(arena: Arena, together: Cluster, tally: Tally) -> None:
    assert together.redis is not None
    while True:
        await anyio.sleep(arena.random.uniform(0.5, 1.5))
        kind = arena.random.choice(("normal", "pubsub"))
        together.redis.call("CLIENT", "KILL", "TYPE", kind)
        tally.count(f"times_{kind}_clients_thrown_out")


async def _deafen(arena: Arena, together: Cluster, tally: Tally) -> None:
    """Lose the messages to all nodes, then to one after the other, then to none for a while."""
    try:
        while True:
            for lost in ([*together.gates], *([gate] for gate in together.gates), []):
                for gate in together.gates:
                    gate.drops_messages = gate in lost
                await anyio.sleep(arena.random.uniform(2, 5))
    finally:
        for gate in together.gates:
            gate.drops_messages = False
        tally.count("messages_dropped", sum(gate.dropped for gate in together.gates))


async def _freeze(arena: Arena, together: Cluster, tally: Tally) -> None:
    assert together.redis is not None
    while True:
        await anyio.sleep(arena.random.uniform(1, 3))
        node = arena.random.choice([*together.nodes, None])
        pid = together.redis.pid if node is None else node.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            await anyio.sleep(arena.random.uniform(LEASE_S, LEASE_S + 3))
        finally:
            os.kill(pid, signal.SIGCONT)
        tally.count("freezes_of_redis" if node is None else "freezes_of_nodes")


async def _lose_answers(arena: Arena, together: Cluster, tally: Tally) -> None:
    try:
        while True:
            # Not more often: a node that starts needs some answers in a row, and tries once a second.
            await anyio.sleep(arena.random.uniform(0.2, 1))
            arena.random.choice(together.gates).answers_to_lose = 1
    finally:
        tally.count("answers_lost", sum(gate.answers_lost for gate in together.gates))


async def _do_everything(arena: Arena, together: Cluster, tally: Tally) -> None:
    async with anyio.create_task_group() as storms:
        for storm in (_kill_nodes, _restart_redis, _disconnect, _deafen, _lose_answers):
            storms.start_soon(storm, arena, together, tally)


async def _roll(arena: Arena, together: Cluster, tally: Tally) -> None:
    while True:
        for node in together.nodes:
            await anyio.sleep(arena.random.uniform(2, 4))
            with anyio.CancelScope(shield=True):
                code, seconds = await node.terminate()
                tally.worst("worst_exit_s", seconds)
                is_right = code in (0, -15, 143) and seconds < EXIT_WITHIN_S
                tally.expect(is_right, "refused", f"a node left with {code} after {seconds:.1f} s\n{node.tail()}")
                started_at = time.monotonic()
                await node.start()
                tally.worst("worst_start_s", time.monotonic() - started_at)
                tally.count("nodes_restarted")
