"""Says what our agents say, as google-adk wants it: partial events, then one that is whole."""

# google-adk is installed in an environment of its own:
# mypy: ignore-errors
# mypy: disable-error-code="import-not-found"

from __future__ import annotations

from collections.abc import AsyncGenerator

from google.adk.agents import BaseAgent
from google.adk.agents.invocation_context import InvocationContext
from google.adk.events import Event
from google.genai import types

from scripts.benchmark.peers.pacing import agent, asked


class Words(BaseAgent):
    """An agent without a model."""

    async def _run_async_impl(self, context: InvocationContext) -> AsyncGenerator[Event, None]:
        message = context.user_content.parts[0].text
        async for word in agent(asked(message)):
            yield self._event(context, word, partial=True)
        yield self._event(context, "the whole answer", partial=False)

    def _event(self, context: InvocationContext, text: str, *, partial: bool) -> Event:
        content = types.Content(role="model", parts=[types.Part(text=text)])
        return Event(invocation_id=context.invocation_id, author=self.name, content=content, partial=partial)


root_agent = Words(name="words")
