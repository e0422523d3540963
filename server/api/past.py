"""The past of a run, for a stream of it that begins later: its events without changes of state, and the state whole.

The state is known as of now, the events begin before: told as they were, changes would be applied twice. So up to now
they are left out, and the state stands behind what opened the run. Only the last frame of this has an `id:`, and only
when the past ends where the state does: who is cut off in the middle comes back without a cursor and gets all of it.
"""

from __future__ import annotations

from typing import Any

from ..core.events import bare_frame, split_whole
from ..ids import Cursor

_STARTED = b'{"type":"RUN_STARTED"'
_DELTA = b'{"type":"STATE_DELTA"'


class Past:
    """What happened in a run up to `until`, where the session's state was `state`. `message_id` is its question's."""

    def __init__(self, until: Cursor, state: dict[str, Any], message_id: str) -> None:
        self.until = until.seq
        self._epoch = until.epoch.encode()
        self._state: bytes | None = bare_frame({"type": "STATE_SNAPSHOT", "snapshot": state})
        self._opening = (_STARTED, *user_message(message_id))

    def told(self, frames: bytes, *, is_end: bool) -> bytes:
        """Return a piece of the run's log as it is told; `is_end`: it is the last piece of the past."""
        told: list[bytes] = []
        seq = 0
        for frame in split_whole(frames):
            head, _, data = frame.partition(b"\ndata: ")
            seq = int(head.rpartition(b"-")[2])
            if self._state is not None and not data.startswith(self._opening):
                told.append(self._state)
                self._state = None
            if not data.startswith(_DELTA):
                told.append(b"data: " + data)
        if is_end and self._state is not None:
            told.append(self._state)
            self._state = None
        if seq == self.until and told:
            told[-1] = b"id: %s-%d\n%s" % (self._epoch, seq, told[-1])
        return b"".join(told)


def user_message(message_id: str) -> tuple[bytes, ...]:
    """Return what the events begin with, as JSON, that stream the message of this id."""
    kinds = (b"START", b"CONTENT", b"END")
    return tuple(b'{"type":"TEXT_MESSAGE_%s","messageId":"%s"' % (kind, message_id.encode()) for kind in kinds)
