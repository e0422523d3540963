"""The index of documents: what a pass over the folder takes in, leaves out, keeps and forgets; and what it finds."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.agents.documents.folder import Folder, own_documents
from server.agents.documents.index import Index
from server.agents.documents.ranking import Found, ask, find
from server.agents.documents.shapes import HEADING_MARK


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    (folder / "client" / "deep").mkdir(parents=True)
    (folder / "client" / "timeouts.md").write_text(
        "# Timeouts\n\nRequests wait five seconds.\n\n## Disabling\n\nPass None.\n"
    )
    (folder / "client" / "deep" / "proxy.txt").write_text("Traffic can go through a SOCKS proxy.\n")
    (folder / "server.html").write_text("<h1>SessionMiddleware</h1><p>Signed cookies.")
    return folder


@pytest.fixture
def index(docs: Path) -> Iterator[Index]:
    index = Index(Folder(docs), None)
    refreshed(index)
    yield index
    index.close()


def refreshed(index: Index) -> Index:
    index.refresh(threading.Event())
    return index


def search(index: Index, text: str, names: list[str] | None = None, limit: int = 3) -> list[Found]:
    with index.reading(5.0) as connection:
        assert connection is not None
        return find(connection, ask(text), names, limit)


def files(index: Index, text: str) -> list[str]:
    return [found.name for found in search(index, text)]


def test_a_pass_takes_in_every_kind_of_document(index: Index) -> None:
    """Our contract: Markdown, text and HTML below the folder, named by their path and heading."""
    best = search(index, "How do I disable timeouts?")[0]

    assert (best.name, best.heading, best.text) == (
        "client/timeouts.md",
        f"Timeouts{HEADING_MARK}Disabling",
        "Pass None.",
    )
    assert files(index, "socks") == ["client/deep/proxy.txt"]
    assert (index.passages, index.files, index.files_done, index.files_total, index.trouble) == (4, 3, 3, 3, "")


def test_words_of_a_question_may_differ_from_those_of_the_text(index: Index) -> None:
    """Our contract: other forms, related words, and parts of names in code are found."""
    assert files(index, "turn off the waiting")[0] == "client/timeouts.md"
    assert files(index, "middleware for sessions")[0] == "server.html"
    assert files(index, 'a "quoted* AND (proxy) NEAR/3 -x:')[0] == "client/deep/proxy.txt"
    assert files(index, "quantum entanglement") == []
    assert search(index, "proxy cookies timeouts", ["server.html"])[0].name == "server.html"


def test_changed_new_and_removed_files_are_followed(docs: Path, index: Index) -> None:
    """Our contract: the index is refreshed when files change; old passages go."""
    (docs / "client" / "deep" / "proxy.txt").write_text("Nothing but walruses here.\n")
    (docs / "new.md").write_text("# Otters\n\nThey hold hands.\n")
    (docs / "server.html").unlink()
    refreshed(index)

    assert files(index, "socks") == []
    assert files(index, "walruses") == ["client/deep/proxy.txt"]
    assert files(index, "otters") == ["new.md"]
    assert files(index, "cookies") == []
    assert (index.passages, index.files) == (4, 3)


def test_what_lies_outside_or_hidden_is_never_read(docs: Path, tmp_path: Path) -> None:
    """Our contract: links leading out of the folder are not followed; hidden files and folders are passed over."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.md").write_text("The secret is walnut.\n")
    (docs / "link.md").symlink_to(outside / "secret.md")
    (docs / "linked").symlink_to(outside)
    (docs / ".hidden").mkdir()
    (docs / ".hidden" / "walnut.md").write_text("walnut\n")
    (docs / "inside.md").symlink_to(docs / "client" / "timeouts.md")
    index = refreshed(Index(Folder(docs), None))

    assert files(index, "walnut") == []
    assert "inside.md" in files(index, "disabling timeouts")
    index.close()


