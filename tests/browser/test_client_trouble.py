"""ChatManager where something goes wrong: lost answers, refusals, browsers that forbid things; and open questions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Route

from tests.browser.serving import ServerProcess, serve
from tests.browser.tabs import ENDED, Tab, Windows, slowly, windows

pytestmark = pytest.mark.anyio


@pytest.fixture
async def tab(own: Windows) -> AsyncIterator[Tab]:
    tab = await own.open()
    yield tab
    assert tab.complaints == []


async def test_lost_answer_to_a_message_that_is_shown_is_no_failure(own: Windows, tab: Tab) -> None:
    await tab.follow(reconnectDelay=50)
    await tab.send("first")
    await tab.until(ENDED)
    bodies: list[Any] = []

    async def lose_first_answer(route: Route) -> None:
        bodies.append(route.request.post_data_json)
        if len(bodies) > 1:
            await route.continue_()
            return
        await route.fetch()
        await tab.until("chat.view.messages.length === 4 && chat.outgoing.length === 0")
        await route.abort()

    await own.context.route("**/api/chat", lose_first_answer)
    answer = await tab.send("second")

    assert [body["message_id"] for body in bodies] == [answer["message_id"]] * 2
    assert await tab.run("() => errors") == []
    assert [one["content"] for one in await own.stored(tab) if one["role"] == "user"] == ["first", "second"]


async def test_cancelled_message_is_not_sent_again(own: Windows, tab: Tab) -> None:
    posted: list[Any] = []

    async def away(route: Route) -> None:
        body: Any = route.request.post_data_json
        posted.append(body["message"])
        if posted == ["never"]:
            await tab.run("(chat) => chat.cancelMessage(chat.outgoing[0].message_id)")
        if posted == ["never"] or posted[-1] == "later":
            await route.abort()
            return
        await route.continue_()

    await own.context.route("**/api/chat", away)
    await tab.follow(reconnectDelay=50)
    refused = await tab.run("(chat) => chat.sendMessage('never').catch(({ code }) => code)")
    await tab.run("(chat) => void chat.sendMessage('later').catch(() => 0)")
    await tab.until("chat.outgoing[0]?.phase === 'waiting'")
    await tab.run("(chat) => chat.cancelMessage(chat.outgoing[0].message_id)")
    await tab.send("hello")
    await tab.until(ENDED)

    assert refused == "unreachable"
    assert [one for one in posted if one != "later"] == ["never", "hello"]
    assert [one["content"] for one in await own.stored(tab) if one["role"] == "user"] == ["hello"]


async def test_stop_before_the_run_is_known_stops_the_message(tab: Tab, own: Windows) -> None:
    await tab.follow()
    await tab.send("hello")
    await tab.until(ENDED)
    await tab.run(
        """async (chat, text) => {
          const sent = chat.sendMessage(text);
          await chat.interrupt();
          await sent;
        }""",
        slowly(1000),
    )
    await tab.until("chat.view.messages.filter(({ role }) => role === 'user').length === 2 && !chat.state.run")

    assert (await tab.run("(chat) => chat.run"))["status"] == "stopped"
    assert await tab.messages() == await own.stored(tab)


async def test_refused_identity_is_told_and_a_second_try_works(own: Windows, tab: Tab) -> None:
    """Who is logged out is not at a session that ended: it is there again after logging in."""
    await tab.follow()
    await tab.send("hello")
    await tab.until(ENDED)
    session_id = await tab.session_id()
    problem = '{"status": 401, "code": "unauthenticated", "detail": "Log in.", "retryable": false}'

    async def refuse(route: Route) -> None:
        await route.fulfill(status=401, body=problem, content_type="application/problem+json")

    await own.context.route("**/api/**", refuse)
    await tab.run("(chat) => chat.setSessionId('')")
    await tab.run("(chat, id) => chat.setSessionId(id)", session_id)
    status = await tab.run("(chat) => chat.connection")
    shown = await tab.run("(chat) => chat.problem")
    await own.context.unroute("**/api/**")
    await tab.run("(chat) => chat.wake()")
    await tab.until(ENDED)

    assert status == {"phase": "failed", "reason": {"code": "unauthenticated", "detail": "Log in."}}
    assert shown is None
    assert await tab.run("() => errors") == ["unauthenticated"]


async def test_stream_that_needs_a_new_login_says_so(own: Windows, tab: Tab) -> None:
    async def refuse(route: Route) -> None:
        await route.fulfill(status=401, body='{"code": "unauthenticated"}', content_type="application/problem+json")

    await tab.follow(reconnectDelay=50)
    await own.context.route("**/api/chat/stream?*", refuse)
    await own.context.route("**/api/state?*", refuse)
    await tab.send("hello")
    await tab.until("chat.connection.phase === 'failed'")

    assert (await tab.run("(chat) => chat.connection"))["reason"]["code"] == "unauthenticated"


async def test_refusal_for_now_is_waited_out_under_the_same_id(own: Windows, tab: Tab) -> None:
    bodies: list[Any] = []

    async def limit(route: Route) -> None:
        bodies.append(route.request.post_data_json)
        if len(bodies) > 1:
            await route.continue_()
            return
        problem = '{"status": 429, "code": "rate_limited", "detail": "Slowly.", "retryable": true}'
        kind = "application/problem+json"
        await route.fulfill(status=429, body=problem, content_type=kind, headers={"Retry-After": "3600"})

    await own.context.route("**/api/chat", limit)
    await tab.follow(reconnectDelay=50)
    await tab.run("(chat) => void chat.sendMessage('hello')")
    await tab.until("chat.outgoing[0]?.phase === 'waiting'")
    waiting = await tab.run("(chat) => [chat.outgoing[0].detail, chat.outgoing[0].until - Date.now() > 3_000_000]")
    await tab.run("(chat) => chat.retryMessage(chat.outgoing[0].message_id)")
    await tab.until(ENDED)

    assert waiting == ["Slowly.", True]
    assert len(bodies) == 2
    assert bodies[0] == bodies[1]


async def test_session_that_is_left_while_it_connects_shows_nothing_of_it(own: Windows, tab: Tab) -> None:
    await tab.follow()
    await tab.send("first")
    await tab.until(ENDED)
    first = await tab.session_id()
    await tab.run("(chat) => chat.setSessionId('')")
    await tab.send("second")
    await tab.until(ENDED)
    second = await tab.session_id()

    async def slow(route: Route) -> None:
        if first in route.request.url:
            await tab.page.wait_for_function("window.isSwitched")
        await route.continue_()

    await own.context.route("**/api/state?*", slow)
    shown = await tab.run(
        """async (chat, [first, second]) => {
          const texts = new Set();
          chat.on("messages", ([message]) => message && texts.add(message.content));
          const opening = [chat.setSessionId(first), chat.setSessionId(second)];
          await Promise.race(opening);
          window.isSwitched = true;
          await Promise.all(opening);
          return [...texts];
        }""",
        [first, second],
    )
    await tab.until("chat.connection.phase === 'live'")

    assert shown == ["second"]
    assert await tab.session_id() == second


async def test_without_storage_everything_works_but_the_reload(browser: Browser, server: ServerProcess) -> None:
    """Private windows of some browsers, and frames with blocked cookies: all of these throw."""
    async with windows(browser, server) as own:
        await own.context.add_init_script(
            """const refuse = () => { throw new DOMException("no", "SecurityError"); };
            Object.defineProperty(window, "sessionStorage", { get: refuse });
            Object.defineProperty(window, "localStorage", { get: refuse });
            window.BroadcastChannel = class { constructor() { refuse(); } };
            LockManager.prototype.request = async () => refuse();
            LockManager.prototype.query = async () => refuse();"""
        )
        first, second = await own.open(), await own.open()
        await first.follow()
        await first.send("hello")
        await first.until(ENDED)
        await second.follow(await first.session_id())
        await second.send(slowly(5))
        for tab in (first, second):
            await tab.until("chat.messages.length === 4 && !chat.state.run && chat.connection.phase === 'live'")
            assert await tab.messages() == await own.stored(first)
            assert tab.complaints == []


ASKER = """async def agent(turn):
    if turn.resume:
        yield "Done."
        return
    yield {"type": "TOOL_CALL_START", "toolCallId": turn.run_id, "toolCallName": "send_transaction"}
    yield {"type": "TOOL_CALL_END", "toolCallId": turn.run_id}
    question = {"id": f"q-{turn.run_id}", "reason": "tool_call", "toolCallId": turn.run_id}
    yield {"type": "RUN_FINISHED", "outcome": {"type": "interrupt", "interrupts": [question]}}
