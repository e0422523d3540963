"""The index: passages of all documents in SQLite FTS5, one for the node, in a file of its own.

It is a cache: it can be removed at any time, and is made anew when it is of another version, of another folder, or
damaged. Without a path it lives in a temporary file that goes with it. One thread at a time writes (`refresh`, a pass
over the folder); readers have their own connections (`reading`) and, by WAL, never wait for it. A file is replaced in
one transaction, so no search sees half of it. Everything here blocks: callers run it in worker threads.
"""

from __future__ import annotations

import logging
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final

from .folder import Folder, Stamp
from .reading import read_passages
from .shapes import Stopped, Unreadable
from .words import hidden_words

logger = logging.getLogger("sessionstream.documents")

VERSION: Final = 1
"""Of the tables and of what the parsers make of a file: another number makes the index anew."""
BATCH_PASSAGES: Final = 16
"""Read and written between two rests: some milliseconds of work."""
WORK_S: Final = 0.004
"""How long a pass works before it rests as long: the interpreter is shared with the event loop."""
FILE_TIMEOUT_S: Final = 60.0
"""A file that takes longer is built to, or broken."""

_TABLES: Final = """
CREATE TABLE origin (root TEXT NOT NULL);
CREATE TABLE files (
    file_id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, mtime_ns INTEGER NOT NULL, size INTEGER NOT NULL,
    passages INTEGER NOT NULL, reason TEXT NOT NULL
);
CREATE TABLE places (passage_id INTEGER PRIMARY KEY, file_id INTEGER NOT NULL);
CREATE INDEX places_by_file ON places (file_id);
CREATE VIRTUAL TABLE passages USING fts5 (
    name, heading, text, hidden, tokenize = 'porter unicode61 remove_diacritics 2'
);
"""

Row = tuple[str, int, int, int, str]
"""A file: name, bytes, time of modification in nanoseconds, passages, and why it gives not all of its text."""
_ROW: Final = "SELECT name, size, mtime_ns, passages, reason FROM files"


