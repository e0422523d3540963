"""Counts that no machine changes: what a POST, a token and a stream take of the server, run in this process.

    async with counting(folder) as counter:
        post = await counter.post()          # SQL statements and commits until the 202
        token = await counter.tokens(...)    # per token that wakes its reader: sends, calls, statements, blocks kept
        run = await counter.end()            # what the end of a run takes

The app is the real one, spoken to over ASGI with the extensions of our own connections; uvicorn writes to its socket
once for each send. SQL is seen by SQLite's own trace, on every connection that is opened meanwhile; calls are those of
Python functions on the loop's thread, a measure of work that a busy machine cannot blur. Time is not looked at.
"""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import sys
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import anyio
import orjson
from anyio.abc import TaskGroup
from starlette.applications import Starlette
from starlette.types import Message

from server.api.events import LOST, PUSH
from server.api.middleware import BODY
from server.app import create_app
from server.core.ports import Turn
from server.settings import Settings

WAIT_S: Final = 10
WORD: Final = "word "
_IS_COUNTED: Final = ContextVar("is_counted", default=False)
"""Whether a task was started from here: another app may run on the same loop."""
_UNCOUNTED: Final = (__file__, str(Path(asyncio.__file__).parent))
"""asyncio's own loop stands here for uvloop, which has no Python functions."""
_AGENTS: Final = """\
[agents.speaker]
kind = "python"
entrypoint = "scripts.benchmark.counts:SPEAKER"
"""


class Speaker:
    """An agent whose words are given to it, in every session at once; None ends its answers."""

    def __init__(self) -> None:
        self._said: list[asyncio.Queue[str | None]] = []

    async def __call__(self, turn: Turn) -> AsyncIterator[str]:
        """Say what is given until the end is given."""
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        self._said.append(queue)
        try:
            while (word := await queue.get()) is not None:
                yield word
        finally:
            self._said.remove(queue)

    @property
    def count(self) -> int:
        """How many answers are under way."""
        return len(self._said)

    def say(self, word: str | None) -> None:
        """Give all of them a word."""
        for queue in self._said:
            queue.put_nowait(word)


