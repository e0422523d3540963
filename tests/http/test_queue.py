"""The queue of a session: seen, edited, reordered and emptied, and what starts by itself."""

from __future__ import annotations

from typing import Any

from scripts.blackbox.arena import script, stall
from scripts.blackbox.caller import Caller
from tests.http.kit import TIME, check_problem, new_session, opened, start


async def queued(caller: Caller, session_id: str, *names: str) -> dict[str, Any]:
    """Begin a run that lasts, and queue messages behind it; return the run's receipt."""
    running = await start(caller, script(stall(60)), session_id=session_id)
    for name in names:
        await start(caller, f"text of {name}", session_id=session_id, message_id=name, on_busy="queue")
    return running


async def waiting(caller: Caller, session_id: str) -> list[str]:
    """Return the ids of the messages that wait."""
    return [
        one["message_id"] for one in (await caller.call("GET", f"/api/sessions/{session_id}/queue")).json()["queue"]
    ]


async def test_the_queue_says_what_waits(user: Caller) -> None:
    await queued(user, "s", "a", "b")
    answer = await user.call("GET", "/api/sessions/s/queue")
    body = answer.json()

    assert answer.status == 200
    assert set(body) == {"session_id", "queue", "count"}
    assert body["count"] == 2
    assert [one["message"] for one in body["queue"]] == ["text of a", "text of b"]
    assert {"message_id", "run_id", "message", "created_at"} <= set(body["queue"][0])
    assert TIME.fullmatch(body["queue"][0]["created_at"])
    assert body["queue"] == (await user.state("s")).json()["state"]["queue"]


async def test_every_tab_sees_the_queue_change(user: Caller) -> None:
    await queued(user, "s", "a")
    async with opened(user, "s") as tail:
        await tail.snapshot()
        first = [one["message_id"] for one in tail.fold.state["queue"]]
        await start(user, "later", session_id="s", message_id="b", on_busy="queue")
        await tail.until(lambda frame: len(tail.fold.state["queue"]) == 2)
        await user.call("DELETE", "/api/sessions/s/queue/a")
        await tail.until(lambda frame: len(tail.fold.state["queue"]) == 1)

    assert first == ["a"]
    assert [one["message_id"] for one in tail.fold.state["queue"]] == ["b"]


async def test_a_waiting_text_is_edited_and_runs_as_edited(user: Caller) -> None:
    running = await queued(user, "s", "a")
    answer = await user.call("PATCH", "/api/sessions/s/queue/a", {"message": "another text"})
    async with opened(user, "s") as tail:
        await user.interrupt("s", run_id=running["run_id"])
        await tail.until(lambda frame: "a" in tail.fold.messages and tail.fold.run_id is None)

    assert answer.json()["queue"][0]["message"] == "another text"
    assert tail.fold.messages["a"]["content"] == "another text"
    assert tail.fold.state["queue"] == []


async def test_a_waiting_message_changes_its_place(user: Caller) -> None:
    await queued(user, "s", "a", "b", "c")
    first = await user.call("PATCH", "/api/sessions/s/queue/c", {"position": 0})

    assert [one["message_id"] for one in first.json()["queue"]] == ["c", "a", "b"]
    await user.call("PATCH", "/api/sessions/s/queue/c", {"position": 99})
    assert await waiting(user, "s") == ["a", "b", "c"]


async def test_a_withdrawn_message_is_gone_for_good(user: Caller) -> None:
    await queued(user, "s", "a", "b")
    answer = await user.call("DELETE", "/api/sessions/s/queue/a")
    receipt = await start(user, "text of a", session_id="s", message_id="a", on_busy="queue")

    assert [one["message_id"] for one in answer.json()["queue"]] == ["b"]
    assert receipt["status"] == "interrupted"
    assert await waiting(user, "s") == ["b"]


async def test_a_stopped_run_lets_the_next_message_start(user: Caller) -> None:
    running = await queued(user, "s", "a", "b")
    async with opened(user, "s") as tail:
        await user.interrupt("s", run_id=running["run_id"])
        await tail.until(lambda frame: "b" in tail.fold.messages and tail.fold.run_id is None)
    asked = [one["id"] for one in await user.messages("s") if one["role"] == "user"]

    assert asked[1:] == ["a", "b"]
    assert await waiting(user, "s") == []


async def test_a_failed_run_lets_the_next_message_start(user: Caller) -> None:
    await start(user, script(stall(0.2), {"raise": "boom"}), session_id="s")
    receipt = await start(user, script({"text": "after"}), session_id="s", on_busy="queue")
    async with opened(user, "s") as tail:
        await tail.text("after")
        await tail.until(lambda frame: tail.fold.run_id is None)

    assert (await user.interrupt("s", run_id=receipt["run_id"])).json()["outcome"] == "already_finished"


async def test_a_repeated_queued_message_waits_once(user: Caller) -> None:
    await queued(user, "s", "a")
    again = await start(user, "text of a", session_id="s", message_id="a", on_busy="queue")

    assert again["status"] == "queued"
    assert await waiting(user, "s") == ["a"]
    check_problem(await user.chat("other", session_id="s", message_id="a", on_busy="queue"), "message_id_conflict")


async def test_what_does_not_wait_cannot_be_changed(user: Caller) -> None:
    await new_session(user, session_id="s")

    check_problem(await user.call("DELETE", "/api/sessions/s/queue/a"), "queue_entry_not_found")
    check_problem(await user.call("PATCH", "/api/sessions/s/queue/a", {"position": 0}), "queue_entry_not_found")
    check_problem(await user.call("GET", "/api/sessions/nobodys/queue"), "session_not_found")


async def test_a_wrong_edit_is_refused_by_name(user: Caller) -> None:
    await queued(user, "s", "a")
    for body, field in (
        ({"position": -1}, "position"),
        ({"position": "0"}, "position"),
        ({"message": " "}, "message"),
        ({"text": "x"}, "text"),
    ):
        check_problem(await user.call("PATCH", "/api/sessions/s/queue/a", body), "invalid_field", field)

    assert await waiting(user, "s") == ["a"]
