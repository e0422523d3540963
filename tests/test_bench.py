"""The benchmark works: at toy size it measures everything it has a row for. How fast anything is, is not looked at."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.benchmark import plot
from scripts.benchmark.bench import SCENARIOS
from scripts.benchmark.table import Row, at_least, at_most, render, short
from scripts.blackbox.redis_server import is_installed

ROOT = Path(__file__).resolve().parent.parent
GROUPS = (
    ("idle", "tokens", "paced", "fanout", "backlog"),
    ("chats", "interrupts", "resume", "live", "wire"),
    ("stored", "start", "durable", "redis"),
)
"""Side by side: what the start of so many processes takes is most of it."""
ROWS = {
    "idle": 4,
    "tokens": 5,
    "paced": 5,
    "fanout": 2,
    "backlog": 3,
    "chats": 2,
    "interrupts": 3,
    "resume": 3,
    "stored": 8,
    "live": 6,
    "wire": 2,
    "start": 2,
    "durable": 4,
    "redis": 5,
}


@pytest.mark.skipif(not shutil.which("cc") or not is_installed(), reason="needs a C compiler and a redis-server")
def test_bench_measures_everything_it_has_a_row_for(tmp_path: Path) -> None:
    """Our contract: one command, one table, and each row in the JSON."""
    files = [tmp_path / f"{number}.json" for number in range(len(GROUPS))]
    benches = [_bench(group, file) for group, file in zip(GROUPS, files, strict=True)]
    told = [bench.communicate(timeout=120) for bench in benches]
    assert [bench.returncode for bench in benches] == [0] * len(benches), told
    rows = [row for file in files for row in json.loads(file.read_text())["rows"]]

    assert {name: sum(row["scenario"] == name for row in rows) for name in SCENARIOS} == ROWS
    assert [row for row in rows if not row["figures"]] == []
    assert all(values["median"] >= 0 for row in rows for values in row["figures"].values())
    assert {"ours", "raw", "sse"} <= set(_row(rows, "tokens", "CPU a token, each waking its reader")["figures"])


def _bench(scenarios: tuple[str, ...], file: Path) -> subprocess.Popen[str]:
    only = [word for name in scenarios for word in ("--only", name)]
    return subprocess.Popen(
        [sys.executable, "-m", "scripts.benchmark.bench", "--toy", "--json", str(file), *only],
        cwd=ROOT,
        env=os.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _row(rows: list[dict[str, Any]], scenario: str, what: str) -> dict[str, Any]:
    return next(row for row in rows if row["scenario"] == scenario and row["what"] == what)


def test_goal_is_held_against_the_medians_of_the_same_run() -> None:
    """A ratio, a figure, and a comparison that was not measured."""
    figures = {"ours": [3, 1, 2], "sse": [4, 4, 40]}

    assert at_most(0.5, "sse").is_met(figures) is True
    assert at_most(0.4, "sse").is_met(figures) is False
    assert at_least(2).is_met(figures) is True
    assert at_least(1, "adk").is_met(figures) is None


def test_row_shows_ratios_goals_and_whether_they_are_met() -> None:
    """The table is what people read."""
    row = Row(
        scenario="a", what="b", unit="ms", figures={"ours": [1], "raw": [2]}, bar=at_most(1.5), stretch=at_least(9)
    )

    assert row.as_cells() == ["a", "b, ms", "1", "2", "-", "0.5x", "", "≤ 1.5 ✓", "≥ 9 ✗", "", ""]
    assert len(render([row, row]).splitlines()) == 3


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0123456, "0.0123"), (12.34, "12.3"), (999.9, "1000"), (12_345, "12.3k"), (1_234_567, "1.23M")],
)
def test_figures_are_short(value: float, text: str) -> None:
    """Three digits count; more would be noise."""
    assert short(value) == text


def test_plot_is_an_svg_where_one_is_asked_for(tmp_path: Path) -> None:
    """The PNG is this, drawn by a browser."""
    line = [{"load": load, "p99_ms": load / 1000, "cpu_us": 20.0} for load in (1000, 10_000)]

    written = plot.draw({"ours": line, "sse": line}, tmp_path / "plot.svg")

    assert written.read_text().count("<polyline") == 4
