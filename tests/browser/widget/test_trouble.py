"""When something goes wrong: it is told in words, and there is a way to go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
from playwright.async_api import Route, expect

from tests.browser.pages import WAIT_MS
from tests.browser.widget.shop import Browsing, Shop, Tab, running

pytestmark = pytest.mark.anyio


async def _restart_with_another_key(shop: Shop) -> None:
    await shop.server.terminate()
    (shop.folder / "data" / "visitor.key").unlink()
    await shop.server.start()


async def test_a_conversation_that_is_gone_is_told_and_another_one_begins(tab: Tab, shop: Shop) -> None:
    async with tab.page.expect_request("**/api/chat") as sent:
        await tab.ask_and_wait("before")
    request = await sent.value
    body: dict[str, Any] = request.post_data_json or {}
    session = f"{shop.server.url}/api/sessions/{body['session_id']}"
    authorization = {"Authorization": await request.header_value("authorization") or ""}
    deleted = await tab.page.context.request.delete(session, headers=authorization)

    assert deleted.ok
    await expect(tab.problem).to_contain_text("This conversation was deleted.")
    await tab.ask_and_wait("after")
    await expect(tab.questions).to_have_text(["You: after"])
    await expect(tab.problem).to_be_hidden()


async def test_a_conversation_that_expired_is_told_and_one_click_goes_on(tmp_path: Path, browser: Browsing) -> None:
    soon = {"SESSION_TIMEOUT_MINUTES": "0.01", "CLEANUP_INTERVAL_SECONDS": "0.1"}
    async with running(tmp_path, **soon) as shop:
        tab = await (await browser.tab(shop.first)).open()
        await tab.ask_and_wait("before")
        await tab.page.goto("about:blank")
        with anyio.fail_after(WAIT_MS / 1000):
            # Looked at, not signalled: it happens in another process.
            while shop.sessions():  # noqa: ASYNC110
                await anyio.sleep(0.05)
        await tab.go()

        await expect(tab.problem).to_contain_text("This conversation has expired")
        await tab.problem.get_by_role("button", name="Start a new chat").click()
        await expect(tab.composer).to_be_focused()
        await tab.ask_and_wait("after")
        await expect(tab.questions).to_have_text(["You: after"])
        await expect(tab.problem).to_be_hidden()


async def test_a_server_that_dies_in_mid_answer_is_outlived_and_what_was_sent_arrives(
    shop: Shop, any_browser: Browsing
) -> None:
    tab = await (await any_browser.tab(shop.first)).open()
    await tab.ask("wait for ever")
    await expect(tab.answers).to_contain_text("You said wait for ever")
    await shop.server.kill()
    await tab.ask("two")
    await expect(tab.connection).to_have_text("Connection lost. Trying again …")
    await expect(tab.answers).to_contain_text("You said wait for ever")
    await expect(tab.questions).to_have_count(2)
    await shop.server.start()

    await expect(tab.answers.last).to_contain_text("You said two")
    await expect(tab.answers.first).to_contain_text("You said wait for ever")
    await expect(tab.connection).to_be_hidden()
    await expect(tab.questions).to_have_text(["You: wait for ever", "You: two"])


async def test_a_visitor_whom_the_server_forgot_becomes_another_one(shop: Shop, any_browser: Browsing) -> None:
    before = len(shop.sessions())
    tab = await (await any_browser.tab(shop.first)).open()
    await tab.ask_and_wait("one")
    await tab.page.goto("about:blank")  # else it may hear of it, and say so, before the reload
    await _restart_with_another_key(shop)
    await tab.go()

    await expect(tab.problem).to_be_visible()
    await tab.ask_and_wait("two")
    await expect(tab.questions).to_have_text(["You: two"])
    await expect(tab.problem).to_be_hidden()
    assert len({owner for _, _, owner in shop.sessions()[before:]}) == 2


async def test_a_page_that_stays_open_goes_on_though_its_ticket_is_of_an_older_key(
    shop: Shop, any_browser: Browsing
) -> None:
    talking = await (await any_browser.tab(shop.first)).open()
    await talking.ask_and_wait("one")
    silent = await (await any_browser.tab(shop.second)).open()
    await _restart_with_another_key(shop)

    await silent.ask_and_wait("hello")
    await talking.page.bring_to_front()
    lost = "The conversation could not be continued here."
    await expect(talking.problem.locator("p")).to_have_text(lost)
    await talking.ask_and_wait("two")
    await expect(talking.questions).to_have_text(["You: two"])
    await expect(talking.problem).to_be_hidden()


async def test_a_visitor_who_cannot_be_admitted_now_is_a_little_later(shop: Shop, bare_browser: Browsing) -> None:
    tab = await (await bare_browser.tab(shop.first)).open()
    await tab.ask_and_wait("one")
    await tab.page.clock.install()

    async def refuse(route: Route) -> None:
        await (route.abort() if route.request.method == "POST" else route.continue_())

    await tab.page.route("**/api/widget*", refuse)
    await tab.page.reload()
    await expect(tab.problem).to_contain_text("The server cannot be reached.")
    await tab.page.unroute("**/api/widget*")
    await tab.page.clock.fast_forward(10_000)

    await expect(tab.questions).to_have_text(["You: one"])
    await expect(tab.problem).to_be_hidden()


async def test_a_frame_that_does_not_come_is_told_and_can_be_tried_again(shop: Shop, browser: Browsing) -> None:
    tab = await browser.tab(shop.first)
    await tab.page.clock.install()
    await tab.go()
    await expect(tab.bubble).to_be_visible()
    await shop.server.kill()
    await tab.bubble.click()
    await tab.page.clock.fast_forward(20_000)
    again = tab.page.get_by_role("button", name="Try again")
    await expect(again).to_be_visible()
    await shop.server.start()
    await again.click()

    await tab.ask_and_wait("at last")
