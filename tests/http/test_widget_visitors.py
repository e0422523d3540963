"""The widget's visitors at the server: what is theirs, and what they never reach."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from scripts.blackbox.process import Server
from tests.http.kit import check_problem
from tests.http.widget_kit import AGENTS, BLOG, EVERYWHERE, SHOP, serving, visitor


@pytest.fixture(scope="module", params=["visitor", "local"])
async def server(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    """A public site, and one's own machine: the widget's visitors are the same on both."""
    async for running in serving(tmp_path_factory.mktemp("widget"), AUTH=request.param, ALLOWED_ORIGINS=EVERYWHERE):
        yield running


async def test_the_session_names_the_site_that_the_browser_named(server: Server) -> None:
    shop, blog = await visitor(server), await visitor(server, BLOG)
    for somebody, site in ((shop, "shop.example"), (blog, "blog.example")):
        asked = await somebody.ask("hi", session_id="one", agent="support")
        session = (await somebody.call("GET", "/api/sessions/one")).json()

        assert asked["messages"][-1]["content"] == "you said hi to technical-support"
        assert (session["website_domain"], session["agent"]) == (site, "support")
        assert session["user_id"].startswith("visitor-")


async def test_the_site_is_the_tokens_whatever_the_request_says(server: Server) -> None:
    somebody = await visitor(server)
    headers = {"Referer": "https://elsewhere.example/"}
    created = await somebody.call("POST", "/api/sessions", {}, headers)

    assert (created.status, created.json()["website_domain"]) == (201, "shop.example")
    assert created.json()["agent"] == "support"


async def test_two_sites_never_see_each_others_sessions(server: Server) -> None:
    shop, blog, neighbour = await visitor(server), await visitor(server, BLOG), await visitor(server)
    await shop.ask("my secret", session_id="s")

    for other in (blog, neighbour, await visitor(server, SHOP, "sales")):
        check_problem(await other.call("GET", "/api/sessions/s"), "session_not_found")
        check_problem(await other.call("GET", "/api/state?session_id=s"), "session_not_found")
        check_problem(await other.call("POST", "/api/interrupt", {"session_id": "s"}), "session_not_found")
        check_problem(await other.call("DELETE", "/api/sessions/s"), "session_not_found")
    assert (await shop.call("GET", "/api/sessions/s")).json()["message_count"] == 2


async def test_a_visitor_talks_to_its_agent_and_to_no_other(server: Server) -> None:
    somebody = await visitor(server)
    await somebody.ask("hi", session_id="s")

    assert [agent["name"] for agent in (await somebody.call("GET", "/api/agents")).json()["agents"]] == ["support"]
    for body in ({"message": "hi", "agent": "inner"}, {"message": "hi", "agent": "sales"}):
        check_problem(await somebody.call("POST", "/api/chat", body), "origin_refused")
    check_problem(await somebody.call("PATCH", "/api/sessions/s", {"agent": "inner"}), "origin_refused")
    check_problem(await somebody.call("POST", "/api/sessions", {"agent": "inner"}), "origin_refused")
    run: dict[str, Any] = {"threadId": "s", "runId": "r", "messages": [{"id": "m", "role": "user", "content": "x"}]}
    run |= {"state": {}, "tools": [], "context": [], "forwardedProps": {}}
    check_problem(await somebody.call("POST", "/api/agents/inner/run", run), "origin_refused")


@pytest.mark.parametrize(
    "request_",
    [
        ("GET", "/api/sessions"),
        ("GET", "/api/sessions/stream"),
        ("GET", "/api/stats"),
        ("GET", "/api/documents"),
        ("POST", "/api/sessions/import"),
        ("POST", "/api/mcp-command"),
        ("GET", "/api/sessions?q=secret"),
        ("GET", "/api/stats?series=true"),
        ("GET", "/api/sessions/import"),
        ("DELETE", "/api/documents/a.md"),
    ],
    ids="{0[0]} {0[1]}".format,
)
async def test_a_visitor_reaches_nothing_beside_its_conversations(server: Server, request_: tuple[str, str]) -> None:
    method, path = request_
    somebody = await visitor(server)

    check_problem(await somebody.call(method, path, {} if method == "POST" else None), "origin_refused")


async def test_a_visitor_streams_with_a_header_and_gets_no_cookie(server: Server) -> None:
    somebody = await visitor(server)
    asked = await somebody.ask("hi", session_id="s")
    headers = {"Authorization": f"Bearer {somebody.token}", "Last-Event-ID": "-1", "Sec-Fetch-Site": "same-origin"}
    stream = await server.wire.stream(f"/api/chat/stream?session_id={asked['session_id']}", headers=headers)
    try:
        assert stream.status == 200, await stream.refusal()
        assert "set-cookie" not in stream.headers
        frames = await stream.read(15.0)
    finally:
        stream.close()
    assert frames
    assert "you said hi" in str(frames)


async def test_a_site_that_is_not_allowed_any_more_has_no_visitors_any_more(tmp_path: Path) -> None:
    async for running in serving(tmp_path, AUTH="visitor"):
        somebody = await visitor(running, BLOG)
        other = await visitor(running, SHOP)
        assert (await somebody.call("GET", "/api/agents")).status == 200
        await running.terminate()
        (tmp_path / "agents.toml").write_text(AGENTS.replace(f', "{BLOG}"', ""), encoding="utf-8")
        await running.start()

        check_problem(await somebody.call("GET", "/api/agents"), "origin_refused")
        renewed = await running.wire.call("POST", "/api/widget", body={"token": somebody.token})
        check_problem(renewed, "origin_refused")
        assert (await other.call("GET", "/api/agents")).status == 200


@pytest.mark.parametrize("path", ["/api/sessions/{}", "/api/state?session_id={}", "/api/sessions/{}/export"])
async def test_a_page_that_one_agent_allows_is_no_admin_on_ones_own_machine(
    server: Server, path: str, request: pytest.FixtureRequest
) -> None:
    """It would read what the visitors of other sites said to that agent; one of `ALLOWED_ORIGINS` is trusted."""
    somebody = await visitor(server, BLOG)
    session_id = (await somebody.ask("my secret"))["session_id"]
    has_admin = request.node.callspec.params["server"] == "local"

    for method, asked in (("GET", path.format(session_id)), ("DELETE", f"/api/sessions/{session_id}")):
        check_problem(await server.wire.call(method, asked, headers={"Origin": SHOP}), "session_not_found")
    trusted = await server.wire.call("GET", path.format(session_id), headers={"Origin": EVERYWHERE})
    assert trusted.status == (200 if has_admin else 404)
