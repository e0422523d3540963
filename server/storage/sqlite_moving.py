"""Whole sessions in and out of an SQLite file whose server is stopped.

The data folder's lock is held meanwhile, so no server starts on it. Until something is written the file is only ever
opened read-only, and what is not there is not created. A write is one transaction with an fsync.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio
import anyio.to_thread

from ..core.events import split_frames
from ..core.ports import (
    SaveLog,
    SaveMessages,
    SaveRun,
    SaveSession,
    SessionKey,
    SessionRecord,
    StorageError,
    Tombstone,
    Write,
)
from . import rows
from .moving import EndedSession, MoveRefused, WholeSession
from .reads import SqliteReads
from .schema import MIGRATIONS, migrate
from .sqlite import FILE_NAME
from .writes import HANDLERS

_Result = TypeVar("_Result")

_LOCK_NAME: Final = "sessionstream.lock"  # the server's
_BUSY_S: Final = 5.0
_BUSY_STEP_S: Final = 0.01
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_PAGE: Final = 500
_ENDED: Final = "user_id, session_id, status, started_at, last_activity, ended_at, message_count, run_count"


class MovableSqlite(SqliteReads):
    """A data folder, or a database file in one, as `Movable`."""

    def __init__(self, path: Path) -> None:
        super().__init__(path if path.suffix == ".db" else path / FILE_NAME)
        self._lock_file: int | None = None
        self._writer: sqlite3.Connection | None = None
        self._writing = anyio.Lock()
        self._has_tables = False

    # --- life

    async def open(self) -> None:
        """Take the folder's lock and look at the schema."""
        await anyio.to_thread.run_sync(self._take_lock)
        if await self._is_empty():
            return
        version = await self._read(lambda connection: connection.execute("PRAGMA user_version").fetchone()[0])
        if version != len(MIGRATIONS):
            raise MoveRefused(
                f"{self.path} has schema {version}, this program knows {len(MIGRATIONS)}: "
                "start a server of this version on it once, stop it, and try again"
            )

    async def close(self) -> None:
        """Release file and lock."""
        self.close_readers()
        if self._writer is not None:
            await anyio.to_thread.run_sync(self._close_writer)
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    def _take_lock(self) -> None:
        if not self.path.parent.is_dir():
            return  # what is not there is not in use; it is made, and locked, with the first write
        lock_file = os.open(self.path.parent / _LOCK_NAME, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock_file)
            raise MoveRefused(f"a server uses {self.path.parent}: stop it first") from None
        self._lock_file = lock_file

    async def _is_empty(self) -> bool:
        """Whether there is no database yet, or one that was only just begun."""
        if not self._has_tables and self.path.exists():
            query = "SELECT count(*) FROM sqlite_master"
            self._has_tables = bool(await self._read(lambda one: one.execute(query).fetchone()[0]))
        return not self._has_tables

    async def require_stopped(self) -> None:
        """Nothing: as long as the lock is held, no server starts."""

    # --- reading

    async def require_settled(self) -> None:
        """Refuse a file that a crash left: only a server knows how to end what was open."""
        if await self._is_empty():
            raise MoveRefused(f"there is no database at {self.path}")
        fault = await self._read(_unsettled)
        if fault:
            raise MoveRefused(f"{self.path}: {fault}: start the server on it once, stop it, and try again")

    async def count(self, user_id: str | None = None) -> int:
        """Return how many sessions there are."""
        return 0 if await self._is_empty() else await super().count(user_id)

    async def load(self, key: SessionKey) -> SessionRecord | Tombstone | None:
        """Return the session, what is left of it, or None."""
        if await self._is_empty():
            return None
        try:
            return await super().load(key)
        except (ValueError, TypeError) as error:
            raise self._unreadable(key, error) from error

    async def keys(self) -> AsyncIterator[SessionKey]:
        """Yield every session, oldest first."""
        query = "SELECT ref, user_id, session_id FROM sessions WHERE ref > ? ORDER BY ref LIMIT ?"
        found = await self._page(query, -1)
        while found:
            for _, user_id, session_id in found:
                yield SessionKey(user_id, session_id)
            found = await self._page(query, found[-1][0])

    async def _page(self, query: str, *after: Any) -> list[sqlite3.Row]:
        if await self._is_empty():
            return []
        return await self._read(lambda one: one.execute(query, (*after, _PAGE)).fetchall())

    async def read(self, key: SessionKey) -> WholeSession | None:
        """Return a session with everything in it."""
        if await self._is_empty():
            return None
        try:
            return await self._read(lambda one: _whole(one, key))
        except (ValueError, TypeError) as error:
            raise self._unreadable(key, error) from error

    def _unreadable(self, key: SessionKey, error: Exception) -> StorageError:
        return StorageError(f"{self.path}: session {key.session_id}: {error}", is_defect=True)

    async def ended(self) -> AsyncIterator[EndedSession]:
        """Yield what is left of each ended session."""
        query = (
            f"SELECT {_ENDED} FROM ended_sessions WHERE (user_id, session_id) > (?, ?) "
            "ORDER BY user_id, session_id LIMIT ?"
        )
        found = await self._page(query, "", "")
        while found:
            for row in found:
                yield _ended(row)
            found = await self._page(query, found[-1]["user_id"], found[-1]["session_id"])

    async def grave(self, key: SessionKey) -> EndedSession | None:
        """Return what is left of an ended session."""
        query = f"SELECT {_ENDED} FROM ended_sessions WHERE user_id = ? AND session_id = ? LIMIT ?"
        return next((_ended(row) for row in await self._page(query, *key)), None)

    # --- writing

    async def write(self, session: WholeSession) -> None:
        """Put a session in the place of whatever stands under its key."""
        await self._write(lambda writer: _put(writer, session))

    async def drop(self, key: SessionKey) -> None:
        """Remove a session and leave nothing."""
        await self._write(lambda writer: _drop(writer, key))

    async def bury(self, ended: Sequence[EndedSession]) -> None:
        """Insert or replace what is left of sessions."""
        values = [
            (*one.key, one.tombstone.reason, one.created_at, one.last_activity, one.tombstone.ended_at, *one[-2:])
            for one in ended
        ]
        await self._write(
            lambda writer: writer.executemany(
                f"INSERT OR REPLACE INTO ended_sessions ({_ENDED}) VALUES ({', '.join('?' * 8)})", values
            )
        )

    async def finish(self) -> None:
        """Make an empty database where nothing was written; all else is derived by the database itself."""
        await self._write(lambda writer: None)

    async def _write(self, change: Callable[[sqlite3.Connection], Any]) -> None:
        async with self._writing:
            # Not abandoned: who is interrupted waits until the transaction is whole, or not there.
            await anyio.to_thread.run_sync(self._write_in_thread, change)

    def _write_in_thread(self, change: Callable[[sqlite3.Connection], Any]) -> None:
        try:
            writer = self._writer or self._open_writer()
            writer.execute("BEGIN IMMEDIATE")
            try:
                change(writer)
                writer.execute("COMMIT")
            finally:
                if writer.in_transaction:
                    writer.execute("ROLLBACK")
        except (sqlite3.Error, OSError, ValueError) as error:
            raise StorageError(f"{self.path}: {error}") from error

    def _open_writer(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self._lock_file is None:
            self._take_lock()
        writer = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=_BUSY_S)
        try:
            os.chmod(self.path, 0o600)
            _write_ahead(writer)
            writer.execute("PRAGMA synchronous=FULL")
            writer.execute("PRAGMA recursive_triggers=ON")  # as in the server: replaced rows leave the search index
            writer.execute("PRAGMA secure_delete=FAST")
            migrate(writer)
        except BaseException:
            writer.close()
            raise
        self._writer = writer
        return writer

    def _close_writer(self) -> None:
        assert self._writer is not None
        try:
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            self._writer.close()
            self._writer = None


