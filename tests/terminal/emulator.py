"""A terminal without a window: what is written to it, as a person sees it.

It knows what line editors write, and the widths of characters; what it does not know fails the test, so nothing gets to
a terminal unnoticed. Like xterm it does not wrap lines anew when its size changes.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from typing import Final

from wcwidth import wcwidth

_TOKEN: Final = re.compile(
    r"(?P<text>[^\x00-\x1f\x7f-\x9f]+)|\x1b\[(?P<parameters>[?>]?[0-9;]*)(?P<command>[@-~])|(?P<control>[\x07\x08\t\n\r])"
)
_UNFINISHED: Final = re.compile(r"\x1b(\[[?>]?[0-9;]*)?")
_IGNORED: Final = frozenset("mnhlq")
"""Styles, reports, modes: nothing that moves text."""
_AUTOWRAP: Final = "?7"
BLANK: Final = " "


class Emulator:
    """Rows of cells, and above them what has scrolled away. The second cell of a wide character is empty."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self.above: list[str] = []
        self._cells = [self._blank_row() for _ in range(rows)]
        self._row = self._column = 0
        self._wraps = True
        self._rest = ""
        self._decode = codecs.getincrementaldecoder("utf-8")()

    @property
    def display(self) -> list[str]:
        """The rows as text."""
        return ["".join(row).rstrip() for row in self._cells]

    def feed(self, output: bytes) -> None:
        """Take what was written."""
        text, at = self._rest + self._decode.decode(output), 0
        while at < len(text):
            token = _TOKEN.match(text, at)
            if token is None:
                break
            at = token.end()
            if token["text"]:
                for character in token["text"]:
                    self._put(character)
            elif token["control"]:
                self._obey_control(token["control"])
            else:
                self._obey(token["command"], token["parameters"])
        self._rest = text[at:]
        assert not self._rest or _UNFINISHED.fullmatch(self._rest), f"no such sequence: {self._rest[:40]!r}"

    def resize(self, columns: int, rows: int) -> None:
        """Take another size: rows go at the top, where there are none to spare below, columns at the right."""
        while len(self._cells) > rows:
            if self._row < len(self._cells) - 1:
                self._cells.pop()
            else:
                self._scroll()
                self._cells.pop()
                self._row -= 1
        self.columns, self.rows = columns, rows
        self._cells = [(row + [BLANK] * columns)[:columns] for row in self._cells]
        self._cells += [self._blank_row() for _ in range(rows - len(self._cells))]
        self._column = min(self._column, columns - 1)

    # --- text

    def _put(self, character: str) -> None:
        width = wcwidth(character)
        if width <= 0:  # it belongs to the one before it
            at = max(self._column - 1, 0)
            while at > 0 and not self._cells[self._row][at]:
                at -= 1
            self._cells[self._row][at] += character
            return
        if self._column + width > self.columns:
            if not self._wraps:
                self._column = self.columns - width
            else:
                self._column = 0
                self._next_row()
        row = self._cells[self._row]
        self._split(row, self._column)
        self._split(row, self._column + width)
        row[self._column : self._column + width] = [character, *[""] * (width - 1)]
        self._column += width

    def _split(self, row: list[str], column: int) -> None:
        """Make an end at a column: of a wide character across it nothing is left."""
        if column < len(row) and not row[column]:
            row[column - 1] = row[column] = BLANK

    def _next_row(self) -> None:
        if self._row == self.rows - 1:
            self._scroll()
        else:
            self._row += 1

    def _scroll(self) -> None:
        self.above.append("".join(self._cells.pop(0)).rstrip())
        self._cells.append(self._blank_row())

    def _blank_row(self) -> list[str]:
        return [BLANK] * self.columns

    # --- what it is told

    def _obey_control(self, control: str) -> None:
        if control == "\n":
            self._next_row()
        elif control == "\r":
            self._column = 0
        elif control == "\b":
            self._column = max(min(self._column, self.columns - 1) - 1, 0)
        elif control == "\t":
            self._column = min((self._column // 8 + 1) * 8, self.columns - 1)

    def _obey(self, command: str, parameters: str) -> None:
        if command in "hl" and parameters == _AUTOWRAP:
            self._wraps = command == "h"
        if command in _IGNORED:
            return
        assert command in _COMMANDS, f"no such sequence: CSI {parameters} {command}"
        numbers = [int(number) for number in parameters.split(";") if number]
        self._column = min(self._column, self.columns - 1)
        _COMMANDS[command](self, numbers)

    def _up(self, numbers: list[int]) -> None:
        self._row = max(self._row - _count(numbers), 0)

    def _down(self, numbers: list[int]) -> None:
        self._row = min(self._row + _count(numbers), self.rows - 1)

    def _right(self, numbers: list[int]) -> None:
        self._column = min(self._column + _count(numbers), self.columns - 1)

    def _left(self, numbers: list[int]) -> None:
        self._column = max(self._column - _count(numbers), 0)

    def _go(self, numbers: list[int]) -> None:
        row, column = (*numbers, 1, 1)[:2]
        self._row, self._column = min(row, self.rows) - 1, min(column, self.columns) - 1

    def _erase_line(self, numbers: list[int]) -> None:
        part = numbers[0] if numbers else 0
        start, end = (0 if part else self._column), (self._column + 1 if part == 1 else self.columns)
        self._cells[self._row][start:end] = [BLANK] * (end - start)

    def _erase_screen(self, numbers: list[int]) -> None:
        part = numbers[0] if numbers else 0
        if part == 3:
            self.above.clear()
        elif part == 2:
            self._cells = [self._blank_row() for _ in range(self.rows)]
        else:
            assert part == 0, "nobody erases upwards"
            self._erase_line([0])
            self._cells[self._row + 1 :] = [self._blank_row() for _ in range(self.rows - self._row - 1)]


def _count(numbers: list[int]) -> int:
    return max(numbers[0], 1) if numbers else 1


_COMMANDS: Final[dict[str, Callable[[Emulator, list[int]], None]]] = {
    "A": Emulator._up,
    "B": Emulator._down,
    "C": Emulator._right,
    "D": Emulator._left,
    "H": Emulator._go,
    "J": Emulator._erase_screen,
    "K": Emulator._erase_line,
}
