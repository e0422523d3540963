"""pydantic-ai's own AG-UI app around a scripted model, as another server would run it: no network, no model.

The model does what the last user message says: `add` calls a tool, `pay` one that needs approval, `sign` one of the
client, `wait` streams a word and then nothing, `think` reasons first; anything else is answered with what was said.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import anyio
from pydantic_ai import Agent, DeferredToolRequests
from pydantic_ai.messages import ModelMessage, ModelRequest, ToolReturnPart, UserPromptPart
from pydantic_ai.models.function import AgentInfo, DeltaThinkingPart, DeltaToolCall, FunctionModel
from pydantic_ai.ui.ag_ui import AGUIAdapter
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

CALLS = {"add": '{"a": 1, "b": 2}', "pay": '{"sum": 5}', "sign": '{"text": "x"}'}


class PydanticRemote:
    """The app. `paid` says how often the tool ran, `stopped` that the model was cut off while it waited."""

    def __init__(self) -> None:
        self.paid = 0
        self.stopped = anyio.Event()
        self._agent = Agent(FunctionModel(stream_function=self._answer), output_type=[str, DeferredToolRequests])
        self._agent.tool_plain(name="add")(self._add)
        self._agent.tool_plain(name="pay", requires_approval=True)(self._pay)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request as pydantic-ai does."""
        request = Request(scope, receive)
        response = await AGUIAdapter.dispatch_request(request, agent=self._agent, include_usage=True)
        await response(scope, receive, send)

    def _add(self, a: int, b: int) -> int:
        return a + b

    def _pay(self, sum: int) -> str:
        self.paid += 1
        return f"paid {sum}"

    async def _answer(self, messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[Any]:
        asked = _prompts(messages)[-1]
        results = _results(messages)
        if results:
            yield "The result is "
            yield f"{results[-1]}."
        elif asked in CALLS:
            yield {0: DeltaToolCall(name=asked, json_args=CALLS[asked][:4], tool_call_id=f"{asked}|{len(messages)}")}
            yield {0: DeltaToolCall(json_args=CALLS[asked][4:])}
        elif asked == "wait":
            yield "Well"
            try:
                await anyio.sleep_forever()
            finally:
                self.stopped.set()
        else:
            if asked == "think":
                yield {0: DeltaThinkingPart(content="hm")}
            yield "You said "
            yield ", ".join(_prompts(messages))


def _prompts(messages: Sequence[ModelMessage]) -> list[str]:
    parts = [part for message in messages for part in message.parts]
    return [str(part.content) for part in parts if isinstance(part, UserPromptPart)]


def _results(messages: Sequence[ModelMessage]) -> list[str]:
    """Return the results that came since the last prompt."""
    found: list[str] = []
    for message in messages:
        for part in message.parts:
            if isinstance(part, UserPromptPart):
                found = []
            elif isinstance(part, ToolReturnPart) and isinstance(message, ModelRequest):
                found.append(part.model_response_str())
    return found
