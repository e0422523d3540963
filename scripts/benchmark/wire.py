"""Bytes on the wire, against a design that sends the whole state ten times a second."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from typing import Final

from .arena import Arena, names, open_streams, stage, start_runs
from .peers.pacing import Spec
from .reader import Reader
from .subjects import OURS
from .table import Row, at_most

_RATE: Final = 20
_POLLS_PER_S: Final = 10
_HISTORY_CHARS: Final = 500


def wire(arena: Arena) -> list[Row]:
    """One client watches an answer of 100 tokens behind 50 messages of 500 characters; count what each design sends.

    The polls are computed: the state's size, as it is answered before and after the run, ten times a second for as long
    as the run would take at 20 tokens a second. What a stream sends first, its snapshot, is shown on its own.
    """
    messages, tokens = arena.pick(50, 50, 5), arena.pick(100, 100, 10)
    session = names(1)
    with stage(OURS) as (process, reader):
        open_streams(reader, OURS, session)
        for number in range(messages):
            _say(process.port, session[0], f"{number} {'x' * _HISTORY_CHARS}")
        reader.drop()
        before = _state_bytes(process.port, session[0])
        open_streams(reader, OURS, session)
        reader.wait("quiet", 100)
        snapshot = reader.report()["bytes"]
        start_runs(reader, OURS, session, Spec(tokens=tokens, pause_s=0.005, gate=True))
        deltas = _deltas(reader, process.begin)
        after = _state_bytes(process.port, session[0])
    polled = (before + after) / 2 * tokens / _RATE * _POLLS_PER_S
    return [
        Row(
            scenario="wire",
            what="bytes of an answer, part of what polling the state takes",
            figures={"ours": [deltas / polled]},
            bar=at_most(0.01),
            note=f"1/{polled / deltas:.0f}; with the snapshot 1/{polled / (deltas + snapshot):.0f}",
        ),
        Row(scenario="wire", what="… bytes a token", figures={"ours": [deltas / tokens]}),
    ]


def _deltas(reader: Reader, begin: Callable[[], None]) -> float:
    reader.wait("quiet", 50)
    reader.reset()
    begin()
    reader.wait("terminals", 1)
    reader.wait("quiet", 50)
    return reader.report()["bytes"]


def _say(port: int, session: str, text: str) -> None:
    request = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    body = f'{{"session_id": "{session}", "message": "{text}"}}'
    request.request("POST", f"{OURS.prefix}/system", body, {"Content-Type": "application/json"})
    request.getresponse().read()
    request.close()


def _state_bytes(port: int, session: str) -> int:
    """Return what an answer with the whole state takes on the wire."""
    request = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    request.request("GET", f"{OURS.prefix}/state?session_id={session}")
    answer = request.getresponse()
    head = sum(len(name) + len(value) + 4 for name, value in answer.getheaders()) + 19
    size = head + len(answer.read())
    request.close()
    return size
