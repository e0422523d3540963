"""One connection to one server, by the protocol's own client; entered and left by the same task."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

import mcp_types as types
from mcp import Client, MCPError
from mcp.client import IncomingMessage, Transport
from mcp.client.streamable_http import streamable_http_client

from ... import __version__
from .config import HttpConfig, McpConfig
from .http import bounded_client
from .stdio import stdio_transport

_MAX_TOOLS: Final = 1000
_MAX_PAGES: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class McpLimits:
    """What a server may take, in time and bytes; and how often it is looked after."""

    connect_timeout_s: float = 60.0
    """From its start to its first list of tools: some are installed by their first start."""
    list_timeout_s: float = 10.0
    call_timeout_s: float = 60.0
    max_result_bytes: int = 64 << 10
    """Of a result as a model sees it: about 16,000 tokens."""
    max_message_bytes: int = 4 << 20
    """Of an answer on its way: what is longer is thrown away while it arrives."""
    check_s: float = 30.0
    """A server that nobody calls is asked for its tools this often, to know that it is there."""
    first_retry_s: float = 0.25
    max_retry_s: float = 30.0


@asynccontextmanager
async def open_link(
    config: McpConfig, limits: McpLimits, *, on_news: Callable[[], None], on_end: Callable[[], None]
) -> AsyncIterator[Client]:
    """Connect to a server; `on_news` is called when its tools changed, `on_end` when its process says no more."""

    async def hear(message: IncomingMessage) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            on_news()

    async with AsyncExitStack() as stack:
        transport: Transport
        if isinstance(config, HttpConfig):
            http = await stack.enter_async_context(
                bounded_client(
                    config,
                    max_message_bytes=limits.max_message_bytes,
                    connect_timeout_s=limits.connect_timeout_s,
                    call_timeout_s=limits.call_timeout_s,
                )
            )
            size = limits.max_message_bytes
            transport = streamable_http_client(config.url, http_client=http, max_sse_event_size=size)
        else:
            transport = stdio_transport(config, max_message_bytes=limits.max_message_bytes, on_end=on_end)
        client = Client(
            transport,
            message_handler=hear,
            client_info=types.Implementation(name="sessionstream", version=__version__),
            cache=None,
        )
        yield await stack.enter_async_context(client)


async def list_tools(client: Client) -> tuple[types.Tool, ...]:
    """Return the server's tools, page by page, at most so many as any model could choose from."""
    if client.server_capabilities.tools is None:
        return ()
    found: list[types.Tool] = []
    cursor: str | None = None
    for _ in range(_MAX_PAGES):
        page = await client.list_tools(cursor=cursor)
        found += page.tools
        cursor = page.next_cursor
        if cursor is None or len(found) >= _MAX_TOOLS:
            break
    return tuple(found[:_MAX_TOOLS])


def says_changes(client: Client) -> bool:
    """Whether the server tells when its tools change."""
    tools = client.server_capabilities.tools
    return tools is not None and bool(tools.list_changed)


def reason_of(error: BaseException) -> str:
    """Return what went wrong first, for people: groups of errors are how the client's own tasks fail."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, MCPError):
        return error.error.message
    return str(error) or type(error).__name__
