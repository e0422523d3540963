"""The widget at the server: whose pages may embed which agent, and what tickets, tokens and vouchers are worth."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from itsdangerous import TimestampSigner, URLSafeTimedSerializer

from scripts.blackbox.process import Server
from server.api.visits import TICKET_MAX_AGE_S, TOKEN_MAX_AGE_S
from tests.http.kit import check_problem
from tests.http.widget_kit import (
    BLOG,
    EVERYWHERE,
    SECRET,
    SHOP,
    STRANGER,
    Visitor,
    admit,
    offer,
    policy,
    serving,
    visitor,
)


@pytest.fixture(scope="module", params=["visitor", "local"])
async def server(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    """A public site, and one's own machine: the widget's visitors are the same on both."""
    async for running in serving(tmp_path_factory.mktemp("widget"), AUTH=request.param, ALLOWED_ORIGINS=EVERYWHERE):
        yield running


@pytest.fixture(scope="module")
async def proxied(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server behind a proxy that signs people in."""
    async for running in serving(tmp_path_factory.mktemp("proxied"), AUTH="proxy"):
        yield running


# --- who may frame what


async def test_exactly_the_pages_of_an_agents_origins_may_frame_it(server: Server) -> None:
    support = await server.wire.call("GET", "/widget?agent=support")
    sales = await server.wire.call("GET", "/widget?agent=sales")

    assert (support.status, support.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert policy(support)["frame-ancestors"] == f"{BLOG} {EVERYWHERE} {SHOP}"
    assert policy(sales)["frame-ancestors"] == f"{EVERYWHERE} {SHOP}"
    assert "set-cookie" not in support.headers


async def test_an_agent_without_origins_is_framed_by_nobody(proxied: Server) -> None:
    for path in ("/widget", "/widget?agent=inner"):
        assert policy(await proxied.wire.call("GET", path))["frame-ancestors"] == "'none'"


async def test_nothing_else_may_be_framed(server: Server) -> None:
    for path in ("/", "/static/index.html", "/static/widget/index.html"):
        answer = await server.wire.call("GET", path, headers={"Referer": f"{SHOP}/"})
        assert policy(answer)["frame-ancestors"] == "'none'", path


async def test_the_frame_runs_no_code_but_ours(server: Server) -> None:
    directives = policy(await server.wire.call("GET", "/widget?agent=support"))

    assert directives["default-src"] == "'none'"
    assert directives["script-src"] == directives["style-src"] == directives["connect-src"] == "'self'"
    assert not any("unsafe" in value for value in directives.values())


async def test_an_agent_that_is_not_there_has_no_frame(server: Server) -> None:
    check_problem(await server.wire.call("GET", "/widget?agent=nobody"), "not_found")
    check_problem(await server.wire.call("GET", "/widget?agent=a%20b"), "invalid_field", "agent")


@pytest.mark.parametrize("path", ["/static/widget.js", "/static/widget/around/widget.js"])
async def test_any_page_can_load_the_script(server: Server, path: str) -> None:
    script = await server.wire.call("GET", path, headers={"Origin": STRANGER})
    seen = {"If-None-Match": script.headers["etag"]}
    again = await server.wire.call("GET", path, headers={"Origin": STRANGER, **seen})

    for answer in (script, again):
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
        assert answer.headers["cache-control"] == "no-cache"
        assert "access-control-allow-credentials" not in answer.headers
    assert (script.status, again.status) == (200, 304)


@pytest.mark.parametrize(
    "path", ["widget/app.js", "app.js", "widget/around/..%2Fapp.js", "widget/around%2F..%2Fapp.js"]
)
async def test_any_page_can_load_no_other_file(server: Server, path: str) -> None:
    other = await server.wire.call("GET", f"/static/{path}", headers={"Origin": STRANGER})

    assert "access-control-allow-origin" not in other.headers
    assert other.headers["cross-origin-resource-policy"] == "same-origin"


async def test_a_part_of_the_script_that_is_not_there_is_missing(server: Server) -> None:
    check_problem(await server.wire.call("GET", "/static/widget/around/nothing.js"), "not_found")


async def test_a_page_that_is_isolated_can_have_the_frame_and_nothing_contradicts_its_policy(server: Server) -> None:
    answer = await server.wire.call("GET", "/widget?agent=support")

    assert answer.headers["cross-origin-embedder-policy"] == "require-corp"
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "x-frame-options" not in answer.headers
    assert "access-control-allow-origin" not in answer.headers


# --- tickets and tokens


async def test_a_page_of_an_allowed_origin_gets_a_ticket_and_the_greeting(server: Server) -> None:
    answer = await offer(server, SHOP, agent="support")
    other = await offer(server, BLOG, agent="support", persona="assistant")

    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "*")
    assert answer.headers["cache-control"] == "no-store"
    assert "access-control-allow-credentials" not in answer.headers
    body = answer.json()
    assert set(body) == {"agent", "persona", "greeting", "ticket"}
    assert (body["agent"], body["persona"]) == ("support", None)
    assert body["greeting"]
    assert other.json()["persona"] == "assistant"
    assert other.json()["greeting"] not in ("", body["greeting"])


