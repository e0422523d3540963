"""The remote agent: a turn is POSTed to an AG-UI endpoint, and what it streams back becomes our run.

    turn ── RunAgentInput ──▶ POST url ── text/event-stream ──▶ frames ──▶ fold ──▶ events of our run

One pool of connections for all runs, owned by the service. Nothing outside waits longer than its timeout: to connect,
and between two reads of a stream, where a heartbeat counts as life. How long a run may take at all is the run's affair.
An interrupt closes the connection at once, which is how the remote hears of it. Redirects are not followed: they would
take the history and the headers to wherever another server says. Proxies and certificates of the environment
(HTTPS_PROXY, SSL_CERT_FILE) count only with `trust_env`, and no credentials of a `.netrc` without it.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, suppress
from typing import Any, Final

import anyio
import httpx
from httpx_sse import EventSource

from ...core.ports import Event, Turn
from ...errors import AgentFailed
from .faults import EVENT_STREAM, failure_of, refusal_of
from .fold import Fold
from .frames import BoundedStream, parse_event
from .request import run_input

_CONNECT_TIMEOUT_S: Final = 10.0
_MAX_CONNECTIONS: Final = 100
_KEEPALIVE_CONNECTIONS: Final = 20
_FAREWELL_S: Final = 1.0
"""How long the end of the response is waited for, so that the remote is not cut off while it tidies up."""
_LOGGED_BYTES: Final = 2048
_LOGGED_S: Final = 1.0
"""How long what a refusal says besides its status is waited for."""
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OWN_HEADERS: Final = frozenset({"accept", "accept-encoding", "content-length", "content-type", "host"})


class RemoteAgent:
    """Answers with what an AG-UI endpoint streams. An `Agent` and a `Service`."""

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        timeout_s: float,
        max_connections: int = _MAX_CONNECTIONS,
        trust_env: bool = False,
    ) -> None:
        """Prepare; `run` opens the pool.

        Args:
            url: the endpoint, http or https.
            headers: what every request carries besides, such as an Authorization.
            timeout_s: how long the remote may be silent.
            max_connections: runs at the same time; more wait for one to end, at most as long as for a connection.
            trust_env: whether proxies, certificates and credentials of the environment count.

        Raises:
            ValueError: one of these is wrong; the message begins with its name.
        """
        self._url = _checked_url(url)
        self._headers = _checked_headers(headers)
        if not timeout_s > 0:
            raise ValueError("timeout_s: must be more than 0")
        if max_connections < 1:
            raise ValueError("max_connections: must be at least 1")
        self._timeout = httpx.Timeout(timeout_s, connect=_CONNECT_TIMEOUT_S, pool=_CONNECT_TIMEOUT_S)
        self._max_connections = max_connections
        self._trust_env = trust_env
        self._client: httpx.AsyncClient | None = None
        self._runs = 0

    # --- the service

    async def run(self) -> None:
        """Hold the pool of connections open until cancelled."""
        limits = httpx.Limits(max_connections=self._max_connections, max_keepalive_connections=_KEEPALIVE_CONNECTIONS)
        async with httpx.AsyncClient(
            headers=self._headers,
            timeout=self._timeout,
            limits=limits,
            follow_redirects=False,
            trust_env=self._trust_env,
        ) as client:
            self._client = client
            try:
                await anyio.sleep_forever()
            finally:
                self._client = None

    def health(self) -> dict[str, Any]:
        """Return whether it can be asked, and how many runs ask now; the remote itself is not asked."""
        return {"status": "ok" if self._client is not None else "starting", "runs": self._runs}

    # --- the agent

    async def __call__(self, turn: Turn, /) -> AsyncIterator[str | Event]:
        """Answer the turn with the remote's events."""
        fold = Fold(turn)
        self._runs += 1
        try:
            async with aclosing(self._events(turn, fold)) as events:
                async for event in events:
                    for told in fold.take(event):
                        yield told
        except httpx.HTTPError as error:
            raise failure_of(error, has_begun=fold.has_started) from error
        finally:
            self._runs -= 1
        if fold.ending is None:
            raise AgentFailed(code="remote_cut_off")
        turn.usage.extend(fold.ending.usage)
        if fold.ending.failure is not None:
            raise fold.ending.failure
        if interrupts := fold.interrupts():
            yield {"type": "RUN_FINISHED", "outcome": {"type": "interrupt", "interrupts": interrupts}}

    async def _events(self, turn: Turn, fold: Fold) -> AsyncGenerator[Event, None]:
        """Yield the remote's events until one of them ended the run, then let the response end."""
        if self._client is None:
            raise AgentFailed("the remote agent is not open yet", code="remote_unavailable")
        headers = {"Content-Type": "application/json", "Accept": EVENT_STREAM, "Accept-Encoding": "identity"}
        async with self._client.stream("POST", self._url, content=run_input(turn), headers=headers) as response:
            await _check(response)
            assert isinstance(response.stream, httpx.AsyncByteStream)
            response.stream = BoundedStream(response.stream)
            # What a charset of the response says is wrong: event streams are UTF-8.
            response.encoding = "utf-8"
            async with aclosing(EventSource(response).aiter_sse()) as frames:
                async for frame in frames:
                    if frame.data:
                        yield parse_event(frame.data)
                    if fold.ending is not None:
                        break
                # The run is over, whatever still comes, or goes wrong.
                with suppress(httpx.HTTPError, AgentFailed), anyio.move_on_after(_FAREWELL_S):
                    async for _ in frames:
                        pass


async def _check(response: httpx.Response) -> None:
    """Raise AgentFailed when a response is no event stream."""
    body = b""
    if response.status_code != httpx.codes.OK:
        with suppress(httpx.HTTPError), anyio.move_on_after(_LOGGED_S):
            async for chunk in response.aiter_raw():
                body = (body + chunk)[:_LOGGED_BYTES]
                if len(body) == _LOGGED_BYTES:
                    break
    refusal = refusal_of(response, body)
    if refusal is not None:
        raise refusal


def _checked_url(url: str) -> str:
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        parts = httpx.URL()
    if parts.scheme not in ("http", "https") or not parts.host:
        raise ValueError("url: must be an http or https address")
    if parts.userinfo:
        raise ValueError("url: must not hold a name or a password; put an Authorization into the headers")
    return url


def _checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"headers: {name!r} is no name of a header")
        if name.lower() in _OWN_HEADERS:
            raise ValueError(f"headers: {name} is set by the agent itself")
        if not value.isascii() or not value.isprintable():
            # The value itself is not shown: it may be a key.
            raise ValueError(f"headers: the value of {name} must be printable ASCII")
    return dict(headers)
