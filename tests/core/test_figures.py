"""Figures: what happened lately is counted in its step, for its user and for all, and nothing grows for ever."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from server.core.figures import STEPS, Figures
from server.core.runlife import RunLife

NOON = 1_700_000_400.0  # the beginning of a step of both kinds


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


@dataclass(eq=False)
class _Run:
    """As much of a run as figures look at."""

    pieces: int = 0
    status: str = "running"
    first_text_at: float | None = None
    started_at: float = NOON


def run_of(**fields: Any) -> RunLife:
    return cast("RunLife", _Run(**fields))


def recent(figures: Figures, user_id: str | None, name: str, last: int) -> list[Any]:
    """Return the last steps of a column."""
    column: list[Any] = figures.report(user_id)["recent"][name]
    return column[-last:]


def test_run_is_counted_where_it_started_spoke_and_ended() -> None:
    clock = Clock()
    figures = Figures(clock)
    run = run_of()
    figures.runs[run] = "ann"
    run.pieces = 10
    figures.beat()
    clock.now = NOON + 5
    run.pieces = 25
    figures.beat()
    clock.now = NOON + 10
    run.pieces, run.status, run.first_text_at = 30, "interrupted", NOON + 0.25
    figures.news.append(("ended", "ann", run))

    for user_id in ("ann", None):
        assert recent(figures, user_id, "started", 3) == [1, 0, 0]
        assert recent(figures, user_id, "tokens", 3) == [10, 15, 5]
        assert recent(figures, user_id, "interrupted", 3) == [0, 0, 1]
        assert recent(figures, user_id, "first_token_p50_ms", 3) == [None, None, 250]
    assert recent(figures, "bob", "started", 3) == [0, 0, 0]
    assert figures.runs == {}


def test_run_between_two_beats_is_counted_whole() -> None:
    figures = Figures(Clock())
    run = run_of(pieces=3, status="finished")
    figures.runs[run] = "ann"
    figures.news.append(("ended", "ann", run))

    assert [recent(figures, "ann", name, 1) for name in ("started", "finished", "tokens")] == [[1], [1], [3]]
    figures.news.append(("ended", "ann", run))
    assert recent(figures, "ann", "finished", 1) == [1]


def test_sessions_that_come_and_go() -> None:
    figures = Figures(Clock())
    figures.news.extend([("created", "ann", None), ("created", "bob", None), ("expired", "ann", None)])
    figures.news.append(("deleted", "bob", None))

    assert [recent(figures, None, name, 1) for name in ("created", "expired", "deleted")] == [[2], [1], [1]]
    assert [recent(figures, "ann", name, 1) for name in ("created", "expired", "deleted")] == [[1], [1], [0]]


def test_percentiles_are_of_the_step() -> None:
    figures = Figures(Clock())
    for tenth in range(1, 11):
        run = run_of(status="finished", first_text_at=NOON + tenth / 10)
        figures.runs[run] = "ann"
        figures.news.append(("ended", "ann", run))

    assert recent(figures, "ann", "first_token_p50_ms", 1) == [600]
    assert recent(figures, "ann", "first_token_p95_ms", 1) == [1000]


def test_waits_of_a_busy_step_are_drawn_from_all_of_it() -> None:
    figures = Figures(Clock())
    for number in range(4000):
        run = run_of(status="finished", first_text_at=NOON + (0.5 if number < 2000 else 2.0))
        figures.runs[run] = "ann"
        figures.news.append(("ended", "ann", run))

    assert recent(figures, "ann", "first_token_p95_ms", 1) == [2000]
    assert recent(figures, "ann", "finished", 1) == [4000]


def test_steps_pass_and_are_forgotten() -> None:
    clock = Clock()
    figures = Figures(clock)
    figures.news.append(("created", "ann", None))
    figures.beat()
    seconds, kept = STEPS["recent"]
    clock.now = NOON + seconds * (kept - 1)
    report = figures.report("ann")["recent"]

    assert (report["start"], report["step_seconds"]) == (NOON, seconds)
    assert report["created"] == [1] + [0] * (kept - 1)
    clock.now = NOON + seconds * kept
    assert figures.report("ann")["recent"]["created"] == [0] * kept
    assert sum(figures.report("ann")["day"]["created"]) == 1


def test_all_columns_are_of_one_length() -> None:
    for name, columns in Figures(Clock()).report(None).items():
        lengths = {len(column) for column in columns.values() if isinstance(column, list)}
        assert lengths == {STEPS[name][1]}


def test_users_who_were_not_here_lately_are_forgotten() -> None:
    figures = Figures(Clock())
    for number in range(300):
        figures.news.append(("created", f"user-{number}", None))
        figures.news.append(("created", "ann", None))

    assert recent(figures, None, "created", 1) == [600]
    assert recent(figures, "ann", "created", 1) == [300]
    assert recent(figures, "user-299", "created", 1) == [1]
    assert recent(figures, "user-0", "created", 1) == [0]
