r"""The two seams: what an agent is, and the values that cross to a storage (`storage` says what one promises).

An agent turns a `Turn` into text and AG-UI events. A storage keeps sessions, messages, runs and logs; its one
write is `commit`, which takes each session's part whole or not at all, and is only ever called by the journal, one at
a time. Reads may run beside it, never on the loop. A storage that several nodes share has a `Sharing` besides: it takes
a part only from a node that knows the session's newest version, and tells the others. All times are Unix seconds
(float), all text is Unicode, all frames are complete SSE frames (`id: <cursor>\ndata: <json>\n\n`) as they go to
clients.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from .documents import Documents

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
    tools: Sequence[Mapping[str, Any]] = ()
    """Tools that the client performs, as AG-UI's `tools`: name, description, parameters (JSON Schema)."""
    context: Sequence[Mapping[str, Any]] = ()
    """What the client says beside its message, as AG-UI's `context`: description, value."""
    resume: Sequence[Mapping[str, Any]] = ()
    """Answers to what the last run ended by asking, as AG-UI's ResumeEntry, each with its `toolCallId` if there is one;
    the tool results they mean stand in `messages` already. A refused approval is `status: "cancelled"`."""


class Agent(Protocol):
    """A str is a piece of the answer's text; anything else is an AG-UI event. Cancellation is cancellation.

    It asks the client something by yielding, last of all, RUN_FINISHED with the outcome `interrupt`; the answers are
    the `resume` of another turn, whenever they come.
    """

    def __call__(self, turn: Turn, /) -> AsyncIterator[str | Event]:
        """Answer the turn."""


class Service(Protocol):
    """Work an agent needs beside its runs (an index, a connection), owned by the hub."""

    async def run(self) -> None:
        """Work until cancelled."""

    def health(self) -> dict[str, Any]:
        """Return `{"status": "ok" | "starting" | "down", …}` for readiness; never blocks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentLimits:
    """What one agent may take, where that is less than the settings allow; None leaves it to them."""

    run_timeout_s: float | None = None
    max_run_bytes: int | None = None
    max_message_chars: int | None = None


def _no_tools() -> Sequence[Mapping[str, Any]]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentEntry:
    """One named agent. `capabilities` is shown by `GET /api/agents`, with the tools it can call at that moment."""

    name: str
    kind: str
    agent: Agent
    description: str = ""
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    service: Service | None = None
    documents: Documents | None = None
    """The folder that it answers from, for requests that list, add or remove documents."""
    persona: str | None = None
    """The one it speaks as when neither message nor session names one."""
    personas: Sequence[str] | None = None
    """The names it knows, and no others; None: any text, of which it makes what it likes."""
    limits: AgentLimits = field(default_factory=AgentLimits)
    allowed_origins: frozenset[str] = frozenset()
    """Other sites whose pages may talk to this agent, and to those alone that name them."""
    tools: Callable[[], Sequence[Mapping[str, Any]]] = _no_tools
    """What it can call on the server now, as AG-UI's `tools`; never blocks."""


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
    pending: Mapping[str, Any] = field(default_factory=dict)
    """The questions that the last run ended by (see `pending`); empty when none waits for an answer."""
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
    """Insert the session's row, or replace what changes of it: its owner, birth and epoch do not."""

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
