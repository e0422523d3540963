"""Services: what agents need beside their runs, each a task of the hub, started once however many agents need it.

What is wanted changes while the server runs. A service that is wanted no longer goes on until nothing uses it, then is
cancelled, within two beats; one that failed, or has ended, is started again when it is still wanted then.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import anyio
from anyio.abc import TaskGroup

from .ports import Service

_log = logging.getLogger("sessionstream.hub")


@dataclass(slots=True)
class _Running:
    service: Service
    scope: anyio.CancelScope
    is_unused: Callable[[], bool] | None = None
    """Says whether it can go; None while it is wanted."""
    was_unused: bool = False


class Services:
    """The services by the names of their parts in readiness."""

    def __init__(self, wanted: Mapping[str, Service]) -> None:
        self._wanted = dict(wanted)
        self._failed: set[int] = set()
        self._running: dict[int, _Running] = {}
        self._tasks: TaskGroup | None = None

    async def run(self) -> None:
        """Run what is wanted until cancelled."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            try:
                self._start()
                await anyio.sleep_forever()
            finally:
                self._tasks = None

    def replace(self, wanted: Mapping[str, Service], is_unused: Callable[[], bool]) -> None:
        """Want others from now on; those that are not among them end when `is_unused` says so."""
        self._wanted = dict(wanted)
        kept = {id(service) for service in wanted.values()}
        for key, running in self._running.items():
            if key not in kept and running.is_unused is None:
                running.is_unused = is_unused
        self._start()

    def beat(self) -> None:
        """Let go what is not wanted and not used."""
        for running in self._running.values():
            if running.is_unused is not None and running.is_unused():
                # Not at the first look: a run whose first commit is on its way has its agent already.
                if running.was_unused:
                    running.scope.cancel()
                running.was_unused = True

    def health(self) -> dict[str, dict[str, Any]]:
        """Return the health of each part; never blocks."""
        return {
            name: {"status": "down"} if id(service) in self._failed else service.health()
            for name, service in self._wanted.items()
        }

    def _start(self) -> None:
        if self._tasks is None:
            return
        for name, service in self._wanted.items():
            if id(service) not in self._running:
                running = self._running[id(service)] = _Running(service, anyio.CancelScope())
                self._failed.discard(id(service))
                self._tasks.start_soon(self._serve, name, running)

    async def _serve(self, name: str, running: _Running) -> None:
        key = id(running.service)
        try:
            with running.scope:
                await running.service.run()
        except Exception:  # boundary: a service may fail, and readiness says so; the sessions go on
            _log.exception("the service %s ended", name)
            self._failed.add(key)
        finally:
            del self._running[key]
