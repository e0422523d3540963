"""The floor of what uvicorn can do: an ASGI function and an `asyncio.Queue`, ready bytes, no framework, nothing stored.

It knows the requests of the benchmark and nothing else.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from . import serving
from .pacing import agent, asked

Queue = asyncio.Queue[bytes]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

RUN_ID: Final = "01890000-0000-7000-8000-000000000000"
HEADERS: Final = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]


class Session:
    """One conversation."""

    __slots__ = ("queues", "run", "unclaimed")

    def __init__(self) -> None:
        self.unclaimed: Queue | None = asyncio.Queue()
        self.queues = {self.unclaimed}
        self.run: asyncio.Task[None] | None = None

    def send(self, frame: bytes) -> None:
        """Give a frame to every client."""
        for queue in self.queues:
            queue.put_nowait(frame)


sessions: dict[str, Session] = {}


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Answer one request."""
    if scope["type"] == "lifespan":
        return
    if scope["method"] == "GET":
        if scope["path"] == "/health":
            await _reply(send, 200, b"{}")
        else:
            await _stream(scope["query_string"].partition(b"=")[2].decode(), receive, send)
        return
    body = json.loads((await receive())["body"])
    session_id = body["session_id"]
    session = sessions.get(session_id)
    if session is None:
        session = sessions[session_id] = Session()
    if scope["path"] == "/chat":
        session.run = asyncio.create_task(_answer(session, body["message"]))  # noqa: TID251  # the floor has no owners
        await _reply(send, 202, b"{}")
    elif scope["path"] == "/interrupt" and session.run is not None:
        session.run.cancel()
        await _reply(send, 200, b"{}")
    else:
        await _reply(send, 201, b"{}")


async def _answer(session: Session, message: str) -> None:
    try:
        async for word in agent(asked(message)):
            session.send(
                b'data: {"type":"TEXT_MESSAGE_CONTENT","messageId":"%s","delta":"%s","timestamp":1700000000000}\n\n'
                % (RUN_ID.encode(), word.encode())
            )
    finally:
        session.send(b'data: {"type":"RUN_FINISHED"}\n\n')


async def _stream(session_id: str, receive: Receive, send: Send) -> None:
    session = sessions.get(session_id)
    if session is None:
        session = sessions[session_id] = Session()
    queue, session.unclaimed = session.unclaimed or asyncio.Queue(), None
    session.queues.add(queue)
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    writing = asyncio.create_task(_write(queue, send))  # noqa: TID251  # as above
    await receive()  # the request's own end
    await receive()  # the disconnect
    writing.cancel()
    session.queues.discard(queue)


async def _write(queue: Queue, send: Send) -> None:
    while True:
        await send({"type": "http.response.body", "body": await queue.get(), "more_body": True})


async def _reply(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    serving.serve(app)
