"""What is remembered across starts, and how often a lost server is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.terminal.exporting import write_new
from scripts.terminal.follower import FIRST_DELAY_S, LONGEST_DELAY_S, delay_s
from scripts.terminal.memory import Memory, state_folder
from scripts.terminal.times import is_zone, shown_time


def test_each_server_and_user_is_remembered_apart(tmp_path: Path) -> None:
    Memory(tmp_path, "http://a", "").remember(session_id="one")
    Memory(tmp_path, "http://a", "ann").remember(session_id="two", timezone="UTC")
    Memory(tmp_path, "http://a", "ann").remember(visitor_token="t")

    ann = Memory(tmp_path, "http://a", "ann")
    assert (ann.session_id, ann.timezone, ann.visitor_token) == ("two", "UTC", "t")
    assert Memory(tmp_path, "http://a", "").session_id == "one"
    assert Memory(tmp_path, "http://b", "").session_id == ""


def test_what_is_empty_is_forgotten(tmp_path: Path) -> None:
    Memory(tmp_path, "http://a", "").remember(session_id="one")
    Memory(tmp_path, "http://a", "").remember(session_id="")

    assert Memory(tmp_path, "http://a", "").session_id == ""


@pytest.mark.parametrize("content", ["", "{", "[]", '{"http://a": 1}', "\x00"])
def test_a_broken_file_is_no_reason_to_fail(tmp_path: Path, content: str) -> None:
    (tmp_path / "chat.json").write_text(content, encoding="utf-8")
    memory = Memory(tmp_path, "http://a", "")
    before = memory.session_id
    memory.remember(session_id="one")

    assert (before, Memory(tmp_path, "http://a", "").session_id) == ("", "one")


def test_a_folder_that_cannot_be_written_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    memory = Memory(tmp_path / "file" / "folder", "http://a", "")
    memory.remember(session_id="one")

    assert (memory.session_id, memory.history_file()) == ("one", None)


def test_others_cannot_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    memory = Memory(folder, "http://a", "")
    memory.remember(session_id="one")
    history = memory.history_file()

    assert history is not None
    assert [path.stat().st_mode & 0o077 for path in (folder, folder / "chat.json", history)] == [0, 0, 0]


def test_state_lives_where_programs_keep_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    given = state_folder()
    monkeypatch.setenv("XDG_STATE_HOME", "relative/is/not/allowed")

    assert given == tmp_path / "sessionstream"
    assert state_folder() == Path.home() / ".local" / "state" / "sessionstream"


def test_pauses_grow_to_a_bound() -> None:
    assert [delay_s(attempt, 1.0) for attempt in range(4)] == [FIRST_DELAY_S * 2**attempt for attempt in range(4)]
    assert delay_s(10_000, 1.0) == LONGEST_DELAY_S
    assert delay_s(0, 0.0) == FIRST_DELAY_S / 2


def test_an_export_replaces_nothing(tmp_path: Path) -> None:
    first, second = write_new(tmp_path / "a.md", b"1"), write_new(tmp_path / "a.md", b"2")

    assert (first.name, second.name, first.read_bytes()) == ("a.md", "a-2.md", b"1")


def test_times_are_shown_in_a_zone() -> None:
    assert shown_time("2026-01-01T23:30:00.123Z", "Asia/Tokyo") == "2026-01-02 08:30"
    assert shown_time("no time", "UTC") == "no time"
    assert [is_zone(name) for name in ("UTC", "Mars/Olympus", "../etc/passwd", "")] == [True, False, False, False]
