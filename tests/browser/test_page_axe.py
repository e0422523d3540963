"""Accessibility: axe-core finds nothing on any view, light and dark, on a desk and on a phone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.browser.pages import DESKTOP, PHONE, Tab, opened, script, slowly
from tests.browser.serving import ServerProcess

pytestmark = pytest.mark.anyio

AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
RICH = """# Title

Text with `code`, **strong**, a [link](https://example.org/) and a list:

1. one
2. two

> quoted

```js
const answer = 42; // a comment
```

| name | value |
|---|---:|
| one | 1 |
"""
RUN = """async () => {
  const { violations } = await axe.run(document, { resultTypes: ["violations"] });
  return violations.map(({ id, nodes }) => [id, nodes.map(({ html, failureSummary }) => [html, failureSummary])]);
}"""

DARK = "rgb(20, 23, 22)"

View = Callable[[Tab], Awaitable[None]]


async def _empty(tab: Tab) -> None:
    await expect(tab.page.locator("#hints")).to_be_visible()
    await expect(tab.page.locator("#agent option")).to_have_count(1)


async def _answered(tab: Tab) -> None:
    tool = {"tool": {"name": "search", "args": {"query": "x"}}}
    await tab.send_and_wait(script({"reasoning": "so"}, {"text": RICH}, tool))
    for summary in await tab.page.locator("summary").all():
        await summary.click()
    await tab.send(script({"raise": "no"}))
    await expect(tab.page.locator(".ending")).to_be_visible()


async def _queued(tab: Tab) -> None:
    await tab.send(slowly(2000))
    await expect(tab.streaming).to_contain_text("w1 ")
    await tab.send("second")
    await tab.send("third")
    await expect(tab.queue).to_have_count(2)
    await tab.queue.nth(1).get_by_role("button", name="Edit").click()


async def _changed(tab: Tab) -> None:
    await tab.send_and_wait("hello")
    await tab.composer.press("ArrowUp")
    await tab.composer.fill("changed")
    await tab.composer.press("Enter")
    await expect(tab.answers).to_contain_text("changed")
    await tab.page.get_by_role("button", name="show the first attempt").click()
    await tab.composer.press("ArrowUp")


async def _menu(tab: Tab) -> None:
    await tab.send_and_wait("hello")
    await tab.page.click("#session-menu")


async def _sheet(tab: Tab) -> None:
    await tab.page.keyboard.press("Control+/")


async def _deleted(tab: Tab) -> None:
    await tab.send_and_wait("hello")
    await tab.page.click("#session-menu")
    await tab.page.get_by_role("menuitem", name="Delete").click()
    await expect(tab.page.locator(".toast")).to_be_visible()
    await tab.page.keyboard.press("Control+K")
    await tab.page.keyboard.type("zebra")
    await expect(tab.page.locator("#sessions-note")).to_contain_text("No chat matches.")


async def _missing(tab: Tab) -> None:
    await tab.open("/#/s/nowhere")
    await expect(tab.page.locator("#problem")).to_be_visible()


async def _asked(tab: Tab) -> None:
    interrupt = {"id": "a1", "reason": "approval", "message": "May I?"}
    outcome = {"type": "interrupt", "interrupts": [interrupt]}
    await tab.send(script({"event": {"type": "RUN_FINISHED", "outcome": outcome}}))
    await expect(tab.page.get_by_test_id("approval")).to_be_visible()


async def _form(tab: Tab) -> None:
    fields = {"guests": {"type": "integer"}, "place": {"enum": ["in", "out"]}, "reminder": {"type": "boolean"}}
    schemas = [{"type": "object", "properties": fields}, {"enum": ["one", "two"]}, {"type": "string"}]
    asked = [
        {"id": f"a{number}", "reason": "input", "message": "What?", "responseSchema": schema}
        for number, schema in enumerate(schemas)
    ]
    await tab.send(script({"event": {"type": "RUN_FINISHED", "outcome": {"type": "interrupt", "interrupts": asked}}}))
    await expect(tab.page.get_by_test_id("approval")).to_have_count(3)
    await tab.page.get_by_role("button", name="one", exact=True).click()
    await expect(tab.page.locator(".answered:visible")).to_have_count(1)


async def _offline(tab: Tab) -> None:
    await tab.send_and_wait("hello")
    await tab.page.context.set_offline(True)
    await tab.page.evaluate("window.dispatchEvent(new Event('offline'))")
    await tab.send("kept")
    await expect(tab.message("user", "waiting")).to_be_visible()


async def _drawer(tab: Tab) -> None:
    await tab.send_and_wait("hello")
    if await tab.page.locator("#open-drawer").is_visible():
        await tab.page.click("#open-drawer")


VIEWS = [_empty, _answered, _queued, _changed, _menu, _sheet, _deleted, _missing, _asked, _form, _offline, _drawer]


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.__name__.strip("_"))
async def test_axe_finds_nothing(browser: Browser, server: ServerProcess, view: View, size: dict[str, int]) -> None:
    async with opened(browser, server, viewport=size, color_scheme="light", reduced_motion="reduce") as tab:
        await view(tab)
        # Evaluated, not loaded: the page's own CSP would not let it in.
        await tab.page.evaluate(AXE.read_text(encoding="utf-8"))

        assert await tab.page.evaluate(RUN) == []
        await tab.page.emulate_media(color_scheme="dark")
        await expect(tab.page.locator("body")).to_have_css("background-color", DARK)
        assert await tab.page.evaluate(RUN) == []
