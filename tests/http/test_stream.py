"""GET /api/chat/stream: first bytes, headers, heartbeats, and the snapshot that stands at the beginning."""

from __future__ import annotations

import re

import httpx
import pytest

from scripts.blackbox.arena import emit, script, stall
from scripts.blackbox.caller import Caller
from scripts.blackbox.fold import differences
from scripts.blackbox.process import Server
from server.settings import Settings
from tests.http.kit import (
    CURSOR,
    UUID7,
    ask,
    check_problem,
    kinds,
    new_session,
    opened,
    resumed,
    start,
    streaming,
)

SNAPSHOT = ["RUN_STARTED", "MESSAGES_SNAPSHOT", "STATE_SNAPSHOT"]


async def raw_head(
    server: Server, user: Caller, target: str, seen: bytes, **headers: str
) -> tuple[httpx.Headers, bytes]:
    """Return a stream's headers and its first bytes, up to `seen`."""
    async with (
        httpx.AsyncClient(base_url=server.url, timeout=10) as client,
        client.stream("GET", target, headers={**user.headers, **headers}) as response,
    ):
        assert response.status_code == 200
        body = b""
        async for piece in response.aiter_raw():
            body += piece
            if seen in body:
                return response.headers, body
    raise AssertionError(f"{seen!r} never came: {body!r}")


# --- bytes and headers


async def test_a_stream_begins_with_retry_and_a_comment_at_once(server: Server, user: Caller) -> None:
    _, body = await raw_head(server, user, "/api/chat/stream", b"\n\n")

    retry = re.match(rb"retry: (\d+)\n:[^\n]*\n\n", body)

    assert retry is not None
    assert 1000 <= int(retry[1]) <= 3000


async def test_retry_is_spread_so_that_clients_do_not_come_back_together(server: Server, user: Caller) -> None:
    heads = [(await raw_head(server, user, "/api/chat/stream", b"\n\n"))[1] for _ in range(6)]

    assert len({head.partition(b"\n")[0] for head in heads}) > 1


async def test_the_headers_keep_proxies_and_caches_from_touching_it(server: Server, user: Caller) -> None:
    headers, _ = await raw_head(
        server, user, "/api/chat/stream?session_id=s", b"\n\n", **{"Accept-Encoding": "gzip, br"}
    )

    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["cache-control"] == "no-store, no-transform"
    assert headers["x-accel-buffering"] == "no"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-session-id"] == "s"
    assert "content-encoding" not in headers
    assert "connection" not in headers


async def test_lines_end_with_lf_and_no_event_has_a_name(server: Server, user: Caller) -> None:
    await ask(user, script(emit(3, 0)), session_id="s")
    _, body = await raw_head(server, user, "/api/chat/stream?session_id=s", b"RUN_FINISHED")

    assert b"\r" not in body
    assert not re.search(rb"^event", body, re.MULTILINE)


async def test_heartbeats_are_comments_also_while_the_agent_is_silent(server: Server, user: Caller) -> None:
    await start(user, script(stall(60)), session_id="s")
    _, body = await raw_head(server, user, "/api/chat/stream?session_id=s", b"\n\n: \n\n: \n\n")

    assert not re.search(rb"^data: *$", body, re.MULTILINE)


def test_by_default_a_heartbeat_comes_before_common_proxies_cut() -> None:
    assert Settings().heartbeat_seconds <= 15


async def test_a_streamed_answer_has_heartbeats_too(server: Server, user: Caller) -> None:
    async with (
        httpx.AsyncClient(base_url=server.url, timeout=10) as client,
        client.stream(
            "POST",
            "/api/chat",
            headers={**user.headers, "Accept": "text/event-stream"},
            json={"message": script(stall(1))},
        ) as response,
    ):
        body = b"".join([piece async for piece in response.aiter_raw()])

    assert b"\n\n: \n\n" in body
    assert body.endswith(b"}\n\n")


async def test_a_cursor_is_short_and_safe_to_send_across_origins(user: Caller) -> None:
    await ask(user, "hello", session_id="s")
    async with opened(user, "s") as tail:
        await tail.snapshot()

    assert CURSOR.fullmatch(tail.cursor)


async def test_head_answers_the_headers_alone(user: Caller) -> None:
    await new_session(user, session_id="s")
    answer = await user.call("HEAD", "/api/chat/stream", query={"session_id": "s"})

    assert answer.status == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.body == b""


# --- which session


async def test_a_stream_of_an_unknown_id_opens_that_session(user: Caller) -> None:
    async with opened(user, "not-there-yet") as tail:
        await tail.snapshot()

        assert tail.fold.state["session"]["session_id"] == "not-there-yet"
    assert (await user.call("GET", "/api/sessions/not-there-yet")).status == 200


