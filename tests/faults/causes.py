"""What can happen to a data folder, produced for real, and undone on leaving the context.

Each cause is a context manager over the files of a stage. All of them work for root and for ordinary users: root is not
stopped by file modes, so a server that must be (`spawn_obedient`) is started without the capability to override them;
a disk is filled by a limit on file size, which meets the same failing write, and, where mounting is allowed, by really
filling a small file system.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Final

from scripts.blackbox.process import Server
from tests.faults.stage import Stage

Cause = Callable[[Stage], AbstractContextManager[None]]

_PR_CAPBSET_READ: Final = 23
_PR_CAPBSET_DROP: Final = 24
_CAP_DAC_OVERRIDE: Final = 1
_CAP_DAC_READ_SEARCH: Final = 2
_DISK_BYTES: Final = 4 << 20
_GARBAGE: Final = b"\xa5garbage" * 512  # a page of SQLite's


@contextmanager
def disk_takes_no_more(stage: Stage) -> Iterator[None]:
    """Let every write to a file fail, as on a full disk."""
    _, hard = resource.prlimit(stage.server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(stage.server.pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.prlimit(stage.server.pid, resource.RLIMIT_FSIZE, (hard, hard))


@contextmanager
def disk_is_full(stage: Stage) -> Iterator[None]:
    """Fill the file system of the data folder, and take whatever gets free on it; see `small_disk`."""
    is_over = threading.Event()

    def fill() -> None:
        with (stage.server.data / "filler").open("wb", buffering=0) as filler:
            while not is_over.wait(0.002):
                try:
                    filler.write(bytes(4096))
                except OSError:
                    continue  # full: go on, for the server may give something back

    def fill_fast() -> None:
        with (stage.server.data / "ballast").open("wb", buffering=0) as ballast:
            try:
                while ballast.write(bytes(65536)):
                    pass
            except OSError:
                return

    fill_fast()
    filling = threading.Thread(target=fill)
    filling.start()
    try:
        yield
    finally:
        is_over.set()
        filling.join()
        (stage.server.data / "filler").unlink()
        (stage.server.data / "ballast").unlink()


def can_mount() -> bool:
    """Say whether we may mount file systems."""
    return (
        os.geteuid() == 0
        and subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode == 0
    )


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Mount a small file system at a folder."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def file_is_locked(stage: Stage) -> Iterator[None]:
    """Hold the database's write lock, as a backup tool or a curious shell would. This process is not the server's."""
    with closing(sqlite3.connect(stage.database, isolation_level=None, timeout=10)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def file_is_garbage(stage: Stage) -> Iterator[None]:
    """Overwrite the database's first page; put it back."""
    header = _overwritten(stage.database)
    try:
        yield
    finally:
        with stage.database.open("rb+", buffering=0) as file:
            file.write(header)


@contextmanager
def file_is_gone(stage: Stage) -> Iterator[None]:
    """Take the database away; bring it back."""
    with _moved(stage.database):
        yield


@contextmanager
def folder_is_gone(stage: Stage) -> Iterator[None]:
    """Take the whole data folder away; bring it back."""
    with _moved(stage.server.data):
        yield


@contextmanager
def folder_is_occupied(stage: Stage) -> Iterator[None]:
    """Put a file where the data folder has to be."""
    with _moved(stage.server.data):
        stage.server.data.write_text("in the way")
        yield
        stage.server.data.unlink()


@contextmanager
def folder_is_read_only(stage: Stage) -> Iterator[None]:
    """Take all right to write from the data folder and its files, or from its parent while there is none."""
    data = stage.server.data
    paths = [data, *data.iterdir()] if data.exists() else [data.parent]
    modes = [path.stat().st_mode for path in paths]
    for path, mode in zip(paths, modes, strict=True):
        path.chmod(mode & ~0o222)
    try:
        yield
    finally:
        for path, mode in zip(paths, modes, strict=True):
            if path.exists():
                path.chmod(mode)


def spawn_obedient(server: Server) -> None:
    """Start a server that file modes stop, whoever runs the tests.

    Capabilities belong to a thread and are inherited from the one that forks: this one gives up what lets root pass.
    """

    def spawn() -> None:
        if os.geteuid() == 0:
            libc = ctypes.CDLL(None, use_errno=True)
            for capability in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
                if libc.prctl(_PR_CAPBSET_READ, capability, 0, 0, 0) == 1:
                    dropped = libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
                    assert dropped == 0, os.strerror(ctypes.get_errno())
        server.spawn()

    thread = threading.Thread(target=spawn)
    thread.start()
    thread.join()


def _overwritten(database: Path) -> bytes:
    """Replace the first page by garbage so that everybody meets it; return what it was.

    A page that stands in the write-ahead log, or in a cache that is still valid, is not read from the file, and is
    written back sooner or later: such damage heals unseen. So the log is emptied before, and caches are void after.
    """
    log = database.with_name(f"{database.name}-wal")
    with closing(sqlite3.connect(database, isolation_level=None, timeout=10)) as other:
        while True:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            other.execute("BEGIN IMMEDIATE")
            if log.exists() and log.stat().st_size:
                other.execute("ROLLBACK")  # somebody wrote in between
                continue
            with database.open("rb+", buffering=0) as file:
                page = file.read(len(_GARBAGE))
                file.seek(0)
                file.write(_GARBAGE)
            other.execute("ROLLBACK")
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            if database.read_bytes().startswith(_GARBAGE):
                return page


@contextmanager
def _moved(path: Path) -> Iterator[None]:
    away = path.with_name(f"{path.name}.away")
    was_there = path.exists()
    if was_there:
        path.rename(away)
    try:
        yield
    finally:
        if was_there:
            away.rename(path)
