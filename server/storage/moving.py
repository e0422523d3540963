"""What it takes to move sessions from one storage to another, both with their servers stopped.

A `Movable` is the other face of a storage: it gives and takes whole sessions, one at a time, under the names that
clients know them by: epoch and sequence numbers stay, so every cursor stays good. References are each storage's own.
`content` is what must be the same on both sides, byte for byte.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, NamedTuple, Protocol

import orjson

from ..core.ports import MessageRecord, RunRecord, SaveLog, SessionKey, SessionRecord, Tombstone

_OWN: Final = ("ref", "version", "run_id")
"""Fields of a record that mean something in its own storage only; no run is open in a session that moves."""

_TIMES: Final = frozenset({"created_at", "started_at", "ended_at", "last_activity"})


class MoveRefused(Exception):
    """Moving from or to this storage could lose something; the text says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeSession:
    """Everything that is stored of a session in which no run is open."""

    record: SessionRecord
    runs: Sequence[RunRecord]
    messages: Sequence[MessageRecord]
    """By position."""
    log: Sequence[SaveLog]
    """The frames that are kept, in order; a row that does not follow the one before it begins a new stretch."""


class EndedSession(NamedTuple):
    """What is left of a session: its tombstone, and what it counts for in the statistics."""

    key: SessionKey
    tombstone: Tombstone
    created_at: float
    last_activity: float
    message_count: int
    run_count: int


class Movable(Protocol):
    """A storage of a stopped deployment. Every method may raise `StorageError`; nothing but a write changes it."""

    async def open(self) -> None:
        """Look at it, and keep servers out where that is possible. What is not there is not made.

        Raises:
            MoveRefused: a server uses it, or it was written by another version.
        """

    async def close(self) -> None:
        """Release it."""

    async def require_stopped(self) -> None:
        """Look whether a server uses it.

        Raises:
            MoveRefused: one does.
        """

    async def require_settled(self) -> None:
        """Look whether there is something to move, all of it where `read` finds it.

        Raises:
            MoveRefused: there is nothing, or a crash left something open: a server must end it properly first.
        """

    async def count(self) -> int:
        """Return about how many sessions there are."""

    def keys(self) -> AsyncIterator[SessionKey]:
        """Yield every session, each once."""

    async def load(self, key: SessionKey) -> SessionRecord | Tombstone | None:
        """Return the session, what is left of it, or None."""

    async def read(self, key: SessionKey) -> WholeSession | None:
        """Return a session, None when it is not there.

        Raises:
            MoveRefused: a run is open in it.
        """

    async def write(self, session: WholeSession) -> None:
        """Put a session in the place of whatever stands under its key, whole or not at all."""

    async def drop(self, key: SessionKey) -> None:
        """Remove a session and leave nothing."""

    def ended(self) -> AsyncIterator[EndedSession]:
        """Yield what is left of each ended session."""

    async def grave(self, key: SessionKey) -> EndedSession | None:
        """Return what is left of an ended session."""

    async def bury(self, ended: Sequence[EndedSession]) -> None:
        """Insert or replace what is left of sessions that do not live here."""

    async def finish(self) -> None:
        """Bring up to date what is derived of all sessions; may be called again at any time."""


class Content(NamedTuple):
    """What a session holds, in numbers and as a hash: equal exactly when nothing was lost or changed."""

    digest: bytes
    messages: int
    runs: int
    frames: int


def content(session: WholeSession) -> Content:
    """Return the numbers and the hash of a session."""
    stretches = _stretches(session.log)
    canonical = {
        "record": {name: value for name, value in _fields(session.record).items() if name not in _OWN},
        "messages": [_fields(message) for message in sorted(session.messages, key=lambda one: one.position)],
        "runs": [_fields(run) for run in sorted(session.runs, key=lambda one: one.run_id)],
        "log": [[first, last, digest.hexdigest()] for first, last, digest in stretches],
    }
    text = orjson.dumps(canonical, option=orjson.OPT_SORT_KEYS, default=bytes.hex)
    frames = sum(row.frames.count(b"\n\n") for row in session.log)
    return Content(hashlib.sha256(text).digest(), len(session.messages), len(session.runs), frames)


def _fields(record: SessionRecord | MessageRecord | RunRecord) -> dict[str, Any]:
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    # A time that is a whole number of seconds may come back as one.
    return {name: float(value) if name in _TIMES and value is not None else value for name, value in values.items()}


def _stretches(log: Sequence[SaveLog]) -> list[tuple[int, int, Any]]:
    """Return first, last and the hash of the frames of each stretch: how it is cut into rows is a storage's own."""
    found: list[tuple[int, int, Any]] = []
    for row in sorted(log, key=lambda one: one.last):
        if found and found[-1][1] + 1 == row.first:
            first, _, digest = found.pop()
        else:
            first, digest = row.first, hashlib.sha256()
        digest.update(row.frames)
        found.append((first, row.last, digest))
    return found
