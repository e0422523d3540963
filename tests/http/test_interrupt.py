"""POST /api/interrupt: every outcome, its receipt, and what it leaves behind."""

from __future__ import annotations

import anyio
import pytest

from scripts.blackbox.arena import emit, script, stall
from scripts.blackbox.caller import Caller
from scripts.blackbox.fold import differences
from tests.http.kit import ask, check_problem, eventually, kinds, new_session, opened, start

WORKING = script({"text": "so far"}, stall(60))


async def test_a_run_is_stopped_with_a_receipt_and_keeps_its_partial_text(user: Caller) -> None:
    receipt = await start(user, WORKING, session_id="s")
    async with opened(user, "s") as tail:
        await tail.text("so far")
        answer = (await user.interrupt("s")).json()
        frames = await tail.end_of(receipt["run_id"])
    state = (await user.state("s")).json()

    assert answer == {
        "session_id": "s",
        "run_id": receipt["run_id"],
        "outcome": "stopped",
        "cursor": frames[-1].cursor,
    }
    assert frames[-1].event["outcome"] == {"type": "cancelled"}
    assert state["messages"][-1]["content"] == "so far"
    assert state["messages"][-1]["metadata"]["sessionstream"]["status"] == "interrupted"
    assert state["run"] is None
    assert differences(tail.fold, state) == []


async def test_stopping_twice_says_that_it_was_over(user: Caller) -> None:
    receipt = await start(user, WORKING, session_id="s")
    first = (await user.interrupt("s", run_id=receipt["run_id"])).json()
    again = (await user.interrupt("s", run_id=receipt["run_id"])).json()

    assert (first["outcome"], again["outcome"]) == ("stopped", "already_finished")
    assert first["run_id"] == again["run_id"] == receipt["run_id"]
    assert first["cursor"] == again["cursor"]


async def test_many_stops_at_once_are_one(user: Caller) -> None:
    receipt = await start(user, WORKING, session_id="s")
    outcomes: list[str] = []

    async def stop() -> None:
        outcomes.append((await user.interrupt("s", run_id=receipt["run_id"])).json()["outcome"])

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(stop)
    async with opened(user, "s", receipt["cursor"], folds=False) as tail:
        await tail.end_of(receipt["run_id"])
        renamed = await user.call("PATCH", "/api/sessions/s", {"title": "later"})
        later = await tail.until(lambda frame: frame.event["type"] == "STATE_DELTA")

    assert "stopped" in outcomes
    assert set(outcomes) <= {"stopped", "already_finished"}
    assert renamed.status == 200
    assert kinds(later) == ["RUN_STARTED", "STATE_DELTA"]


async def test_an_idle_session_has_nothing_to_stop(user: Caller) -> None:
    await new_session(user, session_id="s")
    answer = (await user.interrupt("s")).json()

    assert (answer["outcome"], answer["run_id"]) == ("idle", None)


@pytest.mark.parametrize("named_by", ["run_id", "message_id"])
async def test_a_run_that_ended_by_itself_is_already_finished(user: Caller, named_by: str) -> None:
    answered = await ask(user, "hello", session_id="s")
    answer = (await user.interrupt("s", **{named_by: answered[named_by]})).json()

    assert answer == {
        "session_id": "s",
        "run_id": answered["run_id"],
        "outcome": "already_finished",
        "cursor": answered["cursor"],
    }


@pytest.mark.parametrize("named_by", ["run_id", "message_id"])
async def test_a_queued_message_that_is_stopped_never_starts(user: Caller, named_by: str) -> None:
    running = await start(user, WORKING, session_id="s")
    queued = await start(user, "later", session_id="s", on_busy="queue")
    answer = (await user.interrupt("s", **{named_by: queued[named_by]})).json()
    state = (await user.state("s")).json()
    await user.interrupt("s")

    assert (answer["outcome"], answer["run_id"]) == ("pending", queued["run_id"])
    assert state["state"]["queue"] == []
    assert state["run"]["run_id"] == running["run_id"]
    assert [message["content"] for message in await user.messages("s")] == [WORKING, "so far"]


