"""The scripted agent plays what its script says, refuses what it does not understand, and stays cancellable."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import Any

import anyio
import pytest

from server.agents.scripted import HELP, ScriptedAgent, ScriptError, parse_script
from server.core.ports import Event, Message, Turn
from server.errors import AgentFailed


def turn_of(message: str, messages: list[Message] | None = None) -> Turn:
    return Turn(session_id="s", run_id="r", user_id="u", message=message, messages=messages or [])


def script_of(*steps: dict[str, Any]) -> str:
    return json.dumps({"steps": steps})


async def played(*steps: dict[str, Any], agent: ScriptedAgent | None = None) -> list[str | Event]:
    with anyio.fail_after(5):
        return [piece async for piece in (agent or ScriptedAgent())(turn_of(script_of(*steps)))]


async def events_of(*steps: dict[str, Any]) -> list[Event]:
    pieces = await played(*steps)
    assert all(isinstance(piece, dict) for piece in pieces)
    return [piece for piece in pieces if isinstance(piece, dict)]


async def test_emit_counts_its_tokens_as_fast_as_it_goes() -> None:
    assert await played({"emit": {"tokens": 3}}) == ["w0 ", "w1 ", "w2 "]


async def test_emit_at_a_rate_gives_the_same_tokens_with_their_own_text() -> None:
    assert await played({"emit": {"tokens": 3, "rate": 1000, "text": "token"}}) == ["token0 ", "token1 ", "token2 "]


async def test_emit_as_fast_as_it_goes_lets_others_run() -> None:
    """A run that never leaves the loop would stop every other session."""
    count = seen_by_other = 0

    async def other() -> None:
        nonlocal seen_by_other
        while not count:
            await anyio.lowlevel.checkpoint()
        seen_by_other = count

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(other)
            async for _ in ScriptedAgent()(turn_of(script_of({"emit": {"tokens": 1000}}))):
                count += 1

    assert 0 < seen_by_other < count == 1000


async def test_steps_are_played_in_order() -> None:
    assert await played({"text": "a"}, {"stall": {"seconds": 0}}, {"text": "b"}, {"emit": {"tokens": 1}}) == [
        "a",
        "b",
        "w0 ",
    ]


async def test_an_empty_script_says_nothing() -> None:
    assert await played() == []


async def test_giant_is_one_delta_of_that_many_bytes() -> None:
    [piece] = await played({"giant": {"bytes": 1_000_000}})

    assert isinstance(piece, str)
    assert len(piece.encode()) == 1_000_000


async def test_a_split_emoji_comes_in_halves_of_surrogate_pairs_that_join_to_the_whole() -> None:
    """Clients count UTF-16 units: a model server that cuts there sends lone surrogates."""
    halves = await played({"emoji": {"split": True}})
    [whole] = await played({"emoji": {"split": False}})

    assert halves[:2] == ["\ud83d", "\udc68"]
    assert isinstance(whole, str)
    joined = "".join(str(piece) for piece in halves).encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    assert joined == whole == "\U0001f468\u200d\U0001f469\u200d\U0001f467"


async def test_a_tool_call_streams_its_arguments_in_pieces_and_is_answered() -> None:
    events = await events_of({"tool": {"name": "search", "args": {"q": "é"}}})

    call_id = events[0]["toolCallId"]
    assert events == [
        {"type": "TOOL_CALL_START", "toolCallId": call_id, "toolCallName": "search"},
        {"type": "TOOL_CALL_ARGS", "toolCallId": call_id, "delta": '{"q":'},
        {"type": "TOOL_CALL_ARGS", "toolCallId": call_id, "delta": ' "é"}'},
        {"type": "TOOL_CALL_END", "toolCallId": call_id},
        {
            "type": "TOOL_CALL_RESULT",
            "messageId": events[4]["messageId"],
            "toolCallId": call_id,
            "content": 'search was called with {"q": "é"}',
            "role": "tool",
        },
    ]


async def test_a_tool_call_without_answer_ends_and_gets_no_result() -> None:
    events = await events_of({"tool": {"name": "search", "answer": False}})

    assert [event["type"] for event in events] == [
        "TOOL_CALL_START",
        "TOOL_CALL_ARGS",
        "TOOL_CALL_ARGS",
        "TOOL_CALL_END",
    ]


async def test_a_tool_call_without_end_stays_open() -> None:
    events = await events_of({"tool": {"name": "search", "end": False}})

    assert [event["type"] for event in events] == ["TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_ARGS"]


async def test_two_tool_calls_have_two_ids() -> None:
    events = await events_of({"tool": {"name": "a"}}, {"tool": {"name": "a"}})

    assert len({event["toolCallId"] for event in events}) == 2


async def test_reasoning_is_one_span_with_one_message() -> None:
    events = await events_of({"reasoning": "hm"})

    message_id = events[0]["messageId"]
    assert events == [
        {"type": "REASONING_START", "messageId": message_id},
        {"type": "REASONING_MESSAGE_START", "messageId": message_id, "role": "reasoning"},
        {"type": "REASONING_MESSAGE_CONTENT", "messageId": message_id, "delta": "hm"},
        {"type": "REASONING_MESSAGE_END", "messageId": message_id},
        {"type": "REASONING_END", "messageId": message_id},
    ]


async def test_a_step_lasts_to_the_next_one_and_the_last_to_the_end() -> None:
    assert await played({"step": "plan"}, {"text": "a"}, {"step": "write"}, {"text": "b"}) == [
        {"type": "STEP_STARTED", "stepName": "plan"},
        "a",
        {"type": "STEP_FINISHED", "stepName": "plan"},
        {"type": "STEP_STARTED", "stepName": "write"},
        "b",
        {"type": "STEP_FINISHED", "stepName": "write"},
    ]


async def test_state_and_raw_events_pass_as_they_stand() -> None:
    change = [{"op": "add", "path": "/notes", "value": 1}]
    event = {"type": "TEXT_MESSAGE_END", "messageId": "never opened"}

    assert await played({"state": change}, {"event": event}) == [{"type": "STATE_DELTA", "delta": change}, event]


async def test_what_a_run_writes_into_an_event_does_not_reach_the_next_run() -> None:
    agent = ScriptedAgent(parse_script(script_of({"event": {"type": "CUSTOM", "name": "x", "value": {}}})))
    async for piece in agent(turn_of("go")):
        assert isinstance(piece, dict)
        piece["value"]["spoiled"] = True

    assert [piece async for piece in agent(turn_of("go"))] == [{"type": "CUSTOM", "name": "x", "value": {}}]


async def test_history_counts_all_messages_and_shows_the_users_last_texts() -> None:
    messages: list[Message] = [
        {"id": "1", "role": "user", "content": "My name is Alice"},
        {"id": "2", "role": "assistant", "content": "Hello"},
        {"id": "3", "role": "user", "content": [{"type": "text", "text": "and"}, {"type": "image"}]},
    ]
    agent = ScriptedAgent(parse_script(script_of({"history": True})))

    pieces = [piece async for piece in agent(turn_of("go", messages))]

    assert pieces == ["Messages I see: 3. The user's last: My name is Alice | and"]


async def test_echo_repeats_the_words() -> None:
    agent = ScriptedAgent(parse_script(script_of({"echo": True})))

    assert [piece async for piece in agent(turn_of("one two"))] == ["one ", "two "]


async def test_a_plain_message_is_repeated_and_told_how_to_script() -> None:
    assert [piece async for piece in ScriptedAgent()(turn_of("hello you"))] == ["hello ", "you ", HELP]


async def test_the_example_that_a_plain_message_is_told_is_a_script() -> None:
    parse_script(HELP[HELP.index("{") :])


async def test_a_script_in_the_message_wins_over_the_file() -> None:
    agent = ScriptedAgent(parse_script(script_of({"text": "file"})))

    assert await played({"text": "message"}, agent=agent) == ["message"]
    assert [piece async for piece in agent(turn_of("anything"))] == ["file"]


async def test_an_empty_script_file_says_nothing_too() -> None:
    assert [piece async for piece in ScriptedAgent(parse_script('{"steps": []}'))(turn_of("hello"))] == []


async def test_raise_raises_what_a_foreign_agent_would_after_what_came_before() -> None:
    async with aclosing(ScriptedAgent()(turn_of(script_of({"text": "a"}, {"raise": "out of luck"})))) as pieces:
        first = await anext(pieces)
        with pytest.raises(RuntimeError) as raised:
            await anext(pieces)

    assert (first, str(raised.value)) == ("a", "out of luck")


async def test_a_stall_ends_when_it_is_cancelled() -> None:
    pieces: list[str | Event] = []
    with anyio.fail_after(5), anyio.CancelScope() as scope:
        async for piece in ScriptedAgent()(turn_of(script_of({"text": "a"}, {"stall": {"seconds": 3600}}))):
            pieces.append(piece)
            scope.cancel()

    assert scope.cancelled_caught
    assert pieces == ["a"]


async def test_ignore_cancel_goes_on_although_cancelled_and_then_gives_in() -> None:
    script = script_of({"ignore_cancel": {"seconds": 0.2}}, {"text": "never reached"})
    pieces: list[str | Event] = []
    with anyio.fail_after(5), anyio.CancelScope() as scope:
        async for piece in ScriptedAgent()(turn_of(script)):
            pieces.append(piece)
            scope.cancel()

    assert scope.cancelled_caught
    assert pieces == ["w0 ", "w1 ", "w2 ", "w3 "]


async def test_ignore_cancel_gives_in_also_to_a_task_that_was_cancelled_once() -> None:
    """A task of plain asyncio is cancelled once, one of anyio at every await: swallowed, it must be raised again."""
    script = script_of({"ignore_cancel": {"seconds": 0.1}}, {"text": "never reached"})
    pieces: list[str | Event] = []
    begun = anyio.Event()

    async def collect() -> None:
        async for piece in ScriptedAgent()(turn_of(script)):
            pieces.append(piece)
            begun.set()

    with anyio.fail_after(5):
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(collect())
            await begun.wait()
            task.cancel()

    assert task.cancelled()
    assert pieces == ["w0 ", "w1 "]


async def test_ignore_cancel_that_nobody_cancels_is_followed_by_the_next_step() -> None:
    assert await played({"ignore_cancel": {"seconds": 0.05}}, {"text": "next"}) == ["w0 ", "next"]


async def test_closing_a_run_that_ignores_cancellation_waits_for_it() -> None:
    """Were it left to the garbage collector, closing would seem to work at once and test nothing."""
    closing = anyio.Event()
    closed = closed_when_seen = False

    async def other() -> None:
        nonlocal closed_when_seen
        await closing.wait()
        closed_when_seen = closed

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(other)
            async with aclosing(ScriptedAgent()(turn_of(script_of({"ignore_cancel": {"seconds": 0.2}})))) as pieces:
                first = await anext(pieces)
                closing.set()
            closed = True

    assert (first, closed_when_seen) == ("w0 ", False)


@pytest.mark.parametrize(
    ("script", "detail"),
    [
        ('{"steps": [', "the script is not JSON: Expecting value: line 1 column 12 (char 11)"),
        ('{"steps": NaN}', "the script is not JSON: NaN is no JSON number"),
        ('{"steps": ' + "[" * 100_000, "the script is not JSON: "),
        ('{"steps": ' + "[" * 70 + "]" * 70 + "}", "the script nests deeper than 64 levels"),
        ('{"steps": {}}', "the script: steps must be a list, not {}"),
        ('{"steps": [], "rate": 1}', 'the script: unknown key "rate"; known are steps'),
        ('{"a": "steps"}', 'the script: unknown key "a"; known are steps'),
        ('{"steps": [1]}', "step 1 must be an object with one key, not 1"),
        ('{"steps": [{}]}', "step 1 must be an object with one key, not {}"),
        (script_of({"text": "a"}, {"emitt": 1}), 'step 2: unknown key "emitt"; known are echo, emit, '),
        (script_of({"emit": 5}), "step 1: emit must be an object, not 5"),
        (script_of({"emit": {}}), "step 1: emit: tokens is missing"),
        (script_of({"emit": {"token": 1}}), 'step 1: emit: unknown key "token"; known are tokens, rate, text'),
        (script_of({"emit": {"tokens": 0}}), "step 1: emit.tokens must be a whole number from 1 to 1000000, not 0"),
        (script_of({"emit": {"tokens": 1.5}}), "step 1: emit.tokens must be a whole number from 1 to 1000000, not 1.5"),
        (
            script_of({"emit": {"tokens": True}}),
            "step 1: emit.tokens must be a whole number from 1 to 1000000, not true",
        ),
        (script_of({"emit": {"tokens": 10**6 + 1}}), "step 1: emit.tokens must be a whole number from 1 to 1000000, "),
        (
            script_of({"emit": {"tokens": 1, "rate": -1}}),
            "step 1: emit.rate must be a number from 0 to 1000000, not -1",
        ),
        ('{"steps": [{"stall": {"seconds": 1e999}}]}', "step 1: stall.seconds must be a number from 0 to 3600, not "),
        (script_of({"stall": {"seconds": "2"}}), 'step 1: stall.seconds must be a number from 0 to 3600, not "2"'),
        (script_of({"ignore_cancel": {}}), "step 1: ignore_cancel: seconds is missing"),
        (script_of({"giant": {"bytes": 2**26}}), "step 1: giant.bytes must be a whole number from 1 to 33554432, not "),
        (script_of({"emoji": {"split": 1}}), "step 1: emoji.split must be true or false, not 1"),
        (script_of({"tool": {}}), "step 1: tool: name is missing"),
        (script_of({"tool": {"name": "a", "args": []}}), "step 1: tool.args must be an object, not []"),
        (script_of({"state": {"op": "add"}}), "step 1: state must be a list of RFC 6902 operations, not "),
        (script_of({"event": {"type": 1}}), "step 1: event.type must be a text, not 1"),
        (script_of({"echo": False}), "step 1: echo must be true, not false"),
        (script_of({"text": None}), "step 1: text must be a text, not null"),
        (script_of({"text": {"a": "b" * 100}}), 'step 1: text must be a text, not {"a": "bbbbb'),
    ],
)
async def test_a_wrong_script_fails_the_run_before_its_first_step_and_names_step_and_key(
    script: str, detail: str
) -> None:
    with pytest.raises(AgentFailed) as failure:
        await anext(ScriptedAgent()(turn_of(script)))

    assert failure.value.code == "agent_failed"
    assert failure.value.detail.startswith(detail)
    assert len(failure.value.detail) < 300


def test_a_wrong_script_file_is_refused_when_it_is_read() -> None:
    with pytest.raises(ScriptError, match=r"^step 1: stall: seconds is missing$"):
        parse_script(script_of({"stall": {}}))
