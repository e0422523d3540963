"""`scripts/chat`: it installs what it needs, and hands on its arguments and the folder it was called from."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

CHAT = Path(__file__).resolve().parent.parent / "scripts" / "chat"


def test_it_installs_what_is_needed_and_hands_on_its_arguments(tmp_path: Path) -> None:
    for program, told in (("scripts/install", 'echo "installs $*"'), (".venv/bin/python", 'echo "runs $*"; cat')):
        path = tmp_path / program
        path.parent.mkdir(parents=True)
        path.write_text(f"#!/bin/sh\n{told}\n", encoding="utf-8")
        path.chmod(0o755)
    shutil.copy(CHAT, tmp_path / "scripts" / "chat")

    done = subprocess.run(
        [tmp_path / "scripts" / "chat", "http://127.0.0.1:1", "-"],
        cwd="/usr",
        env={"PATH": "/usr/bin:/bin"},
        input="question",
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )

    expected = ["installs chat", "runs -m scripts.terminal --folder /usr http://127.0.0.1:1 -", "question"]
    assert done.stdout.splitlines() == expected
    assert done.stderr == ""
