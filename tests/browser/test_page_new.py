"""New chats: agent, persona, greeting and name; where a chat is found again; and how one ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from playwright.async_api import Browser, Route, expect

from tests.browser.pages import WAIT_MS, Tab, opened
from tests.browser.serving import SCRIPTED, ServerProcess, serve

pytestmark = pytest.mark.anyio

AGENTS = f"""{SCRIPTED}
[agents.helper]
kind = "scripted"
description = "Repeats what it hears"
persona = "technical-support"
personas = ["technical-support", "assistant"]
"""


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServerProcess]:
    async with serve(tmp_path_factory.mktemp("server"), AGENTS) as server:
        yield server


async def test_new_chat_has_the_agent_persona_and_name_that_were_chosen(tab: Tab) -> None:
    page = tab.page
    await page.get_by_label("Agent").select_option(label="Helper")
    await expect(page.locator("#greeting")).to_contain_text("What is not working?")
    await page.get_by_label("Persona").select_option(label="Assistant")
    await expect(page.locator("#greeting")).to_have_text("Hello! What can I help you with?")
    await page.get_by_label("Name", exact=True).fill("My printer")
    await tab.send_and_wait("hello")

    session = (await tab.state())["session"]
    assert [session[name] for name in ("agent", "persona", "title")] == ["helper", "assistant", "My printer"]
    await expect(page.locator("#title")).to_have_text("My printer")
    await expect(page.locator("#subtitle")).to_have_text("Helper · Assistant")
    await tab.start_anew()
    await expect(page.get_by_label("Name", exact=True)).to_have_value("")
    await expect(page.get_by_label("Agent")).to_have_value("helper")
    assert tab.complaints == []


async def test_new_chat_without_a_choice_has_the_servers(tab: Tab) -> None:
    await expect(tab.page.get_by_label("Agent")).to_be_visible()
    await expect(tab.page.get_by_label("Persona")).to_be_hidden()  # this agent is the same whoever it is
    await tab.send_and_wait("hello")

    session = (await tab.state())["session"]
    assert [session[name] for name in ("agent", "persona", "title")] == ["scripted", None, "hello"]


async def test_name_that_the_server_refuses_loses_no_text(tab: Tab) -> None:
    await tab.page.get_by_label("Name", exact=True).fill("Mine")
    await tab.page.route("**/api/sessions", lambda route: route.fulfill(status=429, json={"detail": "too many"}))
    await tab.send("hello")

    await expect(tab.page.locator(".toast")).to_contain_text("Not sent. too many")
    await expect(tab.composer).to_have_value("hello")


async def test_last_chat_is_open_again_when_the_page_is(tab: Tab) -> None:
    await tab.send_and_wait("hello")
    session_id = tab.session_id
    await tab.open("/")
    await expect(tab.questions).to_have_text("hello")
    assert tab.session_id == session_id
    await tab.start_anew()
    await tab.page.reload()

    await expect(tab.page.locator("#welcome")).to_be_visible()


async def test_address_of_a_chat_opens_it(tab: Tab) -> None:
    await tab.post("/api/chat", {"session_id": "a:chat", "message": "hello", "wait": True})
    await tab.open("/#/s/a:chat")
    await expect(tab.questions).to_have_text("hello")
    await tab.page.evaluate("location.hash = '#/'")
    await expect(tab.page.locator("#welcome")).to_be_visible()
    await tab.page.go_back()

    await expect(tab.questions).to_have_text("hello")
    await expect(tab.page).to_have_title("hello – Sessionstream")  # noqa: RUF001 - the dash of titles


async def test_draft_survives_a_reload_and_a_visit_elsewhere(tab: Tab) -> None:
    await tab.send_and_wait("hello")
    await tab.composer.fill("half a thought")
    await tab.start_anew()
    await expect(tab.composer).to_have_value("")
    await tab.sessions.first.click()
    await expect(tab.composer).to_have_value("half a thought")
    await tab.page.reload()

    await expect(tab.composer).to_have_value("half a thought")


async def test_first_visit_has_hints_and_the_second_has_none(tab: Tab) -> None:
    await expect(tab.page.locator("#hints")).to_be_visible()
    await tab.send_and_wait("hello")
    await tab.start_anew()

    await expect(tab.page.locator("#welcome")).to_be_visible()
    await expect(tab.page.locator("#hints")).to_be_hidden()


async def test_hints_of_the_first_visit_stay_when_the_agents_come_late(tab: Tab) -> None:
    agents = anyio.Event()

    async def hold(route: Route) -> None:
        await agents.wait()
        await route.continue_()

    await tab.page.route("**/api/agents", hold)
    await tab.page.reload()
    await expect(tab.page.locator("#hints")).to_be_visible()
    agents.set()

    await expect(tab.page.locator("#agent option")).not_to_have_count(0)
    await expect(tab.page.locator("#hints")).to_be_visible()


async def test_expired_chat_says_so_and_goes_on_in_a_new_one(browser: Browser, tmp_path: Path) -> None:
    soon = {"SESSION_TIMEOUT_MINUTES": "0.03", "CLEANUP_INTERVAL_SECONDS": "0.2"}
    async with serve(tmp_path, **soon) as server, opened(browser, server) as tab:
        await tab.send_and_wait("hello")
        await expect(tab.page.locator("#expiry")).to_contain_text("Expires within a minute")
        address = tab.page.url
        await tab.page.goto("about:blank")
        with anyio.fail_after(WAIT_MS / 1000):
            while (await tab.get("/api/sessions"))["count"]:
                await anyio.lowlevel.checkpoint()
        await tab.page.goto(address)
        await expect(tab.page.locator("#problem")).to_contain_text("This chat has expired")
        await tab.page.get_by_role("button", name="Start a new chat").click()
        await expect(tab.composer).to_be_focused()
        await tab.send_and_wait("on we go")

        await expect(tab.questions).to_have_text("on we go")
