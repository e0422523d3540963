"""What stands around every request: ids, headers, origins, faults and the limits of bodies."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from server.api.bodies import ChatBody, read_body
from server.api.middleware import CSP, BodyLimitMiddleware, FaultMiddleware, build_middleware
from server.api.problems import exception_handlers, problem_response
from server.errors import CODES, BadRequest, ConfigError, Conflict, LimitReached, SessionstreamError, Unavailable
from server.ids import is_client_id
from server.settings import Settings
from tests.asgi import make_scope, open_request, request

SETTINGS = Settings(allowed_origins="https://app.example, https://Other.example:8443/", max_body_bytes=1024)
ALLOWED = {"Origin": "https://app.example"}
FOREIGN = {"Origin": "https://evil.example"}
OURS = {"Origin": "http://localhost:8000"}


async def chat(incoming: Request) -> JSONResponse:
    return JSONResponse({"message": (await read_body(incoming, ChatBody, SETTINGS)).message})


async def size(incoming: Request) -> JSONResponse:
    return JSONResponse(len(await incoming.body()))


async def fail(incoming: Request) -> Response:
    kind = incoming.path_params["kind"]
    if kind == "conflict":
        raise Conflict
    if kind == "limit":
        raise LimitReached(retry_after_s=2.1)
    if kind == "late":
        return StreamingResponse(_break_off(), media_type="text/event-stream")
    raise RuntimeError("a secret of the server")


async def _break_off() -> AsyncIterator[bytes]:
    yield b"data: 1\n\n"
    raise RuntimeError("too late to say so")


async def page(incoming: Request) -> HTMLResponse:
    return HTMLResponse("<p>hi", headers={"Vary": "Accept", "Access-Control-Allow-Origin": "*"})


async def text(incoming: Request) -> PlainTextResponse:
    return PlainTextResponse("hi", headers={"Cache-Control": "max-age=5", "Vary": "Accept"})


async def empty(incoming: Request) -> Response:
    return Response(status_code=204)


async def stream(incoming: Request) -> StreamingResponse:
    return StreamingResponse(_ticks(incoming.app.state.seen), media_type="text/event-stream")


async def _ticks(seen: list[str]) -> AsyncIterator[bytes]:
    yield b": hello\n\n"
    try:
        await anyio.sleep_forever()
    finally:
        seen.append("stream ended")


def make_app(settings: Settings = SETTINGS) -> Starlette:
    routes = [
        Route("/", page),
        Route("/api/chat", chat, methods=["POST"]),
        Route("/api/sessions/import", size, methods=["POST"]),
        Route("/api/size", size, methods=["POST", "PUT", "PATCH"]),
        Route("/api/fail/{kind}", fail),
        Route("/api/text", text),
        Route("/api/sessions/s", empty, methods=["DELETE"]),
        Route("/api/stream", stream, methods=["GET", "POST"]),
    ]
    app = Starlette(
        routes=routes, middleware=build_middleware(settings, b"s" * 32), exception_handlers=exception_handlers
    )
    app.state.seen = []
    return app


async def status_and_code(method: str, target: str, app: Starlette | None = None, **more: Any) -> tuple[int, str]:
    response, body = await request(app or make_app(), method, target, **more)
    problem = json.loads(body)

    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-request-id"] == problem["request_id"]
    assert problem["status"] == response.status
    return response.status, problem["code"]


# --- request ids


@pytest.mark.parametrize(
    ("given", "is_kept"), [("trace:1.a-B_c", True), ("", False), ("a b", False), ("x" * 129, False), ("é", False)]
)
async def test_a_request_has_an_id_and_says_it(given: str, is_kept: bool) -> None:
    """The HTTP contract: `request_id`; the client's own if it is an id."""
    response, _ = await request(make_app(), "GET", "/api/text", headers={"X-Request-Id": given})
    request_id = response.headers["x-request-id"]

    assert is_client_id(request_id)
    assert (request_id == given) == is_kept


# --- problems


def test_a_problem_says_everything_in_one_shape() -> None:
    """The HTTP contract: RFC 9457 with code, retryable and request_id."""
    response = problem_response(SessionstreamError("bad \ud800", code="invalid_field", field="a.b"), "r1")

    assert json.loads(bytes(response.body)) == {
        "type": "urn:sessionstream:error:invalid_field",
        "title": CODES["invalid_field"][1],
        "status": 422,
        "detail": "bad \ud800",
        "code": "invalid_field",
        "retryable": False,
        "request_id": "r1",
        "field": "a.b",
    }
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (LimitReached(retry_after_s=0.2), "1"),
        (LimitReached(retry_after_s=2.1), "3"),
        (LimitReached(), "1"),
        (Unavailable(), "1"),
        (Conflict(retry_after_s=5), None),
    ],
)
def test_who_may_come_back_is_told_when(error: SessionstreamError, seconds: str | None) -> None:
    """The HTTP contract: 429 and 503 with `Retry-After`, in whole seconds."""
    assert problem_response(error, "").headers.get("retry-after") == seconds


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_can_be_answered(code: str) -> None:
    """The HTTP contract: every code is listed with its status."""
    assert problem_response(SessionstreamError(code=code), "").status_code == CODES[code][0]


