"""Made-up sequences of events: what an agent may yield, and what it may not, over a few ids so that they collide."""

from __future__ import annotations

import copy
from typing import Any, Final

from hypothesis import settings
from hypothesis import strategies as st

from server.core.grammar import Grammar
from server.core.ports import Event
from server.errors import AgentFailed

STEADY = settings(derandomize=True, database=None, deadline=None, max_examples=100)
"""The same examples every time: a test that fails, fails again."""

_ids = st.sampled_from(["a", "b", "c"])
_texts = st.text(alphabet="xyé漢😀\n", max_size=4)
_metadata = st.one_of(st.none(), st.fixed_dictionaries({"k": _texts}))


def _event(kind: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Event]:
    made = st.fixed_dictionaries({"type": st.just(kind), **fields, "metadata": _metadata})
    return made.map(lambda event: {name: value for name, value in event.items() if value is not None})


_contents = st.dictionaries(st.sampled_from(["p", "q"]), st.integers(0, 9), max_size=2)
_operations = st.one_of(
    st.fixed_dictionaries(
        {"op": st.sampled_from(["add", "replace"]), "path": st.sampled_from(["/p", "/q", "/x/y"]), "value": _texts}
    ),
    st.fixed_dictionaries({"op": st.just("remove"), "path": st.sampled_from(["/p", "/q", ""])}),
)

any_event: st.SearchStrategy[Event] = st.one_of(
    _event("TEXT_MESSAGE_START", messageId=_ids, role=st.sampled_from([None, "assistant", "user", "system"])),
    _event("TEXT_MESSAGE_CONTENT", messageId=_ids, delta=_texts),
    _event("TEXT_MESSAGE_END", messageId=_ids),
    _event("TOOL_CALL_START", toolCallId=_ids, toolCallName=st.just("f"), parentMessageId=st.one_of(st.none(), _ids)),
    _event("TOOL_CALL_ARGS", toolCallId=_ids, delta=_texts),
    _event("TOOL_CALL_END", toolCallId=_ids),
    _event("TOOL_CALL_RESULT", messageId=st.sampled_from(["r", "s", "a"]), toolCallId=_ids, content=_texts),
    _event("REASONING_START", messageId=_ids),
    _event("REASONING_MESSAGE_START", messageId=_ids),
    _event("REASONING_MESSAGE_CONTENT", messageId=_ids, delta=_texts),
    _event("REASONING_MESSAGE_END", messageId=_ids),
    _event("REASONING_END", messageId=_ids),
    _event("STEP_STARTED", stepName=_ids),
    _event("STEP_FINISHED", stepName=_ids),
    _event("ACTIVITY_SNAPSHOT", messageId=_ids, activityType=st.just("plan"), content=_contents),
    _event("ACTIVITY_DELTA", messageId=_ids, activityType=st.just("plan"), patch=st.lists(_operations, max_size=2)),
    _event(
        "REASONING_ENCRYPTED_VALUE",
        subtype=st.sampled_from(["message", "tool-call"]),
        entityId=_ids,
        encryptedValue=st.just("e"),
    ),
    _event("CUSTOM", name=st.just("n"), value=_texts),
)


def legal(candidates: list[Event]) -> list[Event]:
    """Return those of the candidates that may be yielded one after the other, as the grammar passes them."""
    grammar, passed = Grammar(), []
    for event in candidates:
        try:
            passed.append(grammar.check(copy.deepcopy(event)))
        except AgentFailed:
            grammar = _after(passed)
    return passed


def _after(events: list[Event]) -> Grammar:
    """A refusal ends a run, so what the grammar knows after one counts for nothing: begin again from what passed."""
    grammar = Grammar()
    for event in events:
        grammar.check(copy.deepcopy(event))
    return grammar


_whole: st.SearchStrategy[list[Event]] = st.one_of(
    st.builds(
        lambda call, result, text: [
            {"type": "TOOL_CALL_START", "toolCallId": call, "toolCallName": "f"},
            {"type": "TOOL_CALL_ARGS", "toolCallId": call, "delta": text},
            {"type": "TOOL_CALL_END", "toolCallId": call},
            {"type": "TOOL_CALL_RESULT", "messageId": result, "toolCallId": call, "content": text},
        ],
        _ids,
        st.sampled_from(["r", "s", "u"]),
        _texts,
    ),
    st.builds(
        lambda message, text: [
            {"type": "TEXT_MESSAGE_START", "messageId": message},
            {"type": "TEXT_MESSAGE_CONTENT", "messageId": message, "delta": text},
            {"type": "TEXT_MESSAGE_END", "messageId": message},
        ],
        _ids,
        _texts,
    ),
)

legal_events: st.SearchStrategy[list[Event]] = st.lists(
    st.one_of(any_event.map(lambda event: [event]), any_event.map(lambda event: [event]), _whole), max_size=25
).map(lambda parts: legal([event for part in parts for event in part]))
"""Sequences that an agent may yield."""

SCRIPT: Final[tuple[Event | str, ...]] = (
    {"type": "STEP_STARTED", "stepName": "one"},
    {"type": "REASONING_START", "messageId": "z"},
    {"type": "REASONING_MESSAGE_START", "messageId": "z"},
    {"type": "REASONING_MESSAGE_CONTENT", "messageId": "z", "delta": "let "},
    {"type": "REASONING_MESSAGE_CONTENT", "messageId": "z", "delta": "me see"},
    {"type": "REASONING_MESSAGE_END", "messageId": "z"},
    {"type": "REASONING_END", "messageId": "z"},
    "I will ",
    "look. ",
    {"type": "TOOL_CALL_START", "toolCallId": "t", "toolCallName": "f"},
    {"type": "TOOL_CALL_ARGS", "toolCallId": "t", "delta": '{"q"'},
    {"type": "TOOL_CALL_ARGS", "toolCallId": "t", "delta": ":1}"},
    {"type": "TOOL_CALL_END", "toolCallId": "t"},
    {"type": "TOOL_CALL_RESULT", "messageId": "r", "toolCallId": "t", "content": "7"},
    {"type": "STEP_FINISHED", "stepName": "one"},
    {"type": "STATE_SNAPSHOT", "snapshot": {"n": 1}},
    {"type": "STATE_DELTA", "delta": [{"op": "replace", "path": "/n", "value": 2}]},
    {"type": "ACTIVITY_SNAPSHOT", "messageId": "p", "activityType": "plan", "content": {"a": 1}},
    {"type": "ACTIVITY_DELTA", "messageId": "p", "activityType": "plan", "patch": [{"op": "remove", "path": "/a"}]},
    "It is ",
    "7.",
)
"""One legal answer that has everything, for tests that stop or join after each event."""
