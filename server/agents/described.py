"""What every kind of agent says of itself, as the fields of its entry, and the keys that it takes for that."""

from __future__ import annotations

from typing import Any, Final

from ..core.ports import AgentLimits
from ..settings import canonical_origin
from .personas import DEFAULT_PERSONA
from .section import Section
from .shared import Shared

COMMON_KEYS: Final = ("persona", "personas", "allowed_origins", "limits")

_LIMITS: Final = ("run_timeout_seconds", "max_run_bytes", "max_message_chars")


def described(
    section: Section, shared: Shared, kind: str, description: str, *, is_persona: bool = False
) -> dict[str, Any]:
    """Return what every kind says of itself; `capabilities` has the shape of AG-UI's AgentCapabilities.

    `is_persona`: the agent speaks as one of the personas that the server has, always.
    """
    description = section.text("description") or description
    identity = {"name": section.name, "type": kind}
    if description:
        # Absent, not empty or null: that is what optional means in AG-UI.
        identity["description"] = description
    personas = _personas(section, shared, is_persona=is_persona)
    return {
        "name": section.name,
        "kind": kind,
        "description": description,
        "capabilities": {"identity": identity, "transport": {"streaming": True, "resumable": True}},
        "personas": personas,
        "persona": _persona(section, personas, is_persona=is_persona),
        "limits": _limits(section.table("limits")),
        "allowed_origins": frozenset(_origin(section, text) for text in section.texts("allowed_origins") or ()),
    }


def _personas(section: Section, shared: Shared, *, is_persona: bool) -> tuple[str, ...] | None:
    """Return the names that the agent takes; None for one that makes what it likes of any text."""
    names = section.texts("personas")
    if names is None:
        return shared.personas.names if is_persona else None
    if not names:
        raise section.wrong("personas", "names none; leave it out to allow all")
    for name in names:
        if is_persona and shared.personas.get(name) is None:
            raise section.wrong("personas", f"there is no {name!r}; known are {', '.join(shared.personas.names)}")
    return names


def _persona(section: Section, personas: tuple[str, ...] | None, *, is_persona: bool) -> str | None:
    name = section.text("persona")
    if name is None and is_persona and personas is not None:
        return DEFAULT_PERSONA if DEFAULT_PERSONA in personas else personas[0]
    if name is not None and personas is not None and name not in personas:
        raise section.wrong("persona", f"must be one of {', '.join(personas)}, not {name!r}")
    return name or None


def _limits(section: Section) -> AgentLimits:
    section.known(_LIMITS, "limits")
    settings = section.settings
    run_timeout_s = section.seconds("run_timeout_seconds", 0) if "run_timeout_seconds" in section.values else None
    most: dict[str, float] = {"max_run_bytes": settings.max_run_bytes, "max_message_chars": settings.max_message_chars}
    if settings.run_timeout_seconds:
        most["run_timeout_seconds"] = settings.run_timeout_seconds
    counts = {key: section.whole(key, 0, 1) if key in section.values else None for key in _LIMITS[1:]}
    for key, limit in most.items():
        if section.values.get(key, 0) > limit:
            raise section.wrong(key, f"must be at most {key.upper()} ({limit:g})")
    return AgentLimits(run_timeout_s=run_timeout_s, **counts)


def _origin(section: Section, text: str) -> str:
    origin = canonical_origin(text)
    if origin is None:
        raise section.wrong("allowed_origins", f"must hold origins such as https://example.org, not {text!r}")
    return origin