async def test_routing_answers_in_the_same_shape() -> None:
    """The HTTP contract: 404 and 405 are problems too, and 405 keeps `Allow`."""
    assert await status_and_code("GET", "/nowhere") == (404, "not_found")
    assert await status_and_code("GET", "/api/chat") == (405, "method_not_allowed")

    response, _ = await request(make_app(), "GET", "/api/chat")

    assert response.headers["allow"] == "POST"


async def test_a_defect_is_logged_once_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    """The HTTP contract: the log has it under the request_id."""
    response, body = await request(make_app(), "GET", "/api/fail/defect", headers={"X-Request-Id": "r1", **ALLOWED})

    assert (response.status, json.loads(body)["code"]) == (500, "internal_error")
    assert b"secret" not in body
    assert response.headers["access-control-allow-origin"] == "https://app.example"
    assert [record.getMessage() for record in caplog.records] == ["request r1 failed: GET '/api/fail/defect'"]
    assert caplog.records[0].levelno == logging.ERROR
    assert "a secret of the server" in caplog.text


async def test_a_defect_after_the_start_cuts_the_response_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """After the response started nothing can be answered."""
    response, body = await request(make_app(), "GET", "/api/fail/late")

    assert (response.status, body) == (200, b"data: 1\n\n")
    assert len(caplog.records) == 1


async def test_an_error_is_no_defect(caplog: pytest.LogCaptureFixture) -> None:
    """Our contract: what has a code is answered, not logged."""
    assert await status_and_code("GET", "/api/fail/conflict") == (409, "run_active")
    assert await status_and_code("GET", "/api/fail/limit") == (429, "limit_sessions_per_user")
    assert caplog.records == []


