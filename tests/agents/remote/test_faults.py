"""Whatever a remote agent does wrong, or the way to it, ends the run with a code that says so, and keeps what came."""

from __future__ import annotations

import gzip
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response

from server.agents.remote import RemoteAgent
from server.agents.remote.faults import failure_of
from server.agents.remote.frames import MAX_FRAME_BYTES, BoundedStream
from server.core.ports import Event
from server.errors import RETRYABLE, AgentFailed
from tests.support.node import eventually, open_node
from tests.support.remote import FINISHED, STARTED, Remote, call, frame, running, text, turn_of

START, CONTENT, END = text("m1", "half")


async def told(agent: RemoteAgent) -> list[str | Event]:
    """Return what an answer consists of."""
    with anyio.fail_after(10):
        return [piece async for piece in agent(turn_of())]


async def failure(agent: RemoteAgent) -> AgentFailed:
    """Return how an answer failed."""
    with pytest.raises(AgentFailed) as raised:
        await told(agent)
    return raised.value


# --- what it answers instead of a stream


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "remote_rejected"),
        (401, "remote_unauthorized"),
        (403, "remote_unauthorized"),
        (404, "remote_rejected"),
        (408, "remote_timeout"),
        (422, "remote_rejected"),
        (429, "remote_rate_limited"),
        (500, "remote_unavailable"),
        (503, "remote_unavailable"),
        (504, "remote_timeout"),
        (204, "remote_rejected"),
    ],
)
async def test_a_status_other_than_200_has_its_code(remote: Remote, agent: RemoteAgent, status: int, code: str) -> None:
    """What the remote says then is for the log: it may name keys and addresses."""
    remote.will_answer(Response(status_code=status) if status == 204 else PlainTextResponse("key-123", status))

    failed = await failure(agent)

    assert failed.code == code
    assert f"HTTP {status}" in failed.detail
    assert "key-123" not in failed.detail
    assert failed.retryable == (code in {"remote_rate_limited", "remote_unavailable", "remote_timeout"})


@pytest.mark.parametrize(
    ("said", "seconds"), [("7", 7.0), ("999999", 86400.0), ("Wed, 21 Oct 2099 07:28:00 GMT", None), ("-1", None)]
)
async def test_retry_after_is_passed_on(remote: Remote, agent: RemoteAgent, said: str, seconds: float | None) -> None:
    remote.will_answer(Response(status_code=429, headers={"retry-after": said}))

    failed = await failure(agent)

    assert failed.retry_after_s == seconds
    assert (f"try again in {seconds:g} s" in failed.detail) if seconds else ("try again" not in failed.detail)


async def test_a_redirect_is_not_followed(remote: Remote, agent: RemoteAgent) -> None:
    """It would take the history and the key to wherever another server says."""
    remote.will_answer(RedirectResponse("/elsewhere"))

    failed = await failure(agent)

    assert (failed.code, len(remote.inputs)) == ("remote_rejected", 1)
    assert failed.detail.endswith("redirects are not followed")


async def test_an_endless_error_body_is_not_read_to_its_end(remote: Remote, agent: RemoteAgent) -> None:
    remote.will(*[b"x" * 4096] * 4, anyio.Event(), status=500)

    assert (await failure(agent)).code == "remote_unavailable"


async def test_a_refusal_counts_also_when_its_text_does_not_come(remote: Remote) -> None:
    """A key that is wrong stays wrong: nobody should try again because the text was slow, or cut."""
    agent = RemoteAgent(remote.url, headers={}, timeout_s=30)
    async with running(agent):
        for reply in ([anyio.Event()], [b"x", OSError("gone")]):
            remote.will(*reply, status=401)
            with anyio.fail_after(10):
                assert (await failure(agent)).code == "remote_unauthorized"


@pytest.mark.parametrize(
    "response",
    [
        JSONResponse({"type": "RUN_STARTED"}),
        PlainTextResponse("hello"),
        Response(b"x"),
        Response(gzip.compress(frame(STARTED)), media_type="text/event-stream", headers={"content-encoding": "gzip"}),
    ],
    ids=["json", "text", "nothing", "compressed"],
)
async def test_what_is_no_plain_event_stream_is_refused(remote: Remote, agent: RemoteAgent, response: Response) -> None:
    remote.will_answer(response)

    assert (await failure(agent)).code == "agent_protocol"


