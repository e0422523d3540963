"""The kinds of agents: one function for each makes the entry of a section. `catalog` says which keys they take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from ..core.ports import AgentEntry
from ..errors import ConfigError
from .asking_tools import AskingTools, offered
from .callable import load_entrypoint
from .described import COMMON_KEYS, described
from .documents import DocumentsAgent
from .documents.asking import DEFAULT_TOP_K, MAX_TOP_K
from .documents.tool import DocumentsTool
from .scripted import ScriptedAgent, ScriptError, parse_script
from .section import Section
from .shared import Shared
from .tools import Toolbox

_DOCUMENTS: Final = "documents"
_SEARCH: Final = "search_documents"
_REMOTE_TIMEOUT_S: Final = 60.0
"""How long a remote agent may be silent; heartbeats count."""
_MODEL_KEYS: Final = (
    "model",
    "base_url",
    "api_key_env",
    "timeout_seconds",
    "context_tokens",
    "settings",
    "instructions",
    "summarize",
    "documents",
    "tools",
    "approvals",
)
_MODEL_CAPABILITIES: Final = {
    "tools": {"supported": True, "parallelCalls": True, "clientProvided": True},
    "reasoning": {"supported": True, "streaming": True},
    "humanInTheLoop": {"supported": True, "approvals": True, "interrupts": True},
}


class _Kind(NamedTuple):
    build: Callable[[Section, Shared], AgentEntry]
    keys: tuple[str, ...]


def require_kind(section: Section) -> None:
    """Check what can be checked before anything is made: that the kind is known, and takes each key.

    Raises:
        ConfigError: it is not, or does not.
    """
    name = section.required("kind")
    if name not in _KINDS:
        raise section.wrong("kind", f"unknown kind {name!r}; known are {', '.join(sorted(_KINDS))}")
    section.known(("kind", "description", *_KINDS[name].keys, *COMMON_KEYS), f"a {name} agent")


def build(section: Section, shared: Shared) -> AgentEntry:
    """Return the agent of a section.

    Raises:
        ConfigError: a value is wrong, or something that it names.
    """
    return _KINDS[section.required("kind")].build(section, shared)


def _python(section: Section, shared: Shared) -> AgentEntry:
    entrypoint = section.required("entrypoint")
    folder = section.file.parent if section.file else Path()
    try:
        agent = load_entrypoint(entrypoint, folder)
    except ConfigError as error:
        raise section.wrong("entrypoint", str(error)) from error
    return AgentEntry(agent=agent, **described(section, shared, "python", ""))


def _scripted(section: Section, shared: Shared) -> AgentEntry:
    path = section.path("script")
    try:
        script = None if path is None else parse_script(path.read_text("utf-8-sig"))
    except OSError as error:
        raise section.wrong("script", f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, ScriptError) as error:
        raise section.wrong("script", f"{path}: {error}") from error
    told = described(section, shared, "scripted", "Plays a script, for testing clients and proxies")
    return AgentEntry(agent=ScriptedAgent(script), **told)


def _documents(section: Section, shared: Shared) -> AgentEntry:
    agent = shared.documents(section.folder("folder") or _default_folder(section), section.name)
    told = described(section, shared, _DOCUMENTS, "Quotes a folder of documents, with sources; no model involved")
    told["capabilities"]["custom"] = {"options": _DOCUMENTS_OPTIONS}
    return AgentEntry(agent=agent, service=agent, documents=agent.library, **told)


def _default_folder(section: Section) -> Path | None:
    """Return the folder that the settings name, which is there; None when they name none."""
    if not section.settings.documents:
        return None
    folder = Path(section.settings.documents)
    if not folder.is_dir():
        raise ConfigError(f"DOCUMENTS: {folder} is no folder")
    return folder


def _model(section: Section, shared: Shared) -> AgentEntry:
    # Imported here, as the remote agent is: a server without one starts without what it needs.
    from .model import ModelAgent

    settings = section.settings
    documents = _searched(section, shared)
    toolboxes = _toolboxes(section, shared, documents)
    place = model_place(section)
    given: dict[str, Any] = {
        "base_url": place.base_url or None,
        "api_key": place.api_key or None,
        "instructions": section.text("instructions") or "",
        "context_tokens": section.whole("context_tokens", settings.context_tokens, 1),
        "timeout_s": section.seconds("timeout_seconds", settings.model_timeout_seconds),
        "settings": section.table("settings").values,
        "summarize": section.flag("summarize"),
    }
    try:
        agent = ModelAgent(place.model, toolboxes=toolboxes, personas=shared.personas, **given)
    except ConfigError as error:
        raise section.blamed(error) from error
    told = described(section, shared, "model", f"Answers with the model {place.model}", is_persona=True)
    told["capabilities"] |= _MODEL_CAPABILITIES
    if documents is not None:
        told["capabilities"]["custom"] = {"options": _DOCUMENTS_OPTIONS}
    library = documents.library if documents is not None else None
    return AgentEntry(agent=agent, service=agent, documents=library, tools=partial(offered, toolboxes), **told)


class ModelPlace(NamedTuple):
    """A model, where it is and the key to it; what is empty is the provider's own."""

    model: str
    base_url: str
    api_key: str


