"""The widget as files: what the strict policies of its own page, and of those around it, demand."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STATIC = ROOT / "static"
PAGE = (STATIC / "widget" / "index.html").read_text(encoding="utf-8")
UNSAFE = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function")
LARGEST_KIB = 12
CHECK_S = 180
MODULES = sorted((STATIC / "widget").glob("*.js"))
AROUND = [STATIC / "widget.js", *sorted((STATIC / "widget" / "around").glob("*.js"))]


def test_the_page_loads_only_files_that_are_here() -> None:
    loads = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="([^"]+)"', PAGE)

    assert "static/widget/app.js" in loads
    assert [path for path in loads if not (ROOT / path).is_file()] == []


def test_the_page_has_nothing_inline() -> None:
    assert re.findall(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]+src=)", PAGE) == []


def test_every_element_that_a_module_asks_for_is_there_once() -> None:
    ids = re.findall(r'\sid="([^"]+)"', PAGE)
    asked = {name for path in MODULES for name in re.findall(r'\bbyId\("([\w-]+)"\)', path.read_text("utf-8"))}

    assert asked
    assert asked <= set(ids)
    assert len(ids) == len(set(ids))


def test_every_icon_of_the_parts_that_it_borrows_is_there() -> None:
    borrowed = [STATIC / f"{name}.js" for name in ("answer", "calls", "code", "pending", "reasoning", "sources")]
    icons = {name for path in borrowed for name in re.findall(r'\bicon\("([\w-]+)"\)', path.read_text("utf-8"))}

    assert icons
    assert [name for name in icons if f'id="icon-{name}"' not in PAGE] == []


def test_modules_make_no_markup_and_import_what_is_there() -> None:
    for path in MODULES:
        text = path.read_text("utf-8")
        assert text.startswith("// @ts-check\n"), path.name
        assert not UNSAFE.search(text), path.name
        for target in re.findall(r'from "([^"]+)"', text):
            assert (path.parent / target).is_file(), f"{path.name} imports {target}"


def test_what_other_sites_load_imports_nothing_else_of_ours_and_needs_no_looser_policy_of_theirs() -> None:
    allowed = {path.resolve() for path in AROUND}
    for path in AROUND:
        text = path.read_text("utf-8")
        assert text.startswith("// @ts-check\n"), path.name
        assert not UNSAFE.search(text), path.name
        code = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
        assert re.findall(r"\bimport\(|<style|srcdoc|\.src\s*=[^=]", code) == [], path.name
        for target in re.findall(r'from "([^"]+)"', text):
            assert (path.parent / target).resolve() in allowed, f"{path.name} imports {target}"


def test_what_other_sites_load_is_small() -> None:
    """It stands in every page of theirs, opened or not."""
    text = b"".join(path.read_bytes() for path in AROUND)

    assert len(gzip.compress(text, 9)) < LARGEST_KIB * 1024


def test_types_hold(tmp_path: Path) -> None:
    node = STATIC.parent / "tests" / "static"
    config = {
        "extends": str(node / "tsconfig.json"),
        "compilerOptions": {"skipLibCheck": True},
        "files": [str(STATIC / "widget.js"), str(STATIC / "widget" / "app.js")],
    }
    (tmp_path / "tsconfig.json").write_text(json.dumps(config), encoding="utf-8")
    done = subprocess.run(
        [str(node / "node_modules" / ".bin" / "tsc"), "--project", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=CHECK_S,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
