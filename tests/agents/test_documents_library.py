"""Changing the folder of documents below HTTP: when the index follows, what a crash leaves, disks that say no."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from server.agents.documents import DocumentsAgent
from server.agents.documents.library import Library
from server.errors import Conflict, Unavailable


@pytest.fixture
async def library(tmp_path: Path) -> AsyncIterator[Library]:
    """One whose index looks at the folder only when it is asked to."""
    agent = DocumentsAgent(tmp_path, index_path=None, enabled=True, refresh_s=3600)
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(agent.run)
            await agent.wait_refreshed()
            assert agent.library is not None
            yield agent.library
            group.cancel_scope.cancel()


async def names(library: Library) -> list[str]:
    return [document.name for document in (await library.page("", 100, "")).documents]


async def test_a_change_is_not_waited_for_until_the_next_pass(library: Library) -> None:
    """Our contract: the index is told, and has read the file when the answer says so."""
    document, is_new = await library.add("a.md", b"# Walruses\n\nTusks.\n", replace=False)
    listed = await names(library)
    is_forgotten = await library.remove("a.md")

    assert (document.status, document.passages, is_new) == ("indexed", 1, True)
    assert listed == ["a.md"]
    assert is_forgotten
    assert await names(library) == []


async def test_changes_at_the_same_time_are_all_seen(library: Library) -> None:
    """Our contract: a pass that was under way does not count for what came after it began."""
    seen: list[str] = []

    async def add(name: str) -> None:
        document, _ = await library.add(name, b"Some text.", replace=False)
        seen.append(document.status)

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(add, f"{number:02}.txt")

    assert seen == ["indexed"] * 20
    assert await names(library) == [f"{number:02}.txt" for number in range(20)]


async def test_an_index_that_does_not_follow_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our contract: pending, not indexed, while nothing reads the folder."""
    monkeypatch.setattr("server.agents.documents.library.INDEX_WAIT_S", 0.05)
    agent = DocumentsAgent(tmp_path, index_path=None, enabled=True)
    assert agent.library is not None
    document, _ = await agent.library.add("a.md", b"Text.", replace=False)
    is_forgotten = await agent.library.remove("a.md")

    assert (document.status, document.passages, document.size) == ("pending", 0, 5)
    assert not is_forgotten


async def test_what_a_crash_left_of_an_upload_goes_at_the_next_start(tmp_path: Path) -> None:
    """Our contract: nothing is left behind; what may still be written is left alone, and so is what is not ours."""
    old, fresh, other = (tmp_path / name for name in (f".upload-{'0' * 16}", f".upload-{'1' * 16}", ".upload-notes"))
    for path in (old, fresh, other):
        path.write_text("x")
    for path in (old, other):
        os.utime(path, (time.time() - 7200, time.time() - 7200))
    agent = DocumentsAgent(tmp_path, index_path=None, enabled=True)
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(agent.run)
            await agent.wait_refreshed()
            group.cancel_scope.cancel()

    assert sorted(os.listdir(tmp_path)) == [fresh.name, other.name]


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
async def test_a_file_system_without_links_serves_as_well(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Our contract: still whole or not at all, and still one winner."""

    def no_links(*_: object) -> None:
        raise OSError(code, "no links here")

    monkeypatch.setattr("os.link", no_links)
    await library.add("a.md", b"First.", replace=False)
    with pytest.raises(Conflict, match="document_exists"):
        await library.add("a.md", b"Second.", replace=False)

    assert (tmp_path / "a.md").read_text() == "First."
    assert os.listdir(tmp_path) == ["a.md"]


async def test_a_full_disk_is_said_and_leaves_nothing(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our contract: 503 with the reason; no half file, neither hidden nor shown."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(Unavailable, match="No space left"):
        await library.add("a.md", b"Text.", replace=False)

    assert os.listdir(tmp_path) == []


async def test_a_time_that_is_no_date_is_listed(library: Library, tmp_path: Path) -> None:
    """A file may claim to be of any year."""
    (tmp_path / "future.md").write_text("Text.")
    os.utime(tmp_path / "future.md", (0, 300_000_000_000))
    await library.add("now.md", b"Text.", replace=False)
    by_name = {one.name: one.modified_at for one in (await library.page("", 10, "")).documents}

    assert set(by_name) == {"future.md", "now.md"}
    assert by_name["future.md"] <= 253_402_300_799
