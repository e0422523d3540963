"""The page in a real browser: a tab of it, with the words of these tests for what a person does there."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import httpx
from playwright.async_api import Browser, ConsoleMessage, Locator, Page, expect

from tests.browser.serving import ServerProcess

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
WAIT_MS = 30_000
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 360, "height": 740}

expect.set_options(timeout=WAIT_MS)

_numbers = count(1)


class Tab:
    """A tab of the page."""

    def __init__(self, page: Page, url: str, user_id: str) -> None:
        self.page = page
        self.url = url
        self.user_id = user_id
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.set_default_timeout(WAIT_MS)
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(f"{request.method} {request.url}"))
        self.composer = page.get_by_test_id("composer")
        self.stop = page.get_by_test_id("stop")
        self.connection = page.get_by_test_id("connection")
        self.sessions = page.get_by_test_id("session-item")
        self.queue = page.get_by_test_id("queue-item")
        self.questions = page.locator('[data-testid="message"][data-role="user"] .text')
        self.answers = page.locator('[data-testid="message"][data-role="assistant"] > .body')
        self.streaming = page.locator('[data-testid="message"][data-status="streaming"] > .body')

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def message(self, role: str, status: str) -> Locator:
        """Return the messages of a role in a status."""
        return self.page.locator(f'[data-testid="message"][data-role="{role}"][data-status="{status}"]')

    async def open(self, address: str = "/") -> Tab:
        """Go to an address of the server."""
        await self.page.goto(self.url + address)
        return self

    async def open_another(self, address: str = "") -> Tab:
        """Open another tab of the same browser, by default on the same session."""
        page = await self.page.context.new_page()
        return await Tab(page, self.url, self.user_id).open(address or f"/#/s/{self.session_id}")

    async def send(self, text: str) -> None:
        """Write a message and press Enter, looking at the tab: others are painted once a second."""
        await self.page.bring_to_front()
        await self.composer.fill(text)
        await self.composer.press("Enter")

    async def start_anew(self) -> None:
        """Open a new chat and wait until the old one is off the page."""
        await self.page.get_by_test_id("new-session").click()
        await expect(self.answers).to_have_count(0)

    async def send_and_wait(self, text: str) -> None:
        """Send a message and wait for the end of its answer."""
        before = await self.answers.count()
        await self.send(text)
        await expect(self.answers).to_have_count(before + 1)
        await expect(self.stop).to_be_hidden()

    @property
    def session_id(self) -> str:
        """The open session."""
        found = re.search(r"#/s/(.+)$", self.page.url)
        assert found, self.page.url
        return found[1]

    def asking(self) -> httpx.AsyncClient:
        """Return a client of the server that is this user, outside the browser."""
        return httpx.AsyncClient(base_url=self.url, headers={"X-Forwarded-User": self.user_id}, timeout=60)

    async def get(self, path: str) -> Any:
        """Ask the server as this user."""
        async with self.asking() as client:
            return (await client.get(path)).raise_for_status().json()

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        """Tell the server something as this user."""
        async with self.asking() as client:
            return (await client.post(path, json=body)).raise_for_status().json()

    async def state(self) -> Any:
        """Return what the server has of the open session."""
        return await self.get(f"/api/state?session_id={self.session_id}")


@asynccontextmanager
async def opened(browser: Browser, server: ServerProcess, address: str = "/", **options: Any) -> AsyncIterator[Tab]:
    """Open a tab in a browser of its own, for a user of its own."""
    user_id = f"user-{next(_numbers)}"
    given = {"viewport": DESKTOP, "extra_http_headers": {"X-Forwarded-User": user_id}, **options}
    context = await browser.new_context(**given)
    yield await Tab(await context.new_page(), server.url, user_id).open(address)
    await context.close()


def script(*steps: dict[str, Any]) -> str:
    """Return a message that the scripted agent plays."""
    return json.dumps({"steps": steps})


def slowly(tokens: int) -> str:
    """Return a message whose answer is `w0 w1 …`, 20 words a second."""
    return script({"emit": {"tokens": tokens, "rate": 20}})


def words(tokens: int) -> list[str]:
    """Return the words of that answer."""
    return [f"w{number}" for number in range(tokens)]
