"""Whole conversations: many people who ask at once, and people who press Stop while everybody is being answered."""

from __future__ import annotations

import time
from typing import Final

from .arena import CHAT, CREATE, STOP, Arena, Measured, names, open_streams, stage, start_runs, stream_step
from .peers.pacing import Spec
from .reader import Lane, Reader, Step
from .subjects import Subject
from .table import Row, at_most

_ROUNDS: Final = 3
_STOP_EVERY_US: Final = 8000
_STOP_LANES: Final = 8
_SETTLE_S: Final = 0.5
_RATE: Final = 20


def chats(arena: Arena) -> list[Row]:
    """200 people connect, create, ask and stream at the same moment: how long until each sees a word?"""
    people = arena.pick(200, 200, 10)

    def measure(subject: Subject) -> Measured:
        p50, p99, shares = [], [], []
        with stage(subject) as (_, reader):
            for turn in range(_ROUNDS + 1):
                count = people if turn else max(1, people // 10)  # the first turn warms up
                report = _meet(reader, subject, names(count, f"t{turn}-"))
                if turn:
                    p50.append(report[0])
                    p99.append(report[1])
                    shares.append(report[2])
        middle = _ROUNDS // 2
        return {"p50": sorted(p50)[middle], "p99": sorted(p99)[middle], "reader": max(shares)}

    found = arena.compare(measure)
    return [
        Row(scenario="chats", what=f"{people} at once: first token p50", unit="ms", figures=found["p50"]),
        Row(
            scenario="chats",
            what=f"{people} at once: first token p99",
            unit="ms",
            figures=found["p99"],
            bar=at_most(2, "sse"),
            stretch=at_most(1, "sse"),
            reader=found.reader,
        ),
    ]


def _meet(reader: Reader, subject: Subject, ids: list[str]) -> tuple[float, float, float]:
    spec = Spec(tokens=10, pause_s=0.05)
    reader.load(
        [
            Lane(
                [
                    Step(request=subject.create(one), kind=CREATE),
                    Step(request=subject.chat(one, spec), kind=CHAT),
                    stream_step(subject, one, wanted=1),
                ],
                is_early=False,
            )
            for one in ids
        ]
    )
    reader.reset()
    reader.go()
    reader.wait("done", len(ids))
    report = reader.report()
    reader.wait("terminals", len(ids))
    reader.drop()
    return report.first("p50"), report.first("p99"), report.share


def interrupts(arena: Arena) -> list[Row]:
    """500 agents speak 20 tokens a second each; half of them are stopped, one after the other."""
    running = arena.pick(500, 500, 20)
    stopped = running // 2

    def measure(subject: Subject) -> Measured:
        ids = names(running)
        with stage(subject) as (process, reader):
            open_streams(reader, subject, ids)
            start_runs(reader, subject, ids, Spec(tokens=0, rate=_RATE, gate=True))
            process.begin()
            reader.wait("tokens", running * _RATE // 4)
            steps = [
                Step(request=subject.interrupt(ids[n]), kind=STOP, about=n, at_us=n * _STOP_EVERY_US)
                for n in range(stopped)
            ]
            reader.reset()  # first: what is due at once is sent when it is loaded
            reader.load([Lane(steps[start::_STOP_LANES]) for start in range(_STOP_LANES)])
            reader.go()
            reader.wait("calls", stopped)
            time.sleep(_SETTLE_S)  # a last byte is known by what does not come after it
            report = reader.report()
        return {
            "p50": report.stop("p50"),
            "p99": report.stop("p99"),
            "answered_p99": report.call(STOP, "p99"),
            "reader": report.share,
        }

    found = arena.compare(measure)
    return [
        Row(scenario="interrupts", what=f"{running} runs: stop to last byte p50", unit="ms", figures=found["p50"]),
        Row(
            scenario="interrupts",
            what=f"{running} runs: stop to last byte p99",
            unit="ms",
            figures=found["p99"],
            bar=at_most(20),
            stretch=at_most(5),
            reader=found.reader,
        ),
        Row(scenario="interrupts", what="… stop to its answer p99", unit="ms", figures=found["answered_p99"]),
    ]
