"""The page `/stats` in a real browser: what it shows, to whom, and in which states."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser, Page, expect

from tests.browser.pages import WAIT_MS
from tests.browser.serving import ServerProcess, serve

PHONE_WIDTH = 360
AXE = Path(__file__).with_name("node_modules") / "axe-core" / "axe.min.js"
VIOLATIONS = "async () => (await axe.run()).violations.map((one) => [one.id, one.nodes.map((node) => node.html)])"

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def opened(browser: Browser, server: ServerProcess, user: str | None, **options: Any) -> AsyncIterator[Page]:
    """Open the page as a user, or as the admin; at the end, nothing was complained of or asked for elsewhere."""
    headers = {} if user is None else {"X-Forwarded-User": user}
    context = await browser.new_context(extra_http_headers=headers, **options)
    page = await context.new_page()
    page.set_default_timeout(WAIT_MS)
    complaints: list[str] = []
    requests: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    await page.goto(server.url + "/stats")
    yield page
    await context.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith(server.url)] == []


async def run(server: ServerProcess, user: str, *steps: dict[str, Any], **fields: Any) -> None:
    """Let a user have a run, to its end."""
    body = {"message": json.dumps({"steps": steps}), "wait": True, **fields}
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        answer = await client.post("/api/chat", json=body, headers={"X-Forwarded-User": user})
    assert answer.status_code in (200, 502), answer.text  # 502: the run failed, as it was told to


def tile(page: Page, name: str) -> Any:
    return page.locator(f"[data-tile={name}] .value")


async def test_user_without_sessions_is_told_what_will_be_here(browser: Browser, server: ServerProcess) -> None:
    async with opened(browser, server, "nobody") as page:
        await expect(page.get_by_role("heading", name="Nothing to count yet")).to_be_visible()
        await expect(page.locator("#scope")).to_have_text("Your sessions")
        await expect(tile(page, "active")).to_have_text("0")
        await expect(page.locator("#charts")).to_be_hidden()
        await expect(page.get_by_role("link", name="Start a chat")).to_be_visible()


async def test_figures_show_and_go_on_by_themselves(browser: Browser, server: ServerProcess) -> None:
    await run(server, "ann", {"emit": {"tokens": 50}}, session_id="a")
    async with opened(browser, server, "ann") as page:
        await expect(tile(page, "active")).to_have_text("1")
        await expect(tile(page, "messages")).to_have_text("2")
        await expect(page.locator("#state")).to_have_text("Live")
        await expect(page.locator("#empty")).to_be_hidden()
        await expect(page.locator(".chart canvas")).to_have_count(4)
        pictures = page.locator(".chart .picture")
        await expect(pictures.nth(2)).to_have_attribute("aria-label", "Runs. Finished: 1. Stopped: none. Failed: none.")
        await run(server, "ann", {"raise": "broken"}, session_id="b")

        await expect(tile(page, "active")).to_have_text("2")
        await expect(pictures.nth(2)).to_have_attribute("aria-label", "Runs. Finished: 1. Stopped: none. Failed: 1.")
        await expect(page.locator(".share").first).to_contain_text("scripted")
        await expect(page.locator(".share")).to_have_count(2)


async def test_admin_sees_all_users(browser: Browser, server: ServerProcess) -> None:
    await run(server, "<b>bob</b>", {"text": "hello"})
    async with opened(browser, server, None) as page:
        await expect(page.locator("#scope")).to_have_text("All users")
        users = page.locator(".share").nth(2)
        await expect(users).to_contain_text("<b>bob</b>")
        assert await page.locator(".share b").count() == 0


async def test_figures_are_there_as_tables_by_keyboard(browser: Browser, server: ServerProcess) -> None:
    await run(server, "cleo", {"text": "hello"})
    async with opened(browser, server, "cleo") as page:
        summary = page.locator(".chart summary").nth(3)
        await summary.focus()
        await page.keyboard.press("Enter")
        table = page.locator(".chart table").nth(3)
        await expect(table.locator("thead th")).to_have_text(["Time", "Created", "Expired", "Deleted"])
        await expect(table.locator("tbody tr").first.locator("td")).to_have_text(["1", "0", "0"])
        await page.get_by_role("radio", name="10 minutes").focus()
        await page.keyboard.press("ArrowRight")
        await expect(page.get_by_role("radio", name="24 hours")).to_be_checked()

        await expect(table.locator("tbody tr")).to_have_count(1)
        await expect(page.locator(".chart canvas")).to_have_count(4)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_phone_has_no_sideways_scroll(browser: Browser, server: ServerProcess, scheme: Any) -> None:
    await run(server, "dora" * 25, {"text": "hello"})
    phone = {"viewport": {"width": PHONE_WIDTH, "height": 740}, "is_mobile": True, "color_scheme": scheme}
    async with opened(browser, server, None, **phone) as page:
        await expect(page.locator(".chart canvas")).to_have_count(4)

        assert await page.evaluate("document.documentElement.scrollWidth") == PHONE_WIDTH
        widths = "[...document.querySelectorAll('.picture')].every((e) => e.scrollWidth <= e.clientWidth)"
        assert await page.evaluate(widths)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("user", ["nobody", None])
async def test_page_is_accessible(browser: Browser, server: ServerProcess, scheme: Any, user: str | None) -> None:
    await run(server, "gus", {"text": "hello"})
    async with opened(browser, server, user, color_scheme=scheme) as page:
        await expect(page.locator("#state")).to_have_text("Live")
        await page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
        await page.evaluate(_axe())

        assert await page.evaluate(VIOLATIONS) == []


def _axe() -> str:
    return AXE.read_text(encoding="utf-8")


async def test_colours_follow_the_scheme_while_the_page_is_open(browser: Browser, server: ServerProcess) -> None:
    await run(server, "eve", {"text": "hello"})
    async with opened(browser, server, "eve", color_scheme="light") as page:
        await expect(page.locator(".chart canvas")).to_have_count(4)
        await page.evaluate("document.querySelectorAll('.chart canvas').forEach((one) => one.classList.add('old'))")
        await page.emulate_media(color_scheme="dark")

        await expect(page.locator(".chart canvas.old")).to_have_count(0)
        await expect(page.locator(".chart canvas")).to_have_count(4)


async def test_server_that_goes_away_is_said_and_its_return_seen(browser: Browser, tmp_path: Path) -> None:
    async with serve(tmp_path) as own:
        await run(own, "fay", {"text": "hello"})
        context = await browser.new_context(extra_http_headers={"X-Forwarded-User": "fay"})
        page = await context.new_page()
        await page.goto(own.url + "/stats")
        await expect(page.locator("#state")).to_have_text("Live")
        await own.stop()
        await expect(page.locator("#state")).to_have_text("Not up to date: the server cannot be reached")
        await expect(tile(page, "active")).to_have_text("1")
        await own.start()

        await page.evaluate("window.dispatchEvent(new Event('online'))")
        await expect(page.locator("#state")).to_have_text("Live")
        await context.close()


async def test_time_that_is_pointed_at_is_told_in_all_charts(browser: Browser, server: ServerProcess) -> None:
    await run(server, "hal", {"text": "hello"})
    async with opened(browser, server, "hal") as page:
        await expect(page.locator(".chart canvas")).to_have_count(4)
        await expect(page.locator(".keys .at")).to_have_count(0)
        await page.locator(".picture .u-over").nth(2).hover()
        await expect(page.locator(".keys .at")).to_have_count(4)
        await expect(page.locator(".chart").nth(2).locator(".key b")).to_have_count(3)
        await page.get_by_role("heading", name="Statistics").hover()

        await expect(page.locator(".keys .at")).to_have_count(0)


async def test_theme_that_another_tab_chooses_is_followed(browser: Browser, server: ServerProcess) -> None:
    await run(server, "ida", {"text": "hello"})
    async with opened(browser, server, "ida", color_scheme="light") as page:
        await expect(page.locator(".chart canvas")).to_have_count(4)
        other = await page.context.new_page()
        await other.goto(server.url + "/stats")
        await other.evaluate("localStorage.setItem('sessionstream.theme', JSON.stringify('dark'))")

        await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        await expect(page.locator("body")).to_have_css("background-color", "rgb(25, 28, 27)")
        await page.reload()
        await expect(page.locator("html")).to_have_attribute("data-theme", "dark")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_letters_and_colours_are_those_of_the_chat(browser: Browser, server: ServerProcess, scheme: Any) -> None:
    names = ["side", "raised", "tint", "line", "line-strong", "ink", "ink-soft", "accent", "bad", "good", "warn"]
    look = """(names) => {
      const probe = document.body.appendChild(document.createElement("i"));
      const colours = names.map((name) => {
        probe.style.color = `var(--${name})`;
        return getComputedStyle(probe).color;
      });
      probe.remove();
      return [getComputedStyle(document.body).fontFamily, getComputedStyle(document.body).fontSize, ...colours];
    }"""
    async with opened(browser, server, "ann", color_scheme=scheme) as page:
        here = await page.evaluate(look, names)
        await page.goto(server.url)

        assert here == await page.evaluate(look, names)
