"""Another's session is a missing one: by id, cursor, list, search and event. Admins may look."""

from __future__ import annotations

import random
from pathlib import Path

from starlette.routing import Route

from scripts.blackbox.arena import Arena, script, stall
from scripts.blackbox.caller import Caller
from scripts.blackbox.isolation import PROBES, isolation
from server.app import create_app
from server.settings import Settings
from tests.http.kit import ask, check_problem, new_session, opened, start, streaming


async def test_a_foreign_id_is_answered_exactly_as_a_missing_one() -> None:
    tally = await isolation(Arena(random.Random(1), is_quick=True))

    assert tally.is_clean, tally.report()
    assert tally.counts["probes"] == len(PROBES)


def test_every_route_that_takes_an_id_is_probed(tmp_path: Path) -> None:
    app = create_app(Settings(data=str(tmp_path), no_docs=True))
    routes = {
        (method, route.path)
        for route in app.routes
        if isinstance(route, Route) and route.path.startswith("/api/")
        for method in (route.methods or set()) - {"HEAD"}
    }
    names = {
        "{session}.md": "{name:path}",
        "{session}": "{session_id}",
        "{message}": "{message_id}",
        "scripted": "{agent}",
    }
    probed = set()
    for probe in PROBES:
        path = probe.path
        for name, ours in names.items():
            path = path.replace(name, ours)
        probed.add((probe.method, path))

    # The widget's way in takes no id, and is for anybody; what it gives is held in test_widget.py.
    assert routes - probed == {("GET", "/api/widget"), ("POST", "/api/widget")}


async def test_an_admin_reads_and_stops_anothers_session(user: Caller, admin: Caller) -> None:
    session_id = f"of-{user.user}"
    receipt = await start(user, script({"text": "so far"}, stall(60)), session_id=session_id)
    async with opened(admin, session_id) as tail:
        await tail.text("so far")
        state = (await admin.state(session_id)).json()
        stopped = (await admin.interrupt(session_id)).json()
        await tail.end_of(receipt["run_id"])

    assert state["session"]["user_id"] == user.user
    assert stopped["outcome"] == "stopped"
    assert (await admin.call("GET", f"/api/sessions/{session_id}/export")).status == 200
    assert (await admin.messages(session_id)) == (await user.messages(session_id))


async def test_what_an_admin_does_in_anothers_session_is_in_that_one(user: Caller, admin: Caller) -> None:
    session_id = f"of-{user.user}"
    await new_session(user, session_id=session_id)
    await ask(admin, "a word from above", session_id=session_id)

    assert (await user.messages(session_id))[0]["content"] == "a word from above"
    assert (await admin.call("DELETE", f"/api/sessions/{session_id}")).status == 200
    check_problem(await user.call("GET", f"/api/sessions/{session_id}"), "session_deleted")


async def test_an_id_of_two_users_is_nobodys_to_an_admin(user: Caller, other: Caller, admin: Caller) -> None:
    session_id = f"of-{user.user}"
    await new_session(user, session_id=session_id)
    await new_session(other, session_id=session_id)

    check_problem(await admin.call("GET", f"/api/sessions/{session_id}"), "session_not_found")


async def test_an_admins_own_lists_hold_his_own(user: Caller, admin: Caller) -> None:
    await new_session(user, session_id="theirs", title=f"needle{user.user}")
    found = (await admin.call("GET", "/api/sessions", query={"q": f"needle{user.user}"})).json()
    listed = (await admin.call("GET", "/api/sessions", query={"limit": 200})).json()

    assert found["sessions"] == []
    assert {one["user_id"] for one in listed["sessions"]} <= {"local"}


async def test_one_id_of_two_users_is_two_sessions(user: Caller, other: Caller) -> None:
    async with opened(user, "same") as mine, opened(other, "same") as theirs:
        await mine.snapshot()
        await theirs.snapshot()
        one = await ask(user, script({"text": "mine"}), session_id="same", message_id="m")
        two = await ask(other, script({"text": "theirs"}), session_id="same", message_id="m")
        await mine.end_of(one["run_id"])
        await theirs.end_of(two["run_id"])

    assert one["run_id"] != two["run_id"]
    assert "theirs" not in str(mine.events)
    assert "mine" not in str(theirs.events)
    await user.call("DELETE", "/api/sessions/same")
    assert (await other.call("GET", "/api/sessions/same")).status == 200


async def test_stats_and_streams_tell_nothing_of_others(user: Caller, other: Caller) -> None:
    async with streaming(other, "/api/sessions/stream") as tail:
        await tail.until(lambda frame: frame.event["type"] == "RUN_FINISHED")
        before = (await other.call("GET", "/api/stats")).json()
        await ask(user, "hello", session_id="s")
        await user.call("DELETE", "/api/sessions/s")
        after = (await other.call("GET", "/api/stats")).json()

    assert after == before
    assert list(after["sessions"]["by_user"]) == []
