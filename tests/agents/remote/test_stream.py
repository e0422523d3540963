"""What an AG-UI endpoint streams becomes events of our run, each legal where it stands."""

from __future__ import annotations

from contextlib import suppress

import anyio
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.agents.remote import RemoteAgent
from server.agents.remote.fold import Fold as RemoteFold
from server.core.ports import Event
from server.errors import AgentFailed
from tests.support.client import Fold
from tests.support.remote import (
    FINISHED,
    STARTED,
    Remote,
    call,
    frame,
    messages_of,
    result,
    text,
    told,
    turn_of,
)


async def test_text_streams_through(remote: Remote, agent: RemoteAgent) -> None:
    remote.will(STARTED, *text("m1", "Hel", "lo"), FINISHED)

    assert await told(agent) == text("m1", "Hel", "lo")


async def test_what_was_said_arrives_before_the_rest_is_there(remote: Remote, agent: RemoteAgent) -> None:
    """Streaming, not waiting for the end."""
    more = anyio.Event()
    remote.will(STARTED, *text("m1", "now")[:2], more, *text("m1", "now")[2:], FINISHED)

    said = []
    with anyio.fail_after(5):
        async for event in agent(turn_of()):
            said.append(event)
            if len(said) == 2:
                more.set()

    assert said == text("m1", "now")


async def test_reasoning_steps_activities_and_custom_events_stream_through(remote: Remote, agent: RemoteAgent) -> None:
    events: list[Event] = [
        {"type": "STEP_STARTED", "stepName": "think"},
        {"type": "REASONING_START", "messageId": "th"},
        {"type": "REASONING_MESSAGE_START", "messageId": "th"},
        {"type": "REASONING_MESSAGE_CONTENT", "messageId": "th", "delta": "hm"},
        {"type": "REASONING_MESSAGE_END", "messageId": "th"},
        {"type": "REASONING_ENCRYPTED_VALUE", "subtype": "message", "entityId": "th", "encryptedValue": "x"},
        {"type": "REASONING_END", "messageId": "th"},
        {"type": "STEP_FINISHED", "stepName": "think"},
        {"type": "ACTIVITY_SNAPSHOT", "messageId": "act", "activityType": "PLAN", "content": {"done": 0}},
        {
            "type": "ACTIVITY_DELTA",
            "messageId": "act",
            "activityType": "PLAN",
            "patch": [{"op": "replace", "path": "/done", "value": 1}],
        },
        {"type": "CUSTOM", "name": "note", "value": None},
        {"type": "RAW", "event": {"any": "thing"}, "source": "provider"},
    ]
    remote.will(STARTED, *events, FINISHED)

    assert await told(agent) == events


async def test_a_tool_call_of_the_remote_streams_through_with_its_result(remote: Remote, agent: RemoteAgent) -> None:
    remote.will(STARTED, *text("m1", "Let me see."), *call("c1"), result("c1", "3"), *text("m2", "Three."), FINISHED)

    messages = await messages_of(agent)

    assert [message["role"] for message in messages] == ["assistant", "assistant", "tool", "assistant"]
    assert messages[2]["content"] == "3"


async def test_chunks_become_whole_messages_and_calls(remote: Remote, agent: RemoteAgent) -> None:
    """AG-UI: a chunk opens what it names, and what follows closes it."""
    remote.will(
        STARTED,
        {"type": "REASONING_MESSAGE_CHUNK", "messageId": "th", "delta": "hm"},
        {"type": "TEXT_MESSAGE_CHUNK", "messageId": "m1", "delta": "one "},
        {"type": "RAW", "event": 1},
        {"type": "TEXT_MESSAGE_CHUNK", "delta": "two"},
        {"type": "TEXT_MESSAGE_CHUNK", "messageId": "m2", "role": "assistant", "delta": "three"},
        {
            "type": "TOOL_CALL_CHUNK",
            "toolCallId": "c1",
            "toolCallName": "add",
            "parentMessageId": "m2",
            "delta": '{"a":',
        },
        {"type": "TOOL_CALL_CHUNK", "toolCallId": "c1", "delta": "1}"},
        result("c1", "1"),
        FINISHED,
    )

    thought, one, two, tool = await messages_of(agent)

    assert (thought["role"], thought["content"]) == ("reasoning", "hm")
    assert (one["id"], one["content"]) == ("m1", "one two")
    assert (two["id"], two["content"]) == ("m2", "three")
    assert two["toolCalls"][0]["function"] == {"name": "add", "arguments": '{"a":1}'}
    assert tool["content"] == "1"


async def test_thinking_events_of_older_agents_become_reasoning(remote: Remote, agent: RemoteAgent) -> None:
    """Before 1.0 they had no ids; the official client translates them too."""
    remote.will(
        STARTED,
        {"type": "TEXT_MESSAGE_CHUNK", "messageId": "m0", "delta": "first"},
        {"type": "THINKING_START"},
        {"type": "THINKING_TEXT_MESSAGE_START"},
        {"type": "THINKING_TEXT_MESSAGE_CONTENT", "delta": "hm"},
        {"type": "THINKING_TEXT_MESSAGE_END"},
        {"type": "THINKING_END"},
        *text("m1", "so"),
        FINISHED,
    )

    events = await told(agent)

    fold = Fold()
    for event in events:
        fold.apply(event)
    assert [(message["role"], message["content"]) for message in fold.messages] == [
        ("assistant", "first"),
        ("reasoning", "hm"),
        ("assistant", "so"),
    ]
    assert [event["messageId"] for event in events[:3]] == ["m0"] * 3