def model_place(section: Section) -> ModelPlace:
    """Return the model and where it is; what the settings say of theirs goes to no other provider, nor elsewhere.

    Raises:
        ConfigError: there is no model, or no such variable.
    """
    settings = section.settings
    model = section.text("model") or settings.model
    if not model:
        raise section.wrong("model", "is missing, and so is the setting MODEL")
    base_url, api_key = section.text("base_url"), section.variable("api_key_env")
    if settings.model and model.partition(":")[0] != settings.model.partition(":")[0]:
        return ModelPlace(model, base_url or "", api_key or "")
    if base_url is not None:
        return ModelPlace(model, base_url, api_key or "")
    return ModelPlace(model, settings.model_base_url, settings.model_api_key if api_key is None else api_key)


def _searched(section: Section, shared: Shared) -> DocumentsAgent | None:
    """Return the documents that a model can search: the folder it names, else, without a file, that of the settings."""
    folder = section.folder("documents") if section.file is not None else _default_folder(section)
    return None if folder is None else shared.searched(folder, section.name)


def _toolboxes(section: Section, shared: Shared, documents: DocumentsAgent | None) -> list[Toolbox]:
    names, approvals = section.texts("tools"), section.texts("approvals") or ()
    library: list[Toolbox] = [] if documents is None else [DocumentsTool(documents)]
    if names is not None and _SEARCH in names and not library:
        raise section.wrong("tools", f"{_SEARCH} needs the key documents: a folder")
    chosen = library if names is None or _SEARCH in names else []
    asked = library if _SEARCH in approvals else []
    chosen = [*chosen, *_of_servers(section, shared, "tools", ("*",) if names is None else names)]
    asked = [*asked, *_of_servers(section, shared, "approvals", approvals)]
    return [AskingTools(toolbox, asked) for toolbox in chosen]


def _of_servers(section: Section, shared: Shared, key: str, names: Sequence[str]) -> list[Toolbox]:
    """Return the tools of MCP servers that these patterns name."""
    patterns = [name for name in names if name != _SEARCH]
    if shared.mcp is None:
        if key in section.values and patterns:
            raise section.wrong(key, f"{patterns[0]!r} needs the setting MCP: the file of its server")
        return []
    try:
        return [shared.mcp.toolbox(patterns)]
    except ConfigError as error:
        raise section.wrong(key, str(error)) from error


def _remote(section: Section, shared: Shared) -> AgentEntry:
    from .remote import RemoteAgent

    url, table = section.required("url"), section.table("headers")
    headers = {name: table.expanded(name) for name in table.values}
    timeout_s = section.seconds("timeout_seconds", _REMOTE_TIMEOUT_S)
    try:
        agent = RemoteAgent(url, headers=headers, timeout_s=timeout_s)
    except ValueError as error:
        raise section.blamed(error) from error
    told = described(section, shared, "remote", "Answers from another server, by AG-UI")
    return AgentEntry(agent=agent, service=agent, **told)


_KINDS: Final[dict[str, _Kind]] = {
    "documents": _Kind(_documents, ("folder",)),
    "model": _Kind(_model, _MODEL_KEYS),
    "python": _Kind(_python, ("entrypoint",)),
    "remote": _Kind(_remote, ("url", "headers", "timeout_seconds")),
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
