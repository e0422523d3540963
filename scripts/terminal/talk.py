"""The talk: the session that is open, followed and spoken in. It knows neither the terminal nor the commands.

A session is made by its first message. When it ends (deleted, expired) the talk goes on without one: what was typed for
it is given back, and the next message makes a new one.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, Protocol, TypeVar

import anyio
import orjson
from anyio.abc import TaskGroup

from .api import Api, ApiError, Refused, new_id, not_ours
from .clean import one_line
from .follower import Follower, delay_s
from .memory import Memory
from .options import Options
from .outbox import Outbox, Outgoing
from .pieces import Asked, Note, Piece
from .view import View

Answer = TypeVar("Answer")


class Desk(Protocol):
    """Where the person sits."""

    def changed(self) -> None:
        """There may be something new to show."""

    def give_back(self, text: str) -> None:
        """Put text back to be typed on."""


class Talk:
    """One session at a time."""

    def __init__(self, options: Options, api: Api, memory: Memory, desk: Desk) -> None:
        self.view = View(shows_thinking=options.shows_thinking)
        self.session_id = ""
        self.lost_at: float | None = None
        """Since when there is no connection."""
        self.lost_why = ""
        self.run_since = 0.0
        self.is_stopping = False
        self.outbox = Outbox(api, self, desk.changed)
        self._options, self._api, self._memory, self._desk = options, api, memory, desk
        self._shows_thinking = options.shows_thinking
        self._creation: dict[str, str] = options.creation
        self._is_made = self._is_new = False
        self._is_idle = False
        """Whether following was given up."""
        self._notes: list[Piece] = []
        self._answered: set[str] = set()
        self._follower: Follower | None = None
        self._scope = anyio.CancelScope()
        self._moved = anyio.Event()
        self._tasks: TaskGroup | None = None
        self._stops = 0
        self._settled = anyio.Event()

    # --- what there is

    @property
    def made_id(self) -> str:
        """The session, if the server has it."""
        return self.session_id if self._is_made else ""

    @property
    def is_running(self) -> bool:
        """Whether an answer is on its way."""
        return self.view.run_id != ""

    @property
    def questions(self) -> list[Asked]:
        """What waits for the person."""
        return [asked for asked in self.view.questions if asked.id not in self._answered]

    def say(self, *pieces: Piece) -> None:
        """Show something of the program's own."""
        self._notes += [*self.view.drain(), *pieces]
        self._desk.changed()

    def has_news(self) -> bool:
        """Whether `drain` will return something."""
        self._notes += self.view.drain()
        return bool(self._notes)

    def drain(self) -> list[Piece]:
        """Return what is to be printed for good, once."""
        notes, self._notes = self._notes, []
        return [*notes, *self.view.drain()]

    @property
    def zone_metadata(self) -> dict[str, str]:
        """What an agent is told of the person's time zone."""
        return {"timezone": self._memory.timezone} if self._memory.timezone else {}

    # --- which session

    def open(self, session_id: str, *, is_made: bool = True, is_new: bool = False) -> None:
        """Leave the session for this one; `is_made` says that it should be there, `is_new` that it was just made."""
        self.view = View(shows_thinking=self._shows_thinking)
        self.session_id, self._is_made = session_id, is_made
        self._is_new = is_new
        self._answered.clear()
        self.lost_at, self.is_stopping = None, False
        self.outbox.settle(self._is_shown)
        self._go_on()

    def begin(self) -> None:
        """Leave the session; the next message makes a new one."""
        self.open("", is_made=False)

    def _go_on(self) -> None:
        self._is_idle = False
        self._moved.set()
        self._scope.cancel()
        self._desk.changed()

    async def run(self) -> None:
        """Send and follow, until cancelled."""
        async with anyio.create_task_group() as self._tasks:
            self._tasks.start_soon(self.outbox.run)
            while True:
                self._moved = anyio.Event()
                with anyio.CancelScope() as self._scope:
                    if self.session_id and self._is_made:
                        await self._follow(self.session_id)
                    else:
                        await self._look_for_server()
                    await self._moved.wait()

    async def _look_for_server(self) -> None:
        """Say at once what would be wrong with a message."""
        try:
            await self._reach(lambda: self._api.sessions(limit=1))
        except Refused as refused:
            self.say(Note(f"This server takes no messages: {refused.detail}", "bad"))

    async def _follow(self, session_id: str) -> None:
        self._follower = Follower(self._api, session_id, self._connected)
        try:
            await self._look_for(session_id)
            async with aclosing(self._follower.events()) as events:
                async for event in events:
                    self._heard(event)
                    if self.view.ended:
                        self._end(f"session_{self.view.ended}")
                        return
        except Refused as refused:
            if refused.is_gone:
                self._end(refused.code)
            else:
                self._is_idle = True
                self.say(Note(f"This session cannot be followed: {refused.detail}", "bad"))

    async def _look_for(self, session_id: str) -> None:
        """Look before the stream is opened: that would make a session which is not there."""
        session = await self._reach(lambda: self._api.session(session_id))
        self._remember(session_id)
        if not self._is_new:
            self._is_new = True
            self.say(Note(f"Session “{one_line(session['title'] or session_id, 60)}”"))

    async def _reach(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        """Call until the server answers."""
        attempt = 0
        while True:
            try:
                answer = await call()
            except Refused as refused:
                if not refused.is_retryable:
                    raise
                self._connected(refused.detail)
            except ApiError as error:
                self._connected(str(error))
            else:
                self._connected("")
                return answer
            await anyio.sleep(delay_s(attempt))
            attempt += 1

    def _remember(self, session_id: str) -> None:
        token = self._api.visitor_token
        self._memory.remember(session_id=session_id, **({"visitor_token": token} if token else {}))

    def _connected(self, trouble: str) -> None:
        """Hear what is wrong with the connection, or nothing."""
        self.lost_why = trouble
        if not trouble:
            self.lost_at = None
        elif self.lost_at is None:
            self.lost_at = time.monotonic()
        self._desk.changed()

    def _heard(self, event: dict[str, Any]) -> None:
        before = self.view.run_id
        try:
            self.view.apply(event)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            self.view = View(shows_thinking=self._shows_thinking)
            raise not_ours(self._api.url) from error
        if self.is_running and self.view.run_id != before:
            self.run_since, self.is_stopping = time.monotonic(), False
        self.outbox.settle(self._is_shown)
        self._desk.changed()

    def _is_shown(self, item: Outgoing) -> bool:
        """Whether the transcript, or the queue, shows a message by now; one of another session is shown there."""
        return item.session_id != self.session_id or self.view.holds(item.message_id)

    def _end(self, code: str) -> None:
        why = {
            "session_deleted": "This session was deleted.",
            "session_expired": "This session has expired: nobody spoke in it for too long.",
            "session_not_found": "The session that was open last is not there any more.",
        }
        if code == "session_not_found" and self.session_id == self._options.session_id:
            self._is_made = False  # it was asked for by name: the first message makes it
            return
        self._notes += self.view.drain()
        self._memory.remember(session_id="")
        self.begin()
        self.say(
            Note(f"{why.get(code, 'This session ended.')} Your next message begins a new one; /sessions lists yours.")
        )

    # --- messages

    def send(self, text: str) -> None:
        """Send a message."""
        fields = {} if self._is_made else self._creation
        self.session_id = self.session_id or new_id()
        self.outbox.add(Outgoing(self.session_id, text, dict(fields)))

    def on_accepted(self, item: Outgoing) -> None:
        """The server has it; if it made the session, that can be followed now."""
        self._settled.set()
        self.outbox.settle(self._is_shown)
        if item.session_id == self.session_id and not self._is_made:
            self._remember(self.session_id)  # even if the person leaves right now
            self.open(self.session_id, is_new=True)
            if self._memory.timezone and self._tasks is not None:
                self._tasks.start_soon(self.tell_timezone)
        elif self._is_idle:
            self._go_on()
        elif self._follower is not None:
            self._follower.nudge()

    def on_refused(self, item: Outgoing, error: Refused) -> None:
        """The server does not want it: whoever typed it has it back."""
        self._settled.set()
        if error.is_gone and item.session_id == self.session_id and self._is_made:
            self._end(error.code)
        elif not error.is_gone:
            self.say(Note(f"Not sent: {error.detail}", "bad"))
        self._desk.give_back(item.text)

    async def tell_timezone(self) -> None:
        """Let the agent know the person's time zone; what else the session's metadata say stays."""
        session_id = self.session_id
        try:
            kept = (await self._api.session(session_id)).get("metadata") or {}
            others = {name: value for name, value in kept.items() if name != "timezone"}
            await self._api.change(session_id, metadata={**others, **self.zone_metadata})
        except ApiError as error:
            self.say(Note(f"The agent does not know your time zone: {error}", "bad"))

    # --- stopping, answering

    def stop(self) -> bool:
        """Stop the answer, decline what is asked, take back what is not sent; say whether there was anything.

        What is being stopped already does not count.
        """
        unsent = self.outbox.withdraw()
        if unsent:
            self._desk.give_back("\n".join(item.text for item in unsent))
        for item in unsent:
            self._start_stop(item.session_id, item.message_id)  # it may have arrived, and only its answer not
        if (self.is_running and not self.is_stopping) or self.questions:
            self.is_stopping = self.is_running
            self._start_stop(self.session_id)
        elif not unsent:
            return False
        self._desk.changed()
        return True

    def _start_stop(self, session_id: str, message_id: str = "") -> None:
        if self._tasks is not None:
            self._stops += 1
            self._tasks.start_soon(self._stop, session_id, message_id)

    async def _stop(self, session_id: str, message_id: str) -> None:
        """Repeat it until the server has heard it: Stop means stop, also when the server is just restarting."""
        attempt = 0
        try:
            while True:
                try:
                    await self._api.interrupt(session_id, message_id)
                except ApiError as error:
                    if isinstance(error, Refused) and not error.is_retryable:
                        if not message_id and session_id == self.session_id:
                            self._stop_failed(error)
                        return
                    await anyio.sleep(delay_s(attempt))
                    attempt += 1
                else:
                    return
        finally:
            self._stops -= 1
            self._settled.set()
            self._desk.changed()

    def _stop_failed(self, refused: Refused) -> None:
        self.is_stopping = False
        if not refused.is_gone:  # the stream tells that, in better words
            self.say(Note(f"Not stopped: {refused.detail}", "bad"))

    async def finish(self) -> None:
        """Wait until every Stop and every message that is on its way has arrived."""
        while self._stops or any(not item.is_accepted for item in self.outbox.items):
            self._settled = anyio.Event()
            await self._settled.wait()

    async def answer(self, asked: Asked, words: str, content: Any, error: str = "") -> None:
        """Answer a question; `words` tell the person what he said."""
        self.say(Note(words))
        try:
            await self._api.answer(self.session_id, asked.id, content, error)
        except ApiError as problem:
            self.say(Note(f"That did not arrive: {problem}", "bad"))
        else:
            self._answered.add(asked.id)

    async def decline(self, asked: Asked, why: str) -> None:
        """Say no to a question."""
        words = f"declined: {why}" if why else "declined"
        if asked.is_approval:
            await self.answer(asked, words, {"approved": False, **({"reason": why} if why else {})})
        else:
            await self.answer(asked, words, "", why or "declined")


def as_json(text: str) -> Any:
    """Return what a tool returned as it was typed: an object or a list if it is one, else the text."""
    if text.startswith(("{", "[")):
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            return text
    return text
