"""Rows of figures measured side by side, the goals they are held against, and the one table they make.

A figure is the median of its repetitions; a ratio is that of two medians from the same run. Goals are printed beside
what was reached, and never change what the command returns: a benchmark measures, the budget test judges.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

Figures = Mapping[str, Sequence[float]]
"""Subject → what each repetition measured."""

OURS: Final = "ours"
_COMPARED: Final = ("raw", "sse")
_SIGNIFICANT: Final = 3


@dataclass(frozen=True, slots=True)
class Goal:
    """`sign` is ≤ or ≥; `against`: the subject of which `limit` is a multiple, else it is a figure."""

    sign: str
    limit: float
    against: str = ""

    def __str__(self) -> str:
        return f"{self.sign} {short(self.limit)}" + (f" x {self.against}" if self.against else "")

    def is_met(self, figures: Figures) -> bool | None:
        """Say whether ours reaches it; None when something for that was not measured."""
        ours, other = figures.get(OURS), figures.get(self.against, ()) if self.against else (1.0,)
        if not ours or not other:
            return None
        compare = operator.le if self.sign == "≤" else operator.ge
        return bool(compare(median(ours), self.limit * median(other)))


def at_most(limit: float, against: str = "") -> Goal:
    """Return a goal from above."""
    return Goal("≤", limit, against)


def at_least(limit: float, against: str = "") -> Goal:
    """Return a goal from below."""
    return Goal("≥", limit, against)


@dataclass(slots=True, kw_only=True)
class Row:
    """One line of the table. `reader`: the reader's largest share of a core while this was measured."""

    scenario: str
    what: str
    unit: str = ""
    figures: Figures = field(default_factory=dict)
    bar: Goal | None = None
    stretch: Goal | None = None
    reader: float = 0
    note: str = ""

    def ratio(self, against: str) -> float | None:
        """Return ours as a multiple of another."""
        ours, other = self.figures.get(OURS), self.figures.get(against)
        return median(ours) / median(other) if ours and other and median(other) else None

    def as_json(self) -> dict[str, Any]:
        """Return all that is known of it."""
        return {
            "scenario": self.scenario,
            "what": self.what,
            "unit": self.unit,
            "figures": {
                name: {"median": median(values), "min": min(values), "max": max(values), "all": list(values)}
                for name, values in self.figures.items()
                if values
            },
            "ratios": {name: self.ratio(name) for name in self.figures if name != OURS},
            "bar": None if self.bar is None else str(self.bar),
            "bar_met": None if self.bar is None else self.bar.is_met(self.figures),
            "stretch": None if self.stretch is None else str(self.stretch),
            "stretch_met": None if self.stretch is None else self.stretch.is_met(self.figures),
            "reader_share": self.reader,
            "note": self.note,
        }

    def as_cells(self) -> list[str]:
        """Return it for people."""
        figures = [_middle(self.figures.get(name)) for name in (OURS, *_COMPARED)]
        others = [
            f"{name} {_middle(values)}" for name, values in self.figures.items() if name not in (OURS, *_COMPARED)
        ]
        ratios = [_times(self.ratio(name)) for name in _COMPARED]
        goals = [_verdict(goal, self.figures) for goal in (self.bar, self.stretch)]
        reader = f"{self.reader:.0%}" if self.reader else ""
        notes = "; ".join(filter(None, [*others, self.note]))
        return [self.scenario, f"{self.what}, {self.unit}".rstrip(", "), *figures, *ratios, *goals, reader, notes]


HEAD: Final = ["scenario", "figure", "ours", "raw", "sse", "/raw", "/sse", "bar", "stretch", "reader", ""]


def render(rows: Sequence[Row]) -> str:
    """Return the table as aligned text."""
    cells = [HEAD, *(row.as_cells() for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEAD))]
    lines = []
    for line in cells:
        left = [text.ljust(width) for text, width in zip(line[:2], widths[:2], strict=True)]
        middle = [text.rjust(width) for text, width in zip(line[2:7], widths[2:7], strict=True)]
        right = [text.ljust(width) for text, width in zip(line[7:], widths[7:], strict=True)]
        lines.append("  ".join([*left, *middle, *right]).rstrip())
    return "\n".join(lines)


def short(value: float) -> str:
    """Return a figure with three digits that count, thousands as k."""
    if abs(value) >= 999_500:
        return f"{value / 1e6:.{_SIGNIFICANT}g}M"
    if abs(value) >= 9_995:
        return f"{value / 1e3:.{_SIGNIFICANT}g}k"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.{_SIGNIFICANT}g}"


def _middle(values: Sequence[float] | None) -> str:
    return short(median(values)) if values else "-"


def _times(value: float | None) -> str:
    return "" if value is None else f"{short(value)}x"


def _verdict(goal: Goal | None, figures: Figures) -> str:
    if goal is None:
        return ""
    met = goal.is_met(figures)
    return f"{goal} {'' if met is None else '✓' if met else '✗'}".rstrip()
