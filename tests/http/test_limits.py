"""Every limit that an operator can set: its status, its code, when to come back, and that it harms nobody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from scripts.blackbox.arena import emit, script, stall
from scripts.blackbox.caller import Caller
from scripts.blackbox.process import Server
from scripts.blackbox.wire import Answer, deaf_socket
from tests.http.kit import (
    ask,
    check_problem,
    eventually,
    new_session,
    opened,
    parsed,
    raw,
    serving,
    somebody,
    start,
    streaming,
)


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server with small limits."""
    limits = {
        "MAX_SESSIONS_PER_USER": "3",
        "MAX_STREAMS_PER_SESSION": "2",
        "MAX_STREAMS_PER_USER": "3",
        "MAX_RUNS_PER_USER": "2",
        "MAX_QUEUE": "2",
        "MAX_MESSAGE_CHARS": "300",
        "MAX_BODY_BYTES": "4096",
        "MAX_IMPORT_BYTES": "8192",
        "BODY_TIMEOUT_SECONDS": "0.6",
        "SEND_TIMEOUT_SECONDS": "2",
        "HEARTBEAT_SECONDS": "0.2",
        "STOP_GRACE_SECONDS": "0.1",
    }
    async with serving(tmp_path_factory.mktemp("limits"), **limits) as running:
        yield running


