"""What waits for its commit: entries of one session, and what the journal makes of them.

A bare event dict in the outbox is an event of the active run with no ceremony: the way of a token. Everything else is
an `Entry`: events that stand or fall together, with what else the same commit changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from ..errors import Unavailable
from .ports import Event, Message, Part, RunRecord, Write

ENTRY_BYTES = 200  # what an event weighs in the outbox besides its text


class Stale(Unavailable):
    """What was appended was decided on what another node has changed since: decide again."""


class LoggedRun(Protocol):
    """What a log knows of a run: where it stands, and what to store at its end."""

    run_id: str
    is_foreign: bool
    """Whether its agent works on another node, so that nothing here may append to it."""
    node_id: str
    """That node."""
    first: int
    """Sequence number of its first event."""
    last: int
    """Sequence number of its last event, once it is over."""
    opened: int
    """Sequence number of the last event of its opening."""
    messages: list[Message]
    """What it added, once it is over."""

    def as_record(self) -> RunRecord:
        """Return what is stored of it now."""

    def give_up(self, code: str, detail: str) -> None:
        """End it as failed, because its events cannot be stored."""

    def lose(self) -> None:
        """Hear that another node has taken it: nothing it says is stored any more."""

    def ended_elsewhere(self, record: RunRecord, messages: list[Message]) -> None:
        """Hear how another node ended it, and what it added."""


@dataclass(slots=True, eq=False)
class Entry:
    """Events and changes that are committed together or not at all."""

    events: Sequence[Event] = ()
    change: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the session's record that this replaces."""
    writes: Sequence[Write] = ()
    opens: LoggedRun | None = None
    closes: LoggedRun | None = None
    clears: bool = False
    """Messages and log before this entry are removed."""
    spills: bool = False
    """Frames that only ring and journal hold are written to the session's own rows."""
    is_reduced: bool = False
    """The end of a run of which only the last event is left, because the whole could not be written."""
    required: bool = False
    """Kept until a commit succeeds: what a run did cannot be undone by a full disk. Others fail to their caller."""
    on_commit: Callable[[], None] | None = None
    on_drop: Callable[[], None] | None = None
    done: asyncio.Future[None] | None = None
    first: int = 0
    last: int = 0

    def size(self) -> int:
        """Bytes this entry weighs while it waits."""
        return sum(event_size(event) for event in self.events)

    def settle(self, error: Exception | None = None) -> None:
        """Tell whoever waits; safe when nobody does any more."""
        callback = self.on_commit if error is None else self.on_drop
        if callback is not None:
            callback()
        if self.done is not None and not self.done.done():
            if error is None:
                self.done.set_result(None)
            else:
                self.done.set_exception(error)


Item = Event | Entry


def event_size(event: Event) -> int:
    """Bytes an event weighs in memory, roughly: its text and an overhead."""
    delta = event.get("delta")
    if type(delta) is str:
        return ENTRY_BYTES + len(delta)
    try:
        return ENTRY_BYTES + len(orjson.dumps(event))
    except TypeError:
        return ENTRY_BYTES  # it cannot be written either, and is dropped when that is tried


@dataclass(slots=True, kw_only=True)
class Prepared(Part):
    """One session's part of a batch: nothing of it is visible before `SessionLog.publish`."""

    items: list[Item]
    size: int
    is_plain: bool = False
    """Events of the open run and nothing else: the way of a token."""
    folded: bool
    """All frames up to the last of these stand in the session's own rows once this is committed."""