async def test_an_emoji_cut_in_two_is_joined(remote: Remote, agent: RemoteAgent) -> None:
    """JavaScript cuts strings between the halves of a pair, and sends them as escapes, which is legal JSON."""
    halves = [
        b'data: {"type":"TEXT_MESSAGE_CONTENT","messageId":"m1","delta":"a\\ud83d"}\n\n',
        b'data: {"type":"TEXT_MESSAGE_CONTENT","messageId":"m1","delta":"\\ude00b\\ud83d"}\n\n',
        b'data: {"type":"CUSTOM","name":"half","value":["\\ud83d",{"\\ude00":1}]}\n\n',
    ]
    start, end = text("m1")
    remote.will(STARTED, start, *halves, end, FINISHED)

    events = await told(agent)

    assert "".join(event["delta"] for event in events if event["type"] == "TEXT_MESSAGE_CONTENT") == "a😀b\ufffd"
    assert events[3]["value"] == ["\ufffd", {"\ufffd": 1}]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
async def test_every_way_to_end_a_line_is_read(remote: Remote, agent: RemoteAgent, end: bytes) -> None:
    """The SSE standard; sse-starlette writes CRLF unless told otherwise. Ids, names and comments mean nothing here."""
    events = [STARTED, *text("m1", "line\u2028separator"), FINISHED]
    whole = b": ping\n\nretry: 9\nid: 1\n\n" + b"".join(b"event: x\nid: 7\n" + frame(event) for event in events)
    # In small pieces: line ends are cut, characters too.
    raw = whole.replace(b"\n", end)
    remote.will(*(raw[at : at + 7] for at in range(0, len(raw), 7)))

    assert await told(agent) == text("m1", "line\u2028separator")


async def test_a_frame_may_stretch_over_several_data_lines(remote: Remote, agent: RemoteAgent) -> None:
    remote.will(STARTED, b'data: {"type": "CUSTOM",\ndata: "name": "n", "value": 1}\n\n', FINISHED)

    assert await told(agent) == [{"type": "CUSTOM", "name": "n", "value": 1}]


async def test_what_our_grammar_does_not_know_is_left_out_or_passed_on_raw(remote: Remote, agent: RemoteAgent) -> None:
    """Unknown fields as the official client does; subagents and later events whole, for clients that know them."""
    subagent = {"type": "SUBAGENT_STARTED", "subagentRunId": "sub", "name": "helper"}
    start, content, end = text("m1", "x")
    reserved = {"sessionstream": {"run_id": "theirs"}, "ag-ui": {}, "mood": "good"}
    remote.will(
        STARTED,
        subagent,
        {
            **start,
            "subagentRunId": "sub",
            "timestamp": 1,
            "rawEvent": {},
            "later": 1,
            "metadata": reserved,
            "name": None,
        },
        {**content, "subagentRunId": "sub", "timestamp": 1.5},
        {**end, "metadata": {"sources": [1]}},
        {"type": "LATER_EVENT", "x": 1},
        {"type": "CUSTOM", "name": "sessionstream.session_ended", "value": {}},
        FINISHED,
    )

    assert await told(agent) == [
        {"type": "RAW", "event": subagent, "source": "ag-ui"},
        {**start, "metadata": {"mood": "good", "subagentRunId": "sub"}},
        content,
        {**end, "metadata": {"sources": [1]}},
        {"type": "RAW", "event": {"type": "LATER_EVENT", "x": 1}, "source": "ag-ui"},
        {
            "type": "RAW",
            "event": {"type": "CUSTOM", "name": "sessionstream.session_ended", "value": {}},
            "source": "ag-ui",
        },
    ]


# --- anything


_TYPES = st.sampled_from(
    [
        "RUN_STARTED",
        "RUN_FINISHED",
        "RUN_ERROR",
        "MESSAGES_SNAPSHOT",
        "STATE_SNAPSHOT",
        "STATE_DELTA",
        "TOOL_CALL_RESULT",
        "ACTIVITY_SNAPSHOT",
        "REASONING_START",
        "REASONING_ENCRYPTED_VALUE",
        "THINKING_END",
        "STEP_STARTED",
        "CUSTOM",
        "LATER",
        *(
            f"{item}_{end}"
            for item in ("TEXT_MESSAGE", "TOOL_CALL", "REASONING_MESSAGE")
            for end in ("START", "CONTENT", "ARGS", "END", "CHUNK")
        ),
    ]
)
_IDS = st.sampled_from(["u1", "a", "b|c", ""])
_MESSAGES = st.fixed_dictionaries(
    {"id": _IDS},
    optional={
        "role": st.sampled_from(["user", "assistant", "tool", "reasoning", "activity"]),
        "content": st.sampled_from(["hi", "x", {}]),
        "toolCallId": _IDS,
        "toolCalls": st.sampled_from([1, [2], [{"id": "a", "function": {"name": "add", "arguments": "{}"}}]]),
    },
)
_ANY = st.one_of(st.none(), st.integers(-9, 9), _IDS, st.lists(_MESSAGES, max_size=4), st.dictionaries(_IDS, st.none()))
_NAMES = (
    "messageId toolCallId toolCallName parentMessageId role delta content messages snapshot outcome usage metadata "
    "entityId subtype name value message"
)
_EVENTS = st.fixed_dictionaries({"type": _TYPES}, optional=dict.fromkeys(_NAMES.split(), _ANY))


@given(st.lists(_EVENTS, max_size=8))
def test_whatever_events_come_nothing_else_is_raised(events: list[Event]) -> None:
    """A remote is another's server: what it sends may end the run, never break us."""
    fold = RemoteFold(turn_of(tools=[{"name": "add"}]))

    with suppress(AgentFailed):
        for event in [STARTED, *events]:
            if fold.ending is None:
                orjson.dumps(list(fold.take(event)))
        if fold.ending is not None:
            orjson.dumps(fold.interrupts())
