"""How records stand in Redis: JSON, both ways, in one place. What a newer version has added is read over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any, Final

import orjson

from ...core.ports import MessageRecord, RunRecord, SessionKey, SessionRecord, StorageError, Tombstone

_SESSION_FIELDS: Final = frozenset(one.name for one in fields(SessionRecord))
_RUN_FIELDS: Final = frozenset(one.name for one in fields(RunRecord))
_MESSAGE_FIELDS: Final = frozenset(one.name for one in fields(MessageRecord))


def session_json(record: SessionRecord) -> bytes:
    """Return a record; its version and seq stand beside it and are not read back."""
    return orjson.dumps(record)


def session_record(raw: bytes, version: bytes, seq: bytes) -> SessionRecord:
    """Return the record of `session_json`."""
    values = _known(orjson.loads(raw), _SESSION_FIELDS)
    values["queue"] = tuple(values.get("queue") or ())
    return SessionRecord(**{**values, "version": int(version), "seq": int(seq)})


def require_key(record: SessionRecord, key: SessionKey) -> SessionRecord:
    """Return a record that is the one asked for.

    Raises:
        StorageError: it is another session's with the same reference, which must never be shown.
    """
    if record.key != key:
        raise StorageError("two sessions have the same reference", is_defect=True)
    return record


def renamed(raw: bytes, epoch: str) -> bytes:
    """Return a record under another epoch."""
    return session_json(replace(session_record(raw, b"0", b"0"), epoch=epoch))


def run_json(run: RunRecord) -> bytes:
    """Return a run."""
    return orjson.dumps(run, default=bytes.hex)


def run_record(raw: bytes) -> RunRecord:
    """Return the run of `run_json`."""
    values = _known(orjson.loads(raw), _RUN_FIELDS)
    return RunRecord(**{**values, "digest": bytes.fromhex(values["digest"])})


def message_json(record: MessageRecord) -> bytes:
    """Return a message with what belongs to it."""
    return orjson.dumps(record)


def message_record(raw: bytes) -> MessageRecord:
    """Return the message of `message_json`."""
    return MessageRecord(**_known(orjson.loads(raw), _MESSAGE_FIELDS))


def grave(record: SessionRecord, tombstone: Tombstone, node_id: str, token: int | str) -> str:
    """Return a tombstone, whose it is, and who set it, so that a commit that is tried again knows itself."""
    counts = (record.created_at, record.last_activity, record.message_count, record.run_count)
    facts = orjson.dumps([*record.key, *counts]).decode()
    return f"{tombstone.reason}|{tombstone.ended_at!r}|{facts}|{node_id}|{token}"


def tombstone(raw: bytes) -> Tombstone:
    """Return the tombstone of `grave`."""
    reason, ended_at, *_ = raw.decode().split("|")
    return Tombstone(reason, float(ended_at))


def readable(decode: Callable[[bytes], Any], raw: bytes) -> Any:
    """Return what `decode` makes of stored bytes.

    Raises:
        StorageError: nothing; they were not written by this program.
    """
    try:
        return decode(raw)
    except (ValueError, TypeError, KeyError) as error:
        raise StorageError(f"a record cannot be read: {error}", is_defect=True) from error


def _known(values: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in names}
