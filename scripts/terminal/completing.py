"""Completion of commands and of what they take."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from zoneinfo import available_timezones

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from .commands import COMMANDS, FORMATS


class CommandCompleter(Completer):
    """Completes a line that begins with a slash; `numbers` are of the sessions that were listed."""

    def __init__(self, numbers: Callable[[], Iterable[str]]) -> None:
        self._numbers = numbers
        self._zones: list[str] = []

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Yield what the line may go on with."""
        line = document.text_before_cursor
        if not line.startswith("/") or "\n" in line:
            return
        name, space, rest = line[1:].partition(" ")
        if not space:
            for known, command in COMMANDS.items():
                if known.startswith(name):
                    yield Completion(known, -len(name), display=f"/{known}", display_meta=command.about)
            return
        for value in self._values(name):
            if value.lower().startswith(rest.lower()):
                yield Completion(value, -len(rest))

    def _values(self, name: str) -> Iterable[str]:
        if name == "timezone":
            self._zones = self._zones or sorted(available_timezones())
            return ("local", *self._zones)
        if name == "export":
            return tuple(FORMATS)
        return tuple(self._numbers()) if name == "session" else ()
