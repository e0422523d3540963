"""What a stream gives for the cursor it was opened with, and what it says when its session is gone."""

from __future__ import annotations

import pytest

from scripts.blackbox.arena import emit, script, stall
from scripts.blackbox.caller import Caller
from scripts.blackbox.fold import differences
from scripts.blackbox.wire import Frame
from tests.http.kit import (
    Tail,
    ask,
    check_problem,
    kinds,
    new_session,
    opened,
    resumed,
    start,
    streaming,
)

SNAPSHOT = ["RUN_STARTED", "MESSAGES_SNAPSHOT", "STATE_SNAPSHOT", "RUN_FINISHED"]


async def watched_run(user: Caller, session_id: str) -> list[Frame]:
    """Run an agent while watching from an empty session on; return the frames behind the first snapshot."""
    await new_session(user, session_id=session_id)
    async with opened(user, session_id) as tail:
        await tail.snapshot()
        message = script(emit(8, 200), {"tool": {"name": "search"}}, emit(3, 0))
        receipt = await start(user, message, session_id=session_id)
        return await tail.end_of(receipt["run_id"])


async def first_event(user: Caller, session_id: str, cursor: str | None, **more: bool) -> tuple[str, bool | None]:
    """Return the type of a stream's first event, and what it says about the cursor."""
    async with opened(user, session_id, cursor, folds=False, **more) as tail:
        frame = await tail.next()
    assert frame is not None
    return frame.event["type"], resumed(frame.event)


@pytest.mark.parametrize("in_query", [False, True])
async def test_a_good_cursor_gets_exactly_what_follows_from_every_place(user: Caller, in_query: bool) -> None:
    frames = await watched_run(user, "s")
    for at, frame in enumerate(frames[:-1], 1):
        async with opened(user, "s", frame.cursor, in_query=in_query, folds=False) as tail:
            got = [await tail.next() for _ in frames[at:]]

        assert got == frames[at:]


async def test_a_cursor_at_the_end_gets_nothing_until_something_happens(user: Caller) -> None:
    answered = await ask(user, "hello", session_id="s")
    async with opened(user, "s", answered["cursor"], folds=False) as tail:
        renamed = await user.call("PATCH", "/api/sessions/s", {"title": "renamed"})
        receipt = await start(user, "next", session_id="s")
        frames = await tail.end_of(receipt["run_id"])
    runs = [frame.event["runId"] for frame in frames if frame.event["type"] == "RUN_STARTED"]

    assert renamed.status == 200
    assert resumed(frames[0].event) is None
    assert runs[0].startswith("sync-")
    assert runs[1:] == [receipt["run_id"]]


async def test_a_client_that_was_away_in_the_middle_of_a_run_ends_with_the_same_fold(user: Caller) -> None:
    receipt = await start(user, script(emit(20, 100)), session_id="s")
    async with opened(user, "s") as tail:
        await tail.text("w5 ")
        fold, cursor = tail.fold, tail.cursor
    async with opened(user, "s", cursor, fold=fold) as tail:
        await tail.end_of(receipt["run_id"])

    assert differences(tail.fold, (await user.state("s")).json()) == []


@pytest.mark.parametrize("cursor", ["-1", ""])
async def test_no_cursor_to_speak_of_is_a_snapshot_without_a_word(user: Caller, cursor: str) -> None:
    await ask(user, "hello", session_id="s")

    assert await first_event(user, "s", cursor) == ("RUN_STARTED", None)
    assert await first_event(user, "s", cursor, in_query=True) == ("RUN_STARTED", None)


@pytest.mark.parametrize(
    "cursor",
    [
        "0",
        "5",
        "abc",
        "{epoch}",
        "{epoch}-",
        "{epoch}--1",
        "{epoch}-01",
        "{epoch}-999999",
        "{epoch}-99999999999999999999999999",
        "{epoch}-1.0",
        "{epoch}- 1",
        "{epoch}-1,{epoch}-1",
        "-{epoch}-1",
        "aaaaaaaaaa-1",
        "{EPOCH}-1",
        "sync-{epoch}-1",
        "'; DROP TABLE sessions; --",
        "x" * 5000,
        "\u00e9",
    ],
)
async def test_a_cursor_that_is_none_of_ours_is_answered_by_a_snapshot_that_says_so(user: Caller, cursor: str) -> None:
    answered = await ask(user, "hello", session_id="s")
    epoch = answered["cursor"].partition("-")[0]
    cursor = cursor.replace("{epoch}", epoch).replace("{EPOCH}", epoch.upper())

    for in_query in (False, True):
        async with opened(user, "s", cursor, in_query=in_query) as tail:
            frames = await tail.snapshot()

            assert kinds(frames) == SNAPSHOT
            assert [resumed(frame.event) for frame in frames] == [False, None, None, None]


