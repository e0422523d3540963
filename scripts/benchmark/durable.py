"""`DURABILITY=full`: what a commit takes, against what the disk itself takes to make as many bytes durable."""

from __future__ import annotations

import os
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Final

import anyio

from server.core.ports import Batch, Part, SessionKey, SessionRecord
from server.storage.sqlite import FILE_NAME, SqliteStorage

from .arena import Arena, Measured, say
from .reader import CACHE
from .table import Row, at_most
from .tokens import full_durability

_FRAMES: Final = 10
_FRAME_BYTES: Final = 140
_BLOCK: Final = 25
"""Commits, then as many appends, in turn: whatever else the disk does meets both."""


def durable(arena: Arena) -> list[Row]:
    """Commit through the storage port, append to a plain file; then tokens through a whole server."""
    blocks = arena.pick(24, 12, 1)
    CACHE.mkdir(parents=True, exist_ok=True)
    ratios, commits, syncs = [], [], []
    for turn in range(arena.repetitions):
        say(f"  commits {turn + 1}")
        with tempfile.TemporaryDirectory(prefix="durable-", dir=CACHE) as folder:
            commit_s, sync_s = anyio.run(partial(_times, Path(folder), blocks))
        ratios.append(_p99(commit_s) / _p99(sync_s))
        commits.append(_p99(commit_s) * 1000)
        syncs.append(_p99(sync_s) * 1000)
    paced = _paced(arena)
    return [
        Row(
            scenario="durable",
            what="full: commit p99, against the disk's fsync p99",
            unit="x",
            figures={"ours": ratios},
            bar=at_most(2),
        ),
        Row(scenario="durable", what="… p99", unit="ms", figures={"ours": commits, "fsync": syncs}),
        Row(scenario="durable", what="full, paced 10k events/s: p99", unit="ms", figures={"ours": [paced["p99_ms"]]}),
        Row(scenario="durable", what="… CPU a token", unit="µs", figures={"ours": [paced["cpu_us"]]}),
    ]


def _paced(arena: Arena) -> Measured:
    say("  paced")
    return full_durability(arena)


async def _times(folder: Path, blocks: int) -> tuple[list[float], list[float]]:
    """Return the seconds of each commit, and of each append and fdatasync of as many bytes."""
    storage = SqliteStorage(folder, durability="full")
    await storage.open()
    file = os.open(folder / "plain", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    batch = Batch(parts=[_part(storage)])
    commit_s: list[float] = []
    sync_s: list[float] = []
    try:
        written = await _bytes_of_one(storage, batch, folder / f"{FILE_NAME}-wal")
        for _ in range(blocks):
            for _ in range(_BLOCK):
                started_at = time.perf_counter()
                await storage.commit(batch)
                commit_s.append(time.perf_counter() - started_at)
            for _ in range(_BLOCK):
                started_at = time.perf_counter()
                os.write(file, bytes(written))
                os.fdatasync(file)
                sync_s.append(time.perf_counter() - started_at)
    finally:
        os.close(file)
        await storage.close()
    return commit_s, sync_s


async def _bytes_of_one(storage: SqliteStorage, batch: Batch, log: Path) -> int:
    """Return how many bytes a commit adds to the log of writes."""
    await storage.commit(batch)
    before = os.stat(log).st_size
    await storage.commit(batch)
    return max(os.stat(log).st_size - before, _FRAMES * _FRAME_BYTES)


def _part(storage: SqliteStorage) -> Part:
    key = SessionKey("local", "durable")
    record = SessionRecord(
        ref=storage.new_ref(key),
        user_id=key.user_id,
        session_id=key.session_id,
        epoch="0123456789",
        agent="words",
        created_at=0,
        last_activity=0,
    )
    return Part(
        before=record, record=record, frames=[b"id: 0123456789-1\ndata: %s\n\n" % (b"x" * _FRAME_BYTES)] * _FRAMES
    )


def _p99(values: list[float]) -> float:
    return sorted(values)[int(0.99 * (len(values) - 1))]
