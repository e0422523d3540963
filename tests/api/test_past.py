"""The past of a run on a stream that begins later: no change of state twice, and no cursor that lies."""

from __future__ import annotations

from typing import Any

import orjson

from server.api.past import Past
from server.core.events import frame, run_finished, run_started, state_delta, text_message
from server.ids import Cursor

Json = dict[str, Any]

STATE = {"artifacts": {"list": [1]}}
SNAPSHOT = {"type": "STATE_SNAPSHOT", "snapshot": STATE}
QUESTION = text_message("m", "user", "hello", "r", 0)
ADD = state_delta([{"op": "add", "path": "/artifacts/list/-", "value": 1}])
ANSWER = text_message("a", "assistant", "so far", "r", 0)
LOG = [run_started("s", "r", 0), *QUESTION, ADD, *ANSWER, run_finished("s", "r", "success", 0)]
FRAMES = [frame("epoch", seq, event) for seq, event in enumerate(LOG, 10)]
LAST = 10 + len(LOG) - 1


def past_until(seq: int, message_id: str = "m") -> Past:
    """Return the past of a run whose state is known as of `seq`."""
    return Past(Cursor("epoch", seq), STATE, message_id)


def told_by(past: Past, *pieces: list[bytes]) -> tuple[list[Json], list[str]]:
    """Return the events and the ids that are told of pieces of a log, the last of which ends the past."""
    told = b"".join(past.told(b"".join(piece), is_end=piece is pieces[-1]) for piece in pieces)
    lines = told.decode().splitlines()
    return [orjson.loads(line[6:]) for line in lines if line.startswith("data: ")], [
        line for line in lines if line.startswith("id: ")
    ]


def test_the_state_stands_behind_the_question_and_its_changes_are_left_out() -> None:
    told, ids = told_by(past_until(LAST), FRAMES)

    assert told == [LOG[0], *QUESTION, SNAPSHOT, *ANSWER, LOG[-1]]
    assert ids == [f"id: epoch-{LAST}"]


def test_it_may_come_in_any_pieces() -> None:
    whole = told_by(past_until(LAST), FRAMES)
    for size in range(1, len(FRAMES)):
        pieces = [FRAMES[start : start + size] for start in range(0, len(FRAMES), size)]

        assert told_by(past_until(LAST), *pieces) == whole


def test_a_past_that_ends_with_the_question_ends_with_the_state() -> None:
    """Whether its last event was one of those left out, or not."""
    for count in (4, 5):
        told, ids = told_by(past_until(9 + count), FRAMES[:count])

        assert told == [LOG[0], *QUESTION, SNAPSHOT]
        assert ids == [f"id: epoch-{9 + count}"]


def test_a_state_that_is_newer_than_the_run_gives_no_cursor() -> None:
    told, ids = told_by(past_until(LAST + 3), FRAMES)

    assert told[-1] == LOG[-1]
    assert ids == []


def test_a_run_without_a_question_has_the_state_behind_its_start() -> None:
    result = {"type": "TOOL_CALL_RESULT", "messageId": "t", "toolCallId": "c", "content": "done", "role": "tool"}
    told, ids = told_by(past_until(11, "resume/r"), [FRAMES[0], frame("epoch", 11, result)])

    assert told == [LOG[0], SNAPSHOT, result]
    assert ids == ["id: epoch-11"]
