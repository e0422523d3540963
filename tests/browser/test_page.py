"""The page at `/`: a conversation as it goes, through reloads, restarts, other tabs and small screens."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from tests.browser.pages import PHONE, Tab, opened, script, slowly, words
from tests.browser.serving import ServerProcess

pytestmark = pytest.mark.anyio

SCROLLER = "document.querySelector('#transcript')"


async def test_answer_appears_while_it_is_made(tab: Tab) -> None:
    await expect(tab.page.locator("#welcome")).to_be_visible()
    await tab.send(slowly(60))

    await expect(tab.streaming).to_contain_text("w5 ")
    assert "w59" not in await tab.answers.inner_text()
    await expect(tab.answers).to_contain_text("w59")
    await expect(tab.stop).to_be_hidden()
    await expect(tab.message("assistant", "finished")).to_have_count(1)
    await expect(tab.message("user", "sent")).to_have_count(1)
    await expect(tab.connection).to_have_text("Live")
    await expect(tab.connection).to_have_attribute("data-status", "live")
    await expect(tab.page.locator("#announcer")).to_contain_text("w59")
    assert tab.complaints == []


async def test_delta_leaves_the_elements_before_it_alone(tab: Tab) -> None:
    await tab.send_and_wait("first")
    await tab.send(script({"text": "# Title\n\nwords\n\n"}, {"emit": {"tokens": 20, "rate": 20}}))
    await expect(tab.streaming.locator("h3")).to_be_visible()
    # Marks that only survive if the elements are not made again.
    await tab.page.evaluate("for (const e of document.querySelectorAll('.message, .assistant h3')) e.marked = true")
    await expect(tab.answers.last).to_contain_text("w19")

    unmarked = "[...document.querySelectorAll('.message, .assistant h3')].filter((e) => !e.marked).length"
    assert await tab.page.evaluate(unmarked) == 0


async def test_sent_message_keeps_its_element_when_the_server_has_it(tab: Tab) -> None:
    await tab.page.evaluate(
        "new MutationObserver((changes) => { for (const { removedNodes } of changes)"
        " for (const one of removedNodes) if (one.matches?.('.user')) document.body.dataset.flicker = '1'; })"
        ".observe(document.querySelector('#messages'), { childList: true })"
    )
    await tab.send_and_wait("first")
    await tab.send_and_wait("second")

    assert await tab.questions.all_inner_texts() == ["first", "second"]
    assert await tab.page.evaluate("document.body.dataset.flicker") is None


async def test_reload_and_second_tab_show_the_same(tab: Tab) -> None:
    await tab.send(slowly(40))
    await expect(tab.streaming).to_contain_text("w5 ")
    await tab.page.reload()
    await expect(tab.streaming).to_contain_text("w10 ")
    other = await tab.open_another()
    await expect(other.answers).to_contain_text("w39")
    await expect(tab.answers).to_contain_text("w39")
    assert await tab.answers.inner_text() == await other.answers.inner_text()
    assert (await tab.answers.inner_text()).split() == words(40)

    await other.send_and_wait("from the other tab")
    await expect(tab.questions.last).to_have_text("from the other tab")
    await expect(tab.answers).to_have_count(2)
    assert tab.complaints == other.complaints == []


@pytest.mark.parametrize("way", ["button", "Escape"])
async def test_stop_keeps_the_partial_text(tab: Tab, way: str) -> None:
    await tab.send(slowly(400))
    await expect(tab.answers).to_contain_text("w5 ")
    await (tab.stop.click() if way == "button" else tab.page.keyboard.press("Escape"))
    await expect(tab.message("assistant", "interrupted").locator(".tag")).to_have_text("Stopped")
    await expect(tab.page.get_by_test_id("send")).to_be_visible()

    shown = await tab.answers.inner_text()
    assert shown.strip() == (await tab.state())["messages"][-1]["content"].strip()
    await tab.page.reload()
    await expect(tab.page.locator(".assistant .tag")).to_have_text("Stopped")
    assert await tab.answers.inner_text() == shown
    assert tab.complaints == []


async def test_stop_shows_within_the_frame_it_is_pressed_in(tab: Tab) -> None:
    await tab.send(slowly(400))
    await expect(tab.answers).to_contain_text("w5 ")
    # The server hears of it much later: what is shown does not wait for it.
    await tab.page.route("**/api/interrupt", lambda route: route.abort())
    pressed = (
        "() => new Promise((resolve) => { const stop = document.querySelector('[data-testid=stop]'); stop.click();"
        " requestAnimationFrame(() => resolve([stop.disabled, document.querySelector('.typing')?.textContent])); })"
    )

    assert await tab.page.evaluate(pressed) == [True, "Stopping …"]
    await tab.page.unroute("**/api/interrupt")
    await expect(tab.message("assistant", "interrupted")).to_have_count(1)


async def test_unknown_session_says_so_and_creates_none(tab: Tab) -> None:
    await tab.open("/#/s/nowhere")

    await expect(tab.page.locator("#problem")).to_contain_text("This chat is not here")
    await expect(tab.composer).to_be_hidden()
    assert (await tab.get("/api/sessions"))["count"] == 0
    await tab.page.click("#problem-new")
    await expect(tab.page.locator("#welcome")).to_be_visible()
    await expect(tab.composer).to_be_focused()


async def test_tool_calls_show_what_was_asked_and_found(tab: Tab) -> None:
    await tab.send_and_wait(script({"tool": {"name": "search", "args": {"query": "sse"}}}))

    call = tab.page.locator(".call")
    await expect(call.locator(".state")).to_have_text("Done")
    await call.locator("summary").click()
    await expect(call.locator(".arguments")).to_contain_text('"query": "sse"')
    assert tab.complaints == []


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_restart_of_the_server_loses_and_repeats_nothing(
    browser: Browser, own_server: ServerProcess, how: signal.Signals
) -> None:
    async with opened(browser, own_server) as tab:
        await _lose_the_server(tab, own_server, how)


async def _lose_the_server(tab: Tab, server: ServerProcess, how: signal.Signals) -> None:
    await tab.send(slowly(400))
    await expect(tab.answers).to_contain_text("w5 ")
    await server.stop(how)
    await expect(tab.page.locator("#banner")).to_contain_text("The server cannot be reached.")
    await expect(tab.connection).to_have_attribute("data-status", "offline")
    await tab.send("sent while it was down")
    # Killed, it could not say that the run is over: the message waits behind it, for all that is known.
    waiting = tab.page.locator('[data-status="waiting"]')
    await expect(waiting).to_contain_text("cannot be reached")
    await server.start()
    # Not as a person clicks, who would wait for the button: it goes when the page comes back by itself.
    await tab.page.locator("#retry").dispatch_event("click")

    await expect(tab.connection).to_have_text("Live")
    await expect(tab.page.locator("#banner")).to_be_hidden()
    await expect(waiting).to_have_count(0)
    await expect(tab.queue).to_have_count(0)
    await expect(tab.answers).to_have_count(2)
    await expect(tab.stop).to_be_hidden()
    await expect(tab.page.locator(".assistant .tag").first).to_have_text("Stopped")
    await expect(tab.questions.last).to_have_text("sent while it was down")
    messages = (await tab.state())["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant"] * 2
    assert (await tab.answers.first.inner_text()).strip() == messages[1]["content"].strip()


async def test_message_sent_just_before_a_reload_arrives_once(browser: Browser, own_server: ServerProcess) -> None:
    async with opened(browser, own_server) as tab:
        await tab.send_and_wait("first")
        await own_server.stop()
        await tab.send("second")
        await expect(tab.message("user", "waiting")).to_contain_text("cannot be reached")
        await own_server.start()
        await tab.page.reload()

        await expect(tab.answers).to_have_count(2)
        await expect(tab.message("user", "sent")).to_have_count(2)
        assert [message["role"] for message in (await tab.state())["messages"]] == ["user", "assistant"] * 2


async def test_short_cut_shows_no_banner(browser: Browser, own_server: ServerProcess) -> None:
    async with opened(browser, own_server) as tab:
        await tab.send_and_wait("hello")
        await tab.page.evaluate(
            "const banner = document.querySelector('#banner'); new MutationObserver(() => {"
            " if (!banner.hidden) document.body.dataset.alarmed = '1'; }).observe(banner, { attributes: true })"
        )
        async with tab.page.expect_request("**/api/chat/stream?**"):
            await tab.page.context.set_offline(True)
            await tab.page.context.set_offline(False)
            await tab.page.evaluate("window.dispatchEvent(new Event('online'))")
        await tab.send_and_wait("again")

        assert await tab.page.evaluate("document.body.dataset.alarmed") is None
        await expect(tab.connection).to_have_text("Live")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_small_screen_has_no_sideways_scroll(browser: Browser, server: ServerProcess, scheme: Any) -> None:
    phone = {"viewport": PHONE, "color_scheme": scheme, "has_touch": True, "is_mobile": True}
    wide = f"{'word' * 60}\n\n```\n{'code ' * 60}\n```\n\n| {'cell | ' * 20}\n| {'--- | ' * 20}\n| {'1 | ' * 20}\n"
    async with opened(browser, server, **phone) as tab:
        await tab.send_and_wait(script({"text": wide}))

        assert await tab.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        assert await tab.page.evaluate(f"{SCROLLER}.scrollWidth") <= PHONE["width"]
        assert await tab.page.evaluate("(e => e.scrollWidth > e.clientWidth)(document.querySelector('.assistant pre'))")
        await expect(tab.sessions.first).not_to_be_in_viewport()
        await tab.page.click("#open-drawer")
        await expect(tab.sessions.first).to_be_in_viewport()
        await tab.page.keyboard.press("Escape")
        await expect(tab.sessions.first).not_to_be_in_viewport()
        assert tab.complaints == []


async def test_reader_who_scrolls_up_is_left_there(tab: Tab) -> None:
    await tab.send_and_wait(script({"text": "line\n\n" * 80}))
    await tab.send(slowly(200))
    await expect(tab.answers.last).to_contain_text("w5 ")
    await tab.page.hover("#transcript")
    await tab.page.mouse.wheel(0, -2000)
    await expect(tab.page.locator("#jump")).to_be_visible()
    place = await tab.page.evaluate(f"{SCROLLER}.scrollTop")
    await expect(tab.answers.last).to_contain_text("w40 ")
    await expect(tab.page.locator("#jump")).to_have_text("New below")
    assert await tab.page.evaluate(f"{SCROLLER}.scrollTop") == place
    await tab.page.click("#jump")

    await expect(tab.page.locator("#jump")).to_be_hidden()
    assert await tab.page.evaluate(f"(e => e.scrollHeight - e.scrollTop - e.clientHeight)({SCROLLER})") < 48
    assert tab.complaints == []
