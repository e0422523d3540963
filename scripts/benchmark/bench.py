"""Measure what the server costs, side by side with raw ASGI and with what people write by hand.

    scripts/bench                        everything, five repetitions (about an hour)
    scripts/bench --quick                three repetitions, short (about ten minutes)
    scripts/bench --only tokens --only paced
    scripts/bench --json FILE --plot FILE.png
    scripts/bench --peers                google-adk and langgraph dev too, installed into .cache/

`ours` is this server with every event committed to SQLite before it is sent; `raw` an ASGI function with an
asyncio.Queue, and `sse` sse-starlette with its defaults, both in memory; all on uvicorn with uvloop and httptools, one
process each, loopback only. Repetitions are interleaved (ours, raw, sse, ours, …) and every figure is a median.
Progress goes to stderr, the table to stdout.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from . import plot, tokens
from .arena import Arena, say
from .chats import chats, interrupts
from .durable import durable
from .idle import idle
from .live import live
from .nodes import nodes
from .others import others
from .reader import Trouble, allow_files, calibrate
from .resume import resume
from .stored import start, stored
from .table import Row, render
from .wire import wire

Scenario = Callable[[Arena], list[Row]]

SCENARIOS: Final[Mapping[str, Scenario]] = {
    "idle": idle,
    "tokens": tokens.wakes,
    "paced": tokens.paced,
    "fanout": tokens.fanout,
    "backlog": tokens.backlog,
    "chats": chats,
    "interrupts": interrupts,
    "resume": resume,
    "stored": stored,
    "live": live,
    "wire": wire,
    "start": start,
    "durable": durable,
    "redis": nodes,
}
PEERS: Final = "peers"
_FILES: Final = {"full": 10_500, "quick": 10_500, "toy": 200}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what the command line asks for."""
    options = _options(argv)
    # Ended by a time limit, it ends as by Ctrl-C: the servers it started go with it.
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    arena = Arena("toy" if options.toy else "quick" if options.quick else "full", options.repeat)
    scenarios = {name: SCENARIOS[name] for name in SCENARIOS if name in (options.only or SCENARIOS)}
    if options.peers:
        scenarios[PEERS] = others
    started_at, load = time.monotonic(), os.getloadavg()[0]
    try:
        allow_files(_FILES[arena.size])
        ceiling, share = calibrate(*arena.pick((1000, 300), (1000, 300), (20, 50)))
    except Trouble as trouble:
        sys.exit(f"scripts/bench: {trouble}")
    rows = [row for name, scenario in scenarios.items() for row in _rows(name, scenario, arena)]
    points = tokens.curve(arena) if options.plot else {}
    print(render(rows))
    print(f"\nThe reader alone takes {ceiling:,.0f} events a second, one write each, at {share:.0%} of a core;")
    print("its share in each row is the largest of all repetitions.")
    print(f"Load average {load:.2f} before, {os.getloadavg()[0]:.2f} after; {os.cpu_count()} cores;", end=" ")
    print(f"{arena.repetitions} repetitions in {time.monotonic() - started_at:.0f} s.")
    if options.json:
        told = {
            "size": arena.size,
            "rows": [row.as_json() for row in rows],
            "curve": points,
            "reader_ceiling_per_s": ceiling,
            "load_average": [load, os.getloadavg()[0]],
        }
        options.json.write_text(json.dumps(told, indent=1), encoding="utf-8")
    if options.plot:
        say(f"plot: {plot.draw(points, options.plot)}")
    return 0


def _rows(name: str, scenario: Scenario, arena: Arena) -> list[Row]:
    """Run one scenario; what cannot be measured here is said, and the others still are."""
    say(name)
    try:
        return scenario(arena)
    except Trouble as trouble:
        return [Row(scenario=name, what="not measured", note=str(trouble).splitlines()[0])]


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure what the server costs, side by side.")
    parser.add_argument("--quick", action="store_true", help="shorter stretches, three repetitions")
    parser.add_argument("--toy", action="store_true", help="the smallest sizes: shows that it works, measures nothing")
    parser.add_argument("--repeat", type=int, metavar="N", help="repetitions, instead of five, three or one")
    parser.add_argument("--only", action="append", choices=SCENARIOS, help="this scenario; may be given again")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw latency and cost against load")
    parser.add_argument("--peers", action="store_true", help="measure google-adk and langgraph dev too")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
