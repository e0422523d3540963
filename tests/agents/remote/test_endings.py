"""A remote run ends ours: well, by a question to the client, or failed."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from server.agents.remote import RemoteAgent
from server.core.ports import Event, Message
from server.errors import AgentFailed
from tests.support.client import Fold
from tests.support.remote import (
    FINISHED,
    QUESTION,
    STARTED,
    Remote,
    call,
    result,
    text,
    told,
    turn_of,
)


async def test_usage_counts_for_our_run(remote: Remote, agent: RemoteAgent) -> None:
    usage = [{"provider": "p", "model": "m", "inputTokens": 3, "outputTokens": 5, "later": 1, "totalTokens": None}]
    remote.will(STARTED, {**FINISHED, "usage": usage})
    turn = turn_of()

    await told(agent, turn)

    assert turn.usage == [{"provider": "p", "model": "m", "inputTokens": 3, "outputTokens": 5}]


@pytest.mark.parametrize("usage", [7, ["x"], [{"inputTokens": -1}], [{"model": 3}]])
async def test_usage_in_another_form_is_not_counted_and_costs_no_answer(
    remote: Remote, agent: RemoteAgent, usage: Any
) -> None:
    remote.will(STARTED, *text("m1", "x"), {**FINISHED, "usage": usage})
    turn = turn_of()

    assert await told(agent, turn) == text("m1", "x")
    assert turn.usage == []


async def test_an_error_of_the_remote_fails_the_run_with_its_words(remote: Remote, agent: RemoteAgent) -> None:
    remote.will(STARTED, {"type": "RUN_ERROR", "message": "no luck", "code": "x", "usage": [{"inputTokens": 1}]})
    turn = turn_of()

    with pytest.raises(AgentFailed) as raised:
        await told(agent, turn)

    assert (raised.value.code, raised.value.detail, raised.value.retryable) == ("remote_failed", "no luck", False)
    assert turn.usage == [{"inputTokens": 1}]


async def test_the_words_of_an_error_are_bounded(remote: Remote, agent: RemoteAgent) -> None:
    remote.will(STARTED, {"type": "RUN_ERROR", "message": "x" * 100_000, "code": "y" * 100_000})

    with pytest.raises(AgentFailed) as raised:
        await told(agent)

    assert raised.value.detail == "x" * 1000


async def test_a_run_cancelled_there_is_a_failed_one_here(remote: Remote, agent: RemoteAgent) -> None:
    """Nobody here interrupted it, and its answer is not whole."""
    remote.will(STARTED, *text("m1", "half"), {**FINISHED, "outcome": {"type": "cancelled"}})

    with pytest.raises(AgentFailed, match="cancelled where it runs") as raised:
        await told(agent)

    assert raised.value.code == "remote_failed"


async def test_a_question_of_the_remote_becomes_ours(remote: Remote, agent: RemoteAgent) -> None:
    interrupt = {
        "id": "int-c|1",
        "reason": "approval",
        "toolCallId": "c|1",
        "message": "Pay?",
        "responseSchema": {"type": "object"},
        "expiresAt": "2100-01-01T00:00:00Z",
        "metadata": {"sessionstream": {}, "sum": 5},
        "subagentRunId": "sub",
    }
    remote.will(STARTED, *call("c|1", "pay"), {**FINISHED, "outcome": {"type": "interrupt", "interrupts": [interrupt]}})

    *_, end, asked = await told(agent)

    assert asked == {
        "type": "RUN_FINISHED",
        "outcome": {
            "type": "interrupt",
            "interrupts": [
                {
                    "id": "remote:int-c:7C1",
                    "reason": "approval",
                    "toolCallId": end["toolCallId"],
                    "message": "Pay?",
                    "responseSchema": {"type": "object"},
                    "expiresAt": "2100-01-01T00:00:00Z",
                    "metadata": {"sum": 5, "subagentRunId": "sub"},
                }
            ],
        },
    }


async def test_an_answer_goes_back_by_the_remotes_ids_and_its_result_comes_from_there(
    remote: Remote, agent: RemoteAgent
) -> None:
    """The call is performed there: only its leave is sent, and the result is taken as that of the earlier call."""
    calling: Message = {
        "id": "a1",
        "role": "assistant",
        "toolCalls": [{"id": "remote:c:7C1", "type": "function", "function": {"name": "pay", "arguments": "{}"}}],
    }
    answer = {
        "interruptId": "remote:int-c:7C1",
        "status": "resolved",
        "payload": {"approved": True},
        "toolCallId": "remote:c:7C1",
    }
    # Some stream the call again before they perform it.
    remote.will(STARTED, *call("c|1", "pay"), result("c|1", "paid"), *text("m2", "Done."), FINISHED)

    events = await told(agent, turn_of(QUESTION, calling, message="hi", resume=[answer]))

    [sent] = remote.inputs
    assert sent["resume"] == [{"interruptId": "int-c|1", "status": "resolved", "payload": {"approved": True}}]
    assert sent["messages"][1]["toolCalls"][0]["id"] == "c|1"
    assert (events[0]["type"], events[0]["toolCallId"]) == ("TOOL_CALL_RESULT", "remote:c:7C1")
    assert events[1:] == text("m2", "Done.")


async def test_a_refused_call_is_refused_there_and_not_answered_twice_here(remote: Remote, agent: RemoteAgent) -> None:
    calling: Message = {
        "id": "a1",
        "role": "assistant",
        "toolCalls": [{"id": "c1", "type": "function", "function": {"name": "pay", "arguments": "{}"}}],
    }
    declined: Message = {"id": "t1", "role": "tool", "toolCallId": "c1", "content": "declined by the user"}
    answer = {"interruptId": "int-c1", "status": "cancelled", "toolCallId": "c1"}
    remote.will(STARTED, result("c1", "denied"), *text("m2", "All right."), FINISHED)

    events = await told(agent, turn_of(QUESTION, calling, declined, message="hi", resume=[answer]))

    [sent] = remote.inputs
    assert sent["resume"] == [{"interruptId": "int-c1", "status": "cancelled"}]
    assert [message["role"] for message in sent["messages"]] == ["user", "assistant"]
    assert events == text("m2", "All right.")


@pytest.mark.parametrize(
    "outcome",
    [None, {"type": "success"}, {"type": "success", "pendingToolCallIds": ["c1"]}],
    ids=["none", "plain", "named"],
)
async def test_a_call_left_to_the_client_becomes_a_question_to_it(
    remote: Remote, agent: RemoteAgent, outcome: Event | None
) -> None:
    """AG-UI ends a run well when a tool of the client is to be performed; older agents do not even say which."""
    wallet = {"name": "wallet", "description": ""}
    remote.will(STARTED, *call("c0", "own"), result("c0", "1"), *call("c1", "wallet"), {**FINISHED, "outcome": outcome})

    *_, asked = await told(agent, turn_of(tools=[wallet]))

    [interrupt] = asked["outcome"]["interrupts"]
    assert (interrupt["reason"], interrupt["toolCallId"]) == ("tool_call", "c1")


async def test_the_client_is_asked_once_about_each_call(remote: Remote, agent: RemoteAgent) -> None:
    """By the remote's question where it asks one, else by ours."""
    wallet = {"name": "wallet", "description": ""}
    interrupt = {"id": "i", "reason": "tool_call", "toolCallId": "c1"}
    remote.will(
        STARTED,
        *call("c1", "wallet"),
        *call("c2", "wallet"),
        {**FINISHED, "outcome": {"type": "interrupt", "interrupts": [interrupt]}},
    )

    *_, asked = await told(agent, turn_of(tools=[wallet]))

    first, second = asked["outcome"]["interrupts"]
    assert first == interrupt
    assert (second["reason"], second["toolCallId"]) == ("tool_call", "c2")


