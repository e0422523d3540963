r"""The two seams: what an agent is, and what a storage promises.

An agent turns a `Turn` into text and AG-UI events. A storage keeps sessions, messages, runs and logs; its one
write is `commit`, which takes everything or nothing, and is only ever called by the journal, one at a time.
Reads may run beside it, never on the loop. All times are Unix seconds (float), all text is Unicode, all frames
are complete SSE frames (`id: <cursor>\ndata: <json>\n\n`) as they go to clients.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

Event = dict[str, Any]
"""One AG-UI event as JSON: `{"type": "TEXT_MESSAGE_CONTENT", "messageId": …, "delta": …}`."""

Message = dict[str, Any]
"""One AG-UI message: `{"id", "role", "content"?, "toolCalls"?, "toolCallId"?, "metadata"?, …}`."""


class SessionKey(NamedTuple):
    """The owner is part of the key: another user's session with the same id is another session."""

    user_id: str
    session_id: str


# --- agents


@dataclass(slots=True, kw_only=True)
class Turn:
    """What an agent is asked: `message` in the light of `messages` (AG-UI, oldest first, the new one last).

    `state` is the session's artifacts; the agent changes it by yielding STATE_DELTA or STATE_SNAPSHOT events,
    never by writing to it. What the agent appends to `usage` (AG-UI TokenUsage) is stored and sent at the end.
    """

    session_id: str
    run_id: str
    user_id: str
    message: str
    messages: list[Message]
    persona: str | None = None
    state: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    usage: list[dict[str, Any]] = field(default_factory=list)


class Agent(Protocol):
    """A str is a piece of the answer's text; anything else is an AG-UI event. Cancellation is cancellation."""

    def __call__(self, turn: Turn, /) -> AsyncIterator[str | Event]:
        """Answer the turn."""


class Service(Protocol):
    """Work an agent needs beside its runs (an index, a connection), owned by the hub."""

    async def run(self) -> None:
        """Work until cancelled."""

    def health(self) -> dict[str, Any]:
        """Return `{"status": "ok" | "starting" | "down", …}` for readiness; never blocks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentEntry:
    """One named agent. `capabilities` is shown by `GET /api/agents`."""

    name: str
    kind: str
    agent: Agent
    description: str = ""
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    service: Service | None = None


# --- storage


class StorageError(Exception):
    """The storage cannot take or give anything right now; nothing was half-written. The text is for operators.

    `is_transient`: somebody else holds it for a moment; requests wait for that within their timeout. `is_defect`:
    something in the batch is wrong, not the storage; the rest of the batch would be taken.
    """

    def __init__(self, detail: str, *, is_transient: bool = False, is_defect: bool = False) -> None:
        self.is_transient = is_transient
        self.is_defect = is_defect
        super().__init__(detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """What is stored of a session besides its messages and log."""

    ref: int
    user_id: str
    session_id: str
    epoch: str
    seq: int = 0
    """Last sequence number that was folded; the journal may hold later ones."""
    title: str | None = None
    title_given: bool = False
    agent: str
    persona: str | None = None
    created_at: float
    last_activity: float
    message_count: int = 0
    run_count: int = 0
    website_domain: str | None = None
    ip_address: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Mapping[str, Any] = field(default_factory=dict)
    queue: tuple[Mapping[str, Any], ...] = ()

    @property
    def key(self) -> SessionKey:
        """Owner and id."""
        return SessionKey(self.user_id, self.session_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One run; `status` is queued, running, finished, interrupted or failed. `digest` is of the POST's body."""

    run_id: str
    message_id: str
    digest: bytes
    agent: str
    status: str
    started_at: float
    ended_at: float | None = None
    first: int = 0
    """Sequence number of its first event; 0 when it never began."""
    last: int = 0
    """Sequence number of its last event; 0 before it ended."""
    code: str | None = None
    usage: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRecord:
    """One stored message. `position` orders the messages of a session and never changes."""

    position: int
    run_id: str
    created_at: float
    message: Message
    tokens_in: int = 0
    tokens_out: int = 0


