"""The tools of MCP servers as agents are offered them, and as people call them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from server.agents.mcp.config import StdioConfig
from server.agents.mcp.servers import McpServers
from server.agents.mcp.tools import model_name
from server.core.ports import Turn
from server.errors import ConfigError, NotFound
from tests.support.mcp_running import running, stdio

TURN = Turn(session_id="s", run_id="r", user_id="u", message="", messages=[])


def _names(servers: McpServers, *allowed: str) -> list[str]:
    return [tool.spec.name for tool in servers.toolbox(allowed).tools()]


async def test_an_agent_is_offered_what_its_list_allows(tmp_path: Path) -> None:
    async with running(stdio(tmp_path / "marks"), stdio(tmp_path / "more", name="more-sums")) as servers:
        assert _names(servers) == []
        assert _names(servers, "sums.add") == ["sums_add"]
        assert _names(servers, "more-sums.add", "sums.e*") == ["sums_echo", "sums_environment", "more-sums_add"]
        assert _names(servers, "*.add") == ["sums_add", "more-sums_add"]
        assert len(_names(servers, "sums.*")) == 12
        assert len(_names(servers, "*")) == 24


async def test_a_tool_has_its_schema_and_answers(tmp_path: Path) -> None:
    async with running(stdio(tmp_path / "marks")) as servers:
        (tool,) = servers.toolbox(["sums.add"]).tools()
        result = await tool.call({"a": 1, "b": 2}, TURN)
        wrong = await tool.call({}, TURN)

    assert tool.spec.description == "Add two numbers."
    assert tool.spec.parameters["required"] == ["a", "b"]
    assert (result.content, result.is_error) == ("3", False)
    assert wrong.is_error


@pytest.mark.parametrize("pattern", ["sums", "add", "nobody.add", "sums.", ".add", ""])
def test_a_pattern_that_fits_no_server_is_refused(tmp_path: Path, pattern: str) -> None:
    """A mistake in an allow-list is said at the start, not by tools that are missing."""
    servers = McpServers([stdio(tmp_path / "marks")])

    with pytest.raises(ConfigError, match=re.escape(f"{pattern!r} must be SERVER.TOOL or SERVER.*; servers are sums")):
        servers.toolbox([pattern])


async def test_a_pattern_that_fits_no_tool_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A person who is to be asked about `sums.ad` is asked about nothing."""
    async with running(stdio(tmp_path / "marks")) as servers:
        toolbox = servers.toolbox(["sums.ad", "sums.add", "*"])
        for _ in range(2):
            toolbox.tools()

    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told == ["the MCP server sums has no tool that fits 'sums.ad', which an agent's tools or approvals name"]


def test_names_are_what_every_provider_takes() -> None:
    assert model_name("files.read file/ä") == "files_read_file__"
    assert model_name("x" * 100) == "x" * 64
    assert model_name("x" * 100, "_2") == "x" * 62 + "_2"


async def test_two_tools_never_have_one_name(tmp_path: Path) -> None:
    """`a_b` of server `c` and `b` of server `c_a` would be the same."""
    long = "s" * 64
    async with running(stdio(tmp_path / "marks", name=long), stdio(tmp_path / "more", name=f"{long[:-1]}t")) as servers:
        names = _names(servers, "*")

    assert len(set(names)) == len(names) == 24
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) for name in names)


async def test_a_tool_keeps_its_name_whichever_servers_are_there(tmp_path: Path) -> None:
    """Else what was allowed under a name would be another tool by the time it is called."""
    long = "s" * 64
    other = stdio(tmp_path / "marks", name=f"{long[:-1]}t")
    async with running(stdio(tmp_path / "more", name=long), other) as servers:
        names = _names(servers, f"{other.name}.*")
    async with running(StdioConfig(name=long, command="nowhere"), other) as servers:
        alone = _names(servers, f"{other.name}.*")

    assert names == alone


async def test_a_name_that_two_tools_could_have_is_neithers(tmp_path: Path) -> None:
    """`add` of `sums_a` would be the `a_add` that `sums` may have one day."""
    async with running(stdio(tmp_path / "marks"), stdio(tmp_path / "more", name="sums_a")) as servers:
        (name,) = _names(servers, "sums_a.add")
        (plain,) = _names(servers, "sums.add")

    assert re.fullmatch(r"sums_a_add_[0-9a-f]{8}", name)
    assert plain == "sums_add"


def test_servers_that_did_not_change_go_on(tmp_path: Path) -> None:
    """The file read again starts what is new only."""
    kept, changed = stdio(tmp_path / "marks"), stdio(tmp_path / "marks", name="more")
    before = McpServers([kept, changed])
    after = McpServers([kept, stdio(tmp_path / "other", name="more")], before=before)

    assert after.services["mcp:sums"] is before.services["mcp:sums"]
    assert after.services["mcp:more"] is not before.services["mcp:more"]


async def test_a_command_names_a_tool_that_is_there(tmp_path: Path) -> None:
    async with running(stdio(tmp_path / "marks")) as servers:
        listing = await servers.listing()
        for name in ("sums.swim", "nobody.add", "sums", "sums.", "", "tools/call"):
            with pytest.raises(NotFound, match="there is no tool"):
                servers.command(name, {})
        command = servers.command("sums.add", {"a": 1, "b": 2})

    assert listing["tools"][0]["name"] == "sums.add"
    assert listing["tools"][0]["inputSchema"]["required"] == ["a", "b"]
    assert (command.entry.kind, command.result) == ("mcp", None)


def test_a_command_for_a_server_that_is_not_there_yet_can_be_made() -> None:
    """It waits for the server, or says that it is down."""
    servers = McpServers([StdioConfig(name="late", command="nowhere")])

    assert servers.command("late.add", {}).result is None