def _write_ahead(writer: sqlite3.Connection) -> None:
    """Switch to a write-ahead log; wait for a reader of our own that looks just then, which SQLite here does not."""
    ends_at = time.monotonic() + _BUSY_S
    while True:
        try:
            writer.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > ends_at:
                raise
            time.sleep(_BUSY_STEP_S)


def _is_other_boot(boot_id: str | None) -> bool:
    return boot_id != (_BOOT_ID.read_text().strip() if _BOOT_ID.exists() else "")


def _unsettled(connection: sqlite3.Connection) -> str:
    """Return what a server would have to put in order, or nothing."""
    meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
    if meta.get("stop") == "unclean" and meta.get("durability") == "normal" and _is_other_boot(meta.get("boot_id")):
        return "the machine went down while the server ran"
    if connection.execute("SELECT 1 FROM runs WHERE status = 'running' LIMIT 1").fetchone():
        return "the server was killed while a run was open"
    newest: dict[str, int] = {}
    for (frames,) in connection.execute("SELECT frames FROM journal ORDER BY id"):
        newest.update({epoch: seq for epoch, seq, _ in split_frames(frames)})
    folded = connection.execute(
        "SELECT epoch, max(seq, coalesce((SELECT max(last) FROM log WHERE log.ref = sessions.ref), 0)) FROM sessions"
    )
    if any(newest.get(epoch, 0) > seq for epoch, seq in folded):
        return "the server was killed and left events that are not in their session yet"
    return ""


