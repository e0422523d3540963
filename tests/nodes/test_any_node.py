"""Any node serves any session: what is done at one is seen at all, and what is done at two at once is done once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import orjson
import pytest

from scripts.blackbox.arena import emit, script, stall
from scripts.blackbox.follower import Follower
from scripts.blackbox.nodes.cluster import Cluster, cluster
from scripts.blackbox.wire import Answer
from tests.faults.stage import ENDLESS, answer_text, heard, is_counting, until
from tests.nodes.company import BRISK, Company, needs_redis, visited

pytestmark = [pytest.mark.anyio, needs_redis]

A, B = 0, 1
TIMES = 8
"""How often a race is run: the moment differs each time."""


@pytest.fixture(scope="module")
async def together(anyio_backend: str) -> AsyncIterator[Cluster]:
    """Two nodes for all tests of this file: nothing here breaks them."""
    async with cluster(count=2, settings=BRISK) as made:
        yield made


@pytest.fixture
async def company(together: Cluster) -> AsyncIterator[Company]:
    """The users of one test."""
    async with visited(together) as made:
        yield made


async def both(company: Company, method: str, path: str, *bodies: Any) -> list[Answer]:
    """Send a request to both nodes at once, with a body each."""
    answers: list[Answer] = []

    async def send(node: int, body: Any) -> None:
        answers.append(await company.caller(node).call(method, path, body))

    async with anyio.create_task_group() as tasks:
        for node, body in enumerate(bodies):
            tasks.start_soon(send, node, body)
    return answers


async def test_what_changes_at_one_node_is_seen_at_the_other(company: Company) -> None:
    """Rename, metadata, a system message and clearing, each as an event of a stream elsewhere, and in its state."""
    talk = await company.watch(A, "changes")
    await company.run(B, "changes", emit(3, 0), wait=False)

    await company.caller(B).call("PATCH", "/api/sessions/changes", {"title": "From B", "metadata": {"a": 1}})
    assert await talk.until(lambda: talk.fold.state["session"]["title"] == "From B")
    assert talk.fold.state["session"]["metadata"] == {"a": 1}

    body = {"message": "be brief", "session_id": "changes", "message_id": "note"}
    assert (await company.caller(B).call("POST", "/api/system", body)).status == 202
    assert await talk.until(lambda: "note" in talk.fold.messages)

    await company.same("changes", talk)
    assert (await company.caller(B).call("DELETE", "/api/sessions/changes/messages")).status == 200
    assert await talk.until(lambda: not talk.fold.messages)
    assert (await company.same("changes", talk))["messages"] == []


async def test_a_queue_is_one_wherever_it_is_changed(company: Company) -> None:
    """Queued at B while A runs; edited, moved and removed at either; it goes on by itself in the order that is left."""
    talk = await company.watch(A, "queue")
    first = await company.run(A, "queue", ENDLESS)
    for name in ("one", "two", "three"):
        await company.run(B, "queue", emit(2, 0), on_busy="queue", message_id=name)
    assert await talk.until(lambda: [one["message_id"] for one in talk.fold.state["queue"]] == ["one", "two", "three"])

    path = "/api/sessions/queue/queue"
    assert (await company.caller(A).call("PATCH", f"{path}/two", {"message": script({"text": "edited"})})).status == 200
    assert (await company.caller(B).call("PATCH", f"{path}/three", {"position": 0})).status == 200
    assert (await company.caller(B).call("DELETE", f"{path}/one")).status == 200
    assert await talk.until(lambda: [one["message_id"] for one in talk.fold.state["queue"]] == ["three", "two"])

    assert (await company.caller(B).interrupt("queue", run_id=first)).json()["outcome"] == "stopped"
    assert await talk.until(lambda: answer_text(talk) == "edited" and talk.fold.run_id is None)
    state = await company.same("queue", talk)
    assert [one["id"] for one in state["messages"] if one["role"] == "user"][1:] == ["three", "two"]


async def test_a_message_at_another_node_waits_for_the_run_or_stops_it(company: Company) -> None:
    """`on_busy` of a POST at B means the run at A."""
    talk = await company.watch(A, "busy")
    first = await company.run(A, "busy", ENDLESS)
    await heard(talk, 5)
    refused = await company.caller(B).chat("now?", session_id="busy")
    assert (refused.status, refused.code) == (409, "run_active")

    second = await company.run(B, "busy", ENDLESS, on_busy="interrupt")
    assert await talk.until_ended(first)
    assert company.ledger.outcome(talk.key, first) == "cancelled"
    third = await company.run(A, "busy", emit(4, 0), on_busy="queue")
    assert await talk.until(lambda: talk.fold.run_id == second)
    await company.caller(A).interrupt("busy", run_id=second)
    assert await talk.until_ended(third)
    assert company.ledger.outcome(talk.key, third) == "success"
    assert answer_text(talk) == "w0 w1 w2 w3 "
    await company.same("busy", talk)


async def test_an_interrupt_at_another_node_stops_the_run_with_its_text(company: Company) -> None:
    """The receipt, the event, the text and the next message, again and again, at the other node each time."""
    near, far = await company.watch(A, "stop"), await company.watch(B, "stop")
    for number in range(TIMES):
        run_id = await company.run(A, "stop", ENDLESS)
        await far.until(lambda run_id=run_id: far.fold.run_id == run_id)  # type: ignore[misc]
        named: dict[str, str] = {"run_id": run_id} if number % 2 else {}
        receipt = (await company.caller(B).interrupt("stop", **named)).json()
        assert (receipt["outcome"], receipt["run_id"]) == ("stopped", run_id)
        assert await near.until_ended(run_id)
        assert await far.until_ended(run_id)
        assert company.ledger.outcome(near.key, run_id) == "cancelled"
        assert is_counting(answer_text(near))
        again = (await company.caller(A).interrupt("stop", run_id=run_id)).json()
        assert again["outcome"] in ("already_finished", "idle")
    await company.same("stop", near, far)


async def test_a_stop_at_one_node_before_the_message_comes_to_another(company: Company) -> None:
    """`pending` is a promise of all nodes."""
    await company.caller(A).call("POST", "/api/sessions", {"session_id": "early"})
    receipt = (await company.caller(B).interrupt("early", message_id="unborn")).json()
    assert receipt["outcome"] == "pending"

    run_id = await company.run(A, "early", ENDLESS, message_id="unborn")

    talk = await company.watch(B, "early")
    assert await talk.until(lambda: talk.fold.run_id is None)
    state = await company.same("early", talk)
    assert [one["id"] for one in state["messages"]] == ["unborn"]
    again = await company.caller(B).chat(script(ENDLESS), session_id="early", message_id="unborn")
    assert (again.json()["run_id"], again.json()["status"]) == (run_id, "interrupted")


async def test_the_same_message_at_both_nodes_is_one_run(company: Company) -> None:
    """`message_id` makes a POST safe to repeat, wherever."""
    talk = await company.watch(A, "twice")
    for number in range(TIMES):
        body = {"message": script(emit(3, 0)), "session_id": "twice", "message_id": f"m{number}", "on_busy": "queue"}
        answers = await both(company, "POST", "/api/chat", body, body)
        assert [answer.status for answer in answers] == [202, 202], [answer.body for answer in answers]
        [run_id] = {answer.json()["run_id"] for answer in answers}
        assert await talk.until_ended(run_id)
    state = await company.same("twice", talk)
    assert [one["id"] for one in state["messages"] if one["role"] == "user"] == [f"m{n}" for n in range(TIMES)]
    assert len(state["messages"]) == 2 * TIMES
    other = await company.caller(B).chat("something else", session_id="twice", message_id="m0")
    assert (other.status, other.code) == (409, "message_id_conflict")


async def test_the_same_new_session_at_both_nodes_is_one_session(company: Company) -> None:
    """Made by POST /api/sessions, by a first message, and by a stream: one session, and both nodes see the same."""
    for number in range(TIMES):
        one = {"session_id": f"new-{number}"}
        made = await both(company, "POST", "/api/sessions", one, one)
        assert sorted(answer.status for answer in made) == [201, 409], [answer.body for answer in made]
        say = {"session_id": f"said-{number}", "on_busy": "queue"}
        said = await both(
            company, "POST", "/api/chat", *({**say, "message": f"from {node}", "message_id": node} for node in "ab")
        )
        assert [answer.status for answer in said] == [202, 202], [answer.body for answer in said]
        assert len({answer.json()["run_id"] for answer in said}) == 2
        talk = await company.watch(number % 2, f"said-{number}")
        assert await talk.until(lambda talk=talk: talk.fold.run_id is None and len(talk.fold.messages) == 4)  # type: ignore[misc]
        await company.same(f"said-{number}", talk)
    for number in range(TIMES):
        watchers: list[Follower] = []

        async def watch(node: int, number: int = number, watchers: list[Follower] = watchers) -> None:
            watchers.append(await company.watch(node, f"seen-{number}"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch, A)
            tasks.start_soon(watch, B)
        assert watchers[0].cursor == watchers[1].cursor
    listed = (await company.caller(A).call("GET", "/api/sessions", query={"limit": 200})).json()["sessions"]
    ids = [session["session_id"] for session in listed]
    assert len(ids) == len(set(ids))


async def test_of_two_messages_at_once_one_runs_and_one_is_told_that_it_is_busy(company: Company) -> None:
    """Invariant 3, across nodes."""
    talk = await company.watch(A, "race")
    for number in range(TIMES):
        bodies = [{"message": script(ENDLESS), "session_id": "race", "message_id": f"{number}-{n}"} for n in range(2)]
        answers = await both(company, "POST", "/api/chat", *bodies)
        assert sorted(answer.status for answer in answers) == [202, 409], [answer.body for answer in answers]
        [run_id] = [answer.json()["run_id"] for answer in answers if answer.status == 202]
        assert (await company.caller(number % 2).interrupt("race", run_id=run_id)).json()["outcome"] == "stopped"
        assert await talk.until_ended(run_id)
    await company.same("race", talk)


async def test_deletion_at_one_node_ends_the_streams_of_the_other(company: Company) -> None:
    """A farewell, then 410 at both, also in the middle of a run."""
    for session_id, steps in (("gone-idle", emit(2, 0)), ("gone-busy", ENDLESS)):
        await company.run(A, session_id, steps)
        stream = await company.stream(A, session_id)
        while not await stream.read():
            pass

        assert (await company.caller(B).call("DELETE", f"/api/sessions/{session_id}")).status == 200

        seen = []
        while (frames := await stream.read(timeout_s=10)) is not None:
            seen += [frame.event for frame in frames]
        farewells = [event for event in seen if event.get("name") == "sessionstream.session_ended"]
        assert [event["value"]["reason"] for event in farewells] == ["deleted"]
        assert stream.ending == "clean"
        for node in (A, B):
            assert await until(lambda node=node, session_id=session_id: _is_gone(company, node, session_id))  # type: ignore[misc]
            refused = await company.stream(node, session_id)
            assert (refused.status, (await refused.refusal()).code) == (410, "session_deleted")


async def _is_gone(company: Company, node: int, session_id: str) -> bool:
    answer = await company.caller(node).state(session_id)
    return (answer.status, answer.code) == (410, "session_deleted")


async def test_a_session_list_hears_of_the_other_nodes_sessions(company: Company) -> None:
    """GET /api/sessions/stream at A, of what happens at B: new, renamed, running, deleted."""
    caller = company.caller(A, "lister")
    stream = await caller.wire.stream("/api/sessions/stream", headers=caller.headers)
    company.streams.append(stream)
    elsewhere = company.caller(B, "lister")

    await elsewhere.call("POST", "/api/sessions", {"session_id": "listed", "title": "made at B"})
    await _told(stream, b"made at B")
    await elsewhere.call("PATCH", "/api/sessions/listed", {"title": "renamed at B"})
    await _told(stream, b"renamed at B")
    await elsewhere.chat(script(stall(600)), session_id="listed")
    await _told(stream, b'"status":"running"')
    await elsewhere.call("DELETE", "/api/sessions/listed")
    await _told(stream, b'"op":"remove"')


async def _told(stream: Any, text: bytes) -> None:
    seen = b""
    while text not in seen:
        frames = await stream.read(timeout_s=10)
        assert frames is not None, "the list ended"
        seen += b"".join(orjson.dumps(frame.event) for frame in frames)


async def test_who_waits_for_a_run_hears_of_its_end_at_another_node(company: Company) -> None:
    """`wait: true` and a streaming POST at A, interrupted at B; and the same message waited for at B."""
    body = {"message": script(ENDLESS), "session_id": "awaited", "message_id": "m", "wait": True}
    answers = []

    async def wait(node: int) -> None:
        answers.append(await company.caller(node).call("POST", "/api/chat", body))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait, A)
        talk = await company.watch(B, "awaited")
        await heard(talk, 5)
        tasks.start_soon(wait, B)
        await company.caller(B).interrupt("awaited")
    assert [answer.status for answer in answers] == [200, 200], [answer.body for answer in answers]
    assert answers[0].json()["messages"] == answers[1].json()["messages"]

    caller = company.caller(A)
    body = {"message": script(ENDLESS), "session_id": "awaited"}
    posted = await caller.wire.stream("/api/chat", method="POST", body=body, headers=caller.headers)
    company.streams.append(posted)
    assert await talk.until(lambda: talk.fold.run_id is not None)
    await company.caller(B).interrupt("awaited")
    events = []
    while (frames := await posted.read(timeout_s=10)) is not None:
        events += [frame.event for frame in frames]
    assert (events[-1]["type"], events[-1]["outcome"]) == ("RUN_FINISHED", {"type": "cancelled"})


async def test_a_session_belongs_to_its_owner_at_every_node(company: Company) -> None:
    """Invariant 8: what user A has at one node does not exist for user B at the other."""
    await company.run(A, "private", emit(2, 0))
    stranger = company.caller(B, "stranger")
    for answer in (
        await stranger.state("private"),
        await stranger.interrupt("private"),
        await stranger.call("DELETE", "/api/sessions/private"),
    ):
        assert (answer.status, answer.code) == (404, "session_not_found")
    assert (await stranger.call("GET", "/api/sessions")).json()["count"] == 0


async def test_a_stream_goes_on_at_another_node_where_it_stopped(company: Company) -> None:
    """A cursor of one node is a cursor of all, in the middle of a run too."""
    talk = await company.watch(A, "roams")
    run_id = await company.run(A, "roams", ENDLESS)
    await heard(talk, 10)
    for node in (B, A, B):
        cursor = talk.cursor
        assert cursor is not None
        stream = await company.stream(node, "roams", cursor)
        frames = await stream.read()
        while not frames:
            frames = await stream.read()
        epoch, _, seq = cursor.rpartition("-")
        assert frames[0].cursor == f"{epoch}-{int(seq) + 1}"
    await company.caller(B).interrupt("roams", run_id=run_id)
    assert await talk.until_ended(run_id)
    await company.same("roams", talk)
