"""A stage for fault tests: a real server in a child process, users who follow and talk, and what they find wrong.

Everything is a black box over HTTP and the file system. Waits are bounded: a follower's fold says when something has
happened, `poll` looks at what only the process or its files can say. Leaving the stage fails the test when any
follower saw an event lost, repeated, out of order, rewritten, or against the protocol's grammar.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from scripts.blackbox.arena import STREAM_FAULTS, emit, script
from scripts.blackbox.caller import Caller
from scripts.blackbox.fold import differences
from scripts.blackbox.follower import Follower, Ledger
from scripts.blackbox.process import Server
from scripts.blackbox.tally import Tally
from scripts.blackbox.wire import Answer, Broken, Stream

WAIT_S: Final = 15.0
"""Longest wait for one thing; only a broken server makes a test wait so long."""
TEST_S: Final = 60.0
ENDLESS: Final = emit(100_000, 200)
"""A run that nobody waits for: it is stopped, or killed with its server."""

BRISK: Final = {"STORAGE_TIMEOUT_SECONDS": "0.5", "HEARTBEAT_SECONDS": "0.1"}
"""Settings that make a fault show soon."""


@dataclass
class Stage:
    """One server with its users."""

    server: Server
    tasks: TaskGroup
    tally: Tally = field(default_factory=lambda: Tally("faults", faults=STREAM_FAULTS))
    ledger: Ledger = field(init=False)
    streams: list[Stream] = field(default_factory=list)
    """Closed when the stage is left."""

    def __post_init__(self) -> None:
        """Give all followers one ledger."""
        self.ledger = Ledger(self.tally)

    @property
    def database(self) -> Path:
        """The file of the storage."""
        return self.server.data / "sessionstream.db"

    def caller(self, user: str = "user") -> Caller:
        """Return a user."""
        return Caller(self.server.wire, user)

    async def watch(self, session_id: str, user: str = "user") -> Follower:
        """Follow a session from now on, coming back with the cursor whenever the stream ends."""
        follower = Follower(self.caller(user), session_id, self.ledger)
        self.tasks.start_soon(follower.follow)
        assert await follower.until_attached(), f"{follower.key} got no snapshot: {follower.ended_by}"
        return follower

    async def stream(self, session_id: str, cursor: str | None = None, user: str = "user") -> Stream:
        """Open a bare stream."""
        stream = await self.caller(user).stream(session_id, cursor)
        self.streams.append(stream)
        return stream

    async def run(self, session_id: str, *steps: dict[str, Any], user: str = "user", **fields: Any) -> str:
        """Start a run (or queue it) and return its id."""
        answer = await self.caller(user).chat(script(*steps), session_id=session_id, **fields)
        assert answer.status == 202, answer.body
        return str(answer.json()["run_id"])

    async def same(self, follower: Follower) -> dict[str, Any]:
        """Return the server's own fold of a session, once the follower stands there and holds the same."""
        state: dict[str, Any] = (await follower.caller.state(follower.session_id)).json()
        assert await follower.until_reached(state["cursor"]), f"stands at {follower.cursor}, not {state['cursor']}"
        if follower.cursor == state["cursor"]:
            assert differences(follower.fold, state) == []
        return state

    async def readiness(self) -> tuple[int, dict[str, Any]]:
        """Return the status of /health/ready and what it says of the storage."""
        answer = await self.server.wire.call("GET", "/health/ready")
        return answer.status, answer.json()["parts"]["storage"]

    def rows(self) -> dict[str, int]:
        """Return how many rows the tables of what sessions leave hold."""
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=5)) as database:
            tables = ("sessions", "messages", "runs", "log", "journal")
            return {table: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}

    def sound(self) -> None:
        """Check the file of a stopped server with SQLite's own means."""
        with closing(sqlite3.connect(self.database)) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert database.execute("SELECT count(*) FROM runs WHERE status = 'running'").fetchone() == (0,)


@asynccontextmanager
async def staged(folder: Path, **settings: str) -> AsyncIterator[Stage]:
    """Set the stage; the server is not started yet. What fails carries the server's last words."""
    server = Server(folder, settings=settings)
    streams: list[Stream] = []
    try:
        async with anyio.create_task_group() as tasks:
            stage = Stage(server, tasks, streams=streams)
            with anyio.fail_after(TEST_S):
                yield stage
            assert stage.tally.is_clean, stage.tally.report()
            tasks.cancel_scope.cancel()
    except BaseExceptionGroup as errors:
        error = errors.exceptions[0]
        error.add_note(f"the server's log ends with:\n{server.tail()}")
        raise error from None
    finally:
        server.kill_now()
        server.wire.forget()
        for stream in streams:
            stream.close()
        await anyio.lowlevel.checkpoint()  # sockets are closed by the next turn of the loop


async def until(is_so: Callable[[], Awaitable[bool]], *, timeout_s: float = WAIT_S) -> bool:
    """Ask the server again and again until it says so; say whether it ever did. Its absence is a no."""
    with anyio.move_on_after(timeout_s):
        while True:
            with suppress(Broken):
                if await is_so():
                    return True
            await anyio.sleep(0.02)  # another process's state sets no event of ours
    return False


def answer_text(follower: Follower) -> str:
    """Return the text of the newest answer that a client has."""
    answers = [message for message in follower.fold.messages.values() if message["role"] == "assistant"]
    return str(answers[-1].get("content", "")) if answers else ""


def is_counting(text: str) -> bool:
    """Say whether a text is `w0 w1 w2 …`, nothing left out and nothing twice."""
    return text == "".join(f"w{number} " for number in range(len(text.split())))


async def heard(follower: Follower, words: int) -> None:
    """Wait until a client has so many words of the answer."""
    got = await follower.until(lambda: len(answer_text(follower).split()) >= words, WAIT_S)
    assert got, f"the answer stands still: …{answer_text(follower)[-60:]!r}"


async def grown(follower: Follower) -> None:
    """Wait until a client has some more words of the answer than now."""
    await heard(follower, len(answer_text(follower).split()) + 20)


def assert_unavailable(answer: Answer, code: str = "storage_unavailable") -> None:
    """Check that a refusal is a problem document which says to come back."""
    assert (answer.status, answer.code) == (503, code), answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["retryable"] is True
    assert int(answer.headers["retry-after"]) >= 1
