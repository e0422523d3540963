"""Wakes: one connection that hears of other nodes' commits. It only says where to look, and may lose anything.

A connection that says nothing for a few seconds is asked whether it is still there, so that a dead link is noticed
although nobody speaks.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import anyio
import orjson
from redis.asyncio.connection import Connection
from redis.exceptions import RedisError

from ...core.ports import SessionKey, StorageError
from ...core.storage import Wake
from .core import RedisCore
from .wire import WireError

_SILENCE_S: Final = 2.0


async def listen(core: RedisCore) -> AsyncIterator[Sequence[Wake]]:
    """Yield wakes, an empty list first. Raises StorageError when the connection ends."""
    try:
        address = (await core.wire.primaries())[0]
    except WireError as error:
        raise StorageError(str(error)) from error
    connection = core.wire.new_connection(address)
    try:
        await _subscribe(connection, core.keys.channel)
        yield []
        while True:
            message = await _next(connection)
            wakes = _parsed(message, core.node_id)
            if wakes:
                yield wakes
    except (RedisError, OSError, TimeoutError) as error:
        raise StorageError(f"other nodes are not heard: {error}") from error
    finally:
        with anyio.CancelScope(shield=True):
            await connection.disconnect(nowait=True)


async def _subscribe(connection: Connection, channel: str) -> None:
    with anyio.fail_after(2 * _SILENCE_S):
        await connection.connect()  # type: ignore[no-untyped-call]  # redis-py's
        await connection.send_command("SUBSCRIBE", channel, check_health=False)
        await connection.read_response()


async def _next(connection: Connection) -> Any:
    """Return the next message; a silent connection is asked once."""
    asked_at: float | None = None
    while True:
        answer = await connection.read_response(timeout=_SILENCE_S, disconnect_on_error=False)
        if answer is not None:
            return answer
        now = time.monotonic()
        if asked_at is not None and now - asked_at >= _SILENCE_S:
            raise TimeoutError("no sign of life")
        if asked_at is None:
            asked_at = now
            with anyio.fail_after(_SILENCE_S):
                await connection.send_command("PING", check_health=False)


def _parsed(message: Sequence[Any], node_id: str) -> list[Wake]:
    """Return what a message says of others; ours, answers, and what nobody of ours wrote say nothing."""
    if message[0] != b"message":
        return []
    try:
        sender, news = orjson.loads(message[2])
        if sender == node_id:
            return []
        return [Wake(SessionKey(str(user), str(session)), int(version), bool(is_news))
                for user, session, version, is_news in news]  # fmt: skip
    except (ValueError, TypeError):
        return []
