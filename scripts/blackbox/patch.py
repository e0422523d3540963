"""RFC 6902 JSON Patch on values that are never changed in place."""

from __future__ import annotations

from typing import Any


def patched(document: Any, operations: list[dict[str, Any]]) -> Any:
    """Return the document after all operations. Raises `KeyError`, `IndexError` or `ValueError` when one fails."""
    for operation in operations:
        document = _applied(document, operation)
    return document


def _applied(document: Any, operation: dict[str, Any]) -> Any:
    path = _parts(operation["path"])
    kind = operation["op"]
    if kind == "test":
        if _read(document, path) != operation["value"]:
            raise ValueError(f"test failed at {operation['path']}")
        return document
    if kind == "remove":
        return _written(document, path, None, "remove")
    if kind in ("add", "replace"):
        return _written(document, path, operation["value"], kind)
    source = _parts(operation["from"])
    value = _read(document, source)
    if kind == "move":
        document = _written(document, source, None, "remove")
    elif kind != "copy":
        raise ValueError(f"unknown operation {kind}")
    return _written(document, path, value, "add")


def _parts(pointer: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def _read(document: Any, path: list[str]) -> Any:
    for part in path:
        document = document[int(part)] if isinstance(document, list) else document[part]
    return document


def _written(document: Any, path: list[str], value: Any, kind: str) -> Any:
    if not path:
        return value
    head, rest = path[0], path[1:]
    if isinstance(document, list):
        return _list_written(document, head, rest, value, kind)
    if not isinstance(document, dict):
        raise ValueError(f"{head} is looked for in a value that holds nothing")
    if rest:
        return {**document, head: _written(document[head], rest, value, kind)}
    if kind != "add" and head not in document:
        raise KeyError(head)
    if kind == "remove":
        return {key: item for key, item in document.items() if key != head}
    return {**document, head: value}


def _list_written(items: list[Any], head: str, rest: list[str], value: Any, kind: str) -> list[Any]:
    at = len(items) if head == "-" else int(head)
    if not 0 <= at < len(items) + (kind == "add" and not rest):
        raise IndexError(head)
    if rest:
        return [*items[:at], _written(items[at], rest, value, kind), *items[at + 1 :]]
    if kind == "add":
        return [*items[:at], value, *items[at:]]
    return [*items[:at], *([] if kind == "remove" else [value]), *items[at + 1 :]]
