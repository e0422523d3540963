"""What is remembered across starts: for each server and user the session, and who a visitor was; and a time zone.

One small JSON file in `$XDG_STATE_HOME/sessionstream` (`~/.local/state/sessionstream`), readable by its owner alone. A
file that cannot be read or written is not worth failing for: then nothing is remembered.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

_FILE: Final = "chat.json"
_HISTORY: Final = "history"
HISTORY_BYTES: Final = 1_000_000
"""Of what was typed more is not kept: the older half goes."""


def state_folder() -> Path:
    """Return where programs keep what they remember."""
    home = os.environ.get("XDG_STATE_HOME", "")
    base = Path(home) if os.path.isabs(home) else Path.home() / ".local" / "state"
    return base / "sessionstream"


class Memory:
    """What is remembered of one server and user."""

    def __init__(self, folder: Path, url: str, user: str) -> None:
        self._folder = folder
        self._place = f"{user}@{url}" if user else url
        self._kept: dict[str, Any] = _place_in(self._read(), self._place)

    @property
    def session_id(self) -> str:
        """The session that was open last."""
        return str(self._kept.get("session_id", ""))

    @property
    def visitor_token(self) -> str:
        """Who a visitor was."""
        return str(self._kept.get("visitor_token", ""))

    @property
    def timezone(self) -> str:
        """In which times are shown; empty: this machine's."""
        return str(self._kept.get("timezone", ""))

    def remember(self, **fields: str) -> None:
        """Keep these fields; an empty one is forgotten."""
        # Read again: another window may have written meanwhile.
        everything = self._read()
        kept = {**_place_in(everything, self._place), **fields}
        self._kept = {name: value for name, value in kept.items() if value}
        everything[self._place] = self._kept
        with suppress(OSError):
            self._make_folder()
            draft = self._folder / f"{_FILE}.{os.getpid()}"
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                json.dump(everything, file, indent=1)
            draft.replace(self._folder / _FILE)

    def history_file(self) -> Path | None:
        """Return the file that keeps what was typed; None when there can be none."""
        path = self._folder / _HISTORY
        try:
            self._make_folder()
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
            if path.stat().st_size > HISTORY_BYTES:
                newer = path.read_bytes()[-HISTORY_BYTES // 2 :]
                path.write_bytes(newer[newer.find(b"\n# ") + 1 :])  # so begins what was typed at one time
        except OSError:
            return None
        return path

    def _make_folder(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads((self._folder / _FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def _place_in(everything: dict[str, Any], place: str) -> dict[str, Any]:
    found = everything.get(place)
    return dict(found) if isinstance(found, dict) else {}
