"""The official models of AG-UI 1.0, as a judge of what the server sends."""

from __future__ import annotations

from typing import Any, Final

from ag_ui.core import Event as StandardEvent
from pydantic import BaseModel, TypeAdapter, ValidationError

from server.core.ports import Event

_ADAPTER: Final[TypeAdapter[Any]] = TypeAdapter(StandardEvent)
_MAY_BE_NULL: Final = frozenset({"value", "event", "rawEvent", "snapshot", "result"})


def violations(event: Event) -> list[str]:
    """Return what the standard has against an event: its models, null for absent, fields it does not know."""
    try:
        model = _ADAPTER.validate_python(event)
    except ValidationError as error:
        return [f"{event.get('type')}: {error}"]
    return _nulls(event) + _unknown(model, str(event["type"]))


def _nulls(event: Event) -> list[str]:
    found = [f"{event['type']}.{name} is null" for name, value in event.items() if value is None]
    found = [line for line in found if line.split(".")[1].split()[0] not in _MAY_BE_NULL]
    for message in event.get("messages", ()):
        found += [f"a message's {name} is null" for name, value in message.items() if value is None]
    return found


def _unknown(model: BaseModel, place: str) -> list[str]:
    found = [f"{place} has no field {name}" for name in model.model_extra or {}]
    for name in type(model).model_fields:
        value = getattr(model, name)
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, BaseModel):
                found += _unknown(item, f"{place}.{name}")
    return found
