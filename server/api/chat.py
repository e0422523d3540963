"""Talking to a session: chat, stream, interrupt, system, state."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import anyio
import orjson
from starlette.requests import Request
from starlette.responses import Response

from ..core.dialogue import Accepted
from ..core.hub import Hub
from ..core.ports import SessionKey
from ..core.question import Answer, Question
from ..core.reader import Reader
from ..core.reading import reading
from ..core.run import Run
from ..core.session import Session
from ..core.snapshot import take_snapshot
from ..errors import AgentFailed, Invalid, SessionstreamError
from ..ids import new_id
from .access import check_allowed, creation_of, hub_of, key_of, principal_of
from .answers import json_answer
from .bodies import ChatBody, InterruptBody, SystemBody, ToolResultBody, read_body
from .events import EventStream
from .problems import answer as answer_problem
from .query import query_id
from .watch import RunSource, await_end


async def chat(request: Request) -> Response:
    """POST /api/chat: 202 at once, 200 after the run (`wait`), or the run's own events (by `Accept`)."""
    hub = hub_of(request)
    body = await read_body(request, ChatBody, hub.settings)
    question = Question(
        message=body.message,
        message_id=body.message_id or new_id(),
        is_new_id=body.message_id is None,
        digest=digest_of(body.message, body.agent, body.persona, body.options),
        persona=body.persona,
        options=body.options,
    )
    creation = creation_of(request, agent=body.agent, persona=body.persona)
    key = await key_or_new(request, body.session_id)
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(hub.session(key, creation, is_new_id=body.session_id is None))
        is_stream = _wants_events(request)
        reader = await stack.enter_async_context(hub.attach(session)) if is_stream or body.wait else None
        accepted = await session.ask(question, agent=body.agent, on_busy=body.on_busy)
        if reader is None:
            return _accepted(key, accepted)
        if is_stream:
            source = RunSource(session, reader, accepted, hub)
            response = EventStream(hub, source, b"", stack.pop_all(), {"X-Session-Id": key.session_id})
            response.outlast()
            return response
        return await unless_gone(request, partial(_after, hub, session, reader, accepted))


async def stream(request: Request) -> Response:
    """GET /api/chat/stream: a snapshot, or exactly what follows the cursor, then what happens."""
    hub = hub_of(request)
    session_id = query_id(request, "session_id")
    key = await key_or_new(request, session_id)
    # The header wins: it is what a browser that comes back by itself has learnt since it was given the URL.
    cursor = request.headers.get("last-event-id") or request.query_params.get("last_event_id")
    async with AsyncExitStack() as stack:
        held = hub.session(key, creation_of(request), is_new_id=session_id is None)
        session = await stack.enter_async_context(held)
        reader = await stack.enter_async_context(hub.attach(session))
        with reading(hub.settings.storage_timeout_seconds):
            first = await reader.begin(cursor) if request.method != "HEAD" else b""
        response = EventStream(hub, reader, first, stack.pop_all(), {"X-Session-Id": key.session_id})
        response.push_for(reader)
        return response


async def interrupt(request: Request) -> Response:
    """POST /api/interrupt: stop the run, with a receipt."""
    hub = hub_of(request)
    body = await read_body(request, InterruptBody, hub.settings)
    key = await key_of(request, body.session_id)
    async with hub.session(key) as session:
        with reading(2 * hub.settings.storage_timeout_seconds):
            receipt = await session.interrupt(body.run_id, body.message_id)
    return json_answer(
        {
            "session_id": key.session_id,
            "run_id": receipt.run_id,
            "outcome": receipt.outcome,
            "cursor": str(receipt.cursor),
        }
    )


async def system(request: Request) -> Response:
    """POST /api/system: a system message; `respond` lets the agent answer it."""
    hub = hub_of(request)
    body = await read_body(request, SystemBody, hub.settings)
    key = await key_or_new(request, body.session_id)
    message_id = body.message_id or new_id()
    digest = digest_of(body.message, "system", body.respond, None)
    async with hub.session(key, creation_of(request)) as session:
        if body.respond:
            question = Question(message=body.message, message_id=message_id, digest=digest, role="system")
            return _accepted(key, await session.ask(question, agent=None, on_busy="queue"))
        accepted = await session.tell(body.message, message_id, digest)
    return _accepted(key, accepted)


