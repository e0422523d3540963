"""The list of chats: live, searched, renamed, deleted and taken back, exported and imported."""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from playwright.async_api import Page, expect

from tests.browser.pages import WAIT_MS, Tab, slowly

pytestmark = pytest.mark.anyio


async def choose(page: Page, name: str) -> None:
    """Choose an entry of the open menu."""
    await page.get_by_role("menuitem", name=name).click()


async def test_list_tells_of_each_chat_and_which_is_open(tab: Tab) -> None:
    await tab.send_and_wait("hello")
    first = tab.session_id
    await tab.start_anew()
    await tab.send_and_wait("again")

    await expect(tab.sessions).to_have_count(2)
    await expect(tab.sessions.nth(0)).to_contain_text("again")
    await expect(tab.sessions.nth(1)).to_contain_text("now · 2 messages")
    await expect(tab.sessions.nth(1)).to_have_attribute("data-session-id", first)
    current = tab.page.locator("[aria-current]")
    await expect(current).to_have_attribute("data-session-id", tab.session_id)
    await tab.sessions.nth(1).click()
    await expect(current).to_have_attribute("data-session-id", first)
    assert tab.session_id == first
    assert tab.complaints == []


async def test_list_shows_what_other_clients_do_at_once(tab: Tab) -> None:
    await tab.send_and_wait("hello")
    answer = await tab.post("/api/chat", {"message": slowly(40)})
    other = tab.page.locator(f'[data-session-id="{answer["session_id"]}"]')

    await expect(other).to_contain_text("Answering")
    await expect(other).to_contain_text("Unread")
    await other.click()
    await expect(tab.answers).to_contain_text("w39")
    await expect(other).not_to_contain_text("Unread")
    async with tab.asking() as client:
        await client.delete(f"/api/sessions/{answer['session_id']}")
    await expect(other).to_have_count(0)
    await expect(tab.page.locator("#problem")).to_contain_text("This chat was deleted")
    await expect(tab.answers).to_contain_text("w39")
    assert tab.complaints == []


async def test_what_was_read_in_one_tab_is_read_in_the_other(tab: Tab) -> None:
    await tab.send_and_wait("hello")
    other = await tab.open_another("/#/")
    answer = await tab.post("/api/chat", {"message": "from elsewhere", "wait": True})
    marks = [page.locator(f'[data-session-id="{answer["session_id"]}"]') for page in (tab.page, other.page)]
    for mark in marks:
        await expect(mark).to_contain_text("Unread")
    await marks[0].click()

    for mark in marks:
        await expect(mark).not_to_contain_text("Unread")


async def test_rename_shows_everywhere(tab: Tab) -> None:
    await tab.send_and_wait("hello")
    other = await tab.open_another()
    await expect(other.answers).to_have_count(1)
    await tab.page.hover('[data-testid="session-item"]')
    await tab.page.get_by_role("button", name="More for hello").click()
    await choose(tab.page, "Rename")
    await tab.page.keyboard.type("Holiday plans")
    await tab.page.keyboard.press("Enter")

    for page in (tab.page, other.page):
        await expect(page.locator("#title")).to_have_text("Holiday plans")
        await expect(page.locator("#sessions .title")).to_have_text("Holiday plans")
    assert (await tab.state())["session"]["title"] == "Holiday plans"
    assert tab.complaints == other.complaints == []


async def test_rename_by_double_click_and_escape_changes_nothing(tab: Tab) -> None:
    await tab.send_and_wait("hello")
    await tab.start_anew()
    await tab.sessions.first.dblclick()
    await expect(tab.page.locator(".edit-title")).to_be_focused()
    await tab.page.keyboard.type("Something else")
    await tab.page.keyboard.press("Escape")

    await expect(tab.page.locator("#sessions .title")).to_have_text("hello")
    await expect(tab.page.locator("#title")).to_have_text("hello")
    assert tab.complaints == []


async def test_delete_is_taken_back_in_every_tab(tab: Tab) -> None:
    await tab.send_and_wait("hello")
    address = tab.page.url
    other = await tab.open_another()
    await expect(other.answers).to_have_count(1)
    await tab.page.click("#session-menu")
    await choose(tab.page, "Delete")

    await expect(tab.page.locator("#welcome")).to_be_visible()
    for page in (tab, other):
        await expect(page.sessions).to_have_count(0)
    await expect(other.page.locator("#problem")).to_contain_text("This chat was deleted")
    await tab.page.get_by_role("button", name="Undo").click()
    await expect(tab.page).to_have_url(address)
    for page in (tab, other):
        await expect(page.sessions).to_have_count(1)
        await expect(page.page.locator("#problem")).to_be_hidden()
        await expect(page.composer).to_be_visible()
    await other.send_and_wait("still here")
    assert tab.complaints == other.complaints == []


