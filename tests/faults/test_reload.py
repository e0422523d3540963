"""SIGHUP: agents, personas and tools are read anew while streams are open and runs go on; a mistake changes nothing."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from scripts.blackbox.arena import emit, stall
from scripts.blackbox.process import Server
from tests.faults.stage import WAIT_S, Stage, answer_text, heard, is_counting, staged, until

_HUNG: Final = """\
import pathlib, time

pathlib.Path(__file__).with_name("begun").touch()
time.sleep(3600)
"""
_PERSONA: Final = "---\nname: {name}\ndescription: Talks like one\ngreeting: Ahoy!\n---\nTalk like a {name}.\n"


def names(stage: Stage, *agents: str, default: str, more: str = "") -> None:
    """Write the file of agents; each plays the script of its own file."""
    tables = "".join(f'[agents.{name}]\nkind = "scripted"\nscript = "{name}.json"\n' for name in agents)
    (stage.server.folder / "agents.toml").write_text(f'default = "{default}"\n{tables}{more}', encoding="utf-8")


def plays(stage: Stage, name: str, *steps: dict[str, Any]) -> None:
    """Write what an agent plays."""
    (stage.server.folder / f"{name}.json").write_text(json.dumps({"steps": steps}), encoding="utf-8")


def hang_up(stage: Stage) -> None:
    """Tell the server to read its files anew."""
    os.kill(stage.server.pid, signal.SIGHUP)


async def told(stage: Stage) -> dict[str, Any]:
    """Return what the server says of its agents."""
    answer: dict[str, Any] = (await stage.caller().call("GET", "/api/agents")).json()
    return answer


async def until_there(stage: Stage, *agents: str) -> None:
    """Wait until these are the agents."""

    async def is_so() -> bool:
        return [agent["name"] for agent in (await told(stage))["agents"]] == list(agents)

    assert await until(is_so), stage.server.tail()


async def until_logged(stage: Stage, text: str) -> None:
    """Wait until the server's log says something."""

    async def is_so() -> bool:
        return text in stage.server.log.read_text("utf-8")

    assert await until(is_so), stage.server.tail()


async def parts(stage: Stage) -> dict[str, Any]:
    """Return what readiness says of each part."""
    answer: dict[str, Any] = (await stage.server.wire.call("GET", "/health/ready")).json()["parts"]
    return answer


@asynccontextmanager
async def replaced(stage: Stage, server: Server) -> AsyncIterator[None]:
    """Have another server on the stage: the stage's own indexes no documents."""
    stage.server = server
    try:
        yield
    finally:
        server.kill_now()
        server.wire.forget()


async def test_streams_and_runs_go_on_and_new_runs_have_the_new_agent(tmp_path: Path) -> None:
    """One stream from before to after, without an end; the run keeps the agent that it began with."""
    async with staged(tmp_path) as stage:
        names(stage, "old", default="old")
        plays(stage, "old", emit(100_000, 200))
        plays(stage, "new", {"text": "I am new"})
        await stage.server.start()
        client, caller = await stage.watch("talk"), stage.caller()
        await caller.chat("count", session_id="talk")
        await heard(client, 20)

        names(stage, "new", default="new")
        hang_up(stage)
        await until_there(stage, "new")
        words = len(answer_text(client).split())
        await heard(client, words + 40)
        answer = await caller.chat("who?", session_id="other", wait=True)
        stopped = await caller.interrupt("talk")
        await stage.same(client)

        assert client.ended_by == ""
        assert is_counting(answer_text(client))
        assert answer.json()["messages"][-1]["content"] == "I am new"
        assert stopped.json()["outcome"] == "stopped"


async def test_a_session_whose_agent_went_says_so_and_goes_on_with_another(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        names(stage, "old", default="old")
        plays(stage, "old", {"text": "old"})
        plays(stage, "new", {"text": "new"})
        await stage.server.start()
        caller = stage.caller()
        first = await caller.chat("hello", session_id="talk", message_id="m1")

        names(stage, "new", default="new")
        hang_up(stage)
        await until_there(stage, "new")
        refused = await caller.chat("and now?", session_id="talk", message_id="m2")
        repeated = await caller.chat("hello", session_id="talk", message_id="m1")
        named = await caller.chat("and now?", session_id="talk", agent="new", wait=True)
        changed = await caller.call("PATCH", "/api/sessions/talk", {"agent": "new"})
        after = await caller.chat("still there?", session_id="talk", wait=True)

        assert (refused.status, refused.code, refused.json()["field"]) == (422, "invalid_field", "agent")
        assert "'old' is not there any more" in refused.json()["detail"]
        assert repeated.json()["run_id"] == first.json()["run_id"]
        assert named.json()["messages"][-1]["content"] == after.json()["messages"][-1]["content"] == "new"
        assert changed.json()["agent"] == "new"


async def test_a_message_that_waits_for_an_agent_which_goes_fails_with_the_reason(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        names(stage, "old", default="old")
        plays(stage, "old", stall(60))
        plays(stage, "new", {"text": "new"})
        await stage.server.start()
        client, caller = await stage.watch("talk"), stage.caller()
        await caller.chat("wait", session_id="talk")
        waiting = (await caller.chat("next", session_id="talk", on_busy="queue")).json()["run_id"]

        names(stage, "new", default="new")
        hang_up(stage)
        await until_there(stage, "new")
        await caller.interrupt("talk")

        assert await client.until_ended(waiting, WAIT_S)
        assert client.ledger.outcome(client.key, waiting) == "error"


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        ('default = "nobody"\n[agents.old]\nkind = "scripted"\n', "default: must be one of old, not 'nobody'"),
        ("[agents.old]\nkind = 'scripted'\nscript = 'gone.json'\n", "agents.old.script:"),
        (None, "agents.toml: cannot be read"),
    ],
)
async def test_a_mistake_is_logged_and_leaves_everything_as_it_was(
    tmp_path: Path, file: str | None, problem: str
) -> None:
    async with staged(tmp_path) as stage:
        names(stage, "old", default="old")
        plays(stage, "old", {"text": "old"})
        await stage.server.start()
        client, before = await stage.watch("talk"), await told(stage)

        if file is None:
            (tmp_path / "agents.toml").unlink()
        else:
            (tmp_path / "agents.toml").write_text(file, encoding="utf-8")
        hang_up(stage)
        await until_logged(stage, "the agents stay as they are: ")
        answer = await stage.caller().chat("hello", session_id="talk", wait=True)
        await stage.same(client)

        assert problem in stage.server.tail()
        assert "Traceback" not in stage.server.tail()
        assert await told(stage) == before
        assert answer.json()["messages"][-1]["content"] == "old"
        assert client.ended_by == ""