async def tool_result(request: Request) -> Response:
    """POST /api/tool-result: what a tool of the client returned, or whether one of the server may be called."""
    hub = hub_of(request)
    body = await read_body(request, ToolResultBody, hub.settings)
    key = await key_of(request, body.session_id)
    answer = Answer(id=body.tool_call_id, payload=body.content, error=body.error)
    async with hub.session(key) as session:
        # The agent that asked goes on, and it need not be that of the session.
        check_allowed(request, session.record.pending.get("agent", session.record.agent))
        accepted = await session.answer([answer])
    receipt = _receipt(key, accepted)
    del receipt["message_id"]  # a run that goes on has no message of its own
    return json_answer({**receipt, "tool_call_id": body.tool_call_id}, status=202)


async def state(request: Request) -> Response:
    """GET /api/state: the same fold that a snapshot sends."""
    hub = hub_of(request)
    session_id = query_id(request, "session_id")
    if session_id is None:
        raise Invalid("session_id is missing", field="session_id")
    key = await key_of(request, session_id)
    async with hub.session(key) as session:
        with reading(hub.settings.storage_timeout_seconds):
            snapshot = await take_snapshot(session, hub.storage, hub.settings.session_timeout_minutes)
    return json_answer(
        {
            "session": snapshot.session,
            "messages": snapshot.messages,
            "state": snapshot.state,
            "run": snapshot.run,
            "cursor": str(snapshot.cursor),
        }
    )


async def key_or_new(request: Request, session_id: str | None) -> SessionKey:
    """Return the key that the caller means, or that of a session which is new."""
    if session_id is None:
        return SessionKey(principal_of(request).user_id, new_id())
    return await key_of(request, session_id)


def digest_of(*parts: Any) -> bytes:
    """Return what tells a repeated request from another one."""
    return hashlib.blake2b(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS), digest_size=16).digest()


def _wants_events(request: Request) -> bool:
    return "text/event-stream" in request.headers.get("accept", "")


def _accepted(key: SessionKey, accepted: Accepted) -> Response:
    return json_answer(_receipt(key, accepted), status=202)


def _receipt(key: SessionKey, accepted: Accepted) -> dict[str, Any]:
    return {
        "session_id": key.session_id,
        "run_id": accepted.run_id,
        "message_id": accepted.message_id,
        "cursor": str(accepted.cursor),
        "status": accepted.status,
    }


async def unless_gone(request: Request, answer: Callable[[], Awaitable[Response]]) -> Response:
    """Return the answer, or stop waiting for it when the client left: the run goes on, the place is free."""
    answered: list[Response] = []
    async with anyio.create_task_group() as tasks:

        async def listen() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass
            tasks.cancel_scope.cancel()

        tasks.start_soon(listen)
        try:
            answered.append(await answer())
        except SessionstreamError as error:
            answered.append(answer_problem(request.scope, error))
        tasks.cancel_scope.cancel()
    return answered[0] if answered else Response(status_code=499)


async def _after(hub: Hub, session: Session, reader: Reader, accepted: Accepted) -> Response:
    """Answer when the run is over; the reader only wakes, it takes nothing."""
    ended = await await_end(session, reader, accepted, hub.storage)
    record = ended.as_record() if isinstance(ended, Run) else ended
    if record is not None and record.status == "failed":
        raise AgentFailed(ended.detail if isinstance(ended, Run) else "", code=record.code)
    with reading(hub.settings.storage_timeout_seconds):
        if isinstance(ended, Run):
            messages = ended.messages
        else:
            rows = await hub.storage.messages(session.record.ref)
            messages = [row.message for row in rows if row.run_id == accepted.run_id]
        snapshot = await take_snapshot(session, hub.storage, hub.settings.session_timeout_minutes)
    status = record.status if record is not None else accepted.status
    answer = _receipt(session.key, accepted)
    answer |= {"status": status, "cursor": str(snapshot.cursor), "messages": messages, "state": snapshot.state}
    return json_answer({**answer, "usage": list(record.usage) if record is not None else []})
