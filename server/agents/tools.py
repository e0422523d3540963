"""Tools: what an agent may call on the server, whoever offers them (the documents, an MCP server, Python).

An agent that calls tools streams the call and its result itself (TOOL_CALL_START … TOOL_CALL_RESULT); a tool only
works. What a *client* performs is no tool of the server: it stands in `Turn.tools` as AG-UI describes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..core.ports import Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What came of a call: text for the model, bounded in bytes by the tool; structured sources for the client.

    `is_error` says that the tool could not do it; the model is told so and goes on. A tool raises only when it is
    cancelled.
    """

    content: str
    is_error: bool = False
    sources: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """How a tool is offered: `name` as the model calls it, `parameters` as JSON Schema of an object."""

    name: str
    description: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    needs_approval: bool = False
    """A person is asked before each call."""


class Tool(Protocol):
    """One tool. A call may run at the same time as others, is cancelled with its run, and ends in bounded time."""

    @property
    def spec(self) -> ToolSpec:
        """How it is offered."""

    async def call(self, arguments: Mapping[str, Any], turn: Turn) -> ToolResult:
        """Do it for this turn; `arguments` were made by a model, so they are checked here."""


class Toolbox(Protocol):
    """Tools that come and go together: those of one MCP server, say."""

    def tools(self) -> Sequence[Tool]:
        """Return the tools that can be called now; never blocks."""
