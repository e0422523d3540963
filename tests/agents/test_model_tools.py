"""The model agent calls tools of the server, hands others to the client, and asks before those that want it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from server.agents.model import ModelAgent
from server.agents.model.answering import MAX_ROUNDS
from server.agents.model.calling import MAX_CALLS, MAX_RESULT_BYTES
from server.agents.tools import ToolResult
from server.core.ports import Event, Turn
from server.core.question import Question
from server.errors import AgentFailed
from server.ids import new_id
from tests.support.client import Client
from tests.support.completions import Completions, chunk, completions, message, says
from tests.support.completions import calls as calls_for
from tests.support.model import ANTHROPIC, Answerer, Box, Waiter, a_turn, all_of, assistant, result, user
from tests.support.node import Node, open_node

PAGE_TOOL = {"name": "open_page", "description": "Opens a page.", "parameters": {"type": "object"}}


@pytest.fixture(scope="module")
async def running() -> AsyncIterator[Completions]:
    async with completions() as server:
        yield server


@pytest.fixture
async def server(running: Completions) -> AsyncIterator[Completions]:
    yield running
    await running.forget()


async def talked(folder: Path, agent: ModelAgent, *texts: str) -> Client:
    """Return what a client saw of a conversation; it was legal."""
    async with open_node(folder, agent=agent) as node, node.client() as client:
        for text in texts or ("hello",):
            await client.until_over((await node.ask(text)).run_id)
    assert client.faults == []
    return client


def results_of(events: list[Event]) -> list[str]:
    return [event["content"] for event in events if event["type"] == "TOOL_CALL_RESULT"]


def interrupts_of(events: list[Event]) -> list[dict[str, Any]]:
    assert events[-1]["type"] == "RUN_FINISHED"
    interrupts: list[dict[str, Any]] = events[-1]["outcome"]["interrupts"]
    return interrupts


# --- tools of the server


@pytest.mark.parametrize("route", ["openai", ANTHROPIC])
async def test_a_call_is_carried_out_and_its_result_goes_back(tmp_path: Path, server: Completions, route: str) -> None:
    call = ({"type": "tool_use", "id": "x", "name": "add", "input": {}}, [
        {"type": "input_json_delta", "partial_json": '{"a"'},
        {"type": "input_json_delta", "partial_json": ": 1}"},
    ])  # fmt: skip
    said = ({"type": "text", "text": ""}, [{"type": "text_delta", "text": "It is 42."}])
    if route == ANTHROPIC:
        server.will(message(call, finish="tool_use"), message(said))
    else:
        server.will(calls_for(("add", '{"a": 1}')), says("It is 42."))
    tool = Answerer("add")
    client = await talked(tmp_path, server.agent(route=route, toolboxes=[Box(tool)]))

    assert tool.calls == [{"a": 1}]
    assert [one["role"] for one in client.fold.messages] == ["user", "assistant", "tool", "assistant"]
    assert client.fold.messages[2]["content"] == "42"
    assert client.fold.messages[3]["content"] == "It is 42."
    assert len(client.events[-1]["usage"]) == 2


async def test_text_and_calls_of_one_answer_are_one_message(tmp_path: Path, server: Completions) -> None:
    server.will(calls_for(("add", "{}"), ("add", "{}"), text="Let me see."), says("It is 42."))
    client = await talked(tmp_path, server.agent(toolboxes=[Box(Answerer("add"))]))

    assert [one["role"] for one in client.fold.messages] == ["user", "assistant", "tool", "tool", "assistant"]
    assert client.fold.messages[1]["content"] == "Let me see."
    assert len(client.fold.messages[1]["toolCalls"]) == 2


@pytest.mark.parametrize("route", ["openai", ANTHROPIC])
async def test_nothing_blank_goes_back(server: Completions, route: str) -> None:
    """Anthropic's API refuses a text without a letter, also as a result."""
    blank = ({"type": "text", "text": ""}, [{"type": "text_delta", "text": "\n\n"}])
    call: tuple[dict[str, Any], list[dict[str, Any]]] = (
        {"type": "tool_use", "id": "x", "name": "add", "input": {}},
        [],
    )
    if route == ANTHROPIC:
        server.will(message(blank, call, finish="tool_use"), message(blank))
    else:
        server.will(calls_for(("add", "{}"), text="\n\n"), says("Done."))
    tool = Answerer("add", ToolResult(content=" "))

    await all_of(server.agent(route=route, toolboxes=[Box(tool)]), a_turn(user("hello")))

    assert all(text.strip() for text in texts_in(server.sent))
    assert "(an empty result)" in texts_in(server.sent)


