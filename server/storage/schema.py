"""The SQLite schema, as numbered migrations: what is missing runs once, in one transaction; none is ever edited."""

from __future__ import annotations

import sqlite3
from typing import Final

MIGRATIONS: Final = (
    """
    CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

    -- Append-only, in arrival order, no index by session: a commit dirties the last page and no other.
    CREATE TABLE journal (id INTEGER PRIMARY KEY, frames BLOB NOT NULL);

    CREATE TABLE sessions (
        ref INTEGER PRIMARY KEY,
        user_id TEXT NOT NULL,
        session_id TEXT NOT NULL,
        owner TEXT NOT NULL,             -- the user as one search token
        epoch TEXT NOT NULL UNIQUE,
        seq INTEGER NOT NULL,
        title TEXT,
        title_given INTEGER NOT NULL,
        agent TEXT NOT NULL,
        persona TEXT,
        status TEXT NOT NULL DEFAULT 'active',
        started_at REAL NOT NULL,
        last_activity REAL NOT NULL,
        ended_at REAL,
        message_count INTEGER NOT NULL,
        run_count INTEGER NOT NULL,
        website_domain TEXT,
        ip_address TEXT,
        config TEXT NOT NULL,
        metadata TEXT NOT NULL,
        artifacts TEXT NOT NULL,
        queue TEXT NOT NULL,
        UNIQUE (user_id, session_id)
    );
    CREATE INDEX sessions_by_activity ON sessions (user_id, last_activity DESC, ref DESC);
    CREATE INDEX sessions_by_age ON sessions (last_activity);
    CREATE INDEX sessions_by_id ON sessions (session_id);
    CREATE INDEX sessions_with_queue ON sessions (ref) WHERE queue <> '[]';

    -- What is left of a session that ended: enough for 410 and for statistics, nothing of what was said.
    CREATE TABLE ended_sessions (
        user_id TEXT NOT NULL,
        session_id TEXT NOT NULL,
        status TEXT NOT NULL,
        started_at REAL NOT NULL,
        last_activity REAL NOT NULL,
        ended_at REAL NOT NULL,
        message_count INTEGER NOT NULL,
        run_count INTEGER NOT NULL,
        PRIMARY KEY (user_id, session_id)
    ) WITHOUT ROWID;
    CREATE INDEX ended_sessions_by_age ON ended_sessions (ended_at);

    CREATE TABLE runs (
        ref INTEGER NOT NULL,
        run_id TEXT NOT NULL,
        message_id TEXT NOT NULL,
        digest BLOB NOT NULL,
        agent TEXT NOT NULL,
        status TEXT NOT NULL,
        started_at REAL NOT NULL,
        ended_at REAL,
        first INTEGER NOT NULL,
        last INTEGER NOT NULL,
        code TEXT,
        usage TEXT NOT NULL,
        PRIMARY KEY (ref, run_id)
    ) WITHOUT ROWID;
    CREATE UNIQUE INDEX runs_by_message ON runs (ref, message_id);
    CREATE INDEX runs_open ON runs (ref) WHERE status = 'running';

    CREATE TABLE messages (
        id INTEGER PRIMARY KEY,
        ref INTEGER NOT NULL,
        position INTEGER NOT NULL,
        message_id TEXT NOT NULL,
        run_id TEXT NOT NULL,
        role TEXT NOT NULL,
        created_at REAL NOT NULL,
        tokens_in INTEGER NOT NULL,
        tokens_out INTEGER NOT NULL,
        owner TEXT NOT NULL,
        text TEXT NOT NULL,              -- what search finds; the message itself is the body
        body BLOB NOT NULL
    );
    CREATE UNIQUE INDEX messages_by_position ON messages (ref, position);
    CREATE UNIQUE INDEX messages_by_id ON messages (ref, message_id);

    -- Frames of ended (or, with no ended_at, spilled) runs: ready to be sent again.
    CREATE TABLE log (
        id INTEGER PRIMARY KEY,
        ref INTEGER NOT NULL,
        first INTEGER NOT NULL,
        last INTEGER NOT NULL,
        ended_at REAL,
        collapsed INTEGER NOT NULL,
        frames BLOB NOT NULL
    );
    CREATE UNIQUE INDEX log_by_position ON log (ref, last);
    CREATE INDEX log_to_collapse ON log (ended_at) WHERE collapsed = 0;

    CREATE VIRTUAL TABLE found_messages USING fts5
        (owner, text, content='messages', content_rowid='id', tokenize='unicode61 remove_diacritics 2');
    CREATE TRIGGER messages_found AFTER INSERT ON messages WHEN new.text <> '' BEGIN
        INSERT INTO found_messages (rowid, owner, text) VALUES (new.id, new.owner, new.text);
    END;
    CREATE TRIGGER messages_lost AFTER DELETE ON messages WHEN old.text <> '' BEGIN
        INSERT INTO found_messages (found_messages, rowid, owner, text) VALUES ('delete', old.id, old.owner, old.text);
    END;

    CREATE VIRTUAL TABLE found_titles USING fts5
        (owner, title, content='sessions', content_rowid='ref', tokenize='unicode61 remove_diacritics 2');
    CREATE TRIGGER titles_found AFTER INSERT ON sessions WHEN new.title IS NOT NULL BEGIN
        INSERT INTO found_titles (rowid, owner, title) VALUES (new.ref, new.owner, new.title);
    END;
    CREATE TRIGGER titles_lost AFTER DELETE ON sessions WHEN old.title IS NOT NULL BEGIN
        INSERT INTO found_titles (found_titles, rowid, owner, title) VALUES ('delete', old.ref, old.owner, old.title);
    END;
    -- One trigger, not two: the index must forget the old title before it learns the new one; triggers have no order.
    CREATE TRIGGER titles_changed AFTER UPDATE OF title ON sessions WHEN old.title IS NOT new.title BEGIN
        INSERT INTO found_titles (found_titles, rowid, owner, title)
            SELECT 'delete', old.ref, old.owner, old.title WHERE old.title IS NOT NULL;
        INSERT INTO found_titles (rowid, owner, title)
            SELECT new.ref, new.owner, new.title WHERE new.title IS NOT NULL;
    END;
    """,
    """
    -- The questions that a session's last run ended by, as JSON; an empty object when none waits.
    ALTER TABLE sessions ADD COLUMN pending TEXT NOT NULL DEFAULT '{}';
    CREATE INDEX sessions_asking ON sessions (json_extract(pending, '$.expires_at')) WHERE pending <> '{}';
    """,
)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a database to the newest schema.

    Raises:
        sqlite3.Error: it cannot be read or written; nothing was half-done.
        ValueError: it was written by a newer version of this program.
    """
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise ValueError(
            f"the database has schema {version}, this program knows {len(MIGRATIONS)}: use a newer version"
        )
    missing = MIGRATIONS[version:]
    if missing:
        # All in one transaction: whoever reads beside finds no schema, or the whole of it.
        script = ";".join([*missing, f"PRAGMA user_version = {len(MIGRATIONS)}"])
        connection.executescript(f"BEGIN IMMEDIATE; {script}; COMMIT;")
