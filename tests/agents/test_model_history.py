"""Whatever stands in a session, what is sent to a model is a conversation that every provider takes."""

from __future__ import annotations

import base64
import itertools
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_ai.messages import (
    BinaryContent,
    ImageUrl,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

from server.agents.model.history import NO_RESULT, model_messages
from server.core.ports import Message
from tests.support.completions import completions, says
from tests.support.completions import message as blocks
from tests.support.model import ANTHROPIC, OPENAI, a_turn, all_of, assistant, result, user

IDS = st.sampled_from(["a", "b", "with.dot:1", "x" * 100, "é"])
TEXTS = st.sampled_from(["", " ", "hello", "\n", "one\ntwo"])
NAMES = st.sampled_from(["add", "files.read it", "", "x" * 100])
ARGUMENTS = st.sampled_from(["", "{}", '{"a": 1}', '{"a', "[1]", "null"])
CALLS = st.dictionaries(IDS, st.tuples(NAMES, ARGUMENTS), max_size=3)
MESSAGES = st.one_of(
    st.builds(user, TEXTS),
    st.builds(lambda text, calls: assistant(text, **calls), TEXTS, CALLS),
    st.builds(result, IDS, TEXTS),
    st.builds(lambda text: {"role": "system", "content": text}, TEXTS),
    st.builds(lambda text: {"role": "developer", "content": text}, TEXTS),
    st.builds(lambda text: {"role": "reasoning", "content": text}, TEXTS),
    st.just({"role": "activity", "activityType": "plan", "content": {}}),
)


def numbered(*messages: Message) -> list[Message]:
    return [{"id": f"m{number}", **message} for number, message in enumerate(messages)]


def sent(*messages: Message, **options: str) -> list[ModelMessage]:
    return model_messages(numbered(*messages), **options)


def parts_of(messages: list[ModelMessage]) -> list[Any]:
    return [part for message in messages for part in message.parts]


@given(st.lists(MESSAGES, max_size=12), st.sampled_from(["", "Be brief."]))
def test_any_history_is_a_conversation(history: list[Message], system: str) -> None:
    messages = sent(*history, system=system)

    assert isinstance(messages[-1], ModelRequest), "the model is asked"
    kinds = [type(message) for message in messages]
    assert all(one is not other for one, other in itertools.pairwise(kinds)), "sides take turns"
    said = [part for part in parts_of(messages) if not isinstance(part, SystemPromptPart)]
    assert isinstance(said[0], UserPromptPart), "the user begins"
    assert all(part.content.strip() for part in parts_of(messages) if isinstance(part, TextPart | SystemPromptPart))
    assert all(
        str(part.content).strip() for part in parts_of(messages) if isinstance(part, UserPromptPart | ToolReturnPart)
    )
    assert not any(
        isinstance(one, UserPromptPart) and isinstance(other, UserPromptPart)
        for message in messages
        for one, other in itertools.pairwise(message.parts)
    ), "one message of the user at a time"


@given(st.lists(MESSAGES, max_size=12))
def test_every_call_has_its_result_right_behind_it(history: list[Message]) -> None:
    messages = sent(*history)

    for message, following in zip(messages, [*messages[1:], None], strict=True):
        if isinstance(message, ModelResponse):
            asked = [part.tool_call_id for part in message.parts if isinstance(part, ToolCallPart)]
            assert isinstance(following, ModelRequest)
            answered = [part.tool_call_id for part in following.parts if isinstance(part, ToolReturnPart)]
            assert asked == answered
    called = [part for part in parts_of(messages) if isinstance(part, ToolCallPart)]
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", part.tool_name) for part in called)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,40}", part.tool_call_id) for part in called)
    assert len([part for part in parts_of(messages) if isinstance(part, ToolReturnPart)]) == len(called)


