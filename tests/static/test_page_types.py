"""The page's modules as files: their types."""

from __future__ import annotations

import subprocess
from pathlib import Path

HERE = Path(__file__).parent
TSC = HERE / "node_modules" / ".bin" / "tsc"
CHECK_S = 180


def test_types_hold() -> None:
    command = [str(TSC), "--project", str(HERE / "page")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=CHECK_S, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
