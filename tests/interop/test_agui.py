"""The official AG-UI client on `GET /api/chat/stream`: nothing to complain about, and the same messages as the server.

An eight-line subclass (`agui.mjs`) opens the stream by GET; the rest, its verifier of the protocol's grammar included,
is the library as it is published.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scripts.blackbox.arena import emit, script, stall
from tests.faults.stage import ENDLESS, Stage, heard, is_counting, staged
from tests.interop.official import OfficialClient, official_client

TOOL = {"tool": {"name": "search", "args": {"query": "streams"}}}
REASONING = {"reasoning": "let me think"}
SAID = {"text": "Well, "}


async def test_an_idle_session_is_shown_as_the_server_has_it(tmp_path: Path) -> None:
    """A snapshot on connect: text, reasoning, a tool call with its result, and the state."""
    async with staged(tmp_path) as stage:
        await stage.server.start()
        steps = [REASONING, emit(5, 0), TOOL, {"text": "Done. ✓ 日本語 👩‍👩‍👧"}, {"state": [add("/notes", [1])]}]
        await _finished(stage, *steps)

        async with official_client(stage.server.url, "talk") as client:
            await client.until_event("RUN_FINISHED")
            await _assert_same(stage, client)


async def test_joining_in_the_middle_of_an_answer_gives_its_text_once(tmp_path: Path) -> None:
    """The snapshot holds what was said, the live deltas go on from there; then a second run on the same stream."""
    async with staged(tmp_path) as stage:
        await stage.server.start()
        early = await stage.watch("talk")
        first = await stage.run("talk", ENDLESS)
        await heard(early, 20)

        async with official_client(stage.server.url, "talk") as client:
            await client.until(lambda: [event["type"] for event in client.events].count("TEXT_MESSAGE_CONTENT") >= 20)
            assert client.events[0]["type"] == "RUN_STARTED"
            assert client.events[0]["runId"] == first
            assert client.events[1]["type"] == "MESSAGES_SNAPSHOT"
            assert client.events[1]["messages"][-1]["content"].startswith("w0 w1 w2 ")
            assert (await stage.caller().interrupt("talk", run_id=first)).status == 200
            await client.until_event("RUN_FINISHED", runId=first)
            report = await _assert_same(stage, client)
            assert is_counting(report["messages"][-1]["content"])

            second = await stage.run("talk", REASONING, emit(5, 0), TOOL, {"text": "Done."})
            await client.until_event("RUN_FINISHED", runId=second)
            await _assert_same(stage, client)


GATED_AGENT = """
from pathlib import Path

import anyio

CALL = {"toolCallId": "call"}


async def agent(turn):
    yield "Let me see. "
    yield {"type": "TOOL_CALL_START", "toolCallName": "search", **CALL}
    yield {"type": "TOOL_CALL_ARGS", "delta": '{"query": ', **CALL}
    while not Path(turn.message).exists():
        await anyio.sleep(0.01)
    yield {"type": "TOOL_CALL_ARGS", "delta": '"streams"}', **CALL}
    yield {"type": "TOOL_CALL_END", **CALL}
    yield {"type": "TOOL_CALL_RESULT", "messageId": "found", "content": "three", **CALL}
    yield "Three."
