"""The scene: what is alive between what was printed and the line that is typed on."""

from __future__ import annotations

import time
from typing import Final

from .clean import one_line
from .paint import Painter
from .pieces import Piece
from .talk import Talk

CALM_S: Final = 1.5
"""A connection that comes back sooner was never missed."""
_DIM: Final = "\x1b[2m"
_OFF: Final = "\x1b[0m"


class Scene:
    """Draws it. `doing` is the command that is being carried out; `is_confirming` says that it asks for a yes."""

    def __init__(self, talk: Talk, painter: Painter) -> None:
        self.doing = ""
        self.is_confirming = False
        self._talk = talk
        self._painter = painter
        self._drawn: tuple[list[Piece], int, str] = ([], 0, "")

    def live(self, columns: int) -> str:
        """Return what is alive: lines for so many columns, each with its end; an empty line sets it off."""
        text = self._growing(columns)
        below = [f"{_DIM}{line}{_OFF}\n" for line in self._waiting(columns)]
        if text:
            text = f"{text}\n"
        return f"{text or chr(10)}{''.join(below)}"

    def prompt(self) -> str:
        """Return what stands before the line."""
        asked = next(iter(self._talk.questions), None)
        if self.is_confirming or (asked is not None and asked.is_approval):
            return "y/n > "
        return "> " if asked is None else "result > "

    @property
    def is_busy(self) -> bool:
        """Whether it is not the person's turn."""
        return self._talk.is_running or bool(self._talk.outbox.items) or (bool(self.doing) and not self.is_confirming)

    def trouble(self) -> str:
        """Return what is wrong with the connection, in a line; nothing while it may come back soon."""
        talk = self._talk
        if talk.lost_at is None or time.monotonic() - talk.lost_at < CALM_S:
            return ""
        return f"○ no connection ({one_line(talk.lost_why, 60)}), trying again; nothing is lost"

    def _growing(self, columns: int) -> str:
        pieces = self._talk.view.live()
        if (pieces, columns) != self._drawn[:2]:
            self._drawn = (pieces, columns, self._painter.preview(pieces, columns))
        return self._drawn[2]

    def _waiting(self, columns: int) -> list[str]:
        talk = self._talk
        lines = []
        for item in talk.outbox.items:
            if not item.is_accepted or not talk.view.holds(item.message_id):
                trouble = f" · not sent yet: {one_line(item.trouble, 60)}" if item.trouble else ""
                lines.append(f"> {one_line(item.text, max(columns - len(trouble) - 4, 10))}{trouble}")
        lines += [f"waits > {one_line(entry['message'], max(columns - 10, 10))}" for entry in talk.view.queue]
        return [*lines, *(one_line(line, max(columns - 1, 10)) for line in self._status())]

    def _status(self) -> list[str]:
        talk, now = self._talk, time.monotonic()
        if trouble := self.trouble():
            return [trouble]
        if self.doing and not self.is_confirming:
            return [f"● {one_line(self.doing, 40)} · Ctrl-C gives up"]
        if talk.is_stopping and talk.is_running:
            return ["● stopping"]
        if talk.is_running:
            return [f"● answering, {int(now - talk.run_since)} s · Ctrl-C stops"]
        asked = next(iter(talk.questions), None)
        if asked is None:
            return []
        if asked.is_approval:
            return ["y approves · n, or n and why, declines · any other message declines too"]
        return ["type the result, text or JSON · /decline and why: it cannot be done"]
