"""What every scenario gets: its size, its repetitions, and the few moves that all of them are made of."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from .peers.pacing import Spec
from .reader import Lane, Reader, Step
from .subjects import SUBJECTS, Process, Subject
from .table import Figures

Measured = Mapping[str, float]
"""Figure by name, of one repetition of one subject; `reader` is the reader's share of a core."""
_T = TypeVar("_T")

# Kinds of requests, for their latencies.
CREATE: Final = 1
STREAM: Final = 2
CHAT: Final = 3
STOP: Final = 4
_CHAT_LANES: Final = 8
_QUIET_MS: Final = 30


@dataclass(frozen=True, slots=True)
class Arena:
    """Size and repetitions of a run: `full`, `quick`, or `toy`, which shows that it works and no more."""

    size: str = "full"
    repeat: int | None = None
    """How often everything is measured, when that is said."""

    def pick(self, full: _T, quick: _T, toy: _T) -> _T:
        """Return the number for this size."""
        return {"full": full, "quick": quick, "toy": toy}[self.size]

    def rarely(self, full: int) -> int:
        """Return the repetitions of what takes long and varies little."""
        return self.repeat or self.pick(full, 1, 1)

    @property
    def repetitions(self) -> int:
        """How often everything is measured."""
        return self.repeat or self.pick(5, 3, 1)

    def compare(
        self,
        measure: Callable[[Subject], Measured],
        subjects: Sequence[Subject] = SUBJECTS,
        *,
        times: int | None = None,
    ) -> Results:
        """Measure all subjects in turn, again and again, so that whatever else the machine does meets all alike."""
        figures: dict[str, dict[str, list[float]]] = {}
        for turn in range(times or self.repetitions):
            for subject in subjects:
                say(f"  {subject.name} {turn + 1}")
                for name, value in measure(subject).items():
                    figures.setdefault(name, {}).setdefault(subject.name, []).append(value)
        return Results(figures)


class Results:
    """Figure → subject → repetitions."""

    def __init__(self, figures: Mapping[str, Figures]) -> None:
        self._figures = figures

    def __getitem__(self, name: str) -> Figures:
        return self._figures.get(name, {})

    @property
    def reader(self) -> float:
        """The reader's largest share of a core."""
        return max((value for values in self["reader"].values() for value in values), default=0)


@contextmanager
def stage(subject: Subject, **options: Any) -> Iterator[tuple[Process, Reader]]:
    """Give a process of a subject and a reader for it."""
    with subject.running(**options) as process, Reader(process.port) as reader:
        yield process, reader


def names(count: int, prefix: str = "s") -> list[str]:
    """Return session ids."""
    return [f"{prefix}{number}" for number in range(count)]


def open_streams(reader: Reader, subject: Subject, sessions: Sequence[str], *, timeout_s: float = 120) -> None:
    """Make sessions and stream each of them; return when all heads are there."""
    reader.load(
        [
            Lane([Step(request=subject.create(one), kind=CREATE), stream_step(subject, one)])
            for one in dict.fromkeys(sessions)
        ]
    )
    reader.wait("ready", timeout_s=timeout_s)


def stream_step(subject: Subject, session: str, **options: Any) -> Step:
    """Return the request for a session's stream."""
    return Step(request=subject.stream(session), is_stream=True, kind=STREAM, **options)


def start_runs(reader: Reader, subject: Subject, sessions: Sequence[str], spec: Spec) -> None:
    """Let an agent answer in each session; return when all are accepted. Gated agents wait for `Process.begin`."""
    steps = [Step(request=subject.chat(one, spec), kind=CHAT) for one in sessions]
    before = int(reader.report()["calls"])
    reader.load([Lane(steps[start::_CHAT_LANES]) for start in range(min(_CHAT_LANES, len(steps)))])
    reader.wait("calls", before + len(steps), timeout_s=120)
    reader.wait("quiet", _QUIET_MS)


def say(text: str) -> None:
    """Tell what is going on."""
    print(text, file=sys.stderr, flush=True)
