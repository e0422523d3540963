"""The wallet example in a real browser: its page, served from another origin, before a real server."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from playwright.async_api import BrowserContext, Page, async_playwright, expect

from scripts.blackbox.process import Server
from server.ids import new_id
from tests.browser.pages import ARGUMENTS, CHROMIUM, WAIT_MS
from tests.http.test_tool_result import EXAMPLE, PAY, wallet_server

pytestmark = pytest.mark.anyio


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def files() -> Iterator[str]:
    """Serve the example's files; yield their origin."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(EXAMPLE)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Pages:
    """Tabs of one browser on one session."""

    def __init__(self, context: BrowserContext, server: Server, origin: str) -> None:
        self.context = context
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.address = f"{origin}/?server=http://127.0.0.1:{server.wire.port}#{new_id()}"

    async def open(self) -> Page:
        """Open another tab."""
        page = await self.context.new_page()
        page.set_default_timeout(WAIT_MS)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        page.on("request", lambda request: self.requests.append(request.url))
        await page.goto(self.address)
        return page


@pytest.fixture
async def pages(tmp_path: Path) -> AsyncIterator[Pages]:
    with files() as origin:
        async with wallet_server(tmp_path, ALLOWED_ORIGINS=origin) as server, async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            opened = Pages(await browser.new_context(), server, origin)
            yield opened
            await browser.close()
            assert opened.complaints == []
            assert all(url.startswith(("http://127.0.0.1:", "data:")) for url in opened.requests)


def last_line(page: Page) -> Any:
    return page.locator("#lines p").last


async def test_the_page_switches_and_pays_and_reports(pages: Pages) -> None:
    page = await pages.open()
    await page.get_by_role("button", name="Send", exact=True).click()
    await expect(page.locator("#wallet div")).to_contain_text("wallet_switchEthereumChain")
    await page.get_by_role("button", name="Confirm").click()
    await expect(page.locator("#wallet div")).to_contain_text("eth_sendTransaction")
    await page.get_by_role("button", name="Confirm").click()
    await expect(last_line(page)).to_contain_text("Sent 0.5 ETH")

    await page.get_by_role("button", name="Change the network").click()
    await expect(last_line(page)).to_have_text("The wallet is on chain 0x1.")
    await page.fill("input", PAY)
    await page.get_by_role("button", name="Send", exact=True).click()
    await expect(page.locator("#wallet div")).to_contain_text("wallet_switchEthereumChain")
    await page.get_by_role("button", name="Reject").click()
    await expect(last_line(page)).to_have_text("Nothing was sent: rejected in the wallet.")


async def test_a_payment_is_asked_for_in_one_tab_and_never_begun_twice(pages: Pages) -> None:
    """The page is closed while the wallet asks: nobody knows whether it paid, so nothing is done again."""
    first = await pages.open()
    second = await pages.open()
    await first.get_by_role("button", name="Send", exact=True).click()
    cards = [page.locator("#wallet div") for page in (first, second)]
    with anyio.fail_after(WAIT_MS / 1000):
        while sum([await card.count() for card in cards]) == 0:
            await anyio.lowlevel.checkpoint()
    asking, other = (first, second) if await cards[0].count() else (second, first)
    await asking.get_by_role("button", name="Confirm").click()
    await expect(last_line(other)).to_have_text("done")

    with anyio.fail_after(WAIT_MS / 1000):
        while sum([await card.count() for card in cards]) == 0:
            await anyio.lowlevel.checkpoint()
    assert sum([await card.count() for card in cards]) == 1
    asking = first if await cards[0].count() else second
    await asking.close()
    await expect(last_line(first if asking is second else second)).to_contain_text("Nothing was sent: the page was")


async def test_a_page_that_is_reloaded_finds_the_question(pages: Pages) -> None:
    page = await pages.open()
    await page.get_by_role("button", name="Send", exact=True).click()
    await expect(page.locator("#wallet div")).to_have_count(1)
    await page.reload()
    await expect(page.locator("#wallet div")).to_contain_text("wallet_switchEthereumChain")