async def test_a_page_of_another_origin_is_told_why_not_in_words_it_can_read(server: Server) -> None:
    for origin, agent in ((STRANGER, "support"), (BLOG, "sales"), (f"{SHOP}.evil.example", "support")):
        answer = await offer(server, origin, agent=agent)
        problem = check_problem(answer, "origin_refused")
        assert origin in problem["detail"]
        assert "allowed_origins" in problem["detail"]
        assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("origin", [None, "null", "file://", "ftp://shop.example", "https://shop.example, https://x"])
async def test_a_page_that_is_of_no_origin_gets_nothing(server: Server, origin: str | None) -> None:
    check_problem(await offer(server, origin, agent="support"), "invalid_field", "Origin")


async def test_what_the_page_says_in_the_address_counts_for_nothing(server: Server) -> None:
    check_problem(await offer(server, STRANGER, agent="support", site=SHOP, Origin=SHOP), "origin_refused")


async def test_an_unknown_persona_or_agent_is_named(server: Server) -> None:
    check_problem(await offer(server, SHOP, agent="support", persona="pirate"), "invalid_field", "persona")
    check_problem(await offer(server, SHOP, agent="nobody"), "not_found")


async def test_a_ticket_that_is_not_ours_admits_nobody(server: Server) -> None:
    ticket = (await offer(server, SHOP, agent="support")).json()["ticket"]

    for wrong in ("", "x", ticket[:-1], ticket.replace(".", "", 1), "\u00e9" * 50, "a." * 5000):
        check_problem(await admit(server, wrong), "unauthenticated")
    check_problem(await server.wire.call("POST", "/api/widget", body={}), "invalid_field", "ticket")


async def test_a_ticket_that_is_too_old_admits_nobody(server: Server) -> None:
    class Earlier(TimestampSigner):
        def get_timestamp(self) -> int:
            return int(time.time()) - TICKET_MAX_AGE_S - 5

    how: dict[str, Any] = {"salt": "sessionstream.widget.ticket", "signer_kwargs": {"digest_method": hashlib.sha256}}
    fresh = URLSafeTimedSerializer(SECRET, **how)
    old = URLSafeTimedSerializer(SECRET, signer=Earlier, **how)

    assert (await admit(server, str(fresh.dumps(["support", SHOP])))).status == 201
    check_problem(await admit(server, str(old.dumps(["support", SHOP]))), "unauthenticated")


@pytest.mark.parametrize("kind", ["token", "voucher"])
async def test_what_says_who_somebody_is_is_good_for_a_time_and_can_be_renewed(server: Server, kind: str) -> None:
    class Earlier(TimestampSigner):
        age = 0

        def get_timestamp(self) -> int:
            return int(time.time()) - self.age

    how: dict[str, Any] = {"salt": f"sessionstream.widget.{kind}", "signer_kwargs": {"digest_method": hashlib.sha256}}
    signer = URLSafeTimedSerializer(SECRET, signer=Earlier, **how)
    prefix = "widget." if kind == "token" else ""
    for age, status in ((TOKEN_MAX_AGE_S - 60, 201), (TOKEN_MAX_AGE_S + 60, 401)):
        Earlier.age = age
        given = prefix + str(signer.dumps(["visitor-x", "support", SHOP]))
        answer = await server.wire.call("POST", "/api/widget", body={kind: given})
        assert answer.status == status, answer.body
        if kind == "token":
            got = await Visitor(server, given).call("GET", "/api/agents")
            assert got.status == (200 if status == 201 else 401)
    Earlier.age = TOKEN_MAX_AGE_S - 60
    renewed = await server.wire.call(
        "POST", "/api/widget", body={kind: prefix + str(signer.dumps(["x", "support", SHOP]))}
    )
    assert (await Visitor(server, renewed.json()["token"]).call("GET", "/api/agents")).status == 200


