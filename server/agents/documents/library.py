"""Changing the folder of documents: files are put in and taken out by name, and the index follows at once.

A name is a path below the folder, and stays below it: no `..`, nothing hidden, no way through a link, only kinds that
can be read, Unicode composed (NFC). A file appears under its name whole or not at all: it is written beside, under a
hidden name that no pass looks at, and moved. This project's own documents are never changed.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import sqlite3
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread

from ...core.documents import Document, DocumentPage
from ...errors import Conflict, Invalid, NotFound, TooLarge, Unavailable
from .folder import Folder
from .index import Index, Row
from .reading import MAX_FILE_BYTES, is_document, known_kinds
from .upkeep import Upkeep

INDEX_WAIT_S: Final = 5.0
"""How long a change waits for the index; a file that takes longer to read is answered as pending."""
DISK_TIMEOUT_S: Final = 30.0
MAX_LEVELS: Final = 8
MAX_PART_BYTES: Final = 255
"""What file systems take for one name."""
_UNSAFE: Final = frozenset('\\:*?"<>|')
"""Not part of a name everywhere; some are patterns in a filter."""
_DEVICE: Final = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
"""Not a file everywhere: a folder may be copied, or shared, with Windows."""
_MARKS: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_JOINERS: Final = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"
"""Invisible, and part of how words of some scripts, and emoji, are written."""
_WRITERS: Final = 2
_UPLOAD: Final = re.compile(r"\.upload-[0-9a-f]{16}")
_UPLOAD_S: Final = 3600.0
"""A hidden file of an upload that is older belongs to nobody any more."""
_LAST_SECOND: Final = 253_402_300_799.0
"""Of the year 9999: a file may claim a later one, which is no date for anybody."""
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS})

T = TypeVar("T")


def checked_name(name: str) -> str:
    """Return the name under which an upload is stored.

    Raises:
        Invalid: it is no safe name, or not of a kind that can be read.
    """
    name = unicodedata.normalize("NFC", name)
    parts = name.split("/")
    if len(parts) > MAX_LEVELS:
        raise _bad(f"must have at most {MAX_LEVELS - 1} folders")
    for part in parts:
        if reason := _objection(part):
            raise _bad(reason)
    if not is_document(name):
        raise _bad(f"must end in one of {known_kinds()}")
    return name


def _bad(reason: str) -> Invalid:
    return Invalid(f"name {reason}", field="name")


def _objection(part: str) -> str:
    """Say why this is no name of a file or folder."""
    if not part:
        return "must not be empty, begin or end with /, or hold //"
    if part.startswith("."):
        return "must not hold .. or a part that begins with a dot"
    if part != part.strip() or part.endswith("."):
        return "must not hold a part that begins or ends with a space, or ends with a dot"
    if any(_is_unsafe(char) for char in part):
        return 'must not hold control or invisible characters, nor any of \\ : * ? " < > |'
    if _DEVICE.fullmatch(part):
        return "must not hold the name of a device, such as con or nul"
    is_too_long = len(part.encode(errors="replace")) > MAX_PART_BYTES
    return f"must have parts of at most {MAX_PART_BYTES} bytes" if is_too_long else ""


def _is_unsafe(char: str) -> bool:
    return char in _UNSAFE or (char not in _JOINERS and unicodedata.category(char) in _MARKS)


class Library:
    """The documents of one agent, as `core.documents.Documents` says."""

    def __init__(self, folder: Folder, index: Index, upkeep: Upkeep) -> None:
        self._folder = folder
        self._index = index
        self._upkeep = upkeep
        self._disk = CapacityLimiter(_WRITERS)

    @property
    def is_read_only(self) -> bool:
        """Whether these are this project's own."""
        return self._folder.is_part

    async def page(self, after: str, limit: int, containing: str) -> DocumentPage:
        """Return documents by name, as the index has them."""
        rows = await self._in_thread(self._index.listed, after, limit + 1, containing)
        return DocumentPage([_document(row) for row in rows[:limit]], len(rows) > limit)

    async def add(self, name: str, content: bytes, *, replace: bool) -> tuple[Document, bool]:
        """Put a file into the folder; waits a moment for the index to read it."""
        name = checked_name(name)
        self._check_writable()
        if len(content) > MAX_FILE_BYTES:
            raise TooLarge(f"a document has at most {MAX_FILE_BYTES} bytes", code="document_too_large")
        is_new, mtime_ns = await self._in_thread(self._write, name, content, replace)
        found = await self._indexed(name, mtime_ns)
        return found or Document(name=name, size=len(content), modified_at=mtime_ns / 1e9), is_new

    async def remove(self, name: str) -> bool:
        """Take a file out of the folder; waits a moment for the index to forget it."""
        self._check_writable()
        await self._in_thread(self._unlink, name)
        with anyio.move_on_after(INDEX_WAIT_S):
            await self._upkeep.catch_up()
            return not self._index.trouble
        return False

    def _check_writable(self) -> None:
        if self.is_read_only:
            raise Conflict(code="documents_read_only")

    async def _indexed(self, name: str, mtime_ns: int) -> Document | None:
        """Return what the index made of this very file, or None while it has not read it."""
        # The file is in the folder by now: what keeps the index from saying so is no failure of the upload.
        with anyio.move_on_after(INDEX_WAIT_S), suppress(Unavailable):
            await self._upkeep.catch_up()
            row = await self._in_thread(self._index.row, name)
            return _document(row) if row is not None and row[2] == mtime_ns else None
        return None

    # --- in a worker thread

    async def _in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        try:
            with anyio.fail_after(DISK_TIMEOUT_S):
                return await to_thread.run_sync(work, *arguments, abandon_on_cancel=True, limiter=self._disk)
        except TimeoutError as error:
            raise Unavailable("the folder of documents does not answer", code="documents_unavailable") from error
        except sqlite3.Error as error:
            raise Unavailable("the index of the documents cannot be read", code="documents_unavailable") from error
        except OSError as error:
            detail = f"the folder of documents cannot be used ({error.strerror or type(error).__name__})"
            raise Unavailable(detail, code="documents_unavailable") from error

    def _write(self, name: str, content: bytes, replace: bool) -> tuple[bool, int]:
        os.stat(self._folder.root)  # a folder that went away, a disk that is not mounted, is not made anew
        path = self._below(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise _bad("leads through a file, where a folder is needed") from None
        if path.is_dir():
            raise Conflict("a folder of this name is there", code="document_exists")
        with _written(self._folder.root, content) as written:
            mtime_ns = written.stat().st_mtime_ns
            is_new = _place(written, path)
            if not is_new and not replace:
                raise Conflict(code="document_exists")
            if not is_new:
                os.replace(written, path)
            return is_new, mtime_ns

    def _unlink(self, name: str) -> None:
        for spelled in dict.fromkeys((name, unicodedata.normalize("NFC", name))):
            if self._is_file(spelled):
                with suppress(FileNotFoundError):  # somebody else was faster
                    os.unlink(self._below(spelled))
                    return
        raise NotFound(code="document_not_found")

    def _is_file(self, name: str) -> bool:
        parts = name.split("/")
        if not is_document(name) or any(not part or part.startswith(".") or "\0" in part for part in parts):
            return False
        path = self._folder.root.joinpath(*parts)
        return os.path.lexists(path) and not path.is_dir()

    def _below(self, name: str) -> Path:
        path = self._folder.root.joinpath(*name.split("/"))
        if os.path.realpath(path.parent) != str(path.parent):
            raise _bad("must not lead through a link")
        return path


def tidy(root: Path) -> None:
    """Remove what uploads left that were cut off by a crash; those of other nodes may be under way."""
    oldest = time.time() - _UPLOAD_S
    with suppress(OSError), os.scandir(root) as entries:
        for entry in entries:
            if _UPLOAD.fullmatch(entry.name) and entry.stat(follow_symlinks=False).st_mtime < oldest:
                os.unlink(entry.path)


@contextmanager
def _written(root: Path, content: bytes) -> Iterator[Path]:
    """Give a hidden file with this content; nothing of it is left afterwards."""
    path = root / f".upload-{secrets.token_hex(8)}"
    try:
        with open(path, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield path
    finally:
        path.unlink(missing_ok=True)


def _place(written: Path, path: Path) -> bool:
    """Give a written file its name; False, and nothing changes, when the name is taken."""
    try:
        os.link(written, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # Such a file system still makes a file for one caller only: the name is claimed, then filled.
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            return False
        os.replace(written, path)
    return True


def _document(row: Row) -> Document:
    name, size, mtime_ns, passages, reason = row
    return Document(
        name=name,
        size=size,
        modified_at=min(max(mtime_ns / 1e9, 0.0), _LAST_SECOND),
        passages=passages,
        status="indexed" if passages else "unreadable",
        reason=reason or ("" if passages else "it holds no text"),
    )
