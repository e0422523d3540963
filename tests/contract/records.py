"""Records and frames for tests, each with everything set, so that a test names only what it is about."""

from __future__ import annotations

from typing import Any

from server.core.events import frame
from server.core.ports import Batch, Event, MessageRecord, RunRecord, SaveLog, SessionRecord, Storage, Write


def record_of(ref: int = 1, **fields: Any) -> SessionRecord:
    made: dict[str, Any] = {
        "ref": ref,
        "user_id": "ann",
        "session_id": f"s{ref}",
        "epoch": f"epoch{ref}",
        "agent": "echo",
        "created_at": 1000.0 + ref,
        "last_activity": 2000.0 + ref,
    }
    return SessionRecord(**{**made, **fields})


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


def log_of(first: int, last: int, ended_at: float | None = 1.0, ref: int = 1) -> SaveLog:
    return SaveLog(ref, first, last, b"".join(frames_of(first, last, f"epoch{ref}")), ended_at)


async def write(storage: Storage, *writes: Write) -> None:
    await storage.commit(Batch(writes=list(writes)))
