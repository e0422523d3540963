"""A wire between the program and its server, which can be cut."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
from anyio.abc import ByteStream, SocketStream


class Relay:
    """Hands bytes on, both ways. `url` is where it listens."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._cables: set[anyio.CancelScope] = set()
        self.url = ""

    def cut(self) -> None:
        """Break every connection there is; new ones are as good as ever."""
        for cable in list(self._cables):
            cable.cancel()

    async def carry(self, ours: SocketStream) -> None:
        """Carry one connection."""
        with anyio.CancelScope() as cable, suppress(OSError):
            self._cables.add(cable)
            theirs = await anyio.connect_tcp("127.0.0.1", self._port)
            async with ours, theirs, anyio.create_task_group() as tasks:
                tasks.start_soon(_copy, ours, theirs, cable)
                tasks.start_soon(_copy, theirs, ours, cable)
        self._cables.discard(cable)


async def _copy(source: ByteStream, target: ByteStream, cable: anyio.CancelScope) -> None:
    with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
        while True:
            await target.send(await source.receive())
    cable.cancel()


@asynccontextmanager
async def relay(port: int) -> AsyncIterator[Relay]:
    """Stand between while the block runs."""
    one = Relay(port)
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        one.url = f"http://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
        tasks.start_soon(listener.serve, one.carry)
        yield one
        tasks.cancel_scope.cancel()
