"""Cold reads of the SQLite storage: a few threads, each read on a connection of its own, never on the loop."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio
import anyio.to_thread
import orjson

from ..core.events import split_frames
from ..core.ports import LogSlice, MessageRecord, RunRecord, SaveLog, SessionKey, SessionRecord, StorageError, Tombstone
from ..core.storage import OpenRun, Page
from . import rows
from .places import parse_place, place_of
from .searching import MAX_WORDS, UNSPACED, WORD
from .slices import slice_of
from .totals import totals

_Result = TypeVar("_Result")

_READERS: Final = 4  # more threads than cores only wait for each other
_LONGEST_READ_S: Final = 20.0
_FEW: Final = 2000  # matches whose sessions are sorted in a few milliseconds
_PROGRESS_STEPS: Final = 100_000  # about a millisecond of a query


class SqliteReads:
    """The reading half of the storage port."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._limiter: anyio.CapacityLimiter | None = None
        self._idle: list[sqlite3.Connection] = []
        self._generation = 0

    def close_readers(self) -> None:
        """Let every read from now on open the file anew."""
        self._generation += 1
        while self._idle:
            self._idle.pop().close()

    async def _read(self, query: Callable[[sqlite3.Connection], _Result]) -> _Result:
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(_READERS)
        return await anyio.to_thread.run_sync(
            self._read_in_thread, query, limiter=self._limiter, abandon_on_cancel=True
        )

    async def _read_anew(self, query: Callable[[sqlite3.Connection], _Result]) -> _Result:
        """Read on a connection that knows nothing yet: what others still have in their caches says nothing."""
        self.close_readers()
        return await self._read(query)

    def _read_in_thread(self, query: Callable[[sqlite3.Connection], _Result]) -> _Result:
        generation = self._generation
        try:
            connection = self._idle.pop() if self._idle else self._open_reader()
        except sqlite3.Error as error:
            raise StorageError(f"{self.path.name}: {error}") from error
        ends_at = time.monotonic() + _LONGEST_READ_S
        # Also a query that nobody waits for any more ends: four of them would stop all others.
        connection.set_progress_handler(lambda: time.monotonic() > ends_at, _PROGRESS_STEPS)
        try:
            result = query(connection)
        except sqlite3.Error as error:
            connection.close()
            raise StorageError(f"{self.path.name}: {error}") from error
        except BaseException:
            connection.close()
            raise
        if generation == self._generation:
            self._idle.append(connection)
        else:
            connection.close()
        return result

    def _open_reader(self) -> sqlite3.Connection:
        # Read-only, and it must not create what is not there: an empty file would look like an empty storage.
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode=ro",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=1,
        )
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA query_only=ON")
        connection.execute("PRAGMA cache_size=-2048")  # KiB: the upper pages of every index; a commit empties it anyway
        return connection

    # --- one session

    async def load(self, key: SessionKey) -> SessionRecord | Tombstone | None:
        """Return the session, what is left of it, or None."""

        def query(connection: sqlite3.Connection) -> SessionRecord | Tombstone | None:
            row = connection.execute(
                f"SELECT {rows.SESSION_COLUMNS} FROM sessions WHERE user_id = ? AND session_id = ?", key
            ).fetchone()
            if row is not None:
                return rows.session_record(row)
            row = connection.execute(
                "SELECT status, ended_at FROM ended_sessions WHERE user_id = ? AND session_id = ?", key
            ).fetchone()
            return Tombstone(*row) if row is not None else None

        return await self._read(query)

    async def owners(self, session_id: str) -> Sequence[str]:
        """Return the users that have a live session of this id."""
        return await self._read(
            lambda connection: [
                row[0] for row in connection.execute("SELECT user_id FROM sessions WHERE session_id = ?", (session_id,))
            ]
        )

    async def read_log(self, ref: int, after: int, limit_bytes: int) -> LogSlice | None:
        """Return stored frames after a position; at least one row's, whatever its size."""

        def query(connection: sqlite3.Connection) -> LogSlice | None:
            found = connection.execute(
                "SELECT first, last, frames FROM log WHERE ref = ? AND last > ? ORDER BY last", (ref, after)
            )
            return slice_of(map(tuple, found), after, limit_bytes)

        return await self._read(query)

    async def messages(
        self, ref: int, *, before: str | None = None, limit: int | None = None
    ) -> Sequence[MessageRecord]:
        """Return the last `limit` messages before one, oldest first."""
        place = "(SELECT position FROM messages WHERE ref = ? AND message_id = ?)"
        where = "ref = ?" if before is None else f"ref = ? AND position < {place}"
        values = (ref,) if before is None else (ref, ref, before)

        def query(connection: sqlite3.Connection) -> Sequence[MessageRecord]:
            found = connection.execute(
                "SELECT position, run_id, created_at, tokens_in, tokens_out, body FROM messages "
                f"WHERE {where} ORDER BY position DESC LIMIT ?",
                (*values, -1 if limit is None else limit),
            ).fetchall()
            return [rows.message_record(row) for row in reversed(found)]

        return await self._read(query)

    async def run_by_message(self, ref: int, message_id: str) -> RunRecord | None:
        """Return the run of a message; an id that only a message has is a run of no body, which conflicts."""

        def query(connection: sqlite3.Connection) -> RunRecord | None:
            row = connection.execute(
                f"SELECT {rows.RUN_COLUMNS} FROM runs WHERE ref = ? AND message_id = ?", (ref, message_id)
            ).fetchone()
            if row is not None:
                return rows.run_record(row)
            row = connection.execute(
                "SELECT run_id, created_at FROM messages WHERE ref = ? AND message_id = ?", (ref, message_id)
            ).fetchone()
            if row is None:
                return None
            return RunRecord(
                run_id=row["run_id"],
                message_id=message_id,
                digest=b"",
                agent="",
                status="finished",
                started_at=row["created_at"],
            )

        return await self._read(query)

    async def run_by_id(self, ref: int, run_id: str) -> RunRecord | None:
        """Return a run."""

        def query(connection: sqlite3.Connection) -> RunRecord | None:
            row = connection.execute(
                f"SELECT {rows.RUN_COLUMNS} FROM runs WHERE ref = ? AND run_id = ?", (ref, run_id)
            ).fetchone()
            return rows.run_record(row) if row is not None else None

        return await self._read(query)

    # --- many sessions

    async def sessions(self, user_id: str, *, limit: int, cursor: str | None, query: str | None) -> Page:
        """Return a page of a user's sessions, latest activity first."""
        where: list[str] = []
        found_by: list[Any] = []
        values: list[Any] = [user_id]
        if cursor is not None:
            where.append("(last_activity, ref) < (?, ?)")
            values += parse_place(cursor)
        if query is not None:
            condition, found_by = _search(user_id, query)
            where.append(condition)
            values += found_by

        def select(connection: sqlite3.Connection) -> Page:
            # With few matches their sessions are sorted; with many, the user's are gone through, newest first. Left to
            # itself SQLite always does the latter, and one match costs as much as all.
            few = _few_found(connection, query) if found_by else None
            if few is None:
                conditions, given = ["user_id = ?", *where], values
            else:
                conditions = ["+user_id = ?", *where[:-1], "ref IN (SELECT value FROM json_each(?))"]
                given = [*values[: -len(found_by)], few]
            found = connection.execute(
                f"SELECT {rows.SESSION_COLUMNS} FROM sessions WHERE {' AND '.join(conditions)} "
                "ORDER BY last_activity DESC, ref DESC LIMIT ?",
                (*given, limit + 1),
            ).fetchall()
            records = [rows.session_record(row) for row in found[:limit]]
            last = records[-1] if len(found) > limit else None
            return Page(records, place_of(last.last_activity, last.ref) if last is not None else None)

        return await self._read(select)

    async def count(self, user_id: str | None) -> int:
        """Return how many live sessions there are."""
        where, values = ("WHERE user_id = ?", (user_id,)) if user_id is not None else ("", ())
        return await self._read(
            lambda connection: int(connection.execute(f"SELECT count(*) FROM sessions {where}", values).fetchone()[0])
        )

    async def idle_since(self, before: float, limit: int, user_id: str | None = None) -> Sequence[SessionRecord]:
        """Return sessions in which nothing waits for an answer, last active before a time, oldest first."""
        where = "" if user_id is None else "AND user_id = ?"
        values: list[Any] = [] if user_id is None else [user_id]
        return await self._read(
            lambda connection: [
                rows.session_record(row)
                for row in connection.execute(
                    f"SELECT {rows.SESSION_COLUMNS} FROM sessions WHERE last_activity < ? AND pending = '{{}}' {where} "
                    "ORDER BY last_activity LIMIT ?",
                    (before, *values, limit),
                )
            ]
        )

    async def overdue(self, before: float, limit: int) -> Sequence[SessionRecord]:
        """Return sessions whose questions were to be answered before a time, oldest first."""
        expires_at = "json_extract(pending, '$.expires_at')"
        query = (
            f"SELECT {rows.SESSION_COLUMNS} FROM sessions WHERE pending <> '{{}}' AND {expires_at} < ? "
            f"ORDER BY {expires_at} LIMIT ?"
        )
        return await self._read(
            lambda connection: [rows.session_record(row) for row in connection.execute(query, (before, limit))]
        )

    async def collapsible(self, before: float, limit_bytes: int) -> Sequence[Sequence[SaveLog]]:
        """Return rows to collapse, a list for each session, about `limit_bytes` in all."""

        def query(connection: sqlite3.Connection) -> Sequence[Sequence[SaveLog]]:
            found: dict[int, list[SaveLog]] = {}
            size = 0
            refs = connection.execute(
                "SELECT DISTINCT ref FROM log WHERE collapsed = 0 AND ended_at < ? LIMIT 1000", (before,)
            ).fetchall()
            for (ref,) in refs:
                for row in connection.execute(
                    f"SELECT {rows.LOG_COLUMNS} FROM log "
                    "WHERE ref = ? AND collapsed = 0 AND ended_at < ? ORDER BY last",
                    (ref, before),
                ):
                    group = found.setdefault(ref, [])
                    if group and group[-1].last + 1 != row["first"]:
                        break  # rows of two stretches are collapsed one stretch at a time
                    group.append(rows.log_row(row))
                    size += len(row["frames"])
                if size > limit_bytes:
                    break
            return list(found.values())

        return await self._read(query)

    async def open_runs(self) -> Sequence[OpenRun]:
        """Return what a crash left; reads the journal once."""
        return await self._read(_open_runs)

    async def stats(self, user_id: str | None) -> dict[str, Any]:
        """Return totals for a user, or for everybody."""
        return await self._read(lambda connection: totals(connection, user_id))