SPEAKER: Final = Speaker()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What something took, in all or for each of many."""

    statements: float = 0
    commits: float = 0
    sends: float = 0
    events: float = 0
    calls: float = 0
    """Of Python functions; to resume a coroutine is a call of each that it waits in."""
    blocks: float = 0
    """Blocks of memory that were kept."""
    tasks: float = 0
    kept_bytes: float = 0

    def each(self, count: int) -> Cost:
        """Return the share of one."""
        return replace(self, **{name: getattr(self, name) / count for name in self.__slots__})


class Call:
    """One request: its answer, and how often the app sent a piece of it."""

    def __init__(self, app: Starlette, method: str, target: str, body: Any = None) -> None:
        self._app = app
        path, _, query = target.partition("?")
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "root_path": "",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
            "client": ("127.0.0.1", 50_000),
            "server": ("127.0.0.1", 80),
            "state": {},
            "extensions": {PUSH: self._push, LOST: self._on_lost, BODY: lambda: True},
        }
        self._request: list[Message] = [{"type": "http.request", "body": b"" if body is None else orjson.dumps(body)}]
        self._left: Callable[[], None] | None = None
        self.status = 0
        self.sends = 0
        self.events = 0
        self.words = 0
        self.text = b""

    async def run(self) -> None:
        """Serve it to its end."""
        await self._app(self._scope, self._receive, self._send)

    def leave(self) -> None:
        """Close the connection."""
        if self._left is not None:
            self._left()

    def _on_lost(self, notice: Callable[[], None] | None) -> None:
        self._left = notice

    async def _receive(self) -> Message:
        return self._request.pop()

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            return
        self._push(message["body"])

    def _push(self, piece: bytes) -> bool:
        self.sends += 1
        self.events += piece.count(b"data: ")
        self.words += piece.count(WORD.encode())
        self.text = piece
        return True


class Counter:
    """The app, its sessions' streams, and what is counted of them."""

    def __init__(self, app: Starlette, tasks: TaskGroup, statements: list[str]) -> None:
        self._app = app
        self._tasks = tasks
        self._statements = statements
        self.streams: list[Call] = []

    async def post(self, session_id: str, message: str = "hello") -> Cost:
        """Ask in a session, which is made if need be; the agent waits."""
        call = Call(self._app, "POST", "/api/chat", {"session_id": session_id, "message": message})
        started = SPEAKER.count
        with self._sql() as cost, self._calls() as calls:
            await call.run()
        assert call.status == 202, call.text
        await eventually(lambda: SPEAKER.count > started)
        return replace(cost(), calls=calls())

    async def create(self, session_id: str) -> Cost:
        """Make a session under an id of the client's."""
        call = Call(self._app, "POST", "/api/sessions", {"session_id": session_id})
        with self._sql() as cost, self._calls() as calls:
            await call.run()
        assert call.status == 201, call.text
        return replace(cost(), calls=calls())

    async def open(self, session_ids: Sequence[str]) -> Cost:
        """Open a stream for each; return what one takes and keeps, the task of its request with it."""
        gc.collect()
        tracemalloc.start()
        kept_bytes, blocks = tracemalloc.get_traced_memory()[0], sys.getallocatedblocks()
        tasks = len(asyncio.all_tasks())
        opened = [Call(self._app, "GET", f"/api/chat/stream?session_id={one}") for one in session_ids]
        for call in opened:
            self._tasks.start_soon(call.run)
        await eventually(lambda: all(call.sends for call in opened))
        for call in opened:
            call.text = b""
        gc.collect()
        kept_bytes, blocks = tracemalloc.get_traced_memory()[0] - kept_bytes, sys.getallocatedblocks() - blocks
        tracemalloc.stop()
        self.streams += opened
        return Cost(tasks=len(asyncio.all_tasks()) - tasks, kept_bytes=kept_bytes, blocks=blocks).each(len(opened))

    async def tokens(self, rounds: int, *, waiting: int = 1) -> Cost:
        """Let all agents say a word, or several, and all readers get it, again and again; return what one takes."""
        gc.collect()
        blocks = sys.getallocatedblocks()
        with self._sql() as cost, self._calls() as calls:
            for _ in range(rounds):
                await self._round(waiting)
        spent = cost()
        count = rounds * waiting * len(self.streams)
        gc.collect()
        return replace(spent, calls=calls(), blocks=sys.getallocatedblocks() - blocks).each(count)

    async def end(self) -> Cost:
        """Let all answers end; return what the end of one takes."""
        count = SPEAKER.count
        with self._sql() as cost, self._calls() as calls:
            SPEAKER.say(None)
            await eventually(lambda: not SPEAKER.count and all(b"RUN_FINISHED" in call.text for call in self.streams))
        return replace(cost(), calls=calls()).each(count)

    def leave(self) -> None:
        """Close all streams."""
        for call in self.streams:
            call.leave()

    async def _round(self, waiting: int) -> None:
        wanted = [call.words + waiting for call in self.streams]
        for _ in range(waiting):
            SPEAKER.say(WORD)
        await eventually(lambda: all(call.words >= count for call, count in zip(self.streams, wanted, strict=True)))

    @contextmanager
    def _sql(self) -> Iterator[Callable[[], Cost]]:
        """Count statements, commits, sends and events until the block ends."""
        before = len(self._statements), *self._sent()
        found: list[Cost] = []
        yield lambda: found[0]
        seen = self._statements[before[0] :]
        sends, events = self._sent()
        found.append(
            Cost(statements=len(seen), commits=seen.count("COMMIT"), sends=sends - before[1], events=events - before[2])
        )

    def _sent(self) -> tuple[int, int]:
        return sum(call.sends for call in self.streams), sum(call.events for call in self.streams)

    @contextmanager
    def _calls(self) -> Iterator[Callable[[], int]]:
        """Count calls of Python functions of this thread, those of this file and of the loop excepted."""
        count = 0

        def note(frame: Any, event: str, _: Any) -> None:
            nonlocal count
            if event == "call" and not frame.f_code.co_filename.startswith(_UNCOUNTED):
                count += _IS_COUNTED.get()

        before = sys.getprofile()
        sys.setprofile(note)
        try:
            yield lambda: count
        finally:
            sys.setprofile(before)


@asynccontextmanager
async def counting(folder: Path, **settings: Any) -> AsyncIterator[Counter]:
    """Run the app in a folder; every stream that was opened is closed at the end."""
    agents = folder / "agents.toml"
    agents.write_text(_AGENTS, encoding="utf-8")
    unlimited = dict.fromkeys(("max_sessions_per_user", "max_streams_per_user", "max_runs_per_user"), 0)
    made = Settings(data=str(folder), agents=str(agents), no_docs=True, **{**unlimited, **settings})
    with traced() as statements:
        app = create_app(made)
        token = _IS_COUNTED.set(True)
        async with app.router.lifespan_context(app), anyio.create_task_group() as tasks:
            counter = Counter(app, tasks, statements)
            await _ready(app)
            try:
                yield counter
            finally:
                SPEAKER.say(None)
                counter.leave()
                _IS_COUNTED.reset(token)


@contextmanager
def traced() -> Iterator[list[str]]:
    """Collect the SQL of every SQLite connection that is opened inside; what triggers do is left out."""
    statements: list[str] = []
    connect = sqlite3.connect

    def note(statement: str) -> None:
        if not statement.startswith("--"):
            statements.append(statement)

    def connect_traced(*args: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **options)
        connection.set_trace_callback(note)
        return connection

    sqlite3.connect = connect_traced  # type: ignore[assignment]  # it is given back below
    try:
        yield statements
    finally:
        sqlite3.connect = connect


async def eventually(is_so: Callable[[], object]) -> None:
    """Let everything else run until something is so."""
    with anyio.fail_after(WAIT_S):
        while not is_so():  # noqa: ASYNC110  # what it waits for sets no event, and all of it is in this process
            await asyncio.sleep(0)


async def _ready(app: Starlette) -> None:
    with anyio.fail_after(WAIT_S):
        while True:
            call = Call(app, "GET", "/health/ready")
            await call.run()
            if call.status == 200:
                return
            await asyncio.sleep(0)
