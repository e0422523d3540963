"""JSON answers, by orjson: times and ids are text already."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.responses import Response


def json_answer(content: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return `content` as a JSON response that no cache keeps."""
    return Response(orjson.dumps(content), status, {"Cache-Control": "no-store", **(headers or {})}, "application/json")
