"""What a visitor does in the panel, and finds again: on the next page, in another tab, after a look elsewhere."""

from __future__ import annotations

import re
from itertools import count
from typing import Final

import pytest
from playwright.async_api import expect

from tests.browser.widget.shop import Browsing, Shop, Tab

pytestmark = pytest.mark.anyio

_NUMBERS: Final = count()


async def test_a_reload_keeps_the_conversation_the_panel_and_what_is_unread(shop: Shop, any_browser: Browsing) -> None:
    tab = await (await any_browser.tab(shop.first)).open()
    question = f"wait for {next(_NUMBERS)}"
    await tab.ask(question)
    await expect(tab.answers).to_contain_text("You said")
    await tab.page.reload()
    await expect(tab.composer).to_be_visible()
    await expect(tab.questions).to_have_text([f"You: {question}"])
    await tab.bubble.click()
    await expect(tab.bubble).to_have_accessible_name("Open Chat")
    shop.open_gate(question)

    await expect(tab.bubble).to_have_accessible_name("Open Chat, 1 unread")
    await tab.page.reload()
    await expect(tab.bubble).to_have_accessible_name("Open Chat, 1 unread")
    await expect(tab.bubble).to_have_attribute("aria-expanded", "false")
    await expect(tab.frame).to_be_hidden()
    await tab.bubble.click()
    await expect(tab.answers).to_contain_text("That was all.")
    await tab.bubble.click()
    await tab.page.reload()
    await expect(tab.answers).to_have_count(1)
    await expect(tab.bubble).to_have_accessible_name("Open Chat")
    assert tab.errors == []


async def test_all_tabs_of_a_site_show_the_same_conversation(shop: Shop, any_browser: Browsing) -> None:
    one = await (await any_browser.tab(shop.first)).open()
    await one.ask_and_wait("from the one")
    other = await (await any_browser.tab(shop.first)).go()
    await expect(other.questions).to_have_text(["You: from the one"])
    await other.ask_and_wait("from the other")
    await one.page.bring_to_front()
    await expect(one.questions).to_have_text(["You: from the one", "You: from the other"])

    await one.new.click()
    await expect(one.questions).to_have_count(0)
    await one.ask_and_wait("something else")
    await other.page.bring_to_front()
    await expect(other.questions).to_have_text(["You: something else"])


async def test_markdown_is_shown_and_markup_is_not(tab: Tab) -> None:
    await tab.ask("<img src=x onerror=alert(1)><script>alert(2)</script>")

    await expect(tab.answers.locator("strong")).to_be_visible()
    await expect(tab.questions).to_contain_text("<img src=x onerror=alert(1)>")
    assert await tab.frame_now().evaluate("() => document.querySelectorAll('li img, li script').length") == 0


async def test_what_the_agent_asks_is_answered_by_a_button_and_stop_keeps_what_was_said(tab: Tab) -> None:
    await tab.ask("remove it")
    question = tab.inside.get_by_test_id("approval")
    await expect(question).to_contain_text("May I remove it?")
    await question.get_by_role("button", name="Approve").click()
    await expect(tab.answers.last).to_contain_text("It was resolved: {'approved': True}.")
    await expect(question).to_have_count(0)

    await tab.ask("wait for ever")
    await expect(tab.answers.last).to_contain_text("You said")
    await tab.stop.click()
    await expect(tab.inside.locator(".tag", has_text="Stopped")).to_be_visible()
    await expect(tab.stop).to_be_hidden()


async def test_the_page_chooses_title_colour_side_and_persona(shop: Shop, browser: Browsing) -> None:
    tab = await browser.tab(shop.first)
    await tab.open("?title=<b>Help</b>&color=%23ffcc00&position=left&persona=creative-writer")

    await expect(tab.title).to_have_text("<b>Help</b>")
    for place in (tab.bubble, tab.inside.locator(".widget-head")):
        await expect(place).to_have_css("background-color", "rgb(255, 204, 0)")
        await expect(place).to_have_css("color", "rgb(0, 0, 0)")
    box = await tab.bubble.bounding_box()
    assert box is not None
    assert box["x"] < 100
    assert await tab.greeting.text_content()
    await tab.ask("hi")
    await expect(tab.answers).to_contain_text("as creative-writer")
    assert tab.errors == []


async def test_what_the_page_says_wrongly_is_named(shop: Shop, browser: Browsing) -> None:
    injected = "red;}*{background:url(//evil.example)"
    tab = await (await browser.tab(shop.first)).open(f"?color={injected}&position=top&theme=pink")

    for name in ("data-color", "data-position", "data-theme"):
        assert any(name in text for text in tab.said)
    await expect(tab.bubble).to_have_css("background-color", re.compile("rgb"))
    await expect(tab.bubble).to_have_css("background-image", "none")
    for query, word in (("?persona=pirate", "persona"), ("?agent=a%20%22b%22", "agent"), ("?agent=nobody", "nobody")):
        tab.said.clear()
        async with tab.page.expect_console_message(lambda said: "does not appear" in said.text):
            await tab.go(query)
        assert any(word in text for text in tab.said)
        await expect(tab.bubble).to_have_count(0)


async def test_the_keyboard_is_enough(shop: Shop, browser: Browsing) -> None:
    tab = await (await browser.tab(shop.first)).go()
    await expect(tab.bubble).to_be_visible()
    await tab.page.get_by_role("link").focus()
    await tab.page.keyboard.press("Tab")
    await expect(tab.bubble).to_be_focused()
    await tab.page.keyboard.press("Enter")
    await expect(tab.composer).to_be_focused()
    await tab.page.keyboard.type("typed")
    await tab.page.keyboard.press("Enter")
    await expect(tab.answers).to_contain_text("You said typed")
    await expect(tab.stop).to_be_hidden()
    await tab.page.keyboard.press("Escape")

    await expect(tab.bubble).to_be_focused()
    await expect(tab.bubble).to_have_attribute("aria-expanded", "false")
    assert tab.errors == []