async def test_delete_that_nobody_takes_back_reaches_the_server(tab: Tab) -> None:
    await tab.send_and_wait("hello")
    await tab.page.click("#session-menu")
    await choose(tab.page, "Delete")
    await expect(tab.sessions).to_have_count(0)
    assert (await tab.get("/api/sessions"))["count"] == 1
    await tab.page.get_by_role("button", name="Dismiss").click()

    await _until_gone(tab)
    assert tab.complaints == []


async def test_delete_reaches_the_server_when_the_page_goes(tab: Tab) -> None:
    await tab.send_and_wait("hello")
    await tab.page.click("#session-menu")
    await choose(tab.page, "Delete")
    await expect(tab.sessions).to_have_count(0)
    await tab.page.goto("about:blank")

    await _until_gone(tab)


async def _until_gone(tab: Tab) -> None:
    with anyio.fail_after(WAIT_MS / 1000):
        while (await tab.get("/api/sessions"))["count"]:
            await anyio.lowlevel.checkpoint()


async def test_search_finds_what_was_said(tab: Tab) -> None:
    await tab.send_and_wait("about giraffes")
    await tab.start_anew()
    await tab.send_and_wait("about bridges")
    await expect(tab.sessions).to_have_count(2)
    search = tab.page.get_by_test_id("search")
    await search.fill("giraffes")
    await expect(tab.sessions).to_have_count(1)
    await search.fill("zebra")
    await expect(tab.page.locator("#sessions-note")).to_contain_text("No chat matches.")
    await search.press("Escape")

    await expect(tab.sessions).to_have_count(2)
    assert tab.complaints == []


async def test_export_is_imported_as_a_chat_of_its_own(tab: Tab, tmp_path: Path) -> None:
    await tab.send_and_wait("hello")
    await tab.page.click("#session-menu")
    async with tab.page.expect_download() as download:
        await choose(tab.page, "Export as JSON")
    file = tmp_path / "chat.json"
    await (await download.value).save_as(file)
    assert json.loads(file.read_text(encoding="utf-8"))["messages"][0]["content"] == "hello"
    first = tab.session_id
    await tab.page.click("#more")
    async with tab.page.expect_file_chooser() as chooser:
        await choose(tab.page, "Import a chat …")
    await (await chooser.value).set_files(file)

    await expect(tab.sessions).to_have_count(2)
    await expect(tab.questions).to_have_text("hello")
    assert tab.session_id != first
    assert tab.complaints == []


async def test_file_that_is_no_export_is_refused_in_words(tab: Tab, tmp_path: Path) -> None:
    (tmp_path / "no.json").write_text("not JSON")
    (tmp_path / "other.json").write_text('{"version": 9}')
    await tab.page.set_input_files("#import", tmp_path / "no.json")
    await expect(tab.page.locator(".toast")).to_contain_text("it is not JSON")
    await tab.page.set_input_files("#import", tmp_path / "other.json")

    await expect(tab.page.locator(".toast").last).to_contain_text("Not imported. version")
    assert (await tab.get("/api/sessions"))["count"] == 0


async def test_markdown_export_is_a_download(tab: Tab) -> None:
    await tab.send_and_wait("hello")
    await tab.page.click("#session-menu")
    async with tab.page.expect_download() as download:
        await choose(tab.page, "Export as Markdown")

    assert (await download.value).suggested_filename == f"session-{tab.session_id}.md"


async def test_title_is_there_with_the_first_message(tab: Tab) -> None:
    """Before the server has it: the title is made as the server will make it."""
    await tab.page.route("**/api/chat", lambda route: route.abort())
    await tab.send("What\nis this?")

    await expect(tab.page.locator("#title")).to_have_text("What is this?")
    await expect(tab.sessions.first.locator(".title")).to_have_text("What is this?")
    await expect(tab.sessions.first).to_have_attribute("aria-current", "page")
    await tab.page.unroute("**/api/chat")
    await tab.page.get_by_role("button", name="Try now").last.click()
    await expect(tab.sessions.first.locator(".about")).to_have_text("now · 2 messages")
    assert (await tab.state())["session"]["title"] == "What is this?"


async def test_looking_at_a_chat_moves_it_nowhere(tab: Tab) -> None:
    """The server counts the end of a stream as activity; nothing was said, though."""
    await tab.send_and_wait("first")
    first = tab.session_id
    await tab.start_anew()
    await tab.send_and_wait(slowly(40))
    await tab.sessions.nth(1).click()
    await expect(tab.questions).to_have_text("first")
    await tab.sessions.nth(0).click()
    await expect(tab.answers).to_contain_text("w39")
    with anyio.fail_after(WAIT_MS / 1000):
        while (await tab.get("/api/sessions"))["sessions"][0]["session_id"] != first:
            await anyio.lowlevel.checkpoint()
    # What comes after it has come: the list tells of changes in their order.
    await tab.post("/api/sessions", {"title": "later"})
    await expect(tab.sessions).to_have_count(3)

    await expect(tab.sessions.nth(2)).to_have_attribute("data-session-id", first)
