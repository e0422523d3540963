"""A browser, and servers for the tests of the page; a test file may have its own of the same names."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, async_playwright

from tests.browser.pages import ARGUMENTS, CHROMIUM, Tab, opened
from tests.browser.serving import ServerProcess, serve
from tests.browser.tabs import Windows, windows


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServerProcess]:
    async with serve(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
async def own_server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """A server that a test may stop."""
    async with serve(tmp_path) as server:
        yield server


@pytest.fixture
async def tab(browser: Browser, server: ServerProcess) -> AsyncIterator[Tab]:
    async with opened(browser, server) as tab:
        yield tab


@pytest.fixture
async def own(browser: Browser, server: ServerProcess) -> AsyncIterator[Windows]:
    """A browser of one's own, for tabs that use the client's module without the page."""
    async with windows(browser, server) as own:
        yield own