@pytest.fixture(scope="module")
async def strict(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server that ends runs and streams early."""
    limits = {
        "RUN_TIMEOUT_SECONDS": "0.75",
        "MAX_RUN_BYTES": "20000",
        "STREAM_MAX_AGE_SECONDS": "0.5",
        "STOP_GRACE_SECONDS": "0.1",
        "HEARTBEAT_SECONDS": "0.2",
    }
    async with serving(tmp_path_factory.mktemp("strict"), **limits) as running:
        yield running


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[Server]:
    """A server for two sessions of one user and four of all, which expire at once but are not cleared by the clock."""
    limits = {
        "MAX_SESSIONS": "4",
        "MAX_SESSIONS_PER_USER": "2",
        "SESSION_TIMEOUT_MINUTES": "0.005",
        "CLEANUP_INTERVAL_SECONDS": "3600",
    }
    async with serving(tmp_path, **limits) as running:
        yield running


# --- sessions


async def test_a_session_too_many_is_refused_however_it_is_made(user: Caller, other: Caller) -> None:
    for number in range(3):
        await new_session(user, session_id=f"s{number}")
    exported = {"version": 1, "session": {}, "messages": []}
    refused = [
        await user.call("POST", "/api/sessions", {}),
        await user.chat("hello"),
        await user.call("POST", "/api/system", {"message": "hello"}),
        await user.call("POST", "/api/sessions/import", exported),
        await (await user.stream("s3")).refusal(),
    ]

    for answer in refused:
        check_problem(answer, "limit_sessions_per_user")
    assert (await user.call("GET", "/api/sessions")).json()["count"] == 3
    assert (await user.chat("hello", session_id="s0")).status == 202
    await new_session(other)


async def test_a_deleted_session_makes_room(user: Caller) -> None:
    for number in range(3):
        await new_session(user, session_id=f"s{number}")
    await user.call("DELETE", "/api/sessions/s0")

    await new_session(user)


async def test_sessions_made_at_once_do_not_slip_past_the_limit(user: Caller) -> None:
    statuses: list[int] = []

    async def make(number: int) -> None:
        statuses.append((await user.call("POST", "/api/sessions", {"session_id": f"s{number}"})).status)

    async with anyio.create_task_group() as tasks:
        for number in range(12):
            tasks.start_soon(make, number)

    assert sorted(statuses) == [201] * 3 + [429] * 9


async def test_a_full_server_says_so_and_expired_sessions_are_cleared_before_refusing(small: Server) -> None:
    one, two, three = (somebody(small) for _ in range(3))
    async with AsyncExitStack() as stack:
        # Held by their streams: what somebody looks at does not expire.
        for caller, session_id in ((one, "a"), (one, "b"), (two, "a"), (two, "b")):
            tail = await stack.enter_async_context(opened(caller, session_id))
            await tail.snapshot()
        full = await three.call("POST", "/api/sessions", {})
        too_many = await one.call("POST", "/api/sessions", {})

    check_problem(full, "server_full")
    assert too_many.code in ("server_full", "limit_sessions_per_user")

    async def has_room() -> bool:
        return (await three.call("POST", "/api/sessions", {})).status == 201

    await eventually(has_room)
    check_problem(await one.call("GET", "/api/sessions/a"), "session_expired")


async def test_a_users_expired_sessions_are_cleared_before_refusing(small: Server) -> None:
    caller = somebody(small)
    async with opened(caller, "a") as a, opened(caller, "b") as b:
        await a.snapshot()
        await b.snapshot()
        refused = await caller.call("POST", "/api/sessions", {"session_id": "c"})

    async def has_room() -> bool:
        return (await caller.call("POST", "/api/sessions", {"session_id": "c"})).status == 201

    check_problem(refused, "limit_sessions_per_user")
    await eventually(has_room)
    check_problem(await caller.call("GET", "/api/sessions/a"), "session_expired")
    check_problem(await caller.chat("hello", session_id="a"), "session_expired")


# --- streams


async def test_a_stream_too_many_of_a_session_is_refused_until_one_leaves(user: Caller) -> None:
    async with opened(user, "s") as one:
        await one.snapshot()
        async with opened(user, "s") as two:
            await two.snapshot()
            check_problem(await (await user.stream("s")).refusal(), "limit_streams_per_session")
            answer = await user.chat("hello", session_id="s", wait=True)
            assert answer.code in ("", "limit_streams_per_session")

        async def has_place() -> bool:
            stream = await user.stream("s")
            stream.close()
            return stream.status == 200

        await eventually(has_place)


async def test_a_stream_too_many_of_a_user_is_refused_whatever_it_is_of(user: Caller, other: Caller) -> None:
    async with opened(user, "a"), opened(user, "b"), streaming(user, "/api/sessions/stream"):
        check_problem(await (await user.stream("c")).refusal(), "limit_streams_per_user")
        stream = await user.wire.stream("/api/sessions/stream", headers=user.headers)
        check_problem(await stream.refusal(), "limit_streams_per_user")
        async with opened(other, "a") as tail:
            await tail.snapshot()


async def test_a_refused_stream_counts_for_nothing(user: Caller) -> None:
    async with opened(user, "s"), opened(user, "s"):
        for _ in range(5):
            check_problem(await (await user.stream("s")).refusal(), "limit_streams_per_session")
        stats = (await user.call("GET", "/api/stats")).json()

    assert stats["open_streams"] == 2


async def test_a_client_that_takes_nothing_is_cut_and_others_are_not(server: Server, user: Caller) -> None:
    await new_session(user, session_id="s")
    deaf = await anyio.to_thread.run_sync(
        deaf_socket, server.wire.host, server.wire.port, "/api/chat/stream?session_id=s", user.headers
    )

    async def is_alone() -> bool:
        return bool((await user.call("GET", "/api/stats")).json()["open_streams"] == 1)

    with deaf:
        async with opened(user, "s") as tail:
            await tail.snapshot()
            receipt = await start(user, script({"giant": {"bytes": 12_000_000}}), session_id="s")
            await tail.end_of(receipt["run_id"])
            await eventually(is_alone)

            assert len(list(tail.fold.messages.values())[-1]["content"]) == 12_000_000


async def test_an_old_stream_ends_with_a_time_to_come_back(strict: Server) -> None:
    user = somebody(strict)
    async with (
        httpx.AsyncClient(base_url=strict.url, timeout=10) as client,
        client.stream("GET", "/api/chat/stream?session_id=s", headers=user.headers) as response,
    ):
        body = b"".join([piece async for piece in response.aiter_raw()])

    assert body.rstrip().rpartition(b"\n")[2].startswith(b"retry: ")


# --- runs and the queue


async def test_a_run_too_many_is_refused_until_one_ends(user: Caller, other: Caller) -> None:
    for session_id in "ab":
        await start(user, script(stall(60)), session_id=session_id)
    check_problem(await user.chat("hello", session_id="c"), "limit_runs_per_user")
    await ask(other, "hello")
    await user.interrupt("a")

    async def has_room() -> bool:
        return (await user.chat("hello", session_id="c")).status == 202

    await eventually(has_room)
    assert [one["content"] for one in await user.messages("c")][:1] == ["hello"]


async def test_a_queued_message_waits_while_its_user_has_too_many_runs(user: Caller) -> None:
    await start(user, script(stall(60)), session_id="a")
    await start(user, script(stall(60)), session_id="b")
    queued = await start(user, script({"text": "at last"}), session_id="b", on_busy="queue")
    async with opened(user, "b") as tail:
        await user.interrupt("b")
        await tail.text("at last")

    assert queued["status"] == "queued"


async def test_a_message_too_many_for_the_queue_is_refused(user: Caller) -> None:
    await start(user, script(stall(60)), session_id="s")
    for number in range(2):
        await start(user, f"text {number}", session_id="s", on_busy="queue")

    check_problem(await user.chat("text 3", session_id="s", on_busy="queue"), "queue_full")
    answer = await user.call("POST", "/api/system", {"message": "x", "session_id": "s", "respond": True})
    check_problem(answer, "queue_full")
    assert (await user.call("GET", "/api/sessions/s/queue")).json()["count"] == 2


async def test_a_run_that_lasts_too_long_fails_and_keeps_its_text(strict: Server) -> None:
    user = somebody(strict)
    body = check_problem(
        await user.chat(script({"text": "so far"}, stall(60)), session_id="s", wait=True), "agent_timeout"
    )
    state = (await user.state("s")).json()

    assert "0.75 s" in body["detail"]
    assert state["run"] is None
    assert state["messages"][-1]["content"] == "so far"


async def test_an_agent_that_ignores_its_time_limit_is_over_all_the_same(strict: Server) -> None:
    user = somebody(strict)

    check_problem(
        await user.chat(script({"ignore_cancel": {"seconds": 1.5}}), session_id="s", wait=True), "agent_timeout"
    )
    assert (await user.chat(script({"text": "next"}), session_id="s", wait=True)).status == 200


async def test_a_run_that_says_too_much_fails_and_keeps_its_text(strict: Server) -> None:
    user = somebody(strict)
    answer = await user.chat(script(emit(1000, 0), {"giant": {"bytes": 1_000_000}}), session_id="s", wait=True)
    state = (await user.state("s")).json()

    check_problem(answer, "run_too_large")
    assert state["messages"][-1]["content"].startswith("w0 w1 ")
    assert len(state["messages"][-1]["content"]) <= 20_000


# --- bodies


async def test_characters_are_counted_not_bytes(user: Caller) -> None:
    await ask(user, "\U0001f600" * 300, session_id="s")

    check_problem(await user.chat("x" * 301, session_id="s"), "invalid_field", "message")
    answer = await user.call("POST", "/api/system", {"message": "x" * 301, "session_id": "s"})
    check_problem(answer, "invalid_field", "message")


async def test_a_body_too_large_is_refused_before_it_is_read(server: Server, user: Caller) -> None:
    head = (
        f"POST /api/chat HTTP/1.1\r\nHost: {server.wire.host}\r\nContent-Type: application/json\r\n"
        f"X-Forwarded-User: {user.user}\r\nContent-Length: 4097\r\n\r\n"
    )
    answer = parsed(await raw(server, head.encode()))

    check_problem(answer, "body_too_large")
    assert answer.headers["connection"] == "close"


async def test_a_body_that_does_not_say_how_large_it_is_has_the_same_limit(server: Server, user: Caller) -> None:
    head = (
        f"POST /api/chat HTTP/1.1\r\nHost: {server.wire.host}\r\nContent-Type: application/json\r\n"
        f"X-Forwarded-User: {user.user}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    chunk = b"400\r\n" + b" " * 1024 + b"\r\n"

    check_problem(parsed(await raw(server, head.encode(), *[chunk] * 5)), "body_too_large")


async def test_an_import_has_a_limit_of_its_own(user: Caller) -> None:
    def exported(size: int) -> dict[str, Any]:
        return {"version": 1, "session": {}, "messages": [{"id": "m", "role": "user", "content": "x" * size}]}

    assert (await user.call("POST", "/api/sessions/import", exported(6000))).status == 201
    body = check_problem(await user.call("POST", "/api/sessions/import", exported(9000)), "body_too_large")
    assert "MAX_IMPORT_BYTES" in body["detail"]


@pytest.mark.parametrize("sent", [b"", b'{"message": "hel'])
async def test_a_body_that_does_not_arrive_is_given_up(server: Server, user: Caller, sent: bytes) -> None:
    head = (
        f"POST /api/chat HTTP/1.1\r\nHost: {server.wire.host}\r\nContent-Type: application/json\r\n"
        f"X-Forwarded-User: {user.user}\r\nContent-Length: 100\r\n\r\n"
    )
    answer = parsed(await raw(server, head.encode() + sent))

    check_problem(answer, "body_timeout")
    assert answer.headers["connection"] == "close"


async def test_a_limit_that_is_reached_says_when_to_come_back(user: Caller) -> None:
    for session_id in "ab":
        await start(user, script(stall(60)), session_id=session_id)
    answer: Answer = await user.chat("hello", session_id="c")

    assert 1 <= int(answer.headers["retry-after"]) <= 60
