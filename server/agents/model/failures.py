"""What goes wrong at a provider, as failures of the run: one code each, so that clients know whether to try again.

The provider's own words go to the log, not to the user: they may name keys, accounts and addresses.
"""

from __future__ import annotations

import math
from typing import Final

from httpx2 import StreamError, TimeoutException, TransportError
from pydantic_ai.exceptions import (
    ContentFilterError,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelContextWindowExceededError,
    ModelHTTPError,
    ModelQuotaExceededError,
    ModelRateLimitError,
    ModelRequestRejectedError,
    ModelRequestTimeout,
    ModelTimeoutError,
    UnexpectedModelBehavior,
    UserError,
)

from ...errors import CODES, AgentFailed

PROVIDER_ERRORS: Final = (
    ModelAPIError,
    UnexpectedModelBehavior,
    UserError,
    NotImplementedError,
    TransportError,
    StreamError,
)
"""What a request raises when it fails."""

_CODES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (ModelAuthenticationError, "model_unauthorized"),
    (ModelQuotaExceededError, "model_quota_exceeded"),
    (ModelRateLimitError, "model_rate_limited"),
    (ModelContextWindowExceededError, "model_context_exceeded"),
    (ModelRequestRejectedError, "model_rejected"),
    (ModelTimeoutError, "model_timeout"),
    (ModelRequestTimeout, "model_timeout"),
    (TimeoutException, "model_timeout"),
    (ContentFilterError, "model_refused"),
    (UserError, "model_rejected"),
    (NotImplementedError, "model_rejected"),
)
_STATUS_CODES: Final = {408: "model_timeout", 413: "model_context_exceeded"}
# How servers word it that pydantic-ai does not know: llama.cpp, Ollama.
_TOO_LONG: Final = ("context size", "exceed_context", "context length", "prompt is too long", "input is too long")


def failed(error: Exception, *, has_begun: bool) -> AgentFailed:
    """Return what a provider's error means for the run; `has_begun`: some of the answer came before it."""
    code = _code(error, has_begun=has_begun)
    after = error.retry_after if isinstance(error, ModelAPIError) else None
    detail = f"{CODES[code][1]}; try again in {math.ceil(after)} s" if after is not None else ""
    return AgentFailed(detail, code=code, retry_after_s=after)


def _code(error: Exception, *, has_begun: bool) -> str:
    if isinstance(error, ModelAPIError) and _is_too_long(error):
        return "model_context_exceeded"
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    if isinstance(error, ModelHTTPError) and error.status_code in _STATUS_CODES:
        return _STATUS_CODES[error.status_code]
    if isinstance(error, ModelHTTPError) and error.status_code < 500:
        return "model_rejected"
    is_said = isinstance(error, ModelAPIError) and not isinstance(error, ModelConnectionError) and error.in_stream
    # What broke off in mid-answer was cut; what the provider itself said is an error like before the answer.
    return (
        "model_cut_off" if has_begun and not is_said and not isinstance(error, ModelHTTPError) else "model_unavailable"
    )


def _is_too_long(error: ModelAPIError) -> bool:
    is_refusal = isinstance(error, ModelHTTPError) and error.status_code < 500
    return is_refusal and any(words in str(error).lower() for words in _TOO_LONG)
