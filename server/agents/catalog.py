r"""The catalog: the agents that `agents.toml` names, or those of the settings.

    default = "support"          # may be left out when there is one agent

    [agents.support]
    kind = "model"               # model | documents | remote | python | scripted
    description = "…"            # shown to clients

| kind | its keys |
|---|---|
| `python` | `entrypoint`: `module:function`, looked for beside the file, then on `PYTHONPATH` |
| `scripted` | `script`: a JSON file; may be left out |
| `documents` | `folder`; left out, the setting `DOCUMENTS` counts |
| `model` | `model`, `base_url`, `api_key_env`, `timeout_seconds`, `context_tokens`: the settings' when left out; \
            `instructions`, `settings` (`max_tokens`, …), `summarize`; `documents`, `tools`, `approvals` |
| `remote` | `url`, `headers`, `timeout_seconds` |

A model can search the folder `documents`. It may call `tools`, all there are when that is left out, and those of
`approvals` only when a person agrees: `search_documents`, `server.tool` or `server.*`. No key stands in the file:
`api_key_env` names a variable of the environment, and `${NAME}` in one of the `headers` is one.

Every kind takes `description`; `persona`, its own, and `personas`, the only ones it takes; `allowed_origins`, other
sites whose pages may talk to this agent and to no other; and `[agents.NAME.limits]` with `run_timeout_seconds`,
`max_run_bytes`, `max_message_chars`, each at most what the settings allow.

Without a file the documents agent answers. With `MODEL` set a model does by default, and can search `DOCUMENTS` if that
is given; with a file too, unless one of its agents is a model or `default` says otherwise. Paths are relative to the
file. Names are ids as clients may choose them. Whatever is wrong is a `ConfigError` that begins with the file and names
the key.

Read at the start, and anew when the operator says so: what did not change goes on, Python modules that were imported
stay as they are.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..core.commands import Commands
from ..core.ports import AgentEntry, Service
from ..errors import ConfigError
from ..ids import is_client_id
from ..settings import Settings
from .kinds import build, require_kind
from .personas import Persona
from .section import Section
from .shared import Shared

_MODEL: Final = "model"
_DOCUMENTS: Final = "documents"
"""The agents of the settings: each has the name of its kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Every agent by name, in the order of the file; `default` answers when a session names none."""

    default: str
    entries: tuple[AgentEntry, ...]
    shared: Shared

    @property
    def personas(self) -> Sequence[Mapping[str, Any]]:
        """Every persona that agents may know, as clients see it."""
        return [_shown(persona) for persona in self.shared.personas]

    @property
    def commands(self) -> Commands | None:
        """The tools of MCP servers."""
        return self.shared.mcp

    @property
    def services(self) -> Mapping[str, Service]:
        """What the agents need beside runs, by the names of the parts in readiness."""
        own = {f"agent:{entry.name}": entry.service for entry in self.entries if entry.service is not None}
        return {**own, **self.shared.services}

    def get(self, name: str) -> AgentEntry | None:
        """Return the agent of this name, or None."""
        return next((entry for entry in self.entries if entry.name == name), None)


def _shown(persona: Persona) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "name": persona.name,
        "description": persona.description,
        "greeting": persona.greeting,
    }
    return shown if persona.temperature is None else {**shown, "temperature": persona.temperature}


def load_catalog(
    settings: Settings, *, environ: Mapping[str, str] = os.environ, before: Catalog | None = None
) -> Catalog:
    """Return the agents of the settings; reads files and imports modules, so it blocks.

    What is as it was `before` is shared with that catalog.

    Raises:
        ConfigError: a file, or what it names, is missing or wrong.
    """
    default, sections = _of_file(settings, environ) if settings.agents else _of_settings(settings, environ)
    for section in sections:
        require_kind(section)
    shared = Shared(settings, environ, before.shared if before is not None else None)
    entries = tuple(build(section, shared) for section in sections)
    shared.settle()
    return Catalog(default=default, entries=entries, shared=shared)


def _of_settings(settings: Settings, environ: Mapping[str, str]) -> tuple[str, list[Section]]:
    """Return the default and the agents that there are without a file."""
    sections = [_MODEL, _DOCUMENTS] if settings.model else [_DOCUMENTS]
    return sections[0], [_section(name, None, {"kind": name}, settings, environ) for name in sections]


def _of_file(settings: Settings, environ: Mapping[str, str]) -> tuple[str, list[Section]]:
    """Return the default and the agents of the file; with the model of the settings if no agent there is one."""
    file = Path(settings.agents)
    document = _read_toml(file)
    for key in document:
        if key not in ("default", "agents"):
            raise ConfigError(f"{file}: {key}: unknown key; known are agents, default")
    tables = _tables(file, document.get("agents"))
    sections = [_section(name, file, values, settings, environ) for name, values in tables.items()]
    has_model = _MODEL in tables or any(values.get("kind") == _MODEL for values in tables.values())
    if settings.model and not has_model:
        sections.append(_section(_MODEL, None, {"kind": _MODEL}, settings, environ))
        document.setdefault("default", _MODEL)
    return _default(file, document, [section.name for section in sections]), sections


def _section(
    name: str, file: Path | None, values: Mapping[str, Any], settings: Settings, environ: Mapping[str, str]
) -> Section:
    return Section(name=name, file=file, values=values, settings=settings, environ=environ)


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: is not TOML: {error}") from error


def _tables(file: Path, tables: object) -> Mapping[str, Mapping[str, Any]]:
    if not isinstance(tables, dict) or not tables:
        raise ConfigError(f"{file}: agents: needs at least one table [agents.NAME]")
    for name, values in tables.items():
        if not is_client_id(name):
            raise ConfigError(f"{file}: agents.{name!r}: a name is 1 to 128 letters, digits, and . _ : -")
        if not isinstance(values, dict):
            raise ConfigError(f"{file}: agents.{name}: must be a table")
    return tables


def _default(file: Path, document: Mapping[str, Any], names: list[str]) -> str:
    if "default" not in document and len(names) == 1:
        return names[0]
    if "default" not in document:
        raise ConfigError(f"{file}: default: is missing; it must be one of {', '.join(names)}")
    default = document["default"]
    if default not in names:
        raise ConfigError(f"{file}: default: must be one of {', '.join(names)}, not {default!r}")
    return str(default)
