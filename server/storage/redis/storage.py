"""Redis storage: one deployment's sessions in one Redis, or one cluster, for any number of nodes.

Each session's truth is what Redis holds: its record, its log as a stream, its messages. A commit is one script a
session, all of a batch in one round trip; it takes a part only from a node that knows the session's newest version and,
while a run is open, has its fence. Redis 7 (or Valkey 7.2) is needed, with an append-only file to keep what it
acknowledged, and without eviction.

URLs: `redis://`, `rediss://` (TLS), `unix://`; `?cluster=true` says that the server is one of a cluster.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...core.ports import (
    Batch,
    Committed,
    LogSlice,
    MessageRecord,
    RunRecord,
    SaveLog,
    SessionKey,
    SessionRecord,
    StorageError,
    Tombstone,
)
from ...core.storage import OpenRun, Page, Sharing
from .commits import Commits
from .core import RedisCore
from .keys import ref_of
from .lists import Lists
from .reads import Reads
from .sharing import RedisSharing
from .wire import WireError


class RedisStorage:
    """The storage port on Redis.

    Raises:
        ValueError: the URL or the prefix is none.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "sessionstream",
        node_id: str,
        timeout_s: float,
        session_timeout_s: float,
        tombstone_s: float,
    ) -> None:
        self._core = RedisCore(url, prefix=prefix, node_id=node_id, timeout_s=timeout_s)
        self._reads = Reads(self._core)
        self._lists = Lists(self._core, self._reads)
        self._commits = Commits(self._core, session_timeout_s=session_timeout_s, tombstone_s=tombstone_s)
        self._sharing = RedisSharing(self._core, self._commits)

    @property
    def sharing(self) -> Sharing | None:
        """The other nodes."""
        return self._sharing

    # --- life

    async def open(self) -> None:
        """Find the servers, and whether they have all they ever acknowledged."""
        if self._core.is_closed:
            raise StorageError("the storage is closed")
        try:
            await self._core.continuity.check()
        except WireError as error:
            raise StorageError(str(error)) from error

    async def close(self) -> None:
        """Give the lease back and close every connection."""
        if self._core.is_closed:
            return
        try:
            if self._sharing.has_lease:
                await self._sharing.drop_lease()
        except StorageError:
            pass  # it runs out by itself
        finally:
            self._core.is_closed = True
            await self._core.wire.close()

    async def commit(self, batch: Batch) -> Committed:
        """Write every part that no other node was faster with."""
        if self._core.is_closed:
            raise StorageError("the storage is closed")
        return await self._commits.commit(batch)

    async def probe(self) -> None:
        """Write something small."""
        await self._core.tell([self._commits.probe_command()])

    async def renew_epochs(self) -> bool:
        """Sessions are renewed one by one, when they are first read after a loss."""
        return False

    def is_unused(self, key: SessionKey) -> bool:
        """Not known: only the server knows, and it must be asked."""
        return False

    def new_ref(self, key: SessionKey) -> int:
        """Return the reference of a session: it follows from the key."""
        return ref_of(key)

    async def open_runs(self) -> Sequence[OpenRun]:
        """Nothing is taken up at a start: what a dead node left is found by its lease."""
        return []

    # --- reads

    async def load(self, key: SessionKey) -> SessionRecord | Tombstone | None:
        """Return the session, what is left of it, or None."""
        return await self._reads.load(key)

    async def owners(self, session_id: str) -> Sequence[str]:
        """Return the users that have a live session of this id."""
        return await self._lists.owners(session_id)

    async def read_log(self, ref: int, after: int, limit_bytes: int) -> LogSlice | None:
        """Return stored frames after a position, None when that position is not the end of a kept event."""
        return await self._reads.read_log(ref, after, limit_bytes)

    async def messages(
        self, ref: int, *, before: str | None = None, limit: int | None = None
    ) -> Sequence[MessageRecord]:
        """Return the last `limit` messages, or those before one, oldest first."""
        return await self._reads.messages(ref, before=before, limit=limit)

    async def run_by_message(self, ref: int, message_id: str) -> RunRecord | None:
        """Return the run that this message started or was to start."""
        return await self._reads.run_by_message(ref, message_id)

    async def run_by_id(self, ref: int, run_id: str) -> RunRecord | None:
        """Return a run."""
        return await self._reads.run_by_id(ref, run_id)

    async def sessions(self, user_id: str, *, limit: int, cursor: str | None, query: str | None) -> Page:
        """Return a page of a user's sessions, latest activity first."""
        return await self._lists.sessions(user_id, limit=limit, cursor=cursor, query=query)

    async def count(self, user_id: str | None) -> int:
        """Return how many live sessions there are."""
        return await self._lists.count(user_id)

    async def idle_since(self, before: float, limit: int, user_id: str | None = None) -> Sequence[SessionRecord]:
        """Return sessions whose last activity lies before a time, oldest first."""
        return await self._lists.idle_since(before, limit, user_id)

    async def overdue(self, before: float, limit: int) -> Sequence[SessionRecord]:
        """Return sessions whose questions were to be answered before a time, oldest first."""
        return await self._lists.overdue(before, limit)

    async def collapsible(self, before: float, limit_bytes: int) -> Sequence[Sequence[SaveLog]]:
        """Return entries of the log to collapse, a list for each session."""
        return await self._reads.collapsible(before, limit_bytes)

    async def stats(self, user_id: str | None) -> dict[str, Any]:
        """Return totals for a user, or for everybody."""
        return await self._lists.stats(user_id)
