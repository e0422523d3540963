"""GET /api/stats, what charts need of it: agents, sites, and what happened lately; and the page that draws it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scripts.blackbox.arena import emit, script, stall
from scripts.blackbox.caller import Caller
from scripts.blackbox.process import Server
from tests.http.kit import ask, check_problem, new_session, opened, start

PAGE = Path(__file__).resolve().parents[2] / "static" / "stats.html"
COUNTS = ["started", "finished", "interrupted", "failed", "tokens", "created", "expired", "deleted"]


async def stats_of(caller: Caller) -> dict[str, Any]:
    body: dict[str, Any] = (await caller.call("GET", "/api/stats?series=true")).json()
    return body


def total(stats: dict[str, Any], name: str, series: str = "recent") -> int:
    """Return a column's sum: steps of time may part what a test does."""
    return sum(stats["series"][series][name])


async def test_sessions_are_counted_by_agent_and_site(user: Caller, other: Caller) -> None:
    await new_session(user, session_id="a", agent="mirror")
    await new_session(user, session_id="b")
    await new_session(user, session_id="c")
    await new_session(other, agent="mirror")
    await user.call("DELETE", "/api/sessions/c")
    stats = (await user.call("GET", "/api/stats")).json()

    assert stats["by_agent"] == {"mirror": 1, "scripted": 1}
    assert stats["by_site"] == {}
    assert "series" not in stats


async def test_series_tell_what_the_caller_did(user: Caller, other: Caller) -> None:
    await ask(other, "not counted")
    await ask(user, script(emit(20, 0)), session_id="a")
    await user.call("POST", "/api/chat", {"message": "x", "session_id": "a", "agent": "broken", "wait": True})
    await new_session(user, session_id="b")
    await user.call("DELETE", "/api/sessions/b")
    stats = await stats_of(user)

    for series in ("recent", "day"):
        assert {name: total(stats, name, series) for name in COUNTS if name != "tokens"} == {
            "started": 2,
            "finished": 1,
            "interrupted": 0,
            "failed": 1,
            "created": 2,
            "expired": 0,
            "deleted": 1,
        }
        assert total(stats, "tokens", series) == 20
        waits = [wait for wait in stats["series"][series]["first_token_p50_ms"] if wait is not None]
        assert waits
        assert min(waits) >= 0


async def test_run_that_goes_on_is_counted_as_it_goes(user: Caller) -> None:
    await start(user, script(emit(5, 0), stall(60)), session_id="a")
    async with opened(user, "a") as stream:
        await stream.text("w4")
        stats = await stats_of(user)
        await user.call("POST", "/api/interrupt", {"session_id": "a"})

    assert (total(stats, "started"), total(stats, "tokens"), total(stats, "finished")) == (1, 5, 0)
    assert total(await stats_of(user), "interrupted") == 1


async def test_admin_sees_the_series_of_all(user: Caller, admin: Caller) -> None:
    before = await stats_of(admin)
    await ask(user, "hello")
    after = await stats_of(admin)

    assert total(after, "created", "day") - total(before, "created", "day") == 1
    assert total(after, "finished", "day") - total(before, "finished", "day") == 1
    assert after["by_agent"]["scripted"] > before["by_agent"].get("scripted", 0)


async def test_parameter_that_is_none_is_named(user: Caller) -> None:
    check_problem(await user.call("GET", "/api/stats?series=maybe"), "invalid_field", "series")


async def test_page_is_served_like_the_other_page(server: Server, user: Caller) -> None:
    answer = await user.call("GET", "/stats")

    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.body == PAGE.read_bytes()
