"""AUTH end to end: who is asking under each way, whose pages may write, which hosts are ours."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from scripts.blackbox.caller import Caller
from scripts.blackbox.process import Server
from scripts.blackbox.wire import Answer
from tests.http.kit import ask, check_problem, new_session, opened, serving

ALLOWED = "https://app.example"
FOREIGN = "https://evil.example"


@pytest.fixture(scope="module")
async def visited(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A public site."""
    folder = tmp_path_factory.mktemp("visitor")
    async with serving(folder, AUTH="visitor", ALLOWED_ORIGINS=ALLOWED, HEARTBEAT_SECONDS="0.2") as running:
        yield running


@pytest.fixture(scope="module")
async def proxied(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server behind a proxy on this machine."""
    async with serving(tmp_path_factory.mktemp("proxy"), AUTH="proxy", ADMINS="boss,chief@example.org") as running:
        yield running


@pytest.fixture(scope="module")
async def distrustful(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server behind a proxy that is elsewhere: we are not it."""
    async with serving(tmp_path_factory.mktemp("distrust"), AUTH="proxy", TRUSTED_PROXIES="10.1.2.3") as running:
        # Readiness needs no principal, so the server counts as started.
        yield running


async def whoami(server: Server, **headers: str) -> Answer:
    """Ask who we are."""
    return await server.wire.call(
        "GET", "/api/stats", headers={name.replace("_", "-"): headers[name] for name in headers}
    )


# --- local


async def test_on_ones_own_machine_nobody_needs_a_name_and_is_admin(server: Server) -> None:
    body = (await whoami(server)).json()

    assert (body["user_id"], body["scope"]) == ("local", "all")


async def test_a_name_that_is_sent_is_a_user_and_no_admin(server: Server) -> None:
    body = (await whoami(server, X_Forwarded_User="zoë".encode().decode("utf-8"))).json()

    assert (body["user_id"], body["scope"]) == ("zoë", "user")


@pytest.mark.parametrize("name", ["", " ", "x" * 129, "a\tb"])
async def test_a_name_that_is_none_is_401(server: Server, name: str) -> None:
    answer = await whoami(server, X_Forwarded_User=name)

    check_problem(answer, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("path", ["/", "/health", "/api/stats", "/api/chat/stream", "/static/app.js"])
async def test_a_host_that_is_not_this_machine_is_refused_everywhere(server: Server, path: str) -> None:
    async with httpx.AsyncClient(base_url=server.url) as client:
        for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "192.168.1.5:8000"):
            answer = await client.get(path, headers={"Host": host})

            assert (answer.status_code, answer.json()["code"]) == (403, "host_refused")


async def test_every_name_of_this_machine_is_answered(server: Server) -> None:
    async with httpx.AsyncClient(base_url=server.url) as client:
        for host in ("localhost", "localhost:9", "127.0.0.1", "127.0.0.2:80", "[::1]:8000", "app.localhost"):
            assert (await client.get("/health", headers={"Host": host})).status_code == 200


# --- visitor


async def test_a_visitor_is_made_on_first_contact_and_known_by_cookie_or_bearer(visited: Server) -> None:
    first = await visited.wire.call("POST", "/api/chat", body={"message": "hello", "session_id": "s"})
    cookie = first.headers["set-cookie"]
    token = first.headers["x-visitor-token"]
    by_cookie = await whoami(visited, Cookie=cookie.partition(";")[0])
    by_bearer = await whoami(visited, Authorization=f"Bearer {token}")

    assert first.status == 202
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Path=/" in cookie
    assert "no-store" in first.headers["cache-control"]
    assert by_cookie.json() == by_bearer.json()
    assert by_cookie.json()["sessions"]["active"] == 1
    assert by_cookie.json()["scope"] == "user"
    assert "set-cookie" not in by_cookie.headers


async def test_the_cookie_is_secure_off_this_machine(visited: Server) -> None:
    async with httpx.AsyncClient(base_url=visited.url) as client:
        answer = await client.get("/", headers={"Host": "chat.example"})

    assert "Secure" in answer.headers["set-cookie"]


async def test_nobody_can_name_himself_on_a_public_site(visited: Server) -> None:
    body = (await whoami(visited, X_Forwarded_User="admin", X_Forwarded_Email="a@b.c")).json()

    assert body["user_id"].startswith("visitor-")


async def test_every_visitor_is_somebody_else_and_sees_only_his_own(visited: Server) -> None:
    one, two = Caller(visited.wire, ""), Caller(visited.wire, "")
    await ask(one, "hello", session_id="s")
    await new_session(two)

    check_problem(await two.call("GET", "/api/sessions/s"), "session_not_found")
    assert (await one.call("GET", "/api/sessions/s")).status == 200
    async with opened(two, "s") as tail:
        await tail.snapshot()
        assert tail.fold.messages == {}


async def test_a_stream_is_a_first_contact_too(visited: Server) -> None:
    stream = await visited.wire.stream("/api/chat/stream?session_id=s")
    stream.close()
    cookie = stream.headers["set-cookie"].partition(";")[0]
    answer = await visited.wire.call("GET", "/api/sessions/s", headers={"Cookie": cookie})

    assert answer.status == 200


@pytest.mark.parametrize("token", ["", "garbage", "InZpc2l0b3ItMSI.forged", "x" * 5000])
async def test_a_bearer_that_is_not_ours_is_401_and_such_a_cookie_is_somebody_new(visited: Server, token: str) -> None:
    check_problem(await whoami(visited, Authorization=f"Bearer {token}"), "unauthenticated")
    answer = await whoami(visited, Cookie=f"sessionstream_visitor={token}")

    assert answer.status == 200
    assert "set-cookie" in answer.headers


async def test_nothing_of_a_query_or_a_token_is_in_the_log(visited: Server) -> None:
    token = "secret-of-a-visitor"
    for path in (f"/api/chat/stream?last_event_id={token}", f"/api/sessions?q={token}&limit=x", f"/api/none?t={token}"):
        stream = await visited.wire.stream(path, headers={"Cookie": f"sessionstream_visitor={token}"})
        stream.close()
    await whoami(visited, Authorization=f"Bearer {token}")

    assert token not in visited.log.read_text("utf-8")


# --- proxy


async def test_a_trusted_proxy_names_who_is_asking(proxied: Server) -> None:
    named = (await whoami(proxied, X_Forwarded_User="ann", X_Forwarded_Email="ann@example.org")).json()
    mailed = (await whoami(proxied, X_Forwarded_Email="bob@example.org")).json()

    assert (named["user_id"], named["scope"]) == ("ann", "user")
    assert (mailed["user_id"], mailed["scope"]) == ("bob@example.org", "user")


async def test_admins_are_those_that_are_listed(proxied: Server) -> None:
    ann, boss = Caller(proxied.wire, "ann"), Caller(proxied.wire, "boss")
    await new_session(ann, session_id="of-ann")

    assert (await whoami(proxied, X_Forwarded_User="boss")).json()["scope"] == "all"
    assert (await whoami(proxied, X_Forwarded_Email="chief@example.org")).json()["scope"] == "all"
    assert (await boss.call("GET", "/api/sessions/of-ann")).json()["user_id"] == "ann"


async def test_a_proxy_that_names_nobody_is_401_but_health_is_for_all(proxied: Server) -> None:
    for method, path in (("GET", "/api/sessions"), ("POST", "/api/chat"), ("GET", "/api/agents"), ("GET", "/api/x")):
        answer = await proxied.wire.call(method, path, body={"message": "x"} if method == "POST" else None)
        check_problem(answer, "unauthenticated")
    stream = await proxied.wire.stream("/api/chat/stream")

    check_problem(await stream.refusal(), "unauthenticated")
    for path in ("/", "/health", "/health/ready", "/static/app.js"):
        assert (await proxied.wire.call("GET", path)).status == 200


async def test_a_name_that_was_sent_twice_is_nobodys(proxied: Server) -> None:
    async with httpx.AsyncClient(base_url=proxied.url) as client:
        pairs = [("X-Forwarded-User", "ann"), ("X-Forwarded-User", "boss")]
        answer = await client.get("/api/stats", headers=pairs)

    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


async def test_who_is_not_the_proxy_cannot_name_anybody(distrustful: Server) -> None:
    check_problem(await whoami(distrustful, X_Forwarded_User="ann"), "unauthenticated")
    spoofed = {"X_Forwarded_User": "ann", "X_Forwarded_For": "10.1.2.3", "Forwarded": "for=10.1.2.3"}
    check_problem(await whoami(distrustful, **spoofed), "unauthenticated")


# --- pages of other sites


@pytest.mark.parametrize("origin", [FOREIGN, "null", "http://localhost:1", "https://127.0.0.1", "chrome-extension://x"])
async def test_a_page_of_another_site_cannot_write(server: Server, user: Caller, origin: str) -> None:
    await new_session(user, session_id="s")
    for method, path, body in (
        ("POST", "/api/chat", {"message": "x", "session_id": "s"}),
        ("POST", "/api/interrupt", {"session_id": "s"}),
        ("POST", "/api/system", {"message": "x", "session_id": "s"}),
        ("POST", "/api/sessions", {}),
        ("POST", "/api/sessions/import", {"version": 1, "session": {}, "messages": []}),
        ("PATCH", "/api/sessions/s", {"title": "x"}),
        ("DELETE", "/api/sessions/s", None),
        ("DELETE", "/api/sessions/s/messages", None),
        ("DELETE", "/api/sessions/s/queue/a", None),
        ("GET", "/api/chat/stream?session_id=new", None),
    ):
        answer = await user.call(method, path, body, headers={"Origin": origin})
        check_problem(answer, "origin_refused")
    page = (await user.call("GET", "/api/sessions")).json()

    assert [one["session_id"] for one in page["sessions"]] == ["s"]
    assert await user.messages("s") == []


async def test_our_own_page_can_write(server: Server, user: Caller) -> None:
    answer = await user.call("POST", "/api/chat", {"message": "x"}, headers={"Origin": server.url})

    assert answer.status == 202


async def test_a_page_of_another_site_cannot_read(server: Server, user: Caller) -> None:
    answer = await user.call("GET", "/api/sessions", headers={"Origin": FOREIGN})

    assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert "origin" in answer.headers["vary"].lower()


async def test_an_allowed_page_writes_reads_and_streams(visited: Server) -> None:
    caller = Caller(visited.wire, "")
    written = await caller.call("POST", "/api/chat", {"message": "x", "session_id": "s"}, headers={"Origin": ALLOWED})
    headers = {**caller.headers, "Origin": ALLOWED}
    stream = await visited.wire.stream("/api/chat/stream?session_id=s", headers=headers)
    stream.close()
    problem = await caller.call("GET", "/api/sessions/none", headers={"Origin": ALLOWED})

    assert (written.status, stream.status, problem.status) == (202, 200, 404)
    for answered in (written.headers, stream.headers, problem.headers):
        assert answered["access-control-allow-origin"] == ALLOWED
        assert answered["access-control-allow-credentials"] == "true"
        assert "origin" in answered["vary"].lower()


@pytest.mark.parametrize("origin", ["https://app.example.evil", "https://APP.example", "http://app.example", "*"])
async def test_only_the_exact_origin_is_allowed(visited: Server, origin: str) -> None:
    answer = await visited.wire.call("POST", "/api/chat", headers={"Origin": origin}, body={"message": "x"})

    check_problem(answer, "origin_refused")
    assert "access-control-allow-origin" not in answer.headers


async def test_a_preflight_is_answered_for_the_allowed_and_covers_the_cursor(visited: Server) -> None:
    asking = {
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "last-event-id, authorization, content-type",
    }
    async with httpx.AsyncClient(base_url=visited.url) as client:
        allowed = await client.options("/api/chat/stream", headers={**asking, "Origin": ALLOWED})
        refused = await client.options("/api/chat/stream", headers={**asking, "Origin": FOREIGN})

    assert allowed.status_code == 204
    assert allowed.headers["access-control-allow-origin"] == ALLOWED
    assert {"last-event-id", "authorization", "content-type"} <= {
        name.strip().lower() for name in allowed.headers["access-control-allow-headers"].split(",")
    }
    assert (refused.status_code, refused.json()["code"]) == (403, "origin_refused")
    assert "access-control-allow-origin" not in refused.headers
