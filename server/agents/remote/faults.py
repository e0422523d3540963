"""Faults: what goes wrong on the way to a remote agent, as failures of the run, one code each.

What the remote says in an error response, and where it is, goes to the log, not to the user: it may name keys,
accounts and addresses.
"""

from __future__ import annotations

import logging
import math
import re
from typing import Final

import httpx

from ...errors import AgentFailed

_log = logging.getLogger("sessionstream.remote")

EVENT_STREAM: Final = "text/event-stream"
_MAX_RETRY_AFTER_S: Final = 86_400
_SECONDS: Final = re.compile(r"[0-9]{1,9}", re.ASCII)
_CODES: Final = {
    401: "remote_unauthorized",
    403: "remote_unauthorized",
    407: "remote_unauthorized",
    408: "remote_timeout",
    429: "remote_rate_limited",
    504: "remote_timeout",
}


def refusal_of(response: httpx.Response, body: bytes) -> AgentFailed | None:
    """Return why a response is no event stream; None when it is one. `body` is as much of it as was read."""
    if response.status_code != httpx.codes.OK:
        _log.warning("the remote agent answered %d: %r", response.status_code, body)
        return _refused(response)
    media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != EVENT_STREAM:
        detail = f"the remote agent answered with {media_type or 'no media type'}, not {EVENT_STREAM}"
        return AgentFailed(detail, code="agent_protocol")
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        return AgentFailed("the remote agent compressed its stream, unasked", code="agent_protocol")
    return None


def _refused(response: httpx.Response) -> AgentFailed:
    status = response.status_code
    code = _CODES.get(status) or ("remote_unavailable" if status >= 500 else "remote_rejected")
    failure = AgentFailed(code=code, retry_after_s=_retry_after(response))
    failure.detail = f"{failure.detail} (HTTP {status})"
    if response.is_redirect:
        failure.detail += "; redirects are not followed"
    if failure.retry_after_s is not None:
        failure.detail += f"; try again in {math.ceil(failure.retry_after_s)} s"
    return failure


def _retry_after(response: httpx.Response) -> float | None:
    """Return the seconds of Retry-After; a date is not worth a clock that may differ."""
    value = response.headers.get("retry-after", "").strip()
    return float(min(int(value), _MAX_RETRY_AFTER_S)) if _SECONDS.fullmatch(value) else None


def failure_of(error: httpx.HTTPError, *, has_begun: bool) -> AgentFailed:
    """Return what an error on the way means; `has_begun`: some of the stream had come."""
    _log.warning("the remote agent was lost: %r", error)
    match error:
        case httpx.PoolTimeout():
            return AgentFailed("too many runs of this remote agent at once", code="remote_unavailable")
        case httpx.ConnectTimeout():
            return AgentFailed("the remote agent took no connection in time", code="remote_timeout")
        case httpx.TimeoutException():
            return AgentFailed(code="remote_timeout")
        case _:
            return AgentFailed(code="remote_cut_off" if has_begun else "remote_unavailable")
