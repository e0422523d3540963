"""One table of `agents.toml`: its values by kind, and a `ConfigError` that names file and key for a wrong one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..errors import ConfigError
from ..settings import Settings

_SETTINGS: Final = {
    "model": "MODEL",
    "base_url": "MODEL_BASE_URL",
    "context_tokens": "CONTEXT_TOKENS",
    "tools": "MCP",
}
"""Key → the setting that says the same where there is no file."""
_NAME: Final = r"[A-Za-z_][A-Za-z0-9_]*"
_VARIABLE: Final = re.compile(rf"\$\{{({_NAME})\}}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One table of the file, or, without a file, the empty one of a default agent."""

    name: str
    file: Path | None
    values: Mapping[str, Any]
    settings: Settings
    environ: Mapping[str, str]

    def wrong(self, key: str, problem: str) -> ConfigError:
        """Return the error that says what is wrong with a key, or with the setting that is in its place."""
        if self.file is None:
            return ConfigError(f"{_SETTINGS.get(key, key)}: {problem}")
        return ConfigError(f"{self.file}: agents.{self.name}.{key}: {problem}")

    def blamed(self, error: ValueError) -> ConfigError:
        """Return the same for what an agent says of its arguments: `key: problem`."""
        key, _, problem = str(error).partition(": ")
        return self.wrong(key, problem)

    def text(self, key: str) -> str | None:
        """Return a string, None when it is not there."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, str):
            raise self.wrong(key, "must be a string")  # not shown: it may be a key or hold one
        return value

    def required(self, key: str) -> str:
        """Return a string that must be there and say something."""
        value = self.text(key)
        if not value:
            raise self.wrong(key, "is empty" if value == "" else "is missing")
        return value

    def path(self, key: str) -> Path | None:
        """Return the path under `key`: relative ones start at the folder of the file."""
        if self.file is None or key not in self.values:
            return None
        return self.file.parent / self.required(key)

    def folder(self, key: str) -> Path | None:
        """Return the folder under `key`, which is there."""
        folder = self.path(key)
        if folder is not None and not folder.is_dir():
            raise self.wrong(key, f"{folder} is no folder")
        return folder

    def texts(self, key: str) -> tuple[str, ...] | None:
        """Return a list of strings, None when it is not there."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            raise self.wrong(key, f"must be a list of strings, not {value!r}")
        return tuple(value)

    def whole(self, key: str, default: int, minimum: int) -> int:
        """Return a whole number of at least `minimum`."""
        value = self.values.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            raise self.wrong(key, f"must be a whole number of at least {minimum}, not {value!r}")
        return value

    def seconds(self, key: str, default: float) -> float:
        """Return a number of seconds above zero."""
        value = self.values.get(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < float("inf"):
            raise self.wrong(key, f"must be a number of seconds above 0, not {value!r}")
        return float(value)

    def flag(self, key: str) -> bool:
        """Return whether it says true."""
        value = self.values.get(key, False)
        if not isinstance(value, bool):
            raise self.wrong(key, f"must be true or false, not {value!r}")
        return value

    def table(self, key: str) -> Section:
        """Return the table under `key`; an empty one when it is not there."""
        value = self.values.get(key, {})
        if not isinstance(value, dict):
            raise self.wrong(key, f"must be a table, not {value!r}")
        return Section(
            name=f"{self.name}.{key}", file=self.file, values=value, settings=self.settings, environ=self.environ
        )

    def known(self, keys: tuple[str, ...], whose: str) -> None:
        """Refuse a key that is none of these."""
        for key in self.values:
            if key not in keys:
                raise self.wrong(key, f"unknown key; {whose} has {', '.join(keys)}")

    def variable(self, key: str) -> str | None:
        """Return the value of the environment variable that is named under `key`, so that no secret is in the file."""
        if key not in self.values:
            return None
        name = self.required(key)
        if not re.fullmatch(_NAME, name):
            raise self.wrong(key, "must be the name of a variable of the environment, not a key itself")
        return self._of_environment(key, name)

    def expanded(self, key: str) -> str:
        """Return a string in which `${NAME}` stands for a variable of the environment."""
        return _VARIABLE.sub(lambda match: self._of_environment(key, match[1]), self.required(key))

    def _of_environment(self, key: str, name: str) -> str:
        value = self.environ.get(name, "")
        if not value:
            raise self.wrong(key, f"the environment has no variable {name}")
        return value
