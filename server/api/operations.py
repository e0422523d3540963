"""For those who run it: health, readiness, statistics, the agents; and the page at `/`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

from ..core.ports import AgentEntry
from ..core.reading import reading
from .access import allowed_agents, hub_of
from .answers import json_answer
from .auth import principal_of
from .query import query_choice

_PACKAGE: Final = Path(__file__).resolve().parent.parent


def static_folder() -> Path:
    """Return the folder of the browser client: in the package when installed, beside it in the tree."""
    packaged = _PACKAGE / "_static"
    return packaged if packaged.is_dir() else _PACKAGE.parent / "static"


class StaticModules(StaticFiles):
    """The page's files, asked for anew each time (by ETag): modules of two versions must not meet."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """Return a file that a cache may keep but must ask about."""
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


async def page(request: Request) -> Response:
    """GET /."""
    return FileResponse(static_folder() / "index.html", headers={"Cache-Control": "no-cache"})


async def favicon(request: Request) -> Response:
    """GET /favicon.ico: browsers ask for it whatever a page says."""
    return FileResponse(static_folder() / "favicon.svg", media_type="image/svg+xml")


async def health(request: Request) -> Response:
    """GET /health: the process answers."""
    return json_answer({"status": "ok"})


async def ready(request: Request) -> Response:
    """GET /health/ready: each part by name; 503 while one that is required is down, or the server drains."""
    hub = hub_of(request)
    parts: dict[str, Any] = {"storage": await hub.storage_health()}
    parts |= hub.services.health()
    if hub.is_draining:
        parts["server"] = {"status": "draining"}
    is_ready = all(part["status"] not in ("down", "draining") for part in parts.values() if part.get("required", True))
    return json_answer({"status": "ok" if is_ready else "unavailable", "parts": parts}, status=200 if is_ready else 503)


async def stats_page(request: Request) -> Response:
    """GET /stats: the figures, drawn."""
    return FileResponse(static_folder() / "stats.html", headers={"Cache-Control": "no-cache"})


async def stats(request: Request) -> Response:
    """GET /api/stats: totals for the caller; for everybody if he is an admin; `series` adds this node's last day."""
    hub, principal = hub_of(request), principal_of(request)
    has_series = query_choice(request, "series", ("true", "false"), "false") == "true"
    hub.require_open()
    user_id = None if principal.is_admin else principal.user_id
    with reading(hub.settings.storage_timeout_seconds):
        totals = await hub.storage.stats(user_id)
    totals["active_runs"] = hub.user_runs.total() if user_id is None else hub.user_runs[user_id]
    open_streams = hub.streams.by_user
    totals["open_streams"] = open_streams.total() if user_id is None else open_streams[user_id]
    if has_series:
        totals["series"] = hub.figures.report(user_id)
    return json_answer({"user_id": principal.user_id, "scope": "all" if user_id is None else "user", **totals})


async def agents(request: Request) -> Response:
    """GET /api/agents: who can answer, as whom, and what they can do."""
    principal_of(request)
    catalog, allowed = hub_of(request).agents, allowed_agents(request)
    listed = [_shown(entry, catalog.default) for entry in catalog.entries if allowed is None or entry.name in allowed]
    return json_answer({"agents": listed, "default": catalog.default, "personas": list(catalog.personas)})


def _shown(entry: AgentEntry, default: str) -> dict[str, Any]:
    capabilities = dict(entry.capabilities)
    if "tools" in capabilities:
        capabilities["tools"] = {**capabilities["tools"], "items": list(entry.tools())}
    return {
        "name": entry.name,
        "kind": entry.kind,
        "description": entry.description,
        "default": entry.name == default,
        "persona": entry.persona,
        "personas": None if entry.personas is None else list(entry.personas),
        "capabilities": capabilities,
    }
