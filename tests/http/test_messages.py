"""History page by page, clearing, export and import."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.blackbox.arena import script, stall
from scripts.blackbox.caller import Caller
from tests.http.kit import SESSION_FIELDS, UUID7, ask, check_problem, new_session, opened, start

TOOL = script({"text": "let me see"}, {"tool": {"name": "search", "args": {"q": "x"}}}, {"text": "found"})


async def page(caller: Caller, session_id: str, **query: Any) -> dict[str, Any]:
    answer = await caller.call("GET", f"/api/sessions/{session_id}/messages", query=query)
    assert answer.status == 200, answer.body
    body: dict[str, Any] = answer.json()
    return body


async def test_a_history_is_oldest_first_and_says_what_it_holds(user: Caller) -> None:
    for name in ("one", "two"):
        await ask(user, script({"text": f"answer {name}"}), session_id="s", message_id=name)
    body = await page(user, "s")

    assert set(body) == {"session_id", "messages", "count", "next_before"}
    assert [message["role"] for message in body["messages"]] == ["user", "assistant"] * 2
    assert [body["messages"][at]["id"] for at in (0, 2)] == ["one", "two"]
    assert (body["session_id"], body["count"], body["next_before"]) == ("s", 4, None)


@pytest.mark.parametrize("running", [False, True])
async def test_pages_lead_from_the_newest_to_the_first_without_a_repeat(user: Caller, running: bool) -> None:
    for number in range(3):
        await ask(user, script({"text": f"answer {number}"}), session_id="s")
    if running:
        await start(user, script({"text": "partial"}, stall(60)), session_id="s")
        async with opened(user, "s") as tail:
            await tail.text("partial")
    whole = (await user.state("s")).json()["messages"]
    walked: list[dict[str, Any]] = []
    before: str | None = None
    while True:
        body = await page(user, "s", limit=2, **({"before": before} if before else {}))
        walked = [*body["messages"], *walked]
        before = body["next_before"]
        if before is None:
            break

    assert walked == whole
    assert len(walked) == (8 if running else 6)


async def test_a_page_before_nothing_is_empty(user: Caller) -> None:
    first = (await ask(user, "hello", session_id="s"))["messages"][0]["id"]

    assert (await page(user, "s", before=first))["messages"] == []
    assert (await page(user, "s", before="not-there"))["messages"] == []


async def test_a_history_has_its_bounds(user: Caller) -> None:
    await new_session(user, session_id="s")
    for query, field in (("limit=0", "limit"), ("limit=1001", "limit"), ("before=a%20b", "before")):
        check_problem(await user.call("GET", f"/api/sessions/s/messages?{query}"), "invalid_field", field)
    check_problem(await user.call("GET", "/api/sessions/nobodys/messages"), "session_not_found")


async def test_every_message_says_when_and_in_which_run_it_was_made(user: Caller) -> None:
    answered = await ask(user, TOOL, session_id="s")
    history = await user.messages("s")

    assert [message["role"] for message in history] == ["user", "assistant", "tool", "assistant"]
    assert history == answered["messages"]
    for message in (history[0], history[-1]):
        assert message["metadata"]["sessionstream"]["run_id"] == answered["run_id"]
        assert message["metadata"]["sessionstream"]["created_at"].endswith("Z")


# --- clear


async def test_a_cleared_session_keeps_all_but_its_messages(user: Caller) -> None:
    await new_session(user, session_id="s", title="kept", metadata={"a": 1})
    await ask(user, TOOL, session_id="s")
    async with opened(user, "s") as tail:
        await tail.snapshot()
        answer = await user.call("DELETE", "/api/sessions/s/messages")
        await tail.until(lambda frame: frame.event["type"] == "MESSAGES_SNAPSHOT")

    assert answer.status == 200
    assert set(answer.json()) == SESSION_FIELDS
    assert (answer.json()["title"], answer.json()["metadata"]) == ("kept", {"a": 1})
    assert answer.json()["message_count"] == 0
    assert tail.fold.messages == {}
    assert await user.messages("s") == []


async def test_clearing_forgets_the_title_that_quoted_the_first_message(user: Caller) -> None:
    await ask(user, "my secret", session_id="s")
    async with opened(user, "s") as tail:
        await tail.snapshot()
        answer = await user.call("DELETE", "/api/sessions/s/messages")
        await tail.until(lambda frame: frame.event["type"] == "RUN_FINISHED")

    assert answer.json()["title"] is None
    assert tail.fold.state["session"]["title"] is None


async def test_clearing_stops_the_run_and_the_session_goes_on(user: Caller) -> None:
    receipt = await start(user, script({"text": "partial"}, stall(60)), session_id="s")
    async with opened(user, "s") as tail:
        await tail.text("partial")
        await user.call("DELETE", "/api/sessions/s/messages")
        await tail.end_of(receipt["run_id"])
    answered = await ask(user, script({"text": "new"}), session_id="s")

    assert await user.messages("s") == answered["messages"]


async def test_a_message_that_was_cleared_is_not_run_again(user: Caller) -> None:
    first = await ask(user, "hello", session_id="s", message_id="m")
    await user.call("DELETE", "/api/sessions/s/messages")
    again = await start(user, "hello", session_id="s", message_id="m")

    assert again["run_id"] == first["run_id"]
    assert await user.messages("s") == []


# --- export and import


async def test_an_export_is_a_versioned_download(user: Caller) -> None:
    await new_session(user, session_id="s", title="Plans")
    await ask(user, TOOL, session_id="s")
    answer = await user.call("GET", "/api/sessions/s/export")
    body = answer.json()

    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''session-s.json"
    assert answer.headers["content-type"] == "application/json"
    assert set(body) == {"version", "exported_at", "session", "messages", "artifacts", "config"}
    assert body["version"] == 1
    assert body["messages"] == await user.messages("s")
    assert body["session"] == (await user.call("GET", "/api/sessions/s")).json()


async def test_an_export_comes_back_as_it_was_as_anybodys(user: Caller, other: Caller) -> None:
    await new_session(user, session_id="s", title="Plans", agent="mirror", persona="pirate", metadata={"a": 1})
    steps = script({"state": [{"op": "add", "path": "/notes", "value": [1]}]}, {"text": "é 東京 👩‍👩‍👧"})
    await ask(user, steps, session_id="s", agent="scripted")
    await ask(user, TOOL, session_id="s", agent="scripted")
    await user.call("PATCH", "/api/sessions/s", {"config": {"top_k": 3}})
    exported = (await user.call("GET", "/api/sessions/s/export")).json()
    answer = await other.call("POST", "/api/sessions/import", exported)
    session = answer.json()
    state = (await other.state(session["session_id"])).json()
    again = (await other.call("GET", f"/api/sessions/{session['session_id']}/export")).json()

    assert answer.status == 201
    assert again["config"] == exported["config"] == {"top_k": 3}
    assert set(session) == SESSION_FIELDS
    assert UUID7.fullmatch(session["session_id"])
    assert session["user_id"] == other.user
    for name in ("title", "agent", "persona", "metadata", "created_at", "message_count"):
        assert session[name] == exported["session"][name]
    assert state["messages"] == exported["messages"]
    assert state["state"]["artifacts"] == exported["artifacts"] == {"notes": [1]}


async def test_an_imported_session_goes_on_and_is_found(user: Caller) -> None:
    await ask(user, "a needle", session_id="s")
    exported = (await user.call("GET", "/api/sessions/s/export")).json()
    session_id = (await user.call("POST", "/api/sessions/import", exported)).json()["session_id"]
    answered = await ask(user, "and then?", session_id=session_id, agent="mirror")
    found = (await user.call("GET", "/api/sessions", query={"q": "needle"})).json()

    assert len(await user.messages(session_id)) == 4
    assert '["user", "a needle"]' in answered["messages"][-1]["content"]
    assert {one["session_id"] for one in found["sessions"]} == {"s", session_id}


async def test_an_export_in_the_middle_of_a_run_can_be_imported(user: Caller) -> None:
    await start(user, script({"text": "partial"}, {"tool": {"name": "f", "end": False}}, stall(60)), session_id="s")
    async with opened(user, "s") as tail:
        await tail.until(lambda frame: "toolCalls" in str(tail.fold.messages.values()) and frame.cursor is not None)
    exported = (await user.call("GET", "/api/sessions/s/export")).json()
    answer = await user.call("POST", "/api/sessions/import", exported)

    assert answer.status == 201, answer.body


async def test_an_export_of_a_missing_session_or_kind_is_refused(user: Caller) -> None:
    await new_session(user, session_id="s")

    check_problem(await user.call("GET", "/api/sessions/nobodys/export"), "session_not_found")
    check_problem(await user.call("GET", "/api/sessions/s/export?format=pdf"), "invalid_field", "format")


async def test_markdown_reads_like_the_conversation(user: Caller) -> None:
    await new_session(user, session_id="s", title="Plans")
    await ask(user, "what is **this**?", session_id="s", agent="mirror")
    await ask(user, TOOL, session_id="s")
    answer = await user.call("GET", "/api/sessions/s/export?format=markdown")
    text = answer.body.decode()

    assert answer.headers["content-type"] == "text/markdown; charset=utf-8"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''session-s.md"
    assert text.startswith("# Plans\n")
    assert "## User\n\nwhat is **this**?" in text
    assert '`search({"q": "x"})`' in text
    assert text.index("## User") < text.index("## Assistant") < text.index("## Tool")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"version": 2}, "version"),
        ({"messages": [{"id": "a", "role": "robot", "content": ""}]}, "messages[0].role"),
        ({"messages": [{"id": "a", "role": "user"}]}, "messages[0].content"),
        ({"messages": {}}, "messages"),
        ({"session": {"title": "x\ny"}}, "session.title"),
        ({"artifacts": []}, "artifacts"),
        ({"owner": "me"}, "owner"),
    ],
)
async def test_a_wrong_import_is_refused_by_name_and_makes_nothing(user: Caller, change: Any, field: str) -> None:
    body = {"version": 1, "session": {}, "messages": []} | change

    check_problem(await user.call("POST", "/api/sessions/import", body), "invalid_field", field)
    assert (await user.call("GET", "/api/sessions")).json()["count"] == 0
