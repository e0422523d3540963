"""What kind of terminal stdout is."""

from __future__ import annotations

import os
import shutil
import sys
from typing import cast

from rich.console import Console

from .paint import ColorSystem


def is_closed() -> bool:
    """Whether there is no stdin or no stdout at all."""
    return cast("object", sys.stdin) is None or cast("object", sys.stdout) is None


def is_terminal() -> bool:
    """Whether a person can be asked here: both ends are a terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def is_dumb() -> bool:
    """Whether the terminal cannot move its cursor."""
    return os.environ.get("TERM") in ("dumb", "unknown")


def color_system() -> ColorSystem | None:
    """Return the colours that stdout has; None when it has none, not even bold."""
    return cast("ColorSystem | None", Console(file=sys.stdout).color_system) if sys.stdout.isatty() else None


def width() -> int:
    """Return how many columns there are now."""
    return shutil.get_terminal_size().columns


def height() -> int:
    """Return how many rows there are now."""
    return shutil.get_terminal_size().lines
