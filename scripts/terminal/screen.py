"""The screen: the line that a person types on, what is alive above it, and what was printed for good above that.

Nothing else writes to the terminal. What is printed scrolls away as in any terminal; only the live part and the line
are redrawn. The terminal is never asked where its cursor is, so its answers cannot be taken for typing.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from prompt_toolkit import PromptSession
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import Completer
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import ANSI, StyleAndTextTuples, to_formatted_text
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.output import create_output
from prompt_toolkit.output.vt100 import Vt100_Output

from .clean import whole
from .scene import Scene
from .terminal import height, width

TWICE_S: Final = 1.0
"""Two Ctrl-C within this time leave the program."""
REFRESH_S: Final = 0.5
MENU_ROWS: Final = 6
LEAVE_HINT: Final = "Ctrl-C once more leaves, as does Ctrl-D"


class Listener(Protocol):
    """Who hears the person."""

    def take(self, line: str) -> bool:
        """Take what was typed; say whether it was taken."""

    def stop(self) -> bool:
        """Stop what is going on; say whether there was anything that was not being stopped already."""


class Screen:
    """The terminal of one person, who is heard through `listener`."""

    def __init__(self, scene: Scene, listener: Listener, completer: Completer, history_file: Path | None) -> None:
        self._scene = scene
        self._listener = listener
        self._is_leaving = False
        self._above: tuple[str, StyleAndTextTuples] = ("", [])
        self._hint_until = 0.0
        self._idle_at = 0.0
        """When Ctrl-C had nothing to do."""
        output = create_output()
        if isinstance(output, Vt100_Output):
            output.enable_cpr = False
        history: History = _TypedBefore(history_file) if history_file else InMemoryHistory()
        self._line: PromptSession[str] = PromptSession(
            message=self._message,
            output=output,
            history=history,
            completer=completer,
            complete_while_typing=Condition(lambda: self._line.default_buffer.text.startswith("/")),
            reserve_space_for_menu=MENU_ROWS,
            multiline=True,
            prompt_continuation=lambda columns, *_: " " * columns,
            key_bindings=self._bindings(),
            erase_when_done=True,
            enable_suspend=True,
            refresh_interval=REFRESH_S,
        )
        self._line.default_buffer.accept_handler = self._accept

    async def run(self) -> None:
        """Hear the person until he leaves."""
        # One prompt for all lines. Between two of them the keyboard would be the terminal's, which has uses of its own
        # for Ctrl-D and Enter.
        with suppress(EOFError):
            await self._line.prompt_async(pre_run=self._check_leaving)

    def leave(self) -> None:
        """Let `run` end."""
        self._is_leaving = True
        self._check_leaving()

    def _check_leaving(self) -> None:
        app = self._line.app
        if self._is_leaving and app.is_running and not app.is_done:
            app.exit(exception=EOFError())

    def print(self, text: str) -> None:
        """Print for good, above what is alive."""
        # Not `run_in_terminal`: that gives the keyboard back to the terminal for a moment, each time, and what is typed
        # just then is echoed, or turned into something else.
        app = self._line.app
        if app.is_running:
            app.renderer.erase()
        app.output.write_raw(text.replace("\n", "\r\n"))
        app.output.flush()
        self.refresh()

    def clear(self) -> None:
        """Clear what is seen, and what has scrolled away."""
        self.print("\x1b[3J\x1b[H\x1b[2J")

    def refresh(self) -> None:
        """Draw again what is alive."""
        self._line.app.invalidate()

    def give_back(self, text: str) -> None:
        """Put text back to be typed on, before what is there already."""
        typed = self._line.default_buffer.text
        self._line.default_buffer.text = f"{text}\n{typed}" if typed else text
        self._line.default_buffer.cursor_position = len(self._line.default_buffer.text)

    def _message(self) -> StyleAndTextTuples:
        rows = height() - self._line.default_buffer.document.line_count - 2
        hint = f"\x1b[2m{LEAVE_HINT}\x1b[0m\n" if time.monotonic() < self._hint_until else ""
        lines = f"{self._scene.live(width())}{hint}".splitlines(keepends=True)
        above = "".join(lines[-max(rows, 1) :])
        # Asked for several times a frame.
        if above != self._above[0]:
            self._above = (above, to_formatted_text(ANSI(above)))
        return [*self._above[1], ("bold ansicyan", self._scene.prompt())]

    def _accept(self, buffer: Buffer) -> bool:
        """Take a line off the screen; return whether it must stay."""
        return bool(buffer.text.strip()) and not self._listener.take(buffer.text)

    # --- keys

    def _bindings(self) -> KeyBindings:
        keys = KeyBindings()
        keys.add("enter")(self._enter)
        keys.add("escape", "enter")(_new_line)
        keys.add("c-c")(self._interrupt)
        keys.add(Keys.SIGINT)(self._interrupt)
        return keys

    def _enter(self, event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.document.current_line_before_cursor.endswith("\\"):
            buffer.delete_before_cursor()
            buffer.newline(copy_margin=False)
        else:
            buffer.validate_and_handle()

    def _interrupt(self, event: KeyPressEvent) -> None:
        now = time.monotonic()
        if self._listener.stop():  # whoever presses it twice in haste wants no more than that
            self._idle_at = 0.0
        elif event.current_buffer.text:
            event.current_buffer.reset()
        elif now - self._idle_at < TWICE_S:
            event.app.exit(exception=EOFError())
        else:
            self._idle_at, self._hint_until = now, now + 2 * TWICE_S


class _TypedBefore(FileHistory):
    """What was typed at other times. A file that cannot be written is no reason to stop."""

    def store_string(self, string: str) -> None:
        with suppress(OSError):
            super().store_string(whole(string))


def _new_line(event: KeyPressEvent) -> None:
    event.current_buffer.newline(copy_margin=False)
