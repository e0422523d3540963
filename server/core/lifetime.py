"""The hub's life in its process: it runs as long as the application, and when it fails the process ends."""

from __future__ import annotations

import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from .hub import Hub

_log = logging.getLogger("sessionstream.hub")


async def _run_or_stop(hub: Hub, *, task_status: anyio.abc.TaskStatus[None]) -> None:
    try:
        await hub.run(task_status=task_status)
    except Exception:  # boundary: a process whose hub is gone serves nobody: whoever supervises it starts another
        _log.critical("the hub ended by a defect: the server stops", exc_info=True)
        signal.raise_signal(signal.SIGTERM)


@asynccontextmanager
async def hub_lifetime(hub: Hub) -> AsyncIterator[None]:
    """Run a hub for as long as the application lives."""
    async with anyio.create_task_group() as tasks:
        await tasks.start(_run_or_stop, hub)
        try:
            yield
        finally:
            tasks.cancel_scope.cancel()
