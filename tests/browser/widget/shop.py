"""A server with an agent for other sites, those sites, and a person's tabs on them."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Final

import anyio.lowlevel
from playwright.async_api import BrowserContext, ConsoleMessage, Frame, Page, expect

from scripts.blackbox.process import Server
from tests.browser.pages import WAIT_MS
from tests.browser.sites import Site, serving

expect.set_options(timeout=WAIT_MS)

_AGENTS: Final = """\
default = "inner"

[agents.inner]
kind = "scripted"

[agents.support]
kind = "python"
entrypoint = "support:agent"
personas = ["technical-support", "creative-writer"]
persona = "technical-support"
allowed_origins = [{origins}]
"""
# Says what it was asked; asked to wait, it does so until the test opens the gate of those words.
_SUPPORT: Final = """\
from pathlib import Path

import anyio

HERE = Path(__file__).parent

ASKED = {"id": "ask", "reason": "approval", "toolCallId": "call", "message": "May I remove it?"}

async def agent(turn):
    if turn.resume:
        yield f"It was {turn.resume[0]['status']}: {turn.resume[0].get('payload')}."
        return
    if turn.message == "remove it":
        yield {"type": "TOOL_CALL_START", "toolCallId": "call", "toolCallName": "remove"}
        yield {"type": "TOOL_CALL_ARGS", "toolCallId": "call", "delta": "{}"}
        yield {"type": "TOOL_CALL_END", "toolCallId": "call"}
        yield {"type": "RUN_FINISHED", "outcome": {"type": "interrupt", "interrupts": [ASKED]}}
        return
    if turn.message == "break":
        raise RuntimeError("no")
    yield f"You said **{turn.message}** as {turn.persona}."
    while turn.message.startswith("wait") and not (HERE / turn.message).exists():
        await anyio.sleep(0.02)
    if turn.message.startswith("wait"):
        yield " That was all."
"""


class Shop:
    """A server, the sites that may embed its agent, and one that may not."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.server = Server(folder, settings={"AUTH": "visitor", **settings})
        hosts = ("localhost", "127.0.0.2", "127.0.0.2", "127.0.0.3")
        self.sites = [Site(host, self.server.url) for host in hosts]
        self.first, self.second, self.neighbour, self.stranger = self.sites
        origins = ", ".join(f'"{site.origin}"' for site in self.sites[:3])
        (folder / "agents.toml").write_text(_AGENTS.format(origins=origins), encoding="utf-8")
        (folder / "support.py").write_text(_SUPPORT, encoding="utf-8")

    def open_gate(self, message: str) -> None:
        """Let the answer to this end, which waits."""
        (self.folder / message).touch()

    def sessions(self) -> list[tuple[str, str, str]]:
        """Return site, agent and owner of every session, read beside the server."""
        (path,) = (self.folder / "data").glob("*.db")
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as database:
            rows = database.execute("SELECT website_domain, agent, user_id FROM sessions ORDER BY ref")
            return [(str(site), str(agent), str(user)) for site, agent, user in rows]


class Tab:
    """A tab on a site with the widget, with the words of this test for what a person does in it."""

    def __init__(self, page: Page, site: Site) -> None:
        self.page = page
        self.site = site
        self.said: list[str] = []
        self.errors: list[str] = []
        page.set_default_timeout(WAIT_MS)
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.bubble = page.get_by_test_id("widget-bubble")
        self.frame = page.get_by_test_id("widget-frame")
        self.panel = page.locator("#panel")
        inside = page.frame_locator("[data-testid=widget-frame]")
        self.title = inside.locator("h1")
        self.greeting = inside.locator(".widget-greeting")
        self.composer = inside.get_by_test_id("composer")
        self.questions = inside.locator("[data-testid=message][data-role=user]")
        self.answers = inside.locator("[data-testid=message][data-role=assistant] .body")
        self.stop = inside.get_by_test_id("stop")
        self.connection = inside.get_by_test_id("connection")
        self.problem = inside.locator("#problem")
        self.new = inside.get_by_test_id("new-session")
        self.inside = inside

    def _note(self, message: ConsoleMessage) -> None:
        self.said.append(message.text)
        if message.type == "error":
            self.errors.append(message.text)

    async def go(self, query: str = "") -> Tab:
        """Go to the site's page."""
        await self.page.goto(f"{self.site.origin}/{query}")
        return self

    async def open(self, query: str = "") -> Tab:
        """Go to the site's page and open the panel."""
        await self.go(query)
        await self.bubble.click()
        await expect(self.composer).to_be_visible()
        return self

    async def ask(self, text: str) -> None:
        """Send a message."""
        await self.composer.fill(text)
        await self.composer.press("Enter")

    async def ask_and_wait(self, text: str) -> None:
        """Send a message and wait for the end of its answer."""
        await self.ask(text)
        await expect(self.answers.last).to_contain_text(f"You said {text} as")
        await expect(self.stop).to_be_hidden()

    def frame_now(self) -> Frame:
        """Return the frame of the widget."""
        (frame,) = (frame for frame in self.page.frames if "/widget?" in frame.url)
        return frame


class Browsing:
    """A browser with nothing in it yet."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context

    async def tab(self, site: Site) -> Tab:
        """Open a tab, for a site."""
        return Tab(await self.context.new_page(), site)


@asynccontextmanager
async def running(folder: Path, **settings: str) -> AsyncIterator[Shop]:
    """Run a server and the sites."""
    shop = Shop(folder, **settings)
    try:
        async with serving(*shop.sites):
            await shop.server.start()
            yield shop
    finally:
        shop.server.kill_now()
        shop.server.wire.forget()
        await anyio.lowlevel.checkpoint()
