"""Script: one piece of Lua, and the name Redis knows it by."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

REFUSES: Final = "#!lua\n"
ALWAYS: Final = "#!lua flags=allow-oom\n"
READS: Final = "#!lua flags=no-writes\n"
"""With the first, Redis refuses a script when memory is full; what frees memory or ends something must go on."""


@dataclass(frozen=True, slots=True)
class Script:
    """A script and the name Redis knows it by."""

    text: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha", hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest())

    def call(self, keys: Sequence[Any], *args: Any) -> tuple[Any, ...]:
        """Return the command that runs it."""
        return ("EVALSHA", self.sha, len(keys), *keys, *args)
