"""Ring: the newest frames of one session's log, encoded once and shared by all its readers.

It holds frames `base + 1 … last` without a hole. Frames that stand in the session's own log rows (`spilled`) may be
dropped from the front; younger ones may not, because nowhere but here and in the journal do they exist. It is bounded
in bytes: over the bound the session is asked to spill.
"""

from __future__ import annotations


class Ring:
    """Committed frames after `base`; `take` is the whole of reading."""

    __slots__ = ("_frames", "_size", "base", "last", "spilled")

    def __init__(self, last: int) -> None:
        self._frames: list[bytes] = []
        self._size = 0
        self.base = last
        self.last = last
        self.spilled = last

    @property
    def size(self) -> int:
        """Bytes held."""
        return self._size

    def extend(self, frames: list[bytes]) -> None:
        """Append committed frames."""
        self._frames += frames
        self._size += sum(map(len, frames))
        self.last += len(frames)

    def take(self, after: int, until: int | None = None) -> bytes | None:
        """Return all frames after a position (up to `until`) as one chunk, None when the first of them is gone."""
        if after < self.base:
            return None
        start = after - self.base
        if start + 1 == len(self._frames) and until in (None, self.last):
            return self._frames[start]
        return b"".join(self._frames[start:] if until is None else self._frames[start : until - self.base])

    def unspilled(self) -> list[bytes]:
        """Return the frames that are not yet in the session's own rows."""
        return self._frames[self.spilled - self.base :]

    def trim(self, keep_bytes: int) -> None:
        """Drop spilled frames from the front until at most `keep_bytes` are held."""
        dropped = 0
        while self._size > keep_bytes and self.base + dropped < self.spilled:
            self._size -= len(self._frames[dropped])
            dropped += 1
        del self._frames[:dropped]
        self.base += dropped

    def drop_through(self, seq: int) -> None:
        """Forget every frame up to `seq`, which nobody may read any more."""
        dropped = max(0, min(seq, self.last) - self.base)
        self._size -= sum(map(len, self._frames[:dropped]))
        del self._frames[:dropped]
        self.base += dropped
        self.spilled = max(self.spilled, self.base)
