"""Witness: what a node was told is kept, of the last seconds. Asked when a Redis has restarted.

An append-only file that is synced once a second may lack its end after a crash: Redis answers before the disk does.
Only who was answered can know. Each session keeps the mark of the newest commit of each node; if that of this node is
not the one that was acknowledged last, something was lost.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from . import keys as names
from .keys import Keys
from .wire import Command, Wire

_KEPT_S: Final = 5.0  # Redis puts a write to its file off for two seconds at most
_ASKED_AT_ONCE: Final = 500


class Witness:
    """The newest acknowledged commit of each session this node has written to of late."""

    def __init__(self, wire: Wire, keys: Keys, node_id: str) -> None:
        self._wire = wire
        self._keys = keys
        self._field = f"c:{node_id}"
        self._told: OrderedDict[int, tuple[int, int, float]] = OrderedDict()
        """Session → mark and version of its newest commit, and when."""

    def note(self, told: Iterable[tuple[int, int, int]]) -> None:
        """Remember acknowledged commits: session, mark, version. Older ones are forgotten by the newer, not by time."""
        now = time.monotonic()
        for ref, mark, version in told:
            self._told[ref] = (mark, version, now)
            self._told.move_to_end(ref)
        while self._told:
            ref = next(iter(self._told))
            if now - self._told[ref][2] <= _KEPT_S:
                return
            del self._told[ref]

    def forget(self, ref: int) -> None:
        """Forget a session that ended."""
        self._told.pop(ref, None)

    async def misses_something(self) -> bool:
        """Say whether anything that was acknowledged is not there. Raises WireError."""
        told = list(self._told.items())
        for at in range(0, len(told), _ASKED_AT_ONCE):
            group = told[at : at + _ASKED_AT_ONCE]
            asked = []
            for ref, _ in group:
                place, end = self._keys.of(ref, names.S, names.END)
                asked += [Command(place, ("HMGET", place, "v", self._field)), Command(end, ("EXISTS", end))]
            answers = await self._wire.run(asked, is_guarded=False)
            for (_, (mark, version, _)), fields, is_ended in zip(group, answers[::2], answers[1::2], strict=True):
                if not _is_there(fields, mark, version) and is_ended != 1:
                    return True
        return False


def _is_there(fields: object, mark: int, version: int) -> bool:
    if not isinstance(fields, list):
        return False
    now, newest = fields
    # Without a mark others have written so much since that it was dropped.
    return now is not None and int(now) >= version and (newest is None or newest.startswith(b"%d:" % mark))
