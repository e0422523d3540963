"""Whatever is sent: never a defect, a named field, one shape of refusal, and nothing left behind."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import anyio
import orjson
import pytest

from scripts.blackbox.arena import script, stall
from scripts.blackbox.caller import Caller
from scripts.blackbox.process import Sample, Server
from scripts.blackbox.wire import Answer
from server.errors import CODES
from tests.http.fuzz import NUMBERS, TEXTS, Fuzz, Request, shoot
from tests.http.kit import PROBLEM_FIELDS, check_problem, eventually, new_session, parsed, raw, serving, start

REQUESTS = 1000
AT_ONCE = 6
READERS = 4
DOCUMENTED = {status for status, _ in CODES.values()} - {500}
BODIES: tuple[tuple[str, str, dict[str, Any], dict[str, str]], ...] = (
    (
        "POST",
        "/api/chat",
        {"message": "hello"},
        {
            "message": "text",
            "session_id": "id",
            "message_id": "id",
            "agent": "text",
            "persona": "text",
            "on_busy": "choice",
            "options": "object",
            "wait": "flag",
        },
    ),
    ("POST", "/api/interrupt", {"session_id": "s"}, {"session_id": "id", "run_id": "id", "message_id": "id"}),
    (
        "POST",
        "/api/system",
        {"message": "hello"},
        {"message": "text", "session_id": "id", "message_id": "id", "respond": "flag"},
    ),
    (
        "POST",
        "/api/sessions",
        {},
        {"session_id": "id", "title": "line", "agent": "text", "persona": "text", "metadata": "object"},
    ),
    (
        "PATCH",
        "/api/sessions/s",
        {},
        {"title": "line", "persona": "text", "agent": "text", "config": "object", "metadata": "object"},
    ),
    ("PATCH", "/api/sessions/s/queue/q", {}, {"message": "text", "position": "count"}),
    (
        "POST",
        "/api/sessions/import",
        {"version": 1, "session": {}, "messages": []},
        {"version": "choice", "session": "shape", "messages": "list", "artifacts": "shape"},
    ),
)
WRONG: dict[str, tuple[Any, ...]] = {
    "text": (0, 1.5, True, [], {}, "\x00", "x" * 200_000),
    "id": (0, True, [], {}, "", "a b", "a/b", "x" * 129, "\u202e", "\x00", "é"),
    "line": (0, [], {}, "", "a\nb", "\u202eb", "\x00", "\u2028", "x" * 201, "\x07"),
    "choice": (0, [], {}, "", "maybe", 2),
    "flag": (0, 1, "true", [], {}),
    "count": (-1, 1.5, "0", [], {}, True),
    "object": (0, "x", [], True, {"a": "x" * 20_000}, {"a": "\x00"}),
    "shape": (0, "x", [], True, {"a": "\x00"}),
    "list": (0, "x", {}, True, [1], [[]], [{}]),
}


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server that gives up on slow bodies early."""
    settings = {"BODY_TIMEOUT_SECONDS": "1", "CLEANUP_INTERVAL_SECONDS": "0.2", "LOG_LEVEL": "error"}
    async with serving(tmp_path_factory.mktemp("fuzz"), **settings) as running:
        await warm(running)
        yield running


async def warm(server: Server) -> None:
    """Let the server open as many threads and connections to its files as it ever will."""
    caller = Caller(server.wire, "warm")
    body = orjson.dumps({"version": 1, "session": {}, "messages": []}).ljust(300_000)
    await new_session(caller, session_id="s")
    async with anyio.create_task_group() as tasks:
        for _ in range(24):
            tasks.start_soon(caller.call, "GET", "/static/app.js")
            tasks.start_soon(caller.call, "POST", "/api/sessions/import", body)
            tasks.start_soon(caller.call, "GET", "/api/sessions/s/messages")
    await remove_all(caller)


@pytest.fixture(scope="module")
async def at_most(server: Server) -> Sample:
    """What the process may hold when nobody is there."""
    server.wire.forget()
    sample = server.sample()
    # Every reader has its own connection to the database: the file, and its log. A few threads come and go.
    return Sample(sample.rss_kb + 150_000, sample.threads + 12, sample.handles + 2 * READERS)