def _whole(connection: sqlite3.Connection, key: SessionKey) -> WholeSession | None:
    row = connection.execute(
        f"SELECT {rows.SESSION_COLUMNS} FROM sessions WHERE user_id = ? AND session_id = ?", key
    ).fetchone()
    if row is None:
        return None
    record = rows.session_record(row)

    def select(columns: str, table: str, order: str) -> list[sqlite3.Row]:
        return connection.execute(
            f"SELECT {columns} FROM {table} WHERE ref = ? ORDER BY {order}", (record.ref,)
        ).fetchall()

    return WholeSession(
        record=record,
        runs=[rows.run_record(one) for one in select(rows.RUN_COLUMNS, "runs", "run_id")],
        messages=[rows.message_record(one) for one in select("*", "messages", "position")],
        log=[rows.log_row(one) for one in select(rows.LOG_COLUMNS, "log", "last")],
    )


def _ended(row: sqlite3.Row) -> EndedSession:
    return EndedSession(
        key=SessionKey(row["user_id"], row["session_id"]),
        tombstone=Tombstone(row["status"], row["ended_at"]),
        created_at=row["started_at"],
        last_activity=row["last_activity"],
        message_count=row["message_count"],
        run_count=row["run_count"],
    )


def _put(writer: sqlite3.Connection, session: WholeSession) -> None:
    key = session.record.key
    ref = _drop(writer, key) or writer.execute("SELECT coalesce(max(ref), 0) + 1 FROM sessions").fetchone()[0]
    writer.execute("DELETE FROM ended_sessions WHERE user_id = ? AND session_id = ?", key)
    last_activity = session.record.last_activity
    writes: list[Write] = [SaveSession(replace(session.record, ref=ref)), *(SaveRun(ref, run) for run in session.runs)]
    writes.append(SaveMessages(ref, session.messages))
    # A row without a time is of an open run: here none is.
    writes += [SaveLog(ref, row.first, row.last, row.frames, row.ended_at or last_activity) for row in session.log]
    for write in writes:
        HANDLERS[type(write)](writer, write)


def _drop(writer: sqlite3.Connection, key: SessionKey) -> int | None:
    """Remove a session; return the reference it had."""
    row = writer.execute("SELECT ref FROM sessions WHERE user_id = ? AND session_id = ?", key).fetchone()
    if row is None:
        return None
    for table in ("messages", "runs", "log", "sessions"):
        writer.execute(f"DELETE FROM {table} WHERE ref = ?", row)
    return int(row[0])