async def test_a_fault_outside_of_starlette_is_answered_too() -> None:
    """Our contract: middleware raises as handlers do."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise BadRequest("no")

    response, body = await request(FaultMiddleware(app), "GET", "/")

    assert (response.status, json.loads(body)["code"]) == (400, "bad_request")


# --- headers


async def test_answers_say_what_browsers_must_know() -> None:
    """Edge case 58: nosniff, CORP, no-store; and the policy of the page."""
    app = make_app()
    html, _ = await request(app, "GET", "/")
    api, _ = await request(app, "GET", "/api/text")
    problem, _ = await request(app, "GET", "/api/nowhere")

    for response in (html, api, problem):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cross-origin-resource-policy"] == "same-origin"
        assert response.headers["referrer-policy"] == "no-referrer"
    assert html.headers["content-security-policy"] == CSP
    assert "content-security-policy" not in api.headers
    assert (html.headers.get("cache-control"), api.headers["cache-control"]) == (None, "max-age=5")
    assert problem.headers.getlist("cache-control") == ["no-store"]


# --- origins


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_a_write_of_another_site_is_refused(method: str) -> None:
    """Identity: a write that carries an Origin must carry ours or an allowed one, whatever the identity."""
    app = make_app()
    for origin in ("https://evil.example", "null", "", "http://localhost:8001", "http://localhost", "localhost:8000"):
        assert await status_and_code(method, "/api/size", app, headers={"Origin": origin}) == (403, "origin_refused")
    for headers in ({}, OURS, ALLOWED, {"Origin": "https://other.example:8443"}, {"Origin": "HTTP://LOCALHOST:8000"}):
        assert (await request(app, method, "/api/size", headers=headers))[0].status == 200


async def test_a_delete_needs_no_body_and_obeys_origins_too() -> None:
    """Identity: DELETE is a write; having no body it needs no content type."""
    assert (await request(make_app(), "DELETE", "/api/sessions/s", headers=OURS))[0].status == 204
    assert await status_and_code("DELETE", "/api/sessions/s", headers=FOREIGN) == (403, "origin_refused")


async def test_two_origins_are_refused() -> None:
    """Our contract: which Origin counts is not guessed."""
    pairs = [*OURS.items(), *FOREIGN.items()]

    assert await status_and_code("POST", "/api/size", headers=pairs) == (403, "origin_refused")
    assert await status_and_code("POST", "/api/size", headers=[*OURS.items()] * 2) == (403, "origin_refused")


@pytest.mark.parametrize(
    ("headers", "more", "is_ours"),
    [
        ({"Host": "chat.example", "Origin": "https://chat.example", "X-Forwarded-Proto": "https"}, {}, True),
        ({"Host": "chat.example:443", "Origin": "https://chat.example", "X-Forwarded-Proto": "HTTPS"}, {}, True),
        ({"Host": "chat.example", "Origin": "http://chat.example", "X-Forwarded-Proto": "https"}, {}, False),
        ({"Host": "chat.example", "Origin": "https://chat.example"}, {}, True),
        ({"Host": "chat.example", "Origin": "https://chat.example"}, {"client": ("203.0.113.1", 1)}, False),
        ({"Host": "chat.example", "Origin": "http://chat.example"}, {"client": ("203.0.113.1", 1)}, True),
        ({"Host": "chat.example", "Origin": "https://chat.example"}, {"scheme": "https", "client": None}, True),
        ({"Host": "app:8000", "X-Forwarded-Host": "chat.example", "Origin": "https://chat.example"}, {}, True),
        (
            {"Host": "app:8000", "X-Forwarded-Host": "chat.example", "Origin": "http://chat.example"},
            {"client": ("203.0.113.1", 1)},
            False,
        ),
    ],
)
async def test_ours_is_what_the_client_sees(headers: dict[str, str], more: dict[str, Any], is_ours: bool) -> None:
    """Our contract: behind a proxy that ends TLS our Origin is the one that trusted headers say, of trusted peers."""
    app = make_app(replace(SETTINGS, auth="visitor"))
    response, _ = await request(app, "POST", "/api/size", headers=headers, **more)

    assert response.status == (200 if is_ours else 403)


async def test_reading_is_allowed_to_the_listed_only() -> None:
    """Edge case 40: an exact echo from an allow-list, `Vary: Origin` on every API answer."""
    app = make_app()
    allowed, _ = await request(app, "GET", "/api/text", headers=ALLOWED)
    foreign, _ = await request(app, "GET", "/api/text", headers=FOREIGN)
    own, _ = await request(app, "GET", "/api/text")

    assert allowed.headers["access-control-allow-origin"] == "https://app.example"
    assert allowed.headers["access-control-allow-credentials"] == "true"
    assert allowed.headers["access-control-expose-headers"] == "X-Session-Id, X-Request-Id, Retry-After"
    assert allowed.headers.getlist("cross-origin-resource-policy") == ["cross-origin"]
    for response in (allowed, foreign, own):
        assert response.headers.getlist("vary") == ["Accept", "Origin"]
    for response in (foreign, own):
        assert not [name for name in response.headers if name.startswith("access-control")]

    html, _ = await request(app, "GET", "/", headers=ALLOWED)

    assert html.headers.getlist("access-control-allow-origin") == ["https://app.example"]


async def test_a_preflight_is_answered_to_the_listed_only() -> None:
    """Edge case 40: Last-Event-ID needs a preflight."""
    asking = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "last-event-id"}
    response, body = await request(make_app(), "OPTIONS", "/api/chat", headers=asking | ALLOWED)

    assert (response.status, body) == (204, b"")
    assert response.headers["access-control-allow-origin"] == "https://app.example"
    assert response.headers["access-control-allow-methods"] == "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
    assert "Last-Event-ID" in response.headers["access-control-allow-headers"]
    assert response.headers["access-control-max-age"] == "600"
    assert response.headers["vary"] == "Origin"

    assert await status_and_code("OPTIONS", "/api/chat", headers=asking | FOREIGN) == (403, "origin_refused")
    assert await status_and_code("OPTIONS", "/api/chat", headers=FOREIGN) == (405, "method_not_allowed")


_NO_ORIGINS = ["*", "https://*.example", "app.example", "https://a.example/path", "null"]
_NO_ORIGINS += [
    "https://пример.example",
    "https://a.example;script-src",
    "https://a.example?x",
    "https://a.example:port",
]


@pytest.mark.parametrize("text", _NO_ORIGINS)
def test_an_allowed_origin_that_is_none_stops_the_start(text: str) -> None:
    """Our contract: a setting that means nothing, or everything, is a mistake."""
    with pytest.raises(ConfigError, match="ALLOWED_ORIGINS"):
        build_middleware(Settings(allowed_origins=text), b"s" * 32)


# --- bodies


async def test_a_body_up_to_the_limit_is_read() -> None:
    """The HTTP contract: `max_body_bytes`; an import has its own."""
    app = make_app(replace(SETTINGS, max_import_bytes=5000))
    _, body = await request(app, "POST", "/api/size", body=[b"x" * 1000, b"x" * 24])
    _, imported = await request(app, "POST", "/api/sessions/import", body=b"x" * 5000)

    assert (body, imported) == (b"1024", b"5000")


async def test_a_body_over_the_limit_is_413_and_ends_the_connection() -> None:
    """The HTTP contract: 413; announced or not."""
    streamed = [b"x" * 1000, b"x" * 25, b"x"]
    app = make_app(replace(SETTINGS, max_import_bytes=5000))

    assert await status_and_code("POST", "/api/size", app, body=streamed) == (413, "body_too_large")
    assert await status_and_code("POST", "/api/sessions/import", app, body=b"x" * 5001) == (413, "body_too_large")
    for length in ("1025", "9" * 5000):
        announced = {"Content-Length": length}
        response, _ = await request(app, "POST", "/api/size", headers=announced, body_ends=False)

        assert (response.status, response.headers["connection"]) == (413, "close")

    response, _ = await request(app, "POST", "/api/size", body=streamed, http_version="2")

    assert "connection" not in response.headers


@pytest.mark.parametrize("length", ["-1", "1_0", "", "abc", "+5", "1.0"])
async def test_a_length_that_is_none_is_400(length: str) -> None:
    """Our contract: never a 500 for a header."""
    headers = {"Content-Length": length}

    assert await status_and_code("POST", "/api/size", headers=headers) == (400, "bad_request")


async def test_a_body_that_does_not_end_is_408() -> None:
    """Issue: slow bodies; a body has BODY_TIMEOUT_SECONDS as a whole."""
    app = make_app(replace(SETTINGS, body_timeout_seconds=0.05))

    assert await status_and_code("POST", "/api/size", app, body=b"x", body_ends=False) == (408, "body_timeout")


async def test_a_client_that_leaves_is_no_defect(caplog: pytest.LogCaptureFixture) -> None:
    """Invariant 6: leaving changes nothing, nor does it fill the log; neither within a body nor (ASGI 2.4) a stream."""
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": b"x", "more_body": True}]

    async def receive() -> dict[str, Any]:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise OSError("the socket is closed")

    app = make_app()
    await app(make_scope("POST", "/api/size"), receive, send)
    await app(make_scope("GET", "/api/stream", asgi={"spec_version": "2.4"}), receive, send)

    assert caplog.records == []


async def test_without_a_content_type_a_post_is_415_and_with_one_its_emptiness_is_400() -> None:
    """Identity: writes need `Content-Type: application/json`."""
    assert await status_and_code("POST", "/api/chat", body=b"") == (415, "not_json")
    json_type = {"Content-Type": "application/json"}

    assert await status_and_code("POST", "/api/chat", body=b"", headers=json_type) == (400, "malformed_json")

    _, body = await request(make_app(), "POST", "/api/chat", content={"message": "hi"})

    assert json.loads(body) == {"message": "hi"}


# --- streams


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_stream_arrives_at_once_and_ends_when_its_client_leaves(method: str) -> None:
    """Edge case 6: nothing around a stream hides that its client left."""
    app = make_app(replace(SETTINGS, body_timeout_seconds=0.1))
    async with open_request(app, method, "/api/stream", headers=ALLOWED, body=[b"", b""]) as response:
        assert await response.next_chunk() == b": hello\n\n"
        assert app.state.seen == []

    assert app.state.seen == ["stream ended"]


async def test_after_the_body_receive_has_no_deadline() -> None:
    """Edge case 6: once a body is complete its deadline is over, for as long as a stream lasts."""
    deadlines: list[float] = []
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.request", "body": b"}", "more_body": False},
        {"type": "http.disconnect"},
    ]

    async def receive() -> dict[str, Any]:
        deadlines.append(anyio.current_effective_deadline())
        return messages.pop(0)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async def send(message: Any) -> None:
        raise AssertionError("nothing is sent")

    await BodyLimitMiddleware(app, SETTINGS)(make_scope("POST", "/api/stream", {}), receive, send)

    assert deadlines == [deadlines[0], deadlines[0], math.inf]
    assert deadlines[0] < math.inf


async def test_a_get_that_announces_a_body_is_not_watched() -> None:
    """Our contract: a stream is not ended for a body that nobody reads."""
    app = make_app(replace(SETTINGS, body_timeout_seconds=0.01))
    async with open_request(app, "GET", "/api/stream", headers={"Content-Length": "9"}, body_ends=False) as response:
        assert await response.next_chunk() == b": hello\n\n"
        with anyio.move_on_after(0.05) as scope:
            await response.next_chunk()

        assert scope.cancelled_caught


async def test_other_scopes_pass() -> None:
    """Our contract: the lifespan reaches the app untouched."""
    answers: list[str] = []
    messages = ["lifespan.startup", "lifespan.shutdown"]

    async def receive() -> dict[str, Any]:
        return {"type": messages.pop(0)}

    async def send(message: Any) -> None:
        answers.append(message["type"])

    await make_app()({"type": "lifespan", "app": None, "state": {}}, receive, send)

    assert answers == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
