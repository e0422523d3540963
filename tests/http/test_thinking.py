"""Agents that think, as a file names them: the model gets what its table says, and what changes there counts."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio.lowlevel

from scripts.blackbox.caller import Caller
from scripts.blackbox.process import Server
from tests.http.kit import ask, eventually, somebody, start
from tests.support.completions import Completions, calls, completions, says
from tests.support.mcp_running import SCRIPT

_AGENTS: Final = """\
default = "support"

[agents.support]
kind = "model"
model = "openai:tiny"
base_url = "{url}/v1"
api_key_env = "SUPPORT_KEY"
instructions = "Be brief."
documents = "handbook"
persona = "technical-support"
approvals = ["*.add"]

[agents.strict]
kind = "model"
model = "openai:tiny"
base_url = "{url}/v1"
api_key_env = "SUPPORT_KEY"
tools = ["*.add"]

[agents.mirror]
kind = "python"
entrypoint = "mirror:agent"

[agents.far]
kind = "remote"
url = "{own}/api/agents/mirror/run"
headers = {{ X-Forwarded-User = "${{FAR_USER}}" }}
"""
_MIRROR: Final = """\
async def agent(turn):
    yield f"{turn.user_id} said {turn.message}"
"""


class Setting:
    """A server, the model that its agents ask, and the files that name both."""

    def __init__(self, folder: Path, model: Completions) -> None:
        self.folder = folder
        self.model = model
        self.marks = folder / "marks"
        settings = {
            "AGENTS": str(folder / "agents.toml"),
            "MCP": str(folder / "mcp.json"),
            "SUPPORT_KEY": "sk-support",
            "FAR_USER": "far",
        }
        self.server = Server(folder, settings=settings, scripted=False)

    def write(self, *mcp_servers: str) -> None:
        """Write the files; every MCP server is the same program."""
        agents = _AGENTS.format(url=self.model.url, own=self.server.url)
        (self.folder / "agents.toml").write_text(agents, encoding="utf-8")
        (self.folder / "mirror.py").write_text(_MIRROR, encoding="utf-8")
        (self.folder / "handbook").mkdir(exist_ok=True)
        (self.folder / "handbook" / "whales.md").write_text("# Whales\n\nWhales sing at night.\n", encoding="utf-8")
        program = {"command": sys.executable, "args": [str(SCRIPT), "stdio"], "env": {"MARKS": str(self.marks)}}
        named = {"mcpServers": dict.fromkeys(mcp_servers, program)}
        (self.folder / "mcp.json").write_text(json.dumps(named), encoding="utf-8")

    async def parts(self) -> dict[str, Any]:
        """Return what readiness says of each part."""
        found: dict[str, Any] = (await self.server.wire.call("GET", "/health/ready")).json()["parts"]
        return found

    async def until_ok(self, *names: str) -> None:
        """Wait until these parts are there and well."""

        async def is_so() -> bool:
            parts = await self.parts()
            return all(parts.get(name, {}).get("status") == "ok" for name in names)

        await eventually(is_so)

    @property
    def offered(self) -> set[str]:
        """The tools that the last request offered to the model."""
        return {tool["function"]["name"] for tool in self.model.requests[-1].get("tools", ())}

    @property
    def told(self) -> str:
        """What the last request told the model before the conversation."""
        return "\n".join(str(one["content"]) for one in self.model.sent if one["role"] == "system")


@asynccontextmanager
async def thinking(folder: Path) -> AsyncIterator[tuple[Setting, Caller]]:
    """Run a server whose agents think; give it, and a user."""
    async with completions() as model:
        setting = Setting(folder, model)
        setting.write("sums")
        try:
            await setting.server.start()
            await setting.until_ok("agent:support", "documents:support", "mcp:sums")
            yield setting, somebody(setting.server)
        finally:
            setting.server.kill_now()
            setting.server.wire.forget()
            await anyio.lowlevel.checkpoint()


async def test_a_model_gets_what_its_table_says(tmp_path: Path) -> None:
    """Its key, its words, its persona or the session's, and the tools of its documents and servers."""
    async with thinking(tmp_path) as (setting, user):
        setting.model.will(says("Hel", "lo"), says("Again"), says("Sum"))

        answered = await ask(user, "hi", session_id="s")
        assert answered["messages"][-1]["content"] == "Hello"
        assert setting.model.keys == ["Bearer sk-support"]
        assert "Be brief." in setting.told
        assert {"search_documents", "sums_add"} <= setting.offered
        as_itself = setting.told

        await ask(user, "hi", session_id="s", persona="creative-writer")
        assert setting.told != as_itself
        await ask(user, "hi", agent="strict")
        assert setting.offered == {"sums_add"}


