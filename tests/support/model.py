"""Model agents for tests, tools for them, and turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio

from server.agents.model import ModelAgent
from server.agents.personas import Personas
from server.agents.tools import Tool, ToolResult, ToolSpec
from server.core.ports import Event, Message, Turn

OPENAI = "openai"
ANTHROPIC = "anthropic"


def model_agent(url: str, *, route: str = OPENAI, **settings: Any) -> ModelAgent:
    """Return an agent whose model is at `url`, over one of two routes."""
    base_url = f"{url}/v1" if route == OPENAI else url
    given: dict[str, Any] = {"context_tokens": 8192, "timeout_s": 10.0, "personas": Personas({})}
    return ModelAgent(f"{route}:tiny", base_url=base_url, **{**given, **settings})


class Box:
    """A toolbox that is a list."""

    def __init__(self, *tools: Tool) -> None:
        self.content = list(tools)

    def tools(self) -> Sequence[Tool]:
        """Return what is in it now."""
        return self.content


@dataclass
class Answerer:
    """A tool that returns, or raises, what the test says, and notes what it was called with."""

    name: str
    result: ToolResult | Exception = field(default_factory=lambda: ToolResult(content="42"))
    needs_approval: bool = False
    calls: list[dict[str, Any]] = field(default_factory=list)

    @property
    def spec(self) -> ToolSpec:
        """How it is offered."""
        parameters = {"type": "object", "properties": {"a": {"type": "integer"}}}
        return ToolSpec(
            name=self.name, description="Answers.", parameters=parameters, needs_approval=self.needs_approval
        )

    async def call(self, arguments: Mapping[str, Any], turn: Turn) -> ToolResult:
        """Answer."""
        self.calls.append(dict(arguments))
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


class Waiter(Answerer):
    """A tool that never ends by itself."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.has_begun = anyio.Event()
        self.was_cancelled = False

    async def call(self, arguments: Mapping[str, Any], turn: Turn) -> ToolResult:
        """Wait."""
        self.has_begun.set()
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            self.was_cancelled = True
            raise
        return self.result  # type: ignore[return-value]  # never reached


def a_turn(*messages: Message, **fields: Any) -> Turn:
    """Return a turn whose last message is the new one; ids are made up."""
    numbered = [{"id": f"m{number}", **message} for number, message in enumerate(messages)]
    given = {"session_id": "s", "run_id": "r", "user_id": "ann", "message": "", **fields}
    return Turn(messages=numbered, **given)


def user(text: str) -> Message:
    """Return what a user says."""
    return {"role": "user", "content": text}


def assistant(text: str = "", /, **calls: tuple[str, str]) -> Message:
    """Return what the assistant says and calls: id=(name, arguments)."""
    called = [
        {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
        for call_id, (name, arguments) in calls.items()
    ]
    return {
        "role": "assistant",
        **({"content": text} if text else {}),
        **({"toolCalls": called} if called else {}),
    }


def result(call_id: str, content: str = "42", **fields: Any) -> Message:
    """Return what a tool said."""
    return {"role": "tool", "toolCallId": call_id, "content": content, **fields}


async def all_of(agent: ModelAgent, turn: Turn) -> list[Event]:
    """Return all that an agent yields."""
    return [event async for event in agent(turn) if isinstance(event, dict)]
