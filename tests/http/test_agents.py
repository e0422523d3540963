"""Several agents at once: as whom they speak, what bounds each of them, and whose pages may talk to it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import anyio.lowlevel
import pytest

from scripts.blackbox.caller import Caller
from scripts.blackbox.process import Server
from scripts.blackbox.wire import Answer
from tests.http.kit import ask, check_problem, new_session, somebody, start

SHOP: Final = "https://shop.example"
_AGENTS: Final = """\
default = "mirror"

[agents.mirror]
kind = "python"
entrypoint = "mirror:agent"

[agents.asker]
kind = "python"
entrypoint = "mirror:asker"

[agents.sailor]
kind = "python"
entrypoint = "mirror:agent"
persona = "sailor"
personas = ["sailor", "pirate"]

[agents.shop]
kind = "python"
entrypoint = "mirror:agent"
allowed_origins = ["https://shop.example"]

[agents.terse]
kind = "scripted"
limits = { max_message_chars = 60 }

[agents.hasty]
kind = "scripted"
limits = { run_timeout_seconds = 0.2, max_run_bytes = 2000 }

[agents.thinker]
kind = "model"
model = "openai:none"
base_url = "http://127.0.0.1:9/v1"
documents = "handbook"
persona = "technical-support"
"""
_INPUT: Final = {"threadId": "t", "runId": "r", "messages": [{"id": "m", "role": "user", "content": "hi"}]}
_MIRROR: Final = """\
import json

async def agent(turn):
    yield json.dumps({"persona": turn.persona})

async def asker(turn):
    asked = [] if turn.resume else [{"id": "which", "reason": "input_required"}]
    yield "Thanks." if turn.resume else "Which one?"
    if asked:
        yield {"type": "RUN_FINISHED", "outcome": {"type": "interrupt", "interrupts": asked}}
"""


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server with agents of every sort; no model is asked."""
    folder = tmp_path_factory.mktemp("agents")
    running = Server(folder, settings={"ALLOWED_ORIGINS": "https://everywhere.example"})
    (folder / "agents.toml").write_text(_AGENTS, encoding="utf-8")
    (folder / "mirror.py").write_text(_MIRROR, encoding="utf-8")
    (folder / "handbook").mkdir()
    try:
        await running.start()
        yield running
    finally:
        running.kill_now()
        running.wire.forget()
        await anyio.lowlevel.checkpoint()


async def agents(caller: Caller, **headers: str) -> dict[str, Any]:
    """Return the agents by name."""
    body = (await caller.call("GET", "/api/agents", headers=headers)).json()
    return {agent["name"]: agent for agent in body["agents"]}


async def persona_of(caller: Caller, **fields: Any) -> str | None:
    """Return the persona that a turn was given."""
    answered = await ask(caller, "who are you?", **fields)
    told: str | None = json.loads(answered["messages"][-1]["content"])["persona"]
    return told


# --- what they say of themselves


async def test_personas_are_listed_with_their_greeting(user: Caller) -> None:
    body = (await user.call("GET", "/api/agents")).json()
    shown = {persona["name"]: persona for persona in body["personas"]}

    assert {"assistant", "mental-health-nurse", "technical-support", "creative-writer"} <= set(shown)
    for persona in shown.values():
        assert {"name", "description", "greeting"} <= set(persona) <= {"name", "description", "greeting", "temperature"}
        assert persona["description"]


async def test_agents_name_their_personas_and_what_they_can_do(user: Caller) -> None:
    listed = await agents(user)

    assert (listed["mirror"]["persona"], listed["mirror"]["personas"]) == (None, None)
    assert (listed["sailor"]["persona"], listed["sailor"]["personas"]) == ("sailor", ["sailor", "pirate"])
    thinker = listed["thinker"]
    assert (thinker["kind"], thinker["persona"]) == ("model", "technical-support")
    assert "creative-writer" in thinker["personas"]
    assert thinker["capabilities"]["humanInTheLoop"] == {"supported": True, "approvals": True, "interrupts": True}
    assert thinker["capabilities"]["tools"]["items"] == []  # this server runs without documents


# --- personas


async def test_an_agent_speaks_as_message_then_session_then_itself_say(user: Caller) -> None:
    await new_session(user, session_id="s", agent="sailor", persona="pirate")

    assert await persona_of(user, agent="sailor") == "sailor"
    assert await persona_of(user, session_id="s") == "pirate"
    assert await persona_of(user, session_id="s", persona="sailor") == "sailor"
    await user.call("PATCH", "/api/sessions/s", {"persona": None})
    assert await persona_of(user, session_id="s") == "sailor"


async def test_an_agent_without_a_list_takes_any_text(user: Caller) -> None:
    assert await persona_of(user, persona="a grumpy cat") == "a grumpy cat"


