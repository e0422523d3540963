"""A run streams what its agent yields, keeps the stream legal whatever that is, and ends once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest
from ag_ui.core import TextMessageContentEvent, TextMessageStartEvent

from server.core.ports import Agent, Event, Turn
from server.core.text import MAX_DELTA_CHARS
from server.errors import AgentFailed
from tests.support.agents import Puppet, echo, saying
from tests.support.client import Client
from tests.support.illegal import CALL, CALL_END, ILLEGAL, TEXT
from tests.support.node import TOO_LONG_TO_KEEP, Node, eventually, open_node
from tests.support.standard import violations


async def streamed(folder: Path, agent: Agent, message: str = "hello", **settings: Any) -> Client:
    """Return what a client saw of one run; the run is over, and what it saw was legal."""
    async with open_node(folder, agent=agent, **settings) as node:
        return await _streamed(node, message)


async def _streamed(node: Node, message: str = "hello", **asked: Any) -> Client:
    async with node.client(session=asked.get("session", "s")) as client:
        accepted = await node.ask(message, **asked)
        await client.until_over(accepted.run_id)
        snapshot = await node.snapshot(asked.get("session", "s"))
    assert client.faults == []
    assert [line for event in client.events for line in violations(event)] == []
    assert client.fold.messages == snapshot.messages
    return client


def failure(client: Client) -> tuple[str, str]:
    """Return code and message of the RUN_ERROR that was the last event."""
    last = client.events[-1]
    assert last["type"] == "RUN_ERROR", last
    return last["code"], last["message"]


def answers(client: Client) -> list[Any]:
    """Return the contents of the messages that are not the user's."""
    return [message.get("content") for message in client.fold.messages if message["role"] != "user"]


# --- what an agent yields


async def test_text_becomes_one_message_between_start_and_end(tmp_path: Path) -> None:
    client = await streamed(tmp_path, saying("Hel", "lo", ""))

    started = client.kinds().index("RUN_STARTED", 4)
    assert client.kinds()[started:] == [
        "RUN_STARTED",
        *["TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"],  # the user's
        "STATE_DELTA",  # the title
        *["TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"],
        "RUN_FINISHED",
    ]
    assert [message["content"] for message in client.fold.messages] == ["hello", "Hello"]


async def test_an_agent_that_says_nothing_finishes(tmp_path: Path) -> None:
    client = await streamed(tmp_path, saying())

    assert answers(client) == []
    assert client.events[-1]["outcome"] == {"type": "success"}


async def test_a_call_closes_the_text_before_it_and_hangs_on_it(tmp_path: Path) -> None:
    """Our contract: text, call, text are two messages, and the call belongs to the first."""
    result: Event = {"type": "TOOL_CALL_RESULT", "messageId": "r", "toolCallId": "t", "content": "7"}
    client = await streamed(tmp_path, saying("Let me see.", CALL, CALL_END, result, "It is 7."))

    _, said, told, said_then = client.fold.messages
    assert (said["content"], said["toolCalls"][0]["id"]) == ("Let me see.", "t")
    assert (told["id"], told["content"]) == ("r", "7")
    assert said_then["content"] == "It is 7."


async def test_what_the_agent_left_open_is_closed_when_it_ends(tmp_path: Path) -> None:
    """Invariant 5: no open message, no unanswered tool call."""
    client = await streamed(tmp_path, saying(TEXT, CALL, {"type": "STEP_STARTED", "stepName": "one"}))

    assert client.events[-1]["outcome"] == {"type": "success"}
    assert [message["role"] for message in client.fold.messages] == ["user", "assistant", "assistant", "tool"]


async def test_models_of_the_standard_package_are_taken(tmp_path: Path) -> None:
    models = (TextMessageStartEvent(message_id="m"), TextMessageContentEvent(message_id="m", delta="Hi"))
    client = await streamed(tmp_path, saying(*models))  # type: ignore[arg-type]

    assert answers(client) == ["Hi"]


