"""`python -m server`: settings from flags and environment, then uvicorn, which drains the hub before it closes."""

from __future__ import annotations

import argparse
import gc
import logging
import os
import signal
import socket
import sys
from typing import Any, Final

import anyio
import uvicorn
from starlette.applications import Starlette

from . import __version__
from .api.auth import check_bind
from .api.protocol import make_protocol
from .app import create_app
from .core.hub import Hub
from .errors import ConfigError
from .settings import Settings, read_settings, settings_table

_log = logging.getLogger("sessionstream")

_GRACE_S: Final = 1  # for requests that are under way when all streams have ended
_LAST_S: Final = _GRACE_S + 0.5
_FORCED_EXIT_CODE: Final = 128 + signal.SIGTERM


class Server(uvicorn.Server):
    """uvicorn's, which says goodbye first: lifespan shutdown comes after all streams have ended, too late for that."""

    def __init__(self, config: uvicorn.Config, hub: Hub) -> None:
        super().__init__(config)
        self._hub = hub

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then keep what lives as long as the process out of every garbage collection."""
        await super().startup(sockets)
        gc.collect()
        gc.freeze()
        # Session objects live long: the default thresholds would look at all of them fifteen times too often. Not more,
        # because a stream that ends leaves a cycle (its cancelled task) of some 20 KB, which waits for its generation.
        gc.set_threshold(10_000, 10, 10)

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


def main(argv: list[str] | None = None) -> None:
    """Run the server until it is told to stop."""
    try:
        settings = read_settings(os.environ, _arguments(argv))
        check_bind(settings)
        _configure_logging(settings)
        serve(settings, create_app(settings))
    except ConfigError as error:
        sys.exit(f"sessionstream: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def serve(settings: Settings, app: Starlette) -> None:
    """Serve `app` on the settings' address."""
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
    server = Server(config, app.state.hub)
    server.run()
    if not server.started:
        sys.exit(3)


def _arguments(argv: list[str] | None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(
        prog="sessionstream",
        description="Streaming chat sessions over SSE. Every flag is also an environment variable: see README.",
    )
    parser.add_argument("--host", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", help="port to listen on (8000); 0 takes a free one")
    parser.add_argument("--agents", metavar="FILE", help="agents.toml; without it the documents agent answers")
    parser.add_argument("--documents", metavar="DIR", help="folder that the documents agent answers from")
    parser.add_argument("--data", metavar="DIR", help="folder of the database (data)")
    parser.add_argument("--no-docs", action="store_true", default=None, help="start without indexing documents")
    parser.add_argument("--allow-anyone", action="store_true", default=None, help="AUTH=local beyond loopback")
    parser.add_argument("--log-level", help="debug, info, warning or error")
    parser.add_argument("--print-settings", action="store_true", help="print the table of all settings and exit")
    parser.add_argument("--version", action="version", version=f"sessionstream {__version__}")
    arguments = vars(parser.parse_args(argv))
    if arguments.pop("print_settings"):
        print(settings_table())  # noqa: T201 - asked for
        sys.exit(0)
    return arguments


def _configure_logging(settings: Settings) -> None:
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    logging.getLogger("sse_starlette").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)


if __name__ == "__main__":
    main()