class _Rests:
    """Called between small pieces of work: shares the interpreter, and ends the work when told or when it is late."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._worked_from = time.monotonic()
        self.deadline = float("inf")

    def __call__(self) -> None:
        if self._stop.is_set():
            raise Stopped
        now = time.monotonic()
        if now > self.deadline:
            raise Unreadable(f"reading it takes longer than {FILE_TIMEOUT_S:g} s")
        if now - self._worked_from >= WORK_S:
            self._stop.wait(min(now - self._worked_from, 0.1))
            self._worked_from = time.monotonic()


class Index:
    """Passages of one folder. The counts may be read from any thread at any time."""

    def __init__(self, folder: Folder, path: Path | None) -> None:
        self.folder = folder
        self.passages = 0
        self.files = 0
        self.files_done = 0
        self.files_total = 0
        self.is_complete = False
        self.trouble = ""
        self._wanted = path
        self._path: Path | None = None
        self._temporary: Path | None = None
        self._writer: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        self._told: dict[str, str] = {}
        self._logged_at = 0.0
        self._looking_s = 0.0

    # --- reading

    @contextmanager
    def reading(self, timeout_s: float) -> Iterator[sqlite3.Connection | None]:
        """Give a connection for one search, or None while there is no index yet; a search ends after `timeout_s`.

        Raises:
            sqlite3.Error: the index cannot be read, or the time is over.
        """
        if self._path is None:
            yield None
            return
        deadline = time.monotonic() + timeout_s
        with closing(sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True, timeout=1.0)) as connection:
            connection.set_progress_handler(lambda: time.monotonic() > deadline, 20_000)
            yield connection

    def names(self, limit: int) -> list[str]:
        """Return the names of the first files that gave text."""
        with self.reading(1.0) as connection:
            if connection is None:
                return []
            query = "SELECT name FROM files WHERE passages > 0 ORDER BY name LIMIT ?"
            return [str(name) for (name,) in connection.execute(query, (limit,))]

    def row(self, name: str) -> Row | None:
        """Return one file as the index has it."""
        with self.reading(1.0) as connection:
            return None if connection is None else connection.execute(f"{_ROW} WHERE name = ?", (name,)).fetchone()

    def listed(self, after: str, limit: int, containing: str) -> list[Row]:
        """Return files by name: at most `limit` of those after `after` that have `containing` in it, in any case."""
        with self.reading(1.0) as connection:
            if connection is None:
                return []
            rows = connection.execute(f"{_ROW} WHERE name > ? ORDER BY name", (after,))
            wanted = containing.casefold()
            return list(islice((row for row in rows if wanted in row[0].casefold()), limit))

    # --- one pass over the folder

    def refresh(self, stop: threading.Event) -> float:
        """Bring the index up to date and return the seconds the looking took; a set `stop` ends it between two batches.

        Never raises: what is wrong stands in `trouble`, and the next pass tries again.
        """
        with self._lock:
            try:
                self._pass(_Rests(stop))
                self.trouble = ""
            except Stopped:
                self._close()
            except OSError as error:
                self._fail(f"the folder {self.folder.root} cannot be read ({error.strerror or error})")
            except sqlite3.Error as error:
                self._fail(f"the index cannot be written ({error})")
                self._close()
                if not isinstance(error, sqlite3.OperationalError):  # damaged, not locked or full
                    self._discard()
            return self._looking_s

    def _fail(self, trouble: str) -> None:
        if trouble != self.trouble:
            logger.error("%s", trouble)
        self.trouble = trouble

    def _pass(self, rests: _Rests) -> None:
        writer = self._writer = self._writer or self._open()
        started = time.monotonic()
        scan = self.folder.scan(rests)
        self._looking_s = time.monotonic() - started
        known = {row[0]: row[1:] for row in writer.execute("SELECT name, mtime_ns, size, reason FROM files")}
        self._told = {name: reason for name, reason in self._told.items() if name in scan.files or name in scan.skipped}
        gone = [name for name in known if name not in scan.files]
        changed = [
            name for name, stamp in scan.files.items() if known.get(name, ())[:2] != (stamp.mtime_ns, stamp.size)
        ]
        left_out = {name: known[name][2] for name in known.keys() - {*gone, *changed} if known[name][2]}
        for name, reason in (scan.skipped | left_out).items():
            self._tell(name, reason)
        self.files_total, self.files_done = len(scan.files), len(scan.files) - len(changed)
        for name in gone:
            with writer:
                self._remove(writer, name)
        started, self._logged_at = time.monotonic(), time.monotonic()
        for name in changed:
            self._replace(writer, name, scan.files[name], rests)
            self.files_done += 1
            self._show_progress()
        self._count(writer)
        if gone or not self.is_complete or any(name not in self._told for name in changed):
            self._summarize(len(changed), len(gone), time.monotonic() - started)
        self.is_complete = True

    def _replace(self, writer: sqlite3.Connection, name: str, stamp: Stamp, rests: _Rests) -> None:
        reason = ""
        rests.deadline = time.monotonic() + FILE_TIMEOUT_S
        with writer:
            self._remove(writer, name)
            file_id = self._insert_file(writer, name, stamp)
            passages = read_passages(stamp.path, name, rests)
            count = 0
            try:
                while batch := list(islice(passages, BATCH_PASSAGES)):
                    for passage in batch:
                        self._insert(writer, file_id, (name, passage.heading, passage.text))
                    count += len(batch)
                    rests()
            except Unreadable as error:
                reason = f"{error}; its first {count} passages are used" if count else str(error)
                self._tell(name, reason)
                if error.passing:  # without a row it is new to the next pass, which tries again
                    writer.execute("DELETE FROM files WHERE file_id = ?", (file_id,))
            finally:
                rests.deadline = float("inf")
            query = "UPDATE files SET passages = ?, reason = ? WHERE file_id = ?"
            writer.execute(query, (count, reason, file_id))
        self.passages += count
        self.files += count > 0
        if not reason:
            self._told.pop(name, None)

    @staticmethod
    def _insert_file(writer: sqlite3.Connection, name: str, stamp: Stamp) -> int:
        query = "INSERT INTO files (name, mtime_ns, size, passages, reason) VALUES (?, ?, ?, 0, '') RETURNING file_id"
        return int(writer.execute(query, (name, stamp.mtime_ns, stamp.size)).fetchone()[0])

    @staticmethod
    def _insert(writer: sqlite3.Connection, file_id: int, row: tuple[str, str, str]) -> None:
        query = "INSERT INTO passages (name, heading, text, hidden) VALUES (?, ?, ?, ?)"
        cursor = writer.execute(query, (*row, hidden_words("\n".join(row))))
        writer.execute("INSERT INTO places VALUES (?, ?)", (cursor.lastrowid, file_id))

    def _remove(self, writer: sqlite3.Connection, name: str) -> None:
        row = writer.execute("SELECT file_id, passages FROM files WHERE name = ?", (name,)).fetchone()
        if row is None:
            return
        file_id, count = row
        writer.execute(
            "DELETE FROM passages WHERE rowid IN (SELECT passage_id FROM places WHERE file_id = ?)", (file_id,)
        )
        writer.execute("DELETE FROM places WHERE file_id = ?", (file_id,))
        writer.execute("DELETE FROM files WHERE file_id = ?", (file_id,))
        self.passages -= count
        self.files -= count > 0

    # --- telling

    def _tell(self, name: str, reason: str) -> None:
        if self._told.get(name) != reason:
            logger.warning("left out %s: %s", name, reason)
            self._told[name] = reason

    def _show_progress(self) -> None:
        now = time.monotonic()
        if now - self._logged_at >= 1.0:
            self._logged_at = now
            logger.info("indexing: %d of %d files, %d passages", self.files_done, self.files_total, self.passages)

    def _summarize(self, changed: int, gone: int, seconds: float) -> None:
        counts = (self.passages, self.files, self.folder.root, changed, gone, len(self._told), seconds)
        logger.info("%d passages of %d files of %s (%d read, %d removed, %d left out, %.1f s)", *counts)

    def _count(self, writer: sqlite3.Connection) -> None:
        query = "SELECT coalesce(sum(passages), 0), count(*) FILTER (WHERE passages > 0) FROM files"
        self.passages, self.files = writer.execute(query).fetchone()

    # --- the file

    def close(self) -> None:
        """Let go of the file; waits a moment for a pass that was told to stop."""
        if self._lock.acquire(timeout=1.5):
            try:
                self._close()
            finally:
                self._lock.release()

    def _close(self) -> None:
        self._path = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None

    def _open(self) -> sqlite3.Connection:
        if self._wanted is not None:
            try:
                return self._opened(self._wanted)
            except sqlite3.OperationalError as error:
                logger.warning("the index %s cannot be used (%s): a temporary one is made", self._wanted, error)
            except sqlite3.DatabaseError as error:
                logger.warning("the index %s is damaged (%s): it is made anew", self._wanted, error)
                self._discard()
                return self._opened(self._wanted)
        self._temporary = Path(tempfile.mkdtemp(prefix="sessionstream-"))
        return self._opened(self._temporary / "documents.db")

    def _discard(self) -> None:
        if self._wanted is not None:
            for suffix in ("", "-wal", "-shm"):
                self._wanted.with_name(self._wanted.name + suffix).unlink(missing_ok=True)

    def _opened(self, path: Path) -> sqlite3.Connection:
        writer = sqlite3.connect(path, check_same_thread=False, timeout=2.0)
        try:
            writer.execute("PRAGMA journal_mode = WAL")
            writer.execute("PRAGMA synchronous = NORMAL")
            writer.execute("PRAGMA journal_size_limit = 8388608")
            if not self._is_ours(writer):
                self._begin_anew(writer)
            self._count(writer)
        except BaseException:
            writer.close()
            raise
        self._path = path.absolute()
        return writer

    def _is_ours(self, writer: sqlite3.Connection) -> bool:
        if writer.execute("PRAGMA user_version").fetchone()[0] != VERSION:
            return False
        row: Any = writer.execute("SELECT root FROM origin").fetchone()
        return row is not None and row[0] == str(self.folder.root)

    def _begin_anew(self, writer: sqlite3.Connection) -> None:
        tables = ("passages", "places", "files", "origin")
        drops = "".join(f"DROP TABLE IF EXISTS {table};" for table in tables)
        root = str(self.folder.root).replace("'", "''")
        writer.executescript(
            f"BEGIN;{drops}{_TABLES}INSERT INTO origin VALUES ('{root}');PRAGMA user_version = {VERSION};COMMIT"
        )