async def test_state_lives_under_artifacts_and_outlives_the_run(tmp_path: Path) -> None:
    add = {"op": "add", "path": "/count", "value": 1}
    states: list[Any] = []

    async def agent(turn: Turn) -> AsyncIterator[Event]:
        states.append(dict(turn.state))
        yield {"type": "STATE_SNAPSHOT", "snapshot": {"notes": []}}
        yield {"type": "STATE_DELTA", "delta": [add, {"op": "copy", "from": "/count", "path": "/again"}]}

    async with open_node(tmp_path, agent=agent) as node:
        client = await _streamed(node)
        await _streamed(node)

    assert client.fold.state["artifacts"] == {"notes": [], "count": 1, "again": 1}
    assert states == [{}, {"notes": [], "count": 1, "again": 1}]


@pytest.mark.parametrize(
    "delta",
    [
        [{"op": "remove", "path": "/missing"}],
        [{"op": "replace", "path": "", "value": 1}],
        [{"op": "dance", "path": "/x"}],
        [{"path": "/x"}],
        ["text"],
        [7],
        [None],
        [{"op": "add", "path": 7, "value": 1}],
    ],
    ids=str,
)
async def test_a_state_patch_that_does_not_apply_fails_the_run(tmp_path: Path, delta: list[Any]) -> None:
    client = await streamed(tmp_path, saying({"type": "STATE_DELTA", "delta": delta}))

    assert failure(client)[0] == "agent_protocol"
    assert client.fold.state["artifacts"] == {}


DEEP: Any = orjson.loads("[" * 100 + "]" * 100)


@pytest.mark.parametrize(
    "delta",
    [
        [
            {"op": "add", "path": "/x", "value": "x" * 1000},
            *({"op": "copy", "from": "", "path": f"/{n}"} for n in range(15)),
        ],
        [{"op": "copy", "from": "", "path": "/y"}] * 17,
        [{"op": "add", "path": "/deep", "value": DEEP}],
    ],
    ids=["doubled", "too many copies", "too deep"],
)
async def test_a_state_has_a_bound(tmp_path: Path, delta: list[Any]) -> None:
    """Invariant 7: a few short operations can say a state of gigabytes."""
    client = await streamed(tmp_path, saying({"type": "STATE_DELTA", "delta": delta}))

    assert failure(client)[0] == "agent_protocol"
    assert client.fold.state["artifacts"] == {}


async def test_what_was_yielded_does_not_change_with_what_the_agent_does_to_it_later(tmp_path: Path) -> None:
    """Our contract: an event is what it was when it was yielded, also for the agent's own objects."""
    let_go = anyio.Event()

    async def agent(turn: Turn) -> AsyncIterator[Event]:
        state: dict[str, Any] = {"n": [1]}
        metadata: dict[str, Any] = {"k": [1]}
        yield {"type": "STATE_SNAPSHOT", "snapshot": state}
        yield {"type": "TEXT_MESSAGE_START", "messageId": "m", "metadata": metadata}
        state["n"].append(2)
        metadata["k"].append(2)
        await let_go.wait()

    async with open_node(tmp_path, agent=agent) as node, node.client() as client:
        await node.ask()
        await client.until(lambda client: client.kinds()[-1] == "TEXT_MESSAGE_START")
        let_go.set()
        await client.until_over(client.fold.run_id or "")
        snapshot = await node.snapshot()

    assert snapshot.state["artifacts"] == client.fold.state["artifacts"] == {"n": [1]}
    assert snapshot.messages[1]["metadata"]["k"] == [1]


async def test_usage_is_sent_and_stored(tmp_path: Path) -> None:
    async def agent(turn: Turn) -> AsyncIterator[str]:
        turn.usage.append({"model": "m", "inputTokens": 3, "outputTokens": 4})
        yield "x"

    async with open_node(tmp_path, agent=agent) as node:
        client = await _streamed(node)
        record = await node.over(client.events[-1]["runId"])

    assert client.events[-1]["usage"] == [{"model": "m", "inputTokens": 3, "outputTokens": 4}]
    assert list(record.usage) == client.events[-1]["usage"]


