"""For everybody: axe-core finds nothing in any view, and it looks as the person, or the page around, wishes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any, Final

import pytest
from playwright.async_api import expect

from tests.browser.pages import DESKTOP, PHONE
from tests.browser.test_page_axe import AXE, RUN
from tests.browser.widget.shop import Browsing, Shop, Tab

pytestmark = pytest.mark.anyio

_RICH: Final = """\
a [link](https://example.org/), `code` and

```js
let a = 42; // why
```

| a | b |
|---|---|
| 1 | 2 |
"""
_NUMBERS: Final = count()


async def _closed(tab: Tab, _shop: Shop) -> None:
    await tab.go()
    await expect(tab.bubble).to_be_visible()


async def _running(tab: Tab, _shop: Shop) -> None:
    await tab.bubble.click()
    await tab.ask(f"wait here {next(_NUMBERS)}")
    await expect(tab.answers).to_contain_text("You said")


async def _unread(tab: Tab, shop: Shop) -> None:
    question = (await tab.questions.locator(".text").text_content()) or ""
    await tab.bubble.click()
    shop.open_gate(question)
    await expect(tab.bubble).to_have_accessible_name("Open Chat, 1 unread")


async def _answered(tab: Tab, _shop: Shop) -> None:
    await tab.open("?color=orange")
    await tab.ask(_RICH)
    await expect(tab.answers.locator("table")).to_be_visible()
    await tab.ask("break")
    await expect(tab.inside.locator(".widget-ending")).to_be_visible()


async def _asked(tab: Tab, _shop: Shop) -> None:
    await tab.go("?color=%23123456")
    await tab.ask("remove it")
    await expect(tab.inside.get_by_test_id("approval")).to_be_visible()


async def _unsent(tab: Tab, _shop: Shop) -> None:
    await tab.new.click()
    await tab.page.route("**/api/chat", lambda route: route.fulfill(status=400, body="{}"))
    await tab.ask("kept")
    await expect(tab.inside.get_by_text("Not sent.")).to_be_visible()


_VIEWS: Final[list[Callable[[Tab, Shop], Awaitable[None]]]] = [_closed, _running, _unread, _answered, _asked, _unsent]


@pytest.mark.parametrize(("scheme", "size"), [("light", DESKTOP), ("dark", PHONE)], ids=["light", "dark"])
async def test_axe_finds_nothing(shop: Shop, browser: Browsing, scheme: Any, size: dict[str, int]) -> None:
    """Light on a desk and dark on a phone: colours do not depend on the width, nor widths on the colours."""
    tab = await browser.tab(shop.first)
    await tab.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    axe = AXE.read_text(encoding="utf-8")
    for view in _VIEWS:
        await view(tab, shop)
        await tab.page.set_viewport_size({"width": size["width"], "height": size["height"]})
        for frame in tab.page.frames:
            # Evaluated, not loaded: the pages' own policies would not let it in.
            await frame.evaluate(f"if (!globalThis.axe) {{ {axe} }}")
            assert await frame.evaluate(RUN) == [], (view.__name__, frame.url)
        await tab.page.set_viewport_size({"width": DESKTOP["width"], "height": DESKTOP["height"]})


async def test_it_is_light_or_dark_as_the_person_likes_unless_the_page_is_always_so(
    shop: Shop, browser: Browsing
) -> None:
    tab = await (await browser.tab(shop.first)).open()
    colour = "el => getComputedStyle(el).backgroundColor.match(/\\d+/g).map(Number).reduce((a, b) => a + b)"
    for scheme in ("light", "dark"):
        await tab.page.emulate_media(color_scheme=scheme)
        assert (await tab.inside.locator("body").evaluate(colour) > 600) == (scheme == "light")
    await tab.go("?theme=light")

    await expect(tab.panel).to_have_css("background-color", "rgb(255, 255, 255)")
    await expect(tab.inside.locator("body")).to_have_css("background-color", "rgb(255, 255, 255)")
    await expect(tab.bubble).to_have_css("background-color", "rgb(15, 118, 110)")


async def test_it_is_not_printed_and_does_not_move_for_who_does_not_like_that(tab: Tab) -> None:
    await tab.page.emulate_media(reduced_motion="reduce")
    await expect(tab.panel).to_have_css("animation-name", "none")
    await expect(tab.bubble).to_have_css("transition-property", "none")
    await tab.page.emulate_media(media="print")

    await expect(tab.bubble).to_be_hidden()
    await expect(tab.panel).to_be_hidden()
