"""The page at `/` in a real browser, before a real server with the scripted agent."""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright, expect

from tests.browser.serving import ServerProcess, serve

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
WAIT_MS = 15_000
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 360, "height": 740}

pytestmark = pytest.mark.anyio

expect.set_options(timeout=WAIT_MS)

_numbers = count(1)


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServerProcess]:
    async with serve(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
async def own_server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """A server that a test may stop."""
    async with serve(tmp_path) as server:
        yield server


class Tab:
    """A tab of the page, with the words of this test for what a person does in it."""

    def __init__(self, page: Page, url: str, user_id: str) -> None:
        self.page = page
        self.url = url
        self.user_id = user_id
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.set_default_timeout(WAIT_MS)
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(f"{request.method} {request.url.removeprefix(url)}"))
        self.answers = page.locator(".assistant .body")
        self.questions = page.locator(".user .text")
        self.sessions = page.locator("#sessions a.session")
        self.status = page.locator("#status-text")

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    async def open(self, address: str = "/") -> Tab:
        await self.page.goto(self.url + address)
        return self

    async def open_another(self, address: str = "") -> Tab:
        """Open another tab of the same browser, by default on the same session."""
        page = await self.page.context.new_page()
        return await Tab(page, self.url, self.user_id).open(address or f"/#/s/{self.session_id}")

    async def send(self, text: str) -> None:
        await self.page.fill("#message", text)
        await self.page.press("#message", "Enter")

    async def start_anew(self) -> None:
        """Open a new chat and wait until the old one is off the page."""
        await self.page.click("#new")
        await expect(self.answers).to_have_count(0)

    async def send_and_wait(self, text: str) -> None:
        """Send a message and wait for the end of its answer."""
        before = await self.answers.count()
        await self.send(text)
        await expect(self.answers).to_have_count(before + 1)
        await expect(self.page.locator("#stop")).to_be_hidden()

    @property
    def session_id(self) -> str:
        found = re.search(r"#/s/(.+)$", self.page.url)
        assert found, self.page.url
        return found[1]


@asynccontextmanager
async def opened(browser: Browser, server: ServerProcess, **options: Any) -> AsyncIterator[Tab]:
    """Open a tab in a browser of its own, for a user of its own."""
    user_id = f"user-{next(_numbers)}"
    given = {"viewport": DESKTOP, "extra_http_headers": {"X-Forwarded-User": user_id}, **options}
    context = await browser.new_context(**given)
    yield await Tab(await context.new_page(), server.url, user_id).open()
    await context.close()


@pytest.fixture
async def tab(browser: Browser, server: ServerProcess) -> AsyncIterator[Tab]:
    async with opened(browser, server) as tab:
        yield tab


def script(*steps: dict[str, Any]) -> str:
    """Return a message that the scripted agent plays."""
    return json.dumps({"steps": steps})


def slowly(tokens: int) -> str:
    """Return a message whose answer is `w0 w1 …`, 20 words a second."""
    return script({"emit": {"tokens": tokens, "rate": 20}})


async def get(tab: Tab, path: str) -> Any:
    async with httpx.AsyncClient(base_url=tab.url, headers={"X-Forwarded-User": tab.user_id}) as client:
        return (await client.get(path)).raise_for_status().json()


async def state_of(tab: Tab) -> Any:
    return await get(tab, f"/api/state?session_id={tab.session_id}")


async def test_answer_appears_while_it_is_made(tab: Tab) -> None:
    await expect(tab.page.locator("#welcome")).to_be_visible()
    await tab.send(slowly(60))

    await expect(tab.page.locator(".assistant.open .body")).to_contain_text("w5 ")
    assert "w59" not in await tab.answers.inner_text()
    await expect(tab.answers).to_contain_text("w59")
    await expect(tab.page.locator("#stop")).to_be_hidden()
    await expect(tab.sessions).to_have_count(1)
    await expect(tab.status).to_have_text("Live")
    await expect(tab.page.locator("#announcer")).to_contain_text("w59")
    assert tab.complaints == []


async def test_delta_leaves_the_elements_before_it_alone(tab: Tab) -> None:
    await tab.send_and_wait("first")
    await tab.send(script({"text": "# Title\n\nwords\n\n"}, {"emit": {"tokens": 20, "rate": 20}}))
    await expect(tab.page.locator(".assistant.open h3")).to_be_visible()
    # Marks that only survive if the elements are not made again.
    await tab.page.evaluate("for (const e of document.querySelectorAll('.message, .assistant h3')) e.marked = true")
    await expect(tab.answers.last).to_contain_text("w19")

    unmarked = "[...document.querySelectorAll('.message, .assistant h3')].filter((e) => !e.marked).length"
    assert await tab.page.evaluate(unmarked) == 0


