"""Events are what the standard says, and frames can be split, cut and collapsed without changing what they say."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core import events
from server.core.ports import Event
from server.core.text import MAX_DELTA_CHARS
from tests.support.client import Fold, frames_of
from tests.support.sequences import STEADY, legal_events
from tests.support.standard import violations

WHEN = 1_700_000_000.25


def delta(text: str, message_id: str = "m", **more: Any) -> Event:
    return {"type": "TEXT_MESSAGE_CONTENT", "messageId": message_id, "delta": text, **more}


def framed(log: list[Event]) -> list[bytes]:
    return [events.frame("e", seq, event) for seq, event in enumerate(log, 1)]


@pytest.mark.parametrize(
    "event",
    [
        events.run_started("s", "r", WHEN),
        events.run_finished("s", "r", "success", WHEN),
        events.run_finished("s", "r", "cancelled", WHEN, metadata={"sessionstream": {"reason": "shutdown"}}),
        events.run_finished("s", "r", "success", WHEN, usage=[{"model": "m", "inputTokens": 1}]),
        events.run_error("r", "it broke", "agent_failed", WHEN),
        *events.text_message("m", "user", "hello", "r", WHEN),
        *events.text_message("m", "system", "", "r", WHEN),
        events.state_delta([{"op": "replace", "path": "/queue", "value": []}]),
        *events.housekeeping("s", "sync-1", WHEN, []),
    ],
    ids=lambda event: event["type"],
)
def test_what_the_server_makes_is_valid_by_the_standard(event: Event) -> None:
    """The wire: every frame is an AG-UI 1.0 event; the official models are the judge."""
    assert violations(event) == []


def test_the_judge_sees_what_is_wrong() -> None:
    """The test above can fail: for a wrong field, null for absent, an unknown field."""
    started = events.run_started("s", "r", WHEN)

    assert violations({**started, "runId": 7})
    assert violations({**started, "parentRunId": None}) == ["RUN_STARTED.parentRunId is null"]
    assert violations({**started, "color": "red"}) == ["RUN_STARTED has no field color"]


def test_a_frame_is_an_id_line_and_a_data_line() -> None:
    """The wire: LF only, no event line, so `onmessage` and the official clients see every event."""
    assert events.frame("abc", 7, {"type": "X", "text": "a\nb\r\u2028"}) == (
        b'id: abc-7\ndata: {"type":"X","text":"a\\nb\\r\xe2\x80\xa8"}\n\n'
    )


def test_times_are_rfc3339_in_utc() -> None:
    assert events.rfc3339(WHEN) == "2023-11-14T22:13:20.250Z"


@given(st.lists(st.dictionaries(st.text(), st.text(max_size=20), max_size=3), max_size=6), st.integers(0, 8))
@STEADY
def test_frames_split_and_are_cut_where_they_were_joined(log: list[dict[str, str]], until: int) -> None:
    """Whatever texts hold: newlines, `data:`, `id:`."""
    frames = framed(log)

    assert [(epoch, seq, orjson.loads(body)) for epoch, seq, body in events.split_frames(b"".join(frames))] == [
        ("e", seq, event) for seq, event in enumerate(log, 1)
    ]
    assert events.cut_frames(b"".join(frames), until) == b"".join(frames[:until])


def test_deltas_of_one_message_merge() -> None:
    last = delta("Hel")

    assert events.merge(last, delta("lo"))
    assert last == delta("Hello")


@pytest.mark.parametrize(
    ("last", "event"),
    [
        (delta("a"), delta("b", "other")),
        (delta("a"), delta("b", timestamp=1)),
        (delta("a", metadata={}), delta("b")),
        (delta("a"), {"type": "TOOL_CALL_ARGS", "toolCallId": "m", "delta": "b"}),
        (delta("a"), {"type": "TEXT_MESSAGE_END", "messageId": "m"}),
        ({"type": "TEXT_MESSAGE_END", "messageId": "m"}, {"type": "TEXT_MESSAGE_END", "messageId": "m"}),
        (delta("a" * MAX_DELTA_CHARS), delta("b")),
    ],
)
def test_what_merging_would_lose_stays_apart(last: Event, event: Event) -> None:
    before = dict(last)

    assert not events.merge(last, event)
    assert last == before


@given(legal_events)
@STEADY
def test_collapsed_frames_say_the_same_at_every_cursor_they_keep(log: list[Event]) -> None:
    """Cursors stay honest: each that is left names exactly the state it named before."""
    whole = list(frames_of(b"".join(framed(log))))
    kept = list(frames_of(events.collapse(b"".join(framed(log)))))

    def state_at(frames: list[tuple[str | None, Event]], cursor: str | None) -> list[Any]:
        fold = Fold()
        for at, event in frames:
            fold.apply(event)
            if at == cursor:
                break
        return fold.messages

    assert [cursor for cursor, _ in kept][-1:] == [cursor for cursor, _ in whole][-1:]
    assert {cursor for cursor, _ in kept} <= {cursor for cursor, _ in whole}
    for cursor, _ in kept:
        assert state_at(kept, cursor) == state_at(whole, cursor)


def test_collapsing_merges_runs_of_deltas_under_the_last_cursor() -> None:
    log = [delta("a"), delta("b"), delta("c", "n"), {"type": "TEXT_MESSAGE_END", "messageId": "n"}]

    assert events.collapse(b"".join(framed(log))) == b"".join(
        [events.frame("e", 2, delta("ab")), events.frame("e", 3, delta("c", "n")), events.frame("e", 4, log[3])]
    )
