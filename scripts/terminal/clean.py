"""What others wrote, made safe to show: no text may move the cursor, change colours or turn the line around.

A model, a tool or a title may hold anything, escape sequences too; a terminal would obey them.
"""

from __future__ import annotations

import re
from typing import Final

_LINE_ENDS: Final = re.compile(r"\r\n?|[\u2028\u2029\x85\x0b\x0c]")
# All control characters but tab and newline, and the marks that reorder what follows them. The marks that only give a
# direction (U+200E, U+200F) stay: Hebrew and Arabic are written with them.
_UNWANTED: Final = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_TURNS: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")
_HALVES: Final = re.compile("[\ud800-\udfff]")


def clean(text: str) -> str:
    """Return the text without what a terminal would obey; its lines end with a newline alone."""
    return whole(_UNWANTED.sub("", _LINE_ENDS.sub("\n", text)))


def whole(text: str) -> str:
    """Return the text with a mark for what is no character: bytes that a keyboard or a setting had in another code."""
    return _HALVES.sub("\ufffd", text)


class Cleaner:
    """Cleans a text that comes in pieces: half a line end waits for the other half."""

    def __init__(self) -> None:
        self._held = ""

    def clean(self, piece: str) -> str:
        """Return what can be shown by now."""
        text = self._held + piece
        self._held = "\r" if text.endswith("\r") else ""
        return clean(text.removesuffix("\r"))


def straight(drawn: str) -> str:
    """Return what was drawn without the marks that reorder text, as a character reference may have spelt one."""
    return _TURNS.sub("", drawn)


def one_line(text: str, limit: int) -> str:
    """Return the text in one line of at most so many characters."""
    words = " ".join(clean(text[: 4 * limit + 80]).split())
    is_whole = len(text) <= 4 * limit + 80 and len(words) <= limit
    return words if is_whole else f"{words[: limit - 1].rstrip()}…"
