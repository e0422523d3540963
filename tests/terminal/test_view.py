"""The view: each part of a transcript is handed out once, in order, whatever the stream does."""

from __future__ import annotations

from typing import Any

from scripts.terminal.pieces import Answered, Asked, Called, Note, Piece, Prose, Said, Thought
from scripts.terminal.view import HISTORY, View

Event = dict[str, Any]


def started(run_id: str = "r") -> Event:
    return {"type": "RUN_STARTED", "threadId": "s", "runId": run_id}


def finished(run_id: str = "r", outcome: str = "success") -> Event:
    return {"type": "RUN_FINISHED", "threadId": "s", "runId": run_id, "outcome": {"type": outcome}}


def message(message_id: str, *deltas: str, role: str = "assistant", ends: bool = True) -> list[Event]:
    end: list[Event] = [{"type": "TEXT_MESSAGE_END", "messageId": message_id}] if ends else []
    content: list[Event] = [
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": message_id, "delta": delta} for delta in deltas
    ]
    return [{"type": "TEXT_MESSAGE_START", "messageId": message_id, "role": role}, *content, *end]


def snapshot(*messages: Event, run_id: str = "sync-1", state: Event | None = None) -> list[Event]:
    shared = {"session": {"session_id": "s"}, "run": None, "queue": [], "artifacts": {}, **(state or {})}
    events: list[Event] = [
        started(run_id),
        {"type": "MESSAGES_SNAPSHOT", "messages": list(messages)},
        {"type": "STATE_SNAPSHOT", "snapshot": shared},
    ]
    return [*events, finished(run_id)] if run_id.startswith("sync-") else events


def said(message_id: str, text: str, role: str = "assistant", **ours: Any) -> Event:
    return {"id": message_id, "role": role, "content": text, "metadata": {"sessionstream": ours}}


def shown(view: View, *events: Event) -> list[Piece]:
    """Apply events one by one, each with a look, and return all that was handed out."""
    found = []
    for event in events:
        view.apply(event)
        view.live()
        found += view.drain()
    return found


def test_a_run_is_shown_in_its_order() -> None:
    view = View()
    events = [
        started(),
        *message("u", "question", role="user"),
        {"type": "REASONING_MESSAGE_START", "messageId": "t"},
        {"type": "REASONING_MESSAGE_CONTENT", "messageId": "t", "delta": "two words"},
        {"type": "REASONING_MESSAGE_END", "messageId": "t"},
        *message("a", "first\n", "\nsec", "ond", ends=False),
        {"type": "TOOL_CALL_START", "toolCallId": "c", "toolCallName": "search", "parentMessageId": "a"},
        {"type": "TOOL_CALL_ARGS", "toolCallId": "c", "delta": "{}"},
        {"type": "TOOL_CALL_END", "toolCallId": "c"},
        {"type": "TOOL_CALL_RESULT", "messageId": "tr", "toolCallId": "c", "content": "found"},
        {"type": "TEXT_MESSAGE_END", "messageId": "a"},
        finished(),
    ]

    assert shown(view, *events) == [
        Said("question"),
        Note("thought, 2 words"),
        Prose("first"),
        Prose("second"),
        Called("search", "{}"),
        Answered("found"),
    ]


def test_what_grows_is_alive_until_it_is_complete() -> None:
    view = View()
    found = shown(view, started(), *message("a", "one\n\ntw", ends=False))

    assert (found, view.live()) == ([Prose("one")], [Prose("tw")])
    assert shown(view, *message("a", "o")[1:], finished()) == [Prose("two")]
    assert view.live() == []


def test_thoughts_are_shown_in_full_on_request() -> None:
    events = [started(), {"type": "REASONING_MESSAGE_START", "messageId": "t"}]
    delta = {"type": "REASONING_MESSAGE_CONTENT", "messageId": "t", "delta": "hm"}
    end = {"type": "REASONING_MESSAGE_END", "messageId": "t"}

    assert shown(View(shows_thinking=True), *events, delta, end) == [Thought("hm")]


def test_a_snapshot_adds_only_what_is_new() -> None:
    view = View()
    shown(view, *snapshot(said("u", "q", "user"), said("a", "one"), run_id="r"))
    live = view.live()

    again = shown(
        view, *snapshot(said("u", "q", "user"), said("a", "one\n\ntwo"), said("u2", "and", "user"), run_id="sync-2")
    )

    assert live == [Prose("one")]
    assert again == [Prose("one"), Prose("two"), Said("and")]


def test_a_message_goes_on_behind_a_snapshot() -> None:
    view = View()
    first = shown(view, *snapshot(said("u", "q", "user"), said("a", "one, "), run_id="r"))
    second = shown(view, *message("a", "two"), finished())

    assert (first, second) == ([Said("q")], [Prose("one, two")])


def test_a_line_end_may_come_in_halves() -> None:
    assert shown(View(), started(), *message("a", "one\r", "\ntwo\r", "\rthree\r"), finished()) == [
        Prose("one\ntwo"),
        Prose("three"),
    ]


def test_how_an_answer_ended_is_said_once() -> None:
    view = View()
    live = shown(view, started(), *message("a", "text"), finished(outcome="cancelled"))
    again = shown(view, *snapshot(said("a", "text", status="interrupted")))
    later = shown(View(), *snapshot(said("a", "text", status="failed", code="agent_failed")))

    assert (live, again) == ([Prose("text"), Note("Stopped.")], [])
    assert later == [Prose("text"), Note("The answer failed (agent_failed).", "bad")]


def test_a_failure_says_why() -> None:
    error = {"type": "RUN_ERROR", "message": "no \x1bmodel", "code": "model_unavailable"}

    assert shown(View(), started(), error) == [Note("The answer failed: no model", "bad")]


def test_of_a_long_session_the_end_is_shown() -> None:
    messages = [said(f"m{number}", str(number), "user") for number in range(HISTORY + 5)]
    view = View()

    first, *rest = shown(view, *snapshot(*messages))

    assert first == Note("5 earlier messages not shown; /export has all.")
    assert rest == [Said(str(number)) for number in range(5, HISTORY + 5)]
    assert shown(view, *snapshot(*messages)) == []


def test_a_cleared_session_says_so_and_goes_on() -> None:
    view = View()
    shown(view, *snapshot(said("a", "text")))

    assert shown(view, *snapshot()) == [Note("The messages of this session were cleared.")]
    assert shown(view, started(), *message("b", "new"), finished()) == [Prose("new")]


def test_questions_are_asked_once_and_gone_when_answered() -> None:
    view = View()
    question = {"id": "q", "reason": "approval", "toolCallId": "c", "answered": False}
    found = shown(view, *snapshot(state={"pending": [question]}))
    again = shown(view, *snapshot(state={"pending": [question]}))

    assert (found, again, view.questions) == ([Asked(question)], [], [Asked(question)])
    shown(view, {"type": "STATE_DELTA", "delta": [{"op": "replace", "path": "/pending/0/answered", "value": True}]})
    assert view.questions == []


def test_the_end_of_the_session_is_heard() -> None:
    view = View()
    shown(view, {"type": "CUSTOM", "name": "sessionstream.session_ended", "value": {"reason": "expired"}})

    assert view.ended == "expired"
