"""A client that never reads, and one that hardly does, beside fifty that do: nobody else notices, memory stays flat.

The same load runs three times in a fresh session each: to warm up, without them, and with them. The readers must get
the same bytes in about the same time, and the server's memory must not grow by what the deaf client is behind.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final, NamedTuple

import anyio
import anyio.to_thread

from .arena import STREAM_FAULTS, Arena, emit, script
from .caller import Caller
from .fold import differences
from .follower import Follower, Ledger
from .process import Server
from .tally import Tally
from .waiting import poll
from .wire import Broken, Frame, deaf_socket

READERS: Final = 50
SEND_TIMEOUT_S: Final = 5
TOKEN_CHARS: Final = 1000
TOKENS: Final = 400
GROWTH_KB: Final = 6 * 1024  # far less than what the deaf client is behind, more than an allocator's noise
SLOWER: Final = 2.0
FAULTS: Final = ("memory_grew", "others_slowed", "reader_differs", "deaf_client_kept", "bad_answer")


class Listener(Follower):
    """A client that keeps only a digest of each run: fifty whole copies would be a test of this process."""

    def __init__(self, caller: Caller, session_id: str, ledger: Ledger) -> None:
        super().__init__(caller, session_id, ledger)
        self.digests: list[int] = []

    def _take(self, frame: Frame) -> None:
        super()._take(frame)
        if frame.event["type"] == "RUN_FINISHED":
            self.digests.append(self.fold.digest())
            self.fold.forget_messages()


class Measured(NamedTuple):
    """What one load cost."""

    seconds: float
    peak_kb: int


class Room:
    """One session, a reader that keeps everything and fifty that keep digests."""

    def __init__(self, server: Server, session_id: str, tally: Tally) -> None:
        caller = Caller(server.wire, "user")
        ledger = Ledger(tally)
        self.server = server
        self.tally = tally
        self.whole = Follower(caller, session_id, ledger)
        self.listeners = [Listener(caller, session_id, ledger) for _ in range(READERS)]

    async def load(self, runs: int, *, beside_deaf: bool) -> Measured:
        """Stream the load to everybody; return what it cost until the last reader had it."""
        async with anyio.create_task_group() as tasks:
            for follower in (self.whole, *self.listeners):
                tasks.start_soon(follower.follow)
                await follower.until_attached()
            if beside_deaf:
                measured = await self._beside_deaf(runs)
            else:
                measured = await self._measured(runs)
            await self._judge()
            tasks.cancel_scope.cancel()
        return measured

    async def _measured(self, runs: int) -> Measured:
        peak = [self.server.sample().rss_kb]

        async def watch() -> None:
            while True:
                peak[0] = max(peak[0], self.server.sample().rss_kb)
                await anyio.sleep(0.05)

        started_at = time.monotonic()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            await self._stream(runs)
            tasks.cancel_scope.cancel()
        return Measured(time.monotonic() - started_at, peak[0])

    async def _stream(self, runs: int) -> None:
        step = emit(TOKENS, 0)
        step["emit"]["text"] = "x" * TOKEN_CHARS
        for number in range(runs):
            answer = await self.whole.caller.chat(script(step), session_id=self.whole.session_id)
            if self.tally.expect(answer.status == 202, "bad_answer", f"chat: {answer.status} {answer.body[:200]!r}"):
                run_id = answer.json()["run_id"]
                await self.whole.until_ended(run_id)
            self.tally.progress(f"{self.whole.session_id}: run {number + 1} of {runs}")
        end = self.whole.cursor or ""
        for listener in self.listeners:
            await listener.until_reached(end)

    async def _beside_deaf(self, runs: int) -> Measured:
        wire, caller = self.server.wire, self.whole.caller
        target = f"/api/chat/stream?session_id={self.whole.session_id}"
        snail = Follower(caller, self.whole.session_id, self.whole.ledger)
        with await anyio.to_thread.run_sync(deaf_socket, wire.host, wire.port, target, caller.headers) as deaf:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_creep, snail)
                measured = await self._measured(runs)
                tasks.cancel_scope.cancel()
            await self._expect_cut(deaf.getsockname()[1])
        await snail.catch_up(self.whole.cursor or "")
        is_same = snail.fold.digest() == self.whole.fold.digest()
        self.tally.expect(is_same, "reader_differs", "the slow reader did not catch up")
        return measured

    async def _expect_cut(self, client_port: int) -> None:
        """The deaf client's socket takes nothing, so the server must give it up."""
        port = self.server.wire.port
        is_cut = await poll(lambda: _is_cut(port, client_port), timeout_s=SEND_TIMEOUT_S + 10, step_s=0.1)
        self.tally.note("deaf_client_cut", is_cut)
        self.tally.expect(is_cut, "deaf_client_kept", "the server still holds the socket of the deaf client")

    async def _judge(self) -> None:
        whole, tally = self.whole, self.tally
        answered = (await whole.caller.state(whole.session_id)).json()
        await whole.until_reached(answered["cursor"])
        for difference in differences(whole.fold, answered):
            tally.fault("fold_differs", difference)
        first = self.listeners[0].digests
        for listener in self.listeners:
            tally.count("readers_compared")
            is_same = listener.digests == first and listener.cursor == whole.cursor
            tally.expect(
                is_same, "reader_differs", f"{len(listener.digests)} of {len(first)} runs, at {listener.cursor}"
            )


async def slow(arena: Arena) -> Tally:
    """Run the scenario."""
    tally = Tally("slow", faults=STREAM_FAULTS + FAULTS)
    runs = arena.scaled(60, 30)
    async with arena.server({"SEND_TIMEOUT_SECONDS": str(SEND_TIMEOUT_S)}) as server:
        await Room(server, "warm", tally).load(runs, beside_deaf=False)
        without = await Room(server, "without", tally).load(runs, beside_deaf=False)
        beside = await Room(server, "beside", tally).load(runs, beside_deaf=True)
    growth = beside.peak_kb - without.peak_kb
    tally.note("readers", READERS)
    tally.note("behind_mb", runs * TOKENS * TOKEN_CHARS / 1e6)
    tally.note("load_without_s", without.seconds)
    tally.note("load_beside_deaf_s", beside.seconds)
    tally.note("peak_without_mb", without.peak_kb / 1024)
    tally.note("memory_growth_mb", growth / 1024)
    tally.expect(growth < GROWTH_KB, "memory_grew", f"{growth} kB more beside a deaf client")
    is_unhurt = beside.seconds < SLOWER * without.seconds + 1
    tally.expect(is_unhurt, "others_slowed", f"{without.seconds:.1f} s without, {beside.seconds:.1f} s beside")
    return tally


async def _creep(snail: Follower) -> None:
    """Read a little every half second."""
    while True:
        try:
            await snail.connect(snail.cursor)
            is_open = True
            while is_open:
                await anyio.sleep(0.5)
                is_open = await snail.pump()
        except Broken:
            await anyio.sleep(0.5)


def _is_cut(server_port: int, client_port: int) -> bool:
    """Say whether the server's end of a connection is no longer established, from /proc/net/tcp."""
    for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]:
        local, remote, state = line.split()[1:4]
        if (int(local.split(":")[1], 16), int(remote.split(":")[1], 16)) == (server_port, client_port):
            return state != "01"
    return True
