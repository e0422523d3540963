"""The folder of documents: which files it holds now, and which of them are left alone.

A scan only looks (names, times, sizes); it opens nothing. Hidden files and folders are passed over. A link is
followed when it leads to a file inside the folder; one that leads out of it never is.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from .reading import MAX_FILE_BYTES, is_document

MAX_FILES: Final = 50_000
"""A folder with more is a disk, not a collection of documents."""
_INT64: Final = 2**63 - 1
OWN_DOCUMENTS: Final = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "docs")


class Stamp(NamedTuple):
    """Where a file really is, and what tells whether it changed."""

    path: Path
    mtime_ns: int
    size: int


@dataclass(slots=True)
class Scan:
    """Documents by name (path below the folder, with `/`), and the reason for each that is left alone."""

    files: dict[str, Stamp] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


class Folder:
    """A folder, or some entries of it: `only` names what counts at its top."""

    def __init__(self, root: Path, only: tuple[str, ...] = ()) -> None:
        self.root = Path(os.path.realpath(root))
        self._only = only

    @property
    def is_part(self) -> bool:
        """Whether only some entries count: what else is there is not documents, and nothing is added to it."""
        return bool(self._only)

    def scan(self, pause: Callable[[], None]) -> Scan:
        """Look at all files, resting by `pause`.

        Raises:
            OSError: the folder itself cannot be listed.
        """
        found = Scan()
        waiting = [""]
        while waiting:
            below = waiting.pop()
            for entry in self._entries(below, found):
                pause()
                name = f"{below}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(f"{name}/")
                elif is_document(name):
                    self._look(entry, name, found)
                elif entry.is_symlink() and os.path.isdir(entry.path):
                    found.skipped[_shown(name)] = "it is a link to a folder"
        return found

    def _entries(self, below: str, found: Scan) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(self.root / below) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            if not below:
                raise
            found.skipped[_shown(below)] = f"the folder cannot be listed ({error.strerror})"
            return
        for entry in entries:
            if not entry.name.startswith(".") and (below or not self._only or entry.name in self._only):
                yield entry

    def _look(self, entry: os.DirEntry[str], name: str, found: Scan) -> None:
        try:
            name.encode()
            path = Path(os.path.realpath(entry.path))
            status = path.stat(follow_symlinks=False)
        except UnicodeEncodeError:
            found.skipped[_shown(name)] = "its name is not UTF-8"
        except OSError as error:
            found.skipped[_shown(name)] = f"it cannot be read ({error.strerror})"
        else:
            if reason := self._objection(path, status, found):
                found.skipped[name] = reason
            else:
                # A file may claim to be of any year; the index keeps 64 bits of it.
                found.files[name] = Stamp(path, max(-_INT64, min(status.st_mtime_ns, _INT64)), status.st_size)

    def _objection(self, path: Path, status: os.stat_result, found: Scan) -> str:
        if not path.is_relative_to(self.root):
            return "it is a link that leads out of the folder"
        if not stat.S_ISREG(status.st_mode):
            return "it is not a regular file"
        if status.st_size > MAX_FILE_BYTES:
            return f"it is larger than {MAX_FILE_BYTES >> 20} MB"
        return f"there are more than {MAX_FILES} files" if len(found.files) >= MAX_FILES else ""


def _shown(name: str) -> str:
    return name.encode(errors="replace").decode()


def own_documents(package: Path) -> Folder | None:
    """Return this project's own documents, or None where the package is installed without them.

    What stands beside an installed package is other people's, so the project file has to say whose it is.
    """
    beside = package.parent
    try:
        is_ours = 'name = "sessionstream"' in (beside / "pyproject.toml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    has_any = any((beside / name).exists() for name in OWN_DOCUMENTS)
    return Folder(beside, OWN_DOCUMENTS) if is_ours and has_any else None
