"""Nodes at one Redis, each a process with a folder of its own; and the way to any of them, as clients have it.

Without Redis the cluster is one node with its own database: what several nodes cost is compared with that.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.lowlevel
import anyio.to_thread

from ..caller import Caller
from ..process import Server
from ..redis_server import RedisServer
from ..tally import Tally
from ..wire import CALL_TIMEOUT_S, Answer, Broken, Headers, Stream, Wire
from .gate import Gate

LEASE_S: Final = 4.0
PATIENCE_S: Final = 30.0
"""How long a client tries: more than any fault here lasts."""
PAUSE_S: Final = 0.1
DEFECTS: Final = ("Traceback", "a commit was refused")

# Every answer that was given is on the disk of Redis: with `everysec`, a kill may take up to two seconds of them.
KEPT: Final = {"appendonly": "yes", "appendfsync": "always", "save": ""}


class Cluster:
    """Some nodes and their Redis."""

    def __init__(
        self,
        folder: Path,
        *,
        count: int = 3,
        settings: Mapping[str, str] | None = None,
        redis: RedisServer | None = None,
        gates: Sequence[Gate] = (),
    ) -> None:
        self.redis = redis
        self.folder = folder
        self.gates = gates
        """One for each node, when the nodes reach Redis through gates."""
        self.settings = {"LEASE_SECONDS": f"{LEASE_S:g}", **(settings or {})} if redis else dict(settings or {})
        self.nodes: list[Server] = []
        for number in range(count):
            url = gates[number].url if gates else redis.url if redis else ""
            self.add(url)

    def add(self, redis_url: str = "", **options: Any) -> Server:
        """Add a node that finds Redis at this address; `options` are those of `Server`. It is not started."""
        folder = self.folder / f"node-{len(self.nodes)}"
        folder.mkdir()
        shared = {"REDIS_URL": redis_url, "REDIS_PREFIX": "soak"} if redis_url else {}
        extra = options.pop("settings", {})
        node = Server(folder, settings={**self.settings, **shared, **extra}, **options)
        self.nodes.append(node)
        return node

    async def start(self) -> None:
        """Start all nodes at once and wait until they are ready."""
        for node in self.nodes:
            node.spawn()
        for node in self.nodes:
            await node.ready()

    def kill_now(self) -> None:
        """Leave no process behind."""
        for node in self.nodes:
            node.kill_now()
            node.wire.forget()

    async def restart_redis(self) -> None:
        """Kill Redis as a crash would and start it again."""
        assert self.redis is not None
        await anyio.to_thread.run_sync(self.redis.restart)

    def caller(self, number: int, user: str = "user") -> Caller:
        """Return a user who always asks the same node."""
        return Caller(self.nodes[number].wire, user)

    def tails(self) -> str:
        """Return the last lines of all logs."""
        return "\n".join(f"--- node {number}\n{node.tail()}" for number, node in enumerate(self.nodes))

    def defects(self) -> list[str]:
        """Return what the nodes' logs say of defects: nothing that is done to nodes here excuses one."""
        found = []
        for number, node in enumerate(self.nodes):
            text = node.log.read_text("utf-8", "replace") if node.log.exists() else ""
            at = max(map(text.find, DEFECTS))
            if at >= 0:
                found.append(f"node {number}: {text[max(at - 300, 0) : at + 2500]}")
        return found


@asynccontextmanager
async def cluster(
    *,
    count: int = 3,
    settings: Mapping[str, str] | None = None,
    redis: Mapping[str, str] | None = None,
    is_gated: bool = False,
    folder: Path | None = None,
) -> AsyncIterator[Cluster]:
    """Give a Redis (`redis` is its configuration) and so many started nodes; all is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="sessionstream-nodes-", dir=folder) as made:
        server = RedisServer(Path(made) / "redis", config=KEPT if redis is None else redis)
        server.start()
        gates = [Gate(server.url) for _ in range(count if is_gated else 0)]
        try:
            async with anyio.create_task_group() as tasks:
                for gate in gates:
                    await tasks.start(_hold, gate)
                together = Cluster(Path(made), count=count, settings=settings, redis=server, gates=gates)
                try:
                    await together.start()
                    yield together
                finally:
                    together.kill_now()
                    tasks.cancel_scope.cancel()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None  # the group is ours; what went wrong is the caller's
        finally:
            server.kill()
            await anyio.lowlevel.checkpoint()  # aborted transports close in the next turn of the loop


async def _hold(gate: Gate, *, task_status: anyio.abc.TaskStatus[None]) -> None:
    async with gate.open():
        task_status.started()
        await anyio.sleep_forever()


def used_bytes(redis: RedisServer) -> int:
    """Return the memory that Redis counts against its limit."""
    told = redis.call("EVAL", "return tonumber(string.match(redis.call('INFO', 'memory'), 'used_memory:(%d+)'))", 0)
    return int((told or b":0")[1:])


class Lobby(Wire):
    """The way to whichever node answers: what a browser has that knows several, or a plain load balancer before them.

    A call goes to a random node; refused, cut or told to come back, it goes to another one, for `PATIENCE_S`. So
    whatever is sent must be safe to repeat: every POST here carries its `message_id`. A stream is asked for once: its
    reader comes back by itself, as `EventSource` does.
    """

    def __init__(self, nodes: Sequence[Server], chance: random.Random, tally: Tally) -> None:
        super().__init__("127.0.0.1", 0)
        self._nodes = nodes
        self._chance = chance
        self._tally = tally

    async def call(
        self,
        method: str,
        target: str,
        *,
        headers: Headers | None = None,
        body: Any = None,
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> Answer:
        """As `Wire.call`, at any node. Raises `Broken`, or returns the refusal, when no node takes it for long."""
        started_at = time.monotonic()
        while True:
            wire = self._chance.choice(self._nodes).wire
            refused: Answer | Broken
            try:
                refused = await wire.call(method, target, headers=headers, body=body, timeout_s=timeout_s)
            except Broken as broken:
                refused = broken
                self._tally.count("calls_cut_and_sent_again")
            else:
                if refused.status != 503 or not refused.json().get("retryable"):
                    self._tally.worst("worst_answer_s", time.monotonic() - started_at)
                    return refused
                self._tally.count("calls_refused_and_sent_again")
            if time.monotonic() - started_at > PATIENCE_S:
                if isinstance(refused, Broken):
                    raise refused
                return refused
            await anyio.sleep(self._chance.uniform(0.5, 1.5) * PAUSE_S)

    async def stream(
        self, target: str, *, headers: Headers | None = None, method: str = "GET", body: Any = None
    ) -> Stream:
        """As `Wire.stream`, at a random node, once."""
        wire = self._chance.choice(self._nodes).wire
        stream = await wire.stream(target, headers=headers, method=method, body=body)
        self._tally.count("streams_opened", stream.status == 200)
        self._tally.count("streams_told_to_come_back", stream.status == 503)
        return stream

    def forget(self) -> None:
        """Drop idle connections to all nodes."""
        for node in self._nodes:
            node.wire.forget()