# --- what it streams


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([STARTED, b"data: {not json}\n\n"], "not JSON"),
        ([STARTED, b'data: {"type": "CUSTOM", "name": "n", "value": NaN}\n\n'], "not JSON"),
        ([STARTED, b'data: {"type": "\\ud83d", "x": [' + b"[" * 100_000 + b"\n\n"], "not JSON"),
        ([STARTED, b'data: {"type": "X", "x": "\\ud83d", "y": ' + b"[" * 900 + b"]" * 900 + b"}\n\n"], "not JSON"),
        ([STARTED, b"data: [DONE]\n\n"], "not JSON"),
        ([STARTED, b"data: [1]\n\n"], "no event"),
        ([STARTED, b"data: {}\n\n"], "no event"),
        ([STARTED, b'data: {"type": ""}\n\n'], "no event"),
        ([START], "TEXT_MESSAGE_START before RUN_STARTED"),
        ([FINISHED], "RUN_FINISHED before RUN_STARTED"),
        ([STARTED, STARTED], "a second RUN_STARTED"),
        ([STARTED, CONTENT], "TEXT_MESSAGE_CONTENT for 'm1', which is not open"),
        ([STARTED, START, START], "TEXT_MESSAGE_START for 'm1', which is open already"),
        ([STARTED, {"type": "TEXT_MESSAGE_START"}], "TEXT_MESSAGE_START without messageId"),
        ([STARTED, {"type": "TEXT_MESSAGE_CHUNK", "delta": "x"}], "first TEXT_MESSAGE_CHUNK without messageId"),
        ([STARTED, START, {**CONTENT, "delta": 7}], "TEXT_MESSAGE_CONTENT.delta is a int"),
        ([STARTED, START, {**CONTENT, "delta": None}], "TEXT_MESSAGE_CONTENT without delta"),
        ([STARTED, {**START, "metadata": "x"}], "TEXT_MESSAGE_START.metadata is a str"),
        ([STARTED, {"type": "TOOL_CALL_START", "toolCallId": "c"}], "TOOL_CALL_START without toolCallName"),
        ([STARTED, {"type": "TOOL_CALL_RESULT", "toolCallId": "c", "content": "x"}], "was not called in this run"),
        ([STARTED, {"type": "STATE_SNAPSHOT", "snapshot": [1]}], "STATE_SNAPSHOT.snapshot is a list"),
        ([STARTED, {"type": "STATE_DELTA", "delta": [{"op": "remove", "path": "/no"}]}], "STATE_DELTA does not apply"),
        ([STARTED, {"type": "MESSAGES_SNAPSHOT", "messages": {}}], "without a list of messages"),
        ([STARTED, {**FINISHED, "outcome": "interrupt"}], "outcome is a str"),
        ([STARTED, {**FINISHED, "outcome": {"type": "later"}}], "outcome has the type 'later'"),
        ([STARTED, {**FINISHED, "outcome": {"type": "interrupt", "interrupts": []}}], "at least one"),
        (
            [STARTED, *call("c"), {**FINISHED, "outcome": {"type": "interrupt", "interrupts": [{"id": "i"}]}}],
            "reason",
        ),
        ([STARTED, {**FINISHED, "outcome": {"type": "success", "pendingToolCallIds": [1]}}], "as a list of texts"),
    ],
)
async def test_what_breaks_the_protocol_ends_the_run_and_says_what(
    tmp_path: Path, remote: Remote, agent: RemoteAgent, parts: list[Any], said: str
) -> None:
    remote.will(*parts, anyio.Event())

    async with open_node(tmp_path, agent=agent) as node, node.client() as client:
        accepted = await node.ask()
        await client.until_over(accepted.run_id)

        run = await node.over(accepted.run_id)
        assert (run.status, run.code) == ("failed", "agent_protocol")
        assert said in client.events[-1]["message"]
        assert client.faults == []


