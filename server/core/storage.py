"""What a storage is to the core, and what nodes that share one know of each other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from .ports import Batch, Committed, LogSlice, MessageRecord, RunRecord, SaveLog, SessionKey, SessionRecord, Tombstone


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRun:
    """What a crash left of a session: the record of its last fold, its open run if any, frames that are not folded."""

    record: SessionRecord
    run: RunRecord | None
    frames: Sequence[bytes]
    """From the last fold on, without a hole."""
    stored: int
    """Frames up to this seq stand in the session's own log rows, later ones in the journal."""


class Page(NamedTuple):
    """One page of sessions, latest activity first; `next_cursor` is None on the last one."""

    records: Sequence[SessionRecord]
    next_cursor: str | None


class Mark(NamedTuple):
    """Where a node stands in a session. `seq` None: it has nothing of the log yet. `run_id`: its open run."""

    key: SessionKey
    ref: int
    epoch: str
    version: int
    seq: int | None
    run_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What happened to a session since a mark."""

    record: SessionRecord
    run: RunRecord | None
    """The run that is open now, with `first` set."""
    fence: int
    """Its fence; 0 when none is open."""
    node_id: str
    """The node that has it."""
    frames: bytes | None
    """All frames after the mark's `seq` (when that is None: from the open run's first on); None: not kept any more."""
    ended: RunRecord | None
    """What is stored of the mark's run when that is not the open one any more."""


class Wake(NamedTuple):
    """Word of another node's commit. `is_news`: more than frames changed. It may be lost, and come twice."""

    key: SessionKey
    version: int
    is_news: bool


class Storage(Protocol):
    """What persists. Every method may raise `StorageError`; none waits longer than its caller's timeout."""

    async def open(self) -> None:
        """Connect, migrate, find what a crash left. Safe to call again after a failure."""

    async def close(self) -> None:
        """Write nothing more, release everything. Idempotent."""

    @property
    def sharing(self) -> Sharing | None:
        """How nodes that share this storage hear of each other; None when only one can have it open."""

    async def commit(self, batch: Batch) -> Committed:
        """Write every part whole or not at all. Raises when nothing was taken. Never called twice at once.

        A storage of one node takes all or nothing; a shared one may refuse single parts.
        """

    async def probe(self) -> None:
        """Do what a commit needs and raise if it would fail: the disk takes writes, the file is sound."""

    async def renew_epochs(self) -> bool:
        """Give every log a new name if its newest events may be missing; say whether that was so."""

    def new_ref(self, key: SessionKey) -> int:
        """Return the reference for a session that is created: no other has it."""

    async def open_runs(self) -> Sequence[OpenRun]:
        """Return what a crash left: sessions with an open run, unfolded frames, or a waiting queue."""

    def is_unused(self, key: SessionKey) -> bool:
        """Say whether it is certain that nobody's session has this id, and the caller's never had; False: not known.

        It never waits: who makes a session need not ask for it then.
        """

    async def load(self, key: SessionKey) -> SessionRecord | Tombstone | None:
        """Return the session, what is left of it, or None."""

    async def owners(self, session_id: str) -> Sequence[str]:
        """Return the users that have a live session of this id (for admins)."""

    async def read_log(self, ref: int, after: int, limit_bytes: int) -> LogSlice | None:
        """Return stored frames after a position, None when that position is not the end of a kept event."""

    async def messages(
        self, ref: int, *, before: str | None = None, limit: int | None = None
    ) -> Sequence[MessageRecord]:
        """Return the last `limit` messages, or those before the one with id `before`, oldest first."""

    async def run_by_message(self, ref: int, message_id: str) -> RunRecord | None:
        """Return the run that this message started or was to start."""

    async def run_by_id(self, ref: int, run_id: str) -> RunRecord | None:
        """Return a run."""

    async def sessions(self, user_id: str, *, limit: int, cursor: str | None, query: str | None) -> Page:
        """Return a page of a user's sessions; `query` searches titles and messages. A bad cursor raises ValueError."""

    async def count(self, user_id: str | None) -> int:
        """Return how many live sessions a user, or everybody, has."""

    async def idle_since(self, before: float, limit: int, user_id: str | None = None) -> Sequence[SessionRecord]:
        """Return a user's, or everybody's, sessions last active before a time, oldest first.

        Those in which a question waits for its answer are not among them.
        """

    async def overdue(self, before: float, limit: int) -> Sequence[SessionRecord]:
        """Return sessions whose questions were to be answered before a time, oldest first."""

    async def collapsible(self, before: float, limit_bytes: int) -> Sequence[Sequence[SaveLog]]:
        """Return rows of runs that ended before a time and still hold every delta, a list for each session."""

    async def stats(self, user_id: str | None) -> dict[str, Any]:
        """Return totals for a user, or for everybody."""


class Sharing(Protocol):
    """What nodes that share a storage know of each other. Every method may raise `StorageError`."""

    @property
    def node_id(self) -> str:
        """This process: letters and digits, never used before."""

    async def changes(self, marks: Sequence[Mark]) -> Sequence[Change | Tombstone | Literal["same", "absent"]]:
        """Return what happened since each mark: the session changed, ended, is the same, or is not there (any more)."""

    async def seize(self, ref: int, run_id: str) -> bool:
        """Take an open run from whoever has it: its fence grows, appends under the old one are refused from now on.

        Returns False when the run is not open any more.
        """

    async def hold(self, ref: int, seconds: float) -> bool:
        """Let no other node commit to a session for so long, or until this one has: who lost often gets a turn.

        Returns False when another node has it now.
        """

    async def renew_lease(self, ttl_s: float) -> None:
        """Say that this node lives, for as long as that."""

    async def drop_lease(self) -> None:
        """Say that this node has left, with all its runs ended."""

    async def held(self) -> Sequence[SessionKey]:
        """Return the sessions in which this node may have a run open."""

    async def lapsed(self) -> Mapping[str, Sequence[SessionKey]]:
        """Return the nodes whose lease is over, each with the sessions in which it may have left a run open."""

    async def forget_node(self, node_id: str) -> None:
        """Forget a node whose lease is over and whose runs are ended."""

    async def waiting(self) -> Sequence[SessionKey]:
        """Return sessions in which messages wait."""

    async def keep(self, keys: Sequence[SessionKey]) -> None:
        """Count these sessions as in use now: they must not expire before their whole timeout has gone by once more."""

    def wakes(self) -> AsyncIterator[Sequence[Wake]]:
        """Yield word of other nodes' commits as it comes. An empty one says that earlier ones may have been lost.

        Ends with StorageError when the connection does; the caller listens again.
        """
