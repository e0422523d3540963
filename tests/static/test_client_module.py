"""The module that pages import, `static/client/index.js`, as files: its types, its size, what it loads."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
CLIENT = HERE.parents[1] / "static" / "client"
TSC = HERE / "node_modules" / ".bin" / "tsc"
CHECK_S = 180
LARGEST_BYTES = 12_000


def loaded(start: Path) -> list[Path]:
    """Return the modules that a browser loads for one, itself first."""
    found = [start]
    for module in found:
        for target in re.findall(r'^(?:import|export) [^;]*?from "([^"]+)"', module.read_text("utf-8"), re.M | re.S):
            path = (module.parent / target).resolve()
            if path not in found:
                found.append(path)
    return found


def test_types_hold() -> None:
    """The issue: JSDoc types checked by `tsc --checkJs --strict`."""
    done = subprocess.run(
        [str(TSC), "--project", str(HERE)], capture_output=True, text=True, timeout=CHECK_S, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_a_wrong_type_is_found(tmp_path: Path) -> None:
    """The check before is one that can fail."""
    wrong = tmp_path / "wrong.js"
    index = (CLIENT / "index.js").as_posix()
    wrong.write_text(f'// @ts-check\nimport {{ ChatManager }} from "{index}";\nnew ChatManager({{ sessionId: 1 }});\n')
    options = json.loads((HERE / "tsconfig.json").read_text("utf-8"))["compilerOptions"]
    (tmp_path / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "files": ["wrong.js"]}))
    done = subprocess.run(
        [str(TSC), "--project", str(tmp_path)], capture_output=True, text=True, timeout=CHECK_S, check=False
    )

    assert done.returncode != 0
    assert "wrong.js(3,19): error TS2322" in done.stdout, done.stdout


def test_module_is_small() -> None:
    """The issue: under 12 KB, gzipped, as it is served: with its comments, and all that it loads."""
    text = b"".join(path.read_bytes() for path in loaded(CLIENT / "index.js"))

    assert len(gzip.compress(text, 9)) < LARGEST_BYTES


def test_module_loads_nothing_from_beside_it() -> None:
    """It can be copied to another site as it is."""
    modules = loaded(CLIENT / "index.js")

    assert {path.parent for path in modules} == {CLIENT}
    assert set(modules) == set(CLIENT.glob("*.js")), "a module that nobody loads"
