"""Names: the remote's ids as ours, and ours as the remote's.

Ids of AG-UI are any text; ours are 1 to 128 letters, digits, or any of `. _ : -`, and never used twice in a session.
So an id goes through unchanged where it can. One with other characters is spelled in ours, reversibly, so that the
remote gets its own back with the history. One that the session knows already (remotes that count from 1 in every run)
becomes a new id for good: to the remote, too, it must not mean two things.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final, Literal

from ...ids import is_client_id, new_id

Kind = Literal["message", "reasoning", "call", "result", "activity"]
"""What an id names; the remote may use one for several things, we do not."""

_SPELLED: Final = "remote:"
_UNFIT: Final = re.compile(rb"[^A-Za-z0-9._-]")
_ESCAPE: Final = re.compile(rb":([0-9A-F]{2})")


def spelled(remote_id: str) -> str:
    """Return an id of the remote in our letters; a new one where that gets too long."""
    if is_client_id(remote_id) and not remote_id.startswith(_SPELLED):
        return remote_id
    escaped = _UNFIT.sub(lambda match: b":%02X" % ord(match[0]), remote_id.encode(errors="replace"))
    ours = _SPELLED + escaped.decode()
    return ours if remote_id and is_client_id(ours) else new_id()


def original(our_id: str) -> str:
    """Return the id that the remote gave, as far as it was only spelled."""
    if not our_id.startswith(_SPELLED):
        return our_id
    escaped = our_id.removeprefix(_SPELLED).encode()
    return _ESCAPE.sub(lambda match: bytes.fromhex(match[1].decode()), escaped).decode(errors="replace")


class Names:
    """Our ids for those of one run."""

    def __init__(self, taken: Collection[str]) -> None:
        """Begin a run in a session that knows `taken`."""
        self._taken = set(taken)
        self._given: dict[tuple[Kind, str], str] = {}

    def name(self, kind: Kind, remote_id: str) -> str:
        """Return our id for something of this run, the same one each time."""
        given = self._given.get((kind, remote_id))
        return self.rename(kind, remote_id) if given is None else given

    def rename(self, kind: Kind, remote_id: str) -> str:
        """Return our id for something new, whatever the remote called by this id before."""
        ours = spelled(remote_id)
        if ours in self._taken:
            ours = new_id()
        self._taken.add(ours)
        self._given[kind, remote_id] = ours
        return ours

    def known(self, kind: Kind, remote_id: str) -> str | None:
        """Return our id for it, None when this run has not met it."""
        return self._given.get((kind, remote_id))
