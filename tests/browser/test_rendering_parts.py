"""What stands beside an answer's text, in a real browser: sources, tool calls, reasoning; and answers of real runs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from playwright.async_api import Browser, Page, Route, expect

from tests.browser.drawing import HOSTILE, WIDTH, drawing_page
from tests.browser.pages import WAIT_MS
from tests.browser.serving import ServerProcess

AXE = Path(__file__).with_name("node_modules") / "axe-core" / "axe.min.js"
VIOLATIONS = (
    "async () => (await axe.run(document.querySelector('#place'))).violations"
    ".map((one) => [one.id, one.nodes.map((node) => node.html)])"
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def page(browser: Browser, server: ServerProcess) -> AsyncIterator[Page]:
    async with drawing_page(browser, server) as page:
        yield page


async def test_long_answer_is_shown_in_parts(page: Page) -> None:
    text = "x" * 1_000_000
    await page.evaluate("(content) => answer({ id: 'a', role: 'assistant', content })", text)
    shown = page.locator("#place .body")
    await expect(page.locator("#place .more").first).to_have_text("Show more (934,464 characters)")
    assert len(await shown.text_content() or "") == 65_536
    await page.locator("#place .more").first.click()

    await expect(page.locator("#place .more").first).to_have_text("Show more (868,928 characters)")
    assert len(await shown.text_content() or "") == 131_072


async def test_citations_lead_to_their_sources(page: Page) -> None:
    sources = [
        {"n": 1, "file": "guide/a.md", "heading": "Start", "passage": "The words themselves."},
        {"n": 2, "file": "evil\u202etxt.exe"},
        {"n": "x", "file": 3},
    ]
    message = {"id": "a", "role": "assistant", "content": "So it is [1], and [2], not [3].", "metadata": {}}
    await page.evaluate("(message) => answer(message, true)", message)
    assert await page.locator("#place .cite").count() == 0
    await page.evaluate("(message) => answer(message)", {**message, "metadata": {"sources": sources}})

    await expect(page.locator("#place button.cite")).to_have_text(["[1]", "[2]"])
    await expect(page.locator("#place .assistant > .sources .file")).to_have_text(["guide/a.md", "evil\\u202etxt.exe"])
    await expect(page.locator("#place .passage")).to_have_text(["The words themselves."])
    await expect(page.locator("#place .body")).to_have_text("So it is [1], and [2], not [3].")


async def test_tool_calls_are_cards_that_tell_how_they_stand(page: Page) -> None:
    calls = [
        {"id": name, "function": {"name": name, "arguments": '{"q": "<b>"}'}}
        for name in ("runs", "waits", "works", "fails", "refused")
    ]
    results: list[dict[str, Any]] = [
        {"id": "1", "role": "tool", "toolCallId": "works", "content": '{"a":[1]}'},
        {"id": "2", "role": "tool", "toolCallId": "fails", "content": "no", "error": "it broke"},
        {
            "id": "3",
            "role": "tool",
            "toolCallId": "refused",
            "content": "declined by the user",
            "metadata": {"sessionstream": {"status": "declined"}},
        },
    ]
    results[0]["metadata"] = {"sources": [{"n": 1, "file": "found.md", "text": "What was found."}]}
    pending = [{"id": "i", "reason": "approval", "toolCallId": "waits", "answered": False}]
    message = {"id": "a", "role": "assistant", "toolCalls": calls}
    await page.evaluate("(given) => answer(...given)", [message, False, results, pending])
    states = page.locator("#place .call .state")
    await expect(states).to_have_text(["Running …", "Waiting for you", "Done", "Failed", "Declined"])
    await page.evaluate("document.querySelectorAll('#place details').forEach((one) => (one.open = true))")

    works, fails = page.locator("#place .call").nth(2), page.locator("#place .call").nth(3)
    await expect(works.locator("pre.arguments")).to_have_text('{\n  "q": "<b>"\n}')
    await expect(works.locator("pre.result")).to_have_text('{\n  "a": [\n    1\n  ]\n}')
    await expect(works.locator(".passage")).to_have_text("What was found.")
    await expect(fails.locator("pre.result")).to_have_text("it broke")
    assert await page.evaluate("document.querySelectorAll('#place .call b').length") == 0


async def test_long_tool_result_is_bounded(page: Page) -> None:
    message = {"id": "a", "role": "assistant", "toolCalls": [{"id": "c", "function": {"name": "n" * 500}}]}
    message["toolCalls"][0]["function"]["arguments"] = "{}"  # type: ignore[index]  # we just made it
    result = {"id": "1", "role": "tool", "toolCallId": "c", "content": "y" * 1_000_000}
    await page.evaluate("(given) => answer(...given)", [message, False, [result]])
    await page.evaluate("document.querySelector('#place details').open = true")

    assert len(await page.locator("#place pre.result").text_content() or "") == 4000
    await expect(page.locator("#place .result-value .more")).to_have_text("Show more (996,000 characters)")
    assert await page.evaluate("document.documentElement.scrollWidth") == WIDTH


async def test_reasoning_is_folded_and_drawn_when_it_is_opened(page: Page) -> None:
    message = {"id": "r", "role": "reasoning", "content": "I *think*"}
    await page.evaluate("(message) => reasoning(message, true)", message)
    await expect(page.locator("#place summary")).to_have_text("Thinking …")
    assert await page.locator("#place .body").text_content() == ""
    await page.locator("#place summary").click()
    await expect(page.locator("#place .body em")).to_have_text("think")
    await page.evaluate("(message) => reasoning(message)", {**message, "content": "I *think* so"})

    await expect(page.locator("#place .body")).to_have_text("I think so")
    await expect(page.locator("#place summary")).to_have_text("Reasoning")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_parts_are_accessible(page: Page, scheme: Any) -> None:
    await page.emulate_media(color_scheme=scheme)
    code = "```python\n@wraps(f)\ndef f(x: int) -> str:\n    return f'{x}' + \"y\"  # why 42\n```"
    text = f"# A\n\ntext [1] [a](https://x.test) `code` ~~gone~~\n\n{code}\n\n- [x] a\n\n> q\n\n| a |\n|--|\n| 1 |"
    sources = {"sources": [{"n": 1, "file": "a.md", "heading": "H", "passage": "Words."}]}
    calls = [{"id": name, "function": {"name": name, "arguments": "{}"}} for name in ("a", "b", "c")]
    results = [{"id": "1", "role": "tool", "toolCallId": "a", "content": "x", "error": "it broke"}]
    pending = [{"id": "i", "reason": "approval", "toolCallId": "b", "answered": False}]
    message = {"id": "a", "role": "assistant", "content": text, "toolCalls": calls, "metadata": sources}
    await page.evaluate("(given) => answer(...given)", [message, False, results, pending])
    await page.evaluate(
        "() => { const list = document.createElement('ol'); const place = document.querySelector('#place');"
        " list.append(...place.children); place.append(list);"
        " place.querySelectorAll('details').forEach((one) => (one.open = true)); }"
    )
    await expect(page.locator("#place .hl-keyword").first).to_be_visible()
    await page.evaluate(_axe())

    assert await page.evaluate(VIOLATIONS) == []


def _axe() -> str:
    return AXE.read_text(encoding="utf-8")


async def test_answer_of_a_real_run_is_drawn_by_the_page(browser: Browser, server: ServerProcess) -> None:
    said = {"steps": [{"tool": {"name": "search", "args": {"q": "x"}}}, {"text": "**Found** `it`.\n\n" + HOSTILE}]}
    context = await browser.new_context(extra_http_headers={"X-Forwarded-User": "reader"})
    page = await context.new_page()
    await page.goto(server.url)
    await page.locator("textarea").first.fill(json.dumps(said))
    await page.locator("textarea").first.press("Enter")
    await expect(page.locator(".assistant .body strong")).to_have_text("Found", timeout=WAIT_MS)
    await expect(page.locator(".assistant .call .state")).to_have_text("Done")

    assert await page.evaluate("window.hit") is None
    await context.close()


async def test_page_does_not_wait_for_the_parser(browser: Browser, server: ServerProcess) -> None:
    """It can be written to before; the answer is drawn as soon as its parser has come."""
    context = await browser.new_context(extra_http_headers={"X-Forwarded-User": "early"})
    page = await context.new_page()
    may_come = anyio.Event()

    async def hold(route: Route) -> None:
        await may_come.wait()
        await route.continue_()

    await page.route("**/static/vendor/marked/marked.js", hold)
    await page.goto(server.url)
    await page.get_by_test_id("composer").fill(json.dumps({"steps": [{"text": "**Found** it"}]}))
    await page.get_by_test_id("composer").press("Enter")
    answer = page.locator(".assistant[data-status=finished] > .body")
    await expect(answer).to_have_count(1, timeout=WAIT_MS)
    assert await answer.locator("strong").count() == 0
    may_come.set()
    await expect(answer.locator("strong")).to_have_text("Found", timeout=WAIT_MS)
    await context.close()


async def test_parser_that_a_restart_kept_away_is_asked_for_again(browser: Browser, server: ServerProcess) -> None:
    context = await browser.new_context(extra_http_headers={"X-Forwarded-User": "restarted"})
    page = await context.new_page()
    parser = "**/static/vendor/marked/marked.js"
    async with page.expect_event("requestfailed", lambda request: request.url.endswith("/marked.js")):
        await page.route(parser, lambda route: route.abort())
        await page.goto(server.url)
    await page.get_by_test_id("composer").fill(json.dumps({"steps": [{"text": "**Found** it"}]}))
    await page.get_by_test_id("composer").press("Enter")
    answer = page.locator(".assistant[data-status=finished] > .body")
    await expect(answer).to_have_text("**Found** it", timeout=WAIT_MS)
    await page.unroute(parser)

    await expect(answer.locator("strong")).to_have_text("Found", timeout=WAIT_MS)
    await context.close()


async def test_answer_can_be_read_where_the_parser_does_not_come(browser: Browser, server: ServerProcess) -> None:
    context = await browser.new_context(extra_http_headers={"X-Forwarded-User": "without"})
    page = await context.new_page()
    await page.route("**/static/vendor/marked/marked.js", lambda route: route.abort())
    await page.goto(server.url)
    await page.get_by_test_id("composer").fill(json.dumps({"steps": [{"text": "**Found** <b>it</b>"}]}))
    await page.get_by_test_id("composer").press("Enter")
    await expect(page.locator(".assistant > .body")).to_have_text("**Found** <b>it</b>", timeout=WAIT_MS)

    assert await page.locator(".assistant > .body b").count() == 0
    await context.close()
