"""Sessions as a collection: create, show, list page by page, change, delete."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import anyio
import pytest

from scripts.blackbox.arena import script, stall
from scripts.blackbox.caller import Caller
from tests.http.kit import SESSION_FIELDS, TIME, UUID7, ask, check_problem, new_session, opened, start


async def listed(caller: Caller, **query: Any) -> list[str]:
    """Return the ids of one page."""
    answer = await caller.call("GET", "/api/sessions", query=query)
    assert answer.status == 200, answer.body
    assert answer.json()["count"] == len(answer.json()["sessions"])
    return [one["session_id"] for one in answer.json()["sessions"]]


async def test_a_session_is_created_with_what_was_asked_for(user: Caller) -> None:
    fields = {"session_id": "s", "title": " Plans ", "agent": "mirror", "persona": "pirate", "metadata": {"a": [1]}}
    answer = await user.call("POST", "/api/sessions", fields)
    session = answer.json()

    assert answer.status == 201
    assert set(session) == SESSION_FIELDS
    assert (session["session_id"], session["user_id"]) == ("s", user.user)
    assert (session["title"], session["agent"], session["persona"]) == ("Plans", "mirror", "pirate")
    assert session["metadata"] == {"a": [1]}
    assert (session["message_count"], session["run"]) == (0, None)
    assert (session["has_slides"], session["slide_count"]) == (False, 0)


async def test_a_session_of_nothing_has_an_id_and_times(user: Caller) -> None:
    session = (await user.call("POST", "/api/sessions", {})).json()

    assert UUID7.fullmatch(session["session_id"])
    assert all(TIME.fullmatch(session[name]) for name in ("created_at", "last_activity", "expires_at"))
    lifetime = datetime.fromisoformat(session["expires_at"]) - datetime.fromisoformat(session["last_activity"])
    assert lifetime.total_seconds() == 3600
    assert session["title"] is None


async def test_a_session_knows_the_site_it_came_from(user: Caller) -> None:
    headers = {"Referer": "https://shop.example/cart?user=1"}
    await user.call("POST", "/api/chat", {"message": "hello", "session_id": "s"}, headers=headers)

    assert (await user.call("GET", "/api/sessions/s")).json()["website_domain"] == "shop.example"


async def test_an_id_is_taken_once(user: Caller) -> None:
    await new_session(user, session_id="s")

    check_problem(await user.call("POST", "/api/sessions", {"session_id": "s"}), "session_exists")


async def test_an_id_that_many_ask_for_at_once_is_given_once(user: Caller) -> None:
    statuses: list[int] = []

    async def make() -> None:
        statuses.append((await user.call("POST", "/api/sessions", {"session_id": "s"})).status)

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(make)

    assert sorted(statuses) == [201] + [409] * 9


async def test_show_tells_about_the_active_run(user: Caller) -> None:
    receipt = await start(user, script(stall(60)), session_id="s")
    session = (await user.call("GET", "/api/sessions/s")).json()

    assert session["run"] == {"run_id": receipt["run_id"], "status": "running"}
    assert session["message_count"] == 1


@pytest.mark.parametrize("session_id", ["nobodys", "%20", "%00", "x" * 129, "%C3%A9", "%FF", "..", "%2e%2e"])
async def test_a_session_that_is_not_there_is_404(user: Caller, session_id: str) -> None:
    check_problem(await user.call("GET", f"/api/sessions/{session_id}"), "session_not_found")


# --- the list


async def test_pages_lead_through_all_sessions_latest_activity_first(user: Caller) -> None:
    for number in range(7):
        await new_session(user, session_id=f"s{number}")
    await ask(user, "hello", session_id="s2")
    walked: list[list[str]] = []
    query: dict[str, Any] = {"limit": 3}
    while True:
        page = (await user.call("GET", "/api/sessions", query=query)).json()
        walked.append([one["session_id"] for one in page["sessions"]])
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]

    assert walked == [["s2", "s6", "s5"], ["s4", "s3", "s1"], ["s0"]]


async def test_a_page_that_holds_all_has_no_next(user: Caller) -> None:
    for number in range(3):
        await new_session(user, session_id=f"s{number}")
    page = (await user.call("GET", "/api/sessions", query={"limit": 3})).json()

    assert page["count"] == 3
    assert page["next_cursor"] is None


async def test_a_session_that_moves_up_while_pages_are_read_is_not_shown_twice(user: Caller) -> None:
    for number in range(6):
        await new_session(user, session_id=f"s{number}")
    first = (await user.call("GET", "/api/sessions", query={"limit": 3})).json()
    await ask(user, "hello", session_id="s5")
    rest = await listed(user, limit=50, cursor=first["next_cursor"])

    assert rest == ["s2", "s1", "s0"]


async def test_a_list_holds_full_sessions_and_only_the_callers(user: Caller, other: Caller) -> None:
    await new_session(other, session_id="theirs")
    receipt = await start(user, script(stall(60)), session_id="mine")
    page = (await user.call("GET", "/api/sessions")).json()

    assert [one["session_id"] for one in page["sessions"]] == ["mine"]
    assert set(page["sessions"][0]) == SESSION_FIELDS
    assert page["sessions"][0]["run"] == {"run_id": receipt["run_id"], "status": "running"}
    assert set(page) == {"sessions", "count", "next_cursor"}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=ten", "limit"),
        ("limit=1&limit=2", "limit"),
        ("limit=99999999999999999999999", "limit"),
        ("cursor=garbage", "cursor"),
        ("cursor=1_2_3", "cursor"),
        ("cursor=1_99999999999999999999999", "cursor"),
        ("cursor=nan_1", "cursor"),
        ("cursor=inf_1", "cursor"),
        ("cursor=1e999_1", "cursor"),
        ("q=" + "x" * 201, "q"),
        ("q=a&q=b", "q"),
        ("q=%00", "q"),
    ],
)
async def test_a_wrong_query_is_refused_by_name(user: Caller, query: str, field: str) -> None:
    check_problem(await user.call("GET", f"/api/sessions?{query}"), "invalid_field", field)


# --- change


async def test_a_change_is_answered_kept_and_seen(user: Caller) -> None:
    await new_session(user, session_id="s", title="old", metadata={"a": 1})
    async with opened(user, "s") as tail:
        await tail.snapshot()
        body = {"title": "new", "persona": "pirate", "agent": "mirror", "metadata": {"b": 2}, "config": {"top_k": 1}}
        changed = (await user.call("PATCH", "/api/sessions/s", body)).json()
        await tail.until(lambda frame: frame.event["type"] == "STATE_DELTA")
    shown = (await user.call("GET", "/api/sessions/s")).json()

    assert changed == shown
    assert (shown["title"], shown["persona"], shown["agent"]) == ("new", "pirate", "mirror")
    assert shown["metadata"] == {"b": 2}
    seen = tail.fold.state["session"]
    assert {name: seen[name] for name in ("title", "persona", "agent", "metadata")} == {
        name: shown[name] for name in ("title", "persona", "agent", "metadata")
    }


async def test_null_takes_a_value_away_and_absence_leaves_it(user: Caller) -> None:
    await new_session(user, session_id="s", title="old", persona="pirate", agent="mirror", metadata={"a": 1})
    body = {"title": None, "persona": None, "agent": None, "metadata": None}
    first = (await user.call("PATCH", "/api/sessions/s", {})).json()
    emptied = (await user.call("PATCH", "/api/sessions/s", body)).json()

    assert (first["title"], first["persona"], first["metadata"]) == ("old", "pirate", {"a": 1})
    assert (emptied["title"], emptied["persona"], emptied["agent"]) == (None, None, "scripted")
    assert emptied["metadata"] == {}


async def test_a_given_title_is_not_replaced_by_the_first_message(user: Caller) -> None:
    await new_session(user, session_id="s", title="mine")

    assert (await ask(user, "hello", session_id="s"))["state"]["session"]["title"] == "mine"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"title": ""}, "title"),
        ({"title": "x" * 201}, "title"),
        ({"title": "a\nb"}, "title"),
        ({"title": "a\u202eb"}, "title"),
        ({"title": 1}, "title"),
        ({"agent": "nobody"}, "agent"),
        ({"persona": "x" * 4001}, "persona"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"x": "y" * 20_000}}, "metadata"),
        ({"config": 1}, "config"),
        ({"user_id": "me"}, "user_id"),
        ({"session_id": "other"}, "session_id"),
    ],
)
async def test_a_wrong_change_is_refused_by_name_and_changes_nothing(user: Caller, body: Any, field: str) -> None:
    await new_session(user, session_id="s", title="old")

    check_problem(await user.call("PATCH", "/api/sessions/s", body), "invalid_field", field)
    assert (await user.call("GET", "/api/sessions/s")).json()["title"] == "old"


async def test_a_wrong_new_session_is_refused_by_name(user: Caller) -> None:
    for body, field in (({"session_id": "a b"}, "session_id"), ({"agent": "x"}, "agent"), ({"run": 1}, "run")):
        check_problem(await user.call("POST", "/api/sessions", body), "invalid_field", field)

    assert await listed(user) == []


# --- delete


async def test_a_deleted_session_is_in_no_list_and_its_id_stays_taken(user: Caller) -> None:
    await ask(user, "a needle", session_id="s")
    answer = await user.call("DELETE", "/api/sessions/s")

    assert (answer.status, answer.json()) == (200, {"status": "deleted", "session_id": "s"})
    assert await listed(user) == []
    assert await listed(user, q="needle") == []
    check_problem(await user.call("POST", "/api/sessions", {"session_id": "s"}), "session_deleted")


async def test_deleting_stops_the_run(user: Caller) -> None:
    await start(user, script({"ignore_cancel": {"seconds": 0.5}}), session_id="s")
    await user.call("DELETE", "/api/sessions/s")
    stats = (await user.call("GET", "/api/stats")).json()

    assert stats["sessions"]["active"] == 0
    assert stats["active_runs"] <= 1
