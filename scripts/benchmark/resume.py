"""A resume storm: a thousand streams come back in the same moment, with a cursor and without one."""

from __future__ import annotations

import http.client
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from .arena import Arena, Measured, names, open_streams, stage, start_runs
from .peers.pacing import Spec
from .reader import Lane, Reader, Step, Trouble
from .subjects import OURS, Process, Subject
from .table import Row, at_most

_TRAILING: Final = 2
"""Events of a run behind its last token: the end of the message, and its own."""


def resume(arena: Arena) -> list[Row]:
    """Sessions hold an answer; clients come back in the middle of it, or with nothing, or after a restart.

    The others can only be connected to again: nothing is caught up there.
    """
    streams, said = arena.pick(1000, 1000, 20), arena.pick(50, 50, 6)

    def measure(subject: Subject) -> Measured:
        ids = names(streams)
        with tempfile.TemporaryDirectory(prefix="sessionstream-bench-") as folder:
            data = Path(folder)
            with stage(subject, data=data) as (process, reader):
                _converse(subject, process, reader, ids, said)
                if not subject.is_ours:
                    return {"without": _storm(reader, [(subject.stream(one), 0) for one in ids])}
                cursors = _cursors(process.port, ids, said // 2)
                with_cursor = [(subject.stream(one, cursors[one]), said // 2) for one in ids]
                with_ms = _storm(reader, with_cursor)
                without_ms = _storm(reader, [(subject.stream(one), said) for one in ids])
            with stage(subject, data=data) as (_, reader):
                restarted_ms = _storm(reader, with_cursor)
        return {"with": with_ms, "without": without_ms, "restarted": restarted_ms}

    found = arena.compare(measure)
    return [
        Row(
            scenario="resume",
            what=f"{streams} back with a cursor: all caught up",
            unit="ms",
            figures=found["with"],
            bar=at_most(1000),
            stretch=at_most(300),
        ),
        Row(
            scenario="resume",
            what=f"{streams} back without: all caught up",
            unit="ms",
            figures=found["without"],
            bar=at_most(1000),
            stretch=at_most(300),
        ),
        Row(
            scenario="resume",
            what="… with a cursor, to a server that was restarted",
            unit="ms",
            figures=found["restarted"],
            bar=at_most(1000),
            stretch=at_most(300),
        ),
    ]


def _converse(subject: Subject, process: Process, reader: Reader, ids: Sequence[str], said: int) -> None:
    open_streams(reader, subject, ids)
    start_runs(reader, subject, ids, Spec(tokens=said, beat_s=0.02, gate=True))
    process.begin()
    reader.wait("terminals", len(ids))
    reader.drop()


def _storm(reader: Reader, wanted: Sequence[tuple[bytes, int]]) -> float:
    reader.load(
        [Lane([Step(request=request, is_stream=True, wanted=tokens)], is_early=False) for request, tokens in wanted]
    )
    reader.reset()
    reader.go()
    reader.wait("done", len(wanted))
    report = reader.report()
    reader.drop()
    if report["broken"] or report["refused"]:
        raise Trouble("not all streams came back")
    return report["all_done_ms"]


def _cursors(port: int, ids: Sequence[str], missed: int) -> dict[str, str]:
    """Return cursors that miss the last tokens of the answers."""
    found = {}
    wire = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for one in ids:
        wire.request("GET", f"{OURS.prefix}/state?session_id={one}")
        epoch, _, seq = json.loads(wire.getresponse().read())["cursor"].rpartition("-")
        found[one] = f"{epoch}-{int(seq) - _TRAILING - missed}"
    wire.close()
    return found