async def test_a_message_that_is_stopped_before_it_arrives_never_runs(user: Caller) -> None:
    await new_session(user, session_id="s")
    before = (await user.interrupt("s", message_id="m")).json()
    again = (await user.interrupt("s", message_id="m")).json()
    async with opened(user, "s") as tail:
        await tail.snapshot()
        receipt = await start(user, "too late", session_id="s", message_id="m")
        frames = await tail.end_of(receipt["run_id"])

    assert before["outcome"] == again["outcome"] == "pending"
    assert receipt["status"] == "interrupted"
    assert receipt["run_id"] == before["run_id"]
    assert frames[-1].event["outcome"] == {"type": "cancelled"}
    assert [message["role"] for message in await user.messages("s")] == ["user"]


async def test_naming_another_run_does_not_stop_this_one(user: Caller) -> None:
    receipt = await start(user, WORKING, session_id="s")
    answer = (await user.interrupt("s", run_id="another")).json()
    state = (await user.state("s")).json()

    assert answer["outcome"] in ("idle", "already_finished")
    assert state["run"]["run_id"] == receipt["run_id"]


async def test_an_agent_that_ignores_cancellation_is_stopped_all_the_same(user: Caller) -> None:
    receipt = await start(user, script({"ignore_cancel": {"seconds": 1}}), session_id="s")
    async with opened(user, "s") as tail:
        await tail.text("w1 ")
        answer = (await user.interrupt("s")).json()
        frames = await tail.end_of(receipt["run_id"])
        after = await ask(user, script({"text": "next"}), session_id="s")
        await tail.end_of(after["run_id"])

        async def is_let_go() -> bool:
            return bool((await user.call("GET", "/api/stats")).json()["active_runs"] == 0)

        await eventually(is_let_go)
    state = (await user.state("s")).json()

    assert answer["outcome"] == "stopped"
    assert frames[-1].event["outcome"] == {"type": "cancelled"}
    assert state["messages"][-1]["content"] == "next"
    assert differences(tail.fold, state) == []


async def test_an_open_tool_call_is_answered_when_its_run_is_stopped(user: Caller) -> None:
    message = script({"text": "let me look"}, {"tool": {"name": "search", "end": False}}, stall(60))
    receipt = await start(user, message, session_id="s")
    async with opened(user, "s") as tail:
        await tail.until(lambda frame: frame.event["type"] in ("TOOL_CALL_ARGS", "TOOL_CALL_START"))
        await user.interrupt("s")
        await tail.end_of(receipt["run_id"])
    history = await user.messages("s")
    calls = [call["id"] for one in history for call in one.get("toolCalls", ())]
    answered = [one["toolCallId"] for one in history if one["role"] == "tool"]

    assert len(calls) == 1
    assert answered == calls


async def test_a_stop_at_the_moment_of_completion_is_one_or_the_other(user: Caller) -> None:
    outcomes = set()
    for _ in range(30):
        receipt = await start(user, script(emit(3, 2000)), session_id="s")
        async with opened(user, "s", receipt["cursor"], folds=False) as tail:
            await tail.next()
            outcome = (await user.interrupt("s", run_id=receipt["run_id"])).json()["outcome"]
            frames = await tail.end_of(receipt["run_id"])
        outcomes.add((outcome, frames[-1].event["outcome"]["type"]))

    assert outcomes <= {("stopped", "cancelled"), ("already_finished", "success")}


async def test_interrupting_needs_a_session(user: Caller) -> None:
    check_problem(await user.interrupt("nobodys"), "session_not_found")
    check_problem(await user.call("POST", "/api/interrupt", {}), "invalid_field", "session_id")
    check_problem(
        await user.call("POST", "/api/interrupt", {"session_id": "s", "runid": "x"}), "invalid_field", "runid"
    )