async def test_what_is_signed_for_somebody_cannot_be_made_somebody_elses(server: Server) -> None:
    token = (await visitor(server)).token
    head, _, rest = token.removeprefix("widget.").partition(".")
    other = base64.urlsafe_b64encode(b'["visitor-x","inner","https://shop.example"]').decode().rstrip("=")

    assert head
    for wrong in (f"widget.{other}.{rest}", f"widget.{head}.{rest[:-4]}AAAA", f"widget.{head}", f"widget.{head}..."):
        check_problem(await Visitor(server, wrong).call("GET", "/api/agents"), "unauthenticated")


async def test_another_site_cannot_have_a_ticket_turned_into_a_token(server: Server) -> None:
    ticket = (await offer(server, SHOP, agent="support")).json()["ticket"]

    check_problem(await admit(server, ticket, Origin=SHOP), "origin_refused")
    check_problem(await admit(server, ticket, Origin=STRANGER), "origin_refused")


async def test_what_a_page_keeps_for_its_frame_brings_the_same_visitor_back(server: Server) -> None:
    ticket = (await offer(server, SHOP, agent="support")).json()["ticket"]
    first = (await admit(server, ticket)).json()
    await Visitor(server, first["token"]).ask("hi", session_id="s")
    again = await server.wire.call("POST", "/api/widget", body={"voucher": first["voucher"]})

    assert (again.status, again.json()["origin"]) == (201, SHOP)
    assert (await Visitor(server, again.json()["token"]).call("GET", "/api/sessions/s")).status == 200
    assert (await admit(server, ticket)).json()["token"] != first["token"]
    foreign = await server.wire.call(
        "POST", "/api/widget", headers={"Origin": SHOP}, body={"voucher": first["voucher"]}
    )
    check_problem(foreign, "origin_refused")
    as_token = await Visitor(server, f"widget.{first['voucher']}").call("GET", "/api/agents")
    check_problem(as_token, "unauthenticated")
    for wrong in (ticket, first["token"], first["token"].removeprefix("widget."), ""):
        check_problem(await server.wire.call("POST", "/api/widget", body={"voucher": wrong}), "unauthenticated")


async def test_a_ticket_is_no_token_and_a_token_is_no_ticket(server: Server) -> None:
    ticket = (await offer(server, SHOP, agent="support")).json()["ticket"]
    token = (await visitor(server)).token

    for wrong in (f"widget.{ticket}", "widget.", "widget.nobody", token[:-1], f"{token}x"):
        check_problem(await Visitor(server, wrong).call("GET", "/api/agents"), "unauthenticated")
    check_problem(await admit(server, token), "unauthenticated")
    check_problem(await admit(server, token.removeprefix("widget.")), "unauthenticated")


async def test_where_a_proxy_names_people_there_are_no_visitors(proxied: Server, server: Server) -> None:
    problem = check_problem(await offer(proxied, SHOP, agent="support"), "unauthenticated")
    how: dict[str, Any] = {"salt": "sessionstream.widget.token", "signer_kwargs": {"digest_method": hashlib.sha256}}
    token = str(URLSafeTimedSerializer(SECRET, **how).dumps(["visitor-x", "support", SHOP]))

    assert "AUTH=visitor" in problem["detail"]
    named = {"X-Forwarded-User": "somebody"}
    signed = Visitor(proxied, f"widget.{token}")
    assert (await Visitor(server, signed.token).call("GET", "/api/agents")).status == 200
    check_problem(await signed.call("GET", "/api/agents", headers=named), "unauthenticated")


async def test_a_visitor_costs_nothing_before_the_first_message(server: Server) -> None:
    before = server.rows()
    for _ in range(50):
        await visitor(server)

    assert server.rows() == before