async def test_the_cursor_of_another_session_is_answered_by_a_snapshot_that_says_so(
    user: Caller, other: Caller
) -> None:
    await ask(user, "hello", session_id="s")
    own = (await ask(user, "hello", session_id="t"))["cursor"]
    foreign = (await ask(other, "hello", session_id="s"))["cursor"]

    assert await first_event(user, "s", own) == ("RUN_STARTED", False)
    assert await first_event(user, "s", foreign) == ("RUN_STARTED", False)


async def test_a_cursor_from_before_a_clear_is_answered_by_a_snapshot_that_says_so(user: Caller) -> None:
    receipt = await start(user, "hello", session_id="s", message_id="m")
    await ask(user, "hello", session_id="s", message_id="m")
    await user.call("DELETE", "/api/sessions/s/messages")
    await ask(user, "again", session_id="s")
    async with opened(user, "s", receipt["cursor"]) as tail:
        [first, messages, *_] = await tail.snapshot()

    assert resumed(first.event) is False
    assert [message["content"] for message in messages.event["messages"]][:1] == ["again"]


async def test_a_client_that_stood_at_the_end_sees_the_clear(user: Caller) -> None:
    await ask(user, "hello", session_id="s")
    async with opened(user, "s") as tail:
        await tail.snapshot()
    await user.call("DELETE", "/api/sessions/s/messages")
    async with opened(user, "s", tail.cursor, fold=tail.fold) as later:
        await later.until(lambda frame: frame.event["type"] == "RUN_FINISHED")

    assert later.fold.messages == {}


async def test_the_header_wins_over_the_query(user: Caller) -> None:
    frames = await watched_run(user, "s")
    target = f"/api/chat/stream?session_id=s&last_event_id={frames[0].cursor}"
    stream = await user.wire.stream(target, headers={**user.headers, "Last-Event-ID": str(frames[-2].cursor)})
    try:
        assert await Tail(stream, folds=False).next() == frames[-1]
    finally:
        stream.close()


async def test_two_clients_with_one_cursor_get_the_same_and_harm_nobody(user: Caller) -> None:
    frames = await watched_run(user, "s")
    async with (
        opened(user, "s", frames[2].cursor, folds=False) as one,
        opened(user, "s", frames[2].cursor, folds=False) as two,
    ):
        for frame in frames[3:]:
            assert await one.next() == await two.next() == frame


# --- the end of a session


@pytest.mark.parametrize("with_run", [False, True])
async def test_a_deleted_session_says_so_and_ends_its_streams(user: Caller, with_run: bool) -> None:
    await new_session(user, session_id="s")
    if with_run:
        await start(user, script(stall(60)), session_id="s")
    async with opened(user, "s") as tail:
        await tail.snapshot()
        deleted = await user.call("DELETE", "/api/sessions/s")
        frames = await tail.rest()
        ending = tail.stream.ending
    [said] = [frame.event for frame in frames if frame.event["type"] == "CUSTOM"]

    assert deleted.json() == {"status": "deleted", "session_id": "s"}
    assert said["name"] == "sessionstream.session_ended"
    assert said["value"] == {"session_id": "s", "reason": "deleted"}
    assert frames[-1].event["type"] == "RUN_FINISHED"
    assert frames[-1].cursor is None
    assert ending == "clean"


async def test_a_deleted_session_is_gone_for_its_owner_wherever_it_is_named(user: Caller) -> None:
    cursor = (await ask(user, "hello", session_id="s"))["cursor"]
    await user.call("DELETE", "/api/sessions/s")
    stream = await user.stream("s", cursor)

    check_problem(await stream.refusal(), "session_deleted")
    for method, path, body in (
        ("GET", "/api/sessions/s", None),
        ("PATCH", "/api/sessions/s", {"title": "x"}),
        ("DELETE", "/api/sessions/s", None),
        ("GET", "/api/sessions/s/messages", None),
        ("GET", "/api/sessions/s/export", None),
        ("GET", "/api/sessions/s/queue", None),
        ("GET", "/api/state?session_id=s", None),
        ("POST", "/api/chat", {"message": "x", "session_id": "s"}),
        ("POST", "/api/system", {"message": "x", "session_id": "s"}),
        ("POST", "/api/interrupt", {"session_id": "s"}),
        ("POST", "/api/sessions", {"session_id": "s"}),
    ):
        check_problem(await user.call(method, path, body), "session_deleted")


async def test_waiting_for_a_run_of_a_session_that_is_deleted_is_over(user: Caller) -> None:
    async with streaming(
        user, "/api/chat", method="POST", body={"message": script({"text": "begun"}, stall(60)), "session_id": "s"}
    ) as tail:
        await tail.text("begun")
        await user.call("DELETE", "/api/sessions/s")
        frames = await tail.rest()

        assert frames[-1].event["outcome"] == {"type": "cancelled"}
        assert tail.stream.ending == "clean"