async def test_a_mistake_that_nobody_foresaw_leaves_everything_as_it_was(tmp_path: Path) -> None:
    """Modules are other people's: what they raise must not end the server."""
    async with staged(tmp_path) as stage:
        names(stage, "old", default="old")
        plays(stage, "old", {"text": "old"})
        await stage.server.start()
        client, before = await stage.watch("talk"), await told(stage)

        (tmp_path / "odd.py").write_text("def __getattr__(name):\n    raise ValueError(name)\n", encoding="utf-8")
        names(stage, "old", default="old", more='[agents.odd]\nkind = "python"\nentrypoint = "odd:agent"\n')
        hang_up(stage)
        await until_logged(stage, "the agents stay as they are")
        await stage.caller().chat("hello", session_id="talk", wait=True)
        await stage.same(client)

        assert await told(stage) == before
        assert client.ended_by == ""


async def test_services_of_agents_that_went_end_and_those_of_new_ones_start(tmp_path: Path) -> None:
    """A folder of documents is read when its agent comes, and answered from; what stays is not read again."""
    for name in ("handbook", "manual"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "one.md").write_text(f"# {name}\n\nThe {name} is about whales.\n", encoding="utf-8")
    table = '[agents.{0}]\nkind = "documents"\nfolder = "{0}"\n'
    settings = {"AGENTS": str(tmp_path / "agents.toml")}
    async with staged(tmp_path) as stage, replaced(stage, Server(tmp_path, settings=settings, scripted=False)):
        plays(stage, "old", {"text": "old"})
        names(stage, "old", default="old", more=table.format("handbook"))
        await stage.server.start()
        assert set(await parts(stage)) == {"storage", "agent:handbook"}

        names(stage, "old", default="old", more=table.format("manual"))
        hang_up(stage)
        await until_there(stage, "old", "manual")
        assert set(await parts(stage)) == {"storage", "agent:manual"}

        async def is_read() -> bool:
            return bool((await parts(stage))["agent:manual"]["status"] == "ok")

        assert await until(is_read), stage.server.tail()
        answer = await stage.caller().chat("What is the manual about?", agent="manual", wait=True)
        assert "whales" in answer.json()["messages"][-1]["content"]


async def test_personas_are_read_anew(tmp_path: Path) -> None:
    folder = tmp_path / "personas"
    folder.mkdir()
    async with staged(tmp_path, PERSONAS=str(folder)) as stage:
        names(stage, "old", default="old")
        plays(stage, "old", {"text": "old"})
        await stage.server.start()
        before = {persona["name"] for persona in (await told(stage))["personas"]}

        (folder / "pirate.md").write_text(_PERSONA.format(name="pirate"), encoding="utf-8")
        hang_up(stage)

        async def is_there() -> bool:
            return {persona["name"] for persona in (await told(stage))["personas"]} == before | {"pirate"}

        assert await until(is_there), stage.server.tail()


async def test_a_server_that_ends_while_it_reads_ends(tmp_path: Path) -> None:
    """An import that never ends is not waited for."""
    async with staged(tmp_path) as stage:
        names(stage, "old", default="old")
        plays(stage, "old", {"text": "old"})
        await stage.server.start()
        hung = (
            "from pathlib import Path\nfrom time import sleep\nPath(__file__).with_name('begun').touch()\nsleep(20)\n"
        )
        (tmp_path / "hung.py").write_text(hung, encoding="utf-8")
        names(stage, "old", default="old", more='[agents.hung]\nkind = "python"\nentrypoint = "hung:agent"\n')
        hang_up(stage)

        async def has_begun() -> bool:
            return (tmp_path / "begun").exists()

        assert await until(has_begun), stage.server.tail()
        assert (await stage.caller().chat("hello", wait=True)).status == 200
        _, took_s = await stage.server.terminate()

        assert took_s < WAIT_S
