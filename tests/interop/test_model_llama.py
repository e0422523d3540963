"""A real model server behind a real server: streamed, stopped in mid-word, killed, frozen; always usable afterwards.

llama.cpp speaks OpenAI's and Anthropic's protocol, and says by its slots whether it still works for somebody who left.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
import pytest

from scripts.blackbox.caller import Caller
from scripts.blackbox.process import Server
from server.ids import new_id
from tests.http.kit import Tail, eventually, opened, somebody, start
from tests.support.llama import NAME, Llama
from tests.support.model import a_turn, all_of, assistant, model_agent, result, user

pytest.importorskip("xllamacpp")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes are frozen by signals")

ROUTES: Final = ("openai", "anthropic")
RUNS: Final = 100
STOPS: Final = 25
"""Of each route."""
TOGETHER: Final = 4
WORDS: Final = 12
TIMEOUT_S: Final = 2.0
IDLE_S: Final = 4.0
"""Far less than a long answer takes to its end."""

_AGENTS: Final = """\
default = "openai"
{tables}
"""
_TABLE: Final = """
[agents.{name}]
kind = "python"
entrypoint = "models:{attribute}"
"""
# Short answers, and answers that go on until they are stopped, over both routes.
_MODELS: Final = """\
from server.agents.model import ModelAgent
from server.agents.personas import Personas

def _agent(route, max_tokens):
    return ModelAgent(
        route + ":{name}",
        base_url="{url}" + ("/v1" if route == "openai" else ""),
        personas=Personas({{}}),
        instructions="Say some words.",
        context_tokens=8192,
        timeout_s={timeout_s},
        settings={{"max_tokens": max_tokens}},
    )

