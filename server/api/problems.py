"""Errors as answers: `application/problem+json` (RFC 9457), one shape for all that fails before a response starts.

    {"type", "title", "status", "detail", "code", "retryable", "request_id", "field"?}

`title` is the meaning of the code, `detail` what happened this time. Handlers raise; Starlette's exception handlers
(`exception_handlers`) or, around routing, `FaultMiddleware` answer through `answer`. A fault that no code foresaw is
logged once, with its request_id, and never shown.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from ..errors import CODES, SessionstreamError

logger: Final = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
MAX_FIELD_CHARS: Final = 200
"""A field's name may come from the client: longer ones are cut."""

_CODES_BY_STATUS: Final = {
    401: "unauthenticated",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "not_json",
    503: "draining",
}

ExceptionHandler = Callable[[Request, Exception], Awaitable[Response]]


def problem_response(error: SessionstreamError, request_id: str) -> Response:
    """Return the answer to a failed request."""
    problem: dict[str, Any] = {
        "type": f"urn:sessionstream:error:{error.code}",
        "title": CODES[error.code][1],
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "retryable": error.retryable,
        "request_id": request_id,
    }
    if error.field is not None:
        problem["field"] = error.field[:MAX_FIELD_CHARS]
    headers = {"Cache-Control": "no-store"}
    if error.status in (429, 503):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s or 1)))
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="sessionstream"'
    # ASCII, not UTF-8 text: it holds whatever a client sent, and must not fail on any of it.
    return Response(json.dumps(problem).encode("ascii"), error.status, headers, MEDIA_TYPE)


def request_id_of(scope: Scope) -> str:
    """Return the request's id, empty when the request failed before it got one."""
    request_id = scope.get("state", {}).get("request_id", "")
    return request_id if isinstance(request_id, str) else ""


def answer(scope: Scope, error: SessionstreamError) -> Response:
    """Return the problem for this request; a body that was not read to its end closes the connection."""
    response = problem_response(error, request_id_of(scope))
    if error.status in (408, 413) and str(scope.get("http_version", "1.1")).startswith("1"):
        response.headers["Connection"] = "close"
    return response


def log_fault(scope: Scope, error: Exception) -> None:
    """Write a defect to the log with what is needed to find its request again."""
    logger.error(
        "request %s failed: %s %r", request_id_of(scope), scope.get("method"), scope.get("path"), exc_info=error
    )


async def _answer_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, SessionstreamError)
    return answer(request.scope, error)


async def _answer_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code < 400:
        return Response(status_code=error.status_code, headers=error.headers)
    fallback = "internal_error" if error.status_code >= 500 else "bad_request"
    code = _CODES_BY_STATUS.get(error.status_code, fallback)
    response = answer(request.scope, SessionstreamError(code=code))
    allow = (error.headers or {}).get("Allow")
    if allow is not None:
        response.headers["Allow"] = allow
    return response


async def _answer_fault(request: Request, error: Exception) -> Response:
    log_fault(request.scope, error)
    return answer(request.scope, SessionstreamError())


exception_handlers: Final[dict[Any, ExceptionHandler]] = {
    SessionstreamError: _answer_error,
    HTTPException: _answer_http_exception,
    Exception: _answer_fault,
}
"""For `Starlette(exception_handlers=…)`. `Exception` is the last resort, outside of all middleware."""
