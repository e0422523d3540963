"""Lines: a screen for terminals that cannot move their cursor, and for people who have theirs read to them.

Nothing is ever redrawn: what is complete is printed once, and the keyboard is the terminal's own, a line at a time.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Final

import anyio

from .scene import Scene
from .screen import LEAVE_HINT, TWICE_S, Listener

_LINE_BYTES: Final = 65_536


class Lines:
    """The terminal of one person, who is heard through `listener`."""

    def __init__(self, scene: Scene, listener: Listener) -> None:
        self._scene = scene
        self._listener = listener
        self._scope = anyio.CancelScope()
        self._begun = ""
        """A line that goes on behind its end."""
        self._has_prompt = False
        self._trouble = ""
        self._idle_at = 0.0

    async def run(self) -> None:
        """Hear the person until he leaves."""
        with self._scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._hear_interrupts)
                await self._hear_lines()
                tasks.cancel_scope.cancel()

    def leave(self) -> None:
        """Let `run` end."""
        self._scope.cancel()

    def print(self, text: str) -> None:
        """Print."""
        if text:
            begin = "\n" if self._has_prompt else ""
            self._has_prompt = False
            self._write(begin + text)

    def clear(self) -> None:
        """Do nothing: what was printed stays."""

    def refresh(self) -> None:
        """Say what is wrong with the connection, once; ask for a line when it is the person's turn."""
        trouble = self._scene.trouble()
        if trouble and not self._trouble:
            self.print(f"{trouble}\n")
        self._trouble = trouble
        if not self._has_prompt and not self._scene.is_busy:
            self._has_prompt = True
            self._write(self._scene.prompt())

    def give_back(self, text: str) -> None:
        """Show text that was not taken."""
        self.print(f"{text}\n")

    async def _hear_lines(self) -> None:
        while True:
            await anyio.wait_readable(sys.stdin)
            typed = os.read(sys.stdin.fileno(), _LINE_BYTES)
            if not typed:
                return
            self._has_prompt = False
            for line in typed.decode("utf-8", "replace").removesuffix("\n").split("\n"):
                self._hear(line)

    def _hear(self, line: str) -> None:
        line, self._begun = self._begun + line, ""
        if line.endswith("\\"):
            self._begun = f"{line[:-1]}\n"
        elif not line.strip():
            self.refresh()
        elif not self._listener.take(line):
            self.print("Not taken: too many lines wait already.\n")

    async def _hear_interrupts(self) -> None:
        with anyio.open_signal_receiver(signal.SIGINT) as signals:
            async for _ in signals:
                now = time.monotonic()
                self._begun, self._has_prompt = "", True  # the terminal has dropped what was typed
                if self._listener.stop():
                    self._idle_at = 0.0
                elif now - self._idle_at < TWICE_S:
                    self.leave()
                else:
                    self._idle_at = now
                    self.print(f"{LEAVE_HINT}\n")
                    self.refresh()

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()