async def test_reload_and_second_tab_show_the_same(tab: Tab) -> None:
    await tab.send(slowly(40))
    await expect(tab.page.locator(".assistant.open .body")).to_contain_text("w5 ")
    await tab.page.reload()
    await expect(tab.page.locator(".assistant.open .body")).to_contain_text("w10 ")
    other = await tab.open_another()
    await expect(other.answers).to_contain_text("w39")
    await expect(tab.answers).to_contain_text("w39")
    assert await tab.answers.inner_text() == await other.answers.inner_text()
    assert (await tab.answers.inner_text()).split() == [f"w{number}" for number in range(40)]

    await other.send_and_wait("from the other tab")
    await expect(tab.questions.last).to_have_text("from the other tab")
    await expect(tab.answers).to_have_count(2)
    assert tab.complaints == other.complaints == []


@pytest.mark.parametrize("way", ["button", "Escape"])
async def test_stop_keeps_the_partial_text(tab: Tab, way: str) -> None:
    await tab.send(slowly(400))
    await expect(tab.answers).to_contain_text("w5 ")
    await (tab.page.click("#stop") if way == "button" else tab.page.keyboard.press("Escape"))
    await expect(tab.page.locator(".assistant .tag")).to_have_text("Stopped")
    await expect(tab.page.locator("#send")).to_be_visible()

    shown = await tab.answers.inner_text()
    assert shown.strip() == (await state_of(tab))["messages"][-1]["content"].strip()
    await tab.page.reload()
    await expect(tab.page.locator(".assistant .tag")).to_have_text("Stopped")
    assert await tab.answers.inner_text() == shown
    assert tab.complaints == []


async def test_message_during_a_run_waits_and_can_be_removed(tab: Tab) -> None:
    await tab.send(slowly(400))
    await expect(tab.answers).to_contain_text("w1 ")
    await tab.send("second")
    await tab.send("third")
    waiting = tab.page.locator(".queued")
    await expect(waiting).to_have_count(2)
    await waiting.filter(has_text="second").get_by_role("button", name="Remove").click()
    await expect(waiting).to_have_count(1)
    await tab.page.click("#stop")

    await expect(waiting).to_have_count(0)
    await expect(tab.questions.last).to_have_text("third")
    await expect(tab.answers).to_have_count(2)
    assert [message["role"] for message in (await state_of(tab))["messages"]] == ["user", "assistant"] * 2
    assert tab.complaints == []


async def test_rename_shows_everywhere(tab: Tab) -> None:
    await tab.send_and_wait("hello")
    other = await tab.open_another()
    await expect(other.answers).to_have_count(1)
    await tab.sessions.first.focus()
    await tab.page.keyboard.press("F2")
    await tab.page.keyboard.type("Holiday plans")
    await tab.page.keyboard.press("Enter")

    for page in (tab.page, other.page):
        await expect(page.locator("#title")).to_have_text("Holiday plans")
        await expect(page.locator("#sessions .title")).to_have_text("Holiday plans")
    assert (await state_of(tab))["session"]["title"] == "Holiday plans"
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


async def test_delete_asks_and_ends_the_session_in_every_tab(tab: Tab) -> None:
    await tab.send_and_wait("hello")
    other = await tab.open_another()
    await expect(other.answers).to_have_count(1)
    await tab.page.click("#delete")
    await tab.page.click("#confirm button:has-text('Cancel')")
    await expect(tab.sessions).to_have_count(1)
    await tab.page.click("#delete")
    await tab.page.click("#confirm .danger")

    await expect(tab.page.locator("#welcome")).to_be_visible()
    await expect(tab.sessions).to_have_count(0)
    await expect(other.page.locator("#problem")).to_contain_text("This session has ended")
    await expect(other.answers).to_have_count(1)
    await expect(other.status).to_have_text("Ended")
    await other.page.click("#problem-new")
    await expect(other.page.locator("#welcome")).to_be_visible()
    assert tab.complaints == []


async def test_unknown_session_says_so_and_creates_none(tab: Tab) -> None:
    await tab.open("/#/s/nowhere")

    await expect(tab.page.locator("#problem")).to_contain_text("This session is not here")
    assert (await get(tab, "/api/sessions"))["count"] == 0


async def test_failed_run_shows_its_code_and_can_be_tried_again(tab: Tab) -> None:
    await tab.send(script({"raise": "no"}))

    await expect(tab.page.locator(".ending")).to_contain_text("agent_failed")
    await tab.page.click(".ending button")
    await expect(tab.questions).to_have_count(2)
    await expect(tab.page.locator(".ending")).to_contain_text("agent_failed")
    assert tab.complaints == []


async def test_tool_calls_show_what_was_asked_and_found(tab: Tab) -> None:
    await tab.send_and_wait(script({"tool": {"name": "search", "args": {"query": "sse"}}}))

    call = tab.page.locator(".call")
    await expect(call.locator(".state")).to_have_text("done")
    await call.locator("summary").click()
    await expect(call.locator(".arguments")).to_contain_text('"query": "sse"')
    assert tab.complaints == []


async def test_markup_in_messages_is_only_text(tab: Tab) -> None:
    hostile = '<img src=x onerror="document.title=1"><script>document.title=1</script> [x](javascript:alert(1))'
    await tab.send_and_wait(script({"text": hostile}))

    await expect(tab.answers).to_have_text(hostile)
    assert await tab.page.locator(".message img, .message script, .message a").count() == 0
    assert tab.complaints == []


