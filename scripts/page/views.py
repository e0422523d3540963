"""The views of the page, each as what a person does to get there."""

# ruff: noqa: D103 - their names say which

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from playwright.async_api import Page, expect

from .stage import EARLIER, QUESTION, Visit

View = Callable[[Visit], Awaitable[None]]


async def send(page: Page, text: str) -> None:
    """Write a message and press Enter."""
    await page.get_by_test_id("composer").fill(text)
    await page.get_by_test_id("composer").press("Enter")


async def answered(page: Page) -> None:
    """Wait for the end of the answer."""
    await expect(page.locator('[data-role="assistant"][data-status="finished"]').last).to_be_visible()
    await expect(page.get_by_test_id("stop")).to_be_hidden()


async def conversation(visit: Visit) -> None:
    page = visit.page
    await expect(page.get_by_test_id("session-item")).to_have_count(len(EARLIER))
    await send(page, QUESTION)
    await answered(page)
    # Something comes in another chat meanwhile.
    other = await page.get_by_test_id("session-item").nth(2).get_attribute("data-session-id")
    async with visit.asking() as client:
        body = {"session_id": other, "message": "Is it sent?", "wait": True}
        (await client.post("/api/chat", json=body)).raise_for_status()
    await expect(page.locator(".session.unread")).to_have_count(1)
    await page.evaluate("document.querySelector('#transcript').scrollTo(0, 0)")


async def end_of_conversation(visit: Visit) -> None:
    page = visit.page
    await conversation(visit)
    await page.locator(".reasoning summary").click()
    await page.locator(".call summary").last.click()
    await page.evaluate("document.querySelector('#transcript').scrollTo(0, 160)")


async def sources(visit: Visit) -> None:
    page = visit.page
    await conversation(visit)
    await page.evaluate("document.querySelector('#transcript').scrollTo(0, 1e6)")


async def empty(visit: Visit) -> None:
    page = visit.page
    await expect(page.locator("#persona option")).not_to_have_count(0)


async def running(visit: Visit) -> None:
    page = visit.page
    await send(page, "Make a plan for the week")
    await expect(page.locator(".assistant .body")).to_contain_text("so that nobody")


async def stopped(visit: Visit) -> None:
    page = visit.page
    await running(visit)
    await page.get_by_test_id("stop").click()
    await expect(page.locator(".assistant .tag")).to_be_visible()


async def failed(visit: Visit) -> None:
    page = visit.page
    await send(page, "Find the invoice (and fail)")
    await expect(page.locator(".ending")).to_be_visible()


async def queue(visit: Visit) -> None:
    page = visit.page
    await running(visit)
    for number, text in enumerate(("Add the offsite in Porto", "Then send it to Mira and Jonas", "And print it"), 1):
        await send(page, text)
        await expect(page.get_by_test_id("queue-item")).to_have_count(number)


async def queue_edited(visit: Visit) -> None:
    page = visit.page
    await queue(visit)
    await page.get_by_test_id("queue-item").nth(1).get_by_role("button", name="Edit").click()


async def approval(visit: Visit) -> None:
    page = visit.page
    await send(page, "Archive the old carts, please")
    await expect(page.get_by_test_id("approval")).to_be_visible()


async def choice(visit: Visit) -> None:
    page = visit.page
    await send(page, "Draw it in another colour")
    await expect(page.get_by_test_id("approval")).to_be_visible()


async def form(visit: Visit) -> None:
    page = visit.page
    await send(page, "Book a table")
    await expect(page.get_by_test_id("approval")).to_be_visible()


async def question(visit: Visit) -> None:
    page = visit.page
    await send(page, "Ask me for what you need")
    await expect(page.get_by_test_id("approval")).to_be_visible()


async def editing(visit: Visit) -> None:
    page = visit.page
    await send(page, "Hello there")
    await answered(page)
    await page.get_by_test_id("composer").press("ArrowUp")


