"""For those who run it: agents, statistics, health, readiness, the page."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from scripts.blackbox.arena import script, stall
from scripts.blackbox.caller import Caller
from scripts.blackbox.process import Server
from scripts.blackbox.wire import Wire
from server.errors import CODES
from tests.http.kit import ask, check_problem, new_session, opened, start


async def test_agents_are_named_with_what_they_can_do(user: Caller) -> None:
    body = (await user.call("GET", "/api/agents")).json()
    by_name = {agent["name"]: agent for agent in body["agents"]}

    assert set(body) == {"agents", "default", "personas"}
    assert body["default"] == "scripted"
    assert set(by_name) == {"scripted", "mirror", "broken"}
    fields = {"name", "kind", "description", "default", "persona", "personas", "capabilities"}
    assert set(by_name["mirror"]) == fields
    assert [agent["name"] for agent in body["agents"] if agent["default"]] == ["scripted"]
    assert by_name["mirror"]["capabilities"]["transport"] == {"streaming": True, "resumable": True}


async def test_stats_count_what_is_the_callers(user: Caller, other: Caller) -> None:
    await ask(other, "not counted")
    await ask(user, "one", session_id="a")
    await ask(user, "two", session_id="a")
    await new_session(user, session_id="b")
    await user.call("DELETE", "/api/sessions/b")
    receipt = await start(user, script(stall(60)), session_id="c")
    async with opened(user, "c"):
        stats = (await user.call("GET", "/api/stats")).json()

    assert stats["user_id"] == user.user
    assert stats["scope"] == "user"
    assert stats["sessions"] == {"active": 2, "ended": 1, "total": 3, "by_user": {user.user: 2}}
    assert (stats["runs"], stats["messages"]) == (2, 4)
    assert stats["average_messages_per_session"] == pytest.approx(4 / 3, abs=0.001)
    assert stats["average_duration_seconds"] >= 0
    assert stats["created"] == {"last_hour": 3, "last_day": 3}
    assert stats["expired"] == {"last_hour": 0, "last_day": 0}
    assert (stats["active_runs"], stats["open_streams"]) == (1, 1)
    assert receipt["status"] == "running"


async def test_stats_of_an_admin_are_of_all(user: Caller, other: Caller, admin: Caller) -> None:
    await ask(user, "one")
    await ask(other, "two")
    stats = (await admin.call("GET", "/api/stats")).json()

    assert stats["scope"] == "all"
    assert stats["user_id"] == "local"
    assert stats["sessions"]["by_user"][user.user] == stats["sessions"]["by_user"][other.user] == 1


async def test_health_is_the_process_and_needs_nobody(server: Server) -> None:
    answer = await server.wire.call("GET", "/health")
    async with httpx.AsyncClient(base_url=server.url) as client:
        head = await client.head("/health")

    assert (answer.status, answer.json()) == (200, {"status": "ok"})
    assert (head.status_code, head.content) == (200, b"")


async def test_readiness_names_each_part(server: Server) -> None:
    answer = await server.wire.call("GET", "/health/ready")

    assert answer.status == 200
    assert answer.json()["status"] == "ok"
    assert answer.json()["parts"]["storage"]["status"] == "ok"


async def test_the_page_is_there_and_brings_its_own_code_only(server: Server) -> None:
    page = await server.wire.call("GET", "/")
    csp = page.headers["content-security-policy"]

    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in csp
    assert "unsafe" not in csp
    assert b"<script" in page.body


async def test_static_files_stay_in_their_folder(server: Server) -> None:
    known = await server.wire.call("GET", "/static/app.js")

    assert known.status == 200
    assert "javascript" in known.headers["content-type"]
    for path in (
        "../pyproject.toml",
        "..%2fpyproject.toml",
        "%2e%2e/server/app.py",
        "..%5c..%5cx",
        "%00",
        "nothing.js",
    ):
        check_problem(await server.wire.call("GET", f"/static/{path}"), "not_found")


# --- what every answer of the edge has in common


async def test_what_is_not_there_is_404_and_405_in_one_shape(user: Caller) -> None:
    check_problem(await user.call("GET", "/api/nothing"), "not_found")
    check_problem(await user.call("GET", "/api/sessions/s/nothing"), "not_found")
    refused = await user.call("DELETE", "/api/chat")
    check_problem(refused, "method_not_allowed")

    assert refused.headers["allow"] == "POST"
    check_problem(await user.call("PUT", "/api/sessions/s", {}), "method_not_allowed")
    check_problem(await user.call("POST", "/health", {}), "method_not_allowed")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/chat"),
        ("POST", "/api/interrupt"),
        ("POST", "/api/system"),
        ("POST", "/api/sessions"),
        ("POST", "/api/sessions/import"),
        ("PATCH", "/api/sessions/s"),
        ("PATCH", "/api/sessions/s/queue/a"),
    ],
)
async def test_every_write_refuses_what_is_not_json(user: Caller, method: str, path: str) -> None:
    await start(user, script(stall(60)), session_id="s")
    await start(user, "text", session_id="s", message_id="a", on_busy="queue")
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", ""):
        answer = await user.call(method, path, b"{}", headers={"Content-Type": content_type})
        check_problem(answer, "not_json")
    for body in (b"", b"{", b"{'a': 1}", b"\xff{}", b'{"a": NaN}', b"\xef\xbb\xbf{}", b"[" * 70 + b"]" * 70):
        check_problem(await user.call(method, path, body), "malformed_json")
    for body in (b"[]", b'"text"', b"null", b"5"):
        check_problem(await user.call(method, path, body), "invalid_field", "body")
    check_problem(await user.call(method, path, {"unheard_of": 1}), "invalid_field", "unheard_of")
    twice = b'{"unheard_of": 1, "unheard_of": 2}'
    check_problem(await user.call(method, path, twice), "invalid_field", "unheard_of")


async def test_a_request_id_is_taken_or_made_and_comes_back(user: Caller) -> None:
    given = await user.call("GET", "/api/nothing", headers={"X-Request-Id": "mine-1"})
    made = await user.call("GET", "/api/nothing", headers={"X-Request-Id": "not an id"})

    assert check_problem(given, "not_found")["request_id"] == "mine-1"
    assert check_problem(made, "not_found")["request_id"] != "not an id"


async def test_every_answer_says_what_browsers_and_caches_must_know(user: Caller) -> None:
    for path in ("/api/sessions", "/api/nothing", "/api/agents", "/health", "/"):
        headers = (await user.call("GET", path)).headers

        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "server" not in headers
        if path.startswith("/api/"):
            assert "no-store" in headers["cache-control"]


def test_every_code_is_in_the_readme() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")

    assert [code for code in CODES if f"`{code}`" not in readme] == []


async def test_http_1_0_and_a_client_that_closes_are_served(server: Server) -> None:
    wire = Wire(server.wire.host, server.wire.port)

    assert (await wire.call("GET", "/health", headers={"Connection": "close"})).status == 200
    wire.forget()
