"""The grammar lets legal sequences pass, refuses every other, and can end a run legally from anywhere."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.blackbox.grammar import Grammar as ClientGrammar
from server.core.events import run_finished, run_started
from server.core.grammar import Grammar
from server.core.ports import Event
from server.core.transcript import Transcript
from server.errors import AgentFailed
from tests.support.illegal import CALL, CALL_END, ILLEGAL, RESULT, TEXT, TEXT_END
from tests.support.sequences import STEADY, any_event, legal_events


@pytest.mark.parametrize(("sequence", "says"), ILLEGAL.values(), ids=ILLEGAL.keys())
def test_illegal_sequence_is_refused_with_its_reason(sequence: list[Any], says: str) -> None:
    """Agents: an agent that breaks the grammar ends as a failed run with a clear code."""
    grammar = Grammar(["old"])
    *before, last = sequence
    for event in before:
        grammar.check(event)

    with pytest.raises(AgentFailed) as refusal:
        grammar.check(last)

    assert refusal.value.code == "agent_protocol"
    assert says in refusal.value.detail


def test_optional_nulls_are_left_out() -> None:
    """AG-UI 1.0: optional means absent; models of other libraries dump null."""
    passed = Grammar().check({**TEXT, "name": None, "metadata": None, "timestamp": 5})

    assert passed == {**TEXT, "timestamp": 5}


def test_null_stays_where_it_is_a_value() -> None:
    """AG-UI 1.0: a CUSTOM's value is any JSON."""
    assert Grammar().check({"type": "CUSTOM", "name": "n", "value": None}) == {
        "type": "CUSTOM",
        "name": "n",
        "value": None,
    }


def test_several_things_may_be_open_at_once() -> None:
    """AG-UI 1.0: messages, calls, thoughts and steps overlap."""
    grammar = Grammar()
    for event in (
        TEXT,
        {**TEXT, "messageId": "n"},
        CALL,
        {"type": "REASONING_START", "messageId": "z"},
        {"type": "REASONING_MESSAGE_START", "messageId": "z"},
        {"type": "STEP_STARTED", "stepName": "one"},
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": ""},
    ):
        grammar.check(event)

    assert [event["type"] for event in grammar.closing("stopped")] == [
        "STEP_FINISHED",
        "REASONING_MESSAGE_END",
        "REASONING_END",
        "TOOL_CALL_END",
        "TEXT_MESSAGE_END",
        "TEXT_MESSAGE_END",
        "TOOL_CALL_RESULT",
    ]


def test_message_may_be_opened_again_by_the_same_role() -> None:
    """AG-UI 1.0: opening an ended message again appends to it."""
    grammar = Grammar()
    for event in (TEXT, TEXT_END, TEXT):
        grammar.check(event)

    assert grammar.closing("x") == [TEXT_END]


def test_every_unanswered_call_is_answered_once() -> None:
    """Invariant: history after any ending is valid for every provider, none takes a call without a result."""
    grammar = Grammar()
    for event in (CALL, CALL_END, RESULT, {**CALL, "toolCallId": "u"}):
        grammar.check(event)

    closing = grammar.closing("interrupted by the user")

    assert closing == [
        {"type": "TOOL_CALL_END", "toolCallId": "u"},
        {
            "type": "TOOL_CALL_RESULT",
            "messageId": closing[1]["messageId"],
            "toolCallId": "u",
            "content": "interrupted by the user",
            "role": "tool",
        },
    ]


@given(legal_events, st.data())
@STEADY
def test_closing_after_any_prefix_is_legal_and_answers_every_call(events: list[Event], data: st.DataObject) -> None:
    """Invariant 5: whatever ends a run, wherever it stands."""
    prefix = events[: data.draw(st.integers(0, len(events)))]
    grammar, client, transcript = Grammar(), ClientGrammar(), Transcript()
    faults = client.check(run_started("s", "r", 0))
    for event in prefix:
        grammar.check(copy.deepcopy(event))
    for event in [*prefix, *grammar.closing("the run failed")]:
        faults += client.check(event)
        transcript.apply(event)
    faults += client.check(run_finished("s", "r", "cancelled", 0))

    assert faults == []
    assert transcript.unanswered() == []
    assert transcript.open == {}


@given(legal_events)
@STEADY
def test_who_knows_the_transcript_knows_the_same_closing_as_who_checked_the_run(events: list[Event]) -> None:
    """Invariant 9: a run taken up after a crash is closed as it would have been before."""
    checked, followed, transcript = Grammar(), Grammar(), Transcript()
    for event in events:
        transcript.apply(checked.check(copy.deepcopy(event)))
    followed.take_up(transcript.reopening(), transcript.unanswered())

    def without_ids(closing: list[Event]) -> list[Event]:
        return [{**event, "messageId": "new"} if "content" in event else event for event in closing]

    assert without_ids(followed.closing("x")) == without_ids(checked.closing("x"))


@given(st.lists(any_event, max_size=40))
@STEADY
def test_what_passes_can_always_be_folded(candidates: list[Event]) -> None:
    """Our contract: the transcript trusts the grammar; an event it cannot fold would stop the whole node."""
    grammar, transcript = Grammar(), Transcript()
    for event in candidates:
        try:
            passed = grammar.check(copy.deepcopy(event))
        except AgentFailed:
            break
        transcript.apply(passed)
    for event in grammar.closing("x"):
        transcript.apply(event)
    transcript.copy()

    assert transcript.open == {}
