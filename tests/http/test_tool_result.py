"""POST /api/tool-result, before a real server with the example's wallet agent and one that wants an approval."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from scripts.blackbox.caller import Caller
from scripts.blackbox.fold import differences
from scripts.blackbox.process import ROOT, Server
from scripts.blackbox.wire import Answer
from tests.http.kit import CURSOR, TIME, UUID7, check_problem, ends, new_session, opened, somebody

EXAMPLE = ROOT / "docs" / "examples" / "wallet"
TO = "0x52908400098527886E0F7030069857D2E4169EE7"
PAY = f"send 0.5 ETH to {TO} on Sepolia"
SWITCH, SEND = "wallet_switchEthereumChain", "eth_sendTransaction"
SEPOLIA = "0xaa36a7"

_APPROVER = """\
async def agent(turn):
    entries = {entry["toolCallId"]: entry for entry in turn.resume}
    if not entries:
        names = turn.message.split()
        for name in names:
            yield {"type": "TOOL_CALL_START", "toolCallId": name, "toolCallName": "remove"}
            yield {"type": "TOOL_CALL_ARGS", "toolCallId": name, "delta": "{}"}
            yield {"type": "TOOL_CALL_END", "toolCallId": name}
        asked = [{"id": f"ask-{name}", "reason": "approval", "toolCallId": name} for name in names]
        yield {"type": "RUN_FINISHED", "outcome": {"type": "interrupt", "interrupts": asked}}
        return
    for name, entry in entries.items():
        if entry["status"] == "resolved":
            yield {"type": "TOOL_CALL_RESULT", "messageId": f"r-{name}", "toolCallId": name, "content": "removed"}
    yield "Done."
