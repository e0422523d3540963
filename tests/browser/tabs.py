"""Tabs of one browser that use the client's module without the page: an empty document and a `ChatManager`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import httpx
from playwright.async_api import Browser, BrowserContext, Page, Route

from tests.browser.serving import ServerProcess

WAIT_MS = 30_000
ENDED = "chat.view.messages.length && !chat.state.run"
DOCUMENT = """<!doctype html><title>client</title><script type="module">
import * as client from "/static/client/index.js";
import { SessionList } from "/static/session_list.js";
window.errors = [];
window.sources = [];
const now = () => performance.timeOrigin + performance.now();
window.EventSource = class extends EventSource {
  constructor(...given) {
    super(...given);
    this.span = [now(), Infinity];
    window.sources.push(this);
  }
  close() {
    super.close();
    this.span[1] = Math.min(this.span[1], now());
  }
};
window.shown = [];
window.follow = (config) => {
  const chat = (window.chat = new client.ChatManager(config));
  chat.on("error", (error) => window.errors.push(error.code));
  chat.on("messages", (messages) => {
    const text = String(messages.findLast(({ role }) => role === "assistant")?.content ?? "");
    window.shown.push(text);
  });
  return chat.connect();
};
window.list = new SessionList();
// What the browser says of a tab that is behind another one: a driven browser shows all of them as seen.
window.hide = (isHidden) => {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => isHidden });
  document.dispatchEvent(new Event("visibilitychange"));
};
window.client = client;
</script>"""

_numbers = count(1)


class Tab:
    """One tab: an empty document with the module in it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.set_default_timeout(WAIT_MS)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    async def follow(self, session_id: str = "", **config: Any) -> Tab:
        """Show a session; by default a new one."""
        await self.page.evaluate("(config) => window.follow(config)", {"sessionId": session_id, **config})
        return self

    async def run(self, script: str, argument: Any = None) -> Any:
        """Evaluate a function of the manager (and of an argument) in the page."""
        return await self.page.evaluate(f"(argument) => ({script})(window.chat, argument)", argument)

    async def until(self, condition: str, argument: Any = None) -> None:
        """Wait until an expression of `chat`, and of `argument`, is true."""
        await self.page.wait_for_function(
            f"(argument) => {{ const chat = window.chat; return {condition}; }}", arg=argument, polling=20
        )

    async def send(self, text: str) -> Any:
        """Send a message; return what the server answered."""
        return await self.run("(chat, text) => chat.sendMessage(text)", text)

    async def messages(self) -> list[dict[str, Any]]:
        """Return what it shows."""
        shown: list[dict[str, Any]] = await self.run("(chat) => chat.messages")
        return shown

    async def session_id(self) -> str:
        """Return the session that it follows."""
        return str(await self.run("(chat) => chat.getSessionId()"))

    async def last_text(self) -> str:
        """Return the newest answer as it is shown."""
        return str([one["content"] for one in await self.messages() if one["role"] == "assistant"][-1])


class Windows:
    """One browser profile of one user, and its tabs."""

    def __init__(self, context: BrowserContext, server: ServerProcess, user_id: str) -> None:
        self.context = context
        self.server = server
        self.user_id = user_id
        self.streams: list[str] = []
        context.on("request", lambda request: self._note(request.url))

    async def open_all(self, count: int) -> list[Tab]:
        """Open empty tabs."""
        return [await self.open() for _ in range(count)]

    def _note(self, url: str) -> None:
        if "/api/" in url and "/stream?" in url:
            self.streams.append(url)

    async def open(self) -> Tab:
        """Open an empty tab."""
        tab = Tab(await self.context.new_page())
        await tab.page.goto(f"{self.server.url}/tab")
        await tab.page.wait_for_function("window.client")
        return tab

    async def open_streams(self) -> list[str]:
        """Return the addresses of the streams that all tabs hold open just now."""
        script = "window.sources.filter(({ readyState }) => readyState !== 2).map(({ url }) => url)"
        return [url for page in self.context.pages for url in await page.evaluate(script)]

    async def state_of(self, session_id: str) -> Any:
        """Return what the server has of a session."""
        return await self.get(f"/api/state?session_id={session_id}")

    async def stored(self, tab: Tab) -> list[dict[str, Any]]:
        """Return the messages that the server has of a tab's session."""
        messages: list[dict[str, Any]] = (await self.state_of(await tab.session_id()))["messages"]
        return messages

    async def most_streams(self) -> int:
        """Return how many streams all tabs together held at once, at most."""
        script = "window.sources.map(({ span: [start, end] }) => [start, Math.min(end, 1e15)])"
        spans: list[list[float]] = [span for page in self.context.pages for span in await page.evaluate(script)]
        return max(sum(start <= moment < end for start, end in spans) for moment, _ in spans)

    def asking(self) -> httpx.AsyncClient:
        """Return a client of the server that is this user, outside the browser."""
        return httpx.AsyncClient(base_url=self.server.url, headers={"X-Forwarded-User": self.user_id}, timeout=30)

    async def get(self, path: str) -> Any:
        """Ask the server as this user."""
        async with self.asking() as client:
            return (await client.get(path)).raise_for_status().json()


@asynccontextmanager
async def windows(browser: Browser, server: ServerProcess) -> AsyncIterator[Windows]:
    """Open a browser profile of its own, for a user of its own."""
    user_id = f"tabs-{next(_numbers)}"
    context = await browser.new_context(extra_http_headers={"X-Forwarded-User": user_id})

    async def document(route: Route) -> None:
        await route.fulfill(body=DOCUMENT, content_type="text/html")

    await context.route("**/tab", document)
    yield Windows(context, server, user_id)
    await context.close()


def script(*steps: dict[str, Any]) -> str:
    """Return a message that the scripted agent plays."""
    return json.dumps({"steps": steps})


def slowly(tokens: int, rate: int = 20) -> str:
    """Return a message whose answer is `w0 w1 …`, so many words a second."""
    return script({"emit": {"tokens": tokens, "rate": rate}})


def words(tokens: int) -> list[str]:
    """Return the words of that answer."""
    return [f"w{number}" for number in range(tokens)]
