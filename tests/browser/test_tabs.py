"""Many tabs of one browser, over HTTP/1.1 with its six connections: each is live, and they always agree."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from playwright.async_api import Browser

from tests.browser.serving import ServerProcess, serve
from tests.browser.tabs import Tab, Windows, slowly, windows, words

TABS = 12
MOST_STREAMS = 4
"""Three of sessions and that of the list: two of the six connections stay free for requests."""
RELOADS = 50

pytestmark = pytest.mark.anyio


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    async with serve(tmp_path) as server:
        yield server


async def session(own: Windows, tab: Tab) -> str:
    """Begin a session in a tab; return its id."""
    await tab.follow()
    await tab.send("hello")
    await ended(tab)
    return await tab.session_id()


async def ended(*tabs: Tab, messages: int = 0) -> None:
    """Wait until the run is over in every tab, and so many messages are there."""
    for tab in tabs:
        await tab.until("chat.messages.length >= argument && chat.view.messages.length && !chat.state.run", messages)


async def agree(own: Windows, session_id: str, *tabs: Tab) -> None:
    """Check that every tab shows what the server has."""
    stored = (await own.state_of(session_id))["messages"]
    for tab in tabs:
        assert await tab.messages() == stored
        assert tab.complaints == []


async def test_twelve_tabs_of_one_session_share_one_connection(own: Windows) -> None:
    tabs = await own.open_all(TABS)
    session_id = await session(own, tabs[0])
    async with anyio.create_task_group() as opening:
        for tab in tabs[1:]:
            opening.start_soon(tab.follow, session_id)
    for tab in tabs:
        await tab.run("() => list.connect()")
    await tabs[7].send(slowly(30))
    for tab in tabs:
        await tab.until("chat.state.run && chat.view.messages.at(-1).role === 'assistant'")
    streams = await own.open_streams()
    await ended(*tabs, messages=4)
    await tabs[3].run("(chat) => chat.sendSystemMessage('noted')")
    for tab in tabs:
        await tab.until("chat.messages.length === 5 && chat.connection.phase === 'live'")

    assert sorted("sessions/stream" in url for url in streams) == [False, True]
    assert (await tabs[11].last_text()).split() == words(30)
    await agree(own, session_id, *tabs)
    for tab in tabs:
        await tab.page.wait_for_function("id => list.all[id].message_count === 5", arg=session_id)


async def test_twelve_tabs_of_twelve_sessions_leave_room_for_requests(own: Windows) -> None:
    tabs = await own.open_all(TABS)
    for tab in tabs:
        await tab.run("() => list.connect()")
        await tab.follow()
    async with anyio.create_task_group() as sending:
        for tab in tabs:
            sending.start_soon(tab.send, slowly(60))
    await ended(*tabs, messages=2)

    assert 1 < await own.most_streams() <= MOST_STREAMS
    for tab in tabs:
        assert (await tab.last_text()).split() == words(60)
        await tab.page.wait_for_function(f"Object.keys(list.all).length === {TABS}")
        await agree(own, await tab.session_id(), tab)


async def test_hidden_tab_gives_its_connection_up_and_comes_back_by_cursor(own: Windows) -> None:
    hidden, *others = await own.open_all(4)
    session_id = await session(own, hidden)
    await hidden.until("chat.connection.phase === 'live'")
    await hidden.run("() => hide(true)")
    for tab in others:
        await session(own, tab)
    for tab in others:
        await tab.until("window.sources.at(-1).readyState === 1")
    assert not any(session_id in url for url in await own.open_streams())

    async with own.asking() as client:
        await client.post("/api/chat", json={"session_id": session_id, "message": slowly(5), "wait": True})
    before = len(own.streams)
    await hidden.run("() => hide(false)")
    await ended(hidden, messages=4)

    await agree(own, session_id, hidden)
    first = next(url for url in own.streams[before:] if session_id in url)
    assert "last_event_id=" in first


async def test_tab_that_leads_is_closed_in_mid_answer_and_another_goes_on(own: Windows) -> None:
    leader, *others = await own.open_all(3)
    session_id = await session(own, leader)
    for tab in others:
        await tab.follow(session_id)
    await others[0].send(slowly(60))
    await others[1].until("chat.view.messages.at(-1).content?.includes('w5 ')")
    await leader.page.close()
    await ended(*others, messages=4)

    assert (await others[0].last_text()).split() == words(60)
    await agree(own, session_id, *others)


async def test_hidden_leader_hands_over_to_a_tab_that_is_seen(own: Windows) -> None:
    leader, other = await own.open_all(2)
    session_id = await session(own, leader)
    await other.follow(session_id)
    await leader.run("() => hide(true)")
    await other.until("window.sources.at(-1)?.readyState === 1")
    await other.send(slowly(5))
    await ended(leader, other, messages=4)

    assert len(await own.open_streams()) == 1
    await agree(own, session_id, leader, other)


async def test_suspended_leader_is_replaced_and_catches_up(own: Windows) -> None:
    leader, other = await own.open_all(2)
    session_id = await session(own, leader)
    await other.follow(session_id)
    devtools = await own.context.new_cdp_session(leader.page)
    # As a machine does with a tab that nobody looks at: no line of it runs any more.
    await devtools.send("Debugger.enable")
    await devtools.send("Debugger.pause")
    await other.send(slowly(5))
    await other.run("(chat) => chat.wake()")
    await ended(other, messages=4)
    await devtools.send("Debugger.disable")
    await ended(leader, messages=4)

    await agree(own, session_id, leader, other)
    await leader.page.wait_for_function("window.sources.every(({ readyState }) => readyState === 2)")
    assert len(await own.open_streams()) == 1


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_three_tabs_come_back_after_the_server_and_agree(
    own: Windows, server: ServerProcess, how: signal.Signals
) -> None:
    tabs = await own.open_all(3)
    session_id = await session(own, tabs[0])
    for tab in tabs[1:]:
        await tab.follow(session_id)
    other = await own.open()
    await session(own, other)
    await tabs[1].send(slowly(1000))
    for tab in tabs:
        await tab.until("chat.view.messages.at(-1).content?.includes('w9 ')")
    await server.stop(how)
    for tab in (*tabs, other):
        await tab.until("['reconnecting', 'waiting'].includes(chat.connection.phase)")
    await server.start()
    await ended(*tabs, messages=4)
    for tab in (*tabs, other):
        await tab.until("chat.connection.phase === 'live'")

    assert (await tabs[0].run("(chat) => chat.run"))["status"] == "stopped"
    await agree(own, session_id, *tabs)
    await other.send("again")
    await ended(other, messages=4)


async def test_stop_from_another_tab_shows_the_same_text_in_both(own: Windows) -> None:
    first, second = await own.open_all(2)
    session_id = await session(own, first)
    await second.follow(session_id)
    await first.send(slowly(1000))
    await second.until("chat.view.messages.at(-1).content?.includes('w9 ')")
    outcome = await second.run("(chat) => chat.interrupt()")
    for tab in (first, second):
        await tab.until("chat.run.status === 'stopped'")

    assert outcome["outcome"] == "stopped"
    assert await first.last_text() == await second.last_text()
    await agree(own, session_id, first, second)


async def test_reload_in_mid_answer_never_shows_less(own: Windows) -> None:
    tab = await own.open()
    session_id = await session(own, tab)
    await tab.send(slowly(100_000))
    seen = ""
    for _ in range(RELOADS):
        await tab.page.reload()
        await tab.page.wait_for_function("window.client")
        await tab.follow(session_id)
        await tab.until("chat.view.messages.at(-1).content?.length > argument", len(seen))
        for text in await tab.run("() => shown.slice(shown.findIndex(Boolean))"):
            assert text.startswith(seen)
            seen = text
    await tab.run("(chat) => chat.interrupt()")
    await ended(tab, messages=4)

    last = (await tab.last_text()).split()
    assert last == words(len(last))
    await agree(own, session_id, tab)


async def test_without_web_locks_each_seen_tab_has_its_own_connection(browser: Browser, server: ServerProcess) -> None:
    """Plain HTTP beyond loopback, a machine in the house say, has none."""
    async with windows(browser, server) as own:
        await own.context.add_init_script("Object.defineProperty(Navigator.prototype, 'locks', { value: undefined })")
        first, second, third = await own.open_all(3)
        session_id = await session(own, first)
        await second.follow(session_id)
        await second.send(slowly(30))
        await ended(first, second, messages=4)
        await agree(own, session_id, first, second)
        await first.run("() => hide(true)")
        await second.run("() => hide(true)")
        await session(own, third)

        await first.page.wait_for_function("window.sources.every(({ readyState }) => readyState === 2)")
        await second.page.wait_for_function("window.sources.every(({ readyState }) => readyState === 2)")


async def test_frozen_leader_lets_go_at_once_and_catches_up(own: Windows) -> None:
    """What browsers do with tabs in the background, after a while."""
    leader, other = await own.open_all(2)
    session_id = await session(own, leader)
    await other.follow(session_id)
    devtools = await own.context.new_cdp_session(leader.page)
    await other.send(slowly(60))
    await other.until("chat.view.messages.at(-1).content?.includes('w5 ')")
    await devtools.send("Page.setWebLifecycleState", {"state": "frozen"})
    await ended(other, messages=4)
    await devtools.send("Page.setWebLifecycleState", {"state": "active"})
    await ended(leader, messages=4)

    assert (await other.last_text()).split() == words(60)
    await agree(own, session_id, leader, other)
    assert len(await own.open_streams()) == 1


async def test_leader_that_the_browser_keeps_for_going_back_holds_nothing(own: Windows) -> None:
    leader, other = await own.open_all(2)
    session_id = await session(own, leader)
    await other.follow(session_id)
    passing = "(type) => window.dispatchEvent(new PageTransitionEvent(type, { persisted: true }))"
    await leader.page.evaluate(passing, "pagehide")
    await other.until("window.sources.at(-1)?.readyState === 1")
    streams = await own.open_streams()
    await other.send(slowly(5))
    await ended(other, messages=4)
    await leader.page.evaluate(passing, "pageshow")
    await ended(leader, messages=4)

    assert len(streams) == 1
    await agree(own, session_id, leader, other)
    assert len(await own.open_streams()) == 1


async def test_tabs_tell_each_other_what_is_new_and_not_the_whole_session(own: Windows) -> None:
    leader, other = await own.open_all(2)
    await leader.follow(maxMessageLength=90_000)
    await leader.send("x" * 90_000)
    await ended(leader)
    session_id = await leader.session_id()
    await other.follow(session_id)
    await other.run(
        """(chat, id) => {
          window.sizes = [];
          const channel = new BroadcastChannel(`${new URL("/api/", location.href)} session ${id}`);
          channel.onmessage = ({ data }) => window.sizes.push(JSON.stringify(data).length);
        }""",
        session_id,
    )
    await leader.send(slowly(30))
    await ended(leader, other, messages=4)
    await agree(own, session_id, leader, other)
    sizes = await other.run("() => sizes")

    assert len(sizes) > 30
    assert max(sizes) < 2000


async def test_tab_that_was_opened_in_the_background_shows_the_session_when_it_is_seen(own: Windows) -> None:
    leader, other = await own.open_all(2)
    session_id = await session(own, leader)
    await other.run("() => hide(true)")
    await other.follow(session_id)
    await agree(own, session_id, other)
    await leader.page.close()
    async with own.asking() as client:
        await client.post("/api/chat", json={"session_id": session_id, "message": slowly(5), "wait": True})
    assert await own.open_streams() == []

    await other.run("() => hide(false)")
    await ended(other, messages=4)
    await agree(own, session_id, other)


async def test_message_to_a_suspended_leader_is_answered_in_the_tab_that_sent_it(own: Windows) -> None:
    """Nobody has to wait for the next look around, or to press anything."""
    leader, other = await own.open_all(2)
    session_id = await session(own, leader)
    await other.follow(session_id)
    devtools = await own.context.new_cdp_session(leader.page)
    await devtools.send("Debugger.enable")
    await devtools.send("Debugger.pause")
    await other.send("are you there?")
    await ended(other, messages=4)
    await devtools.send("Debugger.disable")
    await ended(leader, messages=4)

    await agree(own, session_id, leader, other)


async def test_suspended_tabs_do_not_keep_their_places(own: Windows) -> None:
    """A machine that stops tabs in the background does not tell them before: they cannot give anything up."""
    *stopped, tab = await own.open_all(4)
    for one in stopped:
        await session(own, one)
        await one.until("window.sources.at(-1).readyState === 1")
    for one in stopped:
        devtools = await own.context.new_cdp_session(one.page)
        await devtools.send("Debugger.enable")
        await devtools.send("Debugger.pause")
    await tab.follow()
    await tab.send("hello")
    await ended(tab)
    await tab.until("chat.connection.phase === 'live'")
    await tab.send("again")
    await ended(tab, messages=4)

    assert tab.complaints == []
