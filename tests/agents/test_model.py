"""The model agent streams what a model says, whatever it says, and counts what it costs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from server.agents.model import ModelAgent
from server.agents.personas import Persona, Personas
from server.errors import ConfigError
from tests.support.client import Client
from tests.support.completions import Completions, chunk, completions, message, says, usage
from tests.support.model import ANTHROPIC, a_turn, all_of, model_agent, user
from tests.support.node import open_node
from tests.support.standard import violations

SPENT = {"provider": "openai-compatible", "model": "scripted", "inputTokens": 11, "outputTokens": 7}


@pytest.fixture(scope="module")
async def running() -> AsyncIterator[Completions]:
    async with completions() as server:
        yield server


@pytest.fixture
async def server(running: Completions) -> AsyncIterator[Completions]:
    yield running
    await running.forget()


async def streamed(folder: Path, agent: ModelAgent, text: str = "hello") -> Client:
    """Return what a client saw of one run in a real node; it was legal."""
    async with open_node(folder, agent=agent) as node, node.client() as client:
        accepted = await node.ask(text)
        await client.until_over(accepted.run_id)
    assert client.faults == []
    assert [line for event in client.events for line in violations(event)] == []
    return client


def has_begun(client: Client) -> bool:
    return any(message.get("content") == "Hel" for message in client.fold.messages)


async def test_text_streams_as_one_message_that_knows_its_cost(tmp_path: Path, server: Completions) -> None:
    server.will(says("Hel", "lo"))

    client = await streamed(tmp_path, server.agent())

    answer = client.fold.messages[-1]
    assert (answer["role"], answer["content"]) == ("assistant", "Hello")
    assert answer["metadata"]["usage"] == SPENT
    assert client.events[-1]["usage"] == [SPENT]
    assert client.events[-1]["outcome"] == {"type": "success"}


async def test_each_piece_is_an_event_of_its_own(server: Completions) -> None:
    server.will(says("a", "b", "c"))

    events = await all_of(server.agent(), a_turn(user("hello")))

    assert [event["delta"] for event in events if event["type"] == "TEXT_MESSAGE_CONTENT"] == ["a", "b", "c"]


async def test_thoughts_stream_as_reasoning_before_the_answer(tmp_path: Path, server: Completions) -> None:
    server.will([chunk({"reasoning_content": "Hm, "}), chunk({"reasoning_content": "so."}), *says("Yes.")])

    client = await streamed(tmp_path, server.agent())

    assert [(one["role"], one["content"]) for one in client.fold.messages[1:]] == [
        ("reasoning", "Hm, so."),
        ("assistant", "Yes."),
    ]


async def test_signed_thoughts_go_back_to_who_signed_them(tmp_path: Path, server: Completions) -> None:
    thought = ({"type": "thinking", "thinking": "", "signature": ""}, [
        {"type": "thinking_delta", "thinking": "Hm."},
        {"type": "signature_delta", "signature": "signed"},
    ])  # fmt: skip
    said = ({"type": "text", "text": ""}, [{"type": "text_delta", "text": "Yes."}])
    server.will(message(thought, said), message(said))
    async with open_node(tmp_path, agent=server.agent(route=ANTHROPIC)) as node:
        for text in ("Really?", "Sure?"):
            await node.over((await node.ask(text)).run_id)

    assert server.sent[1] == {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "signed"},
            {"type": "text", "text": "Yes."},
        ],
    }


async def test_hidden_thoughts_are_kept_for_who_hid_them(tmp_path: Path, server: Completions) -> None:
    hidden: tuple[dict[str, Any], list[dict[str, Any]]] = ({"type": "redacted_thinking", "data": "secret"}, [])
    said = ({"type": "text", "text": ""}, [{"type": "text_delta", "text": "Yes."}])
    server.will(message(hidden, said), message(said))
    async with open_node(tmp_path, agent=server.agent(route=ANTHROPIC)) as node:
        for text in ("Really?", "Sure?"):
            await node.over((await node.ask(text)).run_id)

    assert server.sent[1]["content"][0] == {"type": "redacted_thinking", "data": "secret"}


# --- odd answers


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["\ud83d", "\ude00"], "😀"),
        (["a\ud83d", "b"], "a\ufffdb"),
        (["a", "\ud83d"], "a\ufffd"),
        (["", "a", ""], "a"),
        (["\n\n", "a"], "\n\na"),
        (["e", "\u0301"], "e\u0301"),
    ],
)
async def test_text_is_whole_however_it_is_cut(
    tmp_path: Path, server: Completions, pieces: list[str], text: str
) -> None:
    server.will(says(*pieces))

    client = await streamed(tmp_path, server.agent())

    assert client.fold.messages[-1]["content"] == text


async def test_half_a_character_of_a_thought_is_mended(tmp_path: Path, server: Completions) -> None:
    server.will([chunk({"reasoning_content": "hm\ud83d"}), *says("Yes.")])

    client = await streamed(tmp_path, server.agent())

    assert client.fold.messages[1]["content"] == "hm\ufffd"


async def test_an_empty_answer_is_no_message_and_the_next_turn_is_answered(tmp_path: Path, server: Completions) -> None:
    server.will(says(), says("Here."))
    async with open_node(tmp_path, agent=server.agent()) as node, node.client() as client:
        for text in ("Are you there?", "Hello?"):
            await client.until_over((await node.ask(text)).run_id)

    assert [one["content"] for one in client.fold.messages] == ["Are you there?", "Hello?", "Here."]
    assert server.sent == [{"role": "user", "content": "Are you there?\n\nHello?"}]


async def test_pieces_without_content_change_nothing(tmp_path: Path, server: Completions) -> None:
    odd = [chunk({}), chunk({"content": None}), chunk({"role": "assistant"}), {**chunk({}), "choices": []}]
    server.will([*odd, *says("Yes."), *odd[:1]])

    client = await streamed(tmp_path, server.agent())

    assert client.fold.messages[-1]["content"] == "Yes."


async def test_an_answer_that_hit_its_limit_says_so(tmp_path: Path, server: Completions) -> None:
    server.will(says("And then", finish="length"))

    client = await streamed(tmp_path, server.agent())

    assert client.fold.messages[-1]["metadata"]["finish_reason"] == "length"
    assert client.events[-1]["type"] == "RUN_FINISHED"


async def test_all_that_a_request_costs_is_counted(server: Completions) -> None:
    details = {"prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 3}}
    server.will([chunk({"content": "Yes."}), chunk({}, "stop"), usage(**details)])
    turn = a_turn(user("hello"))

    await all_of(server.agent(), turn)

    assert turn.usage == [{**SPENT, "cachedInputTokens": 4, "reasoningTokens": 3}]


# --- what is sent


async def test_persona_and_instructions_stand_before_the_conversation(server: Completions) -> None:
    server.will(says("Yes."))
    nurse = Persona(name="nurse", description="d", greeting="", temperature=0.25, instructions="You are a nurse.")
    agent = server.agent(personas=Personas({"nurse": nurse}), instructions="Be brief.")
    context = [{"description": "page", "value": "/help"}]

    await all_of(agent, a_turn(user("hello"), persona="nurse", context=context))

    told = "Be brief.\n\nYou are a nurse.\n\nWhat the client says about the situation:\n- page: /help"
    assert server.sent == [{"role": "system", "content": told}, {"role": "user", "content": "hello"}]
    assert server.requests[0]["temperature"] == 0.25


async def test_a_persona_that_is_gone_is_nobody(server: Completions) -> None:
    server.will(says("Yes."))

    await all_of(server.agent(), a_turn(user("hello"), persona="gone"))

    assert server.sent == [{"role": "user", "content": "hello"}]


async def test_settings_reach_the_model(server: Completions) -> None:
    server.will(says("Yes."))
    agent = server.agent(api_key="secret", settings={"max_tokens": 5, "extra_body": {"ignore_eos": True}})

    await all_of(agent, a_turn(user("hello")))

    sent = server.requests[0]
    assert (sent["max_completion_tokens"], sent["ignore_eos"]) == (5, True)
    assert server.keys == ["Bearer secret"]


async def test_no_key_of_openai_is_sent_elsewhere(server: Completions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    server.will(says("Yes."))

    await all_of(server.agent(), a_turn(user("hello")))

    assert "secret" not in server.keys[0]


# --- slow, and stopped


async def test_a_slow_answer_is_waited_for(tmp_path: Path, server: Completions) -> None:
    held = anyio.Event()
    server.will([chunk({"content": "Hel"}), held, *says("lo")])
    async with open_node(tmp_path, agent=server.agent()) as node, node.client() as client:
        accepted = await node.ask("hello")
        await client.until(has_begun)
        held.set()
        await client.until_over(accepted.run_id)

    assert client.fold.messages[-1]["content"] == "Hello"


async def test_an_interrupt_closes_the_connection_and_keeps_what_was_said(tmp_path: Path, server: Completions) -> None:
    server.will([chunk({"content": "Hel"}), anyio.Event()])
    async with open_node(tmp_path, agent=server.agent()) as node, node.client() as client:
        accepted = await node.ask("hello")
        await client.until(has_begun)
        await node.interrupt(accepted.run_id)
        await client.until_over(accepted.run_id)
        with anyio.fail_after(5):
            await server.left.wait()

    assert client.fold.messages[-1]["content"] == "Hel"
    assert client.events[-1]["outcome"] == {"type": "cancelled"}
    assert client.faults == []


async def test_an_interrupt_before_the_first_piece_closes_the_connection(tmp_path: Path, server: Completions) -> None:
    held = anyio.Event()
    server.will([held])
    async with open_node(tmp_path, agent=server.agent()) as node:
        accepted = await node.ask("hello")
        with anyio.fail_after(5):
            while not server.requests:
                await anyio.lowlevel.checkpoint()
            await node.interrupt(accepted.run_id)
            await server.left.wait()


async def test_what_an_interrupted_answer_cost_so_far_is_counted(tmp_path: Path, server: Completions) -> None:
    said = message(({"type": "text", "text": ""}, [{"type": "text_delta", "text": "Hel"}]))[:3]
    server.will([*said, anyio.Event()])
    async with open_node(tmp_path, agent=server.agent(route=ANTHROPIC)) as node, node.client() as client:
        accepted = await node.ask("hello")
        await client.until(has_begun)
        await node.interrupt(accepted.run_id)
        await client.until_over(accepted.run_id)

    spent = {"provider": "anthropic", "model": "scripted", "inputTokens": 11, "outputTokens": 1}
    assert client.events[-1]["usage"] == [spent]


# --- setting up


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"model": "gpt-5"}, "model"),
        ({"model": "openai:"}, "model"),
        ({"base_url": "localhost:8080"}, "base_url"),
        ({"context_tokens": 100}, "context_tokens"),
        ({"timeout_s": 0}, "timeout_s"),
    ],
)
def test_a_wrong_value_is_named(wrong: dict[str, Any], named: str) -> None:
    given: dict[str, Any] = {"context_tokens": 8192, "timeout_s": 10.0, "personas": Personas({}), **wrong}

    with pytest.raises(ConfigError, match=f"^{named}: "):
        ModelAgent(given.pop("model", "openai:gpt-5"), **given)


def test_a_key_is_never_shown() -> None:
    agent = model_agent("http://localhost", api_key="secret")

    assert "secret" not in repr(agent._setup)


async def test_the_service_gets_ready_and_closes_its_connections(server: Completions) -> None:
    agent = server.agent()
    server.will(says("Yes."))
    async with anyio.create_task_group() as group:
        group.start_soon(agent.run)
        await all_of(agent, a_turn(user("hello")))
        assert agent.health() == {"status": "ok", "model": "openai:tiny"}
        group.cancel_scope.cancel()

    assert agent._provider is None


async def test_a_run_goes_on_when_the_service_ends(tmp_path: Path, server: Completions) -> None:
    held = anyio.Event()
    server.will([chunk({"content": "Hel"}), held, *says("lo")])
    agent = server.agent()
    async with open_node(tmp_path, agent=agent) as node, node.client() as client:
        accepted = await node.ask("hello")
        await client.until(has_begun)
        await agent.aclose()
        held.set()
        await client.until_over(accepted.run_id)

    assert client.fold.messages[-1]["content"] == "Hello"
    assert agent._provider is None


def test_the_library_is_not_imported_before_it_is_needed() -> None:
    code = "import sys, server.agents.model; print([name for name in sys.modules if name.startswith('pydantic_ai')])"

    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    assert shown.stdout.strip() == "[]"