async def test_what_the_client_did_goes_back_as_a_result_alone(remote: Remote, agent: RemoteAgent) -> None:
    """The remote never asked by that id."""
    remote.will(STARTED, *call("c1", "wallet"), {**FINISHED, "outcome": {"type": "success"}})
    first = turn_of(tools=[{"name": "wallet", "description": ""}])
    *events, asked = await told(agent, first)
    fold = Fold()
    for event in events:
        fold.apply(event)
    [interrupt] = asked["outcome"]["interrupts"]
    done: Message = {"id": "t1", "role": "tool", "toolCallId": "c1", "content": "signed"}
    answer = {"interruptId": interrupt["id"], "status": "resolved", "payload": "signed", "toolCallId": "c1"}
    remote.will(STARTED, *text("m2", "Thanks."), FINISHED)

    await told(agent, turn_of(QUESTION, *fold.messages, done, message="hi", resume=[answer]))

    sent = remote.inputs[-1]
    assert "resume" not in sent
    assert sent["messages"][-1] == done


async def test_the_remote_is_let_to_end_its_response(remote: Remote, agent: RemoteAgent) -> None:
    """A connection closed at the last event would cut off what it still has to store; what it says then is nothing."""
    later = anyio.Event()
    remote.will(STARTED, *text("m1", "x"), FINISHED, later, *text("m2", "too late"), b"data: not even JSON\n\n")

    events = []
    with anyio.fail_after(5):
        async for event in agent(turn_of()):
            events.append(event)
            if len(events) == 3:
                later.set()

    assert events == text("m1", "x")
    assert remote.ended == ["whole"]