@pytest.mark.parametrize(
    "usage", [{"model": ...}, {"inputTokens": 1 << 80}, "many", {"model": "\ud800"}, {"color": 1}], ids=repr
)
async def test_usage_that_is_no_json_fails_its_run_only(tmp_path: Path, usage: Any) -> None:
    """Invariant 7: what one agent does must not stop the node."""

    async def agent(turn: Turn) -> AsyncIterator[str]:
        yield "x"
        turn.usage.append(usage)

    async with open_node(tmp_path, agent=agent, agents={"echo": echo}) as node:
        client = await _streamed(node)
        other = await _streamed(node, agent="echo", session="other")

    assert failure(client)[0] == "agent_protocol"
    assert answers(other) == ["hello "]


# --- what it must not yield


async def test_every_illegal_sequence_fails_its_run_and_leaves_the_stream_legal(tmp_path: Path) -> None:
    """Agents: an agent that breaks the grammar ends as a failed run with a clear code."""
    agents = {
        f"a{at}": saying(*events)
        for at, (name, (events, _)) in enumerate(ILLEGAL.items())
        if "earlier" not in name and name != "not an object"  # a str is text here
    }
    async with open_node(tmp_path, agents={**agents, "echo": echo}) as node:
        for name in agents:
            client = await _streamed(node, agent=name, session=name)
            assert failure(client)[0] == "agent_protocol"
            # The session is usable at once.
            again = await _streamed(node, agent="echo", session=name)
            assert answers(again)[-1] == "hello "

    assert len(agents) == len(ILLEGAL) - 4


async def test_a_message_of_an_earlier_run_cannot_be_written_into(tmp_path: Path) -> None:
    async with open_node(tmp_path, agent=saying(TEXT)) as node:
        await _streamed(node)
        client = await _streamed(node)

    assert failure(client) == (
        "agent_protocol",
        "TEXT_MESSAGE_START: messageId 'm' belongs to an earlier message",
    )


@pytest.mark.parametrize(
    "event",
    [
        {**TEXT, "metadata": {"k": ...}},
        {**TEXT, "metadata": {"k": "\ud800"}},
        {**TEXT, "metadata": {1: 2}},
        {**TEXT, "name": "\ud83d"},
        {**TEXT, "messageId": "\udfff"},
        {**TEXT, "timestamp": 1 << 70},
        {**TEXT, "rawEvent": {1, 2}},
        {"type": "CUSTOM", "name": "n", "value": ...},
        {"type": "STATE_SNAPSHOT", "snapshot": {"x": ...}},
        {"type": "STATE_DELTA", "delta": [{"op": "add", "path": "/x", "value": "\ud800"}]},
        {"type": "\ud800"},
        ...,
        7,
    ],
    ids=repr,
)
async def test_what_is_no_json_fails_the_run_and_leaves_nothing_open(tmp_path: Path, event: Any) -> None:
    """Our contract: an event that cannot be sent was never opened, so nothing of it is closed either."""
    client = await streamed(tmp_path, saying("before ", event))

    assert failure(client)[0] == "agent_protocol"
    assert answers(client) == ["before "]


async def test_an_agent_that_raises_fails_its_run_without_its_words(tmp_path: Path) -> None:
    """Errors of agents may hold secrets: clients see their kind, the log has the rest."""

    async def agent(turn: Turn) -> AsyncIterator[str]:
        yield "partial "
        raise RuntimeError("password 1234")

    client = await streamed(tmp_path, agent)

    assert failure(client) == ("agent_failed", "the agent raised RuntimeError")
    assert answers(client) == ["partial "]
    assert client.fold.messages[1]["metadata"]["sessionstream"]["status"] == "failed"