def texts_in(sent: Any) -> list[str]:
    """Return the texts of a request, however deep."""
    match sent:
        case [*parts]:
            return [text for part in parts for text in texts_in(part)]
        case {"content": str(text)} | {"text": str(text)}:
            return [text]
        case {"content": parts}:
            return texts_in(parts)
    return []


async def test_text_behind_a_call_belongs_to_the_same_message(tmp_path: Path, server: Completions) -> None:
    behind = chunk({"content": " And more."})
    server.will([*calls_for(("add", "{}"), text="Let me see.")[:-2], behind, chunk({}, "tool_calls")], says("Done."))
    client = await talked(tmp_path, server.agent(toolboxes=[Box(Answerer("add"))]))

    assert client.fold.messages[1]["content"] == "Let me see. And more."


async def test_pieces_of_several_calls_may_be_mixed(server: Completions) -> None:
    def piece(index: int, arguments: str, **named: Any) -> dict[str, Any]:
        return chunk({"tool_calls": [{"index": index, "function": {"arguments": arguments, **named}}]})

    mixed = [piece(0, '{"a"', name="add"), piece(1, '{"a": ', name="add"), piece(0, ": 1}"), piece(1, "2}")]
    server.will([*mixed, chunk({}, "tool_calls")], says("Done."))
    tool = Answerer("add")

    await all_of(server.agent(toolboxes=[Box(tool)]), a_turn(user("hello")))

    assert tool.calls == [{"a": 1}, {"a": 2}]


async def test_calls_with_the_same_id_again_and_again_are_told_apart(tmp_path: Path, server: Completions) -> None:
    server.will(*[script for _ in range(2) for script in (calls_for(("add", "{}")), says("Done."))])

    client = await talked(tmp_path, server.agent(toolboxes=[Box(Answerer("add"))]), "hello", "again")

    assert [event["type"] for event in client.events if event["type"].startswith("RUN_E")] == []
    assert client.fold.messages[-1]["content"] == "Done."


async def test_only_allowed_tools_are_on_offer(server: Completions) -> None:
    server.will(calls_for(("secret", "{}")), says("Done."))
    secret = Answerer("secret")
    agent = server.agent(toolboxes=[Box(Answerer("add"), secret)], tool_names=["add"])

    events = await all_of(agent, a_turn(user("hello")))

    assert [tool["function"]["name"] for tool in server.requests[0]["tools"]] == ["add"]
    assert results_of(events) == ["there is no tool 'secret'; there are: add"]
    assert secret.calls == []


async def test_a_toolbox_may_change_between_rounds(server: Completions) -> None:
    server.will(calls_for(("add", "{}")), says("Done."))
    box = Box()

    class Filler(Answerer):
        async def call(self, arguments: Any, turn: Turn) -> ToolResult:
            box.content.append(Answerer("more"))
            return await super().call(arguments, turn)

    box.content.append(Filler("add"))

    await all_of(server.agent(toolboxes=[box]), a_turn(user("hello")))

    assert [[tool["function"]["name"] for tool in sent["tools"]] for sent in server.requests] == [
        ["add"],
        ["add", "more"],
    ]


