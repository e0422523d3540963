"""One server, its sites and two browsers for all tests of the widget; each test has a context of its own."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from typing import Final

import pytest
from playwright.async_api import Browser, async_playwright

from tests.browser.sites import disabled_features, open_browser
from tests.browser.widget.shop import Browsing, Shop, Tab, running

PARTED: Final = "a storage for each site"
NONE: Final = "no storage"

Browsers = dict[str, Browser]


@pytest.fixture(scope="package")
async def one_shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    async with running(tmp_path_factory.mktemp("shop")) as shop:
        yield shop


@pytest.fixture
async def shop(one_shop: Shop) -> Shop:
    """The server runs when a test begins, whatever the one before did to it."""
    if not one_shop.server.is_running:
        await one_shop.server.start()
    return one_shop


@pytest.fixture(scope="package")
async def browsers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browsers]:
    async with async_playwright() as playwright:
        features = await disabled_features(playwright)
        folders = {kind: tmp_path_factory.mktemp("profile") / "data" for kind in (PARTED, NONE)}
        found: Browsers = {}
        for kind, folder in folders.items():
            context = await open_browser(playwright, folder, features, is_parted=kind == PARTED)
            assert context.browser is not None
            found[kind] = context.browser
        yield found
        for browser in found.values():
            await browser.close()
    for folder in folders.values():
        shutil.rmtree(folder)


@pytest.fixture
async def browser(browsers: Browsers) -> AsyncIterator[Browsing]:
    context = await browsers[PARTED].new_context()
    yield Browsing(context)
    await context.close()


@pytest.fixture
async def bare_browser(browsers: Browsers) -> AsyncIterator[Browsing]:
    """One whose frames of third parties may store nothing."""
    context = await browsers[NONE].new_context()
    yield Browsing(context)
    await context.close()


@pytest.fixture(params=[PARTED, NONE])
async def any_browser(browsers: Browsers, request: pytest.FixtureRequest) -> AsyncIterator[Browsing]:
    """One whose frames of third parties may store something, and one whose may not."""
    context = await browsers[request.param].new_context()
    yield Browsing(context)
    await context.close()


@pytest.fixture
async def tab(browser: Browsing, shop: Shop) -> AsyncIterator[Tab]:
    """A tab on the first site, with an open panel; in the end, nothing went wrong in it."""
    tab = await (await browser.tab(shop.first)).open()
    yield tab
    assert tab.errors == []
