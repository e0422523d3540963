"""Python agents: finds the `module:function` that `agents.toml` names.

The module is looked for beside that file first, then on `PYTHONPATH`. While it is imported, its folder comes first on
`sys.path`, so its siblings import as they do for a script; afterwards the folder stays at the very end, where it
shadows nothing and still serves imports inside functions. A module whose name is taken, by the standard library or by
another folder's agent, is loaded under a name of its own beside the other one.

An agent is an async generator function of one `Turn`, or an object whose `__call__` is one.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Final, cast

from ..core.ports import Agent
from ..errors import ConfigError

_NAME: Final = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_ENTRYPOINT: Final = re.compile(rf"({_NAME}):({_NAME})")


def load_entrypoint(entrypoint: str, beside: Path) -> Agent:
    """Import `module:function` and return the function; blocks as long as the import does.

    Raises:
        ConfigError: it is not spelled so, cannot be imported, or is no agent; with the import's own error text.
    """
    match = _ENTRYPOINT.fullmatch(entrypoint)
    if match is None:
        raise ConfigError(f'must be "module:function", not {entrypoint!r}')
    module_name, attribute = match.groups()
    module = _imported(module_name, beside.resolve())
    try:
        found = reduce(getattr, attribute.split("."), cast("object", module))
    except AttributeError as error:
        raise ConfigError(f"module {module_name!r} ({module.__file__}) has no {attribute!r}") from error
    return _checked(found, entrypoint)


def _checked(found: object, entrypoint: str) -> Agent:
    # The type's `__call__`, not the object's: a class with such a method is not itself an agent, its objects are.
    call = getattr(type(found), "__call__", None)  # noqa: B004
    if not inspect.isasyncgenfunction(found) and not inspect.isasyncgenfunction(call):
        raise ConfigError(f"{entrypoint} must be an async generator function of one Turn (`async def` with `yield`)")
    try:
        inspect.signature(found).bind(object())  # type: ignore[arg-type]  # it is callable: checked above
    except TypeError as error:
        raise ConfigError(f"{entrypoint} must take one argument, the Turn: {error}") from error
    return cast("Agent", found)


def _imported(name: str, beside: Path) -> ModuleType:
    try:
        if not _is_beside(name, beside):
            return importlib.import_module(name)
        # Decided before the folder is on the path: a package without __init__ would take it in as its own.
        loaded_as = name if _is_free(name, beside) else _own_name(name, beside)
        with _first_on_path(beside):
            return importlib.import_module(loaded_as)
    # Boundary: it runs someone else's module, which may raise anything and may even call `sys.exit`.
    except (Exception, SystemExit) as error:
        message = f"cannot import {name!r} (looked in {beside}, then on PYTHONPATH): {type(error).__name__}: {error}"
        raise ConfigError(message) from error


def _is_beside(name: str, beside: Path) -> bool:
    importlib.invalidate_caches()
    spec = PathFinder.find_spec(name.partition(".")[0], [str(beside)])
    # Without a loader it is any folder of that name, which only counts if a module inside it is asked for.
    return spec is not None and (spec.loader is not None or "." in name)


def _is_free(name: str, beside: Path) -> bool:
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names:
        return False
    taken = sys.modules.get(top)
    if taken is None:
        return True
    place = next(iter(getattr(taken, "__path__", ())), None) or getattr(taken, "__file__", None)
    return place is not None and Path(place).resolve().parent == beside


def _own_name(name: str, beside: Path) -> str:
    package = f"agents_{hashlib.sha256(str(beside).encode()).hexdigest()[:12]}"
    if package not in sys.modules:
        module = ModuleType(package, f"The modules beside {beside}.")
        module.__path__ = [str(beside)]
        sys.modules[package] = module
    return f"{package}.{name}"


@contextmanager
def _first_on_path(folder: Path) -> Iterator[None]:
    entry = str(folder)
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        sys.path.remove(entry)
        if entry not in sys.path:
            sys.path.append(entry)