"""
ASKING = '[agents.asker]\nkind = "python"\nentrypoint = "asker:agent"\n'


async def test_question_is_in_the_state_of_all_tabs_until_it_is_answered(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "asker.py").write_text(ASKER, encoding="utf-8")
    async with serve(tmp_path, ASKING) as server, windows(browser, server) as own:
        tab, other = await own.open(), await own.open()
        await tab.follow()
        await tab.send("pay")
        await tab.until("chat.state.pending?.length === 1 && !chat.state.run")
        await other.follow(await tab.session_id())
        question = (await other.run("(chat) => chat.state.pending"))[0]
        await other.run("(chat) => chat.sendTransactionResult({ hash: '0xabc' })")
        for one in (tab, other):
            await one.until("chat.messages.length === 4 && !chat.state.run && !chat.state.pending?.length")
            assert await one.messages() == await own.stored(tab)
            assert one.complaints == []
        await tab.send("again")
        await tab.until("chat.state.pending?.length === 1 && !chat.state.run")
        await tab.run("(chat) => chat.sendToolResult(chat.state.pending[0].toolCallId, '', 'no money')")
        await tab.until("chat.messages.length === 8 && !chat.state.run")

        assert (question["toolCallName"], question["answered"]) == ("send_transaction", False)
        results = [one["content"] for one in await tab.messages() if one["role"] == "tool"]
        assert results[0] == '{"hash":"0xabc"}'
        assert "no money" in results[1]