@pytest.fixture(autouse=True)
async def leaves_nothing(server: Server, user: Caller, at_most: Sample) -> AsyncIterator[None]:
    """See that the process holds no more after a test than it may, and that its rows are those of before."""
    rows = stored(server)
    yield
    await remove_all(user)
    server.wire.forget()

    async def is_clean() -> bool:
        held = zip(server.sample(), at_most, strict=True)
        return all(now <= most for now, most in held) and stored(server) == rows

    await eventually(is_clean)


def stored(server: Server) -> dict[str, int]:
    """Return the rows of what is kept of living sessions."""
    rows = server.rows()
    return {name: rows[name] for name in ("sessions", "runs", "messages", "log")}


async def remove_all(caller: Caller) -> None:
    while sessions := (await caller.call("GET", "/api/sessions", query={"limit": 200})).json()["sessions"]:
        for session in sessions:
            await caller.call("DELETE", f"/api/sessions/{session['session_id']}")


def check(answer: Answer | None, said: str) -> None:
    """Assert that an answer is a good one, or a refusal in full."""
    if answer is None:
        return
    assert b"Traceback" not in answer.body, said
    if answer.status < 400:
        assert answer.status in (200, 201, 202, 204, 206, 304), said
        return
    # There is no body for HEAD, and a range of a file is Starlette's to refuse.
    if not answer.body or answer.status == 416 or answer.body.startswith(b"Range header"):
        return
    assert answer.status in DOCUMENTED, (said, answer)
    assert answer.headers["content-type"] == "application/problem+json", (said, answer)
    body = answer.json()
    assert set(body) - {"field"} == PROBLEM_FIELDS, (said, body)
    assert (body["status"], CODES[body["code"]][0]) == (answer.status, answer.status), (said, body)
    assert ("field" in body) == (answer.status == 422), (said, body)
    assert body.get("field", "some"), (said, body)


async def fire(server: Server, requests: Iterator[Request]) -> dict[int, int]:
    """Send requests, some at once; return how often each status was answered."""
    statuses: dict[int, int] = {}

    async def send() -> None:
        for request in requests:
            answer = await shoot(server, request.sent)
            check(answer, request.said)
            if answer is not None:
                statuses[answer.status] = statuses.get(answer.status, 0) + 1

    async with anyio.create_task_group() as tasks:
        for _ in range(AT_ONCE):
            tasks.start_soon(send)
    return statuses


# --- made up


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
async def test_made_up_requests_never_find_a_defect(server: Server, user: Caller, seed: int) -> None:
    await new_session(user, session_id="s")
    await start(user, script(stall(60)), session_id="busy")
    await start(user, "waits", session_id="busy", message_id="q", on_busy="queue")
    fuzz = Fuzz(seed, user.user, ("s", "busy", "q", "not-there", "a.b:c-1"))
    statuses = await fire(server, fuzz.requests(REQUESTS))

    # It reached the handlers, and was refused in more than one way.
    assert statuses[202] > 5
    assert {200, 400, 404, 405, 415, 422} <= set(statuses)
    assert (await server.wire.call("GET", "/health/ready")).status == 200


@pytest.mark.parametrize(("method", "path", "right", "fields"), BODIES, ids=[f"{one[0]} {one[1]}" for one in BODIES])
async def test_every_field_of_every_body_is_named_when_it_is_wrong(
    user: Caller, method: str, path: str, right: dict[str, Any], fields: dict[str, str]
) -> None:
    await new_session(user, session_id="s")
    await start(user, script(stall(60)), session_id="s")
    await start(user, "waits", session_id="s", message_id="q", on_busy="queue")
    for name, kind in fields.items():
        for value in WRONG[kind]:
            answer = await user.call(method, path, {**right, name: value})
            field = str(answer.json().get("field"))

            assert (answer.status, re.split(r"[.\[]", field)[0]) == (422, name), (value, answer)
            check_problem(answer, "invalid_field", field)


