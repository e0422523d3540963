"""Tools that need a person's word: those of a toolbox that others, which name them, have too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..core.ports import Turn
from .tools import Tool, Toolbox, ToolResult, ToolSpec


class AskingTools:
    """The tools of a toolbox; a person is asked before a call of one that is among `asked`."""

    def __init__(self, toolbox: Toolbox, asked: Sequence[Toolbox]) -> None:
        self._toolbox = toolbox
        self._asked = asked

    def tools(self) -> Sequence[Tool]:
        """Return those that can be called now."""
        names = {tool.spec.name for toolbox in self._asked for tool in toolbox.tools()}
        return [_AskingTool(tool) if tool.spec.name in names else tool for tool in self._toolbox.tools()]


class _AskingTool:
    def __init__(self, tool: Tool) -> None:
        self._tool = tool

    @property
    def spec(self) -> ToolSpec:
        return replace(self._tool.spec, needs_approval=True)

    async def call(self, arguments: Mapping[str, Any], turn: Turn) -> ToolResult:
        return await self._tool.call(arguments, turn)


def offered(toolboxes: Sequence[Toolbox]) -> list[dict[str, Any]]:
    """Return what can be called now as AG-UI's `tools`."""
    specs = [tool.spec for toolbox in toolboxes for tool in toolbox.tools()]
    return [{"name": spec.name, "description": spec.description, "parameters": dict(spec.parameters)} for spec in specs]
