"""The page through reloads and in many tabs of one browser: what is seen is never less, and everywhere the same."""

from __future__ import annotations

import anyio
import pytest
from playwright.async_api import Route, expect

from tests.browser.pages import Tab, script, slowly, words

pytestmark = pytest.mark.anyio

RELOADS = 50
TABS = 12
# Every text that the answer ever had on the page, from its first element on.
WATCH = """
window.seen = [];
new MutationObserver(() => {
  const text = document.querySelector('[data-testid="message"][data-role="assistant"] > .body')?.textContent;
  if (text !== undefined && text !== window.seen.at(-1)) window.seen.push(text);
}).observe(document, { subtree: true, childList: true, characterData: true });
"""
SEEN = "window.seen.splice(0)"
BEGINNING = "# Title\n\nSome **bold** `words`, and then\n\n"


async def _ended(*tabs: Tab, answers: int) -> None:
    for tab in tabs:
        await tab.page.bring_to_front()
        await expect(tab.message("assistant", "finished")).to_have_count(answers)
        await expect(tab.stop).to_be_hidden()


async def test_reload_in_mid_answer_never_shows_less(tab: Tab) -> None:
    await tab.page.add_init_script(WATCH)
    await tab.open()
    await tab.send(script({"text": BEGINNING}, {"emit": {"tokens": 100_000, "rate": 20}}))
    await expect(tab.streaming).to_contain_text("w1 ")
    last = ""
    for _ in range(RELOADS):
        await tab.page.reload()
        await expect(tab.streaming).to_contain_text(f"w{last.count(' w')} ")
        for text in await tab.page.evaluate(SEEN):
            assert text.startswith(last)
            last = text
    await tab.stop.click()
    await expect(tab.message("assistant", "interrupted")).to_have_count(1)
    shown = await tab.answers.text_content()

    stored = (await tab.state())["messages"][-1]["content"]
    assert shown is not None
    assert (
        shown.split("and then", 1)[1].split() == stored.removeprefix(BEGINNING).split() == words(shown.count("w") - 1)
    )
    for text in [*await tab.page.evaluate(SEEN), shown]:
        assert text.startswith(last)
        last = text
    assert tab.complaints == []


async def test_text_is_there_before_its_parser_and_stays(tab: Tab) -> None:
    """Who sees that an answer was stopped sees what there is of it."""
    await tab.send(slowly(400))
    await expect(tab.streaming).to_contain_text("w5 ")
    await tab.stop.click()
    await expect(tab.message("assistant", "interrupted")).to_have_count(1)
    shown = await tab.answers.text_content()
    parser = anyio.Event()

    async def hold(route: Route) -> None:
        await parser.wait()
        await route.continue_()

    await tab.page.route("**/static/vendor/marked/marked.js", hold)
    await tab.page.add_init_script(WATCH)
    await tab.page.reload()
    await expect(tab.page.locator(".assistant .tag")).to_have_text("Stopped")
    early = await tab.answers.text_content()
    parser.set()
    await expect(tab.answers.locator("p")).to_have_css("white-space-collapse", "preserve-breaks")

    assert early == shown
    assert set(await tab.page.evaluate(SEEN)) == {shown}


async def test_twelve_tabs_of_one_session_are_usable_and_agree(tab: Tab) -> None:
    await tab.send_and_wait("first")
    tabs = [tab, *[await tab.open_another() for _ in range(TABS - 1)]]
    await tabs[7].send(slowly(40))
    for one in tabs:
        await one.page.bring_to_front()
        await expect(one.answers.last).to_contain_text("w5 ")
    await _ended(*tabs, answers=2)
    for number, one in enumerate(tabs):
        await one.page.bring_to_front()
        await expect(one.answers).to_have_count(2 + number)
        await one.send_and_wait(f"from tab {number}")
    await _ended(*tabs, answers=2 + TABS)

    stored = [one["content"].split() for one in (await tab.state())["messages"]]
    for one in tabs:
        shown = await one.page.locator(".message.user .text, .message.assistant > .body").all_text_contents()
        assert [text.split() for text in shown] == stored
        assert one.complaints == []


async def test_twelve_tabs_of_twelve_sessions_are_usable_and_agree(tab: Tab) -> None:
    tabs = [tab, *[await tab.open_another("/#/") for _ in range(TABS - 1)]]
    for one in tabs:
        await one.send(slowly(60))
    for one in tabs:
        await expect(one.answers).to_contain_text("w5")
    await _ended(*tabs, answers=1)
    for one in tabs:
        await one.send_and_wait("again")

    assert len({one.session_id for one in tabs}) == TABS
    for one in tabs:
        await one.page.bring_to_front()
        await expect(one.sessions).to_have_count(TABS)
        assert (await one.answers.first.inner_text()).split() == words(60)
        assert (await one.answers.last.inner_text()).split() == (await one.state())["messages"][-1]["content"].split()
        assert one.complaints == []


async def test_stop_from_another_tab_shows_the_same_text_in_both(tab: Tab) -> None:
    await tab.send(slowly(1000))
    other = await tab.open_another()
    await expect(other.streaming).to_contain_text("w9 ")
    await other.stop.click()
    for one in (tab, other):
        await expect(one.message("assistant", "interrupted").locator(".tag")).to_have_text("Stopped")
        await expect(one.stop).to_be_hidden()

    stored = (await tab.state())["messages"][-1]["content"]
    assert await tab.answers.inner_text() == await other.answers.inner_text()
    assert (await tab.answers.inner_text()).split() == stored.split()
