"""Clients that never read, and one that hardly does, beside fifty that do: nobody else notices, memory stays flat.

The same load runs three times, in a fresh session each: to warm up, without them, and with them. The readers must get
the same bytes in about the same time, and the server's memory must not grow by what the deaf clients are behind. The
load is events that leave no message, so that memory is not filled with what belongs there.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

import anyio
import anyio.to_thread

from .arena import STREAM_FAULTS, Arena
from .caller import Caller
from .fold import differences
from .follower import Follower, Ledger
from .process import Server
from .tally import Tally
from .waiting import poll
from .wire import Broken, deaf_socket

READERS: Final = 50
DEAF: Final = 3
SEND_TIMEOUT_S: Final = 3
GROWTH_KB: Final = 6 * 1024  # far less than what a deaf client is behind, more than an allocator's noise
SLOWER: Final = 2.0
SETTINGS: Final = {"SEND_TIMEOUT_SECONDS": str(SEND_TIMEOUT_S), "HEARTBEAT_SECONDS": "3600"}
FAULTS: Final = ("memory_grew", "others_slowed", "reader_differs", "deaf_client_kept", "bad_answer")


class Listener:
    """A client that keeps only a digest of the bytes it got: fifty whole folds would be a test of this process."""

    def __init__(self, caller: Caller, session_id: str) -> None:
        self.size = 0
        self.ending = ""
        self._caller = caller
        self._session_id = session_id
        self._sum = hashlib.blake2b()
        self._tail = b""

    async def listen(self, cursor: str) -> None:
        """Read everything behind a cursor until cancelled, or until the server ends the stream."""
        stream = await self._caller.stream(self._session_id, cursor)
        try:
            while (piece := await stream.read_bytes(300)) is not None:
                # Before the first event come `retry` and a comment, which differ from stream to stream.
                self._take(piece if self.size else piece[max(piece.find(b"id: "), 0) :] if b"id: " in piece else b"")
        finally:
            self.ending = stream.ending
            stream.close()

    def _take(self, piece: bytes) -> None:
        self.size += len(piece)
        self._sum.update(piece)
        self._tail = (self._tail + piece)[-1000:]

    def has_reached(self, cursor: str) -> bool:
        """Say whether the event of this cursor was the last one that came."""
        return self._tail.rpartition(b"id: ")[2].startswith(cursor.encode() + b"\n") and self._tail.endswith(b"\n\n")

    def digest(self) -> str:
        """Return the digest of all bytes since the first event."""
        return self._sum.hexdigest()


class Measured(NamedTuple):
    """What one load cost."""

    seconds: float
    peak_kb: int


class Room:
    """One session, a follower that checks everything and fifty listeners that keep digests."""

    def __init__(self, server: Server, session_id: str, tally: Tally) -> None:
        self.caller = Caller(server.wire, "user")
        self.server = server
        self.session_id = session_id
        self.tally = tally
        self.ledger = Ledger(tally)
        self.whole = Follower(self.caller, session_id, self.ledger)
        self.listeners = [Listener(self.caller, session_id) for _ in range(READERS)]

    async def load(self, runs: int, *, beside_deaf: bool) -> Measured:
        """Stream the load to everybody; return what it cost until the last reader had it."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.whole.follow)
            await self.whole.until_attached()
            for listener in self.listeners:
                tasks.start_soon(listener.listen, self.whole.cursor or "")
            measured = await (self._beside_deaf(runs) if beside_deaf else self._measured(runs))
            await self._judge()
            tasks.cancel_scope.cancel()
        await self.caller.call("DELETE", f"/api/sessions/{self.session_id}")
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
        for number in range(runs):
            answer = await self.caller.chat("go", session_id=self.session_id, agent="loud")
            if self.tally.expect(answer.status == 202, "bad_answer", f"chat: {answer.status} {answer.body[:200]!r}"):
                await self.whole.until_ended(answer.json()["run_id"])
            self.tally.progress(f"{self.session_id}: run {number + 1} of {runs}")
        end = self.whole.cursor or ""
        await poll(lambda: all(listener.has_reached(end) for listener in self.listeners), timeout_s=30)

    async def _beside_deaf(self, runs: int) -> Measured:
        wire = self.server.wire
        target = f"/api/chat/stream?session_id={self.session_id}"
        snail = Follower(self.caller, self.session_id, self.ledger)
        with ExitStack() as sockets:
            ports = []
            for _ in range(DEAF):
                deaf = await anyio.to_thread.run_sync(deaf_socket, wire.host, wire.port, target, self.caller.headers)
                ports.append(sockets.enter_context(deaf).getsockname()[1])
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_creep, snail)
                measured = await self._measured(runs)
                tasks.cancel_scope.cancel()
            await self._expect_cut(ports)
        await snail.catch_up(self.whole.cursor or "")
        is_same = snail.fold.digest() == self.whole.fold.digest() and snail.cursor == self.whole.cursor
        self.tally.expect(is_same, "reader_differs", f"the slow reader is at {snail.cursor}")
        return measured

    async def _expect_cut(self, client_ports: list[int]) -> None:
        """The deaf clients' sockets take nothing, so the server must give them up."""
        port = self.server.wire.port
        await poll(lambda: all(_is_cut(port, at) for at in client_ports), timeout_s=SEND_TIMEOUT_S + 10, step_s=0.1)
        for client_port in client_ports:
            is_cut = _is_cut(port, client_port)
            self.tally.count("deaf_clients_cut", is_cut)
            self.tally.expect(is_cut, "deaf_client_kept", "the server still holds the socket of a deaf client")

    async def _judge(self) -> None:
        whole, tally = self.whole, self.tally
        answered = (await self.caller.state(self.session_id)).json()
        await whole.until_reached(answered["cursor"])
        for difference in differences(whole.fold, answered):
            tally.fault("fold_differs", difference)
        first = self.listeners[0]
        for listener in self.listeners:
            tally.count("readers_compared")
            is_same = listener.digest() == first.digest() and listener.has_reached(answered["cursor"])
            tally.expect(is_same, "reader_differs", f"{listener.size} of {first.size} bytes {listener.ending}")
        tally.note("streamed_mb", first.size / 1e6)


async def slow(arena: Arena) -> Tally:
    """Run the scenario."""
    tally = Tally("slow", faults=STREAM_FAULTS + FAULTS)
    runs = arena.scaled(100, 30)
    async with arena.server(SETTINGS) as server:
        await Room(server, "warm", tally).load(runs, beside_deaf=False)
        without = await Room(server, "without", tally).load(runs, beside_deaf=False)
        beside = await Room(server, "beside", tally).load(runs, beside_deaf=True)
    growth = beside.peak_kb - without.peak_kb
    tally.note("readers", READERS)
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
