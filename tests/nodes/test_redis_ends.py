"""A Redis that is gone, empty, older than it was, or full: what the nodes say of it, and how they go on."""

from __future__ import annotations

import os
import time

import anyio
import pytest

from scripts.blackbox.arena import STREAM_FAULTS, emit, script
from scripts.blackbox.follower import Follower, Ledger
from scripts.blackbox.nodes.cluster import used_bytes
from scripts.blackbox.redis_server import RedisServer
from scripts.blackbox.tally import Tally
from scripts.blackbox.wire import Answer, Stream
from tests.faults.stage import ENDLESS, answer_text, assert_unavailable, grown, heard, is_counting, until
from tests.nodes.company import Company, gathered, needs_redis

pytestmark = [pytest.mark.anyio, needs_redis]

A, B = 0, 1
ANSWER_WITHIN_S = 6.0
FORGETFUL = {"appendonly": "no", "save": ""}


def redis_of(company: Company) -> RedisServer:
    """Return the Redis of these nodes."""
    assert company.cluster.redis is not None
    return company.cluster.redis


async def test_redis_that_is_gone_is_said_refused_and_waited_for() -> None:
    """Readiness 503, writes 503 in bounded time, streams stay up; when it is back, everything goes on by itself."""
    async with gathered() as company:
        idle = await company.watch(B, "idle")
        talk = await company.watch(B, "talk")
        await company.run(A, "talk", ENDLESS)
        await heard(talk, 20)
        streams = [await company.stream(node, name) for node in (A, B) for name in ("idle", "talk")]
        redis_of(company).kill()

        for node in (A, B):
            assert await until(lambda node=node: _is_unready(company, node))  # type: ignore[misc]
            await _refuses(company, node)
        async with anyio.create_task_group() as listeners:
            for stream in streams:
                listeners.start_soon(_hear_heartbeats, stream)

        redis_of(company).start()
        for node in (A, B):
            assert await until(lambda node=node: company.is_ready(node))  # type: ignore[misc]
        assert [stream.ending for stream in streams] == ["open"] * len(streams)
        await _settle(company, talk)
        assert is_counting(answer_text(talk))
        await company.run(B, "idle", emit(3, 0))
        assert await idle.until(lambda: answer_text(idle) == "w0 w1 w2 ")
        await company.same("talk", talk)
        await company.same("idle", idle)
        assert company.tally.counts["snapshots"] == 2, "a stream did not stay up"


async def _is_unready(company: Company, node: int) -> bool:
    return not await company.is_ready(node)


async def _refuses(company: Company, node: int) -> None:
    """Everything that must be kept is refused, all at once and in time."""
    caller = company.caller(node)
    say = {"message": "lost?", "message_id": "refused"}
    writes = [
        ("POST", "/api/chat", {**say, "session_id": "idle"}),
        ("POST", "/api/chat", {**say, "session_id": "never"}),
        ("POST", "/api/sessions", {"session_id": "never"}),
        ("PATCH", "/api/sessions/idle", {"title": "never"}),
    ]

    async def write(method: str, path: str, body: dict[str, str]) -> None:
        started_at = time.monotonic()
        answer = await caller.call(method, path, body)
        assert_unavailable(answer)
        company.tally.worst("refused_after_s", time.monotonic() - started_at)

    async with anyio.create_task_group() as requests:
        for one in writes:
            requests.start_soon(write, *one)
    assert company.tally.counts["refused_after_s"] < ANSWER_WITHIN_S
    assert (await caller.call("GET", "/health")).status == 200


async def _hear_heartbeats(stream: Stream) -> None:
    """Read on until nothing but heartbeats comes, several times."""
    heartbeats = 0
    while heartbeats < 3:
        frames = await stream.read(timeout_s=5)
        assert frames is not None, f"the stream ended: {stream.ending}"
        heartbeats = 0 if frames else heartbeats + 1


async def _settle(company: Company, talk: Follower) -> None:
    """Stop whatever still runs in a session, and wait until a client has seen that."""

    async def is_stopped() -> bool:
        return (await company.caller(B).interrupt(talk.session_id)).status == 200

    assert await until(is_stopped)
    assert await talk.until(lambda: talk.fold.run_id is None)


async def test_redis_that_forgot_everything_is_told_by_new_snapshots() -> None:
    """No persistence: streams of what is gone end or start over, and every id can be used anew."""
    async with gathered(redis=FORGETFUL) as company:
        before = await _talked(company, "talk")
        streams = [await company.stream(node, "talk") for node in (A, B)]
        redis_of(company).kill()
        redis_of(company).start()

        async with anyio.create_task_group() as readers:
            for stream in streams:
                readers.start_soon(_read_until_over, stream, before)
        for node in (A, B):
            assert await until(lambda node=node: company.is_ready(node))  # type: ignore[misc]
        await _starts_over(company, before, messages=0)


async def test_redis_that_lost_its_newest_part_is_told_by_new_snapshots() -> None:
    """Persisted a while ago: what came later is gone, its cursors are refused, the rest is there and goes on."""
    async with gathered(redis=FORGETFUL) as company:
        await _talked(company, "talk")
        redis_of(company).call("SAVE")
        for number in range(3):
            answer = await company.caller(B).chat(f"later {number}", session_id="talk", wait=True)
            assert answer.status == 200, answer.body
        before = str((await company.caller(A).state("talk")).json()["cursor"])
        streams = [await company.stream(node, "talk") for node in (A, B)]
        redis_of(company).kill()
        redis_of(company).start()

        async with anyio.create_task_group() as readers:
            for stream in streams:
                readers.start_soon(_read_until_over, stream, before)
        for node in (A, B):
            assert await until(lambda node=node: company.is_ready(node))  # type: ignore[misc]
        await _starts_over(company, before, messages=2)


