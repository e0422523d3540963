"""The plot of latency and cost against load: an SVG of our own, made a PNG by chromium, which tests install anyway.

Both axes that grow over orders of magnitude are logarithmic. Without chromium the SVG stays, and its name is returned.
"""

from __future__ import annotations

import math
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from .table import short

Points = Mapping[str, Sequence[Mapping[str, float]]]

_COLOURS: Final = {"ours": "#0b62d6", "raw": "#888888", "sse": "#d6500b"}
_LABELS: Final = {"ours": "ours, durable", "raw": "raw ASGI, in memory", "sse": "sse-starlette, in memory"}
_WIDTH: Final = 480
_HEIGHT: Final = 320
_MARGIN: Final = 56
_BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")


def draw(points: Points, path: Path) -> Path:
    """Draw to `path`; return the file that was written."""
    svg = _svg(points)
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None or path.suffix == ".svg":
        written = path.with_suffix(".svg")
        written.write_text(svg, encoding="utf-8")
        return written
    with tempfile.TemporaryDirectory(prefix="sessionstream-plot-") as folder:
        page = Path(folder) / "plot.html"
        page.write_text(f'<!doctype html><meta charset="utf-8"><style>body{{margin:0}}</style>{svg}', encoding="utf-8")
        subprocess.run(
            [
                browser,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                "--force-device-scale-factor=2",
                f"--user-data-dir={folder}/profile",
                f"--window-size={2 * _WIDTH},{_HEIGHT}",
                f"--screenshot={path.resolve()}",
                page.as_uri(),
            ],
            check=True,
            capture_output=True,
            timeout=60,
        )
    return path


def _svg(points: Points) -> str:
    latency = _panel(points, "p99_ms", "p99 latency, ms, against tokens/s", 0, is_log=True)
    cost = _panel(points, "cpu_us", "CPU µs a token, against tokens/s", _WIDTH, is_log=False)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * _WIDTH}" height="{_HEIGHT}" '
        f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/>{latency}{cost}</svg>'
    )


def _panel(points: Points, name: str, title: str, left: int, *, is_log: bool) -> str:
    loads = sorted({point["load"] for line in points.values() for point in line})
    values = [point[name] for line in points.values() for point in line if point[name] > 0]
    across = _scale(loads, left + _MARGIN, left + _WIDTH - 16, is_log=True)
    up = _scale(values if is_log else [0, *values], _HEIGHT - _MARGIN, 36, is_log=is_log)
    parts = [f'<text x="{left + _MARGIN}" y="20" font-weight="bold">{title}</text>']
    parts += [f'<text x="{across(x):.0f}" y="{_HEIGHT - 36}" text-anchor="middle">{short(x)}</text>' for x in loads]
    for tick in _ticks(values, is_log=is_log):
        y = up(tick)
        parts.append(f'<path d="M{left + _MARGIN} {y:.1f}H{left + _WIDTH - 16}" stroke="#e4e4e4"/>')
        parts.append(f'<text x="{left + _MARGIN - 6}" y="{y + 4:.1f}" text-anchor="end">{short(tick)}</text>')
    for number, (subject, line) in enumerate(points.items()):
        colour = _COLOURS.get(subject, "#000")
        path = " ".join(f"{across(point['load']):.1f},{up(max(point[name], min(values))):.1f}" for point in line)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        x = left + _MARGIN + 140 * number
        parts.append(f'<text x="{x}" y="{_HEIGHT - 12}" fill="{colour}">{_LABELS.get(subject, subject)}</text>')
    return "".join(parts)


def _scale(values: Sequence[float], start: float, end: float, *, is_log: bool) -> Callable[[float], float]:
    """Return the map from figures to pixels."""
    bend = math.log if is_log else float
    low, high = bend(min(values)), bend(max(values))
    return lambda value: start + (end - start) * ((bend(value) - low) / (high - low) if high > low else 0.5)


def _ticks(values: Sequence[float], *, is_log: bool) -> list[float]:
    low, high = min(values), max(values)
    if not is_log:
        rough = high / 6
        decade = 10.0 ** math.floor(math.log10(rough))
        step = next(digit * decade for digit in (1, 2, 5, 10) if digit * decade >= rough)
        return [step * number for number in range(int(high / step) + 1)]
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [digit * 10.0**decade for decade in decades for digit in (1, 2, 5)]
    return [tick for tick in ticks if low <= tick <= high]