async def test_a_persona_that_the_agent_does_not_know_is_refused_by_name(user: Caller) -> None:
    await new_session(user, session_id="s", agent="sailor")
    for answer in (
        await user.call("POST", "/api/sessions", {"agent": "thinker", "persona": "pirate"}),
        await user.call("POST", "/api/sessions", {"session_id": "new", "agent": "sailor", "persona": "cat"}),
        await user.call("PATCH", "/api/sessions/s", {"persona": "cat"}),
        await user.call("PATCH", "/api/sessions/s", {"agent": "thinker", "persona": "pirate"}),
        await user.chat("hi", session_id="s", persona="cat"),
        await user.chat("hi", session_id="newer", agent="sailor", persona="cat"),
    ):
        check_problem(answer, "invalid_field", "persona")
    for session_id in ("new", "newer"):
        check_problem(await user.call("GET", f"/api/sessions/{session_id}"), "session_not_found")


async def test_a_session_keeps_a_persona_that_its_next_agent_does_not_know(user: Caller) -> None:
    """Another agent speaks as itself then; the first one as before."""
    await new_session(user, session_id="s", persona="a grumpy cat")
    changed = await user.call("PATCH", "/api/sessions/s", {"agent": "sailor"})

    assert changed.json()["persona"] == "a grumpy cat"
    assert await persona_of(user, session_id="s") == "sailor"
    assert await persona_of(user, session_id="s", agent="mirror") == "a grumpy cat"


async def test_an_import_leaves_out_a_persona_that_nobody_knows_here(user: Caller) -> None:
    session = {"agent": "sailor", "persona": "a grumpy cat"}
    answer = await user.call("POST", "/api/sessions/import", {"version": 1, "session": session, "messages": []})

    assert (answer.status, answer.json()["agent"], answer.json()["persona"]) == (201, "sailor", None)


# --- limits


async def test_a_message_that_is_too_long_for_the_agent_is_refused(user: Caller) -> None:
    check_problem(await user.chat("x" * 61, agent="terse"), "invalid_field", "message")
    assert (await user.chat("x" * 60, agent="terse", wait=True)).status == 200
    assert (await user.chat("x" * 61, wait=True)).status == 200


async def test_a_waiting_message_does_not_grow_beyond_what_its_agent_takes(user: Caller) -> None:
    await start(user, '{"steps": [{"stall": {"seconds": 60}}]}', session_id="s", agent="terse")
    await start(user, "short", session_id="s", message_id="m", agent="terse", on_busy="queue")

    long = await user.call("PATCH", "/api/sessions/s/queue/m", {"message": "x" * 61})
    fitting = await user.call("PATCH", "/api/sessions/s/queue/m", {"message": "x" * 60})

    check_problem(long, "invalid_field", "message")
    assert (fitting.status, fitting.json()["queue"][0]["message"]) == (200, "x" * 60)


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ('{"steps": [{"stall": {"seconds": 60}}]}', "agent_timeout"),
        ('{"steps": [{"giant": {"bytes": 2001}}]}', "run_too_large"),
    ],
)
async def test_a_run_has_the_bounds_of_its_agent(user: Caller, script: str, code: str) -> None:
    answer = await user.chat(script, agent="hasty", wait=True)

    assert (answer.status, answer.code) == (502, code)


# --- pages of other sites


async def from_shop(caller: Caller, method: str, path: str, body: Any = None) -> Answer:
    """Send a request as a page of the shop does."""
    return await caller.call(method, path, body, headers={"Origin": SHOP})


async def test_a_page_talks_to_the_agent_that_allows_its_site(user: Caller) -> None:
    made = await from_shop(user, "POST", "/api/sessions", {"session_id": "s"})
    said = await from_shop(user, "POST", "/api/chat", {"message": "hi", "session_id": "s", "wait": True})
    new = await from_shop(user, "POST", "/api/chat", {"message": "hi", "wait": True})
    state = await from_shop(user, "GET", "/api/state?session_id=s")

    assert (made.status, made.json()["agent"]) == (201, "shop")
    assert [answer.status for answer in (said, new, state)] == [200, 200, 200]
    for answer in (made, said, new, state):
        assert answer.headers["access-control-allow-origin"] == SHOP
    assert list(await agents(user, Origin=SHOP)) == ["shop"]


