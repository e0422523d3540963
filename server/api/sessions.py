"""Sessions as a collection: create, list, search, change, end, export, import, and the queue of one."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any
from urllib.parse import quote

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from ..core.dialogue import Creation
from ..core.events import rfc3339
from ..core.history import arranged, completed
from ..core.hub import Hub
from ..core.offers import knows
from ..core.pending import call_ids
from ..core.ports import Message, SessionKey, SessionRecord
from ..core.queue import find, public_queue
from ..core.reading import reading
from ..core.session import Session
from ..core.snapshot import public_record, public_session, take_snapshot
from ..errors import Forbidden, Invalid
from ..ids import new_id
from .access import allowed_agents, check_agent, check_allowed, creation_of, hub_of, path_key, principal_of
from .answers import json_answer
from .bodies import ImportBody, NewSessionBody, PatchQueueBody, PatchSessionBody, read_body
from .query import query_choice, query_id, query_int, query_text
from .questions import exported, imported

EXPORT_VERSION = 1
_EMPTY_OF = {"config": dict, "metadata": dict}


async def create(request: Request) -> Response:
    """POST /api/sessions."""
    hub = hub_of(request)
    body = await read_body(request, NewSessionBody, hub.settings)
    made = creation_of(request, agent=body.agent, persona=body.persona)
    creation = Creation(
        agent=made.agent,
        title=body.title,
        persona=body.persona,
        metadata=body.metadata,
        website_domain=made.website_domain,
        ip_address=made.ip_address,
    )
    key = SessionKey(principal_of(request).user_id, body.session_id or new_id())
    async with hub.session(key, creation, must_be_new=True, is_new_id=body.session_id is None) as session:
        return json_answer(_public(hub, session), status=201)


async def index(request: Request) -> Response:
    """GET /api/sessions: the caller's own, latest activity first; `q` searches titles and messages."""
    hub, user_id = hub_of(request), principal_of(request).user_id
    if allowed_agents(request) is not None:
        raise Forbidden("the Origin is that of a page which may talk to some agents only", code="origin_refused")
    limit = query_int(request, "limit", 50, 1, 200)
    with reading(hub.settings.storage_timeout_seconds):
        hub.require_open()
        try:
            page = await hub.storage.sessions(
                user_id, limit=limit, cursor=request.query_params.get("cursor") or None, query=query_text(request, "q")
            )
        except ValueError:
            raise Invalid("cursor is not one of this list", field="cursor") from None
    sessions = [as_listed(hub, record) for record in page.records]
    return json_answer({"sessions": sessions, "count": len(sessions), "next_cursor": page.next_cursor})


async def show(request: Request) -> Response:
    """GET /api/sessions/{id}."""
    hub = hub_of(request)
    async with hub.session(await path_key(request)) as session:
        return json_answer(_public(hub, session))


async def change(request: Request) -> Response:
    """PATCH /api/sessions/{id}."""
    hub = hub_of(request)
    key = await path_key(request)
    async with hub.session(key) as session:
        body = await read_body(request, PatchSessionBody, hub.settings)
        sent = {name: getattr(body, name) for name in ("title", "persona", "agent", "config", "metadata")}
        fields = {name: value for name, value in sent.items() if value is not UNSET}
        for name, make in _EMPTY_OF.items():
            if name in fields and fields[name] is None:
                fields[name] = make()
        if "agent" in fields:
            fields["agent"] = check_agent(hub, fields["agent"]) or hub.agents.default
            check_allowed(request, fields["agent"])
        if fields:
            await session.change(fields)
        return json_answer(_public(hub, session))


async def remove(request: Request) -> Response:
    """DELETE /api/sessions/{id}."""
    hub = hub_of(request)
    key = await path_key(request)
    async with hub.session(key) as session:
        await hub.end(session, "deleted")
    return json_answer({"status": "deleted", "session_id": key.session_id})


async def messages(request: Request) -> Response:
    """GET /api/sessions/{id}/messages: oldest first; `next_before` leads to the page before."""
    hub = hub_of(request)
    limit = query_int(request, "limit", 100, 1, 1000)
    before = query_id(request, "before")
    key = await path_key(request)
    async with hub.session(key) as session:
        page, next_before = await _history(hub, session, before, limit)
    return json_answer(
        {
            "session_id": key.session_id,
            "messages": page,
            "count": len(page),
            "next_before": next_before,
        }
    )


async def _history(hub: Hub, session: Session, before: str | None, limit: int) -> tuple[list[Message], str | None]:
    """Return the last `limit` messages before one, and what the next ones stand before; None when there are none."""
    while True:
        log = session.live
        version = log.fold_version
        current = log.transcript.messages() if log.transcript is not None else []
        ids = [message["id"] for message in current]
        current = current[: ids.index(before)] if before in ids else current if before is None else []
        stored_before = None if before is None or before in ids else before
        with reading(hub.settings.storage_timeout_seconds):
            rows = await hub.storage.messages(log.record.ref, before=stored_before, limit=limit + 1)
        if version == log.fold_version:
            found = [*(row.message for row in rows), *current]
            page = found[-limit:]
            # Pages are cut in the order of the log: a result that stands further up in the history is on none twice.
            return arranged(page), page[0]["id"] if len(found) > limit else None


