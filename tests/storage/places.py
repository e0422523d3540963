"""Storages of every kind as places to move from and to, and sessions to move."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

import anyio

from scripts.migrate import migrate, storage_at
from scripts.migration.compare import compare
from server.core.ports import SaveMessages, SaveRun, SaveSession, SessionKey, SessionRecord
from server.core.storage import Storage
from server.settings import Settings
from server.storage.moving import Movable
from tests.contract.records import log_of, message_of, record_of, run_of, write

WAIT_S: Final = 60


class Place:
    """One storage, by all its names."""

    def __init__(self, url: str, prefix: str, make: Callable[[], Storage]) -> None:
        self.url = url
        self.prefix = prefix
        self.make = make

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Storage]:
        """Open it as a server does."""
        storage = self.make()
        with anyio.fail_after(WAIT_S):
            await storage.open()
            try:
                yield storage
            finally:
                await storage.close()

    def movable(self, *, is_forced: bool = False) -> Movable:
        """Return it as something to move."""
        return storage_at(self.url, Settings(redis_prefix=self.prefix), is_forced=is_forced)


async def move(source: Place, target: Place) -> bool:
    with anyio.fail_after(WAIT_S):
        return await migrate(source.movable(), target.movable(), is_only_compared=False)


async def verified(source: Place, target: Place) -> list[str]:
    """Compare only; return what differs."""
    one, other = source.movable(), target.movable()
    with anyio.fail_after(WAIT_S):
        await one.open()
        await other.open()
        try:
            return (await compare(one, other)).named
        finally:
            await one.close()
            await other.close()


async def fill(storage: Storage, sessions: int = 3) -> None:
    """Make a session with everything set, some plain ones, and a foreign one of the same id."""
    full = record_of(
        1,
        seq=20,
        title="Größe 漢字 😀 \u2028 ‮",
        title_given=True,
        persona="pirate",
        message_count=3,
        run_count=2,
        website_domain="example.org",
        ip_address="::1",
        config={"top_k": 3, "größe": 1.5},
        metadata={"a": [1, {"b": None}], "big": 2**60},
        artifacts={"slides": {"pages": ["é"]}},
        queue=({"message_id": "q", "message": "später", "options": {}},),
    )
    await write(
        storage,
        SaveSession(full),
        SaveRun(full.ref, run_of("r1", first=1, last=10, ended_at=3.5, usage=({"inputTokens": 3},))),
        SaveRun(full.ref, run_of("r2", first=11, last=20, ended_at=4.5, status="failed", code="agent_failed")),
        SaveRun(full.ref, run_of("r3", status="queued", message_id="q")),
        SaveMessages(full.ref, [message_of(1, "Größe"), message_of(2, "漢字 😀"), message_of(5, tokens_in=3)]),
        log_of(1, 10, 3.5),
        log_of(11, 20, 4.5),
    )
    for number in range(2, sessions + 1):
        asked = {"run_id": "r2", "expires_at": 7.5, "questions": [{"interrupt": {"id": "größe"}, "answer": None}]}
        record = record_of(number, seq=4, message_count=1, run_count=1, pending=asked if number == 2 else {})
        run = run_of(f"r{number}", first=1, last=4, ended_at=3.0)
        said = SaveMessages(record.ref, [message_of(1, f"text {number}", run_id=run.run_id)])
        await write(storage, SaveSession(record), SaveRun(record.ref, run), said, log_of(1, 4, 3.0, number))
    await write(storage, SaveSession(record_of(1, user_id="bob")))


async def told(storage: Storage, key: SessionKey) -> dict[str, Any]:
    """Return everything a server would read of a session."""
    record = await storage.load(key)
    assert isinstance(record, SessionRecord), record
    messages = await storage.messages(record.ref)
    runs = [await storage.run_by_message(record.ref, one) for one in ("m-r1", "m-r2", "q", "nobody")]
    logs = [await storage.read_log(record.ref, after, 1 << 30) for after in range(record.seq + 1)]
    return {"record": replace(record, ref=0, version=0), "messages": messages, "runs": runs, "logs": logs}


KEYS: Final = [SessionKey("ann", "s1"), SessionKey("ann", "s2"), SessionKey("ann", "s3"), SessionKey("bob", "s1")]
