"""The model agent: one instance for the node, an agent for every run and a service for its connections.

The library behind it takes seconds to import, so that is left to a worker thread: a moment after the node started, or
in the first run when that comes earlier. The agent keeps nothing about sessions.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, Final

import anyio
from anyio import to_thread

from ...core.ports import Event, Turn
from ...errors import AgentFailed, ConfigError
from ..tools import Toolbox
from .setup import Personas, Setup

if TYPE_CHECKING:
    from .provider import ModelProvider

WARM_UP_AFTER_S: Final = 1.0
"""By then a node that starts has answered its first request; importing competes with the loop for one core."""
_CLOSE_TIMEOUT_S: Final = 2.0

_log = logging.getLogger("sessionstream.model")


class ModelAgent:
    """Answers with a language model and tools. An `Agent` and a `Service`."""

    def __init__(  # noqa: PLR0913 - these are the keys of one agent's table, each with a default that means: not given
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        toolboxes: Sequence[Toolbox] = (),
        tool_names: Sequence[str] | None = None,
        personas: Personas,
        instructions: str = "",
        context_tokens: int,
        timeout_s: float,
        approvals: Sequence[str] = (),
        settings: Mapping[str, Any] | None = None,
        summarize: bool = False,
    ) -> None:
        """Check and keep what `Setup` describes; nothing is imported or connected yet.

        Raises:
            ConfigError: a value is wrong, and is named; or the extra `model` is not installed.
        """
        self._setup = Setup(
            model=model,
            base_url=base_url,
            api_key=api_key,
            toolboxes=toolboxes,
            tool_names=tool_names,
            personas=personas,
            instructions=instructions,
            context_tokens=context_tokens,
            timeout_s=timeout_s,
            approvals=approvals,
            settings=settings or {},
            summarize=summarize,
        )
        if importlib.util.find_spec("pydantic_ai") is None:
            raise ConfigError('model: needs the extra "model": pip install "sessionstream[model]"')
        self._provider: ModelProvider | None = None
        self._connecting = anyio.Lock()
        self._trouble = ""
        self._runs = 0
        self._is_retired = False
        """Its service has ended; runs may go on, as after a reload."""

    # --- the agent

    async def __call__(self, turn: Turn, /) -> AsyncIterator[str | Event]:
        """Answer the turn: text, thoughts, tool calls and their results, or a question to the client."""
        self._runs += 1
        try:
            provider = await self._connected()
            from .answering import Answering

            async with aclosing(Answering(self._setup, provider, turn).events()) as events:
                async for event in events:
                    yield event
        finally:
            self._runs -= 1
            if self._is_retired:
                await self.aclose()

    # --- the service

    async def run(self) -> None:
        """Get ready, then keep the connections until cancelled."""
        self._is_retired = False
        try:
            await anyio.sleep(WARM_UP_AFTER_S)
            with suppress(AgentFailed):
                await self._connected()
            await anyio.sleep_forever()
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Close the connections that are kept open, as soon as no run needs them; a later run closes its own."""
        self._is_retired = True
        if self._runs or self._provider is None:
            return
        provider, self._provider = self._provider, None
        with anyio.move_on_after(_CLOSE_TIMEOUT_S, shield=True):
            await provider.aclose()

    def health(self) -> dict[str, Any]:
        """Return status and model; a provider that cannot be reached now is not asked here, but by runs."""
        shown = {"model": self._setup.model}
        return {"status": "down", **shown, "detail": self._trouble} if self._trouble else {"status": "ok", **shown}

    async def _connected(self) -> ModelProvider:
        if self._provider is not None:
            return self._provider
        async with self._connecting:
            if self._provider is None:
                try:
                    self._provider = await to_thread.run_sync(_connect, self._setup, abandon_on_cancel=True)
                except ConfigError as error:
                    # For the operator: health and log say it whole, the user is told that it is so.
                    self._trouble = str(error)
                    _log.error("%s", error)
                    raise AgentFailed(code="model_misconfigured") from error
                self._trouble = ""
        return self._provider


def _connect(setup: Setup) -> ModelProvider:
    try:
        from . import answering  # noqa: F401 - imported here, in the thread, for the first run to find
        from .provider import ModelProvider
    except ImportError as error:
        raise ConfigError(f"model: {setup.model!r} cannot be used: {error}") from error
    return ModelProvider(setup)
