"""From a request to a session: whose it is, and which.

Sessions are keyed by owner and id, so a foreign id is a missing one by construction: nothing is looked up that the
caller does not own. Only an admin is looked further for: the one other owner of that id, if there is exactly one.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request

from ..core.dialogue import Creation
from ..core.hub import Hub
from ..core.ports import SessionKey, SessionRecord
from ..core.reading import reading
from ..errors import Forbidden, Invalid, NotFound
from ..ids import is_client_id
from .auth import Principal, principal_of

_SITE: Final = re.compile(r"[a-z0-9.:-]{1,253}", re.ASCII)


def hub_of(request: Request) -> Hub:
    """Return the hub of the application."""
    hub: Hub = request.app.state.hub
    return hub


async def key_of(request: Request, session_id: str) -> SessionKey:
    """Return the key that the caller means by an id."""
    key = await _owned_key(request, session_id)
    if allowed_agents(request) is not None:
        await _check_agent_of(request, key)
    return key


async def _owned_key(request: Request, session_id: str) -> SessionKey:
    principal, hub = principal_of(request), hub_of(request)
    own = SessionKey(principal.user_id, session_id)
    if not principal.is_admin or own in hub.sessions or not hub.is_open or hub.storage.is_unused(own):
        return own
    with reading(hub.settings.storage_timeout_seconds):
        owners = await hub.storage.owners(session_id)
    if principal.user_id in owners or len(owners) != 1:
        return own
    return SessionKey(owners[0], session_id)


async def _check_agent_of(request: Request, key: SessionKey) -> None:
    """Raise Forbidden when the page may not talk to the agent of this session; one that is not there has none."""
    hub = hub_of(request)
    hub.require_open()
    session = hub.sessions.get(key)
    if session is not None and session.is_loaded and session.ended is None:
        check_allowed(request, session.record.agent)
        return
    with reading(hub.settings.storage_timeout_seconds):
        found = await hub.storage.load(key)
    if isinstance(found, SessionRecord):
        check_allowed(request, found.agent)


async def path_key(request: Request) -> SessionKey:
    """Return the key of the session in the path; an id that nobody can have is a missing one."""
    session_id = request.path_params["session_id"]
    if not is_client_id(session_id):
        raise NotFound
    return await key_of(request, session_id)


def creation_of(request: Request, *, agent: str | None = None, persona: str | None = None) -> Creation:
    """Return how a session is made that this request opens.

    Raises:
        Invalid: there is no such agent.
        Forbidden: the page that asks may not talk to it.
    """
    hub, allowed = hub_of(request), allowed_agents(request)
    if agent is None and allowed is not None and hub.agents.default not in allowed:
        agent = next((entry.name for entry in hub.agents.entries if entry.name in allowed), None)
    agent = check_agent(hub, agent) or hub.agents.default
    check_allowed(request, agent)
    return Creation(
        agent=agent,
        persona=persona,
        website_domain=_site_of(request),
        ip_address=request.client.host if request.client else None,
    )


def _site_of(request: Request) -> str | None:
    embedding: str | None = request.scope.get("state", {}).get("site")
    if embedding is not None:  # the widget: its own pages are ours, but the page around it is not
        return embedding
    try:
        site = urlsplit(request.headers.get("origin") or request.headers.get("referer") or "").hostname
    except ValueError:  # what a header holds may look like a URL and be none
        return None
    return site if site is not None and _SITE.fullmatch(site) else None


def check_agent(hub: Hub, agent: str | None) -> str | None:
    """Return the agent's name if there is one.

    Raises:
        Invalid: it names no agent.
    """
    if agent is not None and hub.agents.get(agent) is None:
        raise Invalid(f"agent must be one of {', '.join(entry.name for entry in hub.agents.entries)}", field="agent")
    return agent


def allowed_agents(request: Request) -> frozenset[str] | None:
    """Return the agents that the page which asks may talk to; None for all: ours, or one of `ALLOWED_ORIGINS`."""
    allowed: frozenset[str] | None = request.scope.get("state", {}).get("agents")
    return allowed


def check_allowed(request: Request, agent: str) -> None:
    """Raise Forbidden when the page that asks may not talk to this agent."""
    allowed = allowed_agents(request)
    if allowed is not None and agent not in allowed:
        raise Forbidden("the Origin is that of a page which may not talk to this agent", code="origin_refused")


__all__ = [
    "Principal",
    "allowed_agents",
    "check_agent",
    "check_allowed",
    "creation_of",
    "hub_of",
    "key_of",
    "path_key",
    "principal_of",
]