async def test_a_model_searches_and_is_told_the_sources(tmp_path: Path) -> None:
    async with thinking(tmp_path) as (setting, user):
        setting.model.will(calls(("search_documents", '{"query": "when do whales sing"}')), says("At night [1]."))

        answered = await ask(user, "when?")

        result = next(one for one in answered["messages"] if one["role"] == "tool")
        assert "sing at night" in result["content"]
        assert answered["messages"][-1]["content"] == "At night [1]."


async def test_a_tool_is_called_when_a_person_agreed(tmp_path: Path) -> None:
    async with thinking(tmp_path) as (setting, user):
        setting.model.will(calls(("sums_add", '{"a": 1, "b": 2}')), says("Three."))

        await ask(user, "add", session_id="s")
        [question] = (await user.state("s")).json()["state"]["pending"]
        agreed = {"session_id": "s", "tool_call_id": question["toolCallId"], "content": "approved"}
        answer = await user.call("POST", "/api/tool-result", agreed)

        assert (question["reason"], question["toolCallName"]) == ("approval", "sums_add")
        assert answer.status == 202, answer.json()["detail"]

        async def has_answered() -> bool:
            history = await user.messages("s")
            return history[-1].get("content") == "Three."

        await eventually(has_answered)
        assert [one["content"] for one in await user.messages("s") if one["role"] == "tool"] == ["3"]


async def test_a_remote_agent_is_asked_with_its_headers(tmp_path: Path) -> None:
    """The other end is this very server, for another user."""
    async with thinking(tmp_path) as (_, user):
        answered = await ask(user, "hello", agent="far")

        assert answered["messages"][-1]["content"] == "far said hello"


async def test_servers_of_tools_come_and_go_while_those_that_stay_are_left_alone(tmp_path: Path) -> None:
    async with thinking(tmp_path) as (setting, user):
        setting.write("sums", "more")
        os.kill(setting.server.pid, signal.SIGHUP)
        await setting.until_ok("mcp:sums", "mcp:more")
        setting.model.will(says("Hello"))
        await ask(user, "hi")
        assert {"sums_add", "more_add"} <= setting.offered

        setting.write("more")
        os.kill(setting.server.pid, signal.SIGHUP)

        async def is_gone() -> bool:
            return "mcp:sums" not in await setting.parts()

        await eventually(is_gone)
        setting.model.will(says("Hello"))
        await ask(user, "hi", agent="support")
        assert "sums_add" not in setting.offered
        assert setting.marks.read_text("utf-8").split().count("started") == 2


async def test_a_turn_keeps_the_tools_it_began_with(tmp_path: Path) -> None:
    """Its server is let go when the turn is over, not before."""
    async with thinking(tmp_path) as (setting, user):
        goes_on = anyio.Event()
        setting.model.will([goes_on, *calls(("sums_add", '{"a": 1, "b": 2}'))], says("Three."))
        await start(user, "add", session_id="s", agent="strict")
        setting.write("more")
        os.kill(setting.server.pid, signal.SIGHUP)
        await setting.until_ok("mcp:more")

        goes_on.set()

        async def has_answered() -> bool:
            history = await user.messages("s")
            return history[-1].get("content") == "Three."

        await eventually(has_answered)
        assert [one["content"] for one in await user.messages("s") if one["role"] == "tool"] == ["3"]
