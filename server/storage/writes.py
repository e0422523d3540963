"""How each write of the storage port stands in SQL, and what it weighs."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from ..core.ports import (
    Batch,
    ClearMessages,
    CutJournal,
    EndSession,
    PurgeTombstones,
    ReplaceLog,
    SaveLog,
    SaveMessages,
    SaveRun,
    SaveSession,
    TidySearch,
    Write,
)
from . import rows

_HEAVY_BYTES: Final = 1 << 20
_HEAVY_MESSAGES: Final = 50  # to tokenise, or to forget, for the search index: some milliseconds


def all_writes(batch: Batch) -> list[Write]:
    """Return what a batch writes besides frames, in order."""
    writes = [write for part in batch.parts if part.writes for write in part.writes]
    writes.extend(batch.writes)
    return writes


def is_heavy(size: int, writes: Sequence[Write]) -> bool:
    """Whether a commit takes so long that it belongs in a thread: an import, the end of a long session.

    `size` is that of its frames in bytes.
    """
    return size >= _HEAVY_BYTES or sum(map(_weight, writes)) + size >= _HEAVY_BYTES


def _weight(write: Write) -> int:
    if isinstance(write, SaveMessages):
        text = sum(len(record.message.get("content") or ()) for record in write.messages)
        return text + _HEAVY_BYTES * (len(write.messages) > _HEAVY_MESSAGES)
    if isinstance(write, EndSession):
        return _HEAVY_BYTES * (write.record.message_count > _HEAVY_MESSAGES)
    if isinstance(write, (ClearMessages, TidySearch, CutJournal)):
        return _HEAVY_BYTES
    if isinstance(write, SaveLog):
        return len(write.frames)
    return len(write.row.frames) if isinstance(write, ReplaceLog) else 0


def _save_session(writer: sqlite3.Connection, write: SaveSession) -> None:
    writer.execute(rows.SAVE_SESSION, rows.session_row(write.record))


def _save_run(writer: sqlite3.Connection, write: SaveRun) -> None:
    writer.execute(rows.SAVE_RUN, rows.run_row(write.ref, write.run))


def _save_messages(writer: sqlite3.Connection, write: SaveMessages) -> None:
    writer.executemany(rows.SAVE_MESSAGE, [rows.message_row(write.ref, record) for record in write.messages])


def _save_log(writer: sqlite3.Connection, write: SaveLog) -> None:
    if write.ended_at is not None:
        writer.execute("UPDATE log SET ended_at = ? WHERE ref = ? AND ended_at IS NULL", (write.ended_at, write.ref))
    writer.execute(
        f"INSERT OR REPLACE INTO log ({rows.LOG_COLUMNS}, collapsed) VALUES (?, ?, ?, ?, ?, 0)",
        (write.ref, write.first, write.last, write.frames, write.ended_at),
    )


def _replace_log(writer: sqlite3.Connection, write: ReplaceLog) -> None:
    row = write.row
    replaced = writer.execute(
        "DELETE FROM log WHERE ref = ? AND first >= ? AND last <= ?", (row.ref, row.first, row.last)
    ).rowcount
    if not replaced:
        return  # cleared or ended meanwhile: nothing may come back
    writer.execute(
        f"INSERT INTO log ({rows.LOG_COLUMNS}, collapsed) VALUES (?, ?, ?, ?, ?, 1)",
        (row.ref, row.first, row.last, row.frames, row.ended_at),
    )
    kept = 0
    for last, size in writer.execute(
        "SELECT last, length(frames) FROM log WHERE ref = ? ORDER BY last DESC", (row.ref,)
    ).fetchall():
        kept += size
        if kept > write.keep_bytes:
            writer.execute("DELETE FROM log WHERE ref = ? AND last <= ? AND collapsed = 1", (row.ref, last))
            return


def _clear_messages(writer: sqlite3.Connection, write: ClearMessages) -> None:
    writer.execute("DELETE FROM messages WHERE ref = ?", (write.ref,))
    writer.execute("DELETE FROM log WHERE ref = ? AND last <= ?", (write.ref, write.through))


def _end_session(writer: sqlite3.Connection, write: EndSession) -> None:
    record = write.record
    for table in ("messages", "runs", "log", "sessions"):
        writer.execute(f"DELETE FROM {table} WHERE ref = ?", (record.ref,))
    writer.execute(
        "INSERT OR REPLACE INTO ended_sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            record.user_id,
            record.session_id,
            write.tombstone.reason,
            record.created_at,
            record.last_activity,
            write.tombstone.ended_at,
            record.message_count,
            record.run_count,
        ),
    )


def _cut_journal(writer: sqlite3.Connection, write: CutJournal) -> None:
    # The last row's id stays, because the next one continues it; what it said goes.
    writer.execute("DELETE FROM journal WHERE id < ? AND id < (SELECT max(id) FROM journal)", (write.before,))
    writer.execute("UPDATE journal SET frames = x'' WHERE id < ? AND frames <> x''", (write.before,))


def _purge_tombstones(writer: sqlite3.Connection, write: PurgeTombstones) -> None:
    writer.execute("DELETE FROM ended_sessions WHERE ended_at < ?", (write.before,))


def _tidy_search(writer: sqlite3.Connection, write: TidySearch) -> None:
    # What is deleted stays in the index, marked, until its segments are merged.
    for table in ("found_messages", "found_titles"):
        writer.execute(f"INSERT INTO {table} ({table}, rank) VALUES ('merge', ?)", (write.pages,))


HANDLERS: Final[dict[type[Write], Any]] = {
    SaveSession: _save_session,
    SaveRun: _save_run,
    SaveMessages: _save_messages,
    SaveLog: _save_log,
    ReplaceLog: _replace_log,
    ClearMessages: _clear_messages,
    EndSession: _end_session,
    CutJournal: _cut_journal,
    PurgeTombstones: _purge_tombstones,
    TidySearch: _tidy_search,
}
