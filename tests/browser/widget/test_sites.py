"""Two sites, each with visitors of its own; who may embed what; and what stands in the way of who may not."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.browser.widget.shop import Browsing, Shop, Tab

pytestmark = pytest.mark.anyio

_KEPT = "() => JSON.parse(localStorage.getItem(Object.keys(localStorage).find((key) => key.includes('widget'))))"
_STORES = """() => {
  try { localStorage.setItem("x", "1"); localStorage.removeItem("x"); return true; } catch { return false; }
}"""


async def test_sites_talk_to_the_agent_and_see_nothing_of_each_other(shop: Shop, any_browser: Browsing) -> None:
    """Neither do two of one host, on two ports."""
    before = len(shop.sessions())
    sites = (shop.first, shop.second, shop.neighbour)
    tabs = [await (await any_browser.tab(site)).open() for site in sites]
    for tab, secret in zip(tabs, ("one", "two", "three"), strict=True):
        await expect(tab.questions).to_have_count(0)
        await tab.ask_and_wait(secret)
    for tab, secret in zip(tabs, ("one", "two", "three"), strict=True):
        await tab.page.reload()
        await expect(tab.questions).to_have_text([f"You: {secret}"])
        assert tab.errors == []

    made = shop.sessions()[before:]
    assert [row[:2] for row in made] == [(host, "support") for host in ("localhost", "127.0.0.2", "127.0.0.2")]
    assert len({owner for _, _, owner in made}) == 3
    written = await tabs[0].frame_now().evaluate("() => { document.cookie = 'a=1'; return document.cookie }")
    assert written == ""
    assert await any_browser.context.cookies() == []


async def test_the_browsers_of_these_tests_are_what_they_are_called(
    shop: Shop, browser: Browsing, bare_browser: Browsing
) -> None:
    for browsing, can_store in ((browser, True), (bare_browser, False)):
        tab = await (await browsing.tab(shop.first)).open()
        assert await tab.frame_now().evaluate(_STORES) == can_store


async def test_what_waits_to_be_sent_waits_for_its_own_site(shop: Shop, browser: Browsing) -> None:
    tab = await (await browser.tab(shop.second)).open()
    await tab.ask_and_wait("before")
    await tab.page.route("**/api/chat", lambda route: route.abort())
    await tab.ask("still to be sent")
    await expect(tab.questions).to_have_count(2)
    await tab.page.goto(shop.neighbour.origin)
    await tab.bubble.click()
    await expect(tab.greeting).to_be_visible()
    await expect(tab.questions).to_have_count(0)
    await tab.page.unroute("**/api/chat")
    await tab.page.goto(shop.second.origin)

    await expect(tab.answers.last).to_contain_text("You said still to be sent")
    await expect(tab.questions).to_have_text(["You: before", "You: still to be sent"])


async def test_the_frame_keeps_the_token_to_itself_and_renews_it_on_another_day(shop: Shop, tab: Tab) -> None:
    await tab.ask_and_wait("before")
    around = await tab.page.evaluate("() => JSON.stringify({...localStorage}) + JSON.stringify({...sessionStorage})")
    before = await tab.frame_now().evaluate(_KEPT)
    assert before["token"]
    assert "token" not in around
    assert "voucher" not in around + str(before)
    await tab.frame_now().evaluate("""() => {
      const key = Object.keys(localStorage).find((name) => name.includes('widget'));
      const kept = JSON.parse(localStorage.getItem(key));
      localStorage.setItem(key, JSON.stringify({ ...kept, since: String(Date.now() - 2 * 86_400_000) }));
    }""")
    async with tab.page.expect_response(f"{shop.server.url}/api/widget") as renewed:
        await tab.page.reload()

    assert (await renewed.value).status == 201
    await expect(tab.questions).to_have_text(["You: before"])
    await tab.ask_and_wait("after")
    after = await tab.frame_now().evaluate(_KEPT)
    assert float(after["since"]) >= float(before["since"])
    assert after["sessionId"] == before["sessionId"]


async def test_nothing_that_says_who_somebody_is_stands_in_an_address_or_in_the_log(
    shop: Shop, any_browser: Browsing
) -> None:
    tab = await any_browser.tab(shop.first)
    addresses: list[str] = []
    secrets: list[str] = []
    tab.page.on("request", lambda request: addresses.append(request.url))
    tab.page.on("request", lambda request: secrets.append(request.headers.get("authorization", "")))
    async with tab.page.expect_response(f"{shop.server.url}/api/widget") as admitted:
        await tab.open()
        await tab.ask_and_wait("hi")
    secrets += [str(value) for value in (await (await admitted.value).json()).values()][:2]
    secrets += [str(((await admitted.value).request.post_data_json or {})["ticket"])]
    words = [secret.removeprefix("Bearer ").removeprefix("widget.") for secret in secrets if secret]

    assert len(set(words)) >= 3
    assert [url for url in addresses for word in words if word in url] == []
    log = shop.server.log.read_text(encoding="utf-8")
    assert [word for word in words if word in log] == []


async def test_a_site_that_is_not_allowed_is_told_why_and_can_frame_nothing(shop: Shop, browser: Browsing) -> None:
    tab = await browser.tab(shop.stranger)
    async with tab.page.expect_console_message(lambda said: "[sessionstream]" in said.text) as said:
        await tab.go()
    text = (await said.value).text
    assert shop.stranger.origin in text
    assert "'support'" in text
    assert "allowed_origins" in text
    await expect(tab.bubble).to_have_count(0)

    for path in ("/widget?agent=support", "/", "/widget?agent=inner", "/stats"):
        async with tab.page.expect_console_message(lambda said: "frame-ancestors" in said.text):
            await tab.page.goto(f"{shop.stranger.origin}/framing?path={path}")


async def test_a_site_that_is_allowed_can_frame_the_widget_alone(shop: Shop, browser: Browsing) -> None:
    """And not from within a page that is not allowed, which could lay something over what is approved by a click."""
    tab = await browser.tab(shop.first)
    async with tab.page.expect_console_message(lambda said: "frame-ancestors" in said.text):
        await tab.page.goto(f"{shop.first.origin}/framing?path=/")
    await tab.page.goto(f"{shop.first.origin}/framing?path=/widget?agent=support")
    await expect(tab.page.frame_locator("iframe").locator("#outside")).to_be_visible()

    outer = await browser.tab(shop.stranger)
    async with outer.page.expect_console_message(lambda said: "frame-ancestors" in said.text):
        await outer.page.goto(f"{shop.stranger.origin}/nesting?url={shop.first.origin}/")
        await outer.page.frame_locator("iframe").get_by_test_id("widget-bubble").click()


async def test_by_itself_the_page_says_what_it_is_for(shop: Shop, browser: Browsing) -> None:
    tab = await browser.tab(shop.first)
    await tab.page.goto(f"{shop.server.url}/widget?agent=support")

    await expect(tab.page.locator("#outside")).to_be_visible()
    await expect(tab.page.get_by_test_id("composer")).to_be_hidden()
    assert tab.errors == []


async def test_nobody_who_does_not_open_it_costs_the_server_anything(shop: Shop, browser: Browsing) -> None:
    tab = await browser.tab(shop.first)
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url.removeprefix(shop.server.url)))
    await tab.go()
    await expect(tab.bubble).to_be_visible()

    beside = [path for path in asked if path.startswith("/") and not path.startswith("/static/widget/around/")]
    assert beside == ["/static/widget.js", "/api/widget?agent=support"]
    assert len(asked) < 12
