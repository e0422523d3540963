"""A whole node: ten thousand live sessions, and a thousand messages a second that each get an answer."""

from __future__ import annotations

import time
from typing import Final

from .arena import CHAT, Arena, Measured, names, open_streams, say, stage
from .peers.pacing import Spec
from .reader import Lane, Reader, Step
from .subjects import OURS, Process
from .table import Figures, Row, at_least

_LANES: Final = 100
_ANSWER: Final = Spec(tokens=3)
_SHARE: Final = 0.99
_LATE_S: Final = 30


def live(arena: Arena) -> list[Row]:
    """Send what is asked of it, then three times as much."""
    sessions = arena.pick(10_000, 10_000, 50)
    ids = names(sessions)
    with stage(OURS) as (process, reader):
        open_streams(reader, OURS, ids)
        stages = arena.pick(((1000, 60), (3000, 15)), ((1000, 5), (3000, 3)), ((100, 1),))
        told: list[Measured] = []
        for rate, seconds in stages:
            say(f"  {rate}/s for {seconds} s")
            told.append(_send(process, reader, ids, rate, seconds))
    rows: list[Row] = []
    for (rate, seconds), found in zip(stages, told, strict=True):
        first = f"{sessions} live, {rate}/s sent for {seconds} s"
        goal = at_least(rate * _SHARE)
        is_bar = not rows
        rows += [
            Row(
                scenario="live",
                what=f"{first}: accepted",
                unit="1/s",
                figures=_ours(found["accepted"]),
                bar=goal if is_bar else None,
                stretch=None if is_bar else goal,
                reader=found["reader"],
            ),
            Row(scenario="live", what="… POST p50", unit="ms", figures=_ours(found["p50"])),
            Row(scenario="live", what="… POST p99", unit="ms", figures=_ours(found["p99"])),
            Row(scenario="live", what="… CPU of a core", unit="%", figures=_ours(found["cpu"])),
            Row(scenario="live", what="… answers that arrived whole", unit="%", figures=_ours(found["arrived"])),
            Row(scenario="live", what="… memory", unit="MB", figures=_ours(found["rss_mb"])),
        ]
    return rows


def _ours(value: float) -> Figures:
    return {"ours": [value]}


def _send(process: Process, reader: Reader, ids: list[str], rate: int, seconds: int) -> Measured:
    total = rate * seconds
    steps = [
        Step(request=OURS.chat(ids[n * 7919 % len(ids)], _ANSWER), kind=CHAT, at_us=int(n / rate * 1e6))
        for n in range(total)
    ]
    reader.reset()  # first: what is due at once is sent when it is loaded
    reader.load([Lane(steps[start::_LANES]) for start in range(_LANES)])
    cpu_s, started_at = process.cpu_s(), time.monotonic()
    reader.go()
    reader.wait("calls", total, timeout_s=seconds * 3 + _LATE_S)
    took_s = time.monotonic() - started_at
    report, spent_s = reader.report(), process.cpu_s() - cpu_s
    reader.wait("quiet", 300)
    arrived = reader.report()["tokens"]
    accepted = report.ok(CHAT)
    return {
        "accepted": accepted / max(took_s, seconds),
        "p50": report.call(CHAT, "p50"),
        "p99": report.call(CHAT, "p99"),
        "cpu": spent_s / took_s * 100,
        "arrived": arrived / max(1, accepted * _ANSWER.tokens) * 100,
        "rss_mb": process.rss_kb() / 1024,
        "reader": report.share,
    }
