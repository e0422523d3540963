"""The browser's own `EventSource`: `onmessage` alone sees everything, and it comes back by itself without our help."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Page, Response, async_playwright

from scripts.blackbox.arena import emit
from scripts.blackbox.fold import Fold, without_derived
from scripts.blackbox.waiting import poll
from tests.faults.stage import ENDLESS, WAIT_S, Stage, staged, until

ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
LOCAL: Final = ""
"""The user of a browser at one's own machine, and of a caller that says nothing of a user."""
WATCH: Final = """(url) => {
    window.seen = [];
    window.opened = 0;
    window.source = new EventSource(url);
    window.source.onopen = () => { window.opened += 1; };
    window.source.onmessage = (message) => window.seen.push([message.lastEventId, JSON.parse(message.data)]);
}"""


class Tab:
    """A page of ours with one `EventSource` on it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.cursors_sent: list[str | None] = []
        """The `Last-Event-ID` of each request for the stream that was answered, in order."""

    async def watch(self, stage: Stage) -> None:
        """Open the session's stream as a page would."""
        self.page.on("response", self._note)
        await self.page.goto(stage.server.url)
        await self.page.evaluate(WATCH, "/api/chat/stream?session_id=talk")

    async def until(self, condition: str, argument: Any = None) -> None:
        """Wait until a function, or an expression, of JavaScript is true."""

        async def is_so() -> bool:
            return bool(await self.page.evaluate(condition, argument))

        assert await until(is_so), f"never: {condition} with {argument}"

    async def seen(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the cursor and the event of each message, in order."""
        return [(cursor, event) for cursor, event in json.loads(await self.page.evaluate("JSON.stringify(seen)"))]

    async def _note(self, response: Response) -> None:
        if "/api/chat/stream?session_id=talk" in response.url:
            self.cursors_sent.append((await response.request.all_headers()).get("last-event-id"))


@asynccontextmanager
async def a_tab() -> AsyncIterator[Tab]:
    """Open a page in a browser of its own."""
    chromium = shutil.which("chromium")
    assert chromium is not None, "chromium is missing: `scripts/install test` installs it, or says how"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        try:
            yield Tab(await browser.new_page())
        finally:
            await browser.close()


async def test_an_event_source_sees_all_and_comes_back_with_its_cursor(tmp_path: Path) -> None:
    """Across a clean restart and a kill in the middle of runs: nothing twice, nothing missing, one snapshot."""
    async with staged(tmp_path, HEARTBEAT_SECONDS="0.2") as stage, a_tab() as tab:
        await stage.server.start()
        await tab.watch(stage)
        await tab.until("seen.some(([, event]) => event.type === 'RUN_FINISHED')")
        for number, stop in enumerate((stage.server.terminate, stage.server.kill), 1):
            await stage.run("talk", ENDLESS, user=LOCAL)
            words = "seen.map(([, event]) => event.delta ?? '').join('').split(' ').length"
            await tab.until(f"{words} >= {number * 100}")
            await stop()
            await tab.until("source.readyState === EventSource.CONNECTING")
            await stage.server.start()
            await tab.until("(count) => opened === count", number + 1)
        last = await stage.run("talk", emit(5, 0), user=LOCAL)
        await tab.until(
            "(last) => seen.some(([, event]) => event.type === 'RUN_FINISHED' && event.runId === last)", last
        )

        await _judge(stage, tab)


async def _judge(stage: Stage, tab: Tab) -> None:
    seen = await tab.seen()
    snapshot_ends = next(index for index, (cursor, _) in enumerate(seen) if cursor)
    live = seen[snapshot_ends:]
    epoch, _, first = live[0][0].rpartition("-")
    assert [cursor for cursor, _ in live] == [f"{epoch}-{int(first) + step}" for step in range(len(live))]
    assert [event["type"] for _, event in seen].count("MESSAGES_SNAPSHOT") == 1
    assert await poll(lambda: len(tab.cursors_sent) == 3, timeout_s=WAIT_S)
    assert tab.cursors_sent[0] is None
    assert set(tab.cursors_sent[1:]) <= {cursor for cursor, _ in live}
    fold = Fold()
    for _, event in seen:
        assert fold.apply(event) == []
    url = f"{stage.server.url}/api/state?session_id=talk"
    state = json.loads(await tab.page.evaluate("async (url) => (await fetch(url)).text()", url))
    assert list(fold.messages.values()) == state["messages"]
    assert without_derived(fold.state) == without_derived(state["state"])
