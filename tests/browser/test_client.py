"""ChatManager as a page uses it: what it shows, sends again, and says when something does not work."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Route

from tests.browser.serving import ServerProcess, serve
from tests.browser.tabs import ENDED, Tab, Windows, script, slowly

pytestmark = pytest.mark.anyio


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    async with serve(tmp_path) as server:
        yield server


@pytest.fixture
async def tab(own: Windows) -> AsyncIterator[Tab]:
    tab = await own.open()
    yield tab
    assert tab.complaints == []


async def test_message_is_shown_before_it_is_sent_and_stands_there_once(own: Windows, tab: Tab) -> None:
    await tab.follow(reconnectDelay=100)
    shown = await tab.run("(chat) => { chat.sendMessage('hello'); return chat.messages; }")
    await tab.until(ENDED)

    assert [(one["content"], one["metadata"]["sessionstream"]["status"]) for one in shown] == [("hello", "sending")]
    messages = await tab.messages()
    assert [one["role"] for one in messages] == ["user", "assistant"]
    assert messages[0]["id"] == shown[0]["id"]
    assert messages == await own.stored(tab)


async def test_events_say_what_changed(tab: Tab) -> None:
    await tab.run(
        """() => {
          const chat = (window.chat = new client.ChatManager());
          window.heard = [];
          for (const name of ["messages", "state", "run", "connection"]) {
            chat.on(name, (value) => window.heard.push([name, value?.status ?? value?.phase]));
          }
          chat.addEventListener("run", ({ detail }) => window.heard.push(["listener", detail.status]));
          return chat.connect();
        }"""
    )
    await tab.send("hello")
    await tab.until("chat.run?.status === 'finished' && chat.connection.phase === 'live'")
    heard = [tuple(one) for one in await tab.run("() => heard")]

    assert {name for name, _ in heard} == {"messages", "state", "run", "connection", "listener"}
    assert [status for name, status in heard if name == "run"][-1] == "finished"
    assert ("listener", "finished") in heard
    assert [phase for name, phase in heard if name == "connection"] == ["connecting", "live"]


async def test_post_whose_answer_was_lost_is_repeated_and_counts_once(own: Windows, tab: Tab) -> None:
    bodies: list[Any] = []

    async def lose_first_answer(route: Route) -> None:
        bodies.append(route.request.post_data_json)
        if len(bodies) > 1:
            await route.continue_()
            return
        await route.fetch()
        await route.abort()

    await own.context.route("**/api/chat", lose_first_answer)
    await tab.follow(reconnectDelay=100)
    answer = await tab.send("hello")
    await tab.until(ENDED)

    assert len(bodies) == 2
    assert bodies[0] == bodies[1]
    assert answer["message_id"] == bodies[0]["message_id"]
    assert [one["role"] for one in await own.stored(tab)] == ["user", "assistant"]


async def test_message_is_kept_while_the_server_is_away_and_over_a_reload(
    own: Windows, tab: Tab, server: ServerProcess
) -> None:
    await tab.follow(reconnectDelay=100)
    await tab.send("first")
    await tab.until(ENDED)
    session_id = await tab.session_id()
    await server.stop()
    await tab.run("(chat) => void chat.sendMessage('second')")
    await tab.until("chat.outgoing[0]?.phase === 'waiting'")
    await server.start()
    await tab.page.reload()
    await tab.page.wait_for_function("window.client")
    await tab.follow(session_id, reconnectDelay=100)
    await tab.until("chat.view.messages.length === 4 && !chat.state.run && chat.outgoing.length === 0")

    assert [one["content"] for one in await own.stored(tab) if one["role"] == "user"] == ["first", "second"]


async def test_refused_message_says_why_and_does_not_hold_up_the_next(tab: Tab) -> None:
    await tab.follow(maxMessageLength=2_000_000)
    code = await tab.run("(chat) => chat.sendMessage('x'.repeat(100_001)).catch(({ code }) => code)")
    await tab.send("hello")
    await tab.until(ENDED)

    assert code == "invalid_field"
    assert (await tab.messages())[-1]["metadata"]["sessionstream"]["status"] == "refused"
    text = await tab.run("(chat) => chat.cancelMessage(chat.outgoing[0].message_id)")
    assert len(text) == 100_001
    assert await tab.run("(chat) => chat.outgoing") == []


@pytest.mark.parametrize("text", ["", " \n", "toolong"])
async def test_message_that_is_empty_or_too_long_is_not_sent(tab: Tab, text: str) -> None:
    await tab.follow(maxMessageLength=6)
    code = await tab.run("(chat, text) => chat.sendMessage(text).catch(({ code }) => code)", text)

    assert code == "invalid_message"
    assert await tab.messages() == []
    assert await tab.run("() => errors") == ["invalid_message"]


async def test_length_counts_characters_and_not_their_halves(tab: Tab) -> None:
    await tab.follow(maxMessageLength=2)
    await tab.send("🙂🙂")
    await tab.until(ENDED)


async def test_refused_stream_comes_back_with_back_off_and_says_why(own: Windows, tab: Tab) -> None:
    refusals: list[str] = []

    async def refuse(route: Route) -> None:
        refusals.append(route.request.url)
        if len(refusals) > 2:
            await route.continue_()
            return
        await route.fulfill(status=503, body="busy", content_type="text/plain")

    await own.context.route("**/api/chat/stream?*", refuse)
    await tab.follow(reconnectDelay=50)
    phases = "(chat) => { window.phases = []; chat.on('connection', ({ phase }) => window.phases.push(phase)); }"
    await tab.run(phases)
    await tab.send("hello")
    await tab.until("chat.connection.phase === 'live'")

    assert "waiting" in await tab.run("() => phases")
    assert len(refusals) == 3
    assert await tab.run("() => errors") == []


async def test_deleted_session_ends_with_the_reason(own: Windows, tab: Tab) -> None:
    await tab.follow()
    await tab.send("hello")
    await tab.until(ENDED)
    await tab.run("(chat) => chat.disconnect()")
    async with own.asking() as client:
        await client.delete(f"/api/sessions/{await tab.session_id()}")
    await tab.run("(chat) => chat.connect()")
    await tab.until("chat.problem")

    assert (await tab.run("(chat) => chat.connection"))["phase"] == "ended"
    assert (await tab.run("(chat) => chat.problem"))["code"] == "session_deleted"
    assert len(await tab.messages()) == 2


async def test_deletion_is_heard_while_connected(own: Windows, tab: Tab) -> None:
    other = await own.open()
    await tab.follow()
    await tab.send("hello")
    await tab.until(ENDED)
    await other.follow(await tab.session_id())
    async with own.asking() as client:
        await client.delete(f"/api/sessions/{await tab.session_id()}")
    for one in (tab, other):
        await one.until("chat.problem?.code === 'session_deleted'")


async def test_client_gives_up_when_told_so_and_goes_on_when_woken(tab: Tab, server: ServerProcess) -> None:
    await tab.follow(reconnectAttempts=2, reconnectDelay=50)
    await tab.send("hello")
    await tab.until(ENDED)
    await server.stop()
    await tab.until("chat.connection.phase === 'failed'")
    reason = await tab.run("(chat) => chat.connection.reason")
    await server.start()
    await tab.run("(chat) => chat.wake()")
    await tab.until("chat.connection.phase === 'live'")

    assert reason["code"] == "unreachable"


async def test_unknown_session_is_a_plain_answer_and_a_message_makes_it(own: Windows, tab: Tab) -> None:
    other = await own.open()
    await tab.follow("nowhere")
    await other.follow("nowhere")
    problem = await tab.run("(chat) => chat.problem")
    await tab.send("hello")
    for one in (tab, other):
        await one.until(ENDED)

    assert problem["code"] == "session_not_found"
    assert await tab.run("(chat) => chat.problem") is None
    assert await tab.messages() == await other.messages()


async def test_another_session_leaves_nothing_of_the_first(tab: Tab) -> None:
    await tab.follow()
    await tab.send(slowly(400))
    await tab.until("chat.view.messages.at(-1)?.content?.includes('w3 ')")
    first = await tab.session_id()
    await tab.run("(chat) => chat.setSessionId('')")
    shown = await tab.messages()
    await tab.send("second")
    await tab.until(ENDED)
    assert shown == []
    assert await tab.session_id() != first
    assert (await tab.messages())[0]["content"] == "second"

    await tab.run("(chat, id) => chat.setSessionId(id)", first)
    await tab.run("(chat) => chat.interrupt()")
    await tab.until("chat.run.status === 'stopped'")
    assert (await tab.last_text()).startswith("w0 w1 w2 w3 ")


async def test_interrupt_says_at_once_that_it_stops(own: Windows, tab: Tab) -> None:
    await tab.follow()
    await tab.send(slowly(400))
    await tab.until("chat.view.messages.at(-1)?.content?.includes('w3 ')")
    status = await tab.run("(chat) => { void chat.interrupt(); return chat.run.status; }")
    await tab.until("chat.run.status === 'stopped'")

    assert status == "stopping"
    assert await tab.messages() == await own.stored(tab)


async def test_queue_is_shown_and_can_be_left(tab: Tab) -> None:
    await tab.follow()
    await tab.send(slowly(400))
    queued = await tab.send("second")
    await tab.until("chat.state.queue.length === 1 && chat.outgoing.length === 0")
    text = await tab.run("(chat, id) => chat.cancelMessage(id)", queued["message_id"])
    await tab.until("chat.state.queue.length === 0")
    await tab.run("(chat) => chat.interrupt()")
    await tab.until("chat.run.status === 'stopped'")

    assert (queued["status"], text) == ("queued", "second")
    assert len(await tab.messages()) == 2


async def test_system_messages_and_wallet_reports_are_in_the_session(own: Windows, tab: Tab) -> None:
    await tab.follow()
    await tab.run("(chat) => chat.sendSystemMessage('be brief')")
    await tab.run("(chat) => chat.sendNetworkSwitchRequest({ chainId: '0x1' }, { respond: false })")
    await tab.run("(chat) => chat.sendTransactionResult({ hash: '0xabc' }, { respond: false })")
    await tab.until("chat.messages.length === 3")
    messages = await tab.messages()

    assert [one["role"] for one in messages] == ["system"] * 3
    assert messages[0]["content"] == "be brief"
    assert messages[1]["content"] == '{"type":"network_switch_request","network":{"chainId":"0x1"}}'
    assert messages[2]["content"] == '{"type":"transaction_result","result":{"hash":"0xabc"}}'
    assert messages == await own.stored(tab)


async def test_tool_result_for_no_question_is_an_error_that_is_told(tab: Tab) -> None:
    await tab.follow()
    await tab.send(script({"tool": {"name": "search", "args": {}}}))
    await tab.until(ENDED)
    code = await tab.run("(chat) => chat.sendToolResult('none', 'x').catch(({ code }) => code)")

    assert code in await tab.run("() => errors")
