"""Several nodes in this process, on one real Redis: what one does, the others must show.

async with two_nodes(redis_url, first=puppet, second=echo) as (a, b):
accepted = await a.ask("hello")
await b.interrupt()
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from server.core.hub import Hub
from server.core.lifetime import hub_lifetime
from server.core.ports import Agent
from server.ids import new_id
from server.settings import Settings
from server.storage.redis import RedisStorage

from .agents import Catalog, echo
from .node import Node, eventually


@asynccontextmanager
async def open_shared_node(url: str, prefix: str, *, agent: Agent = echo, **settings: Any) -> AsyncIterator[Node]:
    """Run a hub on a Redis that it shares with whoever has the same prefix."""
    made = Settings(**{"cleanup_interval_seconds": 3600.0, "no_docs": True, "lease_seconds": 2.0, **settings})
    storage = RedisStorage(
        url,
        prefix=prefix,
        node_id=new_id().replace("-", ""),
        timeout_s=made.storage_timeout_seconds,
        session_timeout_s=made.session_timeout_minutes * 60,
        tombstone_s=made.tombstone_days * 86_400,
    )
    hub = Hub(made, storage, Catalog([("default", agent)]))
    async with hub_lifetime(hub):
        await eventually(lambda: hub.is_open)
        yield Node(hub, storage, Path())


@asynccontextmanager
async def two_nodes(
    url: str, *, first: Agent = echo, second: Agent = echo, **settings: Any
) -> AsyncIterator[tuple[Node, Node]]:
    """Run two."""
    prefix = new_id()
    async with AsyncExitStack() as stack:
        a = await stack.enter_async_context(open_shared_node(url, prefix, agent=first, **settings))
        b = await stack.enter_async_context(open_shared_node(url, prefix, agent=second, **settings))
        yield a, b
