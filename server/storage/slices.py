"""Stretches of a log as they are stored, and what follows a position inside one."""

from __future__ import annotations

from collections.abc import Iterable

from ..core.events import split_frames
from ..core.ports import LogSlice


def tail(first: int, frames: bytes, after: int) -> bytes | None:
    """Return the frames of a stretch after a position, None when no kept event ends there."""
    if first == after + 1:
        return frames
    if first > after:
        return None
    for epoch, seq, body in split_frames(frames):
        if seq == after:
            head = b"id: %s-%d\ndata: " % (epoch.encode(), seq)
            return frames[frames.index(head + body) + len(head) + len(body) + 2 :]
    return None


def slice_of(stretches: Iterable[tuple[int, int, bytes]], after: int, limit_bytes: int) -> LogSlice | None:
    """Join stretches (first, last, frames), whose last lies after a position, up to a hole or about a size."""
    chunks: list[bytes] = []
    size, position = 0, after
    for first, last, frames in stretches:
        part = tail(first, frames, position)
        if part is None:
            return LogSlice(b"".join(chunks), position) if chunks else None
        chunks.append(part)
        size, position = size + len(part), last
        if size >= limit_bytes:
            break
    return LogSlice(b"".join(chunks), position)
