"""Keyboard only: create, send, stop, switch, rename, delete; menus, the sheet of shortcuts, and where the focus is."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.browser.pages import Tab, slowly

pytestmark = pytest.mark.anyio


async def test_chat_from_beginning_to_end_without_a_pointer(tab: Tab) -> None:
    keyboard = tab.page.keyboard
    await expect(tab.composer).to_be_focused()
    await keyboard.type("first")
    await keyboard.press("Enter")
    await expect(tab.answers).to_contain_text("first")
    await keyboard.press("Control+Shift+O")
    await expect(tab.page.locator("#welcome")).to_be_visible()
    await expect(tab.composer).to_be_focused()
    await keyboard.insert_text(slowly(2000))
    await keyboard.press("Enter")
    await expect(tab.streaming).to_contain_text("w3 ")
    await keyboard.press("Escape")
    await expect(tab.message("assistant", "interrupted")).to_have_count(1)

    await keyboard.press("Alt+ArrowDown")
    await expect(tab.answers).to_contain_text("first")
    await keyboard.press("Alt+ArrowUp")
    await expect(tab.answers).to_contain_text("w3 ")
    await keyboard.press("Control+K")
    await expect(tab.page.get_by_test_id("search")).to_be_focused()
    await keyboard.press("ArrowDown")
    await expect(tab.sessions.nth(0)).to_be_focused()
    await keyboard.press("ArrowDown")
    await keyboard.press("Delete")
    await expect(tab.sessions).to_have_count(1)
    await expect(tab.sessions.nth(0)).to_be_focused()
    await keyboard.press("F2")
    await keyboard.type("Mine")
    await keyboard.press("Enter")
    await expect(tab.sessions).to_contain_text("Mine")
    await expect(tab.sessions).to_be_focused()
    await keyboard.press("Shift+Escape")
    await expect(tab.composer).to_be_focused()
    assert tab.complaints == []


async def test_everything_is_in_reach_of_the_tab_key(tab: Tab) -> None:
    await tab.send_and_wait("hello")
    await expect(tab.sessions).to_contain_text("hello")
    names = []
    for _ in range(18):
        await tab.page.keyboard.press("Tab")
        described = "(e) => e.getAttribute('aria-label') ?? e.id ?? ''"
        names.append(await tab.page.evaluate(f"({described})(document.activeElement)"))

    for wanted in (
        "skip",
        "new",
        "Search chats",
        "More for hello",
        "more",
        "Keyboard shortcuts",
        "Conversation",
        "Message",
    ):
        assert wanted in names, names
    await tab.page.keyboard.press("Shift+Escape")
    await expect(tab.composer).to_be_focused()


async def test_menu_takes_the_focus_and_gives_it_back(tab: Tab) -> None:
    await tab.send_and_wait("hello")
    keyboard = tab.page.keyboard
    await tab.page.locator("#session-menu").focus()
    await keyboard.press("Enter")
    await expect(tab.page.get_by_role("menuitem", name="Rename")).to_be_focused()
    await keyboard.press("ArrowUp")
    await expect(tab.page.get_by_role("menuitem", name="Delete")).to_be_focused()
    await keyboard.press("Escape")

    await expect(tab.page.locator("#menu")).to_be_hidden()
    await expect(tab.page.locator("#session-menu")).to_be_focused()
    await expect(tab.page.locator("#session-menu")).to_have_attribute("aria-expanded", "false")


async def test_sheet_of_shortcuts_covers_the_page_and_stops_nothing(tab: Tab) -> None:
    await tab.send(slowly(2000))
    await expect(tab.streaming).to_contain_text("w3 ")
    await tab.page.keyboard.press("Control+/")
    await expect(tab.page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    await tab.page.keyboard.press("Escape")
    await expect(tab.page.get_by_role("dialog")).to_be_hidden()

    assert (await tab.state())["run"] is not None
    await expect(tab.composer).to_be_focused()


async def test_enter_that_ends_a_composition_sends_nothing(tab: Tab) -> None:
    await tab.composer.fill("にほん")
    await tab.composer.dispatch_event("keydown", {"key": "Enter", "isComposing": True})
    await tab.composer.press("Shift+Enter")
    await tab.page.keyboard.type("語")

    await expect(tab.composer).to_have_value("にほん\n語")
    await expect(tab.questions).to_have_count(0)


async def test_theme_is_chosen_and_kept(tab: Tab) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    light = await tab.page.evaluate(paper)
    await tab.page.click("#more")
    await tab.page.get_by_role("menuitemradio", name="Dark").click()
    dark = await tab.page.evaluate(paper)
    assert dark != light
    await tab.page.reload()
    assert await tab.page.evaluate(paper) == dark
    await tab.page.click("#more")
    await expect(tab.page.get_by_role("menuitemradio", name="Dark")).to_have_attribute("aria-checked", "true")
    await tab.page.get_by_role("menuitemradio", name="Like the system").click()

    assert await tab.page.evaluate(paper) == light
