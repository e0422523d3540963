"""What an idle stream holds in memory, with its session."""

from __future__ import annotations

import time
from typing import Final

from .arena import Arena, Measured, names, open_streams, stage
from .subjects import Subject
from .table import Row, at_most

_WARM: Final = 50
_SETTLE_S: Final = 0.5


def idle(arena: Arena) -> list[Row]:
    """Open a thousand, then ten thousand streams, each of its own session, and look at the process."""
    few, many = arena.pick((1000, 10_000), (1000, 10_000), (20, 60))

    def measure(subject: Subject) -> Measured:
        with stage(subject) as (process, reader):
            open_streams(reader, subject, names(_WARM, "warm"))
            reader.drop()
            time.sleep(_SETTLE_S)
            empty_kb, cpu_s, started_at = process.rss_kb(), process.cpu_s(), time.monotonic()
            open_streams(reader, subject, names(few))
            few_kb = process.rss_kb() - empty_kb
            open_streams(reader, subject, names(many - few, "more"))
            opened_s, opening_us = time.monotonic() - started_at, (process.cpu_s() - cpu_s) / many * 1e6
            time.sleep(_SETTLE_S)
            many_kb = process.rss_kb() - empty_kb
        return {"few": few_kb / few, "many": many_kb / many, "opened_s": opened_s, "opening_us": opening_us}

    found = arena.compare(measure, times=arena.rarely(3))
    return [
        Row(scenario="idle", what=f"{few} idle streams: memory each", unit="KB", figures=found["few"]),
        Row(
            scenario="idle",
            what=f"{many} idle streams: memory each",
            unit="KB",
            figures=found["many"],
            bar=at_most(28),
            stretch=at_most(20),
        ),
        Row(scenario="idle", what="… until all are open", unit="s", figures=found["opened_s"]),
        Row(scenario="idle", what="… CPU to create one and open it", unit="µs", figures=found["opening_us"]),
    ]
