"""SQLite storage: one file, one writer, readers apart.

The commit runs on the loop in `normal` durability: in WAL mode without fsync it is a short write, cheaper than handing
it to a thread; it survives a killed process. In `full` it ends with an fsync, which belongs in the one writer thread,
and survives a power cut. Checkpoints, which do sync, run in a thread of their own in both. Cold reads have their own
connections and threads, so that they touch neither the loop nor the writer.

A writer that fails is closed and opened again before the next commit: whatever was wrong with the file, the folder or
the disk, the storage recovers when that goes. After an unclean stop of the machine (not of the process) in `normal`,
the newest commits may be missing: then every epoch changes, and clients get snapshots instead of a log that grew anew.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final

from ..core.ports import Batch, Committed, SessionKey, StorageError, Write
from .reads import SqliteReads
from .schema import migrate
from .writes import HANDLERS, all_writes, is_heavy

_log = logging.getLogger("sessionstream.sqlite")

FILE_NAME: Final = "sessionstream.db"
_CHECKPOINT_BYTES: Final = 8 << 20  # written since the last checkpoint: some 10 ms of a thread
_WAIT_BYTES: Final = 64 << 20  # a checkpoint must catch up now: the next commit waits for it, the loop does not
_PAGE_BYTES: Final = 4096
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class SqliteStorage(SqliteReads):
    """The storage port on one file. One process may have it open at a time."""

    sharing = None

    def __init__(self, folder: Path, *, durability: str) -> None:
        super().__init__(folder / FILE_NAME)
        self._folder = folder
        self._is_full = durability == "full"
        self._writer: sqlite3.Connection | None = None
        self._writer_thread = ThreadPoolExecutor(1, "sqlite-writer")
        self._checkpoint_thread = ThreadPoolExecutor(1, "sqlite-checkpoint")
        self._checkpoint: asyncio.Future[None] | None = None
        self._unchecked_bytes = 0
        self._wal_bytes = 0
        self._is_in_thread = False
        """Whether a thread has the writer."""
        self._lock_file: int | None = None
        self._next_ref = 0
        self._inode = 0
        self._is_closed = False
        self._may_lack_commits = False

    # --- life

    async def open(self) -> None:
        """Open, or create, the database. Raises StorageError; may be called again."""
        await self._in_writer_thread(self._open)

    async def close(self) -> None:
        """Mark a clean stop and release everything."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._checkpoint is not None:
            await asyncio.wait([self._checkpoint], timeout=5)
        await self._in_writer_thread(self._close)
        self.close_readers()
        self._writer_thread.shutdown(wait=False)
        self._checkpoint_thread.shutdown(wait=False)

    def new_ref(self, key: SessionKey) -> int:
        """Return the next free session reference."""
        self._next_ref += 1
        return self._next_ref

    def is_unused(self, key: SessionKey) -> bool:
        """Look on the loop, where the commit that makes the session will touch the same pages of the same indexes."""
        if self._writer is None or self._is_in_thread:
            return False
        try:
            return self._writer.execute(_IS_USED, key).fetchone() is None
        except sqlite3.Error:
            return False  # who asks for the session is told what is wrong

    async def commit(self, batch: Batch) -> Committed:
        """Write the whole batch in one transaction."""
        if self._is_closed:
            raise StorageError("the storage is closed")
        if self._wal_bytes > _WAIT_BYTES:
            await self._catch_up()
        # One row a commit: the frames name their session by epoch, nothing else is needed to read them back.
        frames = b"".join([frame for part in batch.parts for frame in part.frames])
        writes = all_writes(batch)
        is_slow = self._is_full or is_heavy(len(frames), writes)
        commit = partial(self._commit, batch, frames, writes)
        position = await self._in_writer_thread(commit) if is_slow else commit()
        # A commit writes whole pages: what is counted is about what the WAL grows by.
        size = len(frames) + _PAGE_BYTES * (3 + 2 * len(writes))
        self._wal_bytes += size
        self._unchecked_bytes += size
        if self._unchecked_bytes > _CHECKPOINT_BYTES and (self._checkpoint is None or self._checkpoint.done()):
            self._start_checkpoint()
        return Committed(position, {})

    def _start_checkpoint(self) -> None:
        self._unchecked_bytes = 0
        self._checkpoint = asyncio.get_running_loop().run_in_executor(self._checkpoint_thread, self._run_checkpoint)

    async def _catch_up(self) -> None:
        """Let the disk catch up with the log of writes, which starts over only when a checkpoint met no writer."""
        for _ in range(2):  # the one that runs may have begun before the last commits
            if self._checkpoint is None or self._checkpoint.done():
                self._start_checkpoint()
            assert self._checkpoint is not None
            await asyncio.wait([self._checkpoint])
        self._wal_bytes = 0

    async def probe(self) -> None:
        """Raise StorageError when the file is not the one that was opened, or cannot be read anew."""
        self._check_file()
        await self._read_anew(lambda connection: connection.execute("SELECT ref FROM sessions LIMIT 1").fetchone())

    async def _in_writer_thread(self, call: Any, *args: Any) -> Any:
        self._is_in_thread = True
        try:
            return await asyncio.get_running_loop().run_in_executor(self._writer_thread, call, *args)
        finally:
            self._is_in_thread = False

    def _open(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._take_lock()
            self._drop_writer()  # of an opening whose recovery failed: left to the collector, it would lock the file
            writer = self._connect()
            # What a killed process left is read whole at each start until it is in the database: nobody writes yet.
            writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            migrate(writer)
            self._note_start(writer)
            self._next_ref = writer.execute("SELECT coalesce(max(ref), 0) FROM sessions").fetchone()[0]
            self._inode = os.stat(self.path).st_ino
        except (OSError, sqlite3.Error, ValueError) as error:
            self._drop_writer()
            raise StorageError(f"{self.path.name}: {error}") from error

    def _take_lock(self) -> None:
        """One server a folder: two would each believe that they decide alone."""
        if self._lock_file is not None:
            return
        lock_file = os.open(self._folder / "sessionstream.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock_file)
            raise OSError("another server uses this data folder") from None
        self._lock_file = lock_file

    def _connect(self) -> sqlite3.Connection:
        writer = sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False, timeout=0, cached_statements=64
        )
        os.chmod(self.path, 0o600)
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute(f"PRAGMA synchronous={'FULL' if self._is_full else 'NORMAL'}")
        writer.execute("PRAGMA wal_autocheckpoint=0")
        writer.execute("PRAGMA recursive_triggers=ON")  # INSERT OR REPLACE must tell the search index what it removed
        writer.execute("PRAGMA secure_delete=FAST")
        writer.execute("PRAGMA cache_size=-16384")
        self._writer = writer  # only now: one that lacks a pragma must not write
        return writer

    async def renew_epochs(self) -> bool:
        """Change every epoch when the machine went down with commits that may not have reached the disk."""
        if not self._may_lack_commits:
            return False
        _log.warning("the machine went down while the server ran: clients will be given snapshots")
        try:
            await self._in_writer_thread(self._renew_epochs)
        except sqlite3.Error as error:
            raise self._failed(error) from error
        self._may_lack_commits = False
        return True

    def _renew_epochs(self) -> None:
        writer = self._writer or self._connect()
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE sessions SET epoch = lower(hex(randomblob(6)))")
        writer.execute("DELETE FROM log")
        writer.execute("UPDATE journal SET frames = x''")
        self._note_running(writer)
        writer.execute("COMMIT")

    def _note_start(self, writer: sqlite3.Connection) -> None:
        meta = dict(writer.execute("SELECT name, value FROM meta").fetchall())
        is_other_boot = meta.get("boot_id") != _boot_id()
        if meta.get("stop") == "unclean" and meta.get("durability") == "normal" and is_other_boot:
            self._may_lack_commits = True  # noted again only when that is dealt with: what is there is folded first
            return
        writer.execute("BEGIN IMMEDIATE")
        self._note_running(writer)
        writer.execute("COMMIT")

    def _note_running(self, writer: sqlite3.Connection) -> None:
        facts = {"boot_id": _boot_id(), "durability": "full" if self._is_full else "normal", "stop": "unclean"}
        writer.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", facts.items())

    def _close(self) -> None:
        if self._writer is not None:
            try:
                self._writer.execute("INSERT OR REPLACE INTO meta VALUES ('stop', 'clean')")
                self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.Error as error:
                _log.warning("the last checkpoint failed: %s", error)
        self._drop_writer()
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    def _drop_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    # --- writing

    def _commit(self, batch: Batch, frames: bytes, writes: Sequence[Write]) -> int:
        self._check_file()
        try:
            writer = self._writer or self._connect()
            writer.execute("BEGIN IMMEDIATE")
            position = self._append(writer, frames)
            for write in writes:
                HANDLERS[type(write)](writer, write)
            if not batch.parts and not batch.writes:
                # A commit of nothing is a probe: only a real write meets a full disk.
                writer.execute("INSERT OR REPLACE INTO meta VALUES ('probed', ?)", (repr(time.time()),))
            writer.execute("COMMIT")
        except Exception as error:
            # Also what no database raises (a value that is no JSON): the transaction must not stay open.
            raise self._failed(error) from error
        return position

    def _check_file(self) -> None:
        """Refuse to write into a file that is not in the folder any more: no restart would find what it holds."""
        try:
            if os.stat(self.path).st_ino != self._inode:
                raise StorageError("the database file was replaced: restart the server")
        except OSError as error:
            raise StorageError(f"the database file cannot be reached: {error.strerror}") from error

    def _append(self, writer: sqlite3.Connection, frames: bytes) -> int:
        if not frames:
            return int(writer.execute("SELECT coalesce(max(id), 0) FROM journal").fetchone()[0])
        row_id = writer.execute("INSERT INTO journal (frames) VALUES (?)", (frames,)).lastrowid
        assert row_id is not None
        return row_id

    def _failed(self, error: Exception) -> StorageError:
        is_busy = isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF in (
            sqlite3.SQLITE_BUSY,
            sqlite3.SQLITE_LOCKED,
        )
        try:
            if self._writer is not None and self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
        except sqlite3.Error:
            is_busy = False
        if not is_busy:
            self._drop_writer()
            self.close_readers()
        is_defect = isinstance(error, _DEFECTS) or not isinstance(error, (sqlite3.Error, OSError))
        return StorageError(f"{self.path.name}: {error}", is_transient=is_busy, is_defect=is_defect)

    def _run_checkpoint(self) -> None:
        try:
            connection = sqlite3.connect(self.path, isolation_level=None, timeout=1)
            try:
                connection.execute("PRAGMA synchronous=NORMAL")
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
            finally:
                connection.close()
        except sqlite3.Error as error:
            _log.warning("a checkpoint failed: %s", error)


_IS_USED: Final = (
    "SELECT 1 FROM sessions WHERE session_id = ?2 "
    "UNION ALL SELECT 1 FROM ended_sessions WHERE user_id = ?1 AND session_id = ?2 LIMIT 1"
)
_DEFECTS: Final = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.DataError)
"""What is wrong with a batch, not with the storage."""


def _boot_id() -> str:
    return _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else ""
