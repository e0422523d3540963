"""Figures: what happened on this node lately, in steps of time, for everybody and for each user who was here lately.

In memory, and bounded: a minute ago matters to who looks at a chart, and what counts for longer is in the storage.
Nothing is done for a token: runs count what they say anyway, and the hub's beat looks at how far they have come. What
begins and ends is noted in one append, and counted at the beat too.
"""

from __future__ import annotations

import random
import time
from array import array
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from .runlife import RunLife

Kind = Literal["created", "expired", "deleted", "ended"]
News = tuple[Kind, str, RunLife | None]
"""What happened, whose it is, and the run that ended."""

STEPS: Final = {"recent": (5, 120), "day": (600, 144)}
"""Name → seconds of a step, and how many are kept: ten minutes, and a day."""
_MAX_USERS: Final = 200  # one with as many runs as are kept in every step takes some 130 KB
_MAX_NEWS: Final = 100_000  # between two beats, so far more than a node can do
_MAX_WAITS: Final = 64  # of a step, drawn from all of it: enough for a 95th percentile that does not jump


@dataclass(slots=True)
class _Step:
    """What happened within one step."""

    started: int = 0
    finished: int = 0
    interrupted: int = 0
    failed: int = 0
    tokens: int = 0
    created: int = 0
    expired: int = 0
    deleted: int = 0
    waited: int = 0
    waits: array[float] = field(default_factory=lambda: array("f"))
    """Seconds from the start of a run to its first word, of some of those that `waited`."""

    def note_wait(self, seconds: float) -> None:
        """Keep a wait, if it is drawn: each of the step has the same chance."""
        self.waited += 1
        if len(self.waits) < _MAX_WAITS:
            self.waits.append(seconds)
        elif (place := random.randrange(self.waited)) < _MAX_WAITS:
            self.waits[place] = seconds


_COUNTS: Final = ("started", "finished", "interrupted", "failed", "tokens", "created", "expired", "deleted")


class _Series:
    """Steps by number; those in which nothing happened are not there."""

    __slots__ = ("_kept", "_seconds", "_steps")

    def __init__(self, seconds: int, kept: int) -> None:
        self._seconds = seconds
        self._kept = kept
        self._steps: OrderedDict[int, _Step] = OrderedDict()

    def at(self, now: float) -> _Step:
        """Return the step of a time that is no earlier than those before."""
        number = int(now) // self._seconds
        step = self._steps.get(number)
        if step is None:
            step = self._steps[number] = _Step()
            while len(self._steps) > self._kept:
                self._steps.popitem(last=False)
        return step

    def columns(self, now: float) -> dict[str, Any]:
        """Return what is kept as lists of the same length, oldest first; the last step is not over yet."""
        last = int(now) // self._seconds
        numbers = range(last - self._kept + 1, last + 1)
        steps = [self._steps.get(number) for number in numbers]
        found: dict[str, Any] = {"step_seconds": self._seconds, "start": numbers[0] * self._seconds, "until": now}
        for name in _COUNTS:
            found[name] = [getattr(step, name) if step is not None else 0 for step in steps]
        waits = [sorted(step.waits) if step is not None else [] for step in steps]
        found["first_token_p50_ms"] = [_percentile(one, 0.5) for one in waits]
        found["first_token_p95_ms"] = [_percentile(one, 0.95) for one in waits]
        return found


class _Book:
    """The series of a user, or of all."""

    __slots__ = ("series",)

    def __init__(self) -> None:
        self.series = {name: _Series(*size) for name, size in STEPS.items()}

    def steps(self, now: float) -> Iterable[_Step]:
        """Return the steps of now."""
        return [one.at(now) for one in self.series.values()]


class Figures:
    """The books of a node. The hub writes `news` and `runs` as things happen; all else is done at its beat."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.news: deque[News] = deque(maxlen=_MAX_NEWS)
        """What has happened since the last beat."""
        self.runs: dict[RunLife, str] = {}
        """Runs that were started and have not let go, and whose they are."""
        self._seen: dict[RunLife, int] = {}
        """How much of each run was counted."""
        self._all = _Book()
        self._users: OrderedDict[str, _Book] = OrderedDict()

    def beat(self) -> None:
        """Count what happened since the last time."""
        now = self._clock()
        for run, user_id in self.runs.items():
            self._look_at(run, user_id, now)
        while self.news:
            kind, user_id, ended = self.news.popleft()
            if ended is not None:
                self._end(ended, user_id, now)
                continue
            for step in self._steps(user_id, now):
                setattr(step, kind, getattr(step, kind) + 1)

    def report(self, user_id: str | None) -> dict[str, Any]:
        """Return the series of a user, or of all: name → columns, with `start` in seconds since the epoch."""
        self.beat()
        book = self._all if user_id is None else self._users.get(user_id) or _Book()
        now = self._clock()
        return {name: one.columns(now) for name, one in book.series.items()}

    def _look_at(self, run: RunLife, user_id: str, now: float) -> None:
        seen = self._seen.get(run)
        if seen is None:
            for step in self._steps(user_id, now):
                step.started += 1
        new = run.pieces - (seen or 0)
        if new or seen is None:
            self._seen[run] = run.pieces
            for step in self._steps(user_id, now) if new else ():
                step.tokens += new

    def _end(self, run: RunLife, user_id: str, now: float) -> None:
        if run not in self.runs:
            return
        self._look_at(run, user_id, now)
        del self.runs[run], self._seen[run]
        for step in self._steps(user_id, now):
            if run.status in ("finished", "interrupted", "failed"):
                setattr(step, run.status, getattr(step, run.status) + 1)
            if run.first_text_at is not None:
                step.note_wait(max(0.0, run.first_text_at - run.started_at))

    def _steps(self, user_id: str, now: float) -> Iterable[_Step]:
        book = self._users.get(user_id)
        if book is None:
            book = self._users[user_id] = _Book()
            if len(self._users) > _MAX_USERS:
                self._users.popitem(last=False)
        else:
            self._users.move_to_end(user_id)
        return [*self._all.steps(now), *book.steps(now)]


def _percentile(values: list[float], share: float) -> int | None:
    """Return a percentile of sorted seconds in whole milliseconds, None when there are none."""
    return round(values[min(len(values) - 1, int(share * len(values)))] * 1000) if values else None
