"""One MCP server and the task that looks after it.

    starting ──▶ ok ──▶ starting (lost: it is started again) ──▶ ok
        └──────▶ down (it does not start: tried again, later and later) ──▶ ok

The task alone enters and leaves the connection. Calls are made by whoever needs them, on the connection that is there;
one that fails wakes the task, which looks whether the server answers at all, and starts it again if not. Delays grow
from try to try, with jitter, until a server has been up for a while.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from typing import Any, Final, Literal

import anyio
import mcp_types as types
from mcp import Client, MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from .config import McpConfig
from .link import McpLimits, list_tools, open_link, reason_of, says_changes
from .results import Outcome, cut, failed, outcome_of

_log = logging.getLogger("sessionstream.mcp")

_STEADY_S: Final = 60.0  # one that was up for so long is not in a crash loop
_SETTLE_S: Final = 0.05  # news come in flocks
_MAX_DETAIL_BYTES: Final = 300


class _DownError(Exception):
    """The server is not there; the text says why."""


class McpServer:
    """A server, its tools, and calls of them. A `Service`: `run` is a task of the hub."""

    def __init__(self, config: McpConfig, limits: McpLimits) -> None:
        self.config = config
        self.limits = limits
        self.tools: tuple[types.Tool, ...] = ()
        """What it offers, as it said last; nothing while it is down."""
        self._status: Literal["starting", "ok", "down"] = "starting"
        self._detail = ""
        self._client: Client | None = None
        self._calls = 0
        self._moved = anyio.Event()
        self._news = anyio.Event()

    @property
    def name(self) -> str:
        """Its name in the file."""
        return self.config.name

    def health(self) -> dict[str, Any]:
        """Say how it is; `required` says whether this node can do without."""
        told = {"status": self._status, "required": self.config.is_required, "tools": len(self.tools)}
        return {**told, "detail": self._detail} if self._detail else told

    # --- calls

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> Outcome:
        """Call a tool; what goes wrong is an outcome, too. The server is told when the caller is cancelled."""
        timeout_s = self.limits.call_timeout_s
        try:
            with anyio.fail_after(timeout_s):
                return await self._call(tool, arguments)
        except TimeoutError:
            why = f"{self.name}.{tool} did not answer within {timeout_s:g} s"
        except _DownError as error:
            why = f"the MCP server {self.name} is down: {error}"
        except MCPError as error:
            why = f"{self.name}.{tool} failed: {error.error.message}"
            if error.error.code == types.CONNECTION_CLOSED:
                why = f"the MCP server {self.name} was lost during the call; it may be there again soon"
        except Exception as error:  # boundary: an answer that the protocol's client does not take is a failed call
            why = f"{self.name}.{tool} failed: {reason_of(error)}"
        self._news.set()
        return failed(why)

    async def _call(self, tool: str, arguments: Mapping[str, Any]) -> Outcome:
        client = await self._connected()
        self._calls += 1
        try:
            result = await client.call_tool(tool, dict(arguments))
        except MCPError as error:
            if error.error.code == types.CONNECTION_CLOSED and self._client is client:
                self._lose()
            raise
        finally:
            self._calls -= 1
        return outcome_of(result, self.limits.max_result_bytes)

    async def settle(self) -> None:
        """Wait until it is there or down."""
        while self._status == "starting":
            await self._moved.wait()

    async def _connected(self) -> Client:
        while self._client is None:
            if self._status == "down":
                raise _DownError(self._detail)
            await self._moved.wait()
        return self._client

    # --- life

    async def run(self) -> None:
        """Keep the server there until cancelled."""
        tries = 0
        while True:
            why, lasted_s = await self._serve()
            why = cut(why, _MAX_DETAIL_BYTES)
            if why != self._detail or lasted_s:
                _log.warning("the MCP server %s is not there: %s", self.name, why)
            self._detail = why
            self._move("starting" if lasted_s else "down", None)
            tries = 1 if lasted_s >= _STEADY_S else tries + 1
            delay_s = min(self.limits.max_retry_s, self.limits.first_retry_s * 2 ** min(tries - 1, 20))
            await anyio.sleep(delay_s * random.uniform(0.5, 1))

    async def _serve(self) -> tuple[str, float]:
        """Connect and stay connected; return why that ended, and how many seconds it was up: 0 when it never was."""
        up_at: float | None = None
        timeout_s = self.limits.connect_timeout_s
        why = f"it did not answer within {timeout_s:g} s"
        try:
            with anyio.CancelScope(deadline=anyio.current_time() + timeout_s) as scope:
                async with open_link(self.config, self.limits, on_news=self._hear, on_end=self._lose) as client:
                    self.tools = await list_tools(client)
                    scope.deadline, up_at = float("inf"), anyio.current_time()
                    self._move("ok", client)
                    await self._stay(client)
        except Exception as error:  # boundary: whatever a server makes the protocol's client raise, it is tried again
            why = reason_of(error)
        return why, 0 if up_at is None else max(anyio.current_time() - up_at, 1e-3)

    def _move(self, status: Literal["starting", "ok", "down"], client: Client | None) -> None:
        if status == "ok" and self._status != "ok":
            self._detail = ""
            _log.info("the MCP server %s is there with %d tools", self.name, len(self.tools))
        if status == "down":
            self.tools = ()
        self._status, self._client = status, client
        self._moved.set()
        self._moved = anyio.Event()

    def _hear(self) -> None:
        self._news.set()

    def _lose(self) -> None:
        """Let calls wait until the task has looked."""
        if self._client is not None:
            self._detail = "the connection was lost"
            self._move("starting", None)
        self._news.set()

    async def _stay(self, client: Client) -> None:
        """Ask for its tools when there is news of it, and now and then; raise when it does not answer."""
        async with anyio.create_task_group() as tasks:
            if says_changes(client):
                tasks.start_soon(self._listen, client)
            while True:
                with anyio.move_on_after(self.limits.check_s):
                    await self._news.wait()
                    await anyio.sleep(_SETTLE_S)
                self._news = anyio.Event()
                await self._refresh(client)
                if self._client is None:
                    self._move("ok", client)

    async def _refresh(self, client: Client) -> None:
        with anyio.move_on_after(self.limits.list_timeout_s):
            self.tools = await list_tools(client)
            return
        # Some can do one thing at a time: while one is at work it is not dead.
        if not self._calls:
            raise TimeoutError(f"it did not answer within {self.limits.list_timeout_s:g} s")

    async def _listen(self, client: Client) -> None:
        """Hear of changes where the protocol's newer version wants that to be asked for."""
        while client.protocol_version in MODERN_PROTOCOL_VERSIONS:
            try:
                async with client.listen(tools_list_changed=True) as changes:
                    self._news.set()  # nobody tells what changed before it was asked for
                    async for _ in changes:
                        self._news.set()
            except Exception:  # boundary: without news it is asked now and then
                _log.debug("the MCP server %s ended its notifications", self.name, exc_info=True)
            self._news.set()
            await anyio.sleep(self.limits.check_s)
