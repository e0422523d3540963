"""The transcript folds events as clients do, and knows what is open."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from server.core.ports import Event, Message
from server.core.transcript import Transcript
from tests.support.client import Fold
from tests.support.sequences import STEADY, legal_events


def folded(*events: Event) -> list[Message]:
    transcript = Transcript()
    for event in events:
        transcript.apply(event)
    return transcript.messages()


def start(message_id: str = "m", **fields: Any) -> Event:
    return {"type": "TEXT_MESSAGE_START", "messageId": message_id, **fields}


def content(delta: str, message_id: str = "m", **fields: Any) -> Event:
    return {"type": "TEXT_MESSAGE_CONTENT", "messageId": message_id, "delta": delta, **fields}


def end(message_id: str = "m", **fields: Any) -> Event:
    return {"type": "TEXT_MESSAGE_END", "messageId": message_id, **fields}


def call(call_id: str, **fields: Any) -> list[Event]:
    return [
        {"type": "TOOL_CALL_START", "toolCallId": call_id, "toolCallName": "search", **fields},
        {"type": "TOOL_CALL_ARGS", "toolCallId": call_id, "delta": '{"q":'},
        {"type": "TOOL_CALL_ARGS", "toolCallId": call_id, "delta": "1}"},
        {"type": "TOOL_CALL_END", "toolCallId": call_id},
    ]


def result(call_id: str, message_id: str) -> Event:
    return {"type": "TOOL_CALL_RESULT", "toolCallId": call_id, "messageId": message_id, "content": "found"}


def test_text_is_joined_and_the_role_defaults_to_assistant() -> None:
    assert folded(start(), content("Hel"), content("lo"), end()) == [
        {"id": "m", "role": "assistant", "content": "Hello"}
    ]


def test_metadata_of_start_content_and_end_is_merged_key_by_key() -> None:
    """AG-UI 1.0: later keys win, others stay."""
    messages = folded(
        start(metadata={"a": 1, "b": 1}, name="bob"),
        content("x", metadata={"b": 2}),
        end(metadata={"c": 3}),
    )

    assert messages == [
        {
            "id": "m",
            "role": "assistant",
            "content": "x",
            "name": "bob",
            "metadata": {"a": 1, "b": 2, "c": 3},
        }
    ]


def test_a_call_stands_in_its_parent_and_its_result_behind_it() -> None:
    """AG-UI 1.0: results follow their caller, in the order they came, before what was said later."""
    messages = folded(
        start("a"),
        content("thinking", "a"),
        end("a"),
        *call("t", parentMessageId="a"),
        *call("u", parentMessageId="a"),
        start("b"),
        end("b"),
        result("u", "r1"),
        result("t", "r2"),
    )

    calls = [
        {"id": call_id, "type": "function", "function": {"name": "search", "arguments": '{"q":1}'}}
        for call_id in ("t", "u")
    ]
    assert messages == [
        {"id": "a", "role": "assistant", "content": "thinking", "toolCalls": calls},
        {"id": "r1", "toolCallId": "u", "role": "tool", "content": "found"},
        {"id": "r2", "toolCallId": "t", "role": "tool", "content": "found"},
        {"id": "b", "role": "assistant", "content": ""},
    ]


def test_a_call_without_parent_makes_a_message_of_its_own() -> None:
    assert [(message["id"], "content" in message) for message in folded(*call("t"))] == [("t", False)]


def test_unanswered_calls_are_known() -> None:
    transcript = Transcript()
    for event in (*call("t"), *call("u"), result("t", "r")):
        transcript.apply(event)

    assert transcript.unanswered() == ["u"]


def test_an_activity_is_replaced_patched_and_keeps_its_metadata() -> None:
    """AG-UI 1.0: a snapshot replaces unless it says not to, a delta patches."""
    activity = {"type": "ACTIVITY_SNAPSHOT", "messageId": "p", "activityType": "plan"}
    patch = [{"op": "add", "path": "/b", "value": 2}]
    messages = folded(
        {**activity, "content": {"a": 0}, "metadata": {"k": 1}},
        {**activity, "content": {"a": 1}},
        {**activity, "content": {"lost": True}, "replace": False},
        {"type": "ACTIVITY_DELTA", "messageId": "p", "activityType": "steps", "patch": patch},
    )

    assert messages == [
        {
            "id": "p",
            "role": "activity",
            "activityType": "steps",
            "content": {"a": 1, "b": 2},
            "metadata": {"k": 1},
        }
    ]


def test_a_patch_does_not_reach_into_the_event_it_patches() -> None:
    """Our contract: what is committed does not change by what comes later."""
    snapshot = {"type": "ACTIVITY_SNAPSHOT", "messageId": "p", "activityType": "plan", "content": {"a": []}}
    patch = [{"op": "add", "path": "/a/-", "value": 1}]
    folded(snapshot, {"type": "ACTIVITY_DELTA", "messageId": "p", "activityType": "plan", "patch": patch})

    assert snapshot["content"] == {"a": []}


def test_reasoning_becomes_a_message_and_its_secret_stays_with_it() -> None:
    messages = folded(
        {"type": "REASONING_START", "messageId": "z"},
        {"type": "REASONING_MESSAGE_START", "messageId": "z", "role": "reasoning"},
        {"type": "REASONING_MESSAGE_CONTENT", "messageId": "z", "delta": "hm"},
        {"type": "REASONING_MESSAGE_END", "messageId": "z"},
        {"type": "REASONING_ENCRYPTED_VALUE", "subtype": "message", "entityId": "z", "encryptedValue": "s"},
        {"type": "REASONING_END", "messageId": "z"},
    )

    assert messages == [{"id": "z", "role": "reasoning", "content": "hm", "encryptedValue": "s"}]


def test_what_is_open_is_reopened_in_the_order_of_opening() -> None:
    """The wire: a snapshot in the middle of a run opens again what is open."""
    transcript = Transcript()
    step = {"type": "STEP_STARTED", "stepName": "one"}
    opened = call("t", parentMessageId="m")[0]
    for event in (step, start(), content("x"), opened, start("n"), end("n")):
        transcript.apply(event)

    assert transcript.reopening() == [step, start(), opened]


@given(legal_events, st.data())
@STEADY
def test_transcript_agrees_with_a_client_and_a_copy_goes_its_own_way(events: list[Event], data: st.DataObject) -> None:
    """Invariant 2: the server's fold and a client's are folds of one log."""
    cut = data.draw(st.integers(0, len(events)))
    transcript, client = Transcript(), Fold()
    twin, halfway = transcript, client
    for index, event in enumerate(events):
        if index == cut:
            twin, halfway = transcript.copy(), copy.deepcopy(client)
        transcript.apply(event)
        client.apply(event)
    if cut == len(events):
        twin, halfway = transcript.copy(), client

    assert transcript.messages() == client.messages
    assert twin.messages() == halfway.messages
    for event in events[cut:]:
        twin.apply(event)
    assert twin.messages() == client.messages
    assert twin.open == transcript.open
    assert len(twin) == len(client.messages)
