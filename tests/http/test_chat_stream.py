"""POST /api/chat with `Accept: text/event-stream`: the run's own events, with the state before any change of it."""

from __future__ import annotations

from typing import Any

from scripts.blackbox.arena import emit, fail, script, stall
from scripts.blackbox.caller import Caller
from scripts.blackbox.fold import differences
from tests.http.kit import UUID7, ask, kinds, opened, start, streaming

COUNTING: list[dict[str, Any]] = [
    {"state": [{"op": "add", "path": "/list", "value": []}]},
    *({"state": [{"op": "add", "path": "/list/-", "value": number}]} for number in range(20)),
]


async def test_a_streamed_answer_is_the_runs_own_events_and_ends_with_them(user: Caller) -> None:
    await ask(user, "before", session_id="s")
    body = {"message": script(emit(3, 0)), "session_id": "s", "message_id": "m"}
    async with streaming(user, "/api/chat", method="POST", body=body) as tail:
        frames = await tail.rest()
        headers = tail.stream.headers
        ending = tail.stream.ending
    text = "TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"

    assert headers["x-session-id"] == "s"
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert kinds(frames) == ["RUN_STARTED", *text, "STATE_SNAPSHOT", *text, "RUN_FINISHED"]
    assert frames[1].event["messageId"] == "m"
    assert frames[-1].event["outcome"] == {"type": "success"}
    assert ending == "clean"


async def test_a_streamed_answer_to_nobodys_session_says_which_it_became(user: Caller) -> None:
    async with streaming(user, "/api/chat", method="POST", body={"message": "hello"}) as tail:
        frames = await tail.rest()
        session_id = tail.stream.headers["x-session-id"]

    assert UUID7.fullmatch(session_id)
    assert frames[0].event["threadId"] == session_id


async def test_a_streamed_failure_ends_with_its_error(user: Caller) -> None:
    body = {"message": script({"text": "so far"}, fail("boom"))}
    async with streaming(user, "/api/chat", method="POST", body=body) as tail:
        frames = await tail.rest()

    assert frames[-1].event["type"] == "RUN_ERROR"
    assert frames[-1].event["code"] == "agent_failed"


async def test_a_queued_message_streams_when_it_starts(user: Caller) -> None:
    first = await start(user, script({"text": "first"}, stall(0.3)), session_id="s")
    body = {"message": script({"text": "second"}), "session_id": "s", "on_busy": "queue"}
    async with streaming(user, "/api/chat", method="POST", body=body) as tail:
        frames = await tail.rest()

    assert frames[0].event["type"] == "RUN_STARTED"
    assert frames[0].event["runId"] != first["run_id"]
    assert "first" not in str([frame.event for frame in frames if frame.event["type"].startswith("TEXT_")])
    assert "second" in str(frames[-3].event)


async def test_the_stream_of_a_withdrawn_message_ends_without_a_run(user: Caller) -> None:
    await start(user, script(stall(60)), session_id="s")
    body = {"message": "later", "session_id": "s", "on_busy": "queue", "message_id": "q"}
    async with streaming(user, "/api/chat", method="POST", body=body) as tail:
        await user.call("DELETE", "/api/sessions/s/queue/q")

        assert await tail.rest() == []
        assert tail.stream.ending == "clean"


async def test_closing_a_streamed_answer_does_not_stop_its_run(user: Caller) -> None:
    body = {"message": script({"text": "begun"}, stall(0.2), {"text": " and done"}), "session_id": "s"}
    async with streaming(user, "/api/chat", method="POST", body=body) as tail:
        await tail.text("begun")
    async with opened(user, "s") as tail:
        await tail.text("begun and done")


async def test_a_streamed_answer_has_the_state_before_any_change_of_it(user: Caller) -> None:
    """The first message gives a title, the agent adds to a list: nothing is missing or twice, also when resumed."""
    body = {"message": script(*COUNTING, emit(3, 10), *COUNTING[1:]), "session_id": "s", "message_id": "m"}
    async with streaming(user, "/api/chat", method="POST", body=body) as tail:
        begun = await tail.snapshot()
        async with opened(user, "s", tail.cursor, fold=tail.fold.copy()) as later:
            await later.end_of(begun[0].event["runId"])
        await tail.rest()
    state = (await user.state("s")).json()

    assert kinds(begun)[:4] == ["RUN_STARTED", "TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"]
    assert tail.cursor == later.cursor == state["cursor"]
    assert differences(tail.fold, state) == differences(later.fold, state) == []
    assert state["state"]["artifacts"]["list"] == [*range(20), *range(20)]


async def test_a_streamed_answer_that_is_told_late_has_no_cursors_that_lie(user: Caller) -> None:
    """The state is newer than the run that is told again: a client that came back from there would have it twice."""
    body = {"message": script(*COUNTING, emit(3, 0)), "session_id": "s", "message_id": "m"}
    async with streaming(user, "/api/chat", method="POST", body=body) as tail:
        await tail.rest()
    await user.call("PATCH", "/api/sessions/s", {"title": "renamed"})
    async with streaming(user, "/api/chat", method="POST", body=body) as tail:
        frames = await tail.rest()

    assert [frame.cursor for frame in frames if frame.cursor is not None] == []
    assert tail.fold.state["session"]["title"] == "renamed"
    assert tail.fold.state["artifacts"] == {"list": [*range(20)]}
