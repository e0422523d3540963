"""What an agent yields, made plain: encoded once, moved to where its state lives, closable when it ends early."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import orjson

from ..errors import AgentFailed
from .ports import Event, Message


def ids_of(history: Sequence[Message]) -> set[str]:
    """Return the ids of messages and tool calls: a run must not use them again."""
    calls = (call["id"] for message in history for call in message.get("toolCalls", ()))
    return {*(message["id"] for message in history), *calls}


def encoded(event: Any) -> bytes:
    """Return an event, or a model of one, as JSON.

    Raises:
        AgentFailed: with `agent_protocol`: it is none.
    """
    dump = getattr(event, "model_dump", None)  # a model of the `ag_ui` package
    if dump is not None:
        event = dump(mode="json", by_alias=True, exclude_none=True)
    try:
        return orjson.dumps(event)
    except (TypeError, ValueError) as error:
        kind = event.get("type") if isinstance(event, dict) else type(event).__name__
        raise AgentFailed(f"{kind!r} is not JSON: {error}", code="agent_protocol") from None


def moved_to_artifacts(operations: Sequence[Mapping[str, Any]]) -> list[Event]:
    """Return a patch of the agent's state as one of the session's, where it lives under `artifacts`."""
    return [
        {
            name: f"/artifacts{value}" if name in ("path", "from") and isinstance(value, str) else value
            for name, value in operation.items()
        }
        for operation in operations
    ]


def closable(answer: AsyncIterator[Any]) -> Any:
    """Return the iterator if it can be closed, else one around it that can."""
    if hasattr(answer, "aclose"):
        return answer

    async def _around() -> AsyncIterator[Any]:
        async for piece in answer:
            yield piece

    return _around()