openai, anthropic = _agent("openai", {words}), _agent("anthropic", {words})
openai_long, anthropic_long = _agent("openai", 16000), _agent("anthropic", 16000)
"""


@pytest.fixture(scope="module")
async def llama(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Llama]:
    server = Llama(tmp_path_factory.mktemp("llama"))
    await server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory, llama: Llama) -> AsyncIterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    running = Server(folder)
    names = [f"{route}{suffix}" for route in ROUTES for suffix in ("", "_long")]
    tables = "".join(_TABLE.format(name=name, attribute=name) for name in names)
    (folder / "agents.toml").write_text(_AGENTS.format(tables=tables), encoding="utf-8")
    models = _MODELS.format(name=NAME, url=llama.url, words=WORDS, timeout_s=TIMEOUT_S)
    (folder / "models.py").write_text(models, encoding="utf-8")
    try:
        await running.start()
        yield running
    finally:
        running.kill_now()
        running.wire.forget()
        await anyio.lowlevel.checkpoint()


async def answered(caller: Caller, session_id: str, agent: str) -> None:
    """Ask; the answer comes."""
    answer = await caller.chat("Say more.", session_id=session_id, agent=agent, wait=True)
    body: dict[str, Any] = answer.json()
    assert (answer.status, body["status"]) == (200, "finished"), body
    assert body["messages"][-1]["role"] == "assistant"
    assert body["messages"][-1]["content"]


@asynccontextmanager
async def talking(caller: Caller, agent: str) -> AsyncIterator[tuple[str, str, Tail]]:
    """Start an answer that does not end by itself; yield session, run and stream once it is in full flow."""
    receipt = await start(caller, "Talk.", session_id=new_id(), agent=agent)
    async with opened(caller, receipt["session_id"]) as tail:
        await tail.until(lambda frame: len(_said(tail)) > 50)
        yield receipt["session_id"], receipt["run_id"], tail


def _said(tail: Tail) -> str:
    return "".join(
        str(message.get("content", "")) for message in tail.fold.messages.values() if message["role"] == "assistant"
    )


async def becomes_idle(llama: Llama) -> None:
    """Wait until the model works for nobody, which is long before a long answer would have ended."""
    with anyio.fail_after(IDLE_S):
        await eventually(lambda: _is_idle(llama), step_s=0.01)


async def _is_idle(llama: Llama) -> bool:
    return await llama.busy() == 0


async def failed(tail: Tail, run_id: str) -> str:
    """Wait until a run failed; return its code. What was said stands there still."""
    said = _said(tail)
    last = (await tail.end_of(run_id))[-1].event
    assert last["type"] == "RUN_ERROR", last
    assert _said(tail).startswith(said)
    return str(last["code"])


# --- as it should be


@pytest.mark.parametrize("route", ROUTES)
async def test_runs_stream_to_their_end(server: Server, llama: Llama, route: str) -> None:
    async def converse() -> None:
        caller, session_id = somebody(server), new_id()
        receipt = await start(caller, "Begin.", session_id=session_id, agent=route)
        async with opened(caller, session_id) as tail:
            for number in range(RUNS // TOGETHER):
                if number:
                    receipt = await start(caller, "Go on.", session_id=session_id, agent=route)
                last = (await tail.end_of(receipt["run_id"]))[-1].event
                assert last["type"] == "RUN_FINISHED", last
                assert last["usage"][0]["outputTokens"] == WORDS
            state = (await caller.state(session_id)).json()
        assert list(tail.fold.messages.values()) == state["messages"]
        assert len(state["messages"]) == 2 * (RUNS // TOGETHER)

    async with anyio.create_task_group() as group:
        for _ in range(TOGETHER):
            group.start_soon(converse)
    await becomes_idle(llama)


@pytest.mark.parametrize("route", ROUTES)
async def test_whatever_a_session_holds_is_taken(llama: Llama, route: str) -> None:
    told: dict[str, Any] = {"role": "system", "content": "The user came back."}
    histories = [
        (user("One."), user("Two.")),
        (assistant("How can I help?"), user("Hm.")),
        (user("Add."), assistant("Let me see.", c=("add", '{"a"')), result("c", "interrupted by the user"), user("?")),
        (user("Add."), assistant(c=("add", "{}"), d=("files.read it", "[1]")), result("c"), user("?")),
        (user("Hi."), told, assistant(" "), told, assistant("Yes."), told),
        (told,),
        (user(" "), assistant(""), user("")),
    ]
    tools = [{"name": "add", "description": "Adds.", "parameters": {}}]
    agent = model_agent(llama.url, route=route, settings={"max_tokens": 4})
    try:
        for history in histories:
            for offered in ([], tools):
                events = await all_of(agent, a_turn(*history, tools=offered))
                assert events[-1]["type"] == "TEXT_MESSAGE_END"
    finally:
        await agent.aclose()


# --- stopped


@pytest.mark.parametrize("route", ROUTES)
async def test_a_stop_in_mid_word_frees_the_model_at_once(server: Server, llama: Llama, route: str) -> None:
    caller = somebody(server)
    for number in range(STOPS):
        async with talking(caller, f"{route}_long") as (session_id, run_id, tail):
            assert await llama.busy() == 1
            receipt = (await caller.interrupt(session_id, run_id=run_id)).json()
            assert receipt["outcome"] == "stopped"
            await becomes_idle(llama)
            last = (await tail.end_of(run_id))[-1].event
            assert last["outcome"] == {"type": "cancelled"}
        # In turn the same route and the other one: what was stopped on one is read by either.
        await answered(caller, session_id, ROUTES[number % 2])


# --- killed, frozen, away


@pytest.mark.parametrize("route", ROUTES)
async def test_a_model_server_that_is_killed_ends_the_run(server: Server, llama: Llama, route: str) -> None:
    caller = somebody(server)
    async with talking(caller, f"{route}_long") as (session_id, run_id, tail):
        llama.kill()
        try:
            assert await failed(tail, run_id) == "model_cut_off"
            answer = await caller.chat("Are you there?", session_id=session_id, agent=route, wait=True)
            assert (answer.status, answer.json()["code"]) == (502, "model_unavailable")
        finally:
            await llama.start()
    await answered(caller, session_id, route)


@pytest.mark.parametrize("route", ROUTES)
async def test_a_model_server_that_says_nothing_is_given_up(server: Server, llama: Llama, route: str) -> None:
    caller = somebody(server)
    async with talking(caller, f"{route}_long") as (session_id, run_id, tail):
        llama.freeze()
        try:
            assert await failed(tail, run_id) == "model_timeout"
            answer = await caller.chat("Are you there?", session_id=session_id, agent=route, wait=True)
            assert (answer.status, answer.json()["code"]) == (502, "model_timeout")
        finally:
            llama.thaw()
    await becomes_idle(llama)
    await answered(caller, session_id, route)


@pytest.mark.parametrize("route", ROUTES)
async def test_a_model_server_that_falters_goes_on(server: Server, llama: Llama, route: str) -> None:
    caller = somebody(server)
    async with talking(caller, f"{route}_long") as (session_id, run_id, tail):
        llama.freeze()
        llama.thaw()
        length = len(_said(tail)) + 200
        await tail.until(lambda frame: len(_said(tail)) > length)
        await caller.interrupt(session_id, run_id=run_id)
    await becomes_idle(llama)