"""


@asynccontextmanager
async def wallet_server(folder: Path, **settings: str) -> AsyncIterator[Server]:
    """Run a server whose agents are the wallet and `approver`."""
    running = Server(folder, settings={"HEARTBEAT_SECONDS": "0.2", **settings})
    toml = (EXAMPLE / "agents.toml").read_text("utf-8")
    (folder / "agents.toml").write_text(f'{toml}\n[agents.approver]\nkind = "python"\nentrypoint = "approver:agent"\n')
    (folder / "approver.py").write_text(_APPROVER, "utf-8")
    shutil.copy(EXAMPLE / "wallet_agent.py", folder)
    try:
        await running.start()
        yield running
    finally:
        running.kill_now()
        running.wire.forget()
        await anyio.lowlevel.checkpoint()


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory, anyio_backend: str) -> AsyncIterator[Server]:
    async with wallet_server(tmp_path_factory.mktemp("wallet")) as running:
        yield running


async def result(user: Caller, session_id: str, call_id: str, content: Any, **more: Any) -> Answer:
    body = {"session_id": session_id, "tool_call_id": call_id, "content": content, **more}
    return await user.call("POST", "/api/tool-result", body)


async def state_of(user: Caller, session_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await user.state(session_id)).json()
    return found


async def asked(user: Caller, session_id: str, message: str, **fields: Any) -> list[dict[str, Any]]:
    """Send a message and return what the agent asks by the end of its run."""
    answer = await user.chat(message, session_id=session_id, wait=True, **fields)
    assert (answer.status, answer.json()["status"]) == (200, "finished"), answer.body
    found: list[dict[str, Any]] = answer.json()["state"]["pending"]
    return found


async def gone_on(user: Caller, session_id: str, run_id: str) -> dict[str, Any]:
    """Return the state when a run is over, as a stream tells it."""
    async with opened(user, session_id) as tail:
        await tail.snapshot()
        if tail.fold.run_id == run_id:
            await tail.end_of(run_id)
    return await state_of(user, session_id)


async def test_a_wallet_switches_and_sends(server: Server) -> None:
    """Both tools, answered by the page; each answer lets the run go on, and every view folds to the same."""
    user = somebody(server)
    session_id = await new_session(user)
    async with opened(user, session_id) as tail:
        await tail.snapshot()
        [switch] = await asked(user, session_id, PAY)
        assert (switch["toolCallName"], switch["arguments"]) == (SWITCH, f'{{"chainId": "{SEPOLIA}"}}')
        assert (switch["reason"], switch["message"], switch["answered"]) == ("tool_call", "Switch to Sepolia?", False)
        assert TIME.fullmatch(switch["expiresAt"])

        answer = await result(user, session_id, switch["toolCallId"], "done")
        receipt = answer.json()
        assert answer.status == 202, answer.body
        assert set(receipt) == {"session_id", "run_id", "tool_call_id", "cursor", "status"}
        assert (receipt["session_id"], receipt["tool_call_id"]) == (session_id, switch["toolCallId"])
        assert UUID7.fullmatch(receipt["run_id"])
        assert CURSOR.fullmatch(receipt["cursor"])
        await tail.end_of(receipt["run_id"])

        [send] = (await state_of(user, session_id))["state"]["pending"]
        assert send["toolCallName"] == SEND
        receipt = (await result(user, session_id, send["toolCallId"], {"hash": "0xfeed"})).json()
        await tail.end_of(receipt["run_id"])

        state = await state_of(user, session_id)
        assert "pending" not in state["state"]
        assert [message["role"] for message in state["messages"]] == [
            *("user", "assistant", "tool", "assistant", "tool", "assistant"),
        ]
        assert '{"hash":"0xfeed"}' in state["messages"][-1]["content"]
        assert differences(tail.fold, state) == []


async def test_an_unasked_change_of_the_network_is_reported_and_heard(server: Server) -> None:
    """While a transaction waits, too: the history stays valid, and the next payment asks for the switch again."""
    user = somebody(server)
    session_id = await new_session(user)
    [switch] = await asked(user, session_id, PAY)
    run_id = (await result(user, session_id, switch["toolCallId"], "done")).json()["run_id"]
    [send] = (await gone_on(user, session_id, run_id))["state"]["pending"]

    report = {"session_id": session_id, "message": "The wallet is on chain 0x1."}
    assert (await user.call("POST", "/api/system", report)).status == 202
    assert [one["id"] for one in (await state_of(user, session_id))["state"]["pending"]] == [send["id"]]
    run_id = (await result(user, session_id, send["toolCallId"], "0xfeed")).json()["run_id"]
    state = await gone_on(user, session_id, run_id)

    assert [message["role"] for message in state["messages"]] == [
        *("user", "assistant", "tool", "assistant", "tool", "system", "assistant"),
    ]
    assert await user.messages(session_id) == state["messages"]
    for limit in (1, 2, 3):
        ids: list[str] = []
        before = None
        while before is not None or not ids:
            query = {"limit": limit, **({"before": before} if before else {})}
            page = (await user.call("GET", f"/api/sessions/{session_id}/messages", query=query)).json()
            ids += [message["id"] for message in page["messages"]]
            before = page["next_before"]
        assert sorted(ids) == sorted(message["id"] for message in state["messages"])
    [again] = await asked(user, session_id, PAY)
    assert again["toolCallName"] == SWITCH


async def test_a_rejection_in_the_wallet_is_an_answer(server: Server) -> None:
    user = somebody(server)
    session_id = await new_session(user)
    [switch] = await asked(user, session_id, PAY)
    answer = await result(user, session_id, switch["toolCallId"], "", error="rejected in the wallet")
    state = await gone_on(user, session_id, answer.json()["run_id"])

    assert state["messages"][-1]["content"] == "Nothing was sent: rejected in the wallet."


async def test_approvals_are_answered_one_by_one(server: Server) -> None:
    user = somebody(server)
    session_id = await new_session(user, agent="approver")
    assert len(await asked(user, session_id, "one two")) == 2
    first = (await result(user, session_id, "one", "approved")).json()
    waiting = await state_of(user, session_id)
    second = (await result(user, session_id, "two", {"approved": False, "reason": "needed"})).json()
    state = await gone_on(user, session_id, first["run_id"])

    assert (first["status"], second["status"]) == ("waiting", "running")
    assert first["run_id"] == second["run_id"]
    assert [one["answered"] for one in waiting["state"]["pending"]] == [True, False]
    assert {one["toolCallId"]: one["content"] for one in state["messages"] if one["role"] == "tool"} == {
        "one": "removed",
        "two": "declined by the user: needed",
    }


async def test_a_repeated_answer_is_answered_alike_and_another_refused(server: Server) -> None:
    user = somebody(server)
    session_id = await new_session(user)
    [switch] = await asked(user, session_id, PAY)
    call_id = switch["toolCallId"]
    first = (await result(user, session_id, call_id, {"ok": True})).json()
    again = await result(user, session_id, call_id, {"ok": True})

    assert (again.status, again.json()["run_id"]) == (202, first["run_id"])
    check_problem(await result(user, session_id, call_id, {"ok": False}), "tool_result_conflict")
    check_problem(await result(user, session_id, call_id, {"ok": True}, error="or not"), "tool_result_conflict")


async def test_foreign_unknown_and_late_answers_are_refused(server: Server) -> None:
    user, other = somebody(server), somebody(server)
    session_id = await new_session(user)
    [switch] = await asked(user, session_id, PAY)

    check_problem(await result(other, session_id, switch["toolCallId"], "done"), "session_not_found")
    check_problem(await result(user, "nowhere", switch["toolCallId"], "done"), "session_not_found")
    check_problem(await result(user, session_id, "other", "done"), "tool_call_not_found")
    await asked(user, session_id, PAY)
    check_problem(await result(user, session_id, switch["toolCallId"], "done"), "tool_result_conflict")
    await user.call("DELETE", f"/api/sessions/{session_id}")
    check_problem(await result(user, session_id, switch["toolCallId"], "done"), "session_deleted")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"session_id": None}, "session_id"),
        ({"tool_call_id": None}, "tool_call_id"),
        ({"content": None}, "content"),
        ({"tool_call_id": "a b"}, "tool_call_id"),
        ({"content": "x" * 100_001}, "content"),
        ({"content": ["x" * 100_000]}, "content"),
        ({"error": 1}, "error"),
        ({"error": "x" * 100_001}, "error"),
        ({"colour": "red"}, "colour"),
        ({"content": "perhaps"}, "content"),
        ({"content": {"approved": 1}}, "content.approved"),
        ({"content": {"approved": True, "note": ""}}, "content.note"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_wrong_field_is_named_and_nothing_changes(server: Server, change: dict[str, Any], field: str) -> None:
    user = somebody(server)
    session_id = await new_session(user, agent="approver")
    await asked(user, session_id, "one")
    body = {"session_id": session_id, "tool_call_id": "one", "content": "approved", **change}
    check_problem(await user.call("POST", "/api/tool-result", body), "invalid_field", field)

    assert [one["answered"] for one in (await state_of(user, session_id))["state"]["pending"]] == [False]


async def test_a_stream_of_the_run_ends_with_the_question(server: Server) -> None:
    user = somebody(server)
    session_id = await new_session(user)
    body = {"session_id": session_id, "message": PAY}
    headers = {**user.headers, "Accept": "text/event-stream"}
    stream = await user.wire.stream("/api/chat", headers=headers, method="POST", body=body)
    events = []
    with anyio.fail_after(15):
        while (piece := await stream.read(15)) is not None:
            events += [frame.event for frame in piece]
    stream.close()

    assert events[-1]["outcome"]["interrupts"][0]["reason"] == "tool_call"
    assert ends(events[-1], events[0]["runId"])


async def test_a_question_outlives_the_server(tmp_path: Path) -> None:
    """Kill -9 while it waits: the page that comes back finds it, and its answer lets the run go on."""
    async with wallet_server(tmp_path) as server:
        user = somebody(server)
        session_id = await new_session(user)
        [switch] = await asked(user, session_id, PAY)
        before = await state_of(user, session_id)
        server.kill_now()
        server.wire.forget()
        await server.start()

        after = await state_of(user, session_id)
        assert (after["messages"], after["state"]) == (before["messages"], before["state"])
        run_id = (await result(user, session_id, switch["toolCallId"], "done")).json()["run_id"]
        [send] = (await gone_on(user, session_id, run_id))["state"]["pending"]
        assert send["toolCallName"] == SEND


async def test_a_question_is_exported_and_asked_again_where_it_is_imported(server: Server) -> None:
    user, other = somebody(server), somebody(server)
    session_id = await new_session(user)
    [switch] = await asked(user, session_id, PAY)
    await user.call("POST", "/api/system", {"session_id": session_id, "message": "noted"})
    export = (await user.call("GET", f"/api/sessions/{session_id}/export")).json()
    imported = await other.call("POST", "/api/sessions/import", export)
    assert imported.status == 201, imported.body
    copy = str(imported.json()["session_id"])

    [question] = (await state_of(other, copy))["state"]["pending"]
    assert {**question, "expiresAt": ""} == {**switch, "expiresAt": ""}
    run_id = (await result(other, copy, switch["toolCallId"], "done")).json()["run_id"]
    [send] = (await gone_on(other, copy, run_id))["state"]["pending"]
    assert send["toolCallName"] == SEND
    assert [one["id"] for one in (await state_of(user, session_id))["state"]["pending"]] == [switch["id"]]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"interrupts": []}, "pending.interrupts"),
        ({"interrupts": [{"id": "a", "reason": "x", "toolCallId": "nobody"}]}, "pending.interrupts[0].toolCallId"),
        ({"interrupts": [{"id": "a"}]}, "pending.interrupts[0].reason"),
        ({"asked": {"message": 1, "message_id": "m"}}, "pending.asked.message"),
        ({"asked": {"message": "m", "message_id": "a b"}}, "pending.asked.message_id"),
        ({"answers": []}, "pending.answers"),
    ],
    ids=str,
)
async def test_questions_that_nobody_could_have_asked_are_not_imported(
    server: Server, change: dict[str, Any], field: str
) -> None:
    messages = [{"id": "m", "role": "user", "content": "hi"}]
    pending = {"asked": {"message": "hi", "message_id": "m"}, "interrupts": [{"id": "a", "reason": "x"}], **change}
    body = {"version": 1, "session": {}, "messages": messages, "pending": pending}
    check_problem(await somebody(server).call("POST", "/api/sessions/import", body), "invalid_field", field)


async def test_a_call_that_nothing_asks_about_needs_its_answer(server: Server) -> None:
    function = {"name": "f", "arguments": "{}"}
    calls = [{"id": name, "type": "function", "function": function} for name in ("c1", "c2")]
    pending = {
        "asked": {"message": "hi", "message_id": "m"},
        "interrupts": [{"id": "a", "reason": "tool_call", "toolCallId": "c1"}],
    }
    messages = [{"id": "m", "role": "user", "content": "hi"}, {"id": "n", "role": "assistant", "toolCalls": calls}]
    body = {"version": 1, "session": {}, "messages": messages, "pending": pending}
    answer = await somebody(server).call("POST", "/api/sessions/import", body)

    check_problem(answer, "invalid_field", "messages[1].toolCalls[1].id")