async def refused(visit: Visit) -> None:
    page = visit.page
    await page.route(
        "**/api/chat", lambda route: route.fulfill(status=422, json={"detail": "The message is too long."})
    )
    await send(page, "A message that the server will not take")
    await expect(page.locator('[data-status="failed"]')).to_be_visible()


async def offline(visit: Visit) -> None:
    page = visit.page
    await send(page, "Hello there")
    await answered(page)
    await page.context.set_offline(True)
    # The page looks whether it still has a connection, and has none.
    await page.evaluate("window.dispatchEvent(new Event('online'))")
    await send(page, "Kept until the network is back")
    await expect(page.locator("#banner")).to_be_visible()
    await expect(page.locator('[data-status="waiting"]')).to_be_visible()


async def missing(visit: Visit) -> None:
    page = visit.page
    await page.goto(f"{visit.url}/#/s/nowhere")
    await expect(page.locator("#problem")).to_be_visible()


async def expired(visit: Visit) -> None:
    page = visit.page
    await send(page, "Hello there")
    await answered(page)
    over = {"status": 410, "json": {"code": "session_expired", "detail": "The session has expired."}}
    for address in ("**/api/chat/stream?**", "**/api/state?**"):
        await page.route(address, lambda route: route.fulfill(**over))
    await page.reload()
    await expect(page.locator("#problem")).to_be_visible()


async def deleted_elsewhere(visit: Visit) -> None:
    page = visit.page
    await conversation(visit)
    async with visit.asking() as client:
        await client.delete(f"/api/sessions/{page.url.rpartition('/')[2]}")
    await expect(page.locator("#problem")).to_be_visible()
    await page.evaluate("document.querySelector('#transcript').scrollTo(0, 1e6)")


async def deleted(visit: Visit) -> None:
    page = await _listed(visit)
    await page.get_by_test_id("session-item").first.focus()
    await page.keyboard.press("Delete")
    await expect(page.locator(".toast")).to_be_visible()


async def chat_menu(visit: Visit) -> None:
    page = await _listed(visit)
    await page.get_by_test_id("session-item").nth(1).click()
    await page.click("#session-menu")


async def row_menu(visit: Visit) -> None:
    page = await _listed(visit)
    row = page.locator("#sessions li").nth(2)
    await row.hover()
    await row.locator(".row-more").click()


async def settings(visit: Visit) -> None:
    page = await _listed(visit)
    await page.click("#more")


async def shortcuts(visit: Visit) -> None:
    page = visit.page
    await page.keyboard.press("Control+/")


async def search(visit: Visit) -> None:
    page = await _listed(visit)
    await page.get_by_test_id("search").fill("board")
    await expect(page.get_by_test_id("session-item")).to_have_count(1)


async def no_hits(visit: Visit) -> None:
    page = await _listed(visit)
    await page.get_by_test_id("search").fill("zebra crossing")
    await expect(page.locator("#sessions-note")).to_contain_text("No chat")


async def renaming(visit: Visit) -> None:
    page = await _listed(visit)
    await page.get_by_test_id("session-item").nth(1).click()
    await _listed(visit)
    await page.get_by_test_id("session-item").nth(1).focus()
    await page.keyboard.press("F2")


async def sidebar(visit: Visit) -> None:
    page = visit.page
    await send(page, "Hello there")
    await answered(page)
    await _listed(visit)


async def _listed(visit: Visit) -> Page:
    page = visit.page
    if await page.locator("#open-drawer").is_visible() and not await page.locator("#sidebar.shown").count():
        await page.click("#open-drawer")
    await expect(page.get_by_test_id("session-item").first).to_be_visible()
    return page


VIEWS: Final[tuple[View, ...]] = (
    empty, conversation, end_of_conversation, sources, running, stopped, failed, refused, queue, queue_edited,
    approval, choice, form, question, editing, offline, missing, expired, deleted_elsewhere, deleted, chat_menu,
    row_menu, settings, shortcuts, search, no_hits, renaming, sidebar,
)  # fmt: skip
