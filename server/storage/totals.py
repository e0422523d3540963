"""Totals over sessions that live and that ended."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from typing import Any, Final

_HOUR_S: Final = 3600
_DAY_S: Final = 86_400
MOST_NAMED: Final = 100
"""Agents or sites: what is named beyond is no chart any more."""


def totals(connection: sqlite3.Connection, user_id: str | None) -> dict[str, Any]:
    """Return what there is, and was, of a user or of everybody."""
    where, values = ("WHERE user_id = ?", (user_id,)) if user_id is not None else ("", ())
    live = connection.execute(
        "SELECT count(*), coalesce(sum(message_count), 0), coalesce(sum(run_count), 0), "
        f"coalesce(sum(last_activity - started_at), 0) FROM sessions {where}",
        values,
    ).fetchone()
    ended = connection.execute(
        "SELECT count(*), coalesce(sum(message_count), 0), coalesce(sum(run_count), 0), "
        f"coalesce(sum(last_activity - started_at), 0) FROM ended_sessions {where}",
        values,
    ).fetchone()
    known = live[0] + ended[0]
    by_user = connection.execute(
        f"SELECT user_id, count(*) FROM sessions {where} GROUP BY user_id ORDER BY 2 DESC LIMIT 1000", values
    ).fetchall()
    now = time.time()
    return {
        "sessions": {
            "active": live[0],
            "ended": ended[0],
            "total": known,
            "by_user": {row[0]: row[1] for row in by_user},
        },
        "runs": live[2] + ended[2],
        "messages": live[1] + ended[1],
        "average_messages_per_session": round((live[1] + ended[1]) / known, 3) if known else 0,
        "average_duration_seconds": round((live[3] + ended[3]) / known, 3) if known else 0,
        "created": _rates(connection, user_id, now, "started_at", ("sessions", "ended_sessions")),
        "expired": _rates(connection, user_id, now, "ended_at", ("ended_sessions",), "status = 'expired'"),
        "by_agent": _shares(connection, user_id, "agent"),
        "by_site": _shares(connection, user_id, "website_domain"),
    }


def _shares(connection: sqlite3.Connection, user_id: str | None, column: str) -> dict[str, int]:
    """Return how many live sessions there are of each value that is not null, most first."""
    who, values = ("AND user_id = ?", (user_id,)) if user_id is not None else ("", ())
    rows = connection.execute(
        f"SELECT {column}, count(*) FROM sessions WHERE {column} IS NOT NULL {who} "
        f"GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {MOST_NAMED}",
        values,
    )
    return dict(rows.fetchall())


def _rates(
    connection: sqlite3.Connection,
    user_id: str | None,
    now: float,
    column: str,
    tables: Sequence[str],
    condition: str = "1",
) -> dict[str, int]:
    """Return how many in the last hour and the last day."""
    counts = {}
    for name, seconds in (("last_hour", _HOUR_S), ("last_day", _DAY_S)):
        who, values = ("AND user_id = ?", (user_id,)) if user_id is not None else ("", ())
        counts[name] = sum(
            connection.execute(
                f"SELECT count(*) FROM {table} WHERE {column} > ? AND {condition} {who}", (now - seconds, *values)
            ).fetchone()[0]
            for table in tables
        )
    return counts