def _search(user_id: str, query: str) -> tuple[str, list[Any]]:
    """Return an SQL condition on sessions and its values: every word begins a word of one message, or of the title."""
    if UNSPACED.search(query):
        # These scripts put no spaces between words: the index has none to offer, so the user's rows are looked through.
        like = "%" + re.sub(r"([%_\\])", r"\\\1", query) + "%"
        condition = (
            "(title LIKE ? ESCAPE '\\' OR ref IN (SELECT m.ref FROM sessions s JOIN messages m ON m.ref = s.ref "
            "WHERE s.user_id = ? AND m.text LIKE ? ESCAPE '\\'))"
        )
        return condition, [like, user_id, like]
    terms = _terms(query)
    if terms is None:
        return "0", []
    owner = f'owner : "{rows.owner_token(user_id)}"'
    condition = (
        "ref IN (SELECT ref FROM messages WHERE id IN (SELECT rowid FROM found_messages WHERE found_messages MATCH ?) "
        "UNION SELECT rowid FROM found_titles WHERE found_titles MATCH ?)"
    )
    return condition, [f"{owner} AND text : ({terms})", f"{owner} AND title : ({terms})"]


def _terms(query: str) -> str | None:
    """Return what to look for in the index, None when there is no word in it, or such as the index does not have."""
    words = [] if UNSPACED.search(query) else WORD.findall(query)
    return " AND ".join(f'"{word}" *' for word in words[:MAX_WORDS]) or None


