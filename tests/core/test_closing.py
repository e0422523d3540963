"""Questions that are closed without an answer: by a new message, an interrupt, a clear, time; and what comes too late.

Whatever closes them, every call has its result before anything else is said, and exactly one thing closed it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from server.core.dialogue import Accepted, Receipt
from server.core.question import Question
from server.errors import Conflict, Gone, SessionstreamError
from tests.core.test_answer import outline, paused, require_valid, results_in
from tests.support.agents import Puppet
from tests.support.client import without_derived
from tests.support.node import Node, eventually, open_node
from tests.support.storage import SwitchedStorage, crash_copy
from tests.support.wallet import APPROVAL, CALL, Asker, about

DECLINED = [("c1", "declined by the user")]
SHORT: dict[str, Any] = {"approval_timeout_minutes": 0.0001, "session_timeout_minutes": 1.0}


async def code_of_answer(node: Node, call_id: str = "c1", payload: Any = "x") -> str:
    """Return why an answer is refused."""
    with pytest.raises(SessionstreamError) as caught:
        await node.answer(call_id, payload)
    return caught.value.code


async def test_a_new_message_closes_what_is_asked_in_the_commit_that_takes_it(tmp_path: Path) -> None:
    agent = Asker(CALL)
    storage = SwitchedStorage(tmp_path)
    async with open_node(tmp_path, agent=agent, storage=storage) as node, node.client() as client:
        await paused(node)
        del storage.batches[:]
        accepted = await node.ask("rather not")
        await node.over(accepted.run_id)
        await client.until_over(accepted.run_id)
        snapshot = await node.snapshot()

        assert client.faults == []
        assert client.fold.messages == snapshot.messages
        assert without_derived(client.fold.state) == without_derived(snapshot.state)
        assert "pending" not in snapshot.state
        assert outline(snapshot.messages) == ["user", "assistant", "tool", "user", "assistant"]
        assert results_in(snapshot.messages) == DECLINED
        assert agent.turns[1].messages == snapshot.messages[:4]
        assert agent.turns[1].resume == ()
        opening = b"".join(storage.batches[0].parts[0].frames)
        assert opening.index(b'"TOOL_CALL_RESULT"') < opening.index(b"rather not")
        assert await code_of_answer(node) == "tool_result_conflict"


async def test_what_a_client_has_done_stays_done_when_the_rest_is_declined(tmp_path: Path) -> None:
    agent = Asker(about("c1"), about("c2"), about("c3", "approval"))
    async with open_node(tmp_path, agent=agent) as node:
        await paused(node)
        waiting = await node.answer("c1", "one")
        await node.answer("c3", True)
        await node.over((await node.ask("next")).run_id)

        assert results_in((await node.snapshot()).messages) == [
            ("c1", "one"),
            ("c2", "declined by the user"),
            ("c3", "declined by the user"),
        ]
        again = await node.answer("c1", "one")
        assert (again.run_id, again.status) == (waiting.run_id, "interrupted")


async def test_an_interrupt_declines(tmp_path: Path) -> None:
    async with open_node(tmp_path, agent=Asker(CALL)) as node, node.client() as client:
        asked = await paused(node)
        first, second = await node.interrupt(), await node.interrupt()
        await client.catch_up()
        snapshot = await node.snapshot()

        assert (first.outcome, first.run_id, second.outcome) == ("stopped", asked.run_id, "idle")
        assert client.faults == []
        assert client.fold.messages == snapshot.messages
        assert without_derived(client.fold.state) == without_derived(snapshot.state)
        assert "pending" not in snapshot.state
        assert results_in(snapshot.messages) == DECLINED
        assert await code_of_answer(node) == "tool_result_conflict"


@pytest.mark.parametrize("named", ["run", "next run", "message", "another run", "another message"])
async def test_an_interrupt_closes_only_what_it_names(tmp_path: Path, named: str) -> None:
    async with open_node(tmp_path, agent=Asker(about("c1"), about("c2"))) as node:
        asked = await paused(node)
        waiting = await node.answer("c2", "two")
        names: dict[str, tuple[str | None, str | None]] = {
            "run": (asked.run_id, None),
            "next run": (waiting.run_id, None),
            "message": (None, asked.message_id),
            "another run": ("some-run", None),
            "another message": (None, "some-message"),
        }
        receipt = await node.interrupt(*names[named])

        is_meant = not named.startswith("another")
        assert (receipt.outcome == "stopped") == is_meant
        assert ("pending" in (await node.snapshot()).state) != is_meant


async def test_a_cleared_session_asks_nothing(tmp_path: Path) -> None:
    async with open_node(tmp_path, agent=Asker(CALL)) as node, node.client() as client:
        await paused(node)
        async with node.held() as held:
            await held.clear()
        await client.catch_up()
        snapshot = await node.snapshot()

        assert (client.fold.messages, snapshot.messages) == ([], [])
        assert without_derived(client.fold.state) == without_derived(snapshot.state)
        assert "pending" not in snapshot.state
        assert await code_of_answer(node) == "tool_call_not_found"


async def test_a_deleted_session_asks_nothing(tmp_path: Path) -> None:
    async with open_node(tmp_path, agent=Asker(CALL)) as node:
        await paused(node)
        async with node.held() as held:
            await node.hub.end(held, "deleted")
        with pytest.raises(Gone):
            await node.answer("c1", "x")

        assert node.rows("SELECT pending FROM sessions") == []


# --- two at once


async def outcomes(*calls: Any) -> list[Any]:
    """Start calls at the same moment; return what each answered, or why it was refused."""
    found: list[Any] = [None] * len(calls)

    async def run(at: int) -> None:
        try:
            found[at] = await calls[at]
        except SessionstreamError as error:
            found[at] = error

    async with anyio.create_task_group() as tasks:
        for at in range(len(calls)):
            tasks.start_soon(run, at)
    return found


async def test_of_two_answers_at_once_one_counts(tmp_path: Path) -> None:
    agent = Asker(CALL)
    async with open_node(tmp_path, agent=agent) as node:
        await paused(node)
        one, other, same = await outcomes(node.answer("c1", "one"), node.answer("c1", "two"), node.answer("c1", "one"))
        await node.over(one.run_id)

        assert isinstance(other, Conflict)
        assert one.run_id == same.run_id
        assert results_in((await node.snapshot()).messages) == [("c1", "one")]
        assert len(agent.turns) == 2


@pytest.mark.parametrize("is_answer_first", [True, False])
async def test_of_an_answer_and_a_message_at_once_one_counts(tmp_path: Path, is_answer_first: bool) -> None:
    puppet = Puppet()
    puppet.say(*Asker(CALL).first())
    puppet.finish()
    storage = SwitchedStorage(tmp_path)
    async with open_node(tmp_path, agent=puppet, storage=storage) as node:
        await paused(node)
        storage.before = gate = anyio.Event()
        calls = [node.answer("c1", "x"), node.ask("rather not")]
        found: list[Any] = []

        async def race() -> None:
            found.extend(await outcomes(*(calls if is_answer_first else reversed(calls))))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(race)
            await eventually(lambda: storage.waiting == 1)
            gate.set()
        first, second = found
        puppet.finish()
        await node.over(first.run_id)

        assert isinstance(first, Accepted)
        assert isinstance(second, Conflict)
        assert second.code == ("run_active" if is_answer_first else "tool_result_conflict")
        messages = list((await node.snapshot()).messages)
        require_valid(messages)
        assert results_in(messages) == ([("c1", "x")] if is_answer_first else DECLINED)


async def test_of_an_answer_and_an_interrupt_at_once_one_counts(tmp_path: Path) -> None:
    async with open_node(tmp_path, agent=Asker(CALL)) as node:
        await paused(node)
        stopped, answer = await outcomes(node.interrupt(), node.answer("c1", "x"))

        assert isinstance(stopped, Receipt)
        assert stopped.outcome == "stopped"
        assert isinstance(answer, Conflict)
        assert results_in((await node.snapshot()).messages) == DECLINED


async def test_an_interrupt_as_the_run_asks_closes_what_it_asked(tmp_path: Path) -> None:
    """Whoever stops a run does not find its question afterwards."""
    storage = SwitchedStorage(tmp_path)
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet, storage=storage) as node:
        asked = await node.ask()
        puppet.say(*Asker(CALL).first()[:-1])
        await eventually(lambda: puppet.is_idle)
        await node.calm()
        storage.before = gate = anyio.Event()
        puppet.say(Asker(CALL).first()[-1])
        puppet.finish()
        await eventually(lambda: storage.waiting == 1)
        found: list[Receipt] = []

        async def stop() -> None:
            found.append(await node.interrupt())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stop)
            gate.set()
        snapshot = await node.snapshot()

        assert (found[0].outcome, found[0].run_id) == ("stopped", asked.run_id)
        assert "pending" not in snapshot.state
        assert results_in(snapshot.messages) == DECLINED


async def test_an_answer_that_was_not_committed_changed_nothing(tmp_path: Path) -> None:
    storage = SwitchedStorage(tmp_path)
    async with open_node(tmp_path, agent=Asker(CALL), storage=storage) as node:
        await paused(node)
        before = await node.snapshot()
        storage.fail()
        assert await code_of_answer(node) == "storage_unavailable"
        storage.release()

        assert (await node.snapshot()).state == before.state
        assert (await node.over((await node.answer("c1", "x")).run_id)).status == "finished"


# --- stopping and crashing what goes on


async def test_a_run_that_carries_a_call_answers_it_when_it_is_stopped(tmp_path: Path) -> None:
    puppet = Puppet()
    puppet.say(*Asker(APPROVAL).first())
    puppet.finish()
    async with open_node(tmp_path, agent=puppet) as node, node.client() as client:
        await paused(node)
        accepted = await node.answer("c1", True)
        receipt = await node.interrupt(accepted.run_id)
        await client.until_over(accepted.run_id)
        messages = list((await node.snapshot()).messages)

        assert receipt.outcome == "stopped"
        assert client.faults == []
        assert client.fold.messages == messages
        assert results_in(messages) == [("c1", "interrupted by the user")]
        require_valid(messages)


async def test_a_crash_leaves_no_carried_call_without_a_result(tmp_path: Path) -> None:
    """Recovery reads from the log of the run which calls it carries."""
    puppet = Puppet()
    puppet.say(*Asker(APPROVAL).first())
    puppet.finish()
    async with open_node(tmp_path / "a", agent=puppet) as node, node.client() as client:
        await paused(node)
        accepted = await node.answer("c1", True)
        puppet.say("half ")
        await client.until(lambda client: client.said == "half ")
        left = crash_copy(tmp_path / "a", tmp_path / "b")

    async with open_node(left) as node:
        record = await node.over(accepted.run_id)
        messages = list((await node.snapshot()).messages)

        assert record.status == "interrupted"
        assert outline(messages) == ["user", "assistant", "tool", "assistant"]
        assert results_in(messages) == [("c1", "interrupted by the user")]
        require_valid(messages)


# --- messages that wait


async def test_queued_messages_wait_for_the_answer(tmp_path: Path) -> None:
    """What was said before the question is no answer to it."""
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet) as node, node.client() as client:
        asked = await node.ask("pay")
        queued = await node.ask("and then?", on_busy="queue")
        puppet.say(*Asker(CALL).first())
        puppet.finish()
        await node.over(asked.run_id)
        await node.calm()
        waits = await node.snapshot()
        accepted = await node.answer("c1", "done")
        puppet.finish()
        await node.over(accepted.run_id)
        puppet.finish()
        await client.until_over(queued.run_id)

        assert [one["message_id"] for one in waits.state["queue"]] == [queued.message_id]
        assert "pending" in waits.state
        assert [turn.run_id for turn in puppet.turns] == [asked.run_id, accepted.run_id, queued.run_id]
        assert outline(puppet.turns[2].messages) == ["user", "assistant", "tool", "user"]
        assert client.faults == []


@pytest.mark.parametrize("on_busy", ["reject", "queue", "interrupt"])
async def test_a_new_message_behind_a_queue_declines_and_lets_it_go_on(tmp_path: Path, on_busy: Any) -> None:
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet) as node, node.client() as client:
        asked = await node.ask("pay")
        queued = await node.ask("and then?", on_busy="queue")
        puppet.say(*Asker(CALL).first())
        for _ in range(3):
            puppet.finish()
        await node.over(asked.run_id)
        new = await node.ask("never mind", on_busy=on_busy)
        await client.until_over(new.run_id)
        messages = list((await node.snapshot()).messages)

        assert new.status == "queued"
        assert [turn.run_id for turn in puppet.turns] == [asked.run_id, queued.run_id, new.run_id]
        require_valid(messages)
        assert results_in(messages) == DECLINED
        assert client.faults == []
        assert client.fold.messages == messages


async def test_a_closed_question_lets_the_queue_go_on_after_a_restart(tmp_path: Path) -> None:
    puppet = Puppet()
    async with open_node(tmp_path / "a", agent=puppet) as node:
        asked = await node.ask("pay")
        queued = await node.ask("and then?", on_busy="queue")
        puppet.say(*Asker(CALL).first())
        puppet.finish()
        await node.over(asked.run_id)
        left = crash_copy(tmp_path / "a", tmp_path / "b")

    async with open_node(left) as node, node.client() as client:
        await node.calm()
        assert "pending" in client.fold.state
        await node.interrupt()
        await client.until_over(queued.run_id)
        assert client.faults == []


async def test_a_system_message_to_respond_to_waits_for_the_answer(tmp_path: Path) -> None:
    """A page that reports something is no person who changed his mind."""
    puppet = Puppet()
    puppet.say(*Asker(CALL).first())
    for _ in range(3):
        puppet.finish()
    report = Question(message="the network is now Sepolia", message_id="m", digest=b"d", role="system")
    async with open_node(tmp_path, agent=puppet) as node, node.client() as client:
        await paused(node)
        async with node.held() as held:
            told = await held.ask(report, agent=None, on_busy="queue")
        waits = await node.snapshot()
        await node.answer("c1", "x")
        await client.until_over(told.run_id)

        assert told.status == "queued"
        assert "pending" in waits.state
        assert outline(puppet.turns[-1].messages) == ["user", "assistant", "tool", "system"]


# --- time


async def test_a_question_keeps_its_session_alive(tmp_path: Path) -> None:
    """Edge cases 50 and 52: a person who was asked is activity, on a clock of his own."""
    async with open_node(tmp_path, agent=Asker(CALL), session_timeout_minutes=1.0) as node:
        await paused(node)
        async with node.held() as held:
            await held.change({"last_activity": time.time() - 3600})
        await node.hub.upkeep.run()
        node.hub.evict_idle(-1)
        await node.hub.upkeep.run()

        assert node.rows("SELECT session_id FROM sessions") == [("s",)]
        assert (await node.over((await node.answer("c1", "x")).run_id)).status == "finished"


@pytest.mark.parametrize("is_in_memory", [True, False])
async def test_a_question_that_nobody_answers_expires_then_its_session(tmp_path: Path, is_in_memory: bool) -> None:
    async with open_node(tmp_path, agent=Asker(CALL), **SHORT) as node:
        await paused(node)
        async with node.held() as held:
            await held.change({"last_activity": time.time() - 50})
            expires_at = held.record.pending["expires_at"]
        await eventually(lambda: time.time() > expires_at)
        if not is_in_memory:
            await eventually(lambda: node.hub.evict_idle(-1))
        await node.hub.upkeep.close_questions()
        snapshot = await node.snapshot()

        assert "pending" not in snapshot.state
        [tool] = [one for one in snapshot.messages if one["role"] == "tool"]
        assert tool["content"] == "expired: nobody answered in time"
        assert tool["metadata"]["sessionstream"]["status"] == "expired"
        assert await code_of_answer(node) == "tool_result_conflict"
        async with node.held() as held:
            await held.change({"last_activity": time.time() - 3600})
        await node.hub.upkeep.run()
        assert node.rows("SELECT session_id FROM sessions") == []


async def test_upkeep_leaves_alone_what_was_answered_meanwhile(tmp_path: Path) -> None:
    async with open_node(tmp_path, agent=Asker(CALL), **SHORT) as node:
        await paused(node)
        await node.over((await node.answer("c1", "x")).run_id)
        async with node.held() as held:
            assert not await held.expire_pending()
        await node.hub.upkeep.close_questions()

        assert results_in((await node.snapshot()).messages) == [("c1", "x")]


async def test_an_agent_may_want_its_answer_sooner(tmp_path: Path) -> None:
    agent = Asker({**CALL, "expiresAt": "2020-01-01T00:00:00Z"})
    async with open_node(tmp_path, agent=agent, approval_timeout_minutes=0.0) as node:
        await paused(node)
        [question] = (await node.snapshot()).state["pending"]
        await node.hub.upkeep.close_questions()

        assert question["expiresAt"] == "2020-01-01T00:00:00.000Z"
        assert "pending" not in (await node.snapshot()).state
