"""A client that goes, as servers of ASGI 2.3 and of 2.4 tell it: the stream ends, the run does not notice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest
from starlette.applications import Starlette
from starlette.types import Message

from scripts.blackbox.arena import emit, script
from server.app import create_app
from server.settings import Settings
from tests.asgi import make_scope, request

WAIT_S = 10
RUNNING = script(emit(100_000, 200))


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Starlette]:
    """The whole application, all middleware included, without a server around it."""
    (tmp_path / "agents.toml").write_text('[agents.scripted]\nkind = "scripted"\n', encoding="utf-8")
    settings = Settings(data=str(tmp_path), agents=str(tmp_path / "agents.toml"), no_docs=True)
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        while (await request(app, "GET", "/health/ready"))[0].status != 200:
            await anyio.lowlevel.checkpoint()
        yield app


class Peer:
    """A connection whose client goes away after the first piece of a stream."""

    def __init__(self, body: bytes, version: str) -> None:
        self._requests: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        self._raises = version == "2.4"
        self.is_gone = anyio.Event()
        self.sent_later = 0

    async def receive(self) -> Message:
        """Give the request, then the news that the client went; from 2.4 on, only `send` need tell."""
        if self._requests:
            return self._requests.pop()
        if self._raises:
            await anyio.sleep_forever()
        await self.is_gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Take the first piece; what comes later goes nowhere, or is an error."""
        if self.is_gone.is_set():
            self.sent_later += 1
            if self._raises:
                raise OSError
        elif b"data: " in message.get("body", b""):
            self.is_gone.set()


async def totals(app: Starlette) -> tuple[int, int]:
    """Return how many runs are active and how many streams are open."""
    _, body = await request(app, "GET", "/api/stats")
    found: dict[str, Any] = orjson.loads(body)
    return found["active_runs"], found["open_streams"]


@pytest.mark.parametrize("version", ["2.3", "2.4"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/chat"),
        ("POST", "/api/agents/scripted/run"),
        ("GET", "/api/chat/stream?session_id=s"),
        ("GET", "/api/sessions/stream"),
    ],
)
async def test_a_client_that_goes_ends_its_stream_and_not_the_run(
    app: Starlette, version: str, method: str, path: str
) -> None:
    body = orjson.dumps({"message": RUNNING, "session_id": "s"})
    if path.endswith("/run"):
        question = {"id": "m", "role": "user", "content": RUNNING}
        body = orjson.dumps({"threadId": "s", "runId": "r", "messages": [question]})
    headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
    if method == "GET":
        await request(app, "POST", "/api/chat", headers={"Content-Type": "application/json"}, body=body)
    peer = Peer(body, version)
    scope = make_scope(method, path, headers, asgi={"version": "3.0", "spec_version": version})
    with anyio.fail_after(WAIT_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(app, scope, peer.receive, peer.send)
            if path == "/api/sessions/stream" and version == "2.4":
                await peer.is_gone.wait()
                await request(app, "POST", "/api/sessions", content={})

    assert await totals(app) == (1, 0)
    assert peer.sent_later <= 1


async def test_a_silent_agent_is_no_client_that_left(app: Starlette) -> None:
    body = orjson.dumps({"message": script({"stall": {"seconds": 0.3}}, {"text": "at last"}), "wait": True})
    response, answer = await request(app, "POST", "/api/chat", headers={"Content-Type": "application/json"}, body=body)

    assert response.status == 200
    assert orjson.loads(answer)["messages"][-1]["content"] == "at last"
