"""All MCP servers of a node: what runs for them, whose tools agents use, and what a person can command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import anyio
import orjson

from ...core.ports import Service
from ...errors import ConfigError, NotFound
from ..tools import Toolbox
from .command import Command
from .config import McpConfig
from .link import McpLimits
from .results import Outcome, cut
from .server import McpServer
from .tools import McpToolbox, model_name, tools_of

_LIST: Final = "tools/list"
_EVERY_SERVER: Final = "*"
_PATIENCE_S: Final = 10.0


class McpServers:
    """The servers of one file. Nothing is started before a hub runs the `services`."""

    def __init__(
        self, configs: Sequence[McpConfig], limits: McpLimits | None = None, before: McpServers | None = None
    ) -> None:
        """Servers of `before` whose configuration is the same go on: they are not started again."""
        self._limits = limits or McpLimits()
        self._servers: tuple[McpServer, ...] = tuple(
            (before and before._same(config, self._limits)) or McpServer(config, self._limits) for config in configs
        )

    def _same(self, config: McpConfig, limits: McpLimits) -> McpServer | None:
        return next((one for one in self._servers if one.config == config and one.limits == limits), None)

    @property
    def services(self) -> Mapping[str, Service]:
        """What must run, by the names of the parts in readiness."""
        return {f"mcp:{server.name}": server for server in self._servers}

    # --- for agents

    def toolbox(self, allowed: Sequence[str]) -> Toolbox:
        """Return the tools that an agent may use, by patterns of `server.tool`: `files.*`, `wiki.search`, `*`.

        Raises:
            ConfigError: a pattern can never fit: it names no server.
        """
        names = [server.name for server in self._servers]
        for pattern in allowed:
            server, dot, tool = pattern.partition(".")
            if pattern != _EVERY_SERVER and not (dot and tool and server in (*names, _EVERY_SERVER)):
                known = ", ".join(names) or "none"
                raise ConfigError(f"{pattern!r} must be SERVER.TOOL or SERVER.*; servers are {known}")
        return McpToolbox(self._servers, allowed)

    # --- for people

    async def listing(self) -> dict[str, Any]:
        """Return all tools that can be called, as the protocol lists them, by the names that people use.

        Waits for servers that are starting, at most a few seconds.
        """
        with anyio.move_on_after(_PATIENCE_S):
            for server in self._servers:
                await server.settle()
        return {
            "tools": [
                {
                    "name": tool.full_name,
                    "description": tool.spec.description,
                    "inputSchema": tool.spec.parameters,
                }
                for tool in tools_of(self._servers)
            ]
        }

    def command(self, name: str, arguments: Mapping[str, Any]) -> Command:
        """Return a call that can be made.

        Raises:
            NotFound: there is no such tool.
        """
        if name == _LIST:
            return Command(model_name(name), arguments, self._list, lambda outcome: dict(outcome.structured))
        server_name, _, tool_name = name.partition(".")
        server = next((one for one in self._servers if one.name == server_name), None)
        for tool in tools_of(self._servers):
            if tool.server is server and tool.name == tool_name:
                return Command(tool.spec.name, arguments, partial(server.call, tool_name, arguments))
        if server is None or server.tools or not tool_name:
            raise NotFound(f"command: there is no tool {name!r}", code="tool_not_found")
        # It is starting, or down: the call waits for it, and says if it does not come.
        return Command(model_name(f"{server_name}_{tool_name}"), arguments, partial(server.call, tool_name, arguments))

    async def _list(self) -> Outcome:
        listing = await self.listing()
        return Outcome(text=cut(orjson.dumps(listing).decode(), self._limits.max_result_bytes), structured=listing)
