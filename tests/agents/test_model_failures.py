"""What goes wrong at a provider ends the run with a code that says whether to try again; what was said is kept."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from server.agents.model import ModelAgent
from server.agents.personas import Personas
from server.errors import RETRYABLE, AgentFailed, ConfigError
from tests.support.client import Client
from tests.support.completions import CUT, Completions, Refused, Script, calls, chunk, completions, message, says
from tests.support.model import ANTHROPIC, OPENAI, a_turn, all_of, model_agent, user
from tests.support.node import open_node

BEGUN = chunk({"content": "Hel"})
ANTHROPIC_BEGUN = message(({"type": "text", "text": ""}, [{"type": "text_delta", "text": "Hel"}]))[:3]


@pytest.fixture(scope="module")
async def running() -> AsyncIterator[Completions]:
    async with completions() as server:
        yield server


@pytest.fixture
async def server(running: Completions) -> AsyncIterator[Completions]:
    yield running
    await running.forget()


async def failed(folder: Path, agent: ModelAgent) -> Client:
    """Return what a client saw of a run that failed, legally."""
    async with open_node(folder, agent=agent) as node, node.client() as client:
        accepted = await node.ask("hello")
        await client.until_over(accepted.run_id)
    assert client.faults == []
    assert client.events[-1]["type"] == "RUN_ERROR"
    return client


def refused(status: int, message: str = "no", **headers: str) -> Refused:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Refused(status=status, error={"message": message, "type": "error"}, headers=named)


# --- before the answer


@pytest.mark.parametrize("route", [OPENAI, ANTHROPIC])
@pytest.mark.parametrize(
    ("script", "code", "is_retryable"),
    [
        (refused(400), "model_rejected", False),
        (refused(401), "model_unauthorized", False),
        (refused(403), "model_unauthorized", False),
        (refused(404), "model_rejected", False),
        (refused(408), "model_timeout", True),
        (refused(413), "model_context_exceeded", False),
        (refused(422), "model_rejected", False),
        (refused(429), "model_rate_limited", True),
        (refused(500), "model_unavailable", True),
        (refused(502), "model_unavailable", True),
        (refused(503), "model_unavailable", True),
        (refused(529), "model_unavailable", True),
        ([CUT], "model_unavailable", True),
    ],
)
async def test_a_refusal_has_a_code_and_is_not_asked_again(
    server: Completions, route: str, script: Script, code: str, is_retryable: bool
) -> None:
    server.will(script)

    with pytest.raises(AgentFailed) as failure:
        await all_of(server.agent(route=route), a_turn(user("hello")))

    assert (failure.value.code, failure.value.retryable) == (code, is_retryable)
    assert (code in RETRYABLE) == is_retryable
    assert len(server.requests) == 1


async def test_the_user_is_told_when_to_come_back(tmp_path: Path, server: Completions) -> None:
    server.will(refused(429, retry_after="17"))

    client = await failed(tmp_path, server.agent())

    assert client.events[-1]["code"] == "model_rate_limited"
    assert client.events[-1]["metadata"]["sessionstream"]["retryable"] is True
    assert client.events[-1]["message"].endswith("; try again in 17 s")


async def test_the_providers_own_words_are_not_the_users(tmp_path: Path, server: Completions) -> None:
    server.will(refused(401, "key sk-123 of account acme is wrong"))

    client = await failed(tmp_path, server.agent())

    assert "sk-123" not in str(client.events)


@pytest.mark.parametrize(
    "said",
    [
        "the request exceeds the available context size, try increasing it",
        "This model's maximum context length is 4096 tokens",
    ],
)
async def test_a_conversation_that_is_too_long_has_its_own_code(server: Completions, said: str) -> None:
    server.will(refused(400, said))

    with pytest.raises(AgentFailed) as failure:
        await all_of(server.agent(), a_turn(user("hello")))

    assert failure.value.code == "model_context_exceeded"


async def test_an_account_that_is_used_up_is_no_rate_limit(server: Completions) -> None:
    server.will(Refused(status=429, error={"message": "no", "code": "insufficient_quota"}))

    with pytest.raises(AgentFailed) as failure:
        await all_of(server.agent(), a_turn(user("hello")))

    assert (failure.value.code, failure.value.retryable) == ("model_quota_exceeded", False)


@pytest.mark.parametrize("route", [OPENAI, ANTHROPIC])
async def test_nobody_listening_is_unavailable(free_tcp_port: int, route: str) -> None:
    agent = model_agent(f"http://127.0.0.1:{free_tcp_port}", route=route)
    try:
        with pytest.raises(AgentFailed) as failure:
            await all_of(agent, a_turn(user("hello")))
    finally:
        await agent.aclose()

    assert failure.value.code == "model_unavailable"


# --- in the middle


@pytest.mark.parametrize(
    ("route", "script", "code"),
    [
        (OPENAI, [BEGUN, CUT], "model_cut_off"),
        (OPENAI, [BEGUN], "model_cut_off"),
        (OPENAI, [BEGUN, anyio.Event()], "model_timeout"),
        (OPENAI, [BEGUN, {"error": {"message": "busy", "code": "server_is_overloaded"}}], "model_unavailable"),
        (OPENAI, [BEGUN, {"error": {"message": "no"}}], "model_unavailable"),
        (OPENAI, [BEGUN, "no object"], "model_cut_off"),
        (OPENAI, [BEGUN, None, [1, 2]], "model_cut_off"),
        (OPENAI, [BEGUN, chunk({"content": "lo"}, "content_filter")], "model_refused"),
        (ANTHROPIC, [*ANTHROPIC_BEGUN, CUT], "model_cut_off"),
        (ANTHROPIC, ANTHROPIC_BEGUN, "model_cut_off"),
        (ANTHROPIC, [*ANTHROPIC_BEGUN, anyio.Event()], "model_timeout"),
        (
            ANTHROPIC,
            [*ANTHROPIC_BEGUN, {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}],
            "model_unavailable",
        ),
    ],
)
async def test_what_came_before_a_failure_is_kept(
    tmp_path: Path, server: Completions, route: str, script: list[Any], code: str
) -> None:
    server.will(script)

    client = await failed(tmp_path, server.agent(route=route, timeout_s=0.3))

    assert client.fold.messages[-1]["content"].startswith("Hel")
    assert client.events[-1]["code"] == code


@pytest.mark.parametrize("script", [["no object"], [{"choices": "none"}], [CUT]])
async def test_what_cannot_be_read_is_unavailable(server: Completions, script: list[Any]) -> None:
    server.will(script)

    with pytest.raises(AgentFailed) as failure:
        await all_of(server.agent(), a_turn(user("hello")))

    assert failure.value.code == "model_unavailable"


async def test_a_refusal_of_the_model_is_told(tmp_path: Path, server: Completions) -> None:
    server.will([chunk({"refusal": "I will not."}), chunk({}, "stop")])

    client = await failed(tmp_path, server.agent())

    assert (client.events[-1]["code"], client.events[-1]["message"]) == ("model_refused", "I will not.")


async def test_a_provider_that_never_answers_is_given_up(server: Completions) -> None:
    server.will([anyio.Event()])

    with pytest.raises(AgentFailed) as failure:
        await all_of(server.agent(timeout_s=0.3), a_turn(user("hello")))

    assert failure.value.code == "model_timeout"
    with anyio.fail_after(5):
        await server.left.wait()


# --- afterwards


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ([BEGUN, CUT], [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "Hel"}]),
        ([CUT], []),
    ],
)
async def test_the_next_turn_is_answered(
    tmp_path: Path, server: Completions, first: list[Any], then: list[Any]
) -> None:
    server.will(first, says("Yes."))
    async with open_node(tmp_path, agent=server.agent()) as node, node.client() as client:
        for text in ("hello", "again"):
            await client.until_over((await node.ask(text)).run_id)

    last = {"role": "user", "content": "again" if then else "hello\n\nagain"}
    assert server.sent == [*then, last]
    assert client.fold.messages[-1]["content"] == "Yes."


async def test_a_call_that_was_cut_is_answered_in_the_next_turn(tmp_path: Path, server: Completions) -> None:
    server.will([*calls(("add", '{"a": 1}'))[:1], CUT], says("Yes."))
    async with open_node(tmp_path, agent=server.agent()) as node, node.client() as client:
        for text in ("hello", "again"):
            await client.until_over((await node.ask(text)).run_id)

    assert [one["role"] for one in server.sent] == ["user", "assistant", "tool", "user"]
    assert server.sent[1]["tool_calls"][0]["function"]["arguments"] == '{"INVALID_JSON":"{\\"a\\""}'
    assert server.sent[2]["tool_call_id"] == server.sent[1]["tool_calls"][0]["id"]


# --- models that cannot be used


@pytest.mark.parametrize("model", ["nobody:gpt", "anthropic:claude", "openai:gpt-5"])
async def test_a_model_that_cannot_be_used_is_down(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    agent = ModelAgent(model, personas=Personas({}), context_tokens=8192, timeout_s=1.0)

    with pytest.raises(AgentFailed) as failure:
        await all_of(agent, a_turn(user("hello")))

    assert failure.value.code == "model_misconfigured"
    assert agent.health()["status"] == "down"
    assert model in agent.health()["detail"]
    assert model not in failure.value.detail


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydantic_ai", None)

    with pytest.raises(ConfigError, match=r'the extra "model"'):
        model_agent("http://localhost")