async def test_search_finds_what_was_said(tab: Tab) -> None:
    await tab.send_and_wait("about giraffes")
    await tab.start_anew()
    await tab.send_and_wait("about bridges")
    await expect(tab.sessions).to_have_count(2)
    await tab.page.fill("#search", "giraffes")
    await expect(tab.sessions).to_have_count(1)
    await tab.page.fill("#search", "zebra")
    await expect(tab.page.locator("#sessions-note")).to_have_text("No session matches.")
    await tab.page.press("#search", "Escape")

    await expect(tab.sessions).to_have_count(2)
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
    await expect(tab.status).to_contain_text("Reconnecting")
    await tab.send("sent while it was down")
    await expect(tab.page.locator(".outgoing")).to_contain_text("cannot be reached")
    await server.start()

    await expect(tab.status).to_have_text("Live", timeout=4 * WAIT_MS)
    await expect(tab.page.locator(".outgoing")).to_have_count(0, timeout=4 * WAIT_MS)
    await expect(tab.answers).to_have_count(2)
    await expect(tab.page.locator("#stop")).to_be_hidden()
    await expect(tab.page.locator(".assistant .tag").first).to_have_text("Stopped")
    await expect(tab.questions.last).to_have_text("sent while it was down")
    messages = (await state_of(tab))["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant"] * 2
    assert (await tab.answers.first.inner_text()).strip() == messages[1]["content"].strip()


async def test_message_sent_just_before_a_reload_arrives_once(browser: Browser, own_server: ServerProcess) -> None:
    async with opened(browser, own_server) as tab:
        await _reload_after_an_outage(tab, own_server)


async def _reload_after_an_outage(tab: Tab, server: ServerProcess) -> None:
    await tab.send_and_wait("first")
    await server.stop()
    await tab.send("second")
    await expect(tab.page.locator(".outgoing")).to_contain_text("cannot be reached")
    await server.start()
    await tab.page.reload()

    await expect(tab.answers).to_have_count(2)
    await expect(tab.page.locator(".outgoing")).to_have_count(0)
    assert [message["role"] for message in (await state_of(tab))["messages"]] == ["user", "assistant"] * 2


async def test_tab_that_is_not_in_front_leaves_the_list_to_the_one_that_is(tab: Tab) -> None:
    await tab.send_and_wait("hello")
    other = await tab.open_another("/")
    await expect(other.sessions).to_have_count(1)
    await other.send_and_wait("again")

    await expect(tab.sessions).to_have_count(2)  # told by the other tab
    assert tab.requests.count("GET /api/sessions/stream") == 1
    assert other.requests.count("GET /api/sessions/stream") == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_small_screen_has_no_sideways_scroll(browser: Browser, server: ServerProcess, scheme: Any) -> None:
    phone = {"viewport": PHONE, "color_scheme": scheme, "has_touch": True, "is_mobile": True}
    wide = f"{'word' * 60}\n\n```\n{'code ' * 60}\n```\n\n| {'cell | ' * 20}\n| {'--- | ' * 20}\n| {'1 | ' * 20}\n"
    async with opened(browser, server, **phone) as tab:
        await tab.send_and_wait(script({"text": wide}))

        assert await tab.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        assert await tab.page.evaluate("document.querySelector('#transcript').scrollWidth") <= PHONE["width"]
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
    place = await tab.page.evaluate("document.querySelector('#transcript').scrollTop")
    await expect(tab.answers.last).to_contain_text("w40 ")
    assert await tab.page.evaluate("document.querySelector('#transcript').scrollTop") == place
    await tab.page.click("#jump")

    await expect(tab.page.locator("#jump")).to_be_hidden()
    distance = "(e => e.scrollHeight - e.scrollTop - e.clientHeight)(document.querySelector('#transcript'))"
    assert await tab.page.evaluate(distance) < 48
    assert tab.complaints == []


async def test_hidden_tab_gives_up_its_stream_to_another_and_catches_up_when_seen(tab: Tab) -> None:
    await tab.send_and_wait("first")
    # Headless tabs are all in front: what the browser would say is said for it.
    await tab.page.evaluate(
        "() => { Object.defineProperty(document, 'hidden', { value: true, configurable: true });"
        " document.dispatchEvent(new Event('visibilitychange')); }"
    )
    other = await tab.open_another()
    await expect(tab.status).to_have_text("")
    await expect(other.answers).to_have_count(1)
    await other.send_and_wait("second")
    await expect(tab.answers).to_have_count(1)
    await tab.page.evaluate("() => { delete document.hidden; document.dispatchEvent(new Event('visibilitychange')); }")

    await expect(tab.answers).to_have_count(2)
    await expect(tab.status).to_have_text("Live")
    streams = [request for request in tab.requests if "/api/chat/stream" in request]
    assert "last_event_id=" in streams[-1]
    assert tab.complaints == other.complaints == []
