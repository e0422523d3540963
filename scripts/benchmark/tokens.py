"""What a token costs on its way from the agent to the reader: one by one, ten at once, paced, and as fast as can be."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from .arena import Arena, Measured, names, open_streams, stage, start_runs, stream_step
from .peers.pacing import Spec
from .reader import Lane, Trouble
from .subjects import OURS, SUBJECTS, Subject
from .table import Row, at_least, at_most

PACED_PER_S: Final = 10_000
_QUIET_MS: Final = 50
_WARM_S: Final = 0.5


def carry(
    subject: Subject, sessions: int, spec: Spec, *, readers: int = 1, settings: Mapping[str, str] | None = None
) -> Measured:
    """Let agents speak in sessions with streams; measure from their start until the last byte.

    The CPU time includes how runs end, which is when a durable server folds them away.
    """
    ids = names(sessions)
    with stage(subject, settings=settings) as (process, reader):
        open_streams(reader, subject, ids)
        reader.load([Lane([stream_step(subject, one)]) for one in ids for _ in range(readers - 1)])
        reader.wait("ready")
        start_runs(reader, subject, ids, spec)
        if reader.report()["refused"]:
            raise Trouble(f"{subject.name} refused something:\n{process.tail()}")
        total = sessions * spec.tokens * readers
        reader.reset()
        cpu_s, started_ns = process.cpu_s(), time.monotonic_ns()
        process.begin()
        reader.wait("tokens", total, timeout_s=180)
        report, until_last_s = reader.report(), process.cpu_s() - cpu_s
        reader.wait("terminals", sessions * readers)
        reader.wait("quiet", _QUIET_MS)
        spent_s = process.cpu_s() - cpu_s
    took_s = (report["last_token_ns"] - started_ns) / 1e9
    return {
        "cpu_us": spent_s / total * 1e6,
        "until_last_us": until_last_s / total * 1e6,
        "per_s": total / took_s,
        "cpu_share": until_last_s / took_s * 100,
        "p50_ms": report.age("p50"),
        "p99_ms": report.age("p99"),
        "events": report["events"] / total,
        "bytes": report["bytes"] / total,
        "reader": report.share,
    }


def wakes(arena: Arena) -> list[Row]:
    """Each token wakes its reader; then ten tokens wait each time."""
    sessions = arena.pick(1000, 1000, 20)
    one = Spec(tokens=arena.pick(100, 25, 3), beat_s=arena.pick(0.08, 0.08, 0.01), gate=True)
    ten = Spec(tokens=arena.pick(300, 100, 20), each=10, beat_s=arena.pick(0.25, 0.2, 0.01), gate=True)
    alone = arena.compare(lambda subject: carry(subject, sessions, one))
    joined = arena.compare(lambda subject: carry(subject, sessions, ten))
    return [
        Row(
            scenario="tokens",
            what="CPU a token, each waking its reader",
            unit="µs",
            figures=alone["cpu_us"],
            bar=at_most(0.75, "sse"),
            stretch=at_most(1.3, "raw"),
            reader=alone.reader,
        ),
        Row(
            scenario="tokens",
            what="… until the last token, without the runs' end",
            unit="µs",
            figures=alone["until_last_us"],
        ),
        Row(scenario="tokens", what="… events a token", figures=alone["events"]),
        Row(
            scenario="tokens",
            what="CPU a token, 10 waiting",
            unit="µs",
            figures=joined["cpu_us"],
            bar=at_most(0.5, "sse"),
            stretch=at_most(0.25, "sse"),
            reader=joined.reader,
        ),
        Row(scenario="tokens", what="… bytes a token", figures=joined["bytes"]),
    ]


def flow(
    subject: Subject, sessions: int, per_s: float, seconds: float, *, settings: Mapping[str, str] | None = None
) -> Measured:
    """Let agents speak evenly and without an end; measure a stretch in which no run begins or ends."""
    ids = names(sessions)
    with stage(subject, settings=settings) as (process, reader):
        open_streams(reader, subject, ids)
        start_runs(reader, subject, ids, Spec(tokens=0, rate=per_s / sessions, gate=True, stamp=True))
        process.begin()
        time.sleep(_WARM_S)
        reader.reset()
        cpu_s, started_at = process.cpu_s(), time.monotonic()
        time.sleep(seconds)
        report, spent_s = reader.report(), process.cpu_s() - cpu_s
        took_s = time.monotonic() - started_at
    return {
        "cpu_us": spent_s / max(1, report["tokens"]) * 1e6,
        "cpu_share": spent_s / took_s * 100,
        "per_s": report["tokens"] / took_s,
        "p50_ms": report.age("p50"),
        "p99_ms": report.age("p99"),
        "reader": report.share,
    }


def paced(arena: Arena) -> list[Row]:
    """Ten thousand events a second, evenly: CPU, and how old a token is when it comes."""
    sessions = arena.pick(1000, 1000, 20)
    per_s = arena.pick(PACED_PER_S, PACED_PER_S, 500)
    found = arena.compare(lambda subject: flow(subject, sessions, per_s, arena.pick(5, 2, 0.1)))
    ending = Spec(tokens=arena.pick(50, 20, 3), rate=per_s / sessions, gate=True, stamp=True)
    ended = arena.compare(lambda subject: carry(subject, sessions, ending), [OURS])
    return [
        Row(
            scenario="paced",
            what="10k events/s: CPU of a core",
            unit="%",
            figures=found["cpu_share"],
            bar=at_most(1, "sse"),
            stretch=at_most(0.75, "sse"),
            reader=found.reader,
        ),
        Row(scenario="paced", what="… tokens that came", unit="1/s", figures=found["per_s"]),
        Row(scenario="paced", what="… p50 agent to reader", unit="ms", figures=found["p50_ms"]),
        Row(
            scenario="paced",
            what="… p99 agent to reader",
            unit="ms",
            figures=found["p99_ms"],
            bar=at_most(2),
            stretch=at_most(1),
        ),
        Row(
            scenario="paced",
            what=f"… p99 when {sessions} runs of {ending.tokens} begin and end together",
            unit="ms",
            figures=ended["p99_ms"],
        ),
    ]


def fanout(arena: Arena) -> list[Row]:
    """One session, a thousand readers; the next token is said when the last one is with all of them."""
    readers = arena.pick(1000, 1000, 20)
    spec = Spec(tokens=arena.pick(300, 80, 5), pause_s=0.001, gate=True)
    found = arena.compare(lambda subject: carry(subject, 1, spec, readers=readers))
    return [
        Row(
            scenario="fanout",
            what=f"1 to {readers}: deliveries",
            unit="1/s",
            figures=found["per_s"],
            bar=at_least(2.5, "sse"),
            stretch=at_least(1, "raw"),
            reader=found.reader,
        ),
        Row(scenario="fanout", what="… CPU a delivery", unit="µs", figures=found["cpu_us"]),
    ]


def backlog(arena: Arena) -> list[Row]:
    """Agents that never wait, 200 sessions: tokens a second from end to end."""
    sessions = arena.pick(200, 200, 10)
    # What each can carry in about two seconds: a rate needs no equal amounts.
    tokens = {"ours": arena.pick(3000, 1000, 20), "raw": arena.pick(1000, 300, 20), "sse": arena.pick(400, 100, 20)}
    found = arena.compare(lambda subject: carry(subject, sessions, Spec(tokens=tokens[subject.name], gate=True)))
    return [
        Row(
            scenario="backlog",
            what=f"{sessions} sessions: tokens",
            unit="1/s",
            figures=found["per_s"],
            bar=at_least(5, "sse"),
            stretch=at_least(1_000_000),
            reader=found.reader,
        ),
        Row(scenario="backlog", what="… CPU a token", unit="µs", figures=found["cpu_us"]),
        Row(scenario="backlog", what="… events a token", figures=found["events"]),
    ]


def curve(arena: Arena) -> dict[str, list[dict[str, float]]]:
    """Return, for each subject, latency and cost at growing loads: what the plot shows."""
    sessions = arena.pick(1000, 1000, 20)
    loads = arena.pick((1000, 2500, 5000, 10_000, 15_000, 20_000), (1000, 5000, 10_000, 20_000), (200, 400))
    seconds = arena.pick(4, 2, 0.1)
    points: dict[str, list[dict[str, float]]] = {subject.name: [] for subject in SUBJECTS}
    for load in loads:
        for subject in SUBJECTS:
            points[subject.name].append({"load": load, **flow(subject, sessions, load, seconds)})
    return points


def full_durability(arena: Arena) -> Measured:
    """Return what a paced token costs when every commit waits for the disk."""
    per_s = arena.pick(PACED_PER_S, PACED_PER_S, 100)
    return flow(OURS, arena.pick(1000, 1000, 10), per_s, arena.pick(5, 2, 0.1), settings={"DURABILITY": "full"})
