"""A database that an older version left is brought to the newest schema, with all that is in it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from server.core.ports import SessionKey, SessionRecord
from server.storage.schema import MIGRATIONS, migrate
from server.storage.sqlite import FILE_NAME, SqliteStorage


async def test_sessions_from_before_questions_ask_nothing(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as connection:
        connection.executescript(f"{MIGRATIONS[0]}; PRAGMA user_version = 1;")
        connection.execute(
            "INSERT INTO sessions (ref, user_id, session_id, owner, epoch, seq, title_given, agent, started_at, "
            "last_activity, message_count, run_count, config, metadata, artifacts, queue) "
            "VALUES (1, 'ann', 's', 'uann', 'e', 3, 0, 'echo', 1.0, 2.0, 0, 0, '{}', '{}', '{}', '[]')"
        )
    storage = SqliteStorage(tmp_path, durability="normal")
    await storage.open()
    found = await storage.load(SessionKey("ann", "s"))
    overdue = await storage.overdue(9999.0, 10)
    idle = await storage.idle_since(9999.0, 10)
    await storage.close()

    assert isinstance(found, SessionRecord)
    assert (found.seq, found.pending) == (3, {})
    assert ([one.session_id for one in overdue], [one.session_id for one in idle]) == ([], ["s"])


def test_a_new_database_has_the_whole_schema_or_none() -> None:
    """Whoever opens it while it is made must not find half of the tables' columns."""
    statements: list[str] = []
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.set_trace_callback(statements.append)
        migrate(connection)
        version = connection.execute("PRAGMA user_version").fetchone()[0]

    assert version == len(MIGRATIONS) > 1
    told = [one.strip(" ;") for one in statements]
    assert (told.count("BEGIN IMMEDIATE"), told.count("COMMIT")) == (1, 1)
