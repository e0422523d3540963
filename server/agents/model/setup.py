"""What a model agent is set up with: plain values, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from ...errors import ConfigError
from ..tools import Toolbox

MIN_CONTEXT_TOKENS: Final = 256


class Persona(Protocol):
    """How to speak: what the model is told, and how freely it may choose its words."""

    @property
    def instructions(self) -> str:
        """Stands before the conversation."""

    @property
    def temperature(self) -> float | None:
        """None leaves it to the model."""


class Personas(Protocol):
    """Personas by name."""

    def get(self, name: str, /) -> Persona | None:
        """Return the one of this name, or None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """A model, where it is, and what it is given. `settings` are pydantic-ai's ModelSettings (max_tokens, thinking …).

    `context_tokens` is what a request and its answer take together. `timeout_s` is how long the provider may say
    nothing. `tool_names` are the tools of the server on offer, None for all; those in `approvals` are asked about
    before each call.
    """

    model: str
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    toolboxes: Sequence[Toolbox] = ()
    tool_names: Sequence[str] | None = None
    approvals: Sequence[str] = ()
    personas: Personas
    instructions: str
    context_tokens: int
    timeout_s: float
    settings: Mapping[str, Any] = field(default_factory=dict)
    summarize: bool = False

    def __post_init__(self) -> None:
        kind, _, name = self.model.partition(":")
        if not kind or not name:
            raise ConfigError(f'model: must be "PROVIDER:NAME", such as "openai:gpt-5", not {self.model!r}')
        if self.base_url is not None and not _is_address(self.base_url):
            raise ConfigError("base_url: must be an http or https address")  # not shown: it may hold a password
        if self.context_tokens < MIN_CONTEXT_TOKENS:
            raise ConfigError(f"context_tokens: must be {MIN_CONTEXT_TOKENS} or more, not {self.context_tokens}")
        if self.timeout_s <= 0:
            raise ConfigError(f"timeout_s: must be more than 0, not {self.timeout_s:g}")


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False
