"""What a stream writes past its task is bounded by what the peer takes."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from server.api.events import PUSH
from server.api.protocol import Protocol

PIECE = b"x" * 65_536
MOST = 1000
"""Far more than the buffers of a socket hold."""


async def test_a_peer_that_takes_nothing_is_pushed_no_more_than_its_buffers_hold() -> None:
    pushed: list[bool] = []
    is_done = anyio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        push = scope["extensions"][PUSH]
        pushed.append(push(PIECE))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while len(pushed) < MOST:
            pushed.append(push(PIECE))
            if not pushed[-1]:
                break
            await asyncio.sleep(0)
        is_done.set()
        await receive()

    config = uvicorn.Config(app, lifespan="off", log_config=None)
    config.load()
    state: dict[str, Any] = {}
    server = await asyncio.get_running_loop().create_server(
        lambda: Protocol(config=config, server_state=ServerState(), app_state=state), "127.0.0.1", 0
    )
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), limit=1024)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with anyio.fail_after(10):
            await is_done.wait()
        writer.close()
        reader.feed_eof()

    assert pushed[0] is False, "nothing may be written before the response has begun"
    assert pushed[1] is True
    assert pushed[-1] is False, "it was pushed all of it"
