"""Stop means stop, with a receipt: one compare-and-set decides, and receipt, event and storage agree."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from server.core.dialogue import Receipt
from server.core.ports import Event, Turn
from server.errors import Unavailable
from tests.support.agents import Puppet, saying
from tests.support.client import Client
from tests.support.node import Node, eventually, open_node
from tests.support.wallet import CALL, asking, call

OUTCOMES = {"stopped": ("interrupted", "cancelled"), "already_finished": ("finished", "success")}


async def agree(node: Node, client: Client, run_id: str, *receipts: Receipt) -> str:
    """Check that all who were told how a run ended were told the same; return the outcome."""
    await client.until_over(run_id)
    await eventually(lambda: not node.hub.user_runs)
    await client.catch_up()
    terminal = [
        (cursor, event)
        for cursor, event in client.log
        if event["type"] in ("RUN_FINISHED", "RUN_ERROR") and event.get("runId") == run_id
    ]
    [(cursor, event)] = terminal
    record = await node.over(run_id)
    outcome = receipts[0].outcome

    assert client.faults == []
    assert {receipt.outcome for receipt in receipts} == {outcome}
    assert (record.status, event["outcome"]["type"]) == OUTCOMES[outcome]
    assert client.log[-1] == terminal[0], "nothing comes after the terminal event"
    assert all(receipt.cursor.seq >= int(cursor.split("-")[1]) for receipt in receipts)
    assert (await node.snapshot()).messages == client.fold.messages
    return outcome


async def test_stop_before_the_first_word_ends_a_run_without_answer(tmp_path: Path) -> None:
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet) as node, node.client() as client:
        run_id = (await node.ask()).run_id
        receipt = await node.interrupt()

        assert await agree(node, client, run_id, receipt) == "stopped"
        assert [message["role"] for message in client.fold.messages] == ["user"]


async def test_stop_between_words_keeps_exactly_what_was_streamed(tmp_path: Path) -> None:
    """Edge case 29: the partial text is in the history, as it was seen."""
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet) as node, node.client() as client:
        run_id = (await node.ask()).run_id
        puppet.say("one ", "two ")
        await client.until(lambda client: client.said == "one two ")
        receipt = await node.interrupt(run_id)
        puppet.say("three ")

        assert await agree(node, client, run_id, receipt) == "stopped"
        assert client.fold.messages[-1]["content"] == "one two "
        assert client.fold.messages[-1]["metadata"]["sessionstream"]["status"] == "interrupted"


async def test_stop_during_a_call_answers_it(tmp_path: Path) -> None:
    """Edge case 30: half a tool call is closed and gets a result."""
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet) as node, node.client() as client:
        run_id = (await node.ask()).run_id
        puppet.say({"type": "TOOL_CALL_START", "toolCallId": "t", "toolCallName": "f"})
        puppet.say({"type": "TOOL_CALL_ARGS", "toolCallId": "t", "delta": '{"a'})
        await client.until(lambda client: "TOOL_CALL_ARGS" in client.kinds())
        receipt = await node.interrupt()

        assert await agree(node, client, run_id, receipt) == "stopped"
        _, asked, told = client.fold.messages
        assert asked["toolCalls"][0]["function"]["arguments"] == '{"a'
        assert (told["role"], told["content"]) == ("tool", "interrupted by the user")


async def test_stop_after_the_last_word_was_appended_comes_too_late(tmp_path: Path) -> None:
    """Edge case 25: completion was decided first; that nobody has seen it yet changes nothing."""
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet) as node, node.client() as client:
        run_id = (await node.ask()).run_id
        puppet.say("all of it")
        await client.until(lambda client: client.said == "all of it")
        gate = node.storage.before = anyio.Event()
        puppet.finish()
        await eventually(lambda: node.storage.waiting)
        async with anyio.create_task_group() as tasks:
            receipts: list[Receipt] = []

            async def stop() -> None:
                receipts.append(await node.interrupt(run_id))

            tasks.start_soon(stop)
            await anyio.lowlevel.checkpoint()
            assert receipts == [], "a receipt must not precede the terminal event"
            gate.set()

        assert await agree(node, client, run_id, *receipts) == "already_finished"
        assert (await node.interrupt(run_id)).outcome == "already_finished"


async def test_stopping_twice_is_stopping_once(tmp_path: Path) -> None:
    async with open_node(tmp_path, agent=Puppet()) as node, node.client() as client:
        run_id = (await node.ask()).run_id
        receipts: list[Receipt] = []

        async def stop() -> None:
            receipts.append(await node.interrupt(run_id))

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(stop)

        assert await agree(node, client, run_id, *receipts) == "stopped"
        assert (await node.interrupt()).outcome == "idle"
        assert (await node.interrupt(run_id)).outcome == "already_finished"


@pytest.mark.parametrize("durability", ["normal", "full"])
async def test_stop_racing_with_completion_has_one_winner(tmp_path: Path, durability: str) -> None:
    """Invariant 4, at every distance between the two that the loop knows."""
    outcomes = []
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet, durability=durability) as node:
        for distance in range(-8, 14):
            async with node.client() as client:
                run_id = (await node.ask()).run_id
                puppet.say("text")
                await client.until(lambda client: client.said == "text")
                receipts: list[Receipt] = []

                async def finish(distance: int = distance) -> None:
                    for _ in range(-distance):
                        await anyio.lowlevel.checkpoint()
                    puppet.finish()

                async def stop(
                    distance: int = distance, run_id: str = run_id, receipts: list[Receipt] = receipts
                ) -> None:
                    for _ in range(distance):
                        await anyio.lowlevel.checkpoint()
                    receipts.append(await node.interrupt(run_id))

                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(finish)
                    tasks.start_soon(stop)
                outcomes.append(await agree(node, client, run_id, *receipts))
            # A stop that won leaves its order to finish unheard.
            while not puppet.is_idle:
                puppet.drop()

    assert set(outcomes) == {"stopped", "already_finished"}


async def test_stop_of_another_run_stops_nothing(tmp_path: Path) -> None:
    """A stop that names a run which is over must not hit the one that came after it."""
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet) as node:
        puppet.finish()
        first = await node.ask()
        await node.over(first.run_id)
        second = await node.ask()

        assert (await node.interrupt(first.run_id)).outcome == "already_finished"
        assert (await node.interrupt(message_id=first.message_id)).outcome == "already_finished"
        async with node.held() as session:
            assert session.run is not None
            assert session.run.run_id == second.run_id


async def test_stop_without_any_run_is_idle(tmp_path: Path) -> None:
    async with open_node(tmp_path) as node:
        receipt = await node.interrupt()

        assert (receipt.outcome, receipt.run_id) == ("idle", None)
        assert (await node.interrupt("no-such-run")).outcome == "idle"


# --- a stop that comes before its message


@pytest.mark.parametrize("forgotten", [False, True], ids=["in memory", "after eviction"])
async def test_message_whose_stop_came_first_never_reaches_the_agent(tmp_path: Path, forgotten: bool) -> None:
    """Edge case 26: the message is in the history, its run ended before it began."""
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet) as node:
        receipt = await node.interrupt(message_id="m1")
        assert (receipt.outcome, (await node.interrupt(message_id="m1")).outcome) == ("pending", "pending")
        if forgotten:
            assert node.hub.evict_idle(-1) == 1
        async with node.client() as client:
            accepted = await node.ask("too late", message_id="m1")
            await client.catch_up()
            snapshot = await node.snapshot()

    assert (accepted.status, accepted.run_id) == ("interrupted", receipt.run_id)
    assert [(message["id"], message["content"]) for message in snapshot.messages] == [("m1", "too late")]
    assert (client.faults, client.fold.messages) == ([], snapshot.messages)
    assert client.ended()[accepted.run_id] == "cancelled"
    assert puppet.turns == []


async def test_message_whose_stop_came_first_does_not_wait_behind_a_run(tmp_path: Path) -> None:
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet) as node:
        running = await node.ask("first")
        await node.interrupt(message_id="m1")

        assert (await node.ask("second", message_id="m1", on_busy="queue")).status == "interrupted"
        puppet.finish()
        assert (await node.over(running.run_id)).status == "finished"
        assert (await node.ask("second", message_id="m1")).status == "interrupted"
        # It was accepted, so it is in the history, behind what it had to wait for.
        await eventually(lambda: node.rows("SELECT count(*) FROM messages WHERE message_id = 'm1'") == [(1,)])

    assert len(puppet.turns) == 1


async def test_stop_while_the_first_commit_is_in_flight_is_asked_to_come_back(tmp_path: Path) -> None:
    """Nobody knows yet whether it will run: neither `idle` nor `stopped` would be true."""
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet) as node:
        async with node.held():
            pass
        gate = node.storage.before = anyio.Event()
        with node.impatient():
            with pytest.raises(Unavailable):
                await node.ask(message_id="m1")
            with pytest.raises(Unavailable):
                await node.interrupt(message_id="m1")
        gate.set()
        await node.calm()

        receipt = await node.interrupt(message_id="m1")
        assert receipt.outcome == "stopped"
        assert (await node.over(receipt.run_id or "")).status == "interrupted"


async def test_a_run_that_nobody_streams_is_stopped_all_the_same(tmp_path: Path) -> None:
    """Invariant 6: streams come and go, runs belong to the server."""
    async with open_node(tmp_path, agent=saying(*["word "] * 100_000)) as node:
        async with node.client() as client:
            run_id = (await node.ask()).run_id
            await client.until(lambda client: len(client.log) > 5)
        receipt = await node.interrupt(run_id)

        assert receipt.outcome == "stopped"
        assert (await node.over(run_id)).status == "interrupted"


async def test_agent_that_tidies_up_and_returns_says_nothing_after_the_end(tmp_path: Path) -> None:
    """Invariant 4: the terminal event is last, also when the agent takes the cancellation for the end of its work."""

    async def tidy(turn: Turn) -> AsyncIterator[str]:
        yield "partial"
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            return

    async with open_node(tmp_path, agent=tidy) as node, node.client() as client:
        run_id = (await node.ask()).run_id
        await client.until(lambda client: client.said == "partial")
        receipt = await node.interrupt(run_id)

        assert await agree(node, client, run_id, receipt) == "stopped"


async def test_a_message_that_is_still_answered_is_stopped_by_its_id(tmp_path: Path) -> None:
    """The run that goes on after an answer has no message of its own: it is that of the run which asked."""
    puppet = Puppet()

    async def agent(turn: Turn) -> AsyncIterator[str | Event]:
        first = saying(*call("c1", "sign", "{}"), asking(CALL))
        async for piece in puppet(turn) if turn.resume else first(turn):
            yield piece

    async with open_node(tmp_path, agent=agent) as node:
        await node.over((await node.ask(message_id="m1")).run_id)
        run_id = (await node.answer("c1", "0x2")).run_id
        await eventually(lambda: puppet.turns)
        receipt = await node.interrupt(message_id="m1")

        assert (receipt.run_id, receipt.outcome) == (run_id, "stopped")
        assert (await node.over(run_id)).status == "interrupted"
