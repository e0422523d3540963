"""What is asked of a session and what it answers: plain values, no behaviour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..ids import Cursor, new_epoch
from .ports import Message, MessageRecord, RunRecord, SaveMessages, SaveSession, SessionKey, SessionRecord, Write
from .run import Run

OnBusy = Literal["reject", "queue", "interrupt"]
Outcome = Literal["stopped", "already_finished", "idle", "pending"]
EndReason = Literal["deleted", "expired"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Creation:
    """How a session that does not exist yet is made; `messages` are those of an import."""

    agent: str
    title: str | None = None
    persona: str | None = None
    metadata: Mapping[str, Any] | None = None
    config: Mapping[str, Any] | None = None
    website_domain: str | None = None
    ip_address: str | None = None
    messages: Sequence[Message] = ()
    artifacts: Mapping[str, Any] | None = None
    pending: Mapping[str, Any] | None = None
    created_at: float | None = None

    def as_record(self, key: SessionKey, ref: int, now: float) -> SessionRecord:
        """Return the record of the new session; its log is empty and has a name of its own."""
        return SessionRecord(
            ref=ref,
            user_id=key.user_id,
            session_id=key.session_id,
            epoch=new_epoch(),
            title=self.title,
            title_given=self.title is not None,
            agent=self.agent,
            persona=self.persona,
            created_at=self.created_at or now,
            last_activity=now,
            message_count=len(self.messages),
            website_domain=self.website_domain,
            ip_address=self.ip_address,
            metadata=self.metadata or {},
            config=self.config or {},
            artifacts=self.artifacts or {},
            pending=self.pending or {},
        )

    def writes(self, record: SessionRecord) -> list[Write]:
        """Return what creating the session writes."""
        if not self.messages:
            return [SaveSession(record)]
        base = -len(self.messages)  # below the position of the first event: what follows is ordered behind
        rows = [
            MessageRecord(position=base + index, run_id="", created_at=record.last_activity, message=message)
            for index, message in enumerate(self.messages)
        ]
        return [SaveSession(record), SaveMessages(record.ref, rows)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What a POST of a message is answered with. `run` is there while it is in memory."""

    run_id: str
    message_id: str
    status: str
    cursor: Cursor
    run: Run | None = None
    record: RunRecord | None = None
    """What is stored of a run that was over before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What an interrupt did."""

    run_id: str | None
    outcome: Outcome
    cursor: Cursor