async def test_a_name_that_providers_refuse_is_sent_otherwise_and_shown_as_it_is(server: Completions) -> None:
    server.will(calls_for(("files_read_it", "{}")), says("Done."))
    tool = Answerer("files.read it")

    events = await all_of(server.agent(toolboxes=[Box(tool)]), a_turn(user("hello")))

    assert server.requests[0]["tools"][0]["function"]["name"] == "files_read_it"
    assert [event["toolCallName"] for event in events if event["type"] == "TOOL_CALL_START"] == ["files.read it"]
    assert tool.calls == [{}]


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("nope", "{}", "there is no tool 'nope'; there are: add"),
        ("add", '{"a": ', "the arguments are not JSON"),
        ("add", "[1]", "the arguments must be one JSON object"),
        ("add", '{"a": "\ud83d"}', "42"),
    ],
)
async def test_a_call_that_cannot_be_carried_out_is_answered(
    tmp_path: Path, server: Completions, name: str, arguments: str, told: str
) -> None:
    server.will(calls_for((name, arguments)), says("Sorry."))
    client = await talked(tmp_path, server.agent(toolboxes=[Box(Answerer("add"))]))

    assert client.fold.messages[2]["content"].startswith(told)
    assert client.fold.messages[-1]["content"] == "Sorry."
    json.loads(server.sent[1]["tool_calls"][0]["function"]["arguments"])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (ToolResult(content="no such file", is_error=True), "no such file"),
        (ValueError("secret"), "add failed"),
    ],
)
async def test_a_tool_that_fails_is_no_failure_of_the_run(
    tmp_path: Path, server: Completions, given: Any, told: str
) -> None:
    server.will(calls_for(("add", "{}")), says("Sorry."))
    client = await talked(tmp_path, server.agent(toolboxes=[Box(Answerer("add", given))]))

    answered = client.fold.messages[2]
    assert (answered["content"], answered["metadata"]["is_error"]) == (told, True)
    assert client.events[-1]["outcome"] == {"type": "success"}


