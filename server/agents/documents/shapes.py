"""What parsers give and raise: blocks of text under a path of headings."""

from __future__ import annotations

from typing import Final, NamedTuple

HEADING_MARK: Final = " \N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK} "
"""Stands between a file, its headings and their subheadings."""


def listed(text: str) -> frozenset[str]:
    """Return the words of a text as a set: long lists of words read best as text."""
    return frozenset(text.split())


class Block(NamedTuple):
    """A paragraph, list item or fenced piece of code, and the headings above it, outermost first."""

    headings: tuple[str, ...]
    text: str


class Unreadable(Exception):
    """A file gives no text; the message says why. `passing`: it may be readable later without having changed."""

    def __init__(self, reason: str, *, passing: bool = False) -> None:
        super().__init__(reason)
        self.passing = passing


class Stopped(Exception):
    """Reading was told to end in the middle: the server stops."""


class Headings:
    """The headings that are open at one point of a document, by level."""

    def __init__(self) -> None:
        self._open: dict[int, str] = {}

    def enter(self, level: int, text: str) -> None:
        """Open a heading; those of its level and below end."""
        self._open = {above: kept for above, kept in self._open.items() if above < level}
        self._open[level] = text

    def path(self) -> tuple[str, ...]:
        """Return the open headings, outermost first."""
        return tuple(self._open[level] for level in sorted(self._open))
