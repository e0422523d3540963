"""A client that takes nothing costs nobody anything."""

from __future__ import annotations

from pathlib import Path

import anyio
import anyio.to_thread

from scripts.blackbox.arena import emit
from scripts.blackbox.follower import Follower
from scripts.blackbox.waiting import poll
from scripts.blackbox.wire import deaf_socket
from tests.faults.stage import Stage, answer_text, staged

READERS = 20
BEHIND_BYTES = 4_000_000
GROWTH_KB = 8 * 1024
"""Less than what the deaf client is behind, more than an allocator's noise."""


async def test_a_client_that_never_reads_is_cut_and_nobody_else_notices(tmp_path: Path) -> None:
    """SEND_TIMEOUT_SECONDS: its socket goes, memory stays, twenty readers beside it get every byte."""
    async with staged(tmp_path, SEND_TIMEOUT_SECONDS="0.5", HEARTBEAT_SECONDS="0.2") as stage:
        await stage.server.start()
        readers = [await stage.watch("talk") for _ in range(READERS)]
        for _ in range(3):
            await _load(stage, readers)
        before = stage.server.sample()

        wire, caller = stage.server.wire, stage.caller()
        target = "/api/chat/stream?session_id=talk"
        with await anyio.to_thread.run_sync(deaf_socket, wire.host, wire.port, target, caller.headers) as deaf:
            assert await anyio.to_thread.run_sync(deaf.recv, 1), "its stream is not open"
            await _load(stage, readers)
            assert await poll(lambda: stage.server.sample().handles <= before.handles, timeout_s=10), "it is not cut"
        after = stage.server.sample()
        assert after.rss_kb - before.rss_kb < GROWTH_KB
        assert stage.tally.counts["snapshots"] == READERS, "a reader was thrown out as well"


async def _load(stage: Stage, readers: list[Follower]) -> None:
    """Stream a large answer to everybody, compare, and clear it."""
    run_id = await stage.run("talk", {"giant": {"bytes": BEHIND_BYTES}}, emit(50, 0))
    for reader in readers:
        assert await reader.until_ended(run_id)
        assert len(answer_text(reader)) > BEHIND_BYTES
        assert reader.fold.digest() == readers[0].fold.digest()
    await stage.same(readers[0])
    assert (await stage.caller().call("DELETE", "/api/sessions/talk/messages")).status == 200
    state = await stage.same(readers[0])
    for reader in readers:
        assert await reader.until_reached(state["cursor"])