def test_a_call_without_a_result_is_told_so() -> None:
    [returned] = [
        part for part in parts_of(sent(user("hello"), assistant(c=("add", "{}")))) if part.part_kind == "tool-return"
    ]

    assert (returned.content, returned.outcome) == (NO_RESULT, "interrupted")


def test_a_failure_is_told_as_one() -> None:
    failures: list[Message] = [
        result("c", metadata={"is_error": True}),
        result("c", error="no"),
        result("c", metadata={"sessionstream": {"status": "failed"}}),
    ]

    for failure in failures:
        returned = parts_of(sent(user("hello"), assistant(c=("add", "{}")), failure))[-1]
        assert returned.outcome == "failed"


def test_what_the_assistant_said_first_gets_a_word_before_it() -> None:
    first, second, _ = sent(assistant("How can I help?"), user("hello"))

    assert isinstance(first, ModelRequest)
    assert isinstance(second, ModelResponse)
    assert [part.part_kind for part in first.parts] == ["user-prompt"]


def test_what_only_the_system_said_is_answered() -> None:
    [message] = sent({"role": "system", "content": "The user has left."})

    assert [part.part_kind for part in message.parts] == ["system-prompt", "user-prompt"]


def test_thoughts_go_back_to_nobody_else() -> None:
    thought = {
        "role": "reasoning",
        "content": "Hm.",
        "encryptedValue": "x",
        "metadata": {"signed": {"by": "anthropic"}},
    }
    history = (user("hello"), thought, assistant("Yes."), user("Sure?"))

    assert [part.part_kind for part in sent(*history, provider="anthropic")[1].parts] == ["thinking", "text"]
    assert [part.part_kind for part in sent(*history, provider="openai")[1].parts] == ["text"]


def test_parts_are_sent_as_they_are() -> None:
    picture = base64.b64encode(b"png").decode()
    parts: list[dict[str, Any]] = [
        {"type": "text", "text": "What is this?"},
        {"type": "image", "source": {"type": "data", "value": picture, "mimeType": "image/png"}},
        {"type": "image", "source": {"type": "url", "value": "https://example.com/a.png"}},
    ]

    [prompt] = sent({"role": "user", "content": parts})[0].parts

    assert isinstance(prompt, UserPromptPart)
    assert prompt.content == [
        "What is this?",
        BinaryContent(b"png", media_type="image/png"),
        ImageUrl("https://example.com/a.png"),
    ]


@pytest.mark.parametrize("route", [OPENAI, ANTHROPIC])
@pytest.mark.parametrize(
    ("kind", "mime"),
    [
        ("video", "video/mp4"),
        ("audio", "audio/ogg"),
        ("document", "application/zip"),
        ("document", "text/plain"),
        ("image", "image/svg+xml"),
        ("image", "nonsense"),
    ],
)
async def test_a_medium_that_a_provider_refuses_spoils_no_conversation(route: str, kind: str, mime: str) -> None:
    source = {"type": "data", "value": base64.b64encode(b"\xff").decode(), "mimeType": mime}
    async with completions() as server:
        server.will(says("Yes.") if route == OPENAI else blocks(({"type": "text", "text": "Yes."}, [])))
        await all_of(server.agent(route=route), a_turn({"role": "user", "content": [{"type": kind, "source": source}]}))

        told = "\ufffd" if mime == "text/plain" else f"(a part of type {kind} that cannot be read here)"
        assert told in str(server.sent)


def test_what_cannot_be_read_or_would_be_fetched_is_named() -> None:
    sources: list[dict[str, Any]] = [
        {"type": "data", "value": "%%%", "mimeType": "application/pdf"},
        {"type": "url", "value": "http://localhost/secret"},
        {"type": "file", "value": "file-1"},
    ]
    parts = [{"type": "document", "source": source} for source in sources]

    [prompt] = sent({"role": "user", "content": parts})[0].parts

    assert isinstance(prompt, UserPromptPart)
    assert all(isinstance(part, str) and "document" in part for part in prompt.content)
    assert "secret" not in str(prompt.content)
