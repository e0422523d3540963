"""What the black-box client folds, and that it sees every fault it is there to see.

The faults are planted in the bytes of a canned server: a counter that can only be zero would prove nothing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from scripts.blackbox.arena import STREAM_FAULTS
from scripts.blackbox.caller import Caller
from scripts.blackbox.fold import Fold, differences
from scripts.blackbox.follower import Follower, Ledger
from scripts.blackbox.patch import patched
from scripts.blackbox.tally import Tally
from scripts.blackbox.wire import ChunkDecoder, Wire

pytestmark = pytest.mark.anyio

Event = dict[str, Any]

STARTED: Event = {"type": "RUN_STARTED", "threadId": "s", "runId": "r", "protocolVersion": "1.0"}
FINISHED: Event = {"type": "RUN_FINISHED", "threadId": "s", "runId": "r", "outcome": {"type": "success"}}
SYNC_STARTED: Event = {**STARTED, "runId": "sync-1"}
SYNC_FINISHED: Event = {**FINISHED, "runId": "sync-1"}
REFUSED: Event = {**SYNC_STARTED, "metadata": {"sessionstream": {"resumed": False}}}
NO_MESSAGES: Event = {"type": "MESSAGES_SNAPSHOT", "messages": []}
START: Event = {"type": "TEXT_MESSAGE_START", "messageId": "m", "role": "assistant"}
END: Event = {"type": "TEXT_MESSAGE_END", "messageId": "m"}

SNAPSHOT: Sequence[tuple[str | None, Event]] = ((None, SYNC_STARTED), (None, NO_MESSAGES), ("e-1", SYNC_FINISHED))


def delta(text: str) -> Event:
    return {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": text}


def sse(frames: Sequence[tuple[str | None, Event]]) -> bytes:
    lines = [(f"id: {cursor}\n" if cursor else "") + f"data: {json.dumps(event)}\n\n" for cursor, event in frames]
    return ("retry: 1000\n: hello\n\n" + "".join(lines)).encode()


async def followed(*streams: Sequence[tuple[str | None, Event]], is_cut: bool = False) -> Follower:
    """Return a client that read these streams one after the other, coming back with its cursor each time."""
    waiting = [sse(frames) for frames in streams]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = waiting.pop(0)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        last = b"" if is_cut else b"0\r\n\r\n"
        writer.write(head + b"%x\r\n%s\r\n" % (len(body), body) + last)
        await writer.drain()
        writer.close()

    follower: Follower | None = None
    with anyio.fail_after(5):
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            wire = Wire("127.0.0.1", server.sockets[0].getsockname()[1])
            follower = Follower(Caller(wire, "user"), "s", Ledger(Tally("test", faults=STREAM_FAULTS)))
            for _ in streams:
                await follower.connect(follower.cursor)
                while await follower.pump():
                    pass
    return follower


def faults(follower: Follower) -> dict[str, int]:
    return {name: count for name, count in follower.tally.faults.items() if count}


async def test_stream_of_a_snapshot_and_a_run_has_no_fault() -> None:
    """Our contract of the wire."""
    run = [STARTED, START, delta("Hel"), delta("lo"), END, FINISHED]

    follower = await followed([*SNAPSHOT, *((f"e-{n}", event) for n, event in enumerate(run, 2))])

    assert faults(follower) == {}
    assert follower.fold.text("m") == "Hello"
    assert (follower.cursor, follower.ended_by, follower.fold.run_id) == ("e-7", "clean", None)


async def test_text_goes_on_over_a_reconnect_in_the_middle_of_a_message() -> None:
    """Our contract: the stream before and the stream after a cursor are one."""
    follower = await followed(
        [*SNAPSHOT, ("e-2", STARTED), ("e-3", START), ("e-4", delta("Hel"))],
        [("e-5", delta("lo")), ("e-6", END), ("e-7", FINISHED)],
    )

    assert faults(follower) == {}
    assert follower.fold.text("m") == "Hello"


async def test_cut_stream_is_told_from_a_clean_end() -> None:
    """The last chunk is what a clean shutdown sends."""
    follower = await followed(SNAPSHOT, is_cut=True)

    assert follower.ended_by == "cut"


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ([("e-3", STARTED)], {"lost": 1}),
        ([("e-2", STARTED), ("e-3", FINISHED), ("e-3", {**STARTED, "runId": "r2"})], {"repeated": 1, "rewritten": 1}),
        ([("f-2", STARTED)], {"out_of_order": 1}),
        ([("e-2", delta("x"))], {"grammar": 2}),
        ([("e-2", STARTED), ("e-3", delta("x"))], {"grammar": 2}),
        ([("e-2", STARTED), ("e-3", START), ("e-4", FINISHED)], {"grammar": 1}),
        ([("e-2", STARTED), ("e-3", STARTED)], {"grammar": 1}),
        ([("e-2", STARTED), ("e-3", {**START, "name": None})], {"grammar": 1}),
        ([("e-2", STARTED), (None, NO_MESSAGES)], {"grammar": 1}),
        ([("e-2", STARTED), ("e-3", FINISHED), ("e-4", STARTED), ("e-5", FINISHED)], {"ended_twice": 1}),
    ],
)
async def test_planted_fault_is_counted(frames: list[tuple[str | None, Event]], expected: dict[str, int]) -> None:
    """A fault that is not seen would be counted as none."""
    assert faults(await followed([*SNAPSHOT, *frames])) == expected


async def test_snapshot_in_answer_to_a_good_cursor_is_a_fault() -> None:
    """Our contract: a cursor of the log is honoured."""
    follower = await followed(SNAPSHOT, [(None, REFUSED), (None, NO_MESSAGES), ("e-1", SYNC_FINISHED)])

    assert faults(follower) == {"cursor_refused": 1}


async def test_event_that_another_client_saw_differently_is_a_fault() -> None:
    """Persist, then publish: a position never holds another event later."""
    follower = await followed([*SNAPSHOT, ("e-2", STARTED), ("e-3", START), ("e-4", delta("yes"))])
    follower.ledger.note(follower.key, "e-4", delta("no"), "r")

    assert faults(follower) == {"rewritten": 1}


async def test_fold_that_differs_from_the_store_is_told() -> None:
    """Our contract: streams, state and store are folds of one log."""
    fold = Fold()
    for event in (STARTED, START, delta("Hello"), END):
        fold.apply(event)
    run = {"run_id": "r", "status": "running"}
    stored = {"messages": list(fold.messages.values()), "state": {}, "run": run}

    assert differences(fold, stored) == []
    assert len(differences(fold, {**stored, "messages": []})) == 1
    assert len(differences(fold, {**stored, "state": {"queue": []}})) == 1
    assert len(differences(fold, {**stored, "run": None})) == 1


async def test_tool_result_stands_behind_its_call() -> None:
    """AG-UI 1.0, as the official client folds it."""
    fold = Fold()
    call: Event = {"type": "TOOL_CALL_START", "toolCallId": "c", "toolCallName": "f", "parentMessageId": "m"}
    for event in (
        STARTED,
        START,
        END,
        call,
        {"type": "TOOL_CALL_ARGS", "toolCallId": "c", "delta": '{"a"'},
        {"type": "TOOL_CALL_ARGS", "toolCallId": "c", "delta": ":1}"},
        {"type": "TOOL_CALL_END", "toolCallId": "c"},
        {**START, "messageId": "later"},
        {**END, "messageId": "later"},
        {"type": "TOOL_CALL_RESULT", "messageId": "t", "toolCallId": "c", "content": "done"},
        FINISHED,
    ):
        assert fold.apply(event) == []

    assert list(fold.messages) == ["m", "t", "later"]
    assert fold.messages["m"]["toolCalls"] == [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    ]


def test_patch_leaves_the_document_it_was_given() -> None:
    """RFC 6902, and a fold whose copies stay what they were."""
    document = {"a": [1, 2], "b/c": {"d": 3}}

    changed = patched(
        document,
        [
            {"op": "add", "path": "/a/-", "value": 4},
            {"op": "remove", "path": "/a/0"},
            {"op": "replace", "path": "/b~1c/d", "value": 5},
            {"op": "copy", "from": "/a", "path": "/e"},
            {"op": "move", "from": "/b~1c", "path": "/f"},
            {"op": "test", "path": "/f/d", "value": 5},
        ],
    )

    assert changed == {"a": [2, 4], "e": [2, 4], "f": {"d": 5}}
    assert document == {"a": [1, 2], "b/c": {"d": 3}}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_chunks_are_joined_however_they_are_cut(size: int) -> None:
    """RFC 9112 §7.1."""
    raw = b"3\r\nabc\r\n" + b"10;x=y\r\n" + b"0123456789\r\n1234" + b"\r\n0\r\n\r\n"
    decoder = ChunkDecoder()

    text = b"".join(decoder.feed(raw[at : at + size]) for at in range(0, len(raw), size))

    assert text == b"abc0123456789\r\n1234"
    assert decoder.ended
