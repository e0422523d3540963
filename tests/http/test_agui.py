"""POST /api/agents/{agent}/run: what a request may hold, which run answers it, and what its stream says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.blackbox.arena import emit, script, stall
from scripts.blackbox.caller import Caller
from scripts.blackbox.fold import differences
from tests.http.agui import PAINT, Json, asked, own_id, ran, refused, running, text_of, user_message
from tests.http.kit import check_problem, new_session, opened, serving, somebody, start

# --- what a request may hold


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"threadId": None}, "threadId"),
        ({"threadId": "not an id"}, "threadId"),
        ({"runId": ""}, "runId"),
        ({"runId": "x" * 129}, "runId"),
        ({"parentRunId": 1}, "parentRunId"),
        ({"parentRunId": "a/b"}, "parentRunId"),
        ({"protocolVersion": 1}, "protocolVersion"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"id": "a", "role": "assistant", "content": "hello"}]}, "messages"),
        ({"messages": [{"id": "a", "role": "robot", "content": "hello"}]}, "messages[0].role"),
        ({"messages": [{"id": "a", "content": "hello"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": "hello"}]}, "messages[0].id"),
        ({"messages": [user_message("hello", "not an id")]}, "messages[0].id"),
        ({"messages": [user_message(None)]}, "messages[0].content"),
        ({"messages": [user_message("  \n")]}, "messages[0].content"),
        ({"messages": [user_message("x" * 100_001)]}, "messages[0].content"),
        ({"messages": [user_message([{"type": "text"}])]}, "messages[0].content[0].text"),
        (
            {"messages": [user_message([{"type": "text", "text": "a"}, {"type": "image", "source": {}}])]},
            "messages[0].content[1].type",
        ),
        ({"messages": [{"id": "t", "role": "tool", "content": "x"}, user_message("a")]}, "messages[0].toolCallId"),
        (
            {"messages": [{"id": "a", "role": "assistant", "toolCalls": [{"id": "c"}]}, user_message("a")]},
            "messages[0].toolCalls[0].function",
        ),
        ({"tools": {}}, "tools"),
        ({"tools": [{"name": "a"}]}, "tools[0].description"),
        ({"tools": [{"name": " ", "description": ""}]}, "tools[0].name"),
        ({"tools": [PAINT, PAINT]}, "tools[1].name"),
        ({"tools": [{**PAINT, "parameters": "none"}]}, "tools[0].parameters"),
        ({"tools": [{**PAINT, "name": str(number)} for number in range(129)]}, "tools"),
        ({"tools": [{**PAINT, "description": "x" * (128 << 10)}]}, "tools"),
        ({"context": [{"description": "weather", "value": 3}]}, "context[0].value"),
        ({"context": [{"description": "weather", "value": "x" * (128 << 10)}]}, "context"),
        ({"forwardedProps": "fast"}, "forwardedProps"),
        ({"forwardedProps": {"x": "y" * (16 << 10)}}, "forwardedProps"),
        ({"resume": {}}, "resume"),
        ({"resume": [{"interruptId": "a"}]}, "resume[0].status"),
        ({"resume": [{"interruptId": "a", "status": "perhaps"}]}, "resume[0].status"),
        ({"resume": [{"interruptId": "a", "status": "cancelled"}] * 2}, "resume[1].interruptId"),
    ],
)
async def test_a_wrong_field_is_named_and_makes_no_session(user: Caller, fields: Json, field: str) -> None:
    answer = await refused(user, {**asked(user_message("hello")), **fields})

    check_problem(answer, "invalid_field", field)
    assert (await user.state("s")).status == 404


async def test_a_body_that_is_no_object_or_no_json_is_refused(user: Caller) -> None:
    check_problem(await refused(user, []), "invalid_field", "body")
    check_problem(await refused(user, b"{"), "malformed_json")
    answer = await user.call("POST", "/api/agents/mirror/run", asked(), headers={"Content-Type": "text/plain"})
    check_problem(answer, "not_json")


async def test_fields_of_later_protocols_are_let_through_and_null_is_absent(user: Caller) -> None:
    message = {**user_message("hello"), "mood": "good", "name": None}
    absent = dict.fromkeys(("parentRunId", "tools", "context", "state", "forwardedProps", "resume", "protocolVersion"))
    events = await ran(user, {**asked(message, future={"a": [1]}), **absent}, "mirror")

    assert json.loads(text_of(events))["message"] == "hello"
    assert "parentRunId" not in events[0]


async def test_parts_of_text_are_one_message(user: Caller) -> None:
    parts = [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]

    assert json.loads(text_of(await ran(user, asked(user_message(parts)), "mirror")))["message"] == "hello"


async def test_an_agent_that_is_not_there_is_not_found(user: Caller) -> None:
    check_problem(await refused(user, asked(user_message("hello")), "nobody"), "not_found")
    assert (await user.call("GET", "/api/agents/mirror/run")).status == 405


async def test_answers_to_a_session_that_is_not_there_find_nothing(user: Caller, other: Caller) -> None:
    """Nor in the session of somebody else: nothing is made, and nothing told."""
    await new_session(other, session_id="theirs")
    body = asked(resume=[{"interruptId": "a", "status": "cancelled"}])

    check_problem(await refused(user, body), "session_not_found")
    check_problem(await refused(user, {**body, "threadId": "theirs"}), "session_not_found")


async def test_a_history_may_be_larger_than_a_message(tmp_path: Path) -> None:
    """Official clients send all they have each time: they must not be locked out by their own conversation."""
    async with serving(tmp_path, MAX_BODY_BYTES="2000", MAX_IMPORT_BYTES="9000") as server:
        user = somebody(server)
        old = {"id": "a", "role": "assistant", "content": "x" * 4000}

        assert (await ran(user, asked(old, user_message("hello")), "mirror"))[-1]["type"] == "RUN_FINISHED"
        check_problem(await refused(user, asked(old, old, old, user_message("hello"))), "body_too_large")


# --- which run answers, and what its stream says


async def test_the_thread_is_the_session_and_the_run_has_both_ids(user: Caller) -> None:
    async with running(user, asked(user_message(script(emit(3, 0)), "m"), parentRunId="parent")) as tail:
        events = [frame.event for frame in await tail.rest()]
        headers = tail.stream.headers
    state = (await user.state("s")).json()

    assert headers["x-session-id"] == "s"
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert (events[0]["threadId"], events[0]["runId"], events[0]["parentRunId"]) == ("s", "mine", "parent")
    assert (events[-1]["threadId"], events[-1]["runId"]) == ("s", "mine")
    assert own_id(events[0]) == own_id(events[-1]) == state["messages"][0]["metadata"]["sessionstream"]["run_id"]
    assert state["session"]["agent"] == "scripted"
    assert state["messages"][0]["id"] == "m"
    assert list(tail.fold.messages.values()) == state["messages"][1:]
    assert differences(tail.fold, {**state, "messages": state["messages"][1:]}) == []


async def test_a_long_question_is_not_streamed_back_either(user: Caller) -> None:
    """It stands in the log as several pieces."""
    events = await ran(user, asked(user_message("x" * 90_000)), "broken")

    assert [event["type"] for event in events] == ["RUN_STARTED", "STATE_SNAPSHOT", "RUN_ERROR"]
    assert events[-1]["code"] == "agent_protocol"


async def test_the_same_request_is_the_same_run_however_it_comes(user: Caller) -> None:
    message = user_message("hello", "m")
    first = await ran(user, asked(message), "mirror")
    again = await ran(user, {**asked(message), "runId": "other"}, "mirror")
    chat = await start(user, "hello", session_id="s", message_id="m", agent="mirror")

    assert own_id(first[0]) == own_id(again[0]) == chat["run_id"]
    assert (again[0]["runId"], again[-1]["runId"]) == ("other", "other")
    assert text_of(first) == text_of(again)
    check_problem(await refused(user, asked(user_message("bye", "m"))), "message_id_conflict")


async def test_a_client_that_has_part_of_the_answer_gets_it_as_a_snapshot(user: Caller) -> None:
    """While the run is on, and when it is over: told from its start, it would have the text twice."""
    message = user_message(script({"text": "so far"}, stall(60)), "m")
    async with running(user, asked(message)) as tail:
        await tail.until(lambda frame: frame.event.get("delta") == "so far")
        [part] = tail.fold.messages.values()
    body = asked(message, {"id": part["id"], "role": "assistant", "content": "so"})
    async with running(user, body) as tail:
        await tail.until(lambda frame: frame.event["type"] == "TEXT_MESSAGE_START")
        assert tail.fold.messages[part["id"]]["content"] == "so far"
        await user.interrupt("s")
        frames = await tail.rest()
    assert frames[-1].event["outcome"] == {"type": "cancelled"}

    events = await ran(user, body)
    assert [event["type"] for event in events] == [
        "RUN_STARTED",
        "MESSAGES_SNAPSHOT",
        "STATE_SNAPSHOT",
        "RUN_FINISHED",
    ]
    assert events[1]["messages"][-1]["content"] == "so far"


async def test_a_busy_session_is_a_conflict_also_for_an_older_run(user: Caller) -> None:
    await ran(user, asked(user_message("hello", "old")), "mirror")
    await start(user, script(stall(60)), session_id="s", agent="scripted")

    check_problem(await refused(user, asked(user_message("hello", "new"))), "run_active")
    check_problem(await refused(user, asked(user_message("hello", "old"))), "run_active")


async def test_closing_the_stream_does_not_stop_the_run(user: Caller) -> None:
    body = asked(user_message(script({"text": "begun"}, stall(0.2), {"text": " and done"})))
    async with running(user, body) as tail:
        await tail.until(lambda frame: frame.event.get("delta") == "begun")
    async with opened(user, "s") as tail:
        await tail.text("begun and done")


async def test_deleting_the_session_ends_the_stream_with_a_terminal_event(user: Caller) -> None:
    async with running(user, asked(user_message(script({"text": "begun"}, stall(60))))) as tail:
        await tail.until(lambda frame: frame.event.get("delta") == "begun")
        await user.call("DELETE", "/api/sessions/s")
        frames = await tail.rest()

        assert frames[-1].event["type"] in ("RUN_FINISHED", "RUN_ERROR")
        assert tail.stream.ending == "clean"


async def test_the_stream_of_a_run_stays_until_its_end_whatever_its_age(tmp_path: Path) -> None:
    async with serving(tmp_path, STREAM_MAX_AGE_SECONDS="0.1", HEARTBEAT_SECONDS="0.05") as server:
        events = await ran(somebody(server), asked(user_message(script({"text": "a"}, stall(0.5), {"text": "b"}))))

        assert text_of(events) == "ab"
        assert events[-1]["type"] == "RUN_FINISHED"