class Tombstone(NamedTuple):
    """What is left of an ended session: that it was, and why it is not (`deleted` or `expired`)."""

    reason: str
    ended_at: float


class LogSlice(NamedTuple):
    """Frames that follow a position: complete, in order; `last` is the position after them."""

    frames: bytes
    last: int


@dataclass(frozen=True, slots=True)
class SaveSession:
    """Insert or replace the session's row."""

    record: SessionRecord


@dataclass(frozen=True, slots=True)
class SaveRun:
    """Insert or replace a run's row."""

    ref: int
    run: RunRecord


@dataclass(frozen=True, slots=True)
class SaveMessages:
    """Insert or replace messages, by (session, message id)."""

    ref: int
    messages: Sequence[MessageRecord]


@dataclass(frozen=True, slots=True)
class SaveLog:
    """Move frames (first … last) from the journal to the session's own rows.

    `ended_at` None: their run is still open; a row with a time says that all before it are of ended runs too.
    """

    ref: int
    first: int
    last: int
    frames: bytes
    ended_at: float | None


@dataclass(frozen=True, slots=True)
class ReplaceLog:
    """Put one collapsed row in the place of the rows it was made of; keep at most `keep_bytes` of the session's log."""

    row: SaveLog
    keep_bytes: int


@dataclass(frozen=True, slots=True)
class ClearMessages:
    """Remove the session's messages and its log up to `through`."""

    ref: int
    through: int


@dataclass(frozen=True, slots=True)
class EndSession:
    """Remove everything of the session and leave a tombstone."""

    record: SessionRecord
    tombstone: Tombstone


@dataclass(frozen=True, slots=True)
class CutJournal:
    """Remove the journal before this position: all its events stand in their sessions' rows."""

    before: int


@dataclass(frozen=True, slots=True)
class PurgeTombstones:
    """Forget sessions that ended before this time."""

    before: float


@dataclass(frozen=True, slots=True)
class TidySearch:
    """Let the search index forget for good what was deleted; `pages` as FTS5's merge command has it."""

    pages: int


Write = (
    SaveSession
    | SaveRun
    | SaveMessages
    | SaveLog
    | ReplaceLog
    | ClearMessages
    | EndSession
    | CutJournal
    | PurgeTombstones
    | TidySearch
)


@dataclass(slots=True)
class Batch:
    """One commit: the frames of all sessions in arrival order, and what else changes with them."""

    frames: list[bytes] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)


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


class Storage(Protocol):
    """What persists. Every method may raise `StorageError`; none waits longer than its caller's timeout."""

    async def open(self) -> None:
        """Connect, migrate, find what a crash left. Safe to call again after a failure."""

    async def close(self) -> None:
        """Write nothing more, release everything. Idempotent."""

    async def commit(self, batch: Batch) -> int:
        """Write all of `batch` or nothing; return the journal position of its frames. Never called twice at once."""

    async def probe(self) -> None:
        """Do what a commit needs and raise if it would fail: the disk takes writes, the file is sound."""

    async def renew_epochs(self) -> bool:
        """Give every log a new name if its newest events may be missing; say whether that was so."""

    def new_ref(self) -> int:
        """Return a reference no session had before."""

    async def open_runs(self) -> Sequence[OpenRun]:
        """Return what a crash left: sessions with an open run, unfolded frames, or a waiting queue."""

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
        """Return a user's, or everybody's, sessions whose last activity lies before a time, oldest first."""

    async def collapsible(self, before: float, limit_bytes: int) -> Sequence[Sequence[SaveLog]]:
        """Return rows of runs that ended before a time and still hold every delta, a list for each session."""

    async def stats(self, user_id: str | None) -> dict[str, Any]:
        """Return totals for a user, or for everybody."""
