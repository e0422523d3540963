"""The chat: joins the screen, the talk and the commands.

What is typed is carried out line by line, in order, so a command that takes long holds back what was typed behind it;
Ctrl-C gives it up. What arrives is shown frame by frame.
"""

from __future__ import annotations

import re
import signal
from collections import deque
from typing import Final

import anyio

from .api import Api, ApiError
from .clean import whole
from .commands import Commands
from .completing import CommandCompleter
from .lines import Lines
from .memory import Memory
from .options import Options
from .paint import Painter
from .pieces import Asked, Note, Piece, Typed
from .scene import Scene
from .screen import Screen
from .talk import Talk, as_json
from .terminal import color_system, width

FRAME_S: Final = 0.05
LEAVE_S: Final = 3.0
"""What was typed before the person left gets this long."""
_LINES: Final = 100
_YES: Final = frozenset({"y", "yes", "approve", "approved"})
_NO: Final = re.compile(r"(?:no?|declined?)(?:[\s,.:;]+(?P<why>.*))?", re.IGNORECASE | re.DOTALL)


class Chat:
    """One person at one server."""

    def __init__(self, options: Options, api: Api, memory: Memory) -> None:
        self._options, self._api, self._memory = options, api, memory
        self._talk = Talk(options, api, memory, self)
        self._commands = Commands(self._talk, api, memory, options, self)
        self._painter = Painter(None if options.is_plain else color_system())
        self._scene = Scene(self._talk, self._painter)
        self._screen = Lines(self._scene, self) if options.is_plain else self._full_screen()
        self._news = anyio.Event()
        self._typed, self._lines = anyio.create_memory_object_stream[str](_LINES)
        self._pushed_back: deque[str] = deque()
        self._has_obeyed = anyio.Event()
        self._command: anyio.CancelScope | None = None

    def _full_screen(self) -> Screen | Lines:
        completer = CommandCompleter(lambda: map(str, range(1, len(self._commands.listed) + 1)))
        return Screen(self._scene, self, completer, self._memory.history_file())

    async def run(self) -> None:
        """Chat until the person leaves."""
        self._greet()
        with self._typed, self._lines:
            async with anyio.create_task_group() as tasks:
                for work in (self._talk.run, self._show, self._obey, self._hear_signals):
                    tasks.start_soon(work)
                await self._screen.run()
                with anyio.move_on_after(LEAVE_S):
                    await self._finish()
                tasks.cancel_scope.cancel()
        self._screen.print(self._painter.print(self._last_words(), width()))

    def _greet(self) -> None:
        session_id = self._options.session_id or ("" if self._options.is_new else self._memory.session_id)
        self._talk.say(Note(f"{self._api.url} · /help lists the commands, Ctrl-D leaves"))
        if session_id:
            self._talk.open(session_id)
        else:
            self._talk.say(Note("Your first message begins a new session."))

    async def _hear_signals(self) -> None:
        """Leave politely, with the terminal as it was, when told to end."""
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGHUP) as signals:
            async for _ in signals:
                self._screen.leave()

    async def _finish(self) -> None:
        """Carry out, and send, what was typed before the person left."""
        self._typed.close()
        await self._has_obeyed.wait()
        await self._talk.finish()

    def _last_words(self) -> list[Piece]:
        said = [*self._talk.drain(), *self._talk.view.live()]
        if self._talk.is_running and not self._talk.is_stopping:
            said.append(Note("The answer goes on at the server; the next start shows it."))
        lost = [item.text for item in self._talk.outbox.items if not item.is_accepted]
        return [*said, *(Note(f"Not sent: {text}", "bad") for text in lost)]

    # --- what the parts say to each other

    def changed(self) -> None:
        """Hear that there may be something new to show."""
        self._news.set()

    def give_back(self, text: str) -> None:
        """Put text back to be typed on."""
        self._screen.give_back(text)

    def stop(self) -> bool:
        """Stop what is going on; say whether there was anything."""
        if self._command is not None:
            self._command.cancel()
            return True
        return self._talk.stop()

    def leave(self) -> None:
        """End the program."""
        self._screen.leave()

    def clear(self) -> None:
        """Clear the screen."""
        self._screen.clear()

    async def confirm(self, question: str) -> bool:
        """Ask; only a yes is a yes. What is neither yes nor no is carried out afterwards."""
        self._talk.say(Note(f"{question} y/N", "plain"))
        self._scene.is_confirming = True
        try:
            line = (await self._lines.receive()).strip()
        except anyio.EndOfStream:
            return False
        finally:
            self._scene.is_confirming = False
        if line and line.lower() not in _YES and not _NO.fullmatch(line):
            self._pushed_back.append(line)
        return line.lower() in _YES

    # --- lines in

    def take(self, line: str) -> bool:
        """Take what was typed; say whether there was room for it."""
        try:
            self._typed.send_nowait(whole(line))
        except anyio.WouldBlock:
            return False
        return True

    async def _obey(self) -> None:
        while True:
            try:
                line = self._pushed_back.popleft() if self._pushed_back else await self._lines.receive()
            except anyio.EndOfStream:
                self._has_obeyed.set()
                return
            with anyio.CancelScope() as scope:
                await self._take(line.strip("\n").rstrip(), scope)
            self._command, self._scene.doing = None, ""
            self.changed()
            if scope.cancelled_caught:
                self._talk.say(Note("Given up."))

    async def _take(self, message: str, scope: anyio.CancelScope) -> None:
        line = message.strip()
        if line.startswith("/") and not line.startswith("//"):
            self._command, self._scene.doing = scope, line
            self._talk.say(Typed(line))
            try:
                await self._commands.run(line)
            except ApiError as error:
                self._talk.say(Note(f"That did not work: {error}", "bad"))
            return
        if line.startswith("//"):
            line = message = line.removeprefix("/")
        asked = next(iter(self._talk.questions), None)
        if asked is None or not await self._reply(asked, line):
            self._talk.send(message)  # with its first blanks: lines of pasted code stand below each other

    async def _reply(self, asked: Asked, line: str) -> bool:
        """Answer a question; say whether the line was an answer. A message that is none declines, as everywhere."""
        if not asked.is_approval:
            await self._talk.answer(asked, f"answered: {line}", as_json(line))
            return True
        no = _NO.fullmatch(line)
        if line.lower() in _YES:
            await self._talk.answer(asked, "approved", {"approved": True})
            return True
        if no is None:
            return False
        why = (no["why"] or "").strip()
        await self._talk.decline(asked, why)
        return True

    # --- pieces out

    async def _show(self) -> None:
        while True:
            await self._news.wait()
            self._news = anyio.Event()
            if self._talk.has_news():
                self._screen.print(self._painter.print(self._talk.drain(), width()))
            self._screen.refresh()
            await anyio.sleep(FRAME_S)
