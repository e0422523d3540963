"""Stored messages of a session, kept in its memory while they are few.

A turn and a snapshot need them, and reading them back costs a thread more than all the rest of a short answer. None
means that they must be read; the tuple is never changed, and its messages belong to the log: who hands them to others
gives copies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson

from .ports import ClearMessages, MessageRecord, SaveMessages, Write

Stored = tuple[MessageRecord, ...]

_KEPT_BYTES: Final = 16 << 10


def kept(records: Sequence[MessageRecord]) -> Stored | None:
    """Return all messages of a session as they are kept, None when they are too many."""
    if len(records) > _KEPT_BYTES // 100:  # none is smaller
        return None
    size = sum(len(orjson.dumps(record.message)) for record in records)
    return tuple(records) if size <= _KEPT_BYTES else None


def after(stored: Stored | None, writes: Sequence[Write]) -> Stored | None:
    """Return what is stored once `writes` are committed."""
    for write in writes:
        if isinstance(write, ClearMessages):
            stored = ()
        elif isinstance(write, SaveMessages) and stored is not None:
            stored = _with(stored, write.messages)
    return stored


def _with(stored: Stored, added: Sequence[MessageRecord]) -> Stored | None:
    ids = {record.message["id"] for record in stored}
    if any(record.message["id"] in ids for record in added):
        return None  # one of them takes the place of another
    return kept([*stored, *added])


def copied(records: Sequence[MessageRecord]) -> list[dict[str, Any]]:
    """Return the messages for somebody who may change them."""
    messages: list[dict[str, Any]] = orjson.loads(orjson.dumps([record.message for record in records]))
    return messages
