"""Reads of one session: its record, its log, its messages, its runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import anyio.to_thread

from ...core.ports import (
    LogSlice,
    MessageRecord,
    RunRecord,
    SaveLog,
    SessionKey,
    SessionRecord,
    StorageError,
    Tombstone,
)
from ..slices import slice_of
from . import codec
from . import keys as names
from .core import RedisCore
from .scripts import COLLAPSIBLE, MESSAGES, READ_LOG, RUN_BY_MESSAGE
from .wire import Command

_PAGE: Final = 500  # messages; more at once would hold up everybody else
_LARGE_BYTES: Final = 128 << 10  # decoded in a thread, not on the loop
_CANDIDATES: Final = 64


class Reads:
    """The cold reads of one session."""

    def __init__(self, core: RedisCore) -> None:
        self._core = core

    async def load(self, key: SessionKey) -> SessionRecord | Tombstone | None:
        """Return the session, what is left of it, or None."""
        ref = names.ref_of(key)
        [grave] = self._core.keys.of(ref, names.END)
        commands = [self._core.record_command(ref), Command(grave, ("GET", grave))]
        fields, left = await self._core.ask(commands)
        raw, version, seq, generation = fields
        if raw is None:
            return codec.tombstone(left) if left is not None else None
        if int(generation) != self._core.continuity.generation:
            await self._core.renew(ref)
            fields, left = await self._core.ask(commands)
            raw, version, seq, generation = fields
            if raw is None:
                return codec.tombstone(left) if left is not None else None
        record = codec.readable(lambda raw: codec.session_record(raw, version, seq), raw)
        return codec.require_key(record, key)

    async def read_log(self, ref: int, after: int, limit_bytes: int) -> LogSlice | None:
        """Return stored frames after a position; at least one entry's, whatever its size."""
        command = self._core.of(READ_LOG, ref, names.OLD, names.LOG, args=(after, limit_bytes))
        [found] = await self._core.ask([command])
        entries = zip(found[::3], found[1::3], found[2::3], strict=True)
        return slice_of(((int(first), int(last), frames) for last, first, frames in entries), after, limit_bytes)

    async def messages(
        self, ref: int, *, before: str | None = None, limit: int | None = None
    ) -> Sequence[MessageRecord]:
        """Return the last `limit` messages before one, oldest first."""
        bodies: list[bytes] = []
        place = "" if before is None else f"={before}"
        while limit is None or len(bodies) < limit:
            wanted = _PAGE if limit is None else min(_PAGE, limit - len(bodies))
            found = await self.message_page(ref, place, wanted)
            bodies += found[1:]
            if len(found) <= wanted:
                break
            place = f"({found[0].decode()}"
        if sum(map(len, bodies)) < _LARGE_BYTES:
            return _decoded(bodies)
        return await anyio.to_thread.run_sync(_decoded, bodies)

    async def message_page(self, ref: int, place: str, count: int) -> list[bytes]:
        """Return the position of the oldest message of a page, then the page, newest first."""
        [found] = await self._core.ask([self._core.of(MESSAGES, ref, names.MSGS, names.BODIES, args=(place, count))])
        return [one for one in found if one is not None]

    async def run_by_message(self, ref: int, message_id: str) -> RunRecord | None:
        """Return the run of a message; an id that only a message has is a run of no body, which conflicts."""
        command = self._core.of(RUN_BY_MESSAGE, ref, names.RUNS, names.BY, names.BODIES, args=(message_id,))
        [(run, message)] = await self._core.ask([command])
        if run is not None:
            return _run(run)
        if message is None:
            return None
        record = codec.readable(codec.message_record, message)
        return RunRecord(
            run_id=record.run_id,
            message_id=message_id,
            digest=b"",
            agent="",
            status="finished",
            started_at=record.created_at,
        )

    async def run_by_id(self, ref: int, run_id: str) -> RunRecord | None:
        """Return a run."""
        [key] = self._core.keys.of(ref, names.RUNS)
        [found] = await self._core.ask([Command(key, ("HGET", key, run_id))])
        return _run(found) if found is not None else None

    # --- collapsing

    async def collapsible(self, before: float, limit_bytes: int) -> Sequence[Sequence[SaveLog]]:
        """Return entries of the log to collapse, a list for each session, about `limit_bytes` in all."""
        key = self._core.keys.collapse
        call = ("ZRANGE", key, "-inf", f"({before!r}", "BYSCORE", "LIMIT", 0, _CANDIDATES, "WITHSCORES")
        [candidates] = await self._core.ask([Command(key, call)])
        found: list[list[SaveLog]] = []
        size = 0
        done: list[tuple[bytes, float]] = []
        for name, score in zip(candidates[::2], candidates[1::2], strict=True):
            ref = names.listed_ref(name)
            args = (repr(before), max(1, limit_bytes - size))
            command = self._core.of(COLLAPSIBLE, ref, names.LOG, names.ENDS, args=args)
            [(oldest, *entries)] = await self._core.ask([command])
            rows = _rows(ref, entries)
            if rows:
                found.append(rows)
                size += sum(len(row.frames) for row in rows)
            elif oldest:
                await self._core.tell([Command(key, ("ZADD", key, "XX", oldest, name))])
            else:
                done.append((name, float(score)))
            if size > limit_bytes:
                break
        await self._core.drop(key, done)
        return found


def _rows(ref: int, entries: Sequence[Any]) -> list[SaveLog]:
    found: list[SaveLog] = []
    for first, last, frames, ended in zip(entries[::4], entries[1::4], entries[2::4], entries[3::4], strict=True):
        if found and found[-1].last + 1 != int(first):
            break  # entries of two stretches are collapsed one stretch at a time
        found.append(SaveLog(ref, int(first), int(last), frames, float(ended)))
    return found


def _run(raw: bytes) -> RunRecord:
    run = codec.readable(codec.run_record, raw)
    assert isinstance(run, RunRecord)
    return run


def _decoded(bodies: Sequence[bytes]) -> list[MessageRecord]:
    try:
        return [codec.message_record(body) for body in reversed(bodies)]
    except (ValueError, TypeError) as error:
        raise StorageError(f"a message cannot be read: {error}", is_defect=True) from error
