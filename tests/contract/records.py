"""Records and frames for tests, each with everything set, so that a test names only what it is about.

Sessions are numbered: session 1 is ann's `s1`, with the reference that every storage takes. `write` commits as a node
does that knows each session as it is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from server.core.events import frame
from server.core.ports import (
    Batch,
    ClearMessages,
    EndSession,
    Event,
    MessageRecord,
    Part,
    RunRecord,
    SaveLog,
    SaveMessages,
    SaveRun,
    SaveSession,
    SessionKey,
    SessionRecord,
    StorageError,
    Tombstone,
    Write,
)
from server.core.storage import Mark, Sharing, Storage
from server.storage.redis.keys import ref_of

_KEYS: dict[int, SessionKey] = {}


def ref(number: int = 1, user_id: str = "ann") -> int:
    """Return the reference of a numbered session."""
    return record_of(number, user_id=user_id).ref


def record_of(number: int = 1, **fields: Any) -> SessionRecord:
    made: dict[str, Any] = {
        "user_id": "ann",
        "session_id": f"s{number}",
        "epoch": f"epoch{number}{fields.get('user_id', 'ann').removeprefix('ann')}",
        "agent": "echo",
        "created_at": 1000.0 + number,
        "last_activity": 2000.0 + number,
        **fields,
    }
    key = SessionKey(made["user_id"], made["session_id"])
    _KEYS[ref_of(key)] = key
    return SessionRecord(**{"ref": ref_of(key), **made})


def run_of(run_id: str = "r1", **fields: Any) -> RunRecord:
    made: dict[str, Any] = {
        "run_id": run_id,
        "message_id": f"m-{run_id}",
        "digest": b"\x00digest",
        "agent": "echo",
        "status": "finished",
        "started_at": 1.5,
    }
    return RunRecord(**{**made, **fields})


def message_of(position: int, text: str = "", message_id: str = "", **fields: Any) -> MessageRecord:
    message = {"id": message_id or f"m{position}", "role": "user", "content": text}
    made: dict[str, Any] = {"position": position, "run_id": "r1", "created_at": 7.25, "message": message}
    return MessageRecord(**{**made, **fields})


def delta(text: str) -> Event:
    return {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": text}


def frames_of(first: int, last: int, epoch: str = "epoch1") -> list[bytes]:
    return [frame(epoch, seq, delta(f"<{seq}>")) for seq in range(first, last + 1)]


def log_of(first: int, last: int, ended_at: float | None = 1.0, number: int = 1) -> SaveLog:
    return SaveLog(ref(number), first, last, b"".join(frames_of(first, last, f"epoch{number}")), ended_at)


def saved(number: int = 1, *messages: MessageRecord) -> SaveMessages:
    return SaveMessages(ref(number), messages)


async def load(storage: Storage, key: SessionKey) -> SessionRecord | Tombstone | None:
    """Load a session as it was saved: its version is the storage's own."""
    found = await storage.load(key)
    return replace(found, version=0) if isinstance(found, SessionRecord) else found


async def write(storage: Storage, *writes: Write, frames: Sequence[bytes] = ()) -> None:
    """Commit writes, each in the part of its session; frames are of the first one.

    Raises:
        StorageError: they were not taken.
    """
    batch = await batch_of(storage, *writes, frames=frames)
    committed = await storage.commit(batch)
    for refusal in committed.refused.values():
        raise refusal


async def said(storage: Storage, frames: Sequence[bytes], *writes: Write) -> int:
    """Commit frames as a part that need not be of a stored session; return their journal position."""
    part = Part(before=record_of(), record=record_of(), frames=list(frames), writes=list(writes))
    return (await storage.commit(Batch([part]))).position


async def batch_of(storage: Storage, *writes: Write, frames: Sequence[bytes] = ()) -> Batch:
    """Return a batch for sessions as they are stored now."""
    parts: dict[int, Part] = {}
    loose: list[Write] = []
    for one in writes:
        number = _ref_of(one)
        if number is None:
            loose.append(one)
            continue
        if number not in parts:
            parts[number] = await part_of(storage, _KEYS[number])
        if isinstance(one, (SaveSession, EndSession)):
            parts[number].record = one.record
        parts[number].is_ending |= isinstance(one, EndSession)
        parts[number].writes.append(one)
    if frames:
        next(iter(parts.values())).frames += frames
    return Batch(list(parts.values()), loose)


async def part_of(storage: Storage, key: SessionKey) -> Part:
    """Return an empty part for a session as it is stored."""
    found = await storage.load(key)
    record = found if isinstance(found, SessionRecord) else record_of(user_id=key.user_id, session_id=key.session_id)
    fence = 0
    if storage.sharing is not None and record.run_id is not None:
        [change] = await storage.sharing.changes([Mark(key, record.ref, "", -1, None, None)])
        fence = getattr(change, "fence", 0)
    return Part(before=record, record=record, version=record.version, fence=fence)


def sharing_of(storage: Storage) -> Sharing:
    """Return what nodes share."""
    assert storage.sharing is not None
    return storage.sharing


async def begin(storage: Storage) -> Part:
    """Create a session with an open run of three events; return the part that would go on."""
    record = record_of()
    started = replace(record, run_id="r1")
    running = run_of(status="running", first=1)
    await write(storage, SaveSession(record))
    await write(storage, SaveSession(started), SaveRun(record.ref, running), frames=frames_of(1, 3))
    return await part_of(storage, record.key)


async def take(storage: Storage, *parts: Part) -> list[StorageError | None]:
    committed = await storage.commit(Batch(parts))
    return [committed.refused.get(index) for index in range(len(parts))]


async def go_on(storage: Storage, first: int, last: int) -> Batch:
    """Return a batch that appends frames to session 1."""
    part = await part_of(storage, record_of().key)
    part.frames = frames_of(first, last)
    return Batch([part])


async def logged(storage: Storage) -> bytes:
    """Return the whole log of session 1."""
    log = await storage.read_log(ref(), 0, 1 << 20)
    return log.frames if log is not None else b""


async def found(storage: Storage) -> SessionRecord:
    """Return session 1 with its version."""
    record = await storage.load(record_of().key)
    assert isinstance(record, SessionRecord)
    return record


async def refusal_of(storage: Storage, batch: Batch) -> StorageError:
    """Return why a batch of one part is not taken."""
    try:
        committed = await storage.commit(batch)
    except StorageError as error:
        return error
    return committed.refused[0]


def _ref_of(write: Write) -> int | None:
    if isinstance(write, (SaveSession, EndSession)):
        return write.record.ref
    return write.ref if isinstance(write, (SaveRun, SaveMessages, SaveLog, ClearMessages)) else None
