"""The browser client as files: its pure modules by Node's own test runner, and what the page's strict CSP demands."""

from __future__ import annotations

import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STATIC = ROOT / "static"
MODULES = sorted(STATIC.glob("*.js"))
RUN_S = 120


def test_pure_modules() -> None:
    tests = sorted(str(path) for path in Path(__file__).parent.glob("*.test.mjs"))
    done = subprocess.run(
        ["node", "--test", *tests], cwd=ROOT, capture_output=True, text=True, timeout=RUN_S, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert tests


class _Page(HTMLParser):
    """What a page loads, names and forbids itself."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: set[str] = set()
        self.ids: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if "id" in given:
            self.ids.append(given["id"])
        if tag in ("script", "img", "link"):
            self.loads.add(given.get("src") or given.get("href") or "")
        if tag == "style" or (tag == "script" and "src" not in given):
            self.inline.append(tag)
        self.inline += [name for name in given if name == "style" or name.startswith("on")]


def _page() -> _Page:
    page = _Page()
    page.feed((STATIC / "index.html").read_text(encoding="utf-8"))
    return page


def test_page_loads_only_files_that_are_here() -> None:
    loads = _page().loads

    assert loads
    assert all((ROOT / path).is_file() for path in loads), loads


def test_page_has_nothing_inline_that_the_csp_would_refuse() -> None:
    assert _page().inline == []


def test_every_element_that_a_module_asks_for_is_there_once() -> None:
    ids = _page().ids
    asked = {name for path in MODULES for name in re.findall(r'\bbyId\("([\w-]+)"\)', path.read_text(encoding="utf-8"))}

    assert len(ids) == len(set(ids))
    assert asked <= set(ids)


def test_modules_never_make_markup_of_text() -> None:
    unsafe = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setAttribute\(\"style"
    )

    assert [path.name for path in MODULES if unsafe.search(path.read_text(encoding="utf-8"))] == []


def test_modules_are_checked_for_types_and_import_only_each_other() -> None:
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        assert text.startswith("// @ts-check\n"), path.name
        # Comments may name files of types, which no browser loads.
        code = re.sub(r"/\*\*.*?\*/", "", text, flags=re.DOTALL)
        for target in re.findall(r'from "([^"]+)"', code):
            assert (STATIC / target).is_file(), f"{path.name} imports {target}"