async def test_an_agent_may_say_how_it_failed(tmp_path: Path) -> None:
    async def agent(turn: Turn) -> AsyncIterator[str]:
        if turn.message:
            raise AgentFailed("the model is asleep \ud800", code="agent_timeout")
        yield ""

    client = await streamed(tmp_path, agent)

    assert failure(client) == ("agent_timeout", "the model is asleep \ufffd")


async def test_an_agent_that_cancels_itself_failed(tmp_path: Path) -> None:
    """Nobody stopped it and the node does not go down: a cancelled future inside an agent is the agent's failure."""

    async def agent(turn: Turn) -> AsyncIterator[str]:
        yield "partial "
        raise anyio.get_cancelled_exc_class()

    client = await streamed(tmp_path, agent)

    assert failure(client)[0] == "agent_failed"


async def test_an_iterator_that_is_no_generator_will_do(tmp_path: Path) -> None:
    class Words:
        def __init__(self) -> None:
            self._left = ["b", "a"]

        def __aiter__(self) -> Words:
            return self

        async def __anext__(self) -> str:
            if not self._left:
                raise StopAsyncIteration
            return self._left.pop()

    client = await streamed(tmp_path, lambda turn: Words())

    assert answers(client) == ["ab"]


# --- text


async def test_surrogates_cut_in_two_come_out_whole(tmp_path: Path) -> None:
    """Edge case 44."""
    client = await streamed(tmp_path, saying("a\ud83d", "\ude00b", "\ud83d"))

    assert answers(client) == ["a\U0001f600b\ufffd"]


async def test_a_giant_piece_is_streamed_in_bounded_deltas(tmp_path: Path) -> None:
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    text = "x" + family * (3 * MAX_DELTA_CHARS // len(family))
    giant = {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": text}
    client = await streamed(tmp_path, saying(text, TEXT, giant))

    deltas = [event["delta"] for event in client.events if event["type"] == "TEXT_MESSAGE_CONTENT"]
    assert answers(client) == [text, text]
    assert max(map(len, deltas)) <= MAX_DELTA_CHARS
    assert all(not delta.startswith("\u200d") and not delta.endswith("\u200d") for delta in deltas)


# --- what it is given


async def test_the_turn_is_the_history_with_the_new_message_last(tmp_path: Path) -> None:
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet) as node:
        for message in ("first", "second"):
            puppet.say(f"answer to {message}")
            puppet.finish()
            accepted = await node.ask(message)
            await node.over(accepted.run_id)
            await node.tell(f"note after {message}")

    turn = puppet.turns[1]
    assert [(message["role"], message["content"]) for message in turn.messages] == [
        ("user", "first"),
        ("assistant", "answer to first"),
        ("system", "note after first"),
        ("user", "second"),
    ]
    assert (turn.message, turn.session_id, turn.user_id) == ("second", "s", "ann")


async def test_a_history_that_cannot_be_read_in_time_is_the_storages_failure(tmp_path: Path) -> None:
    async with open_node(tmp_path) as node:
        await _streamed(node, TOO_LONG_TO_KEEP)
        node.storage.read_gate = anyio.Event()
        with node.impatient(0.5):
            accepted = await node.ask()
            record = await node.over(accepted.run_id)

    assert (record.status, record.code) == ("failed", "storage_unavailable")


async def test_an_agent_that_never_waits_lets_others_run(tmp_path: Path) -> None:
    """Invariant 7: neither text nor events nor state may hold the loop."""
    stopped = False

    async def agent(turn: Turn) -> AsyncIterator[str | Event]:
        while not stopped:
            if turn.message == "text":
                yield "x"
            elif turn.message == "state":
                yield {"type": "STATE_DELTA", "delta": []}
            else:
                yield {"type": "CUSTOM", "name": "n", "value": 1}

    async with open_node(tmp_path, agent=agent) as node:
        for message in ("text", "state", "custom"):
            accepted = await node.ask(message, session=message)
            await node.interrupt(session=message)
            await eventually(lambda: not node.hub.user_runs)
            assert (await node.over(accepted.run_id, session=message)).status == "interrupted"
