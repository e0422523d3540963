"""What a full database costs: the same requests at few and at very many stored sessions and messages, and the start."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Final

from . import filling
from .arena import Arena, Measured, say, stage
from .reader import CACHE, Lane, Step
from .subjects import OURS, Subject, ask, get
from .table import Row, at_most, short

_OPERATIONS: Final = ("create", "list page", "history page", "state", "search, one found", "search, all found")
_JUDGED: Final = 5
"""The last one grows with what it finds."""
_LONG: Final = ("history page of the longest", "state of the longest")
_FIRST_KIND: Final = 5
_SETTINGS: Final = {"SESSION_TIMEOUT_MINUTES": "0"}  # what is kept in .cache/ is old
_START_TIMEOUT_S: Final = 60


def stored(arena: Arena) -> list[Row]:
    """Ask the same of servers with 100, 10,000 and 100,000 sessions; of sessions with 1, 100 and 10,000 messages."""
    sizes = arena.pick((100, 10_000, 100_000), (100, 10_000, 100_000), (10, 30))
    lengths = arena.pick((1, 100, 10_000), (1, 100, 10_000), (1, 30))
    calls = arena.pick(40, 20, 3)
    found: dict[str, list[list[float]]] = {}
    for turn in range(arena.repetitions):
        by_size = []
        for size in sizes:
            say(f"  {size} sessions {turn + 1}")
            by_size.append(_latencies(size, lengths, calls))
        for name in by_size[0]:
            found.setdefault(name, []).append([figures[name] for figures in by_size])
    rows = [
        _row(name, f"{sizes[0]} → {sizes[-1]} sessions", found[name], n < _JUDGED) for n, name in enumerate(_OPERATIONS)
    ]
    for name in _LONG:
        turns = [
            [by_size[0] for by_size in turn] for turn in zip(*(found[f"{name} {m}"] for m in lengths), strict=True)
        ]
        rows.append(_row(name, f"{lengths[0]} → {lengths[-1]} messages", turns, is_judged=False))
    return rows


def _row(name: str, growth: str, turns: Sequence[Sequence[float]], is_judged: bool) -> Row:
    """Return how much longer the largest takes than the smallest, in the same turn."""
    middles = [median(turn[place] for turn in turns) for place in range(len(turns[0]))]
    return Row(
        scenario="stored",
        what=f"{name}, {growth}",
        unit="x",
        figures={"ours": [turn[-1] / turn[0] for turn in turns]},
        bar=at_most(1.5) if is_judged else None,
        stretch=at_most(1.1) if is_judged else None,
        note=" → ".join(map(short, middles)) + " ms",
    )


def _latencies(size: int, lengths: Sequence[int], calls: int) -> dict[str, float]:
    """Return the median latency, in ms, of each operation; every session is met cold."""
    kinds = dict(enumerate(_OPERATIONS, _FIRST_KIND))
    long_kinds = {f"{name} {length}": _FIRST_KIND + 6 + n for n, name in enumerate(_LONG) for length in lengths}
    told: dict[str, float] = {}
    with copied(size, lengths) as data, stage(OURS, data=data, settings=_SETTINGS) as (_, reader):
        steps = [Step(request=request, kind=kind) for n in range(calls) for kind, request in _requests(n, size, calls)]
        # What grows comes last: for some milliseconds after it, everything meets the processor's caches cold.
        steps.sort(key=lambda step: step.kind == _FIRST_KIND + _JUDGED)
        reader.load([Lane(steps)])
        reader.wait("calls", len(steps))
        report = reader.report()
        told |= {name: report.call(kind, "p50") for kind, name in kinds.items()}
        for name, kind in long_kinds.items():
            length = int(name.rpartition(" ")[2])
            path = _long_path(name, filling.long_session_id(length))
            reader.reset()
            reader.load([Lane([Step(request=get(path), kind=kind)] * max(3, calls // 4))])
            reader.wait("calls", max(3, calls // 4))
            told[name] = reader.report().call(kind, "p50")
    return told


def _requests(n: int, size: int, calls: int) -> Iterator[tuple[int, bytes]]:
    # Of each half another session every time: in the smallest store too, none is met twice.
    history, state = n * size // (2 * calls), size // 2 + n * size // (2 * calls)
    api = OURS.prefix
    requests = (
        OURS.create(f"new-{n}"),
        get(f"{api}/sessions?limit=20"),
        get(f"{api}/sessions/{filling.session_id(history)}/messages?limit=50"),
        get(f"{api}/state?session_id={filling.session_id(state)}"),
        get(f"{api}/sessions?limit=20&q={filling.needle(history)}"),
        get(f"{api}/sessions?limit=20&q={filling.COMMON}"),
    )
    return enumerate(requests, _FIRST_KIND)


def _long_path(operation: str, session: str) -> str:
    if operation.startswith("history"):
        return f"{OURS.prefix}/sessions/{session}/messages?limit=50"
    return f"{OURS.prefix}/state?session_id={session}"


def start(arena: Arena) -> list[Row]:
    """Start the process cold, with ten thousand stored sessions, and ask for /health until it answers."""
    sessions = arena.pick(10_000, 10_000, 10)

    def measure(subject: Subject) -> Measured:
        with copied(sessions) as data, tempfile.TemporaryDirectory(prefix="sessionstream-bench-") as folder:
            began_at = time.monotonic()
            process = subject.spawn(Path(folder), _SETTINGS, data)
            try:
                while not ask(process.port, "/health") and time.monotonic() - began_at < _START_TIMEOUT_S:
                    time.sleep(0.001)
                return {"took": time.monotonic() - began_at, "cpu": process.cpu_s()}
            finally:
                process.stop()

    found = arena.compare(measure)
    return [
        Row(
            scenario="start",
            what=f"cold start to /health, {sessions} stored",
            unit="s",
            figures=found["took"],
            bar=at_most(0.8),
            stretch=at_most(0.4),
        ),
        Row(scenario="start", what="… CPU of it", unit="s", figures=found["cpu"]),
    ]


@contextmanager
def copied(sessions: int, lengths: Sequence[int] = ()) -> Iterator[Path]:
    """Give a copy of a filled folder."""
    CACHE.mkdir(parents=True, exist_ok=True)
    source = filling.filled(sessions, lengths)
    with tempfile.TemporaryDirectory(prefix="copy-", dir=CACHE) as folder:
        data = Path(folder) / "data"
        shutil.copytree(source, data)
        yield data