@pytest.mark.parametrize("size", [MAX_FRAME_BYTES + 1, 3 * MAX_FRAME_BYTES])
async def test_a_frame_that_does_not_end_is_given_up(remote: Remote, agent: RemoteAgent, size: int) -> None:
    """What is unfinished is kept in memory, so it is bounded."""
    piece = b"x" * (1 << 16)
    remote.will(STARTED, b'data: {"type": "CUSTOM", "value": "', *[piece] * (size // len(piece) + 1), anyio.Event())

    failed = await failure(agent)

    assert (failed.code, failed.detail) == (
        "agent_protocol",
        f"the remote agent sent an event of more than {MAX_FRAME_BYTES} bytes",
    )


async def test_many_frames_may_have_more_bytes_than_one(remote: Remote, agent: RemoteAgent) -> None:
    """Only what is unfinished counts, however the pieces are cut."""
    big = frame({"type": "MESSAGES_SNAPSHOT", "messages": [], "rawEvent": "x" * (1 << 20)})
    stream = frame(STARTED) + big * 12 + frame(FINISHED)
    remote.will(*(stream[at : at + 999_983] for at in range(0, len(stream), 999_983)))

    assert await told(agent) == []


class _Pieces(httpx.AsyncByteStream):
    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
async def test_the_end_of_a_frame_counts_wherever_it_is_cut(end: bytes) -> None:
    stream = (b"x" * 10 + end) * 3 + b"y" * 10
    for at in range(len(stream)):
        pieces = _Pieces(stream[:at], stream[at:])
        assert b"".join([piece async for piece in BoundedStream(pieces, 24)]) == stream
    one_by_one = _Pieces(*(stream[at : at + 1] for at in range(len(stream))))
    assert b"".join([piece async for piece in BoundedStream(one_by_one, 14)]) == stream
    with pytest.raises(AgentFailed):
        [piece async for piece in BoundedStream(_Pieces(stream, b"y" * 15), 24)]


@pytest.mark.parametrize("ending", [[], [OSError("gone")]], ids=["ended", "broken"])
async def test_a_stream_that_ends_before_its_run_is_a_failure_with_what_came(
    tmp_path: Path, remote: Remote, agent: RemoteAgent, ending: list[Any]
) -> None:
    """AG-UI: a broken stream has no outcome, and the consumer must not invent one."""
    remote.will(STARTED, START, CONTENT, *ending)

    async with open_node(tmp_path, agent=agent) as node, node.client() as client:
        accepted = await node.ask()
        await client.until_over(accepted.run_id)

        run = await node.over(accepted.run_id)
        assert (run.status, run.code) == ("failed", "remote_cut_off")
        assert client.said == "half"
        assert client.faults == []


async def test_silence_is_not_waited_for_without_end(remote: Remote) -> None:
    agent = RemoteAgent(remote.url, headers={}, timeout_s=0.2)
    remote.will(STARTED, anyio.Event())

    async with running(agent):
        assert (await failure(agent)).code == "remote_timeout"
    await eventually(lambda: remote.ended == ["cut"])


async def test_a_response_that_stays_open_holds_up_no_run(remote: Remote, agent: RemoteAgent) -> None:
    remote.will(STARTED, START, CONTENT, END, FINISHED, anyio.Event())

    assert await told(agent) == [START, CONTENT, END]
    await eventually(lambda: remote.ended == ["cut"])


async def test_what_breaks_after_the_last_event_breaks_nothing(remote: Remote, agent: RemoteAgent) -> None:
    remote.will(STARTED, START, CONTENT, END, FINISHED, OSError("gone"))

    assert await told(agent) == [START, CONTENT, END]


# --- the way to it


async def test_a_remote_that_is_not_there_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
    agent = RemoteAgent(f"http://127.0.0.1:{port}/", headers={}, timeout_s=5)

    async with running(agent):
        failed = await failure(agent)

    assert failed.code == "remote_unavailable"
    assert str(port) not in failed.detail


async def test_a_run_before_the_pool_is_open_is_told_to_come_again() -> None:
    agent = RemoteAgent("http://127.0.0.1:9/", headers={}, timeout_s=5)

    assert agent.health() == {"status": "starting", "runs": 0}
    assert (await failure(agent)).code == "remote_unavailable"


@pytest.mark.parametrize(
    ("error", "has_begun", "code"),
    [
        (httpx.PoolTimeout(""), False, "remote_unavailable"),
        (httpx.ConnectTimeout(""), False, "remote_timeout"),
        (httpx.WriteTimeout(""), False, "remote_timeout"),
        (httpx.ReadTimeout(""), True, "remote_timeout"),
        (httpx.ConnectError(""), False, "remote_unavailable"),
        (httpx.RemoteProtocolError(""), False, "remote_unavailable"),
        (httpx.RemoteProtocolError(""), True, "remote_cut_off"),
        (httpx.ReadError(""), True, "remote_cut_off"),
    ],
)
def test_each_loss_has_its_code_and_may_be_tried_again(error: httpx.HTTPError, has_begun: bool, code: str) -> None:
    failed = failure_of(error, has_begun=has_begun)

    assert failed.code == code
    assert code in RETRYABLE


async def test_runs_that_follow_each_other_share_a_connection(remote: Remote, agent: RemoteAgent) -> None:
    for _ in range(3):
        remote.will(STARTED, FINISHED)
        await told(agent)

    assert len(set(remote.callers)) == 1
    assert agent.health() == {"status": "ok", "runs": 0}


async def test_proxies_of_the_environment_count_only_when_asked_for(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ambient variable must not send conversations through another machine."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{bound.getsockname()[1]}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
    remote.will(STARTED, FINISHED)

    direct = RemoteAgent(remote.url, headers={}, timeout_s=5)
    async with running(direct):
        assert await told(direct) == []
    proxied = RemoteAgent(remote.url, headers={}, timeout_s=5, trust_env=True)
    async with running(proxied):
        assert (await failure(proxied)).code == "remote_unavailable"


# --- stopping


async def test_an_interrupt_closes_the_connection_and_keeps_the_text(
    tmp_path: Path, remote: Remote, agent: RemoteAgent
) -> None:
    """Stop means stop: the remote sees it while it waits for its own model."""
    remote.will(STARTED, START, CONTENT, anyio.Event())

    async with open_node(tmp_path, agent=agent) as node, node.client() as client:
        accepted = await node.ask()
        await client.until(lambda seen: seen.said == "half")
        await node.interrupt()
        await client.until_over(accepted.run_id)

        assert client.ended()[accepted.run_id] == "cancelled"
        assert client.said == "half"
        await eventually(lambda: remote.ended == ["cut"])
        await eventually(lambda: agent.health()["runs"] == 0)

        # And the session goes on, with a history that says what was said.
        remote.will(STARTED, *text("m2", "more"), FINISHED)
        again = await node.ask("go on")
        await client.until_over(again.run_id)
        assert client.said == "more"
        assert [message.get("content") for message in remote.inputs[-1]["messages"]] == ["hello", "half", "go on"]


# --- what an operator may set


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"url": ""}, "url: must be an http or https address"),
        ({"url": "ftp://host/"}, "url: must be an http or https address"),
        ({"url": "http://"}, "url: must be an http or https address"),
        ({"url": "http://host:port/"}, "url: must be an http or https address"),
        ({"url": "http://me:pw@host/"}, "url: must not hold a name or a password"),
        ({"headers": {"a b": "x"}}, "headers: 'a b' is no name of a header"),
        ({"headers": {"": "x"}}, "headers: '' is no name of a header"),
        ({"headers": {"Accept": "x"}}, "headers: Accept is set by the agent itself"),
        ({"headers": {"X-Key": "a\nb"}}, "headers: the value of X-Key must be printable ASCII"),
        ({"timeout_s": 0}, "timeout_s: must be more than 0"),
        ({"timeout_s": float("nan")}, "timeout_s: must be more than 0"),
        ({"max_connections": 0}, "max_connections: must be at least 1"),
    ],
)
def test_a_wrong_setting_is_named(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        RemoteAgent(**{"url": "http://host/", "headers": {}, "timeout_s": 5.0, **wrong})
