"""The file of MCP servers, as desktop clients write it.

    {"mcpServers": {
        "files": {"command": "npx", "args": ["-y", "some-server", "${HOME}/notes"], "env": {"TOKEN": "${TOKEN}"}},
        "wiki": {"url": "https://wiki.example/mcp", "headers": {"Authorization": "Bearer ${WIKI_TOKEN:-none}"}}
    }}

| key | kind | meaning |
|---|---|---|
| `command`, `args`, `env`, `cwd` | stdio | a process; it gets `env` and what a shell needs, none of our settings |
| `url`, `headers` | http | an address of streamable HTTP, and what is sent with every request |
| `type` | both | may be left out; `stdio`, `http`, `streamable-http` |
| `disabled` | both | true: left out |
| `required` | both | true: while it is down, this node is not ready |

`${NAME}` in a text is the variable of the environment, `${NAME:-else}` has a default. `cwd` is relative to the file.
A name is 1 to 64 letters, digits, `_` or `-`: tools are called `server.tool`. Whatever is wrong is a `ConfigError`
that begins with the file and names the key; no message shows a value that may be a secret.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from ...errors import ConfigError

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE: Final = re.compile(r"[\x20-\x7e]*")
_TYPES: Final = {"stdio": "stdio", "http": "http", "streamable-http": "http", "streamableHttp": "http"}
_COMMON: Final = ("type", "disabled", "required")
_KEYS: Final = {"stdio": ("command", "args", "env", "cwd", *_COMMON), "http": ("url", "headers", *_COMMON)}


@dataclass(frozen=True, slots=True, kw_only=True)
class StdioConfig:
    """A server that is a process of ours."""

    name: str
    command: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: Path | None = None
    is_required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpConfig:
    """A server that somebody else runs."""

    name: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    is_required: bool = False


McpConfig = StdioConfig | HttpConfig


def load_mcp_config(path: Path, environ: Mapping[str, str] | None = None) -> tuple[McpConfig, ...]:
    """Return the servers of a file, in its order; reads it, so it blocks.

    Raises:
        ConfigError: the file is missing or wrong.
    """
    document = _read_json(path)
    for key in document:
        if key != "mcpServers":
            raise ConfigError(f"{path}: {key}: unknown key; known is mcpServers")
    servers = document.get("mcpServers")
    if not isinstance(servers, dict):
        raise ConfigError(f"{path}: mcpServers: {'is missing' if servers is None else 'must be an object'}")
    environ = os.environ if environ is None else environ
    entries = [_Entry(path, name, values, environ) for name, values in servers.items()]
    return tuple(entry.config() for entry in entries if not entry.flag("disabled"))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text("utf-8-sig"), object_pairs_hook=_without_doubles)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except _DoubleKeyError as error:
        raise ConfigError(f"{path}: {error}: stands there twice") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: must hold an object with the key mcpServers")
    return document


class _DoubleKeyError(ValueError):
    pass


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _DoubleKeyError(next(key for key in keys if keys.count(key) > 1))
    return made


class _Entry:
    """One server of the file."""

    def __init__(self, path: Path, name: str, values: Any, environ: Mapping[str, str]) -> None:
        self._path = path
        self._name = name
        self._environ = environ
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{path}: mcpServers.{name!r}: a name is 1 to 64 letters, digits, _ or -")
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: mcpServers.{name}: must be an object")
        self._values: dict[str, Any] = values

    def config(self) -> McpConfig:
        kind = self._kind()
        for key in self._values:
            if key not in _KEYS[kind]:
                raise self._wrong(key, f"unknown key; a server of type {kind} has {', '.join(_KEYS[kind])}")
        if kind == "stdio":
            return StdioConfig(
                name=self._name,
                command=self._required("command"),
                args=self._texts("args"),
                env=self._pairs("env"),
                cwd=self._folder(),
                is_required=self.flag("required"),
            )
        return HttpConfig(name=self._name, url=self._url(), headers=self._headers(), is_required=self.flag("required"))

    def flag(self, key: str) -> bool:
        value = self._values.get(key, False)
        if not isinstance(value, bool):
            raise self._wrong(key, "must be true or false")
        return value

    def _kind(self) -> str:
        if ("command" in self._values) == ("url" in self._values):
            problem = "has both" if "url" in self._values else "has neither"
            raise ConfigError(f"{self._path}: mcpServers.{self._name}: needs a command or a url, and {problem}")
        kind = "stdio" if "command" in self._values else "http"
        named = self._values.get("type", kind)
        if not isinstance(named, str) or named not in _TYPES:
            raise self._wrong("type", "must be stdio, http or streamable-http")
        if _TYPES[named] != kind:
            raise self._wrong("type", f"is {named}, but the server has a {'command' if kind == 'stdio' else 'url'}")
        return kind

    def _url(self) -> str:
        url = self._required("url")
        try:
            parts = urlsplit(url)
            is_right = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            is_right = False
        if not is_right or not url.isprintable() or " " in url:
            raise self._wrong("url", "must be an address that begins with http:// or https://")
        return url

    def _headers(self) -> Mapping[str, str]:
        headers = self._pairs("headers")
        for name, value in headers.items():
            if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
                raise self._wrong(f"headers.{name}", "is no header: visible ASCII only")
        return headers

    def _folder(self) -> Path | None:
        if "cwd" not in self._values:
            return None
        folder = self._path.parent / self._required("cwd")
        if not folder.is_dir():
            raise self._wrong("cwd", f"{folder} is no folder")
        return folder

    def _required(self, key: str) -> str:
        text = self._text(key, self._values[key])
        if not text:
            raise self._wrong(key, "is empty")
        return text

    def _texts(self, key: str) -> tuple[str, ...]:
        values = self._values.get(key, [])
        if not isinstance(values, list):
            raise self._wrong(key, "must be a list of texts")
        return tuple(self._text(f"{key}[{index}]", value) for index, value in enumerate(values))

    def _pairs(self, key: str) -> Mapping[str, str]:
        values = self._values.get(key, {})
        if not isinstance(values, dict):
            raise self._wrong(key, "must be an object of texts")
        for name in values:
            if not name or "=" in name or "\0" in name:
                raise self._wrong(f"{key}.{name}", "is no name")
        return {name: self._text(f"{key}.{name}", value) for name, value in values.items()}

    def _text(self, key: str, value: Any) -> str:
        """Return a text with its variables put in."""
        if not isinstance(value, str) or "\0" in value:
            raise self._wrong(key, "must be text")

        def put_in(match: re.Match[str]) -> str:
            name, default = match[1], match[2]
            found = self._environ.get(name)
            if found is None and default is None:
                raise self._wrong(key, f"the variable {name} is not set")
            return found or default or ""

        return _VARIABLE.sub(put_in, value)

    def _wrong(self, key: str, problem: str) -> ConfigError:
        return ConfigError(f"{self._path}: mcpServers.{self._name}.{key}: {problem}")
