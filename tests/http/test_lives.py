"""When a session expires, what keeps it alive, and that one which left memory comes back unnoticed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from scripts.blackbox.arena import emit, script, stall
from scripts.blackbox.caller import Caller
from scripts.blackbox.fold import differences
from scripts.blackbox.process import Server
from tests.http.kit import (
    Tail,
    ask,
    check_problem,
    eventually,
    new_session,
    opened,
    resumed,
    serving,
    somebody,
    start,
    streaming,
)

LIST = "/api/sessions/stream"


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server whose sessions live for a second or so."""
    settings = {"SESSION_TIMEOUT_MINUTES": "0.02", "CLEANUP_INTERVAL_SECONDS": "0.1", "IDLE_MEMORY_SECONDS": "0.1"}
    async with serving(tmp_path_factory.mktemp("lives"), **settings) as running:
        yield running


@pytest.fixture(scope="module")
async def forgetful(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server whose sessions live for ever, but leave memory at once, and whose logs collapse at once."""
    settings = {
        "SESSION_TIMEOUT_MINUTES": "0",
        "IDLE_MEMORY_SECONDS": "0.2",
        "CLEANUP_INTERVAL_SECONDS": "0.1",
        "RESUME_WINDOW_SECONDS": "0",
    }
    async with serving(tmp_path_factory.mktemp("forgetful"), **settings) as running:
        yield running


async def has_come_and_gone(tail: Tail, session_id: str) -> None:
    """Read a list stream until a session was on it and is no more."""
    await tail.until(lambda _: session_id in tail.fold.state.get("sessions", ()))
    await tail.until(lambda _: session_id not in tail.fold.state["sessions"])


async def test_a_silent_session_expires_and_is_gone(user: Caller) -> None:
    async with streaming(user, LIST) as tail:
        await ask(user, "a needle", session_id="s")
        await has_come_and_gone(tail, "s")
    stats = (await user.call("GET", "/api/stats")).json()

    check_problem(await user.call("GET", "/api/sessions/s"), "session_expired")
    check_problem(await user.chat("hello", session_id="s"), "session_expired")
    check_problem(await (await user.stream("s")).refusal(), "session_expired")
    assert (await user.call("GET", "/api/sessions?q=needle")).json()["count"] == 0
    assert stats["expired"] == {"last_hour": 1, "last_day": 1}
    assert (stats["sessions"]["active"], stats["sessions"]["ended"]) == (0, 1)


async def test_an_open_stream_keeps_its_session_alive(user: Caller) -> None:
    await new_session(user, session_id="watched")
    async with opened(user, "watched") as watching, streaming(user, LIST) as tail:
        await watching.snapshot()
        # Younger than the one that is watched: when this one is gone, the other's time was over too.
        await new_session(user, session_id="silent")
        await has_come_and_gone(tail, "silent")

        assert (await user.call("GET", "/api/sessions/watched")).status == 200


async def test_an_active_run_keeps_its_session_alive(user: Caller) -> None:
    await start(user, script(stall(60)), session_id="working")
    async with streaming(user, LIST) as tail:
        await new_session(user, session_id="silent")
        await has_come_and_gone(tail, "silent")

        assert (await user.call("GET", "/api/sessions/working")).json()["run"] is not None
        await user.interrupt("working")
        await tail.until(lambda _: "working" not in tail.fold.state["sessions"])


async def test_a_stream_that_ends_leaves_the_whole_time_to_come_back(user: Caller) -> None:
    await new_session(user, session_id="watched")
    async with streaming(user, LIST) as tail:
        async with opened(user, "watched") as watching:
            await watching.snapshot()
            await new_session(user, session_id="silent")
            await has_come_and_gone(tail, "silent")
        before = tail.fold.state["sessions"]["watched"]["last_activity"]
        await tail.until(lambda _: tail.fold.state["sessions"]["watched"]["last_activity"] > before)
        await tail.until(lambda _: "watched" not in tail.fold.state["sessions"])


async def test_an_expired_session_leaves_no_rows(server: Server, user: Caller) -> None:
    async with streaming(user, LIST) as tail:
        await ask(user, script(emit(20, 0)), session_id="s")
        await has_come_and_gone(tail, "s")

    async def is_empty() -> bool:
        rows = server.rows()
        # The journal keeps one empty row, to go on counting from.
        return rows["journal"] <= 1 and not any(rows[name] for name in ("sessions", "runs", "messages", "log"))

    await eventually(is_empty)


async def test_a_session_that_never_expires_says_so(forgetful: Server) -> None:
    user = somebody(forgetful)
    await new_session(user, session_id="s")

    assert (await user.call("GET", "/api/sessions/s")).json()["expires_at"] is None


async def is_resumed(user: Caller, session_id: str, cursor: str) -> bool:
    """Say whether a cursor is still honoured exactly."""
    async with opened(user, session_id, cursor, folds=False) as tail:
        frame = await tail.next()
    return frame is not None and resumed(frame.event) is not False


async def test_a_session_that_left_memory_comes_back_as_it_was(forgetful: Server) -> None:
    user = somebody(forgetful)
    await new_session(user, session_id="s", title="kept", metadata={"a": 1})
    async with opened(user, "s") as tail:
        await tail.snapshot()
        steps: tuple[dict[str, Any], ...] = (emit(12, 200), {"state": [{"op": "add", "path": "/n", "value": 1}]})
        receipt = await start(user, script(*steps), session_id="s", message_id="m")
        frames = await tail.end_of(receipt["run_id"])
    deltas = [frame for frame in frames if frame.event["type"] == "TEXT_MESSAGE_CONTENT"]
    state = (await user.state("s")).json()

    # In memory a cursor between two deltas is honoured; the collapsed log, which is all that is left, has none such.
    async def has_left_memory() -> bool:
        return not await is_resumed(user, "s", str(deltas[5].cursor))

    await eventually(has_left_memory, step_s=0.6)
    again = (await user.state("s")).json()
    repeated = await user.chat(script(*steps), session_id="s", message_id="m")
    async with opened(user, "s", tail.cursor, fold=tail.fold) as later:
        await ask(user, "next", session_id="s")
        state_later = (await user.state("s")).json()
        await later.until(lambda frame: frame.cursor == state_later["cursor"])

    assert again == {**state, "session": again["session"], "state": again["state"]}
    for one in (state, again):
        del one["session"]["last_activity"], one["state"]
    assert again["session"] == state["session"]
    assert repeated.json()["run_id"] == receipt["run_id"]
    assert differences(later.fold, state_later) == []


async def test_a_collapsed_log_still_leads_from_the_end_of_each_event_it_kept(forgetful: Server) -> None:
    user = somebody(forgetful)
    async with opened(user, "s") as tail:
        await tail.snapshot()
        receipt = await start(user, script(emit(12, 200)), session_id="s")
        frames = await tail.end_of(receipt["run_id"])
    middle = next(frame for frame in frames if frame.event["type"] == "TEXT_MESSAGE_CONTENT" and "w3" in str(frame))

    async def has_collapsed() -> bool:
        return not await is_resumed(user, "s", str(middle.cursor))

    await eventually(has_collapsed, step_s=0.6)
    async with opened(user, "s", str(frames[0].cursor), folds=False) as later:
        rest = await later.end_of(receipt["run_id"])
    text = "".join(frame.event["delta"] for frame in rest if frame.event["type"] == "TEXT_MESSAGE_CONTENT")

    assert text.endswith("".join(f"w{number} " for number in range(12)))
    assert [frame.cursor for frame in rest][-1] == frames[-1].cursor
    assert len(rest) < len(frames)