async def test_results_are_cut_to_their_share_of_the_context(server: Completions) -> None:
    server.will(calls_for(("add", "{}"), ("add", "{}")), says("Done."))
    tool = Answerer("add", ToolResult(content="é" * MAX_RESULT_BYTES))

    events = await all_of(server.agent(toolboxes=[Box(tool)], context_tokens=4096), a_turn(user("hello")))

    assert [content.count("é") for content in results_of(events)] == [4096 * 3 // 4 // 2 // 2] * 2
    assert all(content.endswith("[cut: the result is longer than fits]") for content in results_of(events))


async def test_half_a_character_of_a_result_is_mended(tmp_path: Path, server: Completions) -> None:
    server.will(calls_for(("add", "{}")), says("Done."))
    tool = Answerer("add", ToolResult(content="a\ud83d"))
    client = await talked(tmp_path, server.agent(toolboxes=[Box(tool)]))

    assert client.fold.messages[2]["content"] == "a\ufffd"


async def test_too_many_calls_at_once_are_told_so(server: Completions) -> None:
    server.will(calls_for(*[("add", "{}")] * (MAX_CALLS + 1)), says("Done."))
    tool = Answerer("add")

    events = await all_of(server.agent(toolboxes=[Box(tool)]), a_turn(user("hello")))

    assert len(tool.calls) == MAX_CALLS
    assert results_of(events)[-1].startswith(f"more than {MAX_CALLS} calls at once")


async def test_rounds_are_bounded_and_the_last_is_without_a_choice(server: Completions) -> None:
    server.will(*[calls_for(("add", "{}"))] * (MAX_ROUNDS + 1))

    with pytest.raises(AgentFailed) as failure:
        await all_of(server.agent(toolboxes=[Box(Answerer("add"))]), a_turn(user("hello")))

    assert failure.value.code == "model_tool_limit"
    assert [sent.get("tool_choice") == "none" for sent in server.requests] == [False] * MAX_ROUNDS + [True]


async def test_an_interrupt_cancels_the_tools(tmp_path: Path, server: Completions) -> None:
    server.will(calls_for(("wait", "{}"), ("add", "{}")), says("Here."))
    waiter = Waiter("wait")
    agent = server.agent(toolboxes=[Box(waiter, Answerer("add"))])
    async with open_node(tmp_path, agent=agent) as node, node.client() as client:
        accepted = await node.ask("hello")
        with anyio.fail_after(5):
            await waiter.has_begun.wait()
        await node.interrupt(accepted.run_id)
        await client.until_over((await node.ask("again")).run_id)

    assert waiter.was_cancelled
    assert [one["role"] for one in server.sent] == ["user", "assistant", "tool", "tool", "user"]
    assert client.fold.messages[-1]["content"] == "Here."


# --- sources


async def test_the_answer_carries_the_sources_that_it_cites(tmp_path: Path, server: Completions) -> None:
    server.will(calls_for(("find", "{}")), says("It is blue [1, 3]."))
    sources = [{"n": number, "file": f"{number}.md"} for number in (1, 2, 3)]
    tool = Answerer("find", ToolResult(content="[1] … [2] … [3] …", sources=sources))
    client = await talked(tmp_path, server.agent(toolboxes=[Box(tool)]))

    assert client.fold.messages[2]["metadata"]["sources"] == sources
    assert client.fold.messages[3]["metadata"]["sources"] == [sources[0], sources[2]]


# --- tools of the client


async def test_a_tool_of_the_client_ends_the_run_with_a_question(server: Completions) -> None:
    server.will(calls_for(("open_page", '{"a": 1}')))

    events = await all_of(server.agent(), a_turn(user("hello"), tools=[PAGE_TOOL]))

    call = next(event for event in events if event["type"] == "TOOL_CALL_START")
    [interrupt] = interrupts_of(events)
    assert (interrupt["reason"], interrupt["toolCallId"]) == ("tool_call", call["toolCallId"])
    assert events[-2]["type"] == "TOOL_CALL_END"


async def test_what_needs_nobody_is_done_before_the_question(server: Completions) -> None:
    server.will(calls_for(("open_page", "{}"), ("add", "{}"), ("ask_me", "{}")))
    tools = [Answerer("add"), Answerer("ask_me", needs_approval=True)]

    events = await all_of(server.agent(toolboxes=[Box(*tools)]), a_turn(user("hello"), tools=[PAGE_TOOL]))

    assert results_of(events) == ["42"]
    assert [one["reason"] for one in interrupts_of(events)] == ["tool_call", "approval"]
    assert tools[1].calls == []


async def test_broken_arguments_are_no_question_to_the_client(server: Completions) -> None:
    server.will(calls_for(("open_page", "{")), says("Sorry."))

    events = await all_of(server.agent(), a_turn(user("hello"), tools=[PAGE_TOOL]))

    assert results_of(events)[0].startswith("the arguments are not JSON")
    assert events[-1]["type"] == "TEXT_MESSAGE_END"


async def test_a_tool_of_the_server_is_not_replaced_by_the_client(server: Completions) -> None:
    server.will(calls_for(("add", "{}")), says("Done."))
    tool = Answerer("add")
    theirs = {**PAGE_TOOL, "name": "add"}

    await all_of(server.agent(toolboxes=[Box(tool)]), a_turn(user("hello"), tools=[theirs]))

    assert tool.calls == [{}]


async def test_what_the_client_did_is_told_to_the_model(server: Completions) -> None:
    server.will(says("Opened."))
    turn = a_turn(user("hello"), assistant(c=("open_page", "{}")), result("c", "opened"), tools=[PAGE_TOOL])

    await all_of(server.agent(), turn)

    assert server.sent[-1] == {"role": "tool", "tool_call_id": "c", "content": "opened"}


# --- approval


@pytest.mark.parametrize("is_named", [False, True])
async def test_a_tool_that_wants_leave_is_not_called_without(server: Completions, is_named: bool) -> None:
    server.will(calls_for(("pay", "{}")))
    tool = Answerer("pay", needs_approval=not is_named)
    agent = server.agent(toolboxes=[Box(tool)], approvals=["pay"] if is_named else [])

    [interrupt] = interrupts_of(await all_of(agent, a_turn(user("hello"))))

    assert (interrupt["reason"], interrupt["message"]) == ("approval", "Allow pay?")
    assert "approved" in interrupt["responseSchema"]["properties"]
    assert tool.calls == []


async def test_what_is_too_much_to_ask_about_is_not_called_either(server: Completions) -> None:
    server.will(calls_for(*[("pay", "{}")] * (MAX_CALLS + 1)))
    tool = Answerer("pay", needs_approval=True)

    events = await all_of(server.agent(toolboxes=[Box(tool)]), a_turn(user("hello")))

    assert len(interrupts_of(events)) == MAX_CALLS
    assert [content.startswith("nobody was asked") for content in results_of(events)] == [True]
    assert tool.calls == []


def resumed(payload: Any, status: str = "resolved") -> Turn:
    answer = {"interruptId": "i", "status": status, "toolCallId": "c", "payload": payload}
    return a_turn(user("hello"), assistant(c=("pay", '{"a": 1}')), resume=[answer])


@pytest.mark.parametrize(
    ("payload", "called_with"),
    [({"approved": True}, {"a": 1}), ({"approved": True, "editedArgs": {"a": 2}}, {"a": 2})],
)
async def test_an_allowed_call_is_carried_out_first(server: Completions, payload: Any, called_with: Any) -> None:
    server.will(says("Paid."))
    tool = Answerer("pay", needs_approval=True)

    events = await all_of(server.agent(toolboxes=[Box(tool)]), resumed(payload))

    assert tool.calls == [called_with]
    assert (events[0]["type"], events[0]["toolCallId"], events[0]["content"]) == ("TOOL_CALL_RESULT", "c", "42")
    assert [one["role"] for one in server.sent] == ["user", "assistant", "tool"]


@pytest.mark.parametrize(
    ("payload", "status"),
    [({"approved": False}, "resolved"), ({"approved": True}, "cancelled"), ({}, "resolved"), ("yes", "resolved")],
)
async def test_anything_but_a_clear_yes_is_none(server: Completions, payload: Any, status: str) -> None:
    server.will(says("As you like."))
    tool = Answerer("pay", needs_approval=True)

    await all_of(server.agent(toolboxes=[Box(tool)]), resumed(payload, status))

    assert tool.calls == []
    assert server.sent[-1]["role"] == "tool"


async def test_an_allowed_tool_that_is_gone_is_told_so(server: Completions) -> None:
    server.will(says("Sorry."))

    events = await all_of(server.agent(), resumed({"approved": True}))

    assert results_of(events) == ["there is no tool 'pay'; there are: none"]


# --- in a session


async def asked_with(node: Node, client: Client, *tools: dict[str, Any]) -> list[dict[str, Any]]:
    """Ask as a page that performs tools; return what the run ended by asking."""
    question = Question(message="hello", message_id=new_id(), digest=b"", tools=tools)
    async with node.held() as held:
        accepted = await held.ask(question, agent=None, on_busy="reject")
    await client.until_over(accepted.run_id)
    interrupts: list[dict[str, Any]] = client.events[-1]["outcome"]["interrupts"]
    return interrupts


async def test_a_session_goes_on_with_what_the_page_did(tmp_path: Path, server: Completions) -> None:
    server.will(calls_for(("open_page", "{}"), ("add", "{}")), says("Opened."))
    agent = server.agent(toolboxes=[Box(Answerer("add"))])
    async with open_node(tmp_path, agent=agent) as node, node.client() as client:
        [interrupt] = await asked_with(node, client, PAGE_TOOL)
        accepted = await node.answer(interrupt["toolCallId"], "opened")
        await client.until_over(accepted.run_id)

    assert [one["role"] for one in server.sent] == ["user", "assistant", "tool", "tool"]
    assert {one["content"] for one in server.sent[2:]} == {"42", "opened"}
    assert client.fold.messages[-1]["content"] == "Opened."
    assert client.faults == []


@pytest.mark.parametrize(("is_allowed", "told"), [(True, "42"), (False, "declined by the user")])
async def test_a_session_goes_on_with_what_was_allowed(
    tmp_path: Path, server: Completions, is_allowed: bool, told: str
) -> None:
    server.will(calls_for(("pay", '{"a": 1}')), says("I see."))
    tool = Answerer("pay", needs_approval=True)
    async with open_node(tmp_path, agent=server.agent(toolboxes=[Box(tool)])) as node, node.client() as client:
        [interrupt] = await asked_with(node, client)
        accepted = await node.answer(interrupt["toolCallId"], is_allowed)
        await client.until_over(accepted.run_id)

    assert tool.calls == ([{"a": 1}] if is_allowed else [])
    assert server.sent[-1]["content"] == told
    assert client.fold.messages[-1]["content"] == "I see."
    assert client.faults == []


async def test_another_message_declines_what_was_asked(tmp_path: Path, server: Completions) -> None:
    server.will(calls_for(("pay", "{}")), says("As you like."))
    tool = Answerer("pay", needs_approval=True)
    async with open_node(tmp_path, agent=server.agent(toolboxes=[Box(tool)])) as node, node.client() as client:
        await asked_with(node, client)
        await client.until_over((await node.ask("Never mind.")).run_id)

    assert tool.calls == []
    assert [one["role"] for one in server.sent] == ["user", "assistant", "tool", "user"]
    assert client.fold.messages[-1]["content"] == "As you like."
    assert client.faults == []
