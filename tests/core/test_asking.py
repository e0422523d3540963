"""A run that ends by asking: what it may ask, what is then pending, and where it is seen."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from server.core.ports import Event, Turn
from server.errors import SessionstreamError
from tests.support.agents import saying
from tests.support.client import without_derived
from tests.support.node import eventually, open_node
from tests.support.standard import violations
from tests.support.storage import crash_copy
from tests.support.wallet import APPROVAL, CALL, asking, call

WRONG: dict[str, tuple[Event, str]] = {
    "success": ({"type": "success"}, "'success'"),
    "nothing": ({"type": "interrupt", "interrupts": []}, "interrupts must be a list of 1"),
    "no id": ({"type": "interrupt", "interrupts": [{"reason": "x"}]}, "interrupts[0].id is missing"),
    "no reason": ({"type": "interrupt", "interrupts": [{"id": "a"}]}, "interrupts[0].reason is missing"),
    "bad id": ({"type": "interrupt", "interrupts": [{"id": "a b", "reason": "x"}]}, "interrupts[0].id must be"),
    "unknown field": (
        {"type": "interrupt", "interrupts": [{"id": "a", "reason": "x", "colour": 1}]},
        "interrupts[0].colour is not known",
    ),
    "a number for text": (
        {"type": "interrupt", "interrupts": [{"id": "a", "reason": "x", "message": 1}]},
        "interrupts[0].message is a int",
    ),
    "no such call": (
        {"type": "interrupt", "interrupts": [{"id": "a", "reason": "tool_call", "toolCallId": "other"}]},
        "interrupts[0].toolCallId 'other'",
    ),
    "twice": (
        {"type": "interrupt", "interrupts": [{"id": "a", "reason": "x"}, {"id": "a", "reason": "x"}]},
        "interrupts[1] has an id of another one",
    ),
    "no time": (
        {"type": "interrupt", "interrupts": [{"id": "a", "reason": "x", "expiresAt": "soon"}]},
        "interrupts[0].expiresAt is no RFC 3339 time",
    ),
    "our metadata": (
        {"type": "interrupt", "interrupts": [{"id": "a", "reason": "x", "metadata": {"ag-ui": 1}}]},
        "interrupts[0].metadata uses a reserved key",
    ),
}


async def test_a_run_that_asks_ends_with_its_question_in_history_and_state(tmp_path: Path) -> None:
    agent = saying("One moment. ", *call("c1", "sign", '{"to":"0x1"}'), asking(CALL))
    async with open_node(tmp_path, agent=agent) as node, node.client() as client:
        run_id = (await node.ask("pay")).run_id
        record = await node.over(run_id)
        await client.until_over(run_id)
        snapshot = await node.snapshot()

        assert (record.status, record.code) == ("finished", None)
        assert client.faults == []
        assert client.ended()[run_id] == "interrupt"
        assert client.fold.messages == snapshot.messages
        assert without_derived(client.fold.state) == without_derived(snapshot.state)
        [question] = snapshot.state["pending"]
        expires_at = question.pop("expiresAt")
        assert question == {
            "id": "ask-c1",
            "reason": "tool_call",
            "toolCallId": "c1",
            "toolCallName": "sign",
            "arguments": '{"to":"0x1"}',
            "answered": False,
        }
        assert expires_at == snapshot.session["expires_at"]
        assert [message["role"] for message in snapshot.messages] == ["user", "assistant"]
        assert snapshot.messages[-1]["toolCalls"][0]["id"] == "c1"
        [ending] = [event for event in client.events if event.get("runId") == run_id and "outcome" in event]
        assert ending["outcome"]["interrupts"] == [
            {"id": "ask-c1", "reason": "tool_call", "toolCallId": "c1", "expiresAt": expires_at}
        ]
        assert [fault for event in client.events for fault in violations(event)] == []


async def test_who_comes_later_sees_the_same_question(tmp_path: Path) -> None:
    """A late joiner has the call in the messages and the question in the state, as a legal stream."""
    agent = saying(*call("c1", "sign", "{}"), asking(APPROVAL))
    async with open_node(tmp_path, agent=agent) as node, node.client() as early:
        run_id = (await node.ask()).run_id
        await early.until_over(run_id)
        await early.catch_up()
        async with node.client() as late:
            assert late.faults == []
            assert late.kinds() == ["RUN_STARTED", "MESSAGES_SNAPSHOT", "STATE_SNAPSHOT", "RUN_FINISHED"]
            assert late.picture() == early.picture()
            assert late.fold.state["pending"][0]["toolCallName"] == "sign"
            assert [fault for event in late.events for fault in violations(event)] == []


async def test_only_what_is_asked_about_is_left_without_a_result(tmp_path: Path) -> None:
    agent = saying(*call("c1", "sign", "{}"), *call("c2", "look", "{}"), asking(CALL))
    async with open_node(tmp_path, agent=agent) as node:
        await node.over((await node.ask()).run_id)
        messages = (await node.snapshot()).messages

        assert [(one.get("toolCallId"), one.get("content")) for one in messages if one["role"] == "tool"] == [
            ("c2", "no result")
        ]


async def test_a_question_may_be_about_nothing_but_itself(tmp_path: Path) -> None:
    agent = saying(asking({"id": "which", "reason": "input_required", "message": "Which one?"}))
    async with open_node(tmp_path, agent=agent, approval_timeout_minutes=0.0) as node:
        await node.over((await node.ask()).run_id)
        snapshot = await node.snapshot()

        assert snapshot.state["pending"] == [
            {"id": "which", "reason": "input_required", "message": "Which one?", "answered": False}
        ]
        assert snapshot.session["expires_at"] is None, "a question that may wait for ever keeps its session"


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_wrong_question_fails_the_run_and_leaves_nothing_pending(tmp_path: Path, wrong: str) -> None:
    outcome, detail = WRONG[wrong]
    agent = saying(*call("c1", "sign", "{}"), {"type": "RUN_FINISHED", "outcome": outcome})
    async with open_node(tmp_path, agent=agent) as node, node.client() as client:
        run_id = (await node.ask()).run_id
        await client.until_over(run_id)
        snapshot = await node.snapshot()

        [error] = [event for event in client.events if event["type"] == "RUN_ERROR"]
        assert error["code"] == "agent_protocol"
        assert detail in error["message"]
        assert "pending" not in snapshot.state
        assert [message["role"] for message in snapshot.messages] == ["user", "assistant", "tool"]


@pytest.mark.parametrize("late", ["more", {"type": "STEP_STARTED", "stepName": "s"}], ids=["text", "event"])
async def test_nothing_may_follow_a_question(tmp_path: Path, late: Any) -> None:
    async with open_node(tmp_path, agent=saying(*call("c1", "sign", "{}"), asking(CALL), late)) as node:
        record = await node.over((await node.ask()).run_id)

        assert (record.status, record.code) == ("failed", "agent_protocol")
        assert "pending" not in (await node.snapshot()).state


async def test_what_an_agent_spends_after_its_question_counts(tmp_path: Path) -> None:
    """The run ends when the agent does, not when it has asked."""

    async def agent(turn: Turn) -> AsyncIterator[str | Event]:
        for event in call("c1", "sign", "{}"):
            yield event
        yield asking(CALL)
        turn.usage.append({"inputTokens": 7})

    async with open_node(tmp_path, agent=agent) as node:
        record = await node.over((await node.ask()).run_id)

        assert (record.status, list(record.usage)) == ("finished", [{"inputTokens": 7}])
        assert "pending" in (await node.snapshot()).state


async def test_a_question_that_is_too_large_fails_the_run(tmp_path: Path) -> None:
    agent = saying(*call("c1", "sign", "x" * (1 << 20)), asking(CALL))
    async with open_node(tmp_path, agent=agent) as node:
        record = await node.over((await node.ask()).run_id)

        assert (record.status, record.code) == ("failed", "run_too_large")


@pytest.mark.parametrize("is_refused", [True, False], ids=["refused", "no JSON"])
async def test_a_question_does_not_wait_for_what_is_not_stored(tmp_path: Path, is_refused: bool) -> None:
    """What others said meanwhile may come to nothing: nobody else tells the run that the outbox is empty again."""
    said = anyio.Event()

    async def agent(turn: Turn) -> AsyncIterator[str | Event]:
        for event in call("c1", "sign", "{}"):
            yield event
        await said.wait()
        yield asking(CALL)

    async def change(value: Any) -> None:
        async with node.held() as session:
            with pytest.raises(SessionstreamError):
                await session.change({"metadata": {"value": value}})

    async with open_node(tmp_path, agent=agent) as node:
        run_id = (await node.ask()).run_id
        await node.calm()
        gate = node.storage.before = anyio.Event()
        async with anyio.create_task_group() as tasks:
            if is_refused:
                tasks.start_soon(change, 1)
            else:
                tasks.start_soon(partial(node.tell, "elsewhere", session="t"))
            await eventually(lambda: node.storage.waiting)
            if not is_refused:
                tasks.start_soon(change, object())
            said.set()
            await anyio.wait_all_tasks_blocked()
            if is_refused:
                node.storage.fail()
            node.storage.before = None
            gate.set()
        node.storage.release()
        await node.over(run_id)

        assert "pending" in (await node.snapshot()).state


async def test_a_question_survives_a_crash(tmp_path: Path) -> None:
    async with open_node(tmp_path / "a", agent=saying(*call("c1", "sign", "{}"), asking(CALL))) as node:
        await node.over((await node.ask()).run_id)
        before = await node.snapshot()
        copied = crash_copy(tmp_path / "a", tmp_path / "b")

    async with open_node(copied) as node:
        after = await node.snapshot()

        assert after.messages == before.messages
        assert without_derived(after.state) == without_derived(before.state)
