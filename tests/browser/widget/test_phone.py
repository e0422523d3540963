"""On a phone the panel is the screen, until it is closed."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.browser.pages import DESKTOP, PHONE
from tests.browser.widget.shop import Browsing, Shop

pytestmark = pytest.mark.anyio


async def test_the_panel_is_the_screen_and_the_keyboard_and_the_back_button_stay_in_it(
    shop: Shop, browser: Browsing
) -> None:
    tab = await browser.tab(shop.first)
    await tab.page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
    await tab.open()
    assert await tab.frame.bounding_box() == {"x": 0, "y": 0, **PHONE}
    await expect(tab.bubble).to_be_hidden()
    await expect(tab.page.locator("html")).to_have_css("overflow", "hidden")
    await expect(tab.composer).to_be_focused()
    link = tab.page.get_by_role("link", include_hidden=True)
    for _ in range(12):
        await tab.page.keyboard.press("Tab")
        await expect(link).not_to_be_focused()
    await tab.page.keyboard.press("Escape")
    await expect(tab.bubble).to_be_focused()
    await expect(tab.page.locator("html")).to_have_css("overflow", "visible")
    await tab.bubble.click()
    # What Android's back button does to a dialog.
    await tab.panel.evaluate("(panel) => panel.requestClose()")
    await expect(tab.bubble).to_be_focused()

    await tab.bubble.click()
    await tab.ask_and_wait("hi")
    await tab.page.reload()
    await expect(tab.bubble).to_be_visible()
    await expect(tab.frame).to_be_hidden()
    await tab.bubble.click()
    await expect(tab.questions).to_have_text(["You: hi"])
    await tab.inside.locator("#close").click()
    await expect(tab.bubble).to_be_focused()
    assert tab.errors == []


async def test_a_keyboard_on_the_screen_covers_nothing_of_the_panel(shop: Shop, browser: Browsing) -> None:
    tab = await browser.tab(shop.first)
    await tab.page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
    # There is no such keyboard here: the browser tells what it would.
    await tab.page.add_init_script("""
      window.keyboard = 0;
      Object.defineProperty(visualViewport, "height", { get: () => innerHeight - window.keyboard });
    """)
    await tab.open()
    press = "(height) => { window.keyboard = height; visualViewport.dispatchEvent(new Event('resize')); }"
    await tab.page.evaluate(press, 300)

    assert await tab.frame.bounding_box() == {"x": 0, "y": 0, "width": PHONE["width"], "height": PHONE["height"] - 300}
    await expect(tab.composer).to_be_in_viewport(ratio=1)
    await tab.page.evaluate(press, 0)
    assert await tab.frame.bounding_box() == {"x": 0, "y": 0, **PHONE}


async def test_a_screen_that_is_turned_keeps_what_was_typed(shop: Shop, browser: Browsing) -> None:
    tab = await browser.tab(shop.first)
    await tab.open()
    await tab.composer.fill("half a")
    await tab.page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
    await expect(tab.bubble).to_be_hidden()
    await expect(tab.composer).to_be_focused()
    await tab.composer.press_sequentially(" question")
    await expect(tab.composer).to_have_value("half a question")
    await tab.page.set_viewport_size({"width": DESKTOP["width"], "height": DESKTOP["height"]})
    await expect(tab.bubble).to_be_visible()

    await expect(tab.composer).to_be_focused()
    await tab.composer.press_sequentially("?")
    await expect(tab.composer).to_have_value("half a question?")
    await expect(tab.page.locator("html")).to_have_css("overflow", "visible")
