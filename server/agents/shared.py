"""What agents of one catalog share: the personas, an index for each folder of documents, the tools of MCP servers.

When the catalog is loaded anew, what did not change goes on: the same index, not another that reads the folder again.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..core.ports import Service
from ..errors import ConfigError
from ..settings import Settings
from .documents import DocumentsAgent
from .mcp.config import load_mcp_config
from .personas import Personas, load_personas

if TYPE_CHECKING:
    from .mcp.servers import McpServers


class IndexedFolder(NamedTuple):
    """One folder of documents and who answers from it; `path` is the file of its index."""

    agent: DocumentsAgent
    path: Path


class Shared:
    """Made for one catalog, from what the one before it had."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], before: Shared | None) -> None:
        """Read what the settings name.

        Raises:
            ConfigError: a file or folder is missing or wrong.
        """
        self.settings = settings
        self.personas = _personas(settings)
        self.mcp: McpServers | None = _mcp(settings, environ, before.mcp if before is not None else None)
        self._before: Mapping[Path | None, IndexedFolder] = before.folders if before is not None else {}
        self.folders: dict[Path | None, IndexedFolder] = {}
        self._searched: dict[str, DocumentsAgent] = {}

    def documents(self, folder: Path | None, name: str) -> DocumentsAgent:
        """Return the one that indexes a folder (None: this project's own); `name` is the agent that asks first."""
        key = None if folder is None else folder.resolve()
        if key not in self.folders:
            self.folders[key] = self._before.get(key) or self._indexed(folder, name)
        return self.folders[key].agent

    def settle(self) -> None:
        """Let what goes on from before know what is new: all that was to be read is right."""
        for indexed in self.folders.values():
            indexed.agent.personas = self.personas

    def searched(self, folder: Path, name: str) -> DocumentsAgent:
        """Return the same for an agent that searches in it and answers by itself."""
        self._searched[f"documents:{name}"] = self.documents(folder, name)
        return self._searched[f"documents:{name}"]

    def _indexed(self, folder: Path | None, name: str) -> IndexedFolder:
        path = self._free_path(name)
        enabled = not self.settings.no_docs
        return IndexedFolder(DocumentsAgent(folder, index_path=path, enabled=enabled, personas=self.personas), path)

    def _free_path(self, name: str) -> Path:
        """Return a file that no other index uses: an agent may have another folder now, and its old one may be read."""
        taken = {indexed.path for indexed in chain(self._before.values(), self.folders.values())}
        names = chain([f"documents-{name}.db"], (f"documents-{name}-{number}.db" for number in count(2)))
        return next(path for path in (Path(self.settings.data) / file for file in names) if path not in taken)

    @property
    def services(self) -> Mapping[str, Service]:
        """What must run for them, beside what each agent has of its own."""
        return {**self._searched, **(self.mcp.services if self.mcp is not None else {})}


def _mcp(settings: Settings, environ: Mapping[str, str], before: McpServers | None) -> McpServers | None:
    if not settings.mcp:
        return None
    if find_spec("mcp") is None:
        raise ConfigError('MCP: needs the extra "mcp": pip install "sessionstream[mcp]"')
    configs = load_mcp_config(Path(settings.mcp), environ)
    # Imported when it is wanted: the extra may not be there, and a server without tools needs none of it.
    from .mcp.link import McpLimits
    from .mcp.servers import McpServers

    return McpServers(configs, McpLimits(call_timeout_s=settings.mcp_timeout_seconds), before=before)


def _personas(settings: Settings) -> Personas:
    try:
        return load_personas(Path(settings.personas) if settings.personas else None)
    except ConfigError as error:
        raise ConfigError(f"PERSONAS: {error}") from error
