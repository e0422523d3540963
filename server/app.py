"""The only wiring: settings in, ASGI application out."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from .agents.catalog import Catalog, load_catalog
from .api import agui, chat, documents, listing, mcp, operations, sessions, widget
from .api.auth import load_secret
from .api.middleware import build_middleware
from .api.problems import exception_handlers
from .api.visits import Embedding, Passes
from .core.hub import Hub
from .core.lifetime import hub_lifetime
from .core.storage import Storage
from .errors import ConfigError
from .ids import new_id
from .settings import Settings
from .storage.sqlite import SqliteStorage

_log = logging.getLogger("sessionstream")

_OPEN_PATIENCE_S: Final = 2.0
_RELOAD_TIMEOUT_S: Final = 60.0


def create_app(settings: Settings) -> Starlette:
    """Return the application; nothing is opened before its lifespan starts.

    Raises:
        ConfigError: a setting, or the agents file, is wrong.
    """
    catalog = load_catalog(settings)
    hub = Hub(settings, _storage(settings), catalog)
    secret = load_secret(settings)

    def agents_of(origin: str) -> frozenset[str]:
        return frozenset(entry.name for entry in hub.agents.entries if origin in entry.allowed_origins)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with hub_lifetime(hub):
            await _opened(hub)
            yield

    app = Starlette(
        routes=_routes(),
        middleware=build_middleware(settings, secret, agents_of),
        exception_handlers=exception_handlers,
        lifespan=lifespan,
    )
    # A path is there or it is not: a redirect would name the Host that the client made up.
    app.router.redirect_slashes = False
    app.state.hub = hub
    app.state.passes = Passes(secret)
    app.state.embedding = Embedding(settings, agents_of)
    app.state.reload = Reloading(hub, catalog)
    return app


class Reloading:
    """Reads the agents, personas and tools anew when it is called; when anything is wrong, all stays as it is."""

    def __init__(self, hub: Hub, catalog: Catalog) -> None:
        self._hub = hub
        self._catalog = catalog

    async def __call__(self) -> None:
        """Let new runs be answered by what the files say now."""
        read = partial(load_catalog, self._hub.settings, before=self._catalog)
        try:
            with anyio.fail_after(_RELOAD_TIMEOUT_S):
                # In a thread: it reads files and imports other people's modules, and streams must not wait for that.
                self._catalog = await anyio.to_thread.run_sync(read, abandon_on_cancel=True)
        except (ConfigError, TimeoutError) as error:
            _log.error("the agents stay as they are: %s", error or f"they took more than {_RELOAD_TIMEOUT_S:g} s")
            return
        except Exception:  # boundary: what nobody foresaw in files or modules must not take the server down
            _log.exception("the agents stay as they are")
            return
        self._hub.replace_agents(self._catalog)
        names = ", ".join(entry.name for entry in self._catalog.entries)
        _log.info("the agents were read anew: %s", names)


async def _opened(hub: Hub) -> None:
    """Let nobody in before the storage is open, for a moment: until then another node would answer better.

    Not longer, and not when it is known to be down: then this node says so.
    """
    with anyio.move_on_after(_OPEN_PATIENCE_S):
        # Looked at, not signalled: it happens once in a process, and nothing else pays for it.
        while not hub.is_open and hub.journal.fault is None:  # noqa: ASYNC110
            await anyio.sleep(0.005)


def _storage(settings: Settings) -> Storage:
    if not settings.redis_url:
        return SqliteStorage(Path(settings.data), durability=settings.durability)
    if settings.auth == "visitor" and not settings.secret_key:
        raise ConfigError(
            "AUTH=visitor with REDIS_URL needs SECRET_KEY, the same on every node: each reads all cookies"
        )
    try:
        # Imported when it is wanted: the extra may not be there, and one node needs none of it.
        from .storage.redis import RedisStorage
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "redis":
            raise
        raise ConfigError("REDIS_URL needs an extra: pip install 'sessionstream[redis]'") from error
    try:
        return RedisStorage(
            settings.redis_url,
            prefix=settings.redis_prefix,
            node_id=new_id().replace("-", ""),
            timeout_s=settings.storage_timeout_seconds,
            session_timeout_s=settings.session_timeout_minutes * 60,
            tombstone_s=settings.tombstone_days * 86_400,
        )
    except ValueError:  # its text may hold a piece of the password
        raise ConfigError(
            "REDIS_URL must be redis://user:password@host:port/database, and in a password / ? # @ are written "
            "%2F %3F %23 %40; a cluster has neither a database nor a socket"
        ) from None


def _routes() -> list[Route | Mount]:
    one = "/api/sessions/{session_id}"
    return [
        # They are tried in this order: first what is asked for most.
        Route("/api/chat", chat.chat, methods=["POST"]),
        Route("/api/chat/stream", chat.stream),
        Route("/api/sessions", sessions.create, methods=["POST"]),
        Route("/api/sessions", sessions.index),
        Route("/api/interrupt", chat.interrupt, methods=["POST"]),
        Route("/api/system", chat.system, methods=["POST"]),
        Route("/api/tool-result", chat.tool_result, methods=["POST"]),
        Route("/api/state", chat.state),
        Route("/", operations.page),
        Route("/stats", operations.stats_page),
        Route("/favicon.ico", operations.favicon),
        Route("/health", operations.health),
        Route("/health/ready", operations.ready),
        Route("/api/sessions/stream", listing.sessions_stream),
        Route("/api/sessions/import", sessions.take_in, methods=["POST"]),
        Route(one, sessions.show),
        Route(one, sessions.change, methods=["PATCH"]),
        Route(one, sessions.remove, methods=["DELETE"]),
        Route(f"{one}/messages", sessions.messages),
        Route(f"{one}/messages", sessions.clear, methods=["DELETE"]),
        Route(f"{one}/export", sessions.export),
        Route(f"{one}/queue", sessions.queue),
        Route(f"{one}/queue/{{message_id}}", sessions.edit_queued, methods=["PATCH"]),
        Route(f"{one}/queue/{{message_id}}", sessions.remove_queued, methods=["DELETE"]),
        Route("/api/documents", documents.index),
        Route("/api/documents", documents.upload, methods=["POST"]),
        Route("/api/documents/{name:path}", documents.remove, methods=["DELETE"]),
        Route("/api/mcp-command", mcp.mcp_command, methods=["POST"]),
        Route("/api/stats", operations.stats),
        Route("/api/agents", operations.agents),
        Route("/api/agents/{agent}/run", agui.run, methods=["POST"]),
        Route("/widget", widget.page),
        Route("/api/widget", widget.admit, methods=["POST"]),
        Route("/api/widget", widget.offer),
        Route("/static/widget.js", widget.script),
        Route("/static/widget/around/{name}", widget.script),
        Mount("/static", operations.StaticModules(directory=operations.static_folder())),
    ]
