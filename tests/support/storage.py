"""A real SQLite storage with switches, and a look at its file from outside."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio

from server.core.ports import Batch, Committed, LogSlice, MessageRecord, StorageError
from server.storage.sqlite import FILE_NAME, SqliteStorage


class SwitchedStorage(SqliteStorage):
    """Fails, waits before a commit, or waits between a commit and its answer, on command."""

    def __init__(self, folder: Path, *, durability: str = "normal") -> None:
        super().__init__(folder, durability=durability)
        self.fault: StorageError | None = None
        """Every commit fails with it."""
        self.before: anyio.Event | None = None
        """A commit waits for it before it writes."""
        self.after: anyio.Event | None = None
        """A commit that is on the disk waits for it before it says so."""
        self.read_gate: anyio.Event | None = None
        """Who reads messages has them, and waits for it before he sees them."""
        self.readers = 0
        """How many have waited for it."""
        self.unreadable = False
        """Reading a log fails."""
        self.batches: list[Batch] = []
        """Every batch that was written."""
        self.attempts = 0
        self.waiting = 0
        """Commits that wait for one of the gates right now."""

    async def commit(self, batch: Batch) -> Committed:
        """Commit as the switches say."""
        self.attempts += 1
        await self._pass(self.before)
        if self.fault is not None:
            raise self.fault
        committed = await super().commit(batch)
        self.batches.append(batch)
        await self._pass(self.after)
        return committed

    async def read_log(self, ref: int, after: int, limit_bytes: int) -> LogSlice | None:
        """Read, or fail."""
        if self.unreadable:
            raise StorageError("the test says so")
        return await super().read_log(ref, after, limit_bytes)

    async def messages(self, ref: int, *, before: str | None = None, limit: int | None = None) -> list[MessageRecord]:
        """Read when the gate is open."""
        found = list(await super().messages(ref, before=before, limit=limit))
        if self.read_gate is not None:
            self.readers += 1
            await self.read_gate.wait()
        return found

    def fail(self, *, is_transient: bool = False) -> None:
        """Refuse every commit from now on: for good, or as if somebody else held the file for a moment."""
        self.fault = StorageError("the test says so", is_transient=is_transient)

    def release(self) -> None:
        """Open every gate for good and fail no more."""
        self.fault = None
        for gate in (self.before, self.after, self.read_gate):
            if gate is not None:
                gate.set()
        self.before = self.after = self.read_gate = None

    async def _pass(self, gate: anyio.Event | None) -> None:
        if gate is not None:
            self.waiting += 1
            try:
                await gate.wait()
            finally:
                self.waiting -= 1


def rows_of(folder: Path, query: str, *values: Any) -> list[Any]:
    """Return rows of the database in a folder, read by a fresh connection: what is committed, and nothing else."""
    uri = f"{(folder / FILE_NAME).absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=1)) as connection:
        return connection.execute(query, values).fetchall()


def is_on_disk(folder: Path, frame: bytes) -> bool:
    """Say whether a frame is committed, in the journal or in a log row."""
    query = "SELECT 1 FROM {} WHERE instr(frames, ?) LIMIT 1"
    return any(rows_of(folder, query.format(table), frame) for table in ("journal", "log"))


def crash_copy(folder: Path, to: Path) -> Path:
    """Copy the files of a running storage as a killed process leaves them."""
    to.mkdir()
    for name in (FILE_NAME, f"{FILE_NAME}-wal"):
        if (folder / name).exists():
            shutil.copy(folder / name, to / name)
    return to
