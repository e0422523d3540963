"""Serving: uvicorn around the application, which drains the hub before it closes."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Final

import anyio
import uvicorn
from starlette.applications import Starlette

from .api.protocol import make_protocol
from .app import create_app
from .core.hub import Hub
from .errors import ConfigError
from .settings import Settings

_log = logging.getLogger("sessionstream")

_GRACE_S: Final = 1  # for requests that are under way when all streams have ended
_LAST_S: Final = _GRACE_S + 0.5
_FORCED_EXIT_CODE: Final = 128 + signal.SIGTERM


class Server(uvicorn.Server):
    """uvicorn's, which says goodbye first: lifespan shutdown comes after all streams have ended, too late for that.

    With `reload` it is called for each SIGHUP, one at a time, for as long as requests are served.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        hub: Hub,
        on_started: Callable[[], None] | None = None,
        reload: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(config)
        self._hub = hub
        self._on_started = on_started
        self._reload = reload

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then keep what lives as long as the process out of every garbage collection."""
        await super().startup(sockets)
        gc.collect()
        gc.freeze()
        # A commit of a thousand sessions makes, and drops, tens of thousands of objects: at the default thresholds the
        # collector would look at what is about to go, and at all sessions whenever that seems worth it.
        gc.set_threshold(40_000, 10, 10)
        if self._on_started is not None and self.started:
            self._on_started()

    async def main_loop(self) -> None:
        """Serve until told to stop."""
        async with anyio.create_task_group() as tasks:
            if self._reload is not None:
                tasks.start_soon(self._hear, self._reload)
            await super().main_loop()
            tasks.cancel_scope.cancel()

    async def _hear(self, reload: Callable[[], Awaitable[None]]) -> None:
        with anyio.open_signal_receiver(signal.SIGHUP) as signals:
            async for _ in signals:
                await reload()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let runs and streams end, then close."""
        for server in self.servers:
            server.close()
        await self._hub.drain()
        with anyio.move_on_after(_LAST_S) as patience:
            await super().shutdown(sockets)
        if patience.cancelled_caught:
            # A task cannot be killed: an agent that ignores its end, or a disk that hangs, would keep us for ever.
            _log.warning("something does not end: leaving without it")
            with anyio.move_on_after(_LAST_S, shield=True):
                await self._hub.close()
            logging.shutdown()
            os._exit(_FORCED_EXIT_CODE)


def work(settings: Settings, listener: socket.socket, on_started: Callable[[], None]) -> None:
    """Be one of several workers: serve on a socket that they share."""
    configure_logging(settings)
    try:
        serve(settings, create_app(settings), listener=listener, on_started=on_started)
    except ConfigError as error:
        sys.exit(f"sessionstream: {error}")


def serve(
    settings: Settings,
    app: Starlette,
    *,
    listener: socket.socket | None = None,
    on_started: Callable[[], None] | None = None,
) -> None:
    """Serve `app` on the settings' address, or on a socket that listens there; say when it answers."""
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=make_protocol(settings.body_timeout_seconds),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # who the peer is decides whom it may speak for: see auth
        timeout_graceful_shutdown=_GRACE_S,
        lifespan="on",
    )
    # One of several workers is replaced instead, by its parent; from a terminal that is closed it means the end.
    hears = listener is None and hasattr(signal, "SIGHUP") and not (sys.stdin and sys.stdin.isatty())
    server = Server(config, app.state.hub, on_started, app.state.reload if hears else None)
    server.run(None if listener is None else [listener])
    if not server.started:
        sys.exit(3)


def configure_logging(settings: Settings) -> None:
    """Log to stderr, a line at a time; several workers say who they are."""
    who = " %(processName)s" if settings.workers > 1 else ""
    logging.basicConfig(
        level=settings.log_level.upper(),
        format=f"%(asctime)s %(levelname)s{who} %(name)s: %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("sse_starlette").setLevel(logging.WARNING)
    for name in ("httpx", "httpx2", "mcp"):  # they log every request, with ids of sessions
        logging.getLogger(name).setLevel(logging.WARNING)
