"""Snapshots of a remote tell what is new and repeat nothing."""

from __future__ import annotations

from server.agents.remote import RemoteAgent
from server.core.ports import Event, Message
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


async def test_a_snapshot_of_messages_adds_nothing_that_is_there(remote: Remote, agent: RemoteAgent) -> None:
    """LangGraph and others end a run by restating the conversation."""
    history: list[Message] = [
        {"id": "u0", "role": "user", "content": "x"},
        {"id": "a0", "role": "assistant", "content": "y"},
    ]
    whole = [
        *history,
        QUESTION,
        {
            "id": "m1",
            "role": "assistant",
            "content": "hello",
            "toolCalls": [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}],
        },
        {"id": "t", "role": "tool", "toolCallId": "c1", "content": "3"},
    ]
    remote.will(
        STARTED,
        *text("m1", "hello"),
        *call("c1"),
        result("c1", "3"),
        {"type": "MESSAGES_SNAPSHOT", "messages": whole},
        FINISHED,
    )

    events = await told(agent, turn_of(*history, QUESTION))

    assert [event["type"] for event in events] == [
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
        "TOOL_CALL_START",
        "TOOL_CALL_ARGS",
        "TOOL_CALL_END",
        "TOOL_CALL_RESULT",
    ]


async def test_a_snapshot_with_new_ids_for_everything_adds_nothing_either(remote: Remote, agent: RemoteAgent) -> None:
    history: list[Message] = [
        {"id": "u0", "role": "user", "content": "x"},
        {"id": "a0", "role": "assistant", "content": "y"},
    ]
    whole = [
        {"id": f"new-{at}", **{name: value for name, value in one.items() if name != "id"}}
        for at, one in enumerate([*history, QUESTION, {"role": "assistant", "content": "hello"}])
    ]
    remote.will(STARTED, *text("m1", "hel", "lo"), {"type": "MESSAGES_SNAPSHOT", "messages": whole}, FINISHED)

    assert await told(agent, turn_of(*history, QUESTION)) == text("m1", "hel", "lo")


async def test_what_was_said_before_a_question_to_the_client_is_not_said_again(
    remote: Remote, agent: RemoteAgent
) -> None:
    """The run that goes on answers the same message; its snapshot holds what the run before it said."""
    said: Message = {"id": "a1", "role": "assistant", "content": "One moment."}
    done = {"id": "new-2", "role": "assistant", "content": "Done."}
    whole = [{**QUESTION, "id": "new-0"}, {**said, "id": "new-1"}, done]
    remote.will(STARTED, {"type": "MESSAGES_SNAPSHOT", "messages": whole}, FINISHED)

    assert await messages_of(agent, turn_of(QUESTION, said, message="hi")) == [done]


async def test_an_answer_given_only_by_snapshot_is_taken(remote: Remote, agent: RemoteAgent) -> None:
    """Agents that do not stream say it so."""
    answer = {
        "id": "m1",
        "role": "assistant",
        "content": "hello",
        "toolCalls": [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}],
    }
    thought = {"id": "th", "role": "reasoning", "content": "hm"}
    done = {"id": "t", "role": "tool", "toolCallId": "c1", "content": "3"}
    plan = {"id": "act", "role": "activity", "activityType": "PLAN", "content": {"done": 1}}
    remote.will(STARTED, {"type": "MESSAGES_SNAPSHOT", "messages": [QUESTION, thought, answer, done, plan]}, FINISHED)

    assert await messages_of(agent) == [thought, answer, {**done, "id": "t"}, plan]


async def test_a_snapshot_that_does_not_hold_the_question_says_nothing(remote: Remote, agent: RemoteAgent) -> None:
    """Without it nobody knows what is old."""
    old = [{"id": "a", "role": "assistant", "content": "of another conversation"}]
    remote.will(STARTED, {"type": "MESSAGES_SNAPSHOT", "messages": old}, *text("m1", "hello"), FINISHED)

    assert await told(agent) == text("m1", "hello")


async def test_state_events_are_passed_on_unless_they_change_nothing(remote: Remote, agent: RemoteAgent) -> None:
    patch: Event = {"type": "STATE_DELTA", "delta": [{"op": "add", "path": "/m", "value": 2}]}
    remote.will(
        STARTED,
        {"type": "STATE_SNAPSHOT", "snapshot": None},
        {"type": "STATE_SNAPSHOT", "snapshot": {"n": 1}},
        patch,
        {"type": "STATE_DELTA", "delta": []},
        {"type": "STATE_SNAPSHOT", "snapshot": {"n": 1}},
        FINISHED,
    )

    assert await told(agent, turn_of(state={"n": 1})) == [patch, {"type": "STATE_SNAPSHOT", "snapshot": {"n": 1}}]


async def test_of_another_sessionstream_only_the_artifacts_are_taken(remote: Remote, agent: RemoteAgent) -> None:
    """The rest of its state is about its own session."""
    ours = {**STARTED, "metadata": {"sessionstream": {"run_id": "r"}}}
    remote.will(
        ours,
        {"type": "STATE_SNAPSHOT", "snapshot": {"session": {"title": "theirs"}, "artifacts": {"n": 1}}},
        {"type": "STATE_DELTA", "delta": [{"op": "replace", "path": "/session/title", "value": "x"}]},
        {
            "type": "STATE_DELTA",
            "delta": [
                {"op": "copy", "from": "/session/title", "path": "/artifacts/m"},
                {"op": "add", "path": "/artifacts/m", "value": 2},
                {"op": "add", "path": "/artifacts_of_others", "value": 3},
            ],
        },
        {"type": "STATE_DELTA", "delta": [{"op": "replace", "path": "/artifacts", "value": {}}]},
        FINISHED,
    )

    assert await told(agent) == [
        {"type": "STATE_SNAPSHOT", "snapshot": {"n": 1}},
        {"type": "STATE_DELTA", "delta": [{"op": "add", "path": "/m", "value": 2}]},
        {"type": "STATE_DELTA", "delta": [{"op": "replace", "path": "", "value": {}}]},
    ]
