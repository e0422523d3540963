"""The houses of the package and the arrows between them: imports point down only.

    __main__ → serving → app → api → core ← storage, agents

What counts as an import: every one, also inside functions, under TYPE_CHECKING, and through `import_module` with a
literal name. Modules form no cycle either, so each can be read, and imported, before those above it.
"""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

PACKAGE: Final = "server"
ROOT: Final = Path(__file__).resolve().parent.parent

_GROUND: Final = {"errors", "ids", "settings"}
ARROWS: Final[dict[str, set[str]]] = {
    "__init__": set(),
    "errors": {"__init__"},
    "ids": {"__init__", "errors"},
    "settings": {"__init__", "errors", "ids"},
    "core": {"__init__", *_GROUND},
    "storage": {"__init__", "core", *_GROUND},
    "agents": {"__init__", "core", *_GROUND},
    "api": {"__init__", "core", *_GROUND},
    "app": {"__init__", "api", "storage", "agents", "core", *_GROUND},
    "serving": {"__init__", "app", "api", "core", *_GROUND},
    "workers": {"__init__", *_GROUND},
    "__main__": {"__init__", "serving", "workers", "app", "api", *_GROUND},
}
"""House → the houses it may import. A new house is a decision: it is written here first."""


class Import(NamedTuple):
    """`module` imports `target` (both absolute) in this line."""

    module: str
    target: str
    line: int


def module_name(path: Path, root: Path) -> str:
    """Return the dotted name of a file; a package is its `__init__`."""
    return ".".join(path.relative_to(root).with_suffix("").parts)


def imports_of(root: Path) -> list[Import]:
    """Return all imports between our own modules below `root`/server, and those of the folders beside it."""
    sources = {module_name(path, root): path for path in sorted((root / PACKAGE).rglob("*.py"))}
    found = []
    for module, path in sources.items():
        for target, line in _targets(ast.parse(path.read_text()), module):
            if target.split(".")[0] in (PACKAGE, "tests", "scripts"):
                found.append(Import(module, _resolved(target, sources), line))
    return found


def _targets(tree: ast.AST, module: str) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield alias.name, node.lineno
            case ast.ImportFrom(names=names):
                base = _absolute(node, module)
                for alias in names:
                    yield f"{base}.{alias.name}", node.lineno
            case ast.Call(
                func=ast.Name(id=name) | ast.Attribute(attr=name), args=[ast.Constant(value=str(target)), *_]
            ):
                if name in ("import_module", "__import__"):
                    yield target, node.lineno


def _absolute(node: ast.ImportFrom, module: str) -> str:
    # The name of a package ends in `.__init__` here, so one level up is its own folder, as for any module in it.
    parents = module.split(".")[: -node.level] if node.level else []
    return ".".join([*parents, *([node.module] if node.module else [])])


def _resolved(target: str, sources: dict[str, Path]) -> str:
    """Return the module that holds `target`, which may be a module, a package, or a name in one of both."""
    parts = target.split(".")
    for end in range(len(parts), 0, -1):
        name = ".".join(parts[:end])
        for candidate in (name, f"{name}.__init__"):
            if candidate in sources:
                return candidate
    return target


def house(module: str) -> str:
    """Return the house of one of our modules: the folder or the file right below the package."""
    parts = module.split(".")
    return parts[1] if parts[0] == PACKAGE and len(parts) > 1 else parts[0]


def upward(imports: list[Import]) -> list[str]:
    """Return the imports that no arrow allows, as lines for people."""
    return [
        f"{item.module}:{item.line} imports {item.target}"
        for item in imports
        if house(item.target) not in {*ARROWS.get(house(item.module), set()), house(item.module)}
    ]


def cycle(imports: list[Import]) -> list[str]:
    """Return the modules of one import cycle, or nothing."""
    graph: dict[str, set[str]] = {}
    for item in imports:
        graph.setdefault(item.module, set()).add(item.target)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def test_imports_point_down_only() -> None:
    """The houses: core knows neither HTTP nor adapters, adapters do not know each other."""
    assert upward(imports_of(ROOT)) == []


def test_modules_form_no_cycle() -> None:
    """Our contract: a cycle is two modules that are one."""
    assert cycle(imports_of(ROOT)) == []


def test_every_module_lives_in_a_house() -> None:
    """Our contract: a new folder or top-level file gets its place in the order before it gets code."""
    houses = {house(module_name(path, ROOT)) for path in (ROOT / PACKAGE).rglob("*.py")}

    assert houses <= set(ARROWS)


@pytest.mark.parametrize(
    ("path", "source", "target"),
    [
        ("core/hub.py", "from ..api import chat", "server.api.chat"),
        ("core/hub.py", "import server.storage.sqlite as database", "server.storage.sqlite"),
        ("core/hub.py", "def late():\n    from ..app import wire", "server.app"),
        ("core/hub.py", "if TYPE_CHECKING:\n    from server.api.chat import Chat", "server.api.chat"),
        ("core/hub.py", "importlib.import_module('server.api.chat')", "server.api.chat"),
        ("core/__init__.py", "from ..api.chat import Chat", "server.api.chat"),
        ("api/chat.py", "from server import storage", "server.storage.__init__"),
        ("agents/model.py", "from ..storage import sqlite", "server.storage.sqlite"),
        ("storage/sqlite.py", "from .. import api", "server.api.__init__"),
        ("errors.py", "from .core import hub", "server.core.hub"),
        ("api/chat.py", "from tests.asgi import client", "tests.asgi.client"),
        ("attic/old.py", "from ..core import hub", "server.core.hub"),
    ],
)
def test_import_that_points_up_is_found(tmp_path: Path, path: str, source: str, target: str) -> None:
    """The two tests above can fail: each way to hide an import is seen."""
    _make_package(tmp_path, {path: source})

    line = len(source.splitlines())
    module = f"server.{path.removesuffix('.py').replace('/', '.')}"
    assert upward(imports_of(tmp_path)) == [f"{module}:{line} imports {target}"]


def test_cycle_is_found(tmp_path: Path) -> None:
    """The test above can fail: a cycle inside one house is seen, also when a function hides half of it."""
    _make_package(
        tmp_path,
        {"core/hub.py": "from .session import Session", "core/session.py": "def late():\n    from . import hub"},
    )

    assert set(cycle(imports_of(tmp_path))) == {"server.core.hub", "server.core.session"}


def _make_package(root: Path, files: dict[str, str]) -> None:
    houses = ["errors.py", "app.py", "core/hub.py", "api/chat.py", "storage/sqlite.py", "agents/model.py"]
    packages = ["__init__.py", *(f"{name}/__init__.py" for name in ("core", "api", "storage", "agents"))]
    for path, source in {**dict.fromkeys([*houses, *packages], ""), **files}.items():
        file = root / PACKAGE / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
