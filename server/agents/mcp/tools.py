"""Tools of MCP servers as agents are offered them.

A person calls a tool `server.tool`. A model calls it by a name that every provider takes: letters, digits, `_` and `-`,
64 at most, and unlike any other's.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

import mcp_types as types

from ...core.ports import Turn
from ..tools import Tool, ToolResult, ToolSpec
from .results import cut
from .server import McpServer

_log = logging.getLogger("sessionstream.mcp")

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_-]")
_MAX_NAME_CHARS: Final = 64
_MAX_DESCRIPTION_BYTES: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class McpTool:
    """One tool of one server."""

    server: McpServer
    name: str
    """As the server calls it."""
    spec: ToolSpec

    @property
    def full_name(self) -> str:
        """As a person calls it."""
        return f"{self.server.name}.{self.name}"

    async def call(self, arguments: Mapping[str, Any], turn: Turn) -> ToolResult:
        """Call it; its server checks the arguments."""
        outcome = await self.server.call(self.name, arguments)
        return ToolResult(content=outcome.text, is_error=outcome.is_error)


def tools_of(servers: Sequence[McpServer]) -> list[McpTool]:
    """Return what the servers offer now, each tool with a name of its own."""
    names = [server.name for server in servers]
    return [_tool(server, offer, names) for server in servers for offer in server.tools]


def _tool(server: McpServer, offer: types.Tool, servers: Sequence[str]) -> McpTool:
    spec = ToolSpec(
        name=_own_name(server.name, offer.name, servers),
        description=cut(offer.description or offer.title or offer.name, _MAX_DESCRIPTION_BYTES),
        parameters=offer.input_schema,
    )
    return McpTool(server=server, name=offer.name, spec=spec)


def model_name(text: str, ending: str = "") -> str:
    """Return a name that models may use."""
    return _UNSAFE.sub("_", text)[: _MAX_NAME_CHARS - len(ending)] + ending


def _own_name(server: str, tool: str, servers: Sequence[str]) -> str:
    """Return a name that no other tool can have, whichever servers are there: a person may have allowed it by name."""
    name = f"{server}_{tool}"
    is_clear = not any(name.startswith(f"{other}_") for other in servers if other != server)
    if is_clear and model_name(name) == name:
        return name
    return model_name(name, f"_{hashlib.sha256(f'{server}.{tool}'.encode()).hexdigest()[:8]}")


class McpToolbox:
    """The tools that one agent may use, by patterns of `server.tool`: `files.*`, `wiki.search`, `*`."""

    def __init__(self, servers: Sequence[McpServer], allowed: Sequence[str]) -> None:
        self._servers = servers
        self._allowed = tuple(allowed)
        self._told: set[str] = set()
        """Patterns that fit nothing, as the log has it."""

    def tools(self) -> Sequence[Tool]:
        """Return those that can be called now."""
        known = tools_of(self._servers)
        self._tell({tool.full_name for tool in known})
        return [tool for tool in known if self._may_use(tool.full_name)]

    def _tell(self, known: Collection[str]) -> None:
        """Log a pattern that a server, which is there, has no tool for: else nobody would notice."""
        there = {server.name for server in self._servers if server.tools}
        for pattern in self._allowed:
            server = pattern.partition(".")[0]
            if server in there and pattern not in self._told and not any(fnmatchcase(name, pattern) for name in known):
                self._told.add(pattern)
                _log.warning(
                    "the MCP server %s has no tool that fits %r, which an agent's tools or approvals name",
                    server,
                    pattern,
                )

    def _may_use(self, full_name: str) -> bool:
        return any(fnmatchcase(full_name, pattern) for pattern in self._allowed)
