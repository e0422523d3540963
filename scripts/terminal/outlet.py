"""Where the answer of a pipe goes: as plain text, drawn on a terminal, or as one JSON object."""

from __future__ import annotations

import re
import sys
from typing import Any, Final, Protocol

import orjson

from .blocks import Block, Blocks
from .clean import Cleaner
from .paint import Painter
from .pieces import Prose
from .terminal import color_system, width

_DELETE_AND_C1: Final = re.compile("[\x7f-\x9f]")


class Outlet(Protocol):
    """Takes the text as it grows, and all that is known of it at the end. Raises OSError."""

    def write(self, text: str) -> None:
        """Take the next piece of the text."""

    def close(self, summary: dict[str, Any]) -> None:
        """Take the end."""


class PlainText:
    """The text, each piece at once; it ends with a newline.

    Control characters are left out here too: whatever reads the pipe may show it on a terminal.
    """

    def __init__(self) -> None:
        self._cleaner = Cleaner()
        self._last = ""

    def write(self, text: str) -> None:
        """Print it."""
        text = self._cleaner.clean(text)
        if text:
            self._last = text
            sys.stdout.buffer.write(text.encode("utf-8", "replace"))
            sys.stdout.buffer.flush()

    def close(self, summary: dict[str, Any]) -> None:
        """End the line."""
        if self._last and not self._last.endswith("\n"):
            self.write("\n")


class Drawn:
    """Markdown, block by block, for a person."""

    def __init__(self) -> None:
        self._painter = Painter(color_system())
        self._blocks = Blocks()
        self._cleaner = Cleaner()

    def write(self, text: str) -> None:
        """Print the blocks that are complete."""
        self._blocks.extend(self._cleaner.clean(text))
        self._print(self._blocks.take())

    def close(self, summary: dict[str, Any]) -> None:
        """Print the rest."""
        self._print(self._blocks.take(is_final=True))

    def _print(self, blocks: list[Block]) -> None:
        if blocks:
            sys.stdout.write(self._painter.print([Prose(*block) for block in blocks], width()))
            sys.stdout.flush()


class Json:
    """One JSON object at the end."""

    def write(self, text: str) -> None:
        """Wait."""

    def close(self, summary: dict[str, Any]) -> None:
        """Print it all. JSON spells most control characters as escapes; these it would leave to the terminal."""
        text = orjson.dumps(summary, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
        escaped = _DELETE_AND_C1.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
        sys.stdout.buffer.write(escaped.encode())
        sys.stdout.buffer.flush()


def make_outlet(as_json: bool) -> Outlet:
    """Return the outlet that stdout wants."""
    if as_json:
        return Json()
    return Drawn() if sys.stdout.isatty() else PlainText()
