"""Messages that wait for an answer to end, and those that are sent once more."""

from __future__ import annotations

import pytest
from playwright.async_api import Locator, expect

from tests.browser.pages import Tab, script, slowly

pytestmark = pytest.mark.anyio


async def _queue(tab: Tab, *texts: str) -> None:
    await tab.send(slowly(2000))
    await expect(tab.answers).to_contain_text("w1 ")
    for number, text in enumerate(texts, 1):
        await tab.send(text)
        await expect(tab.queue).to_have_count(number)


def _button(item: Locator, name: str) -> Locator:
    return item.get_by_role("button", name=name)


async def _waiting(tab: Tab) -> list[str]:
    return [one["message"] for one in (await tab.state())["state"]["queue"]]


async def test_waiting_messages_are_edited_moved_and_deleted(tab: Tab) -> None:
    await _queue(tab, "second", "third", "fourth")
    other = await tab.open_another()
    third = tab.queue.filter(has_text="third")
    await _button(third, "Move up").click()
    await expect(other.queue.nth(0)).to_contain_text("third")
    await _button(tab.queue.filter(has_text="second"), "Delete").click()
    await expect(other.queue).to_have_count(2)
    await _button(third, "Edit").click()
    await tab.page.keyboard.press("Control+A")
    await tab.page.keyboard.type("third, changed")
    await tab.page.keyboard.press("Enter")

    await expect(other.queue.nth(0)).to_contain_text("third, changed")
    assert await _waiting(tab) == ["third, changed", "fourth"]
    await expect(_button(tab.queue.nth(0), "Edit")).to_be_focused()
    await tab.stop.click()
    await expect(tab.queue).to_have_count(0)
    await expect(tab.questions).to_have_text([slowly(2000), "third, changed", "fourth"])
    assert tab.complaints == other.complaints == []


async def test_waiting_message_is_dragged_to_another_place(tab: Tab) -> None:
    await _queue(tab, "second", "third", "fourth")
    await tab.queue.nth(2).locator(".what").drag_to(tab.queue.nth(0).locator(".what"))

    await expect(tab.queue.nth(0)).to_contain_text("fourth")
    assert await _waiting(tab) == ["fourth", "second", "third"]


async def test_waiting_message_is_sent_now(tab: Tab) -> None:
    await _queue(tab, "second", "third")
    await _button(tab.queue.filter(has_text="third"), "Send now").click()

    await expect(tab.questions).to_have_text([slowly(2000), "third", "second"])
    await expect(tab.message("assistant", "interrupted")).to_have_count(1)
    await expect(tab.message("assistant", "finished")).to_have_count(2)
    assert tab.complaints == []


async def test_escape_leaves_a_waiting_message_and_the_answer_alone(tab: Tab) -> None:
    await _queue(tab, "second")
    await _button(tab.queue, "Edit").click()
    await tab.page.keyboard.type(" and more")
    await tab.page.keyboard.press("Escape")

    await expect(tab.queue).to_contain_text("second")
    await expect(tab.queue.locator("textarea")).to_have_count(0)
    assert (await tab.state())["run"] is not None


async def test_failed_answer_is_tried_again_in_its_place(tab: Tab) -> None:
    await tab.send(script({"raise": "no"}))
    await expect(tab.page.locator(".ending")).to_contain_text("agent_failed")
    await tab.page.get_by_role("button", name="Try again").click()

    again = tab.page.get_by_role("button", name="Sent again · show the first attempt")
    await expect(again).to_be_visible()
    await expect(tab.questions).to_have_count(1)
    await expect(tab.page.locator(".ending")).to_contain_text("agent_failed")
    assert len((await tab.state())["messages"]) >= 2
    await again.click()
    await expect(tab.questions).to_have_count(2)
    assert tab.complaints == []


async def test_last_message_is_changed_and_the_running_answer_makes_way(tab: Tab) -> None:
    await tab.send_and_wait("first")
    await tab.send(slowly(400))
    await expect(tab.answers.last).to_contain_text("w3 ")
    other = await tab.open_another()
    await tab.composer.press("ArrowUp")
    await expect(tab.page.locator("#editing-note")).to_be_visible()
    await expect(tab.composer).to_have_value(slowly(400))
    await tab.composer.fill("changed")
    await tab.composer.press("Enter")

    for page in (tab, other):
        await expect(page.questions).to_have_text(["first", "changed"])
        await expect(page.answers).to_have_count(2)
        await expect(page.answers.last).to_contain_text("changed")
    await tab.page.reload()
    await expect(tab.questions).to_have_text(["first", "changed"])
    await tab.page.get_by_role("button", name="show the first attempt").click()
    await expect(tab.questions).to_have_text(["first", slowly(400), "changed"])
    await expect(tab.answers.nth(1)).to_contain_text("w3 ")
    await tab.page.get_by_role("button", name="Hide earlier").click()
    await expect(tab.questions).to_have_count(2)
    assert tab.complaints == other.complaints == []


async def test_change_is_given_up_and_what_was_typed_comes_back(tab: Tab) -> None:
    await tab.send_and_wait("first")
    await tab.page.locator(".user").hover()
    await tab.composer.fill("half a thought")
    await tab.page.get_by_role("button", name="Edit").click()
    await expect(tab.composer).to_have_value("first")
    await tab.page.keyboard.press("Escape")

    await expect(tab.composer).to_have_value("half a thought")
    await expect(tab.questions).to_have_count(1)


async def test_refused_message_says_why_and_can_be_changed(tab: Tab) -> None:
    await tab.send_and_wait("first")
    await tab.page.route(
        "**/api/chat", lambda route: route.fulfill(status=422, json={"detail": "message: is too long"})
    )
    await tab.send("second")
    failed = tab.message("user", "failed")
    await expect(failed).to_contain_text("Not sent. message: is too long")
    await tab.page.unroute("**/api/chat")
    await failed.get_by_role("button", name="Edit").click()
    await expect(tab.composer).to_have_value("second")
    await expect(failed).to_have_count(0)
    await tab.send_and_wait("shorter")

    await expect(tab.questions).to_have_text(["first", "shorter"])
