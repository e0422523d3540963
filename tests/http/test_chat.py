"""POST /api/chat: the receipt, the answer after the run, the run's own events, repeats, and a busy session."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from scripts.blackbox.arena import emit, fail, script, stall
from scripts.blackbox.caller import Caller
from scripts.blackbox.wire import Answer
from tests.http.kit import (
    CURSOR,
    UUID7,
    ask,
    check_problem,
    eventually,
    kinds,
    new_session,
    opened,
    serving,
    somebody,
    start,
    streaming,
)

RECEIPT = {"session_id", "run_id", "message_id", "cursor", "status"}


async def test_a_message_is_accepted_with_its_ids_and_its_place(user: Caller) -> None:
    answer = await user.chat(script(stall(60)))
    receipt = answer.json()

    assert answer.status == 202
    assert set(receipt) == RECEIPT
    assert all(UUID7.fullmatch(receipt[name]) for name in ("session_id", "run_id", "message_id"))
    assert CURSOR.fullmatch(receipt["cursor"])
    assert receipt["status"] == "running"


async def test_an_accepted_message_is_in_the_history_at_once(user: Caller) -> None:
    receipt = await start(user, script(stall(60)), message_id="mine")
    state = (await user.state(receipt["session_id"])).json()

    assert [message["id"] for message in state["messages"]] == ["mine"]
    assert state["run"] == {"run_id": receipt["run_id"], "status": "running", "agent": "scripted"}


async def test_an_unknown_session_id_is_created_and_a_known_one_goes_on(user: Caller) -> None:
    first = await ask(user, "one", session_id="a.b:c_d-1")
    second = await ask(user, "two", session_id="a.b:c_d-1")

    assert first["session_id"] == second["session_id"] == "a.b:c_d-1"
    assert second["state"]["session"]["message_count"] == 4


async def test_no_session_id_is_a_new_session_each_time(user: Caller) -> None:
    assert (await start(user, "one"))["session_id"] != (await start(user, "one"))["session_id"]


async def test_wait_answers_with_what_the_run_added(user: Caller) -> None:
    await ask(user, "before", session_id="s")
    answered = await ask(user, "hello", session_id="s", agent="mirror", message_id="m")
    [question, answer] = answered["messages"]

    assert set(answered) == RECEIPT | {"messages", "state", "usage"}
    assert answered["status"] == "finished"
    assert (question["id"], question["role"], question["content"]) == ("m", "user", "hello")
    assert answer["role"] == "assistant"
    assert answered["usage"] == [{"model": "mirror", "inputTokens": 3, "outputTokens": 5}]
    assert set(answered["state"]) == {"session", "run", "queue", "artifacts"}


async def test_an_agent_sees_history_persona_options_and_user(user: Caller) -> None:
    await ask(user, script({"text": "first answer"}), session_id="s")
    answered = await ask(user, "and now?", session_id="s", agent="mirror", persona="pirate", options={"top_k": 3})
    seen = json.loads(answered["messages"][-1]["content"])

    assert seen["message"] == "and now?"
    assert (seen["persona"], seen["options"], seen["user"]) == ("pirate", {"top_k": 3}, user.user)
    assert seen["history"][1:] == [["assistant", "first answer"], ["user", "and now?"]]


async def test_config_of_the_session_is_the_default_of_options(user: Caller) -> None:
    session_id = await new_session(user, agent="mirror")
    await user.call("PATCH", f"/api/sessions/{session_id}", {"config": {"top_k": 3, "style": "short"}})
    answered = await ask(user, "hello", session_id=session_id, options={"top_k": 5})

    assert json.loads(answered["messages"][-1]["content"])["options"] == {"top_k": 5, "style": "short"}


@pytest.mark.parametrize(
    ("message", "fields", "code", "said"),
    [
        (script({"text": "so far"}, fail("a secret reason")), {}, "agent_failed", "RuntimeError"),
        ("hello", {"agent": "broken"}, "agent_protocol", "never-opened"),
        ('{"steps": [{"sing": 1}]}', {}, "agent_failed", "step 1"),
    ],
)
async def test_wait_for_a_run_that_fails_is_502_with_its_code(
    user: Caller, message: str, fields: dict[str, Any], code: str, said: str
) -> None:
    answer = await user.chat(message, wait=True, session_id="s", message_id="m", **fields)
    body = check_problem(answer, code)
    history = await user.messages("s")

    assert said in body["detail"]
    assert "secret" not in body["detail"]
    assert history[0]["id"] == "m"


async def test_wait_for_a_run_that_is_stopped_answers_with_its_partial_text(user: Caller) -> None:
    answers: list[Answer] = []

    async def wait() -> None:
        answers.append(await user.chat(script({"text": "partial"}, stall(60)), session_id="s", wait=True))

    async with anyio.create_task_group() as tasks, opened(user, "s") as tail:
        tasks.start_soon(wait)
        await tail.text("partial")
        await user.interrupt("s")
    [answer] = answers

    assert answer.status == 200
    assert answer.json()["status"] == "interrupted"
    assert answer.json()["messages"][-1]["content"] == "partial"


async def test_wait_for_a_queued_message_answers_after_its_own_run(user: Caller) -> None:
    await start(user, script({"text": "first"}, stall(0.3)), session_id="s")
    answered = await ask(user, script({"text": "second"}), session_id="s", on_busy="queue")

    assert answered["status"] == "finished"
    assert answered["messages"][-1]["content"] == "second"


# --- repeats


async def test_a_repeated_message_is_the_same_run(user: Caller) -> None:
    first = await ask(user, "hello", session_id="s", message_id="m")
    again = await ask(user, "hello", session_id="s", message_id="m")
    receipt = await start(user, "hello", session_id="s", message_id="m")

    assert again["run_id"] == receipt["run_id"] == first["run_id"]
    assert again["messages"] == first["messages"]
    assert receipt["status"] == "finished"
    assert len(await user.messages("s")) == 2


async def test_a_repeated_message_streams_its_run_again(user: Caller) -> None:
    body = {"message": script(emit(3, 0)), "session_id": "s", "message_id": "m"}
    streamed = []
    for _ in range(2):
        async with streaming(user, "/api/chat", method="POST", body=body) as tail:
            streamed.append(await tail.rest())

    told = [[frame.event for frame in frames if frame.event["type"] != "STATE_SNAPSHOT"] for frames in streamed]

    assert told[0] == told[1]
    assert kinds(streamed[1])[-1] == "RUN_FINISHED"
    assert all(kinds(frames).count("STATE_SNAPSHOT") == 1 for frames in streamed)


async def test_usage_is_counted_once_however_often_it_is_read(user: Caller) -> None:
    first = await ask(user, "hello", session_id="s", agent="mirror", message_id="m")
    again = await ask(user, "hello", session_id="s", agent="mirror", message_id="m")
    async with opened(user, "s", f"{first['cursor'].rpartition('-')[0]}-0", folds=False) as tail:
        frames = await tail.end_of(first["run_id"])
    told = [frame.event["usage"] for frame in frames if "usage" in frame.event]

    assert again["usage"] == first["usage"]
    assert told == [first["usage"]]
    assert (await user.call("GET", "/api/stats")).json()["runs"] == 1


async def test_the_same_id_for_another_message_conflicts(user: Caller) -> None:
    await ask(user, "hello", session_id="s", message_id="m")

    check_problem(await user.chat("other", session_id="s", message_id="m"), "message_id_conflict")
    check_problem(await user.chat("hello", session_id="s", message_id="m", options={"a": 1}), "message_id_conflict")


async def test_the_same_message_id_in_another_session_is_another_message(user: Caller) -> None:
    first = await ask(user, "hello", session_id="a", message_id="m")
    second = await ask(user, "hello", session_id="b", message_id="m")

    assert first["run_id"] != second["run_id"]


async def test_many_posts_of_one_message_at_once_are_one_run(user: Caller) -> None:
    runs = set()

    async def post() -> None:
        receipt = await start(user, script(stall(0.2)), session_id="s", message_id="m")
        runs.add(receipt["run_id"])

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(post)

    assert len(runs) == 1


# --- a busy session


async def test_a_busy_session_rejects_by_default(user: Caller) -> None:
    await start(user, script(stall(60)), session_id="s")

    assert check_problem(await user.chat("next", session_id="s"), "run_active")["retryable"] is True


async def test_a_busy_session_queues_when_asked_and_runs_in_order(user: Caller) -> None:
    await start(user, script(stall(0.3)), session_id="s", message_id="a")
    queued = [await start(user, f"text {name}", session_id="s", message_id=name, on_busy="queue") for name in "bc"]
    waiting = (await user.state("s")).json()["state"]["queue"]
    async with opened(user, "s") as tail:
        await tail.end_of(queued[-1]["run_id"])
    asked = [message["id"] for message in await user.messages("s") if message["role"] == "user"]

    assert [one["status"] for one in queued] == ["queued", "queued"]
    assert [one["message_id"] for one in waiting] == ["b", "c"]
    assert asked == ["a", "b", "c"]


async def test_interrupt_on_busy_stops_the_run_and_starts_the_next(user: Caller) -> None:
    first = await start(user, script({"text": "partial"}, stall(60)), session_id="s")
    async with opened(user, "s") as tail:
        await tail.text("partial")
        second = await start(user, script({"text": "second"}), session_id="s", on_busy="interrupt")
        [stopped] = [
            frame.event for frame in await tail.end_of(first["run_id"]) if frame.event["type"] == "RUN_FINISHED"
        ]
        await tail.end_of(second["run_id"])

    assert stopped["outcome"] == {"type": "cancelled"}


async def test_a_title_is_made_of_the_first_message(user: Caller) -> None:
    answered = await ask(
        user, "  What is\n the   meaning of all this, asked at such length that no list would show it?"
    )
    title = answered["state"]["session"]["title"]

    assert title.startswith("What is the meaning of all this")
    assert len(title) <= 60


# --- what is wrong with a message


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "message"),
        ({"message": ""}, "message"),
        ({"message": " \n"}, "message"),
        ({"message": 5}, "message"),
        ({"message": "x", "session_id": "a b"}, "session_id"),
        ({"message": "x", "session_id": "x" * 129}, "session_id"),
        ({"message": "x", "message_id": ""}, "message_id"),
        ({"message": "x", "agent": "nobody"}, "agent"),
        ({"message": "x", "on_busy": "wait"}, "on_busy"),
        ({"message": "x", "wait": "yes"}, "wait"),
        ({"message": "x", "options": []}, "options"),
        ({"message": "x", "options": {"a": [[[[[[[[[1]]]]]]]]]}}, "options"),
        ({"message": "x", "mesage": "y"}, "mesage"),
        ([], "body"),
    ],
)
async def test_a_wrong_field_is_named(user: Caller, body: Any, field: str) -> None:
    check_problem(await user.call("POST", "/api/chat", body), "invalid_field", field)


async def test_who_waits_and_leaves_frees_his_place_and_the_run_goes_on(user: Caller) -> None:
    body = {"message": script({"text": "partial"}, stall(60)), "session_id": "s", "wait": True}
    with anyio.move_on_after(30) as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(user.call, "POST", "/api/chat", body)
            await eventually(lambda: _stat(user, "open_streams", 1))
            scope.cancel()
    await eventually(lambda: _stat(user, "open_streams", 0))

    assert await _stat(user, "active_runs", 1)


async def _stat(user: Caller, name: str, wanted: int) -> bool:
    return bool((await user.call("GET", "/api/stats")).json()[name] == wanted)


async def test_a_repeated_message_whose_events_are_gone_is_told_from_the_messages(tmp_path: Path) -> None:
    settings = {"RESUME_WINDOW_SECONDS": "0", "LOG_KEPT_BYTES": "0", "CLEANUP_INTERVAL_SECONDS": "0.05"}
    settings["RING_BYTES"] = "1024"  # less than the run says: memory does not have it either
    async with serving(tmp_path, **settings) as server:
        user = somebody(server)
        first = await ask(user, script(emit(300, 0), {"text": "x" * 4000}), session_id="s", message_id="m")

        async def is_gone() -> bool:
            return server.rows()["log"] == 0

        await eventually(is_gone)
        body = {"message": script(emit(300, 0), {"text": "x" * 4000}), "session_id": "s", "message_id": "m"}
        async with streaming(user, "/api/chat", method="POST", body=body) as tail:
            frames = await tail.rest()

    assert kinds(frames) == ["RUN_STARTED", "MESSAGES_SNAPSHOT", "STATE_SNAPSHOT", "RUN_FINISHED"]
    assert frames[0].event["runId"] == first["run_id"]
    assert frames[1].event["messages"] == first["messages"]
