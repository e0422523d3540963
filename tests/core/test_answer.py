"""Answers: a run that asked goes on, once, whoever answers how often; the history stays valid throughout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from server.core.dialogue import Accepted, Creation
from server.core.pending import MAX_ANSWERS_BYTES
from server.core.pending import asking as asking_for
from server.core.ports import Message
from server.core.question import Answer, Question
from server.errors import Conflict, Invalid, NotFound, SessionstreamError
from tests.support.client import without_derived
from tests.support.node import Node, eventually, open_node
from tests.support.wallet import APPROVAL, CALL, Asker, about, asking, result

WRONG_APPROVALS: list[tuple[Any, str]] = [
    ("maybe", "content"),
    ("{", "content"),
    (1, "content"),
    (None, "content"),
    ([True], "content"),
    ({}, "content.approved"),
    ({"approved": "yes"}, "content.approved"),
    ({"approved": True, "why": ""}, "content.why"),
    ({"approved": True, "reason": 1}, "content.reason"),
    ({"approved": True, "editedArgs": []}, "content.editedArgs"),
    ({"approved": False, "editedArgs": {}}, "content.editedArgs"),
]


def results_in(messages: Any) -> list[tuple[str, Any]]:
    """Return calls and the content of their results."""
    return [(one["toolCallId"], one["content"]) for one in messages if one["role"] == "tool"]


def outline(messages: Any) -> list[str]:
    """Return roles in their order."""
    return [message["role"] for message in messages]


def require_valid(messages: list[Message]) -> None:
    """Assert what every provider demands: each call is answered at once, by one result."""
    open_calls: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            open_calls.remove(message["toolCallId"])
        else:
            assert open_calls == [], messages
        open_calls += [call["id"] for call in message.get("toolCalls", ())]
    assert open_calls == [], messages


async def paused(node: Node, **question: Any) -> Accepted:
    """Ask something, and wait until the agent asks back."""
    accepted = await node.ask(**question)
    await node.over(accepted.run_id)
    assert "pending" in (await node.snapshot()).state
    return accepted


async def test_a_result_lets_the_run_go_on_where_it_asked(tmp_path: Path) -> None:
    agent = Asker(CALL, then=("Thanks.",))
    async with open_node(tmp_path, agent=agent) as node, node.client() as client:
        asked = await paused(node, message="pay")
        accepted = await node.answer("c1", {"hash": "0x2"})
        await node.over(accepted.run_id)
        await client.until_over(accepted.run_id)
        snapshot = await node.snapshot()

        assert accepted.run_id != asked.run_id
        assert client.faults == []
        assert client.fold.messages == snapshot.messages
        assert without_derived(client.fold.state) == without_derived(snapshot.state)
        assert "pending" not in snapshot.state
        assert outline(snapshot.messages) == ["user", "assistant", "tool", "assistant"]
        assert results_in(snapshot.messages) == [("c1", '{"hash":"0x2"}')]
        assert snapshot.messages[2]["metadata"]["sessionstream"]["run_id"] == accepted.run_id
        turn = agent.turns[1]
        assert (turn.message, turn.run_id) == ("pay", accepted.run_id)
        assert turn.messages == snapshot.messages[:3]
        assert turn.resume == [
            {"interruptId": "ask-c1", "status": "resolved", "payload": {"hash": "0x2"}, "toolCallId": "c1"}
        ]


async def test_the_run_that_goes_on_is_asked_as_the_one_before_it(tmp_path: Path) -> None:
    """Tools, context, persona and options of the message count until it is answered, also after a restart."""
    asked = Question(
        message="pay",
        message_id="m1",
        digest=b"d",
        persona="terse",
        options={"top_k": 2},
        tools=({"name": "sign", "description": "", "parameters": {}},),
        context=({"description": "chain", "value": "1"},),
    )
    async with open_node(tmp_path, agent=Asker(CALL)) as node, node.held() as held:
        await node.over((await held.ask(asked, agent=None, on_busy="reject")).run_id)

    agent = Asker()
    agent.turns.append(None)  # type: ignore[arg-type]  # the turn of another life
    async with open_node(tmp_path, agent=agent) as node:
        await node.over((await node.answer("c1", "0x2")).run_id)
        turn = agent.turns[1]

        assert (turn.message, turn.persona, turn.options) == ("pay", "terse", {"top_k": 2})
        assert (turn.tools, turn.context) == (asked.tools, asked.context)


async def test_who_goes_on_may_bring_other_tools(tmp_path: Path) -> None:
    agent = Asker(CALL)
    async with open_node(tmp_path, agent=agent) as node:
        await paused(node)
        async with node.held() as held:
            accepted = await held.answer([Answer(id="ask-c1", payload="x")], tools=[{"name": "t"}], context=[])
        await node.over(accepted.run_id)

        assert (agent.turns[1].tools, agent.turns[1].context) == ([{"name": "t"}], [])


@pytest.mark.parametrize(
    "said", [True, "approved", " Approved ", {"approved": True}, '{"approved": true}', "true"], ids=repr
)
async def test_an_approved_call_is_the_agents_to_answer(tmp_path: Path, said: Any) -> None:
    """Its result stands behind the call, wherever it was said."""
    agent = Asker(APPROVAL, then=("Doing it. ", result("c1", "signed"), "Done."))
    async with open_node(tmp_path, agent=agent) as node, node.client() as client:
        await paused(node)
        accepted = await node.answer("c1", said)
        await node.over(accepted.run_id)
        await client.until_over(accepted.run_id)
        messages = (await node.snapshot()).messages

        assert client.fold.messages == messages
        assert outline(messages) == ["user", "assistant", "tool", "assistant"]
        assert results_in(messages) == [("c1", "signed")]
        assert outline(agent.turns[1].messages) == ["user", "assistant"]
        [entry] = agent.turns[1].resume
        assert entry == {
            "interruptId": "ask-c1",
            "status": "resolved",
            "payload": {"approved": True},
            "toolCallId": "c1",
        }


async def test_an_approval_may_bring_other_arguments(tmp_path: Path) -> None:
    agent = Asker(APPROVAL, then=(result("c1", "ok"),))
    async with open_node(tmp_path, agent=agent) as node:
        await paused(node)
        await node.over(
            (await node.answer("c1", {"approved": True, "editedArgs": {"to": "0x9"}, "reason": None})).run_id
        )

        assert agent.turns[1].resume[0]["payload"] == {"approved": True, "editedArgs": {"to": "0x9"}}


async def test_an_approved_call_that_the_agent_forgets_has_a_result_all_the_same(tmp_path: Path) -> None:
    async with open_node(tmp_path, agent=Asker(APPROVAL, then=("Never mind.",))) as node, node.client() as client:
        await paused(node)
        accepted = await node.answer("c1", True)
        await node.over(accepted.run_id)
        await client.until_over(accepted.run_id)
        messages = (await node.snapshot()).messages

        assert client.fold.messages == messages
        assert results_in(messages) == [("c1", "no result")]
        require_valid(list(messages))


@pytest.mark.parametrize(
    ("said", "content"),
    [
        (False, "declined by the user"),
        ("declined", "declined by the user"),
        ({"approved": False, "reason": "too dear"}, "declined by the user: too dear"),
    ],
    ids=repr,
)
async def test_a_declined_approval_is_answered_and_the_agent_hears_it(tmp_path: Path, said: Any, content: str) -> None:
    agent = Asker(APPROVAL, then=("As you wish.",))
    async with open_node(tmp_path, agent=agent) as node:
        await paused(node)
        await node.over((await node.answer("c1", said)).run_id)
        messages = (await node.snapshot()).messages

        assert results_in(messages) == [("c1", content)]
        assert messages[2]["metadata"]["sessionstream"]["status"] == "declined"
        assert agent.turns[1].resume[0]["status"] == "cancelled"
        assert agent.turns[1].messages == messages[:3]


async def test_an_approval_is_known_by_what_it_wants_to_hear(tmp_path: Path) -> None:
    """Frameworks that say `tool_call` for both put `approved` into the schema of the answer."""
    schema = {"type": "object", "properties": {"approved": {"type": "boolean"}}}
    agent = Asker({**CALL, "responseSchema": schema}, then=(result("c1", "ok"),))
    async with open_node(tmp_path, agent=agent) as node:
        await paused(node)
        with pytest.raises(Invalid):
            await node.answer("c1", "what is this")
        await node.over((await node.answer("c1", "approved")).run_id)

        assert results_in((await node.snapshot()).messages) == [("c1", "ok")]


@pytest.mark.parametrize(("said", "field"), WRONG_APPROVALS, ids=repr)
async def test_what_is_no_approval_names_its_field_and_changes_nothing(tmp_path: Path, said: Any, field: str) -> None:
    async with open_node(tmp_path, agent=Asker(APPROVAL)) as node:
        await paused(node)
        before = await node.snapshot()
        with pytest.raises(Invalid) as caught:
            await node.answer("c1", said)

        assert caught.value.field == field
        assert (await node.snapshot()).state == before.state


async def test_what_a_client_could_not_do_is_told(tmp_path: Path) -> None:
    agent = Asker(CALL)
    async with open_node(tmp_path, agent=agent) as node:
        await paused(node)
        await node.over((await node.answer("c1", "", error="the wallet is locked")).run_id)
        [tool] = [one for one in (await node.snapshot()).messages if one["role"] == "tool"]

        assert tool["content"] == "the wallet is locked"
        assert tool["metadata"]["sessionstream"]["error"] == "the wallet is locked"
        assert agent.turns[1].resume[0]["metadata"] == {"error": "the wallet is locked"}


async def test_a_question_about_nothing_else_is_answered_by_its_own_id(tmp_path: Path) -> None:
    agent = Asker({"id": "which", "reason": "input_required"}, text="Which one?")
    async with open_node(tmp_path, agent=agent) as node:
        await paused(node)
        await node.over((await node.answer("which", ["the", "first"])).run_id)

        assert outline((await node.snapshot()).messages) == ["user", "assistant", "assistant"]
        assert agent.turns[1].resume == [{"interruptId": "which", "status": "resolved", "payload": ["the", "first"]}]


async def test_several_calls_go_on_together(tmp_path: Path) -> None:
    agent = Asker(about("c1"), about("c2", "approval"), then=(result("c2", "two"),))
    async with open_node(tmp_path, agent=agent) as node, node.client() as client:
        await paused(node)
        first = await node.answer("c2", True)
        await client.catch_up()
        marks = [one["answered"] for one in client.fold.state["pending"]]
        repeated = await node.answer("ask-c2", True)
        second = await node.answer("c1", "one")
        await node.over(second.run_id)
        await client.until_over(second.run_id)

        assert (first.status, repeated.status, second.status) == ("waiting", "waiting", "running")
        assert first.run_id == repeated.run_id == second.run_id
        assert marks == [False, True]
        assert client.faults == []
        assert client.fold.messages == (await node.snapshot()).messages
        assert results_in(client.fold.messages) == [("c1", "one"), ("c2", "two")]
        assert len(agent.turns) == 2


async def test_answers_are_taken_all_or_none(tmp_path: Path) -> None:
    async with open_node(tmp_path, agent=Asker(about("c1"), about("c2", "approval"))) as node:
        await paused(node)
        before = await node.snapshot()
        async with node.held() as held:
            with pytest.raises(Invalid):
                await held.answer([Answer(id="c1", payload="one"), Answer(id="c2", payload="perhaps")])
            with pytest.raises(Invalid) as caught:
                await held.answer([Answer(id="c1", payload="one")], must_settle=True)

        assert caught.value.field == "resume"
        assert (await node.snapshot()).state == before.state


async def test_the_same_answer_twice_is_one(tmp_path: Path) -> None:
    """While it runs, when it is over, and after a restart: the same run; anything else is in conflict."""
    agent = Asker(CALL)
    async with open_node(tmp_path, agent=agent) as node:
        await paused(node)
        first = await node.answer("c1", {"a": 1, "b": 2})
        again = await node.answer("c1", {"b": 2, "a": 1})
        await node.over(first.run_id)
        later = await node.answer("ask-c1", {"a": 1, "b": 2})
        with pytest.raises(Conflict) as caught:
            await node.answer("c1", {"a": 1})

        assert {first.run_id, again.run_id, later.run_id} == {first.run_id}
        assert later.status == "finished"
        assert caught.value.code == "tool_result_conflict"
        assert len(agent.turns) == 2

    async with open_node(tmp_path, agent=Asker()) as node:
        assert (await node.answer("c1", {"a": 1, "b": 2})).run_id == first.run_id
        with pytest.raises(Conflict):
            await node.answer("c1", "other")
        with pytest.raises(NotFound) as missing:
            await node.answer("c2", "x")
        assert missing.value.code == "tool_call_not_found"


async def test_nothing_was_asked_in_a_new_session(tmp_path: Path) -> None:
    async with open_node(tmp_path) as node:
        with pytest.raises(NotFound) as caught:
            await node.answer("c1", "x")

        assert caught.value.code == "tool_call_not_found"


async def test_a_run_may_ask_again_about_a_call_that_it_carries(tmp_path: Path) -> None:
    again = {"id": "sure", "reason": "approval", "toolCallId": "c1"}
    agent = Asker(APPROVAL, then=("Sure? ", asking(again)))
    async with open_node(tmp_path, agent=agent) as node, node.client() as client:
        first = await paused(node)
        second = await node.answer("c1", True)
        await node.over(second.run_id)
        [question] = (await node.snapshot()).state["pending"]
        async with node.held() as held:
            asked = held.record.pending["asked"]
        third = await node.answer("c1", False)
        await node.over(third.run_id)
        await client.until_over(third.run_id)

        assert (question["id"], question["toolCallName"], question["arguments"]) == ("sure", "sign", '{"to":"0x1"}')
        assert asked["message_id"] == first.message_id
        assert client.faults == []
        messages = (await node.snapshot()).messages
        assert client.fold.messages == messages
        assert results_in(messages) == [("c1", "declined by the user")]
        # The third turn asks again about a call that has its result by now.
        assert (await node.over(third.run_id)).code == "agent_protocol"


async def test_an_answer_waits_for_no_place_it_cannot_have(tmp_path: Path) -> None:
    """A run that may not start leaves the question as it was."""
    async with open_node(tmp_path, agent=Asker(CALL), max_runs_per_user=1) as node:
        await paused(node)
        await eventually(lambda: not node.hub.user_runs)
        node.hub.user_runs["ann"] = 1
        with pytest.raises(SessionstreamError) as caught:
            await node.answer("c1", "x")
        node.hub.user_runs["ann"] = 0
        accepted = await node.answer("c1", "x")

        assert caught.value.code == "limit_runs_per_user"
        assert (await node.over(accepted.run_id)).status == "finished"


async def test_a_system_message_meanwhile_stands_behind_the_result(tmp_path: Path) -> None:
    """Providers want the result behind its call; clients fold it there; the agent is given it so."""
    agent = Asker(CALL)
    async with open_node(tmp_path, agent=agent) as node, node.client() as client:
        await paused(node)
        await node.tell("the network is now Sepolia")
        accepted = await node.answer("c1", "0x2")
        await node.over(accepted.run_id)
        await client.until_over(accepted.run_id)
        messages = (await node.snapshot()).messages

        assert client.fold.messages == messages
        assert outline(messages) == ["user", "assistant", "tool", "system", "assistant"]
        assert outline(agent.turns[1].messages) == ["user", "assistant", "tool", "system"]
        async with node.client() as late:
            assert late.fold.messages == messages


async def test_answers_that_wait_for_others_have_a_bound(tmp_path: Path) -> None:
    """Each change of what is pending is stored as a whole; the last answer waits for nothing."""
    agent = Asker(*(about(f"c{number}") for number in range(3)))
    large = "x" * (MAX_ANSWERS_BYTES - 1000)
    async with open_node(tmp_path, agent=agent) as node:
        await paused(node)
        await node.answer("c0", large)
        with pytest.raises(Invalid) as caught:
            await node.answer("c1", large)
        await node.answer("c1", "small")
        accepted = await node.answer("c2", large)

        assert caught.value.field == "content"
        assert (await node.over(accepted.run_id)).status == "finished"


async def test_what_was_asked_in_an_import_without_messages_is_known_when_it_is_closed(tmp_path: Path) -> None:
    asked = Question(message="q", message_id="m", digest=b"")
    pending = asking_for(asked, "default", "r", [({"id": "which", "reason": "input_required"}, None)], 0)
    async with open_node(tmp_path) as node, node.hub.session(node.key(), Creation(agent="default", pending=pending)):
        await node.interrupt()
        with pytest.raises(Conflict, match="tool_result_conflict"):
            await node.answer("which", "this one")