async def clear(request: Request) -> Response:
    """DELETE /api/sessions/{id}/messages."""
    hub = hub_of(request)
    async with hub.session(await path_key(request)) as session:
        await session.clear()
        hub.upkeep.has_garbage = True
        return json_answer(_public(hub, session))


# --- export and import


async def export(request: Request) -> Response:
    """GET /api/sessions/{id}/export: a download, as JSON that `import` takes back, or as Markdown to read."""
    hub = hub_of(request)
    kind = query_choice(request, "format", ("json", "markdown"), "json")
    key = await path_key(request)
    async with hub.session(key) as session:
        with reading(hub.settings.storage_timeout_seconds):
            snapshot = await take_snapshot(session, hub.storage, hub.settings.session_timeout_minutes)
        config, pending = dict(session.record.config), session.record.pending
    name = f"session-{key.session_id}.{'md' if kind == 'markdown' else 'json'}"
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}"}
    if kind == "markdown":
        text = _markdown(snapshot.session, snapshot.messages)
        return Response(text, headers={"Cache-Control": "no-store", **headers}, media_type="text/markdown")
    content = {
        "version": EXPORT_VERSION,
        "exported_at": rfc3339(time.time()),
        "session": snapshot.session,
        "config": config,
        # A call of the active run has no result yet: here it gets one that says so, or it could not be imported.
        "messages": completed(snapshot.messages, "no result yet", apart_from=call_ids(pending)),
        "artifacts": snapshot.state["artifacts"],
    }
    if pending:
        content["pending"] = exported(pending)
    return json_answer(content, headers=headers)


async def take_in(request: Request) -> Response:
    """POST /api/sessions/import: a new session of the caller with what an export holds."""
    hub = hub_of(request)
    body = await read_body(request, ImportBody, hub.settings)
    made = creation_of(request)
    known = hub.agents.get(body.session.agent) if body.session.agent else None
    entry = known or hub.agent(made.agent)
    persona = body.session.persona
    creation = Creation(
        agent=entry.name,
        title=body.session.title,
        persona=persona if persona is not None and knows(entry, persona) else None,
        metadata=body.session.metadata,
        config=body.config or body.session.config,
        website_domain=made.website_domain,
        ip_address=made.ip_address,
        messages=body.messages,
        artifacts=body.artifacts,
        pending=imported(body.pending, body.messages, entry.name, hub.settings.approval_timeout_minutes * 60),
        created_at=_seconds(body.session.created_at),
    )
    key = SessionKey(principal_of(request).user_id, new_id())
    async with hub.session(key, creation, is_new_id=True) as session:
        return json_answer(_public(hub, session), status=201)


def _seconds(when: datetime | None) -> float | None:
    return min(when.timestamp(), time.time()) if when is not None else None


def _markdown(session: dict[str, Any], history: Any) -> str:
    parts = [f"# {session['title'] or 'Untitled session'}", f"Created {session['created_at']}."]
    for message in history:
        content = message.get("content") or ""
        if isinstance(content, list):
            content = "\n".join(part["text"] if part["type"] == "text" else f"[{part['type']}]" for part in content)
        calls = [
            f"`{call['function']['name']}({call['function']['arguments']})`" for call in message.get("toolCalls", ())
        ]
        parts.append("\n\n".join(filter(None, [f"## {message['role'].capitalize()}", str(content), *calls])))
    return "\n\n".join(parts) + "\n"


# --- the queue


async def queue(request: Request) -> Response:
    """GET /api/sessions/{id}/queue."""
    async with hub_of(request).session(await path_key(request)) as session:
        return _queue_answer(session)


async def edit_queued(request: Request) -> Response:
    """PATCH /api/sessions/{id}/queue/{message_id}: another text, or another place."""
    hub = hub_of(request)
    async with hub.session(await path_key(request)) as session:
        body = await read_body(request, PatchQueueBody, hub.settings)
        message_id = request.path_params["message_id"]
        check_allowed(request, find(session.record.queue, message_id)["agent"])  # it need not be the session's
        await session.edit_queue(message_id, message=body.message, position=body.position)
        return _queue_answer(session)


async def remove_queued(request: Request) -> Response:
    """DELETE /api/sessions/{id}/queue/{message_id}."""
    async with hub_of(request).session(await path_key(request)) as session:
        await session.remove_queued(request.path_params["message_id"])
        return _queue_answer(session)


def _queue_answer(session: Session) -> Response:
    waiting = public_queue(session.record.queue)
    return json_answer({"session_id": session.key.session_id, "queue": waiting, "count": len(waiting)})


# --- shared


def as_listed(hub: Hub, record: SessionRecord) -> dict[str, Any]:
    """Return the Session object of a stored record, with what memory knows better."""
    live = hub.sessions.get(record.key)
    if live is not None and live.log is not None and live.ended is None and live.log.version >= record.version:
        return public_session(live.log, hub.settings.session_timeout_minutes)
    return public_record(record, hub.settings.session_timeout_minutes)


def _public(hub: Hub, session: Session) -> dict[str, Any]:
    return public_session(session.live, hub.settings.session_timeout_minutes)
