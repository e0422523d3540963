"""The page for those who read from right to left, and for those who like no movement."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, expect

from tests.browser.pages import Tab, opened, script
from tests.browser.serving import ServerProcess

pytestmark = pytest.mark.anyio

ARABIC = "كيف أستأنف البث؟"
MOVING = "document.getAnimations().filter(({ playState }) => playState === 'running').length"


async def test_text_from_right_to_left_stands_so_everywhere(tab: Tab) -> None:
    await tab.composer.fill(ARABIC)
    await expect(tab.composer).to_have_css("direction", "rtl")
    await tab.send_and_wait(ARABIC)
    # Each paragraph of a question has its own direction, which is no property of its element.
    await expect(tab.questions.first).to_have_css("unicode-bidi", "plaintext")
    for place in (tab.page.locator("#title"), tab.sessions.locator(".title")):
        await expect(place).to_have_text(ARABIC)
        await expect(place).to_have_css("direction", "rtl")
    await tab.send_and_wait(script({"text": f"{ARABIC}\n\nfrom left to right"}))

    await expect(tab.answers.last.locator("p").first).to_have_css("direction", "rtl")
    await expect(tab.answers.last.locator("p").last).to_have_css("direction", "ltr")


async def test_nothing_moves_for_who_does_not_like_that(browser: Browser, server: ServerProcess) -> None:
    thinking = script({"stall": {"seconds": 3600}})
    async with opened(browser, server, reduced_motion="no-preference") as tab:
        await tab.send(thinking)
        await expect(tab.page.locator(".typing")).to_be_visible()
        assert await tab.page.evaluate(MOVING) > 0
        await tab.page.emulate_media(reduced_motion="reduce")
        assert await tab.page.evaluate(MOVING) == 0
        await tab.stop.click()
        await expect(tab.stop).to_be_hidden()