async def test_a_stream_of_no_id_opens_a_new_session(user: Caller) -> None:
    async with streaming(user, "/api/chat/stream") as tail:
        [first, *_] = await tail.snapshot()
        session_id = tail.stream.headers["x-session-id"]

    assert UUID7.fullmatch(session_id)
    assert first.event["threadId"] == session_id


async def test_an_id_that_nobody_can_have_is_refused_by_name(user: Caller) -> None:
    answer = await user.call("GET", "/api/chat/stream", query={"session_id": "no spaces"})

    check_problem(answer, "invalid_field", "session_id")


# --- snapshots


async def test_an_idle_session_begins_with_its_fold_in_a_housekeeping_run(user: Caller) -> None:
    await ask(user, "hello", session_id="s")
    async with opened(user, "s") as tail:
        frames = await tail.snapshot()
    state = (await user.state("s")).json()

    assert kinds(frames) == [*SNAPSHOT, "RUN_FINISHED"]
    assert frames[0].event["runId"].startswith("sync-")
    assert frames[0].event["protocolVersion"] == "1.0"
    assert resumed(frames[0].event) is None
    assert frames[1].event["messages"] == state["messages"]
    assert frames[2].event["snapshot"] == state["state"]
    assert frames[-1].cursor == state["cursor"]


async def test_only_the_last_frame_of_a_snapshot_has_an_id(user: Caller) -> None:
    await start(user, script({"text": "partial"}, stall(60)), session_id="s")
    async with opened(user, "s") as tail:
        frames = await tail.snapshot()

    assert [frame.cursor is None for frame in frames] == [True] * (len(frames) - 1) + [False]
    assert len(frames) >= 3


async def test_a_snapshot_in_the_middle_of_a_run_reopens_the_partial_message(user: Caller) -> None:
    receipt = await start(user, script({"text": "Hel"}, stall(60)), session_id="s")
    async with opened(user, "s") as tail:
        await tail.text("Hel")
    async with opened(user, "s") as tail:
        frames = await tail.snapshot()
        partial = frames[1].event["messages"][-1]
        await user.interrupt("s")
        await tail.end_of(receipt["run_id"])

    assert kinds(frames) == [*SNAPSHOT, "TEXT_MESSAGE_START"]
    assert frames[0].event["runId"] == receipt["run_id"]
    assert partial["content"] == "Hel"
    assert frames[-1].event["messageId"] == partial["id"]
    assert list(tail.fold.messages.values())[-1]["content"] == "Hel"


@pytest.mark.parametrize("at", ["reasoning", "tool"])
async def test_a_snapshot_in_the_middle_of_anything_is_legal_and_folds_to_the_same(user: Caller, at: str) -> None:
    steps = {
        "reasoning": {"event": {"type": "REASONING_MESSAGE_START", "messageId": "r", "role": "reasoning"}},
        "tool": {"event": {"type": "TOOL_CALL_START", "toolCallId": "t", "toolCallName": "search"}},
    }
    receipt = await start(user, script({"step": "one"}, steps[at], stall(60)), session_id="s")
    async with opened(user, "s") as first:
        await first.until(lambda frame: frame.event["type"].endswith("_START") and frame.event != first.events[0])
        async with opened(user, "s") as second:
            await second.snapshot()
            await user.interrupt("s")
            await first.end_of(receipt["run_id"])
            await second.end_of(receipt["run_id"])
    state = (await user.state("s")).json()

    assert differences(first.fold, state) == []
    assert differences(second.fold, state) == []


async def test_what_happens_outside_a_run_comes_in_a_housekeeping_run(user: Caller) -> None:
    await new_session(user, session_id="s")
    async with opened(user, "s") as tail:
        await tail.snapshot()
        await user.call("PATCH", "/api/sessions/s", {"title": "renamed"})
        renamed = await tail.until(lambda frame: frame.event["type"] == "RUN_FINISHED")

    assert kinds(renamed) == ["RUN_STARTED", "STATE_DELTA", "RUN_FINISHED"]
    assert renamed[0].event["runId"].startswith("sync-")
    assert renamed[1].event["delta"] == [{"op": "replace", "path": "/session/title", "value": "renamed"}]


async def test_every_tab_sees_the_users_message_inside_its_run(user: Caller) -> None:
    await new_session(user, session_id="s")
    async with opened(user, "s") as one, opened(user, "s") as two:
        await one.snapshot()
        await two.snapshot()
        receipt = await start(user, "hello", session_id="s", message_id="m")
        seen = [await tail.end_of(receipt["run_id"]) for tail in (one, two)]

    assert seen[0] == seen[1]
    assert kinds(seen[0])[:4] == ["RUN_STARTED", "TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"]
    assert seen[0][1].event["messageId"] == "m"