async def test_redis_that_lost_the_end_of_its_file_is_told_by_new_snapshots() -> None:
    """A power cut with `appendfsync everysec`: the same, though it kept a file, and nobody may go on over the gap."""
    async with gathered(redis={"appendonly": "yes", "appendfsync": "everysec"}) as company:
        await _talked(company, "talk")
        redis = redis_of(company)
        [file] = (redis.folder / "appendonlydir").glob("*.incr.aof")
        kept_bytes = file.stat().st_size
        await company.run(A, "talk", ENDLESS)
        stream = await company.stream(B, "talk")
        await _said(stream, b"w20 ")
        before = str((await company.caller(B).state("talk")).json()["cursor"])
        redis.kill()
        os.truncate(file, kept_bytes)
        redis.start()

        for node in (A, B):
            assert await until(lambda node=node: company.is_ready(node))  # type: ignore[misc]
        assert await until(lambda: _is_idle(company, "talk"))
        await _starts_over(company, before, messages=2)


async def _said(stream: Stream, word: bytes) -> None:
    """Read until a word has come."""
    seen = b""
    while word not in seen:
        piece = await stream.read_bytes(10)
        assert piece is not None, "the stream ended"
        seen = seen[-100:] + piece


async def test_a_run_does_not_go_on_over_what_redis_has_lost() -> None:
    """A run of which the storage lost a piece ends with what is left: never a text with a hole in it."""
    async with gathered(redis=FORGETFUL) as company:
        await company.run(A, "talk", ENDLESS)
        stream = await company.stream(B, "talk")
        await _said(stream, b"w20 ")
        redis_of(company).call("SAVE")
        await _said(stream, b"w60 ")
        redis_of(company).kill()
        redis_of(company).start()

        assert await until(lambda: _is_idle(company, "talk"))
        state = await company.same("talk")
        [question, answer] = state["messages"]
        assert (question["role"], answer["role"]) == ("user", "assistant")
        assert is_counting(answer["content"])
        assert 20 < len(answer["content"].split()) < 60
        assert answer["metadata"]["sessionstream"]["status"] in ("interrupted", "failed")


async def _is_idle(company: Company, session_id: str) -> bool:
    answers = [await company.caller(node).state(session_id) for node in (A, B)]
    return all(answer.status == 200 and answer.json()["run"] is None for answer in answers)


async def _talked(company: Company, session_id: str) -> str:
    """Have a message answered, known to both nodes; return the cursor behind it."""
    answer = await company.caller(A).chat(script(emit(3, 0)), session_id=session_id, wait=True)
    assert answer.status == 200, answer.body
    assert (await company.caller(B).state(session_id)).status == 200
    return str((await company.caller(A).state(session_id)).json()["cursor"])


async def _read_until_over(stream: Stream, cursor: str) -> None:
    """Read until the stream ends: it cannot go on from its position. Nothing behind that position may come."""
    while (frames := await stream.read(timeout_s=15)) is not None:
        for frame in frames:
            assert frame.cursor in (None, cursor), f"{frame} goes on in a log that is not there"


async def _starts_over(company: Company, before: str, *, messages: int) -> None:
    """A client that comes back gets a snapshot in another epoch; both nodes take it on from there."""
    other = Ledger(Tally("after", faults=STREAM_FAULTS))
    for node in (A, B):
        back = Follower(company.caller(node), "talk", other)
        assert await back.connect(before, good=False), back.ended_by
        while back.cursor is None:
            assert await back.pump()
        assert back.cursor.rpartition("-")[0] != before.rpartition("-")[0]
        assert len(back.fold.messages) == messages + 2 * node
        answer = await company.caller(node).chat(script(emit(2, 0)), session_id="talk", wait=True)
        assert answer.status == 200, answer.body
        assert await back.until(lambda: True)
        while len(back.fold.messages) < messages + 2 * node + 2 or back.fold.run_id is not None:
            assert await back.pump(10)
        back.close()
    assert other.tally.is_clean, other.tally.report()
    state = await company.same("talk")
    assert len(state["messages"]) == messages + 4


async def test_redis_that_is_full_takes_no_more_and_lets_everything_be_read() -> None:
    """maxmemory: new sessions are refused by a code of their own, runs end cleanly, sessions stay; room heals it."""
    async with gathered() as company:
        talk = await company.watch(B, "talk")
        run_id = await company.run(A, "talk", ENDLESS)
        await grown(talk)
        redis = redis_of(company)
        redis.call("CONFIG", "SET", "maxmemory", max(used_bytes(redis) // 2, 1))

        assert await talk.until_ended(run_id)
        assert company.ledger.outcome(talk.key, run_id) == "error"
        assert is_counting(answer_text(talk))
        for node in (A, B):
            caller = company.caller(node)
            _assert_full(await caller.chat("hello", session_id=f"new-{node}"))
            _assert_full(await caller.call("POST", "/api/sessions", {"session_id": f"made-{node}"}))
            assert (await caller.state("talk")).status == 200
            assert len(await caller.messages("talk")) == 2
        state = await company.same("talk", talk)
        marks = state["messages"][-1]["metadata"]["sessionstream"]
        assert (marks["status"], marks["code"]) == ("failed", "storage_full")

        redis.call("CONFIG", "SET", "maxmemory", 0)
        for node in (A, B):
            assert await until(lambda node=node: _takes(company, node))  # type: ignore[misc]
        await company.same("talk", talk)


def _assert_full(answer: Answer) -> None:
    assert_unavailable(answer, "storage_full")


async def _takes(company: Company, node: int) -> bool:
    answer = await company.caller(node).chat(script(emit(2, 0)), session_id="talk", wait=True)
    assert answer.status in (200, 503), answer.body
    return answer.status == 200
