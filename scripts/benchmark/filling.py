"""Data folders with many sessions, written through the storage port, not over HTTP; kept in .cache/ for the next run.

Session n of a folder holds two messages with a word all share, and one that only it has. Beside them stand sessions
with very many messages. A folder is made anew when the storage's own source changes.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import anyio

from server.core.ports import Batch, MessageRecord, SaveMessages, SaveSession, SessionKey, SessionRecord, Write
from server.storage.sqlite import SqliteStorage

from .arena import say
from .reader import CACHE, ROOT
from .subjects import USER

COMMON: Final = "harbour"
_BATCH: Final = 500
_KEPT_CHARS: Final = 12


def session_id(number: int) -> str:
    """Return the id of a session."""
    return f"stored-{number}"


def needle(number: int) -> str:
    """Return the word that only this session has."""
    return f"needle{number:07d}"


def long_session_id(messages: int) -> str:
    """Return the id of the session with so many messages."""
    return f"long-{messages}"


def filled(sessions: int, lengths: Sequence[int] = ()) -> Path:
    """Return a folder with so many sessions, and one more for each of `lengths`. Never write into it: copy it."""
    sources = [
        *sorted((ROOT / "server" / "storage").glob("*.py")),
        ROOT / "server" / "core" / "ports.py",
        Path(__file__),
    ]
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:_KEPT_CHARS]
    kind = f"stored-{sessions}-{'-'.join(map(str, lengths))}"
    folder = CACHE / f"{kind}-{digest}"
    if folder.exists():
        return folder
    for old in CACHE.glob(f"{kind}-{'?' * _KEPT_CHARS}"):
        shutil.rmtree(old)
    say(f"  filling {folder.name}")
    made = CACHE / f"{folder.name}.part"
    shutil.rmtree(made, ignore_errors=True)
    anyio.run(partial(_fill, made, sessions, lengths))
    made.rename(folder)
    return folder


async def _fill(folder: Path, sessions: int, lengths: Sequence[int]) -> None:
    storage = SqliteStorage(folder, durability="normal")
    await storage.open()
    try:
        writes: list[Write] = []
        for number in range(sessions):
            writes += _writes(storage, session_id(number), [f"{COMMON} {needle(number)}", "the boats come home"])
            if len(writes) >= _BATCH:
                await storage.commit(Batch(writes=writes))
                writes = []
        for length in lengths:
            writes += _writes(storage, long_session_id(length), [f"line {line} of many" for line in range(length)])
        await storage.commit(Batch(writes=writes))
    finally:
        await storage.close()


def _writes(storage: SqliteStorage, name: str, texts: Sequence[str]) -> Iterator[Write]:
    key = SessionKey(USER, name)
    now = time.time()
    record = SessionRecord(
        ref=storage.new_ref(key),
        user_id=key.user_id,
        session_id=key.session_id,
        epoch=hashlib.blake2b(name.encode(), digest_size=5).hexdigest(),
        title=f"about {name}",
        agent="words",
        created_at=now,
        last_activity=now,
        message_count=len(texts),
        run_count=len(texts) // 2,
    )
    yield SaveSession(record)
    yield SaveMessages(
        record.ref,
        [
            MessageRecord(
                position=place + 1,
                run_id=f"{name}-r{place // 2}",
                created_at=now,
                message={"id": f"{name}-m{place}", "role": ("user", "assistant")[place % 2], "content": text},
            )
            for place, text in enumerate(texts)
        ],
    )
