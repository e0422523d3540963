"""Some nodes at one real Redis, users at each of them, and what they find wrong.

Everything is a black box over HTTP. Waits are bounded: a follower's fold says when something has happened, the rest is
asked for again and again. Leaving fails the test when any follower saw an event lost, repeated, out of order, rewritten
or against the protocol's grammar, or when a node's log holds a stack.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import anyio
import pytest
from anyio.abc import TaskGroup

from scripts.blackbox.arena import STREAM_FAULTS, script
from scripts.blackbox.caller import Caller
from scripts.blackbox.fold import differences
from scripts.blackbox.follower import Follower, Ledger
from scripts.blackbox.nodes.cluster import Cluster, cluster
from scripts.blackbox.tally import Tally
from scripts.blackbox.wire import Stream
from tests.faults.stage import WAIT_S, until

needs_redis = pytest.mark.skipif(shutil.which("redis-server") is None, reason="there is no redis-server")

LEASE_S: Final = 2.0
BRISK: Final = {
    "LEASE_SECONDS": f"{LEASE_S:g}",
    "STORAGE_TIMEOUT_SECONDS": "1",
    "HEARTBEAT_SECONDS": "0.2",
}
"""Settings that make a fault show, and be mended, soon."""


@dataclass
class Company:
    """Nodes with their users."""

    cluster: Cluster
    tasks: TaskGroup
    tally: Tally = field(default_factory=lambda: Tally("nodes", faults=STREAM_FAULTS))
    ledger: Ledger = field(init=False)
    streams: list[Stream] = field(default_factory=list)
    """Closed when the test is over."""

    def __post_init__(self) -> None:
        """Give all followers one ledger."""
        self.ledger = Ledger(self.tally)

    def caller(self, node: int, user: str = "user") -> Caller:
        """Return a user at a node."""
        return self.cluster.caller(node, user)

    async def watch(self, node: int, session_id: str, user: str = "user") -> Follower:
        """Follow a session at a node from now on, coming back to it with the cursor whenever the stream ends."""
        follower = Follower(self.caller(node, user), session_id, self.ledger)
        self.tasks.start_soon(follower.follow)
        assert await follower.until_attached(), f"{follower.key} got no snapshot: {follower.ended_by}"
        return follower

    async def stream(self, node: int, session_id: str, cursor: str | None = None) -> Stream:
        """Open a bare stream."""
        stream = await self.caller(node).stream(session_id, cursor)
        self.streams.append(stream)
        return stream

    async def run(self, node: int, session_id: str, *steps: dict[str, Any], **fields: Any) -> str:
        """Start a run at a node (or queue it) and return its id."""
        answer = await self.caller(node).chat(script(*steps), session_id=session_id, **fields)
        assert answer.status == 202, answer.body
        return str(answer.json()["run_id"])

    async def same(self, session_id: str, *followers: Follower) -> dict[str, Any]:
        """Return the fold of a session once all nodes that are up say the same, and these followers hold it."""
        found: list[dict[str, Any]] = []

        async def agree() -> bool:
            answers = [
                await Caller(node.wire, "user").state(session_id) for node in self.cluster.nodes if node.is_running
            ]
            found[:] = [answer.json() for answer in answers]
            return len({answer.status for answer in answers}) == 1 == len({state.get("cursor") for state in found})

        assert await until(agree), [state.get("cursor") for state in found]
        for state in found:
            assert (state["messages"], state["run"]) == (found[0]["messages"], found[0]["run"])
        for follower in followers:
            assert await follower.until_reached(found[0]["cursor"]), (follower.cursor, found[0]["cursor"])
            if follower.cursor == found[0]["cursor"]:
                assert differences(follower.fold, found[0]) == []
        return found[0]

    async def is_ready(self, node: int) -> bool:
        """Say whether a node says that it is ready."""
        answer = await self.cluster.nodes[node].wire.call("GET", "/health/ready", timeout_s=WAIT_S)
        return answer.status == 200


@asynccontextmanager
async def gathered(
    *, count: int = 2, redis: Mapping[str, str] | None = None, is_gated: bool = False, **settings: str
) -> AsyncIterator[Company]:
    """Start nodes for one test; all is gone afterwards."""
    made = cluster(count=count, redis=redis, is_gated=is_gated, settings={**BRISK, **settings})
    async with made as together, visited(together) as company:
        yield company


@asynccontextmanager
async def visited(together: Cluster) -> AsyncIterator[Company]:
    """Let users come to nodes that run. What fails carries the nodes' last words."""
    streams: list[Stream] = []
    try:
        async with anyio.create_task_group() as tasks:
            company = Company(together, tasks, streams=streams)
            with anyio.fail_after(60):
                yield company
            assert company.tally.is_clean, company.tally.report()
            assert together.defects() == []
            tasks.cancel_scope.cancel()
    except BaseExceptionGroup as errors:
        error = errors.exceptions[0]
        error.add_note(f"the nodes' logs end with:\n{together.tails()}")
        raise error from None
    finally:
        for stream in streams:
            stream.close()
