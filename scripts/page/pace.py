"""Measure the page: a chat of 2,000 messages is opened, scrolled, and gets an answer of 200 tokens a second.

Then an answer is stopped in another tab than the one that asked: how far apart do both say so, and how soon.

    scripts/measure_page [--times N]

Prints one line for each figure: the median and the worst of N attempts, in ms, beside what was promised. Long tasks are
counted by the page itself: what holds up a frame for 50 ms or more (0: there was none). The server and the browser
share the machine with whatever else it does, so a busy machine measures itself.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import anyio
from playwright.async_api import Page, expect

from .stage import DESK, Stage, browser, running_stage, visiting

MESSAGES: Final = 2000
USER: Final = "measured"
SCRIPTED: Final = 'default = "scripted"\n\n[agents.scripted]\nkind = "scripted"\n'
PARAGRAPH: Final = "A paragraph with **bold** words, `code` and [a link](https://example.org/). " * 4
ANSWER: Final = f"{PARAGRAPH}\n\n- one\n- two\n\n```js\nconst answer = 42;\n```\n"
ENDLESS: Final = json.dumps({"steps": [{"emit": {"tokens": 100_000, "rate": 50}}]})
STREAM: Final = json.dumps({"steps": [{"text": "# Title\n\n"}, {"emit": {"tokens": 1000, "rate": 200}}]})

# From the address to the last message on the screen: two frames, so that the first of them is painted.
OPEN: Final = """(address) => new Promise((resolve) => {
  const start = performance.now();
  location.hash = address;
  const look = () => {
    const last = document.querySelector('[data-testid="message"]:last-of-type');
    if (!last?.textContent.includes("the last one")) return requestAnimationFrame(look);
    requestAnimationFrame(() => resolve(performance.now() - start));
  };
  look();
})"""
# The longest gap between frames while it scrolls from the end to the beginning.
SCROLL: Final = """() => new Promise((resolve) => {
  const place = document.querySelector("#transcript");
  let longest = 0;
  let before = performance.now();
  const step = (now) => {
    longest = Math.max(longest, now - before);
    before = now;
    place.scrollTop -= 1500;
    if (place.scrollTop > 0) requestAnimationFrame(step);
    else resolve(longest);
  };
  requestAnimationFrame(step);
})"""
# When the answer that streams shows as stopped, by a clock that all tabs have.
WATCH_STOP: Final = """() => {
  window.stoppedAt = 0;
  const streaming = document.querySelector('[data-testid="message"][data-status="streaming"]');
  const watch = new MutationObserver(() => {
    if (streaming.dataset.status !== "interrupted") return;
    window.stoppedAt = performance.timeOrigin + performance.now();
    watch.disconnect();
  });
  watch.observe(streaming, { attributes: true });
}"""
STOP: Final = """() => {
  document.querySelector('[data-testid="stop"]').click();
  return performance.timeOrigin + performance.now();
}"""
STOPPED: Final = "() => window.stoppedAt"
# Not `expect`: for what is not so yet it describes the whole page, in the page, and that takes seconds with this many.
COUNTED: Final = """(count) => document.querySelectorAll('[data-testid="message"]').length === count"""
RESET: Final = "() => import('/static/pace.js').then(({ pace }) => { pace.longTasks = 0; pace.longestMs = 0; })"
LONGEST: Final = "() => import('/static/pace.js').then(({ pace }) => pace.longestMs)"


async def measure(times: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as data:
        async with browser() as running, running_stage(Stage(Path(data), SCRIPTED)) as stage:
            async with stage.asking(USER) as client:
                answer = await client.post("/api/sessions/import", json=long_chat())
                address = f"#/s/{answer.raise_for_status().json()['session_id']}"
            async with visiting(running, stage, USER, viewport=DESK) as visit:
                await _measure(visit.page, address, times)
                await _measure_stop(visit.page, times)


async def _measure(page: Page, address: str, times: int) -> None:
    opened, scrolled = [], []
    for _ in range(times):
        await page.get_by_test_id("new-session").click()
        await page.wait_for_function(COUNTED, arg=0)
        opened.append(await page.evaluate(OPEN, address))
    await page.wait_for_function(COUNTED, arg=MESSAGES)
    for _ in range(times):
        scrolled.append(await page.evaluate(SCROLL))
        await page.click("#jump")
    _tell(f"open {MESSAGES:,} messages", opened, 1000)
    _tell("longest frame while scrolling", scrolled, 50)
    await _measure_stream(page, times, f"below {MESSAGES:,} messages")
    await page.get_by_test_id("new-session").click()
    await page.wait_for_function(COUNTED, arg=0)
    await _measure_stream(page, times, "in a new chat")


async def _measure_stream(page: Page, times: int, where: str) -> None:
    held = []
    stop = page.get_by_test_id("stop")
    for _ in range(times):
        await page.evaluate(RESET)
        await page.get_by_test_id("composer").fill(STREAM)
        await page.get_by_test_id("composer").press("Enter")
        await stop.wait_for(state="visible")
        await stop.wait_for(state="hidden")
        held.append(await page.evaluate(LONGEST))
    _tell(f"longest task at 200 tokens/s {where}", held, 50)


async def _measure_stop(page: Page, times: int) -> None:
    apart, after = [], []
    await page.get_by_test_id("new-session").click()
    # A window beside it: a tab behind another is painted once a second.
    async with page.expect_popup() as popup:
        await page.evaluate("() => { open('/', '_blank', 'popup,left=0,top=0,width=1280,height=800'); }")
    other = await popup.value
    streaming = '[data-testid="message"][data-status="streaming"]'
    for _ in range(times):
        await page.get_by_test_id("composer").fill(ENDLESS)
        await page.get_by_test_id("composer").press("Enter")
        await expect(page.locator(streaming)).to_contain_text("w9 ")
        if other.url != page.url:
            await other.goto(page.url)
        await expect(other.locator(streaming)).to_contain_text("w9 ")
        for tab in (page, other):
            await tab.evaluate(WATCH_STOP)
        asked = await other.evaluate(STOP)
        for tab in (page, other):
            await tab.wait_for_function(STOPPED)
        shown = [await tab.evaluate(STOPPED) for tab in (page, other)]
        apart.append(max(shown) - min(shown))
        after.append(max(shown) - asked)
        await expect(page.get_by_test_id("stop")).to_be_hidden()
    _tell("Stop in another tab: both show it, apart by", apart, 100)
    _tell("Stop in another tab: both show it after", after, 100)


def long_chat() -> dict[str, Any]:
    """Return an export of a chat with many messages."""
    said: list[dict[str, Any]] = []
    for number in range(MESSAGES // 2):
        said += [
            {"id": f"q{number}", "role": "user", "content": f"Question {number}"},
            {"id": f"a{number}", "role": "assistant", "content": f"Answer {number}. {ANSWER}"},
        ]
    said[-1]["content"] += "\nthe last one"
    return {"version": 1, "session": {"title": "Long"}, "messages": said}


def _tell(what: str, figures: Iterable[float], promised: int) -> None:
    found = list(figures)
    print(f"{what:50} median {statistics.median(found):6.0f} ms   worst {max(found):6.0f} ms   promised {promised} ms")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=5, metavar="N")
    anyio.run(measure, parser.parse_args().times)


if __name__ == "__main__":
    main()
