r"""The two seams: what an agent is, and what a storage promises.

An agent turns a `Turn` into text and AG-UI events. A storage keeps sessions, messages, runs and logs; its one
write is `commit`, which takes each session's part whole or not at all, and is only ever called by the journal, one at
a time. Reads may run beside it, never on the loop. A storage that several nodes share has a `Sharing` besides: it takes
a part only from a node that knows the session's newest version, and tells the others. All times are Unix seconds
(float), all text is Unicode, all frames are complete SSE frames (`id: <cursor>\ndata: <json>\n\n`) as they go to
clients.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

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
    something in the batch is wrong, not the storage; the rest of the batch would be taken. `is_uncertain`: the answer
    was lost, so nobody knows whether it was taken; the very same batch must be tried again, which takes nothing twice.
    `is_full`: there is no room; what ends a run or a session would still be taken.
    """

    def __init__(
        self,
        detail: str,
        *,
        is_transient: bool = False,
        is_defect: bool = False,
        is_uncertain: bool = False,
        is_full: bool = False,
    ) -> None:
        self.is_transient = is_transient
        self.is_defect = is_defect
        self.is_uncertain = is_uncertain
        self.is_full = is_full
        super().__init__(detail)


class StaleError(StorageError):
    """Another node committed to the session first: nothing was taken, and the node must catch up."""


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
    run_id: str | None = None
    """The open run. Kept by storages that nodes share; elsewhere only memory needs it."""
    version: int = 0
    """How many commits a shared storage has taken for the session; given when it is read, never written from here."""

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


@dataclass(slots=True, kw_only=True)
class Part:
    """What one session adds to a commit: its frames, which follow each other, and what else changes with them."""

    before: SessionRecord
    """The session as it was committed last."""
    record: SessionRecord
    """The session as this leaves it."""
    version: int = 0
    """What the session's version must be for a shared storage to take this; it is one more afterwards."""
    fence: int = 0
    """The fence of the open run of `before`, as this node knows it; 0 when none is open."""
    frames: list[bytes] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    is_ending: bool = False
    """Whether it ends a run or the session: taken also when the storage is full."""


@dataclass(slots=True)
class Batch:
    """One commit: the parts of sessions, one each at most, in arrival order, and writes that belong to none of them."""

    parts: Sequence[Part] = ()
    writes: Sequence[Write] = ()


class Committed(NamedTuple):
    """What became of a batch: the journal position of its frames, and why parts (by index) were not taken."""

    position: int
    refused: Mapping[int, StorageError]


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
