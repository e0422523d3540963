"""POST /api/system and GET /api/state."""

from __future__ import annotations

import json
from typing import Any

from scripts.blackbox.arena import emit, script, stall
from scripts.blackbox.caller import Caller
from scripts.blackbox.fold import differences
from tests.http.kit import UUID7, ask, check_problem, kinds, new_session, opened, start


async def tell(caller: Caller, message: str, **fields: object) -> dict[str, str]:
    answer = await caller.call("POST", "/api/system", {"message": message, **fields})
    assert answer.status == 202, answer.body
    receipt: dict[str, str] = answer.json()
    return receipt


async def test_a_system_message_is_in_the_transcript_and_seen_by_the_next_run(user: Caller) -> None:
    receipt = await tell(user, "be brief", session_id="s", message_id="m")
    answered = await ask(user, "hello", session_id="s", agent="mirror")
    history = await user.messages("s")

    assert set(receipt) == {"session_id", "run_id", "message_id", "cursor", "status"}
    assert receipt["message_id"] == "m"
    assert (history[0]["id"], history[0]["role"], history[0]["content"]) == ("m", "system", "be brief")
    assert json.loads(answered["messages"][-1]["content"])["history"][0] == ["system", "be brief"]


async def test_a_system_message_starts_no_run_and_comes_in_a_housekeeping_run(user: Caller) -> None:
    await new_session(user, session_id="s")
    async with opened(user, "s") as tail:
        await tail.snapshot()
        receipt = await tell(user, "be brief", session_id="s")
        frames = await tail.until(lambda frame: frame.event["type"] == "RUN_FINISHED")

    assert kinds(frames) == [
        "RUN_STARTED",
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
        "RUN_FINISHED",
    ]
    assert frames[0].event["runId"].startswith("sync-")
    assert frames[1].event["role"] == "system"
    assert frames[-1].cursor == receipt["cursor"]
    assert (await user.state("s")).json()["run"] is None


async def test_a_system_message_during_a_run_stands_in_its_place(user: Caller) -> None:
    receipt = await start(user, script({"text": "a"}, stall(60)), session_id="s")
    async with opened(user, "s") as tail:
        await tail.text("a")
        await tell(user, "be brief", session_id="s")
        await tail.until(lambda frame: frame.event.get("role") == "system")
        await user.interrupt("s")
        await tail.end_of(receipt["run_id"])
    state = (await user.state("s")).json()

    assert [message["role"] for message in state["messages"]] == ["user", "assistant", "system"]
    assert differences(tail.fold, state) == []


async def test_respond_lets_the_agent_answer(user: Caller) -> None:
    await new_session(user, session_id="s", agent="mirror")
    receipt = await tell(user, "greet the user", session_id="s", respond=True)
    async with opened(user, "s", receipt["cursor"], folds=False) as tail:
        await tail.end_of(receipt["run_id"])
    [told, answer] = await user.messages("s")

    assert UUID7.fullmatch(receipt["run_id"])
    assert (told["role"], told["content"]) == ("system", "greet the user")
    assert json.loads(answer["content"])["message"] == "greet the user"


async def test_respond_in_a_busy_session_waits_for_its_turn(user: Caller) -> None:
    await start(user, script(stall(60)), session_id="s")

    assert (await tell(user, "then say goodbye", session_id="s", respond=True))["status"] == "queued"


async def test_a_repeated_system_message_is_there_once(user: Caller) -> None:
    first = await tell(user, "be brief", session_id="s", message_id="m")
    again = await tell(user, "be brief", session_id="s", message_id="m")

    assert again["message_id"] == first["message_id"]
    assert len(await user.messages("s")) == 1
    answer = await user.call("POST", "/api/system", {"message": "be long", "session_id": "s", "message_id": "m"})
    check_problem(answer, "message_id_conflict")


async def test_a_system_message_without_a_session_makes_one(user: Caller) -> None:
    receipt = await tell(user, "be brief")

    assert UUID7.fullmatch(receipt["session_id"])
    assert (await user.messages(receipt["session_id"]))[0]["content"] == "be brief"


async def test_a_wrong_system_message_is_refused_by_name(user: Caller) -> None:
    for body, field in (
        ({"message": ""}, "message"),
        ({"message": "x", "respond": 1}, "respond"),
        ({"message": "x", "on_busy": "queue"}, "on_busy"),
    ):
        check_problem(await user.call("POST", "/api/system", body), "invalid_field", field)


# --- state


async def test_the_state_is_the_fold_of_the_stream_at_its_cursor(user: Caller) -> None:
    steps: tuple[dict[str, Any], ...] = (
        {"reasoning": "hm"},
        {"step": "search"},
        {"tool": {"name": "search", "args": {"q": "é"}}},
        {"state": [{"op": "add", "path": "/notes", "value": {"a/b": [1, 2]}}]},
        {"state": [{"op": "add", "path": "/notes/a~1b/-", "value": 3}]},
        emit(5, 0),
        {"emoji": {}},
        {"event": {"type": "ACTIVITY_SNAPSHOT", "messageId": "act", "activityType": "PLAN", "content": {"n": 1}}},
    )
    await new_session(user, session_id="s", metadata={"from": "test"})
    async with opened(user, "s") as tail:
        await tail.snapshot()
        answered = await ask(user, script(*steps), session_id="s")
        await user.call("PATCH", "/api/sessions/s", {"title": "renamed", "persona": "pirate"})
        await tell(user, "be brief", session_id="s")
        state = (await user.state("s")).json()
        await tail.until(lambda frame: frame.cursor == state["cursor"])

    assert set(state) == {"session", "messages", "state", "run", "cursor"}
    assert differences(tail.fold, state) == []
    assert state["state"]["artifacts"]["notes"] == {"a/b": [1, 2, 3]}
    assert state["session"] == state["state"]["session"]
    assert state["messages"][: len(answered["messages"])] == answered["messages"]


async def test_the_state_in_the_middle_of_a_run_is_what_its_stream_shows(user: Caller) -> None:
    await start(user, script({"text": "partial"}, stall(60)), session_id="s")
    async with opened(user, "s") as tail:
        await tail.text("partial")
        state = (await user.state("s")).json()

    assert state["cursor"] == tail.cursor
    assert differences(tail.fold, state) == []


async def test_the_state_needs_one_session(user: Caller) -> None:
    check_problem(await user.call("GET", "/api/state"), "invalid_field", "session_id")
    check_problem(await user.call("GET", "/api/state?session_id=a&session_id=b"), "invalid_field", "session_id")
    check_problem(await user.state("nobodys"), "session_not_found")


async def test_an_agent_that_calls_by_an_earlier_id_fails_and_changes_no_earlier_call(user: Caller) -> None:
    steps = (
        {"text": "hm"},
        {"event": {"type": "TOOL_CALL_START", "toolCallId": "t", "toolCallName": "search"}},
        {"event": {"type": "TOOL_CALL_ARGS", "toolCallId": "t", "delta": "{}"}},
        {"event": {"type": "TOOL_CALL_END", "toolCallId": "t"}},
    )
    await new_session(user, session_id="s")
    async with opened(user, "s") as tail:
        await tail.snapshot()
        await ask(user, script(*steps), session_id="s")
        check_problem(await user.chat(script(*steps), session_id="s", wait=True), "agent_protocol")
        state = (await user.state("s")).json()
        await tail.until(lambda frame: frame.cursor == state["cursor"])

    assert differences(tail.fold, state) == []
