"""What a scenario counted, and what it found wrong: faults have a name, a count and their first few details."""

from __future__ import annotations

import sys
import time
from typing import Final

SHOWN_DETAILS: Final = 5  # the first faults of a kind explain the rest


class Tally:
    """Counts and faults of one scenario. A fault named at the start is shown even when it never happened."""

    def __init__(self, name: str, *, faults: tuple[str, ...]) -> None:
        self.name = name
        self.counts: dict[str, float] = {}
        self.faults: dict[str, int] = dict.fromkeys(faults, 0)
        self.details: list[str] = []
        self._started_at = time.monotonic()
        self._said_at = 0.0

    @property
    def is_clean(self) -> bool:
        """Say whether nothing was wrong."""
        return not any(self.faults.values())

    def count(self, name: str, by: float = 1) -> None:
        """Add to a count."""
        self.counts[name] = self.counts.get(name, 0) + by

    def note(self, name: str, value: float) -> None:
        """Set a number that is not counted, with its unit in the name."""
        self.counts[name] = round(value, 2)

    def worst(self, name: str, value: float) -> None:
        """Keep the largest value."""
        self.counts[name] = round(max(value, self.counts.get(name, 0)), 2)

    def fault(self, kind: str, detail: str) -> None:
        """Record that something was wrong."""
        self.faults[kind] = self.faults.get(kind, 0) + 1
        if self.faults[kind] <= SHOWN_DETAILS:
            self.details.append(f"{kind}: {detail}")

    def expect(self, is_right: bool, kind: str, detail: str) -> bool:
        """Record a fault unless `is_right`; return it."""
        if not is_right:
            self.fault(kind, detail)
        return is_right

    def progress(self, text: str, *, always: bool = False) -> None:
        """Say on stderr how far it is, at most twice a second."""
        now = time.monotonic()
        if always or now - self._said_at > 0.5:
            self._said_at = now
            sys.stderr.write(f"[{self.name} {now - self._started_at:6.1f} s] {text}\n")
            sys.stderr.flush()

    def report(self) -> str:
        """Return the counts, the faults and the details as text."""
        seconds = time.monotonic() - self._started_at
        lines = [f"{'ok  ' if self.is_clean else 'FAIL'} {self.name} ({seconds:.1f} s)"]
        lines += [f"       {name:<34}{value:>12g}" for name, value in self.counts.items()]
        lines += [f"       {name:<34}{value:>12d}  must be 0" for name, value in self.faults.items()]
        return "\n".join(lines + [f"     ! {detail}" for detail in self.details])
