"""The catalog: the agents that `agents.toml` names, or the documents agent alone.

    default = "support"          # may be left out when there is one agent

    [agents.support]
    kind = "python"              # python | scripted | documents
    description = "…"            # shown to clients; every kind takes it
    entrypoint = "my_agent:agent"

| kind | its keys |
|---|---|
| `python` | `entrypoint`: `module:function`, looked for beside the file, then on `PYTHONPATH` |
| `scripted` | `script`: a JSON file; may be left out |
| `documents` | `folder`; left out, the setting `DOCUMENTS` counts |

Paths are relative to the file. Names are ids as clients may choose them. Read once, at start; whatever is wrong is a
`ConfigError` that begins with the file and names the key.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from ..core.ports import AgentEntry
from ..errors import ConfigError
from ..ids import is_client_id
from ..settings import Settings
from .callable import load_entrypoint
from .documents import DocumentsAgent
from .documents.asking import DEFAULT_TOP_K, MAX_TOP_K
from .scripted import ScriptedAgent, ScriptError, parse_script

_DOCUMENTS: Final = "documents"


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Every agent by name, in the order of the file; `default` answers when a session names none."""

    default: str
    entries: tuple[AgentEntry, ...]

    def get(self, name: str) -> AgentEntry | None:
        """Return the agent of this name, or None."""
        return next((entry for entry in self.entries if entry.name == name), None)


def load_catalog(settings: Settings) -> Catalog:
    """Return the agents of `settings.agents`; reads files and imports modules, so it blocks.

    Raises:
        ConfigError: the file, or what it names, is missing or wrong.
    """
    if not settings.agents:
        section = _Section(name=_DOCUMENTS, file=None, values={}, settings=settings)
        return Catalog(default=_DOCUMENTS, entries=(_documents(section),))
    file = Path(settings.agents)
    document = _read_toml(file)
    for key in document:
        if key not in ("default", "agents"):
            raise ConfigError(f"{file}: {key}: unknown key; known are agents, default")
    entries = _entries(file, document.get("agents"), settings)
    return Catalog(default=_default(file, document, entries), entries=entries)


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: is not TOML: {error}") from error


def _entries(file: Path, tables: object, settings: Settings) -> tuple[AgentEntry, ...]:
    if not isinstance(tables, dict) or not tables:
        raise ConfigError(f"{file}: agents: needs at least one table [agents.NAME]")
    for name, values in tables.items():
        if not is_client_id(name):
            raise ConfigError(f"{file}: agents.{name!r}: a name is 1 to 128 letters, digits, and . _ : -")
        if not isinstance(values, dict):
            raise ConfigError(f"{file}: agents.{name}: must be a table")
    sections = [_Section(name=name, file=file, values=values, settings=settings) for name, values in tables.items()]
    return tuple(_kind(section).build(section) for section in sections)


def _default(file: Path, document: Mapping[str, Any], entries: tuple[AgentEntry, ...]) -> str:
    names = [entry.name for entry in entries]
    if "default" not in document and len(names) == 1:
        return names[0]
    if "default" not in document:
        raise ConfigError(f"{file}: default: is missing; it must be one of {', '.join(names)}")
    default = document["default"]
    if default not in names:
        raise ConfigError(f"{file}: default: must be one of {', '.join(names)}, not {default!r}")
    return str(default)


# --- one agent


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    """One table of the file, or, without a file, the default agent's empty one."""

    name: str
    file: Path | None
    values: Mapping[str, Any]
    settings: Settings

    def wrong(self, key: str, problem: str) -> ConfigError:
        return ConfigError(f"{self.file}: agents.{self.name}.{key}: {problem}")

    def text(self, key: str) -> str | None:
        value = self.values.get(key)
        if value is not None and not isinstance(value, str):
            raise self.wrong(key, f"must be a string, not {value!r}")
        return value

    def required(self, key: str) -> str:
        value = self.text(key)
        if not value:
            raise self.wrong(key, "is empty" if value == "" else "is missing")
        return value

    def path(self, key: str) -> Path | None:
        """Return the path under `key`: relative ones start at the folder of the file."""
        if self.file is None or key not in self.values:
            return None
        return self.file.parent / self.required(key)


class _Kind(NamedTuple):
    build: Callable[[_Section], AgentEntry]
    keys: tuple[str, ...]


def _kind(section: _Section) -> _Kind:
    name = section.required("kind")
    if name not in _KINDS:
        raise section.wrong("kind", f"unknown kind {name!r}; known are {', '.join(sorted(_KINDS))}")
    kind = _KINDS[name]
    known = ("kind", "description", *kind.keys)
    for key in section.values:
        if key not in known:
            raise section.wrong(key, f"unknown key; a {name} agent has {', '.join(known)}")
    return kind


def _python(section: _Section) -> AgentEntry:
    entrypoint = section.required("entrypoint")
    folder = section.file.parent if section.file else Path()
    try:
        agent = load_entrypoint(entrypoint, folder)
    except ConfigError as error:
        raise section.wrong("entrypoint", str(error)) from error
    return AgentEntry(agent=agent, **_described(section, "python", ""))


def _scripted(section: _Section) -> AgentEntry:
    path = section.path("script")
    try:
        script = None if path is None else parse_script(path.read_text("utf-8-sig"))
    except OSError as error:
        raise section.wrong("script", f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, ScriptError) as error:
        raise section.wrong("script", f"{path}: {error}") from error
    described = _described(section, "scripted", "Plays a script, for testing clients and proxies")
    return AgentEntry(agent=ScriptedAgent(script), **described)


def _documents(section: _Section) -> AgentEntry:
    settings = section.settings
    folder = section.path("folder")
    if folder is not None and not folder.is_dir():
        raise section.wrong("folder", f"{folder} is no folder")
    if folder is None and settings.documents:
        folder = Path(settings.documents)
        if not folder.is_dir():
            raise ConfigError(f"DOCUMENTS: {folder} is no folder")
    index_path = Path(settings.data) / f"documents-{section.name}.db"
    agent = DocumentsAgent(folder, index_path=index_path, enabled=not settings.no_docs)
    described = _described(section, _DOCUMENTS, "Quotes a folder of documents, with sources; no model involved")
    described["capabilities"]["custom"] = {"options": _DOCUMENTS_OPTIONS}
    return AgentEntry(agent=agent, service=agent, **described)


def _described(section: _Section, kind: str, description: str) -> dict[str, Any]:
    """Return what every kind says of itself; `capabilities` has the shape of AG-UI's AgentCapabilities."""
    description = section.text("description") or description
    identity = {"name": section.name, "type": kind}
    if description:
        # Absent, not empty or null: that is what optional means in AG-UI.
        identity["description"] = description
    return {
        "name": section.name,
        "kind": kind,
        "description": description,
        "capabilities": {"identity": identity, "transport": {"streaming": True, "resumable": True}},
    }


_KINDS: Final[dict[str, _Kind]] = {
    "documents": _Kind(_documents, ("folder",)),
    "python": _Kind(_python, ("entrypoint",)),
    "scripted": _Kind(_scripted, ("script",)),
}
# As JSON Schema, for `options` of a message.
_DOCUMENTS_OPTIONS: Final = {
    "top_k": {
        "type": "integer",
        "minimum": 1,
        "maximum": MAX_TOP_K,
        "default": DEFAULT_TOP_K,
        "description": "how many sources an answer quotes at most",
    },
    "filename_filter": {
        "type": ["string", "array"],
        "items": {"type": "string"},
        "description": "only files whose path contains one of these texts, or matches one with * or ?",
    },
}