def _few_found(connection: sqlite3.Connection, query: str | None) -> str | None:
    """Return the sessions of a search as a JSON list, None when matches are many or there is no index for it.

    They are everybody's: to look for the owner too would read all that is known of him.
    """
    terms = _terms(query or "")
    if terms is None:
        return None
    found = connection.execute(
        "SELECT rowid FROM found_messages WHERE found_messages MATCH ? LIMIT ?", (f"text : ({terms})", _FEW + 1)
    ).fetchall()
    if len(found) > _FEW:
        return None
    refs = connection.execute(
        "SELECT ref FROM messages WHERE id IN (SELECT value FROM json_each(?)) "
        "UNION SELECT * FROM (SELECT rowid FROM found_titles WHERE found_titles MATCH ? LIMIT ?)",
        (orjson.dumps([row[0] for row in found]).decode(), f"title : ({terms})", _FEW + 1),
    ).fetchall()
    return None if len(refs) > _FEW else orjson.dumps([row[0] for row in refs]).decode()


def _open_runs(connection: sqlite3.Connection) -> Sequence[OpenRun]:
    unfolded: dict[str, dict[int, bytes]] = {}
    for (blob,) in connection.execute("SELECT frames FROM journal ORDER BY id"):
        for epoch, seq, body in split_frames(blob):
            unfolded.setdefault(epoch, {})[seq] = b"id: %s-%d\ndata: %s\n\n" % (epoch.encode(), seq, body)
    left = connection.execute(
        f"SELECT {rows.SESSION_COLUMNS} FROM sessions "
        "WHERE queue <> '[]' OR ref IN (SELECT ref FROM runs WHERE status = 'running')"
    ).fetchall()
    return [_open_run(connection, rows.session_record(row), unfolded) for row in left]


def _open_run(connection: sqlite3.Connection, record: SessionRecord, unfolded: dict[str, dict[int, bytes]]) -> OpenRun:
    run_row = connection.execute(
        f"SELECT {rows.RUN_COLUMNS} FROM runs WHERE ref = ? AND status = 'running'", (record.ref,)
    ).fetchone()
    spilled = connection.execute(
        "SELECT frames FROM log WHERE ref = ? AND ended_at IS NULL ORDER BY last", (record.ref,)
    ).fetchall()
    stored = connection.execute("SELECT coalesce(max(last), 0) FROM log WHERE ref = ?", (record.ref,)).fetchone()[0]
    stored = max(stored, record.seq)
    frames = [
        b"id: %s-%d\ndata: %s\n\n" % (epoch.encode(), seq, body)
        for (blob,) in spilled
        for epoch, seq, body in split_frames(blob)
    ]
    frames += [frame for seq, frame in unfolded.get(record.epoch, {}).items() if seq > stored]
    return OpenRun(
        record=record,
        run=rows.run_record(run_row) if run_row is not None else None,
        frames=frames,
        stored=stored,
    )
