"""A start imports what it uses: no extra is looked into before something is set that needs it, installed or not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent

_EXTRAS: Final = ("pydantic_ai", "openai", "anthropic", "mcp", "mcp_types", "redis", "pydantic")
# What runs for a model only, and is no light thing to import.
_LATE: Final = {"httpx", "httpx_sse", "pypdf"}
_PROBE: Final = """
import json, sys
for name in json.loads(sys.argv[2]):
    sys.modules[name] = None
from server.app import create_app
from server.settings import Settings
create_app(Settings(**json.loads(sys.argv[1])))
names = {name for name, module in sys.modules.items() if module is not None}
print(json.dumps(sorted(names)))
"""


def imported(folder: Path, *, hidden: tuple[str, ...] = (), **settings: Any) -> set[str]:
    """Return the modules that a server has imported when it is about to serve."""
    given = {"data": str(folder / "data"), **settings}
    result = subprocess.run(
        [sys.executable, "-P", "-c", _PROBE, json.dumps(given), json.dumps(hidden)],
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return set(json.loads(result.stdout))


def test_a_start_without_extras_and_one_with_all_import_the_same(tmp_path: Path) -> None:
    """Our contract: what is installed and not used costs nothing."""
    with_all, without = imported(tmp_path), imported(tmp_path, hidden=_EXTRAS)

    assert with_all == without
    assert not with_all & {*_EXTRAS, *_LATE}


def test_a_model_is_imported_by_its_first_run_not_by_the_start(tmp_path: Path) -> None:
    """Only our own few modules more; the library takes seconds."""
    more = imported(tmp_path, model="openai:none") - imported(tmp_path)

    assert {name for name in more if not name.startswith("server.agents.model")} == set()
    assert "server.agents.model.agent" in more


def test_tools_bring_their_library(tmp_path: Path) -> None:
    """The tests above can fail: what is imported is seen."""
    (tmp_path / "mcp.json").write_text('{"mcpServers": {}}', encoding="utf-8")

    assert "mcp" in imported(tmp_path, mcp=str(tmp_path / "mcp.json"))
