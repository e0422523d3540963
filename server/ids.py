"""Ids and cursors.

Ids made here are UUIDv7 as text: unique, unguessable enough to never collide, sorted by time. A cursor is
`<epoch>-<seq>`: a position in one session's log. The epoch is drawn per session, so a cursor of another
session, or of a log that lost its continuity, is recognised as foreign by comparing it.
"""

from __future__ import annotations

import re
import secrets
from typing import Final, NamedTuple

from uuid_utils import uuid7

CLIENT_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)
_CURSOR: Final = re.compile(r"([a-z0-9]{1,40})-(0|[1-9][0-9]{0,17})", re.ASCII)


class Cursor(NamedTuple):
    """A position: everything up to and including `seq` of the log named by `epoch` was seen."""

    epoch: str
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"


def new_id() -> str:
    """Return a new UUIDv7 as text (36 characters)."""
    return str(uuid7())


def new_epoch() -> str:
    """Return a name for a new log: 12 hexadecimal digits, 48 bits."""
    return secrets.token_hex(6)


def is_client_id(text: str) -> bool:
    """Say whether a client may use `text` as an id."""
    return CLIENT_ID.fullmatch(text) is not None


def parse_cursor(text: str) -> Cursor | None:
    """Return the cursor that `text` spells exactly, or None: a bad one is answered by a snapshot, not by an error."""
    match = _CURSOR.fullmatch(text)
    return Cursor(match[1], int(match[2])) if match else None
