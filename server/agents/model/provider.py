"""The model and the one request to it.

`openai:NAME` with an address of one's own is any server that speaks OpenAI's chat completions (llama.cpp, vLLM,
Ollama, gateways): no key of OpenAI is ever sent there. Without one it is OpenAI itself. Every other prefix is one of
pydantic-ai's, with the key and the address if they are given.

Nothing is asked twice: whether to try again is for who reads the code of the failure. Every wait ends after
`timeout_s` of silence. Leaving `opened` closes the connection, and with it the provider's work.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, Final, cast

import anyio
from httpx2 import Timeout
from pydantic_ai.direct import model_request_stream
from pydantic_ai.exceptions import UnexpectedModelBehavior, UserError
from pydantic_ai.messages import ModelMessage, ModelResponseStreamEvent
from pydantic_ai.models import Model, ModelRequestParameters, StreamedResponse, infer_model
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers import Provider, infer_provider_class
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition

from ...errors import ConfigError
from .calling import Offers
from .failures import PROVIDER_ERRORS
from .setup import Setup

CONNECT_TIMEOUT_S: Final = 10.0

_NO_KEY: Final = "none"  # local servers need no key, but the clients of the providers want one
_EMPTY: Final = {"type": "object", "properties": {}}


class ModelProvider:
    """A model that can be asked; made in a thread, as that reads files and may import more."""

    def __init__(self, setup: Setup) -> None:
        """Connect to nothing yet.

        Raises:
            ConfigError: there is no such provider, or it needs a key, or a library that is not installed.
        """
        self._model = _model(setup)
        self._timeout_s = setup.timeout_s
        self._settings = {
            **setup.settings,
            "max_retries": 0,
            "timeout": Timeout(setup.timeout_s, connect=min(CONNECT_TIMEOUT_S, setup.timeout_s)),
        }

    @property
    def name(self) -> str:
        """Who answers."""
        return self._model.system

    @asynccontextmanager
    async def opened(
        self, messages: list[ModelMessage], tools: Offers, **settings: Any
    ) -> AsyncIterator[StreamedResponse]:
        """Ask; the answer streams in by `next_piece`."""
        parameters = ModelRequestParameters(function_tools=_definitions(tools))
        request = model_request_stream(
            self._model,
            self._model.prepare_messages(messages, parameters),
            model_settings=cast("ModelSettings", {**self._settings, **settings}),
            model_request_parameters=parameters,
            instrument=False,
        )
        async with AsyncExitStack() as stack:
            with _readable(), anyio.fail_after(self._timeout_s):
                stream = await stack.enter_async_context(request)
            yield stream

    async def next_piece(self, pieces: AsyncIterator[ModelResponseStreamEvent]) -> ModelResponseStreamEvent | None:
        """Return what comes next, None at the end.

        Raises:
            TimeoutError: nothing came for too long.
            UnexpectedModelBehavior, ModelAPIError: it failed, or sent what nobody can read.
        """
        with _readable(), anyio.fail_after(self._timeout_s):
            return await anext(pieces, None)

    async def aclose(self) -> None:
        """Close the connections that are kept open."""
        close = getattr(getattr(self._model, "client", None), "close", None)
        closing = close() if close is not None else None
        if inspect.isawaitable(closing):
            await closing


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except (TimeoutError, *PROVIDER_ERRORS):
        raise
    except Exception as error:  # boundary: what a server sends can break the library at any place
        raise UnexpectedModelBehavior(f"{type(error).__name__}: {error}") from error


def _model(setup: Setup) -> Model:
    kind, _, name = setup.model.partition(":")
    try:
        if kind in ("openai", "openai-chat") and setup.base_url:
            return _chat_model(name, setup.base_url, setup.api_key)
        return infer_model(setup.model, lambda kind: _provider(kind, setup))
    except (UserError, ImportError, TypeError, ValueError) as error:
        raise ConfigError(f"model: {setup.model!r} cannot be used: {error}") from error


def _chat_model(name: str, base_url: str, api_key: str | None) -> Model:
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider

    # A stream that ends without a reason was cut, by a proxy say: the connection itself may have closed in order.
    profile = OpenAIModelProfile(openai_chat_streaming_requires_finish_reason=True)
    provider = OpenAICompatibleProvider("openai-compatible", base_url=base_url, api_key=api_key, profile=profile)
    return OpenAIChatModel(name, provider=provider)


def _provider(kind: str, setup: Setup) -> Provider[Any]:
    key = setup.api_key or (_NO_KEY if setup.base_url else None)
    given = {"api_key": key, "base_url": setup.base_url}
    return infer_provider_class(kind)(**{name: value for name, value in given.items() if value is not None})


def _definitions(tools: Offers) -> list[ToolDefinition]:
    return [
        ToolDefinition(
            name=name,
            description=offer.description,
            parameters_json_schema=_schema(offer.parameters),
        )
        for name, offer in tools.items()
    ]


def _schema(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema that says of itself that it is one of an object, as providers demand."""
    return {**_EMPTY, **parameters} if parameters.get("type", "object") == "object" else dict(_EMPTY)
