"""A turn is sent as AG-UI's RunAgentInput, and what the remote named comes back to it by its own names."""

from __future__ import annotations

from uuid import UUID

import pytest
from ag_ui.core import RunAgentInput

from server.agents.remote import RemoteAgent
from server.core.ports import Message
from tests.support.remote import (
    FINISHED,
    QUESTION,
    STARTED,
    Remote,
    call,
    messages_of,
    result,
    text,
    told,
    turn_of,
)


async def test_a_turn_is_sent_as_run_agent_input(remote: Remote, agent: RemoteAgent) -> None:
    """AG-UI 1.0: the official model must take it, and what is ours alone stays here."""
    remote.will(STARTED, FINISHED)
    earlier: list[Message] = [
        {"id": "u0", "role": "user", "content": "before", "metadata": {"sessionstream": {"run_id": "r0"}}},
        {"id": "th", "role": "reasoning", "content": "hm"},
        {
            "id": "a0",
            "role": "assistant",
            "content": "well",
            "toolCalls": [
                {"id": "c0", "type": "function", "function": {"name": "add", "arguments": "{}"}, "metadata": {}}
            ],
        },
        {"id": "t0", "role": "tool", "toolCallId": "c0", "content": "3", "metadata": {"sources": []}},
        {"id": "act", "role": "activity", "activityType": "PLAN", "content": {}},
    ]
    tool = {"name": "wallet", "description": "asks the wallet", "parameters": {"type": "object"}}
    context = {"description": "page", "value": "shop"}

    await told(
        agent,
        turn_of(
            *earlier,
            QUESTION,
            state={"n": 1},
            options={"mood": "good"},
            tools=[tool],
            context=[context],
            persona="pirate",
        ),
    )

    [sent] = remote.inputs
    RunAgentInput.model_validate(sent)
    assert UUID(sent.pop("threadId"))
    assert sent == {
        "runId": "r1",
        "protocolVersion": "1.0",
        "state": {"n": 1},
        "messages": [
            {"id": "u0", "role": "user", "content": "before"},
            {"id": "th", "role": "reasoning", "content": "hm"},
            {
                "id": "a0",
                "role": "assistant",
                "content": "well",
                "toolCalls": [{"id": "c0", "type": "function", "function": {"name": "add", "arguments": "{}"}}],
            },
            {"id": "t0", "role": "tool", "content": "3", "toolCallId": "c0"},
            {"id": "u1", "role": "user", "content": "hi"},
        ],
        "tools": [tool],
        "context": [context, {"description": "the persona to speak as", "value": "pirate"}],
        "forwardedProps": {"mood": "good"},
    }
    [headers] = remote.headers
    assert headers["authorization"] == "Bearer key"
    assert headers["accept"] == "text/event-stream"
    assert headers["accept-encoding"] == "identity"
    assert headers["content-type"] == "application/json"


async def test_a_thread_belongs_to_one_session_of_one_user(remote: Remote, agent: RemoteAgent) -> None:
    """Two users may have sessions of the same id; a remote that remembers threads must not mix them up."""
    for user, session in (("ann", "s"), ("ann", "s"), ("bob", "s"), ("ann", "other")):
        remote.will(STARTED, FINISHED)
        await told(agent, turn_of(user_id=user, session_id=session))

    first, again, bob, other = (sent["threadId"] for sent in remote.inputs)
    assert first == again
    assert len({first, bob, other}) == 3


# --- ids


async def test_ids_that_the_session_has_already_become_new_ones(remote: Remote, agent: RemoteAgent) -> None:
    """Many agents count from 1 in every run; reusing an id would write into the past."""
    asked: Message = {
        "id": "m1",
        "role": "assistant",
        "content": "earlier",
        "toolCalls": [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}],
    }
    done: Message = {"id": "result", "role": "tool", "toolCallId": "c1", "content": "0"}
    remote.will(STARTED, *text("m1", "now"), *call("c1"), result("c1", "3"), FINISHED)

    said, called, answer = await messages_of(agent, turn_of(asked, done, QUESTION))

    ids = {said["id"], called["id"], called["toolCalls"][0]["id"], answer["id"]}
    assert not ids & {"m1", "c1", "result", "u1"}
    assert (said["content"], answer["content"]) == ("now", "3")
    assert answer["toolCallId"] == called["toolCalls"][0]["id"]


async def test_one_id_for_several_things_becomes_several(remote: Remote, agent: RemoteAgent) -> None:
    """Some agents give the reasoning, the answer and the results of one response the same id."""
    remote.will(
        STARTED,
        {"type": "REASONING_MESSAGE_CHUNK", "messageId": "x", "delta": "hm"},
        *text("x", "Both:"),
        *call("c1"),
        *call("c2"),
        result("c1", "1", "x"),
        result("c2", "2", "x"),
        FINISHED,
    )

    messages = await messages_of(agent)

    assert [message["role"] for message in messages].count("tool") == 2
    assert len({message["id"] for message in messages}) == len(messages)


@pytest.mark.parametrize("call_id", ["call_1|fc:2", "remote:call_1:7Cfc"])
async def test_an_id_with_other_letters_comes_back_to_the_remote_as_it_was(
    remote: Remote, agent: RemoteAgent, call_id: str
) -> None:
    """Providers make ids such as `call_1|fc_2`; the remote must find its own in the history."""
    remote.will(STARTED, *text("mé/1", "x"), *call(call_id), result(call_id, "3", ""), FINISHED)
    messages = await messages_of(agent)
    remote.will(STARTED, FINISHED)

    await told(agent, turn_of(*messages, QUESTION))

    sent = remote.inputs[-1]["messages"]
    assert sent[0]["id"] == "mé/1"
    assert sent[1]["toolCalls"][0]["id"] == call_id
    assert sent[2]["toolCallId"] == call_id


async def test_an_id_too_long_for_ours_is_another_one(remote: Remote, agent: RemoteAgent) -> None:
    remote.will(STARTED, *text("|" * 100, "x"), FINISHED)

    [message] = await messages_of(agent)

    assert (message["content"], len(message["id"])) == ("x", 36)


async def test_the_users_message_streamed_back_is_left_out(remote: Remote, agent: RemoteAgent) -> None:
    remote.will(STARTED, *text("u1", "hi", role="user"), *text("m1", "hello"), FINISHED)

    assert await told(agent) == text("m1", "hello")
