"""The stage of the pictures: a server with somebody's chats of the last weeks, and a browser before it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
import httpx
from playwright.async_api import Browser, Page, async_playwright

from server.storage.sqlite import FILE_NAME

ROOT: Final = Path(__file__).resolve().parents[2]
START_S: Final = 30.0
WAIT_MS: Final = 20_000
DESK: Final = {"width": 1280, "height": 800}
TALL: Final = {"width": 1280, "height": 940}
PHONE: Final = {"width": 390, "height": 844}
TOUCH: Final = {"has_touch": True, "is_mobile": True}
ARGUMENTS: Final = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
HOUR: Final = 3600.0
DAY: Final = 24 * HOUR
MONTH_MINUTES: Final = 30 * 24 * 60

AGENTS: Final = """\
default = "analyst"

[agents.analyst]
kind = "python"
entrypoint = "demo_agent:agent"
description = "Knows the metrics, the deployments and the runbooks"
personas = ["assistant", "technical-support", "creative-writer"]

[agents.library]
kind = "documents"
description = "Quotes the handbook"
"""
QUESTION: Final = "Why did checkout get slower on Tuesday?"
EARLIER: Final = (
    # title, age in seconds, agent, pairs of messages
    ("Weekly report for the board", 0.4 * HOUR, "analyst", 4),
    ("Rewrite the refund e-mail", 2.2 * HOUR, "analyst", 3),
    ("Customers without an order since June", 5.5 * HOUR, "analyst", 6),
    ("Explain backpressure to a new colleague", 1.2 * DAY, "library", 5),
    ("Translate the release notes", 2.3 * DAY, "analyst", 2),
    ("Offsite in Porto: three days, eleven people", 3.1 * DAY, "analyst", 12),
    ("شرح بنود عقد الإيجار", 4.4 * DAY, "analyst", 3),
    ("Onboarding plan for Mira", 8.0 * DAY, "analyst", 7),
    ("SQL window functions, with examples", 13.0 * DAY, "library", 9),
    ("Names for the new release", 21.0 * DAY, "analyst", 4),
)


def header(user: str) -> dict[str, str]:
    """Return what makes a request this user's."""
    return {"X-Forwarded-User": user}


class Stage:
    """A server with chats in it; `url` is where it listens."""

    def __init__(self, folder: Path, agents: str = AGENTS) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])
        (folder / "agents.toml").write_text(agents, "utf-8")
        shutil.copy(Path(__file__).with_name("demo_agent.py"), folder)

    @property
    def url(self) -> str:
        """The address, without a slash at the end."""
        return f"http://127.0.0.1:{self._port}"

    def spawn(self) -> None:
        """Start the server and return at once."""
        arguments = ["--agents", str(self._folder / "agents.toml"), "--data", str(self._folder / "data")]
        environment = {**os.environ, "SESSION_TIMEOUT_MINUTES": str(MONTH_MINUTES)}
        with (self._folder / "server.log").open("ab") as log:
            command = [sys.executable, "-m", "server", *arguments, "--port", str(self._port)]
            self._process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)

    async def start(self) -> None:
        """Start the server and wait until it takes requests."""
        self.spawn()
        async with httpx.AsyncClient(base_url=self.url) as client:
            with anyio.fail_after(START_S):
                while not await _is_ready(client):  # noqa: ASYNC110 - another process: there is no event
                    await anyio.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the server and wait until it is gone. Idempotent."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait(START_S)

    def asking(self, user: str) -> httpx.AsyncClient:
        """Return a client that is this user."""
        return httpx.AsyncClient(base_url=self.url, headers=header(user), timeout=START_S)

    async def fill(self, users: Iterable[str]) -> None:
        """Give users the chats of the last weeks. They were had when their age says: imports are always of today."""
        ages = {}
        for user in users:
            async with self.asking(user) as client:
                for title, age, agent, pairs in EARLIER:
                    said = [message for number in range(pairs) for message in _pair(number)]
                    body = {"version": 1, "session": {"title": title, "agent": agent}, "messages": said}
                    answer = await client.post("/api/sessions/import", json=body)
                    ages[answer.raise_for_status().json()["session_id"]] = age
        self.stop()
        now = time.time()
        with closing(sqlite3.connect(self._folder / "data" / FILE_NAME)) as database, database:
            sql = "UPDATE sessions SET last_activity = ? WHERE session_id = ?"
            database.executemany(sql, [(now - age, name) for name, age in ages.items()])
        await self.start()


def _pair(number: int) -> list[dict[str, Any]]:
    return [
        {"id": f"q{number}", "role": "user", "content": "And the next step?"},
        {"id": f"a{number}", "role": "assistant", "content": "That depends on who is there."},
    ]


async def _is_ready(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/health/ready")).status_code == 200
    except httpx.TransportError:
        return False


@asynccontextmanager
async def running_stage(stage: Stage) -> AsyncIterator[Stage]:
    """Run its server while the block runs."""
    try:
        await stage.start()
        yield stage
    finally:
        stage.stop()


@asynccontextmanager
async def set_up(folder: Path, users: Iterable[str]) -> AsyncIterator[Stage]:
    """Run a server with chats of these users while the block runs."""
    async with running_stage(Stage(folder)) as stage:
        await stage.fill(users)
        yield stage


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """Run the browser of this machine while the block runs."""
    path = shutil.which("chromium") or "/usr/bin/chromium"
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield running
        await running.close()


class Visit:
    """What a user sees: a page, before a server."""

    def __init__(self, page: Page, stage: Stage, user: str) -> None:
        self.page = page
        self.url = stage.url
        self.asking = partial(stage.asking, user)


@asynccontextmanager
async def visiting(running: Browser, stage: Stage, user: str, **options: Any) -> AsyncIterator[Visit]:
    """Open the page in a window of its own, as this user."""
    context = await running.new_context(reduced_motion="reduce", extra_http_headers=header(user), **options)
    page = await context.new_page()
    page.set_default_timeout(WAIT_MS)
    await page.goto(stage.url)
    yield Visit(page, stage, user)
    await context.close()
