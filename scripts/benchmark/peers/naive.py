"""What people write by hand: Starlette, sse-starlette's `EventSourceResponse` with its defaults, a queue per client.

Nothing is stored and nothing can be resumed. Events are dicts, made into JSON once and put on the queue of every
client of the session; a session's first queue is there from its creation, so that no early word is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from sse_starlette.sse import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from . import serving
from .pacing import agent, asked

Queue = asyncio.Queue[dict[str, Any]]


class Session:
    """One conversation."""

    def __init__(self) -> None:
        self.unclaimed: Queue | None = asyncio.Queue()
        self.queues: set[Queue] = {self.unclaimed}
        self.run: asyncio.Task[None] | None = None

    def send(self, event: dict[str, Any]) -> None:
        """Give an event to every client."""
        item = {"data": json.dumps(event)}
        for queue in self.queues:
            queue.put_nowait(item)


sessions: dict[str, Session] = {}


async def health(request: Request) -> Response:
    """GET /health."""
    return JSONResponse({"status": "ok"})


async def create(request: Request) -> Response:
    """POST /sessions."""
    session_id = (await request.json())["session_id"]
    sessions[session_id] = Session()
    return JSONResponse({"session_id": session_id}, status_code=201)


async def chat(request: Request) -> Response:
    """POST /chat."""
    body = await request.json()
    session = sessions.setdefault(body["session_id"], Session())
    run_id = str(uuid.uuid4())  # noqa: TID251  # what people write
    session.run = asyncio.create_task(answer(session, run_id, body["message"]))  # noqa: TID251  # as above
    if "text/event-stream" in request.headers.get("accept", ""):
        return follow(session)
    return JSONResponse({"session_id": body["session_id"], "run_id": run_id}, status_code=202)


async def answer(session: Session, run_id: str, message: str) -> None:
    """Stream the words of the agent."""
    session.send({"type": "RUN_STARTED", "runId": run_id})
    try:
        async for word in agent(asked(message)):
            now = int(time.time() * 1000)
            session.send({"type": "TEXT_MESSAGE_CONTENT", "messageId": run_id, "delta": word, "timestamp": now})
    finally:
        session.send({"type": "RUN_FINISHED", "runId": run_id})


async def interrupt(request: Request) -> Response:
    """POST /interrupt."""
    session = sessions[(await request.json())["session_id"]]
    if session.run is not None:
        session.run.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await session.run
    return JSONResponse({"outcome": "stopped"})


async def stream(request: Request) -> Response:
    """GET /stream."""
    return follow(sessions.setdefault(request.query_params["session_id"], Session()))


def follow(session: Session) -> Response:
    """Stream the session's events to one more client."""
    queue, session.unclaimed = session.unclaimed or asyncio.Queue(), None
    session.queues.add(queue)

    async def events() -> AsyncIterator[dict[str, Any]]:
        try:
            while True:
                yield await queue.get()
        finally:
            session.queues.discard(queue)

    return EventSourceResponse(events())


app = Starlette(
    routes=[
        Route("/health", health),
        Route("/sessions", create, methods=["POST"]),
        Route("/chat", chat, methods=["POST"]),
        Route("/interrupt", interrupt, methods=["POST"]),
        Route("/stream", stream),
    ]
)

if __name__ == "__main__":
    serving.serve(app)
