"""What makes a long conversation open at once and the page run smoothly; `scripts/measure_page` has the figures."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import expect

from tests.browser.pages import Tab

pytestmark = pytest.mark.anyio

MESSAGES = 2000
# How many messages there are when the first of them are painted.
FIRST_PAINT = """(address) => new Promise((resolve) => {
  location.hash = address;
  const look = () => {
    const count = document.querySelectorAll('[data-testid="message"]').length;
    if (count === 0) requestAnimationFrame(look);
    else resolve([count, document.querySelector("#messages").lastElementChild.textContent]);
  };
  look();
})"""
BUSY = "() => { const end = performance.now() + 120; while (performance.now() < end); }"
LONG_TASKS = "() => import('/static/pace.js').then(({ pace }) => pace.longTasks)"
LONGEST = "() => import('/static/pace.js').then(({ pace }) => pace.longestMs)"


async def _long_chat(tab: Tab) -> str:
    said: list[dict[str, Any]] = []
    for number in range(MESSAGES // 2):
        said += [
            {"id": f"q{number}", "role": "user", "content": f"Question {number}"},
            {"id": f"a{number}", "role": "assistant", "content": f"Answer {number}."},
        ]
    said[-1]["content"] += " The last one."
    session = await tab.post("/api/sessions/import", {"version": 1, "session": {"title": "Long"}, "messages": said})
    return str(session["session_id"])


async def test_long_chat_opens_with_its_end_and_then_makes_the_rest(tab: Tab) -> None:
    address = f"#/s/{await _long_chat(tab)}"
    await expect(tab.connection).to_have_text("Live")
    count, last = await tab.page.evaluate(FIRST_PAINT, address)

    assert count < 100
    assert "The last one." in last
    # The rest is made while nothing else is to do, so that searching in the page finds all of it.
    await expect(tab.page.get_by_test_id("message")).to_have_count(MESSAGES)
    await expect(tab.questions.first).to_have_text("Question 0")
    assert tab.complaints == []


async def test_messages_that_are_off_the_screen_are_not_laid_out(tab: Tab) -> None:
    await tab.open(f"/#/s/{await _long_chat(tab)}")
    first = tab.page.get_by_test_id("message").first
    await expect(tab.page.get_by_test_id("message")).to_have_count(MESSAGES)

    visible = "(e) => e.firstElementChild.checkVisibility({ contentVisibilityAuto: true })"
    assert not await first.evaluate(visible)
    await tab.page.evaluate("document.querySelector('#transcript').scrollTop = 0")
    await expect(first).to_be_in_viewport()


async def test_page_counts_the_tasks_that_hold_up_a_frame(tab: Tab) -> None:
    await expect(tab.connection).to_have_text("Live")
    before = await tab.page.evaluate(LONG_TASKS)
    await tab.page.evaluate(f"new Promise((resolve) => setTimeout(() => {{ ({BUSY})(); setTimeout(resolve, 100); }}))")

    assert await tab.page.evaluate(LONG_TASKS) > before
    assert await tab.page.evaluate(LONGEST) >= 50