"""
"""Goes on when the file that the message names is there."""


async def test_joining_in_the_middle_of_a_tool_call_gives_its_arguments_once(tmp_path: Path) -> None:
    """Half of the arguments are in the snapshot, the rest comes live."""
    async with staged(tmp_path) as stage:
        (tmp_path / "gated.py").write_text(GATED_AGENT, "utf-8")
        with (tmp_path / "agents.toml").open("a", encoding="utf-8") as agents:
            agents.write('\n[agents.gated]\nkind = "python"\nentrypoint = "gated:agent"\n')
        await stage.server.start()
        early = await stage.watch("talk")
        gate = tmp_path / "gate"
        answer = await stage.caller().chat(str(gate), session_id="talk", agent="gated")
        assert answer.status == 202, answer.body
        assert await early.until(lambda: any(_arguments(message) for message in early.fold.messages.values()))

        async with official_client(stage.server.url, "talk") as client:
            await client.until(lambda: len(client.events) == 4)
            kinds = [event["type"] for event in client.events]
            assert kinds == ["RUN_STARTED", "MESSAGES_SNAPSHOT", "STATE_SNAPSHOT", "TOOL_CALL_START"]
            assert [_arguments(message) for message in client.events[1]["messages"]][-1] == '{"query": '
            gate.touch()
            await client.until_event("RUN_FINISHED", runId=answer.json()["run_id"])
            report = await _assert_same(stage, client)
            calling = [message for message in report["messages"] if message.get("toolCalls")]
            assert [_arguments(message) for message in calling] == ['{"query": "streams"}']
            assert report["messages"][-1]["content"] == "Three."


async def test_interrupts_and_failures_end_runs_as_the_protocol_wants(tmp_path: Path) -> None:
    """What was open is closed: text, a tool call, a step; RUN_ERROR after a failure; the stream goes on after each."""
    async with staged(tmp_path) as stage:
        await stage.server.start()
        async with official_client(stage.server.url, "talk") as client:
            await client.until_event("RUN_FINISHED")
            open_text = [{"step": "look"}, REASONING, SAID]
            open_call = [{"tool": {"name": "search", "end": False}}]
            for steps, kind, delta in (
                (open_text, "TEXT_MESSAGE_CONTENT", "Well, "),
                (open_call, "TOOL_CALL_ARGS", "{}"),
            ):
                run_id = await stage.run("talk", *steps, stall(60))
                await client.until_event(kind, delta=delta)
                assert (await stage.caller().interrupt("talk", run_id=run_id)).status == 200
                await client.until_event("RUN_FINISHED", runId=run_id, outcome={"type": "cancelled"})
            await stage.run("talk", emit(3, 0), {"raise": "broken"})
            await client.until_event("RUN_ERROR")
            last_id = await stage.run("talk", emit(3, 0))
            await client.until_event("RUN_FINISHED", runId=last_id)
            await _assert_same(stage, client)


async def test_a_system_message_and_a_rename_are_legal_at_any_time(tmp_path: Path) -> None:
    """While idle they are a housekeeping run; while a run is open they are part of it."""
    async with staged(tmp_path) as stage:
        await stage.server.start()
        await _finished(stage, emit(3, 0))
        async with official_client(stage.server.url, "talk") as client:
            await client.until_event("RUN_FINISHED")
            await _tell_and_rename(stage, client, "idle", "RUN_FINISHED")
            run_id = await stage.run("talk", SAID, stall(60))
            await client.until_event("TEXT_MESSAGE_CONTENT", delta="Well, ")
            await _tell_and_rename(stage, client, "running", None)
            queued = await stage.run("talk", emit(2, 0), on_busy="queue", message_id="queued")
            await client.until_event("STATE_DELTA")
            await stage.caller().interrupt("talk", run_id=run_id)
            await client.until_event("RUN_FINISHED", runId=queued)
            report = await _assert_same(stage, client)
            assert [message["content"] for message in report["messages"] if message["role"] == "system"] == [
                "be idle",
                "be running",
            ]


async def test_clearing_and_deleting_reach_the_client(tmp_path: Path) -> None:
    """Cleared: no message is left. Deleted: a last event says so and the stream ends well."""
    async with staged(tmp_path) as stage:
        await stage.server.start()
        await _finished(stage, emit(3, 0))
        async with official_client(stage.server.url, "talk") as client:
            await client.until_event("RUN_FINISHED")
            assert (await stage.caller().call("DELETE", "/api/sessions/talk/messages")).status == 200
            await client.until_event("MESSAGES_SNAPSHOT")
            await client.until_event("RUN_FINISHED")
            assert (await _assert_same(stage, client))["messages"] == []

            assert (await stage.caller().call("DELETE", "/api/sessions/talk")).status == 200
            assert await client.until_ended() is True
            goodbyes = [event for event in client.events if event["type"] == "CUSTOM"]
            assert [event["name"] for event in goodbyes] == ["sessionstream.session_ended"]
            assert goodbyes[0]["value"]["reason"] == "deleted"


async def test_a_stopping_server_ends_the_stream_well(tmp_path: Path) -> None:
    """Also in the middle of a run: its end comes, then the end of the stream; the client takes both as good."""
    async with staged(tmp_path) as stage:
        await stage.server.start()
        async with official_client(stage.server.url, "talk") as client:
            await client.until_event("RUN_FINISHED")
            run_id = await stage.run("talk", SAID, stall(60))
            await client.until_event("TEXT_MESSAGE_CONTENT", delta="Well, ")
            await stage.server.terminate()
            assert await client.until_ended() is True
            assert client.events[-1]["type"] == "RUN_FINISHED"
            assert (client.events[-1]["runId"], client.events[-1]["outcome"]) == (run_id, {"type": "cancelled"})


def add(path: str, value: Any) -> dict[str, Any]:
    """Return a JSON Patch operation."""
    return {"op": "add", "path": path, "value": value}


async def _finished(stage: Stage, *steps: dict[str, Any]) -> None:
    answer = await stage.caller().chat(script(*steps), session_id="talk", wait=True)
    assert answer.status == 200, answer.body


async def _tell_and_rename(stage: Stage, client: OfficialClient, word: str, then: str | None) -> None:
    told = await stage.caller().call("POST", "/api/system", {"session_id": "talk", "message": f"be {word}"})
    assert told.status == 202
    await client.until_event("TEXT_MESSAGE_END")
    renamed = await stage.caller().call("PATCH", "/api/sessions/talk", {"title": f"a talk, {word}"})
    assert renamed.status == 200
    await client.until_event("STATE_DELTA")
    if then is not None:
        await client.until_event(then)
    assert (await client.report())["state"]["session"]["title"] == f"a talk, {word}"


async def _assert_same(stage: Stage, client: OfficialClient) -> dict[str, Any]:
    """Check that the client holds what the server holds; return it."""
    state = (await stage.caller().state("talk")).json()
    report = await client.report()
    assert report["messages"] == state["messages"]
    assert report["state"]["artifacts"] == state["state"]["artifacts"]
    assert report["state"]["queue"] == state["state"]["queue"]
    assert report["state"]["session"]["title"] == state["session"]["title"]
    return report


def _arguments(message: dict[str, Any]) -> str:
    return "".join(call["function"]["arguments"] for call in message.get("toolCalls", ()))
