"""What does not fit into the context is left out by whole turns, and the client is told; a summary may stand for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.agents.model.fitting import MEDIA_TOKENS, MESSAGE_TOKENS, estimate, fit, room_for_answer, tokens_of
from server.agents.model.summary import KEY, MAX_TOKENS
from server.agents.tools import ToolResult
from server.core.ports import Event, Message
from tests.support.completions import CUT, Completions, calls, chunk, completions, says
from tests.support.model import Answerer, Box, a_turn, all_of, assistant, result, user
from tests.support.node import open_node

LONG = "word " * 600  # 1,000 tokens
SYSTEM: Message = {"role": "system", "content": "The shop is closed."}


@pytest.fixture(scope="module")
async def running() -> AsyncIterator[Completions]:
    async with completions() as server:
        yield server


@pytest.fixture
async def server(running: Completions) -> AsyncIterator[Completions]:
    yield running
    await running.forget()


def numbered(*messages: Message) -> list[Message]:
    return [{"id": f"m{number}", **message} for number, message in enumerate(messages)]


def told(events: list[Event]) -> list[dict[str, Any]]:
    return [event["value"] for event in events if event["type"] == "CUSTOM"]


# --- fitting


def test_a_conversation_that_fits_is_whole() -> None:
    messages = numbered(SYSTEM, user("one"), assistant("1"), user("two"))

    fitted = fit(messages, sum(map(tokens_of, messages)))

    assert (fitted.kept, fitted.dropped, fitted.dropped_turns) == (messages, [], 0)


def test_the_oldest_turn_goes_first_and_the_system_stays() -> None:
    messages = numbered(user("one"), assistant("1"), SYSTEM, user("two"), assistant("2"), user("three"))

    fitted = fit(messages, sum(map(tokens_of, messages)) - 1)

    assert [one["id"] for one in fitted.kept] == ["m2", "m3", "m4", "m5"]
    assert ([one["id"] for one in fitted.dropped], fitted.dropped_turns) == (["m0", "m1"], 1)


def test_the_last_turn_stays_whatever_it_takes() -> None:
    messages = numbered(user("one"), assistant("1"), user(LONG), assistant(c=("add", "{}")), result("c", LONG))

    assert fit(messages, 0).kept == messages[2:]


def test_a_system_message_to_be_answered_is_a_turn() -> None:
    messages = numbered(user(LONG), assistant("1"), SYSTEM)

    assert fit(messages, 0).kept == messages[2:]


TURNS = st.lists(
    st.tuples(
        st.text(max_size=30),
        st.booleans(),
        st.booleans(),
        st.text(max_size=200),
    ),
    min_size=1,
    max_size=8,
)


@given(TURNS, st.integers(0, 500), st.one_of(st.none(), st.integers(0, 200)))
def test_no_exchange_is_halved_and_nothing_of_the_system_is_lost(
    turns: list[tuple[str, bool, bool, str]], room: int, target: int | None
) -> None:
    history: list[Message] = []
    for number, (text, has_call, has_system, content) in enumerate(turns):
        history.append(user(text))
        if has_call:
            history += [assistant(**{f"c{number}": ("add", "{}")}), result(f"c{number}", content)]
        history += [SYSTEM] if has_system else []
        history.append(assistant(text))
    messages = numbered(*history, user("now"))

    fitted = fit(messages, room, target=target)

    kept_calls = {call["id"] for one in fitted.kept for call in one.get("toolCalls", ())}
    assert kept_calls == {one["toolCallId"] for one in fitted.kept if one["role"] == "tool"}
    assert [one for one in fitted.kept if one["role"] == "system"] == [
        one for one in messages if one["role"] == "system"
    ]
    assert fitted.kept[-1] == messages[-1]
    assert sorted(one["id"] for one in [*fitted.kept, *fitted.dropped]) == sorted(one["id"] for one in messages)
    assert fitted.tokens == sum(map(tokens_of, fitted.kept))
    assert fitted.tokens <= room or all(one["role"] == "system" or one is messages[-1] for one in fitted.kept)


def test_tokens_are_counted_by_bytes() -> None:
    assert (estimate("four"), estimate(""), estimate("你好")) == (2, 0, 2)
    assert tokens_of(user("four")) == MESSAGE_TOKENS + 2
    assert tokens_of({"role": "activity", "content": {}}) == 0
    picture: Message = {"role": "user", "content": [{"type": "text", "text": "four"}, {"type": "image", "source": {}}]}
    assert tokens_of(picture) == MESSAGE_TOKENS + 2 + MEDIA_TOKENS


# --- the agent


async def test_the_client_is_told_what_is_left_out(tmp_path: Path, server: Completions) -> None:
    server.will(*[says("Yes.")] * 4)
    async with open_node(tmp_path, agent=server.agent(context_tokens=4096)) as node, node.client() as client:
        for _ in range(4):
            await client.until_over((await node.ask(LONG)).run_id)

    [counts] = told(client.events)
    assert (counts["dropped_turns"], counts["dropped_messages"], counts["context_tokens"]) == (1, 2, 4096)
    assert counts["tokens"] <= 4096
    assert [one["role"] for one in server.sent] == ["user", "assistant", "user", "assistant", "user"]
    assert client.faults == []


async def test_what_a_run_adds_takes_the_place_of_old_turns(server: Completions) -> None:
    server.will(calls(("find", "{}")), says("Done."))
    found = ToolResult(content="word " * 1000)
    agent = server.agent(context_tokens=2048, toolboxes=[Box(Answerer("find", found))])
    turn = a_turn(user("word " * 300), assistant("Yes."), user("word " * 300), assistant("Yes."), user("now"))

    events = await all_of(agent, turn)

    assert [len(sent["messages"]) for sent in server.requests] == [5, 5]
    assert [counts["dropped_turns"] for counts in told(events)] == [1]


async def test_many_rounds_of_results_fit_too(server: Completions) -> None:
    server.will(*[calls(("find", "{}"))] * 8, says("Done."))
    found = ToolResult(content="word " * 1000)
    agent = server.agent(context_tokens=2048, toolboxes=[Box(Answerer("find", found))])

    await all_of(agent, a_turn(user("word " * 300), assistant("Yes."), user("now")))

    sizes = [sum(estimate(one.get("content") or "") for one in sent["messages"]) for sent in server.requests]
    assert len(sizes) == 9
    assert max(sizes) <= 2048 - room_for_answer(2048)


# --- the summary


async def test_a_summary_stands_for_what_is_left_out_and_is_made_once(tmp_path: Path, server: Completions) -> None:
    server.will(*[says("Yes.")] * 3, says("They said ", "word."), says("Fourth."), says("Fifth."))
    agent = server.agent(context_tokens=4096, summarize=True)
    async with open_node(tmp_path, agent=agent) as node, node.client() as client:
        for _ in range(4):
            await client.until_over((await node.ask(LONG)).run_id)
        await client.until_over((await node.ask("Again?")).run_id)

    asked = server.requests[3]
    assert asked["max_completion_tokens"] == MAX_TOKENS
    assert "Summarise" in asked["messages"][0]["content"]
    fourth, fifth = server.requests[4:]
    for request in (fourth, fifth):
        assert request["messages"][0]["content"].startswith("[Summary of the earlier conversation]\nThey said word.")
    answer = client.fold.messages[-3]
    assert answer["content"] == "Fourth."
    assert answer["metadata"][KEY]["text"] == "They said word."
    assert KEY not in client.fold.messages[-1]["metadata"]
    assert client.events[-1]["outcome"] == {"type": "success"}


async def test_a_summary_goes_into_the_next_one(server: Completions) -> None:
    server.will(says("They said both."), says("Yes."))
    old = {**assistant("Yes."), "id": "old", "metadata": {KEY: {"through": "m1", "text": "They said one."}}}
    history = (
        user("one"),
        assistant("1"),
        user(LONG),
        old,
        user(LONG),
        assistant("Yes."),
        user(LONG),
        assistant("Yes."),
        user(LONG),
    )

    await all_of(server.agent(context_tokens=4096, summarize=True), a_turn(*history))

    assert server.requests[0]["messages"][1]["content"].startswith("Summary so far: They said one.")
    assert "They said both." in server.sent[0]["content"]


async def test_a_summary_of_what_was_removed_does_not_count(server: Completions) -> None:
    server.will(says("Yes."))
    old = {**assistant("Yes."), "metadata": {KEY: {"through": "removed", "text": "A secret."}}}

    await all_of(server.agent(context_tokens=4096, summarize=True), a_turn(user("one"), old, user("two")))

    assert "secret" not in str(server.sent)


@pytest.mark.parametrize("begun", [[], [chunk({"role": "assistant", "content": "They said"})]])
async def test_the_turn_goes_on_without_a_summary_that_fails(server: Completions, begun: list[Any]) -> None:
    server.will([*begun, CUT], says("Yes."))
    history = (user(LONG), assistant("Yes.")) * 3

    events = await all_of(server.agent(context_tokens=4096, summarize=True), a_turn(*history, user(LONG)))

    assert events[-1]["type"] == "TEXT_MESSAGE_END"
    assert "Summary" not in str(server.sent)
