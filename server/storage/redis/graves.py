"""Tombstones, one by one and all of them: what is left of sessions that ended."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

import anyio
import orjson
from redis.exceptions import RedisError

from ...core.ports import SessionKey, StorageError
from ..moving import EndedSession
from . import codec
from . import keys as names
from .core import RedisCore
from .wire import Address, Command

_log = logging.getLogger("sessionstream.redis")

_SCANNED: Final = 500
_LEAST_MS: Final = 86_400_000
_NOBODY: Final = "move|0"
"""Stands in a tombstone where the node and its commit stand: it is no commit that is tried again."""


class Graves:
    """The tombstones of one deployment."""

    def __init__(self, core: RedisCore, *, tombstone_ms: int) -> None:
        self._core = core
        self._tombstone_ms = tombstone_ms

    async def raw(self, ref: int) -> bytes | None:
        """Return a tombstone as it is stored."""
        [place] = self._core.keys.of(ref, names.END)
        found: list[bytes | None] = await self._core.ask([Command(place, ("GET", place))])
        return found[0]

    async def all(self) -> AsyncIterator[EndedSession]:
        """Yield every tombstone that says whose it is."""
        nameless = 0
        for address in await self._core.wire.primaries():
            async for ref in self._scan(address):
                raw = await self.raw(ref)
                one = ended_of(raw) if raw is not None else None
                if one is not None and one.key.session_id:
                    yield one
                else:
                    nameless += one is not None
        if nameless:
            _log.warning("%d tombstones do not say whose they are", nameless)

    async def _scan(self, address: Address) -> AsyncIterator[int]:
        """Yield the references of the tombstones on one server: no list names them."""
        head, tail = f"{self._core.keys.prefix}:{{", "}:end"
        connection = self._core.wire.new_connection(address)
        cursor, seen = b"0", set[int]()
        try:
            while True:
                with anyio.fail_after(self._core.timeout_s):
                    await connection.send_command("SCAN", cursor, "MATCH", f"{head}*{tail}", "COUNT", _SCANNED)
                    cursor, found = await connection.read_response()
                # A scan may come by twice.
                fresh = {int(name.decode()[len(head) : -len(tail)], 16) for name in found} - seen
                seen |= fresh
                for ref in fresh:
                    yield ref
                if cursor == b"0":
                    return
        except (RedisError, OSError, TimeoutError) as error:
            raise StorageError(f"redis: {error}") from error
        finally:
            with anyio.CancelScope(shield=True):
                await connection.disconnect(nowait=True)

    async def bury(self, ended: Sequence[EndedSession]) -> None:
        """Insert or replace tombstones; each goes by itself when its time is over."""
        commands = []
        for one in ended:
            [place] = self._core.keys.of(names.ref_of(one.key), names.END)
            left = self._tombstone_ms - int((time.time() - one.tombstone.ended_at) * 1000)
            commands.append(Command(place, ("SET", place, _epitaph(one), "PX", max(left, _LEAST_MS))))
        await self._core.tell(commands)


def ended_of(raw: bytes) -> EndedSession:
    """Return what a tombstone says; one that does not say whose it is has an empty key."""
    tombstone = codec.readable(codec.tombstone, raw)
    facts = raw.split(b"|", 2)[2].rsplit(b"|", 2)
    if len(facts) < 3:
        return EndedSession(SessionKey("", ""), tombstone, tombstone.ended_at, tombstone.ended_at, 0, 0)
    decode: Callable[[bytes], Any] = orjson.loads
    user_id, session_id, *numbers = codec.readable(decode, facts[0])
    return EndedSession(SessionKey(user_id, session_id), tombstone, *numbers)


def _epitaph(one: EndedSession) -> str:
    facts = [*one.key, one.created_at, one.last_activity, one.message_count, one.run_count]
    return f"{one.tombstone.reason}|{one.tombstone.ended_at!r}|{orjson.dumps(facts).decode()}|{_NOBODY}"
