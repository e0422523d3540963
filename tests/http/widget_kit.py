"""What the tests of the widget at the server share: agents for other sites, and visitors there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import anyio.lowlevel

from scripts.blackbox.process import Server
from scripts.blackbox.wire import Answer

SHOP: Final = "https://shop.example"
BLOG: Final = "http://blog.example:8080"
EVERYWHERE: Final = "https://everywhere.example"
STRANGER: Final = "https://stranger.example"
SECRET: Final = "a secret of thirty-two characters"
AGENTS: Final = f"""\
default = "inner"

[agents.inner]
kind = "scripted"

[agents.support]
kind = "python"
entrypoint = "greeter:agent"
personas = ["technical-support", "assistant"]
persona = "technical-support"
allowed_origins = ["{SHOP}", "{BLOG}"]

[agents.sales]
kind = "scripted"
allowed_origins = ["{SHOP}"]
"""
_GREETER: Final = """\
async def agent(turn):
    yield f"you said {turn.message} to {turn.persona}"
"""


def _prepare(folder: Path) -> None:
    (folder / "agents.toml").write_text(AGENTS, encoding="utf-8")
    (folder / "greeter.py").write_text(_GREETER, encoding="utf-8")


async def serving(folder: Path, **settings: str) -> AsyncIterator[Server]:
    """Run a server with these agents."""
    running = Server(folder, settings={"SECRET_KEY": SECRET, **settings})
    _prepare(folder)
    try:
        await running.start()
        yield running
    finally:
        running.kill_now()
        running.wire.forget()
        await anyio.lowlevel.checkpoint()


async def offer(server: Server, origin: str | None, **query: str) -> Answer:
    """Ask, as a page of `origin`, to embed an agent."""
    headers = {} if origin is None else {"Origin": origin}
    return await server.wire.call("GET", f"/api/widget?{urlencode(query)}", headers=headers)


async def admit(server: Server, ticket: str, **headers: str) -> Answer:
    """Turn a ticket into a token, as the page in the frame."""
    return await server.wire.call(
        "POST", "/api/widget", headers={"Origin": server.url, **headers}, body={"ticket": ticket}
    )


class Visitor:
    """Somebody in the widget of an agent on a page of `origin`."""

    def __init__(self, server: Server, token: str) -> None:
        self.server = server
        self.token = token

    async def call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Send one request of the frame."""
        given = {"Authorization": f"Bearer {self.token}", "Origin": self.server.url, **(headers or {})}
        return await self.server.wire.call(method, path, headers=given, body=body)

    async def ask(self, message: str, **fields: Any) -> dict[str, Any]:
        """Send a message and return the answer to it, after the run."""
        answer = await self.call("POST", "/api/chat", {"message": message, "wait": True, **fields})
        assert answer.status == 200, answer.body
        answered: dict[str, Any] = answer.json()
        return answered


async def visitor(server: Server, origin: str = SHOP, agent: str = "support") -> Visitor:
    """Become a visitor, as a browser does it."""
    offered = await offer(server, origin, agent=agent)
    assert offered.status == 200, offered.body
    admitted = await admit(server, offered.json()["ticket"])
    assert (admitted.status, admitted.json()["origin"], admitted.json()["agent"]) == (201, origin, agent)
    return Visitor(server, admitted.json()["token"])


def policy(answer: Answer) -> dict[str, str]:
    """Return the Content-Security-Policy of an answer by directive."""
    parts = (part.strip().partition(" ") for part in answer.headers["content-security-policy"].split(";"))
    return {name: value for name, _, value in parts}
