"""Pages that style, patch, replace or isolate themselves, and talk to whom they have no business with."""

from __future__ import annotations

from typing import Final

import pytest
from playwright.async_api import expect

from tests.browser.widget.shop import Browsing, Shop, Tab

pytestmark = pytest.mark.anyio

_SEEN: Final = ("background-color", "color", "opacity", "display", "visibility", "direction", "transform")


async def test_a_page_that_styles_and_patches_everything_changes_nothing_of_it(shop: Shop, browser: Browsing) -> None:
    plain = await browser.tab(shop.first)
    await plain.page.emulate_media(reduced_motion="reduce")
    await plain.open("?color=teal&position=right")
    await plain.bubble.click()
    await plain.page.mouse.move(0, 0)
    look = {name: await plain.bubble.evaluate("(el, name) => getComputedStyle(el)[name]", name) for name in _SEEN}
    place = await plain.bubble.bounding_box()
    tab = await browser.tab(shop.first)
    await tab.page.emulate_media(reduced_motion="reduce")
    await tab.page.goto(f"{shop.first.origin}/hostile?color=teal&position=right")
    await tab.bubble.click()
    await expect(tab.composer).to_be_focused()
    await tab.page.mouse.move(0, 0)

    # By what needs none of the page's own functions: they are broken.
    for name, value in look.items():
        await expect(tab.bubble).to_have_css(name, value)
    assert await tab.bubble.bounding_box() == place
    await expect(tab.frame).to_be_in_viewport(ratio=1)
    await tab.ask_and_wait("is anybody there?")
    await tab.page.keyboard.press("Escape")
    await expect(tab.bubble).to_be_focused()
    await tab.page.keyboard.press("Enter")
    await expect(tab.composer).to_be_focused()
    await expect(tab.page).to_have_title("Site")
    await tab.page.reload()
    await expect(tab.questions).to_have_text(["You: is anybody there?"])


async def test_it_waits_for_a_body(shop: Shop, browser: Browsing) -> None:
    tab = await browser.tab(shop.first)
    async with tab.page.expect_request("**/widget/around/widget.js"):
        await tab.page.goto(f"{shop.first.origin}/early", wait_until="commit")
    shop.first.rest.set()

    await tab.bubble.click()
    await expect(tab.composer).to_be_focused()
    assert tab.errors == []


async def test_named_twice_it_is_there_once(shop: Shop, browser: Browsing) -> None:
    tab = await browser.tab(shop.first)
    async with tab.page.expect_console_message(lambda said: "already" in said.text):
        await tab.page.goto(f"{shop.first.origin}/twice")

    await tab.bubble.click()
    await tab.ask_and_wait("hi")
    await expect(tab.bubble).to_have_count(1)
    await expect(tab.page.locator("iframe")).to_have_count(1)


async def test_it_outlives_a_page_that_is_isolated_and_replaces_itself(shop: Shop, browser: Browsing) -> None:
    tab = await browser.tab(shop.first)
    await tab.page.goto(f"{shop.first.origin}/isolated")
    await tab.bubble.click()
    assert await tab.page.evaluate("() => crossOriginIsolated")
    await tab.ask_and_wait("one")
    await tab.composer.fill("a draft")
    fresh = "() => { const body = document.createElement('body'); document.body.replaceWith(body); }"
    await tab.page.evaluate(f"() => history.pushState(null, '', '/elsewhere'); ({fresh})()")
    await expect(tab.composer).to_have_value("a draft")
    await tab.page.evaluate("() => document.documentElement.replaceChildren(document.createElement('body'))")
    await expect(tab.questions).to_have_text(["You: one"])
    await tab.ask_and_wait("two")

    await tab.page.evaluate("() => document.querySelector('[data-sessionstream-widget]').remove()")
    await tab.page.evaluate("() => new Promise((resolve) => setTimeout(resolve))")
    await expect(tab.bubble).to_have_count(0)


async def test_on_a_page_from_right_to_left_it_is_on_the_left(shop: Shop, browser: Browsing) -> None:
    tab = await browser.tab(shop.first)
    for query, is_left in (("", True), ("?position=right", False)):
        await tab.page.goto(f"{shop.first.origin}/rtl{query}")
        place = await tab.bubble.bounding_box()
        assert place is not None
        assert (place["x"] < 100) == is_left


_ALL_WORDS: Final = """() => {
  const ours = parent.document.querySelector('[data-sessionstream-widget]').shadowRoot.querySelector('iframe');
  const heard = ['ready', 'close', 'keep', 'ticket', 'session', 'unread'];
  const told = ['hello', 'opened', 'closed', 'focus', 'ticket', 'kept'];
  const more = { unread: 7, agent: 'inner', title: 'Other', ticket: 'x', kept: { voucher: 'x' }, hasSession: false };
  for (const sessionstream of heard) parent.postMessage({ sessionstream, ...more }, '*');
  for (const sessionstream of told) ours.contentWindow.postMessage({ sessionstream, ...more }, '*');
  for (const odd of [null, 'close', { sessionstream: {} }, [], 7]) {
    parent.postMessage(odd, '*');
    ours.contentWindow.postMessage(odd, '*');
  }
}"""


async def test_words_of_a_third_window_do_nothing(tab: Tab) -> None:
    await tab.ask_and_wait("mine")
    before = await tab.page.evaluate("() => JSON.stringify({ ...localStorage })")
    async with tab.page.expect_event("frameattached") as attached:
        await tab.page.evaluate("() => document.body.append(document.createElement('iframe'))")
    await (await attached.value).evaluate(_ALL_WORDS)

    # It goes on, and what was said before this was heard before it.
    await tab.ask_and_wait("still mine")
    await expect(tab.title).to_have_text("Chat")
    await expect(tab.bubble).to_have_attribute("aria-expanded", "true")
    assert await tab.page.evaluate("() => JSON.stringify({ ...localStorage })") == before
    await expect(tab.questions).to_have_text(["You: mine", "You: still mine"])
