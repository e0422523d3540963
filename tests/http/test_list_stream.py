"""GET /api/sessions/stream: a snapshot, then what changed; applied, they equal GET /api/sessions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scripts.blackbox.arena import script, stall
from scripts.blackbox.caller import Caller
from tests.http.kit import Tail, ask, kinds, new_session, opened, start, streaming

LIST = "/api/sessions/stream"


def shown(tail: Tail) -> dict[str, dict[str, Any]]:
    """Return the list as this client has it."""
    sessions: dict[str, dict[str, Any]] = tail.fold.state["sessions"]
    return sessions


async def until(tail: Tail, is_so: Callable[[dict[str, dict[str, Any]]], bool]) -> None:
    """Read until the list is so."""
    await tail.until(lambda _: "sessions" in tail.fold.state and is_so(shown(tail)))


async def asked(caller: Caller) -> dict[str, dict[str, Any]]:
    """Return the list as GET answers it."""
    page = (await caller.call("GET", "/api/sessions", query={"limit": 200})).json()
    return {session["session_id"]: session for session in page["sessions"]}


async def test_a_list_begins_with_a_snapshot_in_a_housekeeping_run(user: Caller) -> None:
    await ask(user, "hello", session_id="a")
    await new_session(user, session_id="b")
    async with streaming(user, LIST) as tail:
        frames = await tail.until(lambda frame: frame.event["type"] == "RUN_FINISHED")

    assert kinds(frames) == ["RUN_STARTED", "STATE_SNAPSHOT", "RUN_FINISHED"]
    assert frames[0].event["runId"].startswith("sync-")
    assert all(frame.cursor is None for frame in frames)
    assert list(shown(tail)) == ["b", "a"]
    assert shown(tail) == await asked(user)


async def test_the_headers_are_those_of_a_stream(user: Caller) -> None:
    async with streaming(user, LIST) as tail:
        headers = tail.stream.headers

    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["cache-control"] == "no-store, no-transform"
    assert headers["x-accel-buffering"] == "no"


async def test_new_renamed_running_finished_and_deleted_sessions_come_as_patches(user: Caller) -> None:
    await new_session(user, session_id="old")
    async with streaming(user, LIST) as tail:
        await until(tail, lambda sessions: list(sessions) == ["old"])
        await new_session(user, session_id="new")
        await until(tail, lambda sessions: "new" in sessions)
        await user.call("PATCH", "/api/sessions/new", {"title": "renamed"})
        await until(tail, lambda sessions: sessions["new"]["title"] == "renamed")
        receipt = await start(user, script(stall(60)), session_id="new")
        await until(tail, lambda sessions: sessions["new"]["run"] is not None)
        running = shown(tail)["new"]["run"]
        await user.interrupt("new")
        await until(tail, lambda sessions: sessions["new"]["run"] is None)
        await until(tail, lambda sessions: sessions["new"]["message_count"] == 1)
        assert shown(tail) == await asked(user)
        await user.call("DELETE", "/api/sessions/new")
        await until(tail, lambda sessions: list(sessions) == ["old"])

    assert running == {"run_id": receipt["run_id"], "status": "running"}


async def test_after_many_changes_the_list_equals_the_answer(user: Caller) -> None:
    async with streaming(user, LIST) as tail:
        await tail.until(lambda frame: frame.event["type"] == "STATE_SNAPSHOT")
        for number in range(6):
            await ask(user, f"hello {number}", session_id=f"s{number}")
        await user.call("DELETE", "/api/sessions/s3")
        await user.call("PATCH", "/api/sessions/s1", {"title": "renamed", "persona": "pirate"})
        await user.call("DELETE", "/api/sessions/s0/messages")
        answered = await asked(user)
        await until(tail, lambda sessions: sessions == answered)

    assert list(answered) != []


async def test_changes_are_coalesced(user: Caller) -> None:
    await new_session(user, session_id="s")
    async with streaming(user, LIST) as tail:
        await tail.until(lambda frame: frame.event["type"] == "RUN_FINISHED")
        for number in range(30):
            await user.call("PATCH", "/api/sessions/s", {"title": f"title {number}"})
        frames = await tail.until(lambda _: shown(tail)["s"]["title"] == "title 29")

    assert 1 <= kinds(frames).count("STATE_DELTA") < 15


async def test_a_session_is_in_its_owners_list_only(user: Caller, other: Caller, admin: Caller) -> None:
    async with streaming(user, LIST) as mine, streaming(other, LIST) as theirs, streaming(admin, LIST) as local:
        for tail in (mine, theirs, local):
            await tail.until(lambda frame: frame.event["type"] == "RUN_FINISHED")
        await new_session(user, session_id="mine", title="a secret")
        await new_session(other, session_id="theirs")
        await new_session(admin, session_id=f"of-{user.user}")
        await until(mine, lambda sessions: "mine" in sessions)
        await until(theirs, lambda sessions: "theirs" in sessions)
        await until(local, lambda sessions: f"of-{user.user}" in sessions)

    assert list(shown(mine)) == ["mine"]
    assert list(shown(theirs)) == ["theirs"]
    assert not {"mine", "theirs"} & set(shown(local))


async def test_a_stream_that_opens_a_session_puts_it_on_the_list(user: Caller) -> None:
    async with streaming(user, LIST) as tail:
        await tail.until(lambda frame: frame.event["type"] == "RUN_FINISHED")
        async with opened(user, "fresh"):
            await until(tail, lambda sessions: "fresh" in sessions)


async def test_a_path_that_an_id_spells_is_escaped(user: Caller) -> None:
    async with streaming(user, LIST) as tail:
        await tail.until(lambda frame: frame.event["type"] == "RUN_FINISHED")
        await new_session(user, session_id="a.b:c-0")
        await until(tail, lambda sessions: "a.b:c-0" in sessions)
