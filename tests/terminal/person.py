"""A person at a terminal: the real program in a pseudo-terminal, and what is seen of it.

Nothing is timed: a test waits for what it wants to see, and `WAIT_S` only bounds the wait. The screen is
what a terminal makes of what is written to it, with what has scrolled away above.
"""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from tests.terminal.emulator import Emulator

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 30
ENTER, CTRL_C, CTRL_D, UP, TAB, ALT_ENTER = "\r", "\x03", "\x04", "\x1b[A", "\t", "\x1b\r"


class Person:
    """Whoever sits there. `state` is the folder in which the program remembers."""

    def __init__(self, state: Path, *arguments: str, columns: int = 80, rows: int = 24, env: dict[str, str]) -> None:
        self.screen = Emulator(columns, rows)
        self.raw = b""
        self._master, slave = pty.openpty()
        self._is_open = True
        self._resize(columns, rows)
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "scripts.terminal", "--folder", str(state), *arguments],
            cwd=ROOT,
            env={**kept, "TERM": "xterm-256color", "PYTHONUTF8": "1", "XDG_STATE_HOME": str(state), **env},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            preexec_fn=lambda: os.login_tty(slave),
        )
        os.close(slave)
        os.set_blocking(self._master, False)

    # --- what is seen

    @property
    def lines(self) -> list[str]:
        """All lines, from what has scrolled away down to the last that holds something."""
        lines = [*self.screen.above, *self.screen.display]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    @property
    def text(self) -> str:
        """The same as one text."""
        return "\n".join(self.lines)

    async def sees(self, *texts: str) -> None:
        """Wait until all these are there at once."""
        await self.sees_that(lambda: all(text in self.text for text in texts), f"{texts}")

    async def sees_no(self, text: str, *others: str) -> None:
        """Wait until this is not there (any more), and the others are: what is drawn anew is gone for a moment."""
        await self.sees_that(
            lambda: text not in self.text and all(other in self.text for other in others), f"no {text!r} but {others}"
        )

    async def sees_that(self, is_so: Callable[[], bool], what: str = "it") -> None:
        """Wait until this is so."""
        with anyio.move_on_after(WAIT_S):
            while not is_so():
                if not await self._look():
                    break
        assert is_so(), f"never saw {what}:\n{self.text}"

    async def _look(self) -> bool:
        """Take the next output; say whether there is a program that may say more."""
        await anyio.wait_readable(self._master)
        try:
            output = os.read(self._master, 65_536)
        except OSError:  # how Linux says that nobody holds the other end any more
            return False
        self.raw += output
        self.screen.feed(output)
        return bool(output)

    # --- what is done

    def types(self, text: str) -> None:
        """Type."""
        os.write(self._master, text.encode())

    def resizes(self, columns: int, rows: int) -> None:
        """Give the window another size."""
        self.screen.resize(columns, rows)
        self._resize(columns, rows)

    def _resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def is_signalled(self, number: signal.Signals) -> None:
        """Have the program sent a signal, as `kill` does."""
        self._process.send_signal(number)

    async def sees_the_end(self) -> int:
        """Wait until the program is gone; return its exit status."""
        with anyio.fail_after(WAIT_S):
            while await self._look():
                pass
            return await anyio.to_thread.run_sync(self._process.wait)

    async def hangs_up(self) -> None:
        """Close the window, and wait until the program is gone; there is nobody left to tell how it ended."""
        os.close(self._master)
        self._is_open = False
        with anyio.fail_after(WAIT_S):
            await anyio.to_thread.run_sync(self._process.wait)

    def goes_away(self) -> None:
        """Close the window, and leave no program behind."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        if self._is_open:
            os.close(self._master)


@asynccontextmanager
async def person(state: Path, *arguments: str, columns: int = 80, rows: int = 24, **env: str) -> AsyncIterator[Person]:
    """Sit down at a terminal while the block runs."""
    someone = Person(state, *arguments, columns=columns, rows=rows, env=env)
    try:
        yield someone
    finally:
        someone.goes_away()
