"""Real Redis servers for tests, storages on them, and a wire to them that can be cut where it hurts."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, SocketStream

from scripts.blackbox.redis_server import RedisCluster, RedisServer, is_installed
from server.storage.redis import RedisStorage

__all__ = [
    "PREFIX",
    "RedisCluster",
    "RedisServer",
    "Tap",
    "is_installed",
    "new_prefix",
    "opened_redis",
    "redis_storage",
    "tapped",
]

PREFIX: Final = "p"
_numbers = itertools.count(1)


def new_prefix() -> str:
    """Return a prefix that no test had before."""
    return f"test{next(_numbers)}"


def redis_storage(url: str, prefix: str, **changes: Any) -> RedisStorage:
    """Return the storage of a new node."""
    settings: dict[str, Any] = {
        "node_id": f"node{next(_numbers)}",
        "timeout_s": 5.0,
        "session_timeout_s": 3600.0,
        "tombstone_s": 600.0,
    }
    return RedisStorage(url, prefix=prefix, **{**settings, **changes})


@asynccontextmanager
async def opened_redis(url: str, prefix: str = PREFIX, **changes: Any) -> AsyncIterator[RedisStorage]:
    """Open the storage of a new node."""
    storage = redis_storage(url, prefix, **changes)
    await storage.open()
    try:
        yield storage
    finally:
        await storage.close()


class Tap:
    """A wire to a server: whole, or losing answers, or silent."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.url = ""
        self.swallows = 0
        """So many answers from now on are lost, each with its connection; what they answer was carried out."""
        self.passes = 0
        """So many answers come through before."""
        self.is_silent = False
        """Nothing comes back any more, though connections stay."""

    async def serve(self, client: SocketStream) -> None:
        """Carry one connection."""
        async with client:
            try:
                server = await anyio.connect_tcp("127.0.0.1", self._target)
            except OSError:
                return  # it does not run just now
            async with server, anyio.create_task_group() as tasks:
                tasks.start_soon(self._carry, client, server, False, tasks.cancel_scope)
                tasks.start_soon(self._carry, server, client, True, tasks.cancel_scope)

    async def _carry(
        self, source: ByteReceiveStream, target: ByteSendStream, is_answer: bool, scope: anyio.CancelScope
    ) -> None:
        try:
            async for chunk in source:
                if not is_answer:
                    await target.send(chunk)
                elif self.is_silent:
                    continue
                elif self.swallows and not self.passes:
                    self.swallows -= 1
                    break
                else:
                    self.passes = max(0, self.passes - 1)
                    await target.send(chunk)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        scope.cancel()


@asynccontextmanager
async def tapped(server: RedisServer) -> AsyncIterator[Tap]:
    """Tap the wire to a server."""
    tap = Tap(server.port)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    tap.url = f"redis://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}/0"
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, tap.serve)
        yield tap
        tasks.cancel_scope.cancel()
