"""What somebody hostile would write, as message, title, name of an agent's tool, result, source and question."""

from __future__ import annotations

import json

import pytest
from playwright.async_api import Browser, expect

from tests.browser.pages import DESKTOP, PHONE, Tab, opened, script
from tests.browser.serving import ServerProcess

pytestmark = pytest.mark.anyio

MARKUP = (
    "<script>window.hit=1</script><img src=x onerror='window.hit=2'><svg onload='window.hit=3'></svg>"
    "<style>*{display:none!important}</style><iframe srcdoc='<script>parent.hit=4</script>'></iframe>"
    "<a href='javascript:window.hit=5'>a</a><b onclick='window.hit=6'>b</b>"
)
BIDI = "\u202egnp.exe\u2066 \u2067evil\u200f"
LINE = "x" * 1_000_000
TABLE = "\n".join(["| " + "cell | " * 60, "|" + "---|" * 60, *["| " + "1 | " * 60] * 60])
INSIDE = "document.querySelectorAll('main script, main iframe, main img[src=x], main svg[onload], main style').length"
FITS = "[document.documentElement.scrollWidth <= innerWidth, document.documentElement.scrollHeight <= innerHeight]"


async def _is_unharmed(tab: Tab) -> None:
    await expect(tab.composer).to_be_visible()
    assert await tab.page.evaluate("window.hit") is None
    assert await tab.page.evaluate(INSIDE) == 0
    assert await tab.page.evaluate(FITS) == [True, True]
    assert [line for line in tab.complaints if "Content Security Policy" not in line] == []


def _said(text: str) -> dict[str, object]:
    # Titles with characters that turn text around are refused by the server.
    title = "bidi" if text.startswith(BIDI) else text[:200]
    return {"version": 1, "session": {"title": title}, "messages": _messages(text)}


def _messages(text: str) -> list[dict[str, object]]:
    call = {"id": "c1", "type": "function", "function": {"name": "search", "arguments": json.dumps({"query": text})}}
    sources = [{"n": 1, "file": f"{text[:300]}.md", "heading": text[:300]}]
    return [
        {"id": "m1", "role": "user", "content": text},
        {"id": "m2", "role": "assistant", "content": text, "toolCalls": [call], "metadata": {"sources": sources}},
        {"id": "m3", "role": "tool", "toolCallId": "c1", "content": text},
        {"id": "m4", "role": "system", "content": text},
        {"id": "m5", "role": "assistant", "content": f"[1] {text}", "metadata": {"sources": sources}},
    ]


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("text", [MARKUP, BIDI * 20, LINE, TABLE], ids=["markup", "bidi", "line", "table"])
async def test_nothing_runs_and_the_layout_holds(
    browser: Browser, server: ServerProcess, size: dict[str, int], text: str
) -> None:
    async with opened(browser, server, viewport=size) as tab:
        session = await tab.post("/api/sessions/import", _said(text))
        await tab.open(f"/#/s/{session['session_id']}")
        await expect(tab.answers).to_have_count(2)
        for summary in await tab.page.locator(".call summary").all():
            await summary.click()

        await _is_unharmed(tab)
        assert await tab.page.evaluate("document.querySelector('#transcript').scrollWidth") <= size["width"]


async def test_hostile_words_of_a_person_are_only_words(tab: Tab) -> None:
    await tab.page.get_by_label("Name", exact=True).fill(MARKUP[:190])
    await tab.send_and_wait(MARKUP)
    await expect(tab.questions).to_have_text(MARKUP)
    await tab.page.click("#session-menu")
    await tab.page.keyboard.press("Escape")
    await tab.page.reload()
    await expect(tab.questions).to_have_text(MARKUP)
    await tab.sessions.first.focus()
    await tab.page.keyboard.press("Delete")
    await expect(tab.page.locator(".toast")).to_contain_text("<script>")

    await _is_unharmed(tab)


async def test_link_that_would_run_is_text(tab: Tab) -> None:
    await tab.send_and_wait(script({"text": "[x](javascript:window.hit=1) [y](data:text/html,z) [z](https://x.test/)"}))

    links = tab.answers.locator("a")
    await expect(links).to_have_count(1)
    await expect(links).to_have_attribute("rel", "noopener noreferrer nofollow")
    await _is_unharmed(tab)


async def test_text_that_turns_around_turns_nothing_else(tab: Tab) -> None:
    await tab.send_and_wait(f"report{BIDI}")

    assert "\u202e" not in await tab.page.title()
    age = tab.sessions.first.locator(".about")
    await expect(age).to_have_text("now · 2 messages")
    boxes = [await one.bounding_box() for one in (tab.sessions.first.locator(".title"), age)]
    left, right = [box["x"] for box in boxes if box]
    assert left == right


async def test_right_to_left_stands_at_the_right_and_code_does_not(tab: Tab) -> None:
    await tab.send_and_wait(script({"text": "שלום עולם\n\nEnglish\n\n```\ncode\n```"}))

    direction = "(e) => getComputedStyle(e).unicodeBidi"
    assert await tab.answers.locator("p").first.evaluate(direction) == "plaintext"
    assert await tab.answers.locator("pre").evaluate("(e) => getComputedStyle(e).direction") == "ltr"


async def test_emoji_and_chinese_come_through_whole(tab: Tab) -> None:
    text = "👨‍👩‍👧 日本語のテキスト 한국어 🇩🇪 e\u0301"
    await tab.send_and_wait(text)

    await expect(tab.questions).to_have_text(text)
    await expect(tab.sessions.first.locator(".title")).to_have_text(text)
    await tab.send_and_wait(script({"emoji": {"split": True}}))
    await expect(tab.answers.last).to_have_text("👨‍👩‍👧")


async def test_no_request_leaves_the_server(tab: Tab) -> None:
    await tab.send_and_wait(script({"text": "![x](https://x.test/a.png) <img src=https://x.test/b.png>"}))

    assert [one for one in tab.requests if not one.split(" ")[1].startswith((tab.url, "data:"))] == []