@pytest.mark.parametrize("name", ["session_id", "last_event_id", "limit", "cursor", "q", "before", "format"])
async def test_any_query_is_an_answer_or_a_refusal_by_name(server: Server, user: Caller, name: str) -> None:
    await new_session(user, session_id="s")
    paths = ("/api/chat/stream", "/api/state", "/api/sessions", "/api/sessions/s/messages", "/api/sessions/s/export")
    values = [orjson.dumps(text).decode().strip('"') for text in TEXTS] + [str(number) for number in NUMBERS]
    requests = [
        Request(
            f"GET {path}?{name}={_quoted(value)} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-User: {user.user}\r\n"
            "Connection: close\r\n\r\n".encode(),
            f"{path} {name}={value[:200]!r}",
        )
        for path in paths
        for value in (*values, *TEXTS)
    ]
    await fire(server, iter(requests))


def headed(user: Caller, method: str, target: str) -> bytes:
    """Return the head of a user's JSON request, without its end."""
    named = f"Host: localhost\r\nX-Forwarded-User: {user.user}\r\nConnection: close"
    return f"{method} {target} HTTP/1.1\r\n{named}\r\nContent-Type: application/json\r\n".encode()


def _quoted(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


# --- large, slow and broken


@pytest.mark.parametrize(("method", "path"), [one[:2] for one in BODIES])
async def test_ten_megabytes_on_one_line_are_refused(server: Server, user: Caller, method: str, path: str) -> None:
    await new_session(user, session_id="s")
    line = b'{"message": "%s"}' % (b"x" * 10_000_000)
    answer = await shoot(server, headed(user, method, path) + b"Content-Length: %d\r\n\r\n" % len(line) + line)

    if path.endswith("/import"):
        assert answer is not None
        check_problem(answer, "invalid_field", "message")
    elif answer is not None:  # the refusal may be lost with the rest of the body, which nobody reads
        check_problem(answer, "body_too_large")


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /" + b"a" * 10_000_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"a" * 10_000_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X-Many: a\r\n" * 900_000 + b"\r\n",
        b"\r\n" * 1_000_000,
    ],
    ids=["path", "header", "headers", "nothing"],
)
async def test_a_head_without_end_is_refused(server: Server, sent: bytes) -> None:
    received = await raw(server, sent)

    # The refusal may be lost with what was not read any more.
    if received:
        check_problem_raw(received)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"hello\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"FETCH / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nBad\x00Name: a\r\n\r\n",
        b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST /api/chat HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_refused_in_one_shape(server: Server, sent: bytes) -> None:
    received = await raw(server, sent)

    assert received
    check_problem_raw(received)


def check_problem_raw(received: bytes) -> None:
    """Assert that this is a refusal in full."""
    answer = parsed(received)

    assert 400 <= answer.status < 500, received[:300]
    check(answer, repr(received[:300]))
    assert answer.headers["content-type"] == "application/problem+json"


async def test_slow_bodies_and_heads_are_given_up_while_others_are_served(server: Server, user: Caller) -> None:
    head = headed(user, "POST", "/api/chat")
    body = head + b'Content-Length: 100\r\n\r\n{"message": "sl'
    received: list[bytes] = []

    async def crawl(sent: bytes) -> None:
        received.append(await raw(server, sent))

    async with anyio.create_task_group() as tasks:
        for sent in (body, head, b"", b"G") * 8:
            tasks.start_soon(partial(crawl, sent))
        assert (await user.chat("hello", wait=True)).status == 200

    answered = [one for one in received if one]
    assert len(answered) == 8
    for one in answered:
        check_problem(parsed(one), "body_timeout")


async def test_a_client_that_hangs_up_in_the_middle_leaves_nothing(server: Server, user: Caller) -> None:
    await new_session(user, session_id="s")
    for path in ("/api/chat", "/api/system", "/api/interrupt", "/api/sessions", "/api/sessions/import"):
        for _ in range(5):
            await server.wire.abandon("POST", path, b'{"message": "hel', headers=user.headers)

    assert await user.messages("s") == []