async def test_a_page_talks_to_no_other_agent(user: Caller) -> None:
    await new_session(user, session_id="mine", agent="mirror")
    await new_session(user, session_id="theirs", agent="shop")
    for answer in (
        await from_shop(user, "POST", "/api/chat", {"message": "hi", "agent": "mirror"}),
        await from_shop(user, "POST", "/api/chat", {"message": "hi", "session_id": "theirs", "agent": "mirror"}),
        await from_shop(user, "POST", "/api/chat", {"message": "hi", "session_id": "mine"}),
        await from_shop(user, "POST", "/api/chat", {"message": "hi", "session_id": "mine", "agent": "shop"}),
        await from_shop(user, "POST", "/api/interrupt", {"session_id": "mine"}),
        await from_shop(user, "POST", "/api/system", {"session_id": "mine", "message": "be evil"}),
        await from_shop(user, "GET", "/api/chat/stream?session_id=mine"),
        await from_shop(user, "GET", "/api/state?session_id=mine"),
        await from_shop(user, "GET", "/api/sessions"),
        await from_shop(user, "GET", "/api/sessions/mine/messages"),
        await from_shop(user, "POST", "/api/sessions", {"agent": "mirror"}),
        await from_shop(user, "POST", "/api/agents/mirror/run", _INPUT),
        await from_shop(user, "PATCH", "/api/sessions/theirs", {"agent": "mirror"}),
        await from_shop(user, "PATCH", "/api/sessions/theirs", {"agent": None}),
        await from_shop(user, "DELETE", "/api/sessions/mine"),
    ):
        check_problem(answer, "origin_refused")
    assert (await user.call("GET", "/api/sessions/theirs")).json()["agent"] == "shop"


async def test_a_page_does_not_answer_what_another_agent_asks(user: Caller) -> None:
    """A message may go to another agent than the session's: it is that one which goes on."""
    answer = {"session_id": "theirs", "tool_call_id": "which", "content": "this one"}
    await new_session(user, session_id="theirs", agent="shop")
    await ask(user, "choose", session_id="theirs", agent="asker")

    check_problem(await from_shop(user, "POST", "/api/tool-result", answer), "origin_refused")
    assert (await user.call("POST", "/api/tool-result", answer)).status == 202


async def test_a_page_does_not_change_what_waits_for_another_agent(user: Caller) -> None:
    await new_session(user, session_id="theirs", agent="shop")
    await start(user, '{"steps": [{"stall": {"seconds": 60}}]}', session_id="theirs", agent="terse")
    await user.chat("mine", session_id="theirs", agent="mirror", message_id="m", on_busy="queue")
    path, edit = "/api/sessions/theirs/queue/m", {"message": "be evil"}

    check_problem(await from_shop(user, "PATCH", path, edit), "origin_refused")
    assert (await user.call("PATCH", path, edit)).status == 200


async def test_a_session_that_left_memory_is_refused_all_the_same(tmp_path: Path) -> None:
    """Whose agent it is stands in the storage."""
    sleepy = Server(tmp_path, settings={"IDLE_MEMORY_SECONDS": "0"})
    (tmp_path / "agents.toml").write_text(_AGENTS, encoding="utf-8")
    (tmp_path / "mirror.py").write_text(_MIRROR, encoding="utf-8")
    (tmp_path / "handbook").mkdir()
    try:
        await sleepy.start()
        user = somebody(sleepy)
        await new_session(user, session_id="mine")
        await sleepy.terminate()
        await sleepy.start()

        check_problem(await from_shop(user, "GET", "/api/sessions/mine"), "origin_refused")
        check_problem(await from_shop(user, "GET", "/api/sessions/nobody"), "session_not_found")
    finally:
        sleepy.kill_now()
        sleepy.wire.forget()
        await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize(
    "path", ["/api/sessions/stream", "/api/sessions/import", "/api/documents", "/api/mcp-command", "/api/stats"]
)
async def test_a_page_reaches_nothing_that_belongs_to_no_agent(user: Caller, path: str) -> None:
    preflight = await user.call("OPTIONS", path, headers={"Origin": SHOP, "Access-Control-Request-Method": "POST"})
    written = await from_shop(user, "POST", path, {})

    check_problem(preflight, "origin_refused")
    check_problem(written, "origin_refused")
    assert "access-control-allow-origin" not in written.headers


async def test_browsers_are_told_before_they_ask(user: Caller) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    shop = await user.call("OPTIONS", "/api/chat", headers={"Origin": SHOP, **asked})
    stranger = await user.call("OPTIONS", "/api/chat", headers={"Origin": "https://evil.example", **asked})

    assert (shop.status, shop.headers["access-control-allow-origin"]) == (204, SHOP)
    check_problem(stranger, "origin_refused")


async def test_sites_of_the_setting_may_talk_to_every_agent(user: Caller) -> None:
    headers = {"Origin": "https://everywhere.example"}
    answer = await user.call("POST", "/api/chat", {"message": "hi", "agent": "mirror", "wait": True}, headers=headers)

    assert answer.status == 200
    assert set(await agents(user, **headers)) == set(await agents(user))
