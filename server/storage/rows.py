"""How records stand in SQLite rows, both ways, in one place."""

from __future__ import annotations

import hashlib
import sqlite3
from typing import Any, Final

import orjson

from ..core.ports import MessageRecord, RunRecord, SaveLog, SessionRecord
from .searching import searchable

SESSION_COLUMNS: Final = (
    "ref, user_id, session_id, owner, epoch, seq, title, title_given, agent, persona, started_at, last_activity, "
    "message_count, run_count, website_domain, ip_address, config, metadata, artifacts, queue, "
    "pending"
)
SAVE_SESSION: Final = (
    f"INSERT INTO sessions ({SESSION_COLUMNS}) VALUES ({', '.join('?' * 21)}) ON CONFLICT (ref) DO UPDATE SET "
    "seq=excluded.seq, title=excluded.title, title_given=excluded.title_given, "
    "agent=excluded.agent, persona=excluded.persona, last_activity=excluded.last_activity, "
    "message_count=excluded.message_count, run_count=excluded.run_count, config=excluded.config, "
    "metadata=excluded.metadata, artifacts=excluded.artifacts, queue=excluded.queue, "
    "pending=excluded.pending"
)
RUN_COLUMNS: Final = "run_id, message_id, digest, agent, status, started_at, ended_at, first, last, code, usage"
SAVE_RUN: Final = f"INSERT OR REPLACE INTO runs (ref, {RUN_COLUMNS}) VALUES ({', '.join('?' * 12)})"
SAVE_MESSAGE: Final = (
    "INSERT OR REPLACE INTO messages "
    "(ref, position, message_id, run_id, role, created_at, tokens_in, tokens_out, owner, text, body) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, (SELECT owner FROM sessions WHERE ref = ?), ?, ?)"
)
LOG_COLUMNS: Final = "ref, first, last, frames, ended_at"


def owner_token(user_id: str) -> str:
    """Return a user as one word of the search index, so that a search looks at his rows only."""
    return "u" + hashlib.blake2b(user_id.encode(), digest_size=10).hexdigest()


def session_row(record: SessionRecord) -> tuple[Any, ...]:
    """Return the values of `SESSION_COLUMNS`."""
    return (
        record.ref,
        record.user_id,
        record.session_id,
        owner_token(record.user_id),
        record.epoch,
        record.seq,
        record.title,
        record.title_given,
        record.agent,
        record.persona,
        record.created_at,
        record.last_activity,
        record.message_count,
        record.run_count,
        record.website_domain,
        record.ip_address,
        _json(record.config),
        _json(record.metadata),
        _json(record.artifacts),
        _json(record.queue),
        _json(record.pending),
    )


def session_record(row: sqlite3.Row) -> SessionRecord:
    """Return the record of a row of `SESSION_COLUMNS`."""
    return SessionRecord(
        ref=row["ref"],
        user_id=row["user_id"],
        session_id=row["session_id"],
        epoch=row["epoch"],
        seq=row["seq"],
        title=row["title"],
        title_given=bool(row["title_given"]),
        agent=row["agent"],
        persona=row["persona"],
        created_at=row["started_at"],
        last_activity=row["last_activity"],
        message_count=row["message_count"],
        run_count=row["run_count"],
        website_domain=row["website_domain"],
        ip_address=row["ip_address"],
        config=orjson.loads(row["config"]),
        metadata=orjson.loads(row["metadata"]),
        artifacts=orjson.loads(row["artifacts"]),
        queue=tuple(orjson.loads(row["queue"])),
        pending=orjson.loads(row["pending"]),
    )


def run_row(ref: int, run: RunRecord) -> tuple[Any, ...]:
    """Return the values of `SAVE_RUN`."""
    return (
        ref,
        run.run_id,
        run.message_id,
        run.digest,
        run.agent,
        run.status,
        run.started_at,
        run.ended_at,
        run.first,
        run.last,
        run.code,
        _json(run.usage),
    )


def run_record(row: sqlite3.Row) -> RunRecord:
    """Return the record of a row of `RUN_COLUMNS`."""
    values = {name: row[name] for name in RUN_COLUMNS.split(", ")}
    return RunRecord(**{**values, "usage": orjson.loads(row["usage"])})


def message_row(ref: int, record: MessageRecord) -> tuple[Any, ...]:
    """Return the values of `SAVE_MESSAGE`."""
    message = record.message
    return (
        ref,
        record.position,
        message["id"],
        record.run_id,
        message["role"],
        record.created_at,
        record.tokens_in,
        record.tokens_out,
        ref,
        searchable(message),
        orjson.dumps(message),
    )


def message_record(row: sqlite3.Row) -> MessageRecord:
    """Return the record of a row of `messages`."""
    return MessageRecord(
        position=row["position"],
        run_id=row["run_id"],
        created_at=row["created_at"],
        message=orjson.loads(row["body"]),
        tokens_in=row["tokens_in"],
        tokens_out=row["tokens_out"],
    )


def log_row(row: sqlite3.Row) -> SaveLog:
    """Return the record of a row of `LOG_COLUMNS`."""
    return SaveLog(row["ref"], row["first"], row["last"], row["frames"], row["ended_at"])


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
