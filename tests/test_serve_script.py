"""`scripts/serve` installs what the server is about to need: models and tools only when something names them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SERVE = Path(__file__).resolve().parent.parent / "scripts" / "serve"
MODEL = '[agents.a]\nkind = "model"\n'
OTHER = '[agents.a]\nkind = "python"  # no model\nmodel = 1\n'


def tree(root: Path) -> Path:
    """Make a tree in which installing, and serving, only say what they were asked for."""
    for program, told in (("scripts/install", 'echo "installs $*"'), (".venv/bin/python", 'echo "runs $*"')):
        path = root / program
        path.parent.mkdir(parents=True)
        path.write_text(f"#!/bin/sh\n{told}\n", encoding="utf-8")
        path.chmod(0o755)
    shutil.copy(SERVE, root / "scripts" / "serve")
    return root


@pytest.mark.parametrize(
    ("file", "arguments", "settings", "purpose"),
    [
        ("", [], {}, "server"),
        ("", ["--port", "8001", "--documents", "scripts"], {}, "server"),
        (OTHER, ["--agents", "agents.toml"], {}, "server"),
        ("", [], {"MODEL": "openai:gpt"}, "agents"),
        ("", [], {"MCP": "mcp.json"}, "agents"),
        (MODEL, [], {"AGENTS": "agents.toml"}, "agents"),
        (MODEL, ["--agents", "agents.toml"], {}, "agents"),
        (MODEL, ["--agents=agents.toml"], {}, "agents"),
        ("agents.a = {kind='model'}\n", ["--agents", "agents.toml"], {}, "agents"),
    ],
)
def test_it_installs_what_is_needed_and_hands_on_its_arguments(
    tmp_path: Path, file: str, arguments: list[str], settings: dict[str, str], purpose: str
) -> None:
    root = tree(tmp_path)
    (root / "agents.toml").write_text(file, encoding="utf-8")

    done = subprocess.run(
        [root / "scripts" / "serve", *arguments],
        cwd="/",
        env={"PATH": "/usr/bin:/bin", **settings},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )

    assert done.stdout.splitlines() == [f"installs {purpose}", " ".join(["runs -m server", *arguments])]
    assert done.stderr == ""
