"""Clients of a deployment that moves: real servers before and after; a cursor goes on exactly where it was."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel

from scripts.blackbox.arena import emit, script
from scripts.blackbox.caller import Caller
from scripts.blackbox.process import Server
from scripts.blackbox.wire import Frame
from tests.storage.places import WAIT_S, Place, move

TOKENS = 20


@asynccontextmanager
async def running(server: Server) -> AsyncIterator[Caller]:
    try:
        with anyio.fail_after(WAIT_S):
            await server.start()
            yield Caller(server.wire, "ann")
            await server.terminate()
    finally:
        server.kill_now()
        server.wire.forget()
        await anyio.lowlevel.checkpoint()  # aborted transports close in the next turn of the loop


async def run_of_tokens(caller: Caller, cursor: str | None) -> list[Frame]:
    """Have the agent talk; return the frames of a stream that went on from a cursor, to the run's end."""
    stream = await caller.stream("talk", cursor)
    try:
        accepted = await caller.chat(script(emit(TOKENS, 200)), session_id="talk")
        assert accepted.status == 202
        run_id = accepted.json()["run_id"]
        frames: list[Frame] = []
        while not any(one.event["type"] == "RUN_FINISHED" and one.event["runId"] == run_id for one in frames):
            piece = await stream.read()
            assert piece is not None, "the stream ended"
            frames += piece
        return frames
    finally:
        stream.close()


async def after(caller: Caller, cursor: str, until: str) -> list[Frame]:
    """Return what a client gets that comes back with a cursor."""
    stream = await caller.stream("talk", cursor)
    try:
        frames: list[Frame] = []
        while not frames or frames[-1].cursor != until:
            piece = await stream.read()
            assert piece is not None, "the stream ended"
            frames += piece
        return frames
    finally:
        stream.close()


async def test_clients_go_on_where_they_were(tmp_path: Path, files: Callable[[str], Place], shared: Place) -> None:
    """Invariant 2: a stream resumed after a move, and after the move back, misses nothing and repeats nothing."""
    for name in ("here", "there", "back"):
        (tmp_path / name).mkdir()
    here, back = Server(tmp_path / "here"), Server(tmp_path / "back")
    there = Server(tmp_path / "there", settings={"REDIS_URL": shared.url, "REDIS_PREFIX": shared.prefix})
    async with running(here) as caller:
        said = [one for one in await run_of_tokens(caller, None) if one.cursor is not None]
        history = await caller.messages("talk")
    place = len(said) // 2
    cursor, last = str(said[place].cursor), str(said[-1].cursor)

    assert await move(files("here/data"), shared)
    async with running(there) as caller:
        assert await after(caller, cursor, last) == said[place + 1 :]
        assert await caller.messages("talk") == history
        more = await run_of_tokens(caller, last)
        history = await caller.messages("talk")

    assert await move(shared, files("back/data"))
    async with running(back) as caller:
        assert await after(caller, cursor, str(more[-1].cursor)) == said[place + 1 :] + more
        assert await caller.messages("talk") == history