def test_each_file_left_out_is_told_once_with_its_reason(docs: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Our contract: skipped files are logged once, also when they are looked at again and again."""
    (docs / "noise.txt").write_bytes(b"\0\1\2")
    (docs / "broken.pdf").write_bytes(b"%PDF-1.7 nothing")
    (docs / "away.md").symlink_to("/etc/hostname")
    (docs / os.fsdecode(b"bad\xff.md")).write_text("x")
    index = Index(Folder(docs), None)
    with caplog.at_level(logging.INFO, "sessionstream.documents"):
        for _ in range(3):
            refreshed(index)
    told = sorted(record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)

    assert [line.partition(":")[0] for line in told] == [
        "left out away.md",
        "left out bad?.md",
        "left out broken.pdf",
        "left out noise.txt",
    ]
    assert told[3] == "left out noise.txt: it is binary"
    assert sum("passages of" in record.getMessage() for record in caplog.records) == 1
    assert index.files_total == index.files_done == 5
    index.close()


def test_an_index_on_disk_is_used_again_and_only_for_its_folder(docs: Path, tmp_path: Path) -> None:
    """Our contract: a restart reads only what changed; another folder starts anew."""
    path = tmp_path / "documents.db"
    refreshed(Index(Folder(docs), path)).close()
    again = refreshed(Index(Folder(docs), path))
    row = sqlite3.connect(path)
    first_ids = row.execute("SELECT min(passage_id), max(passage_id), count(*) FROM places").fetchone()
    row.close()
    again.close()
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.md").write_text("walrus\n")
    moved = refreshed(Index(Folder(other), path))

    assert first_ids == (1, 4, 4)
    assert files(moved, "timeouts") == []
    assert files(moved, "walrus") == ["a.md"]
    moved.close()


def test_a_damaged_index_is_made_anew(docs: Path, tmp_path: Path) -> None:
    """Our contract: the index is a cache; nothing that happens to it is fatal."""
    path = tmp_path / "documents.db"
    path.write_bytes(b"this is no database" * 1000)
    index = refreshed(Index(Folder(docs), path))

    assert files(index, "socks") == ["client/deep/proxy.txt"]
    index.close()


def test_a_folder_that_comes_back_is_read(docs: Path, tmp_path: Path) -> None:
    """Our contract: trouble is told while it lasts; what was known stays until the folder can be seen again."""
    index = refreshed(Index(Folder(docs), None))
    away = docs.rename(tmp_path / "away")
    refreshed(index)
    trouble, kept = index.trouble, files(index, "socks")
    away.rename(docs)
    refreshed(index)

    assert "cannot be read" in trouble
    assert kept == ["client/deep/proxy.txt"]
    assert index.trouble == ""
    index.close()


def test_a_stopped_pass_leaves_no_half_of_a_file(docs: Path, tmp_path: Path) -> None:
    """Our contract: a stop ends a pass soon, and the next start goes on."""
    path = tmp_path / "documents.db"
    index, stop = Index(Folder(docs), path), threading.Event()
    stop.set()
    index.refresh(stop)
    complete = index.is_complete
    refreshed(index)

    assert not complete
    assert index.passages == 4
    index.close()


def test_without_a_path_nothing_is_left_behind(docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our contract: a temporary index goes with its agent."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    index = refreshed(Index(Folder(docs), None))
    used = len(list(scratch.iterdir()))
    index.close()

    assert used == 1
    assert list(scratch.iterdir()) == []


def test_unspaced_scripts_are_found_by_parts(docs: Path) -> None:
    """Our contract: Chinese and Japanese text has no spaces, and is found all the same."""
    (docs / "cn.md").write_text("# 超时设置\n\n默认的超时时间是五秒。\n", encoding="utf-8")
    index = refreshed(Index(Folder(docs), None))

    assert files(index, "超时时间")[:1] == ["cn.md"]
    index.close()


def test_the_project_answers_from_its_own_documents_only(tmp_path: Path) -> None:
    """Our contract: without a folder, this project's README and docs; never what lies beside an installed package."""
    package = tmp_path / "server"
    package.mkdir()
    (tmp_path / "README.md").write_text("# Sessionstream\n\nReadme text.\n")
    (tmp_path / "other.md").write_text("Other text.\n")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "guide.md").write_text("Guide text.\n")
    installed = own_documents(package)
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "sessionstream"\n')
    source = own_documents(package)

    assert installed is None
    assert source is not None
    assert sorted(source.scan(lambda: None).files) == ["README.md", "docs/guide.md"]
