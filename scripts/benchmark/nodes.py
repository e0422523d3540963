"""Redis instead of SQLite, one to three nodes: what a token costs, and how many they carry together."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from scripts.blackbox.redis_server import PROGRAM, RedisServer, is_installed

from .arena import Arena, Measured, names, open_streams, say, start_runs
from .peers.pacing import Spec
from .reader import Reader, Trouble
from .subjects import OURS, Process, cpu_s_of
from .table import Row
from .tokens import carry

_NODES: Final = {"sqlite": 0, "ours": 1, "2 nodes": 2, "3 nodes": 3}
_TOY_NODES: Final = {"ours": 2}  # two, so that they are seen to share


def nodes(arena: Arena) -> list[Row]:
    """Share the sessions out among nodes; each session's stream and agent are at the same one."""
    if not is_installed():
        raise Trouble(f"there is no {PROGRAM}; on Debian, as root: apt-get install redis-server")
    sessions = arena.pick(1000, 1000, 12)
    waking = Spec(tokens=arena.pick(50, 20, 2), beat_s=arena.pick(0.1, 0.1, 0.02), gate=True)
    hasty = Spec(tokens=arena.pick(1000, 300, 10), gate=True)
    figures: dict[str, dict[str, list[float]]] = {}
    for turn in range(arena.rarely(3)):
        for name, count in arena.pick(_NODES, _NODES, _TOY_NODES).items():
            say(f"  {name} {turn + 1}")
            for kind, spec, share in (("wakes", waking, sessions), ("backlog", hasty, sessions // 5)):
                found = _carry(count, share, spec) if count else carry(OURS, share, spec)
                for figure, value in found.items():
                    figures.setdefault(f"{kind} {figure}", {}).setdefault(name, []).append(value)
    return [
        Row(
            scenario="redis",
            what="1 node: CPU a token, each waking its reader",
            unit="µs",
            figures=figures["wakes cpu_us"],
        ),
        Row(scenario="redis", what="… CPU of Redis itself", unit="µs", figures=figures["wakes redis_us"]),
        Row(scenario="redis", what="1 node: tokens under backlog", unit="1/s", figures=figures["backlog per_s"]),
        Row(scenario="redis", what="… CPU a token", unit="µs", figures=figures["backlog cpu_us"]),
        Row(scenario="redis", what="… CPU of Redis itself", unit="µs", figures=figures["backlog redis_us"]),
    ]


def _carry(count: int, sessions: int, spec: Spec) -> Measured:
    """Let `count` nodes at one Redis carry all tokens."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sessionstream-bench-")))
        redis = RedisServer(folder / "redis")
        redis.start()
        stack.callback(redis.kill)
        settings = {"REDIS_URL": redis.url}
        servers = [stack.enter_context(OURS.running(settings)) for _ in range(count)]
        readers = [stack.enter_context(Reader(server.port)) for server in servers]
        ids = names(sessions)
        for place, reader in enumerate(readers):
            open_streams(reader, OURS, ids[place::count])
            start_runs(reader, OURS, ids[place::count], spec)
            if reader.report()["refused"]:
                raise Trouble(f"a node refused something: {servers[place].tail()}")
            reader.reset()
        return _measure(servers, readers, redis.pid, [len(ids[place::count]) for place in range(count)], spec)


def _measure(
    servers: Sequence[Process], readers: Sequence[Reader], redis_pid: int, shares: Sequence[int], spec: Spec
) -> Measured:
    cpu_s, redis_s, started_ns = sum(one.cpu_s() for one in servers), cpu_s_of(redis_pid), time.monotonic_ns()
    for server in servers:
        server.begin()
    for reader, share in zip(readers, shares, strict=True):
        reader.wait("terminals", share, timeout_s=180)
    reports = [reader.report() for reader in readers]
    last_ns = max(report["last_token_ns"] for report in reports)
    total = sum(shares) * spec.tokens
    return {
        "per_s": total / (last_ns - started_ns) * 1e9,
        "cpu_us": (sum(one.cpu_s() for one in servers) - cpu_s) / total * 1e6,
        "redis_us": (cpu_s_of(redis_pid) - redis_s) / total * 1e6,
        "reader": max(report.share for report in reports),
    }
