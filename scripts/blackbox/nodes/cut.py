"""A node cut from Redis while it runs agents: its runs end elsewhere, and nothing of what it did alone is ever seen.

The node lives in a network namespace and its cable to Redis is pulled out, where the machine permits that; elsewhere a
proxy between the two holds back everything, and delivers it all when it is over.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.lowlevel

from ..arena import STREAM_FAULTS, Arena, emit, script
from ..caller import Caller
from ..fold import differences
from ..follower import Follower, Ledger
from ..redis_server import RedisServer
from ..tally import Tally
from ..wire import Broken
from .cable import Cable, cable, can_make
from .cluster import KEPT, LEASE_S, Cluster
from .gate import Gate

CUT_S: Final = 10.0
ROUNDS: Final = 3
SESSIONS: Final = 20
RATE: Final = 40
ENDED_WITHIN_S: Final = LEASE_S + 5.0
BACK_WITHIN_S: Final = 10.0
ANSWER_WITHIN_S: Final = 8.0
UNDER_WAY_S: Final = 1.0  # what was said before the cut and had not come to the client that is asked
FAULTS: Final = (
    *STREAM_FAULTS,
    "late_ending",
    "wrong_ending",
    "late_write_seen",
    "text_differs",
    "nodes_differ",
    "silent_stream",
    "bad_answer",
    "never_back",
    "defect",
)


async def cut(arena: Arena) -> Tally:
    """Run the scenario, a few times."""
    tally = Tally("cut", faults=FAULTS)
    async with _separable() as (together, switch):
        ledger = Ledger(tally)
        for number in range(arena.scaled(ROUNDS, 1)):
            tally.progress(f"cut {number + 1} by {switch.how}", always=True)
            scene = Scene(together, switch, ledger, f"talk-{number}")
            await scene.play()
            tally.count(f"cuts_by_{switch.how}")
        for defect in together.defects():
            tally.fault("defect", defect)
    return tally


class Switch:
    """What separates one node from Redis."""

    def __init__(self, way: Cable | Gate) -> None:
        self.how = "network_namespace" if isinstance(way, Cable) else "proxy"
        self._way = way

    def cut(self) -> None:
        """Separate them."""
        self._way.cut()

    def mend(self) -> None:
        """Join them again."""
        self._way.mend()


@asynccontextmanager
async def _separable() -> AsyncIterator[tuple[Cluster, Switch]]:
    """Give three nodes, the last of them separable from Redis."""
    with tempfile.TemporaryDirectory(prefix="sessionstream-cut-") as folder:
        if can_make():
            with cable() as way:
                config = {**KEPT, "bind": f"127.0.0.1 {way.redis_host}", "protected-mode": "no"}
                redis = RedisServer(Path(folder) / "redis", config=config)
                url = f"redis://{way.redis_host}:{redis.port}/0"
                options = {"host": way.client_host, "launcher": way.launcher, "settings": {"ALLOW_ANYONE": "1"}}
                async with _started(Path(folder), redis, url, **options) as together:
                    yield together, Switch(way)
            return
        redis = RedisServer(Path(folder) / "redis", config=KEPT)
        gate = Gate(redis.url)
        async with gate.open(), _started(Path(folder), redis, gate.url) as together:
            yield together, Switch(gate)


@asynccontextmanager
async def _started(folder: Path, redis: RedisServer, url: str, **options: object) -> AsyncIterator[Cluster]:
    redis.start()
    together = Cluster(folder, count=2, redis=redis)
    together.add(url, **options)
    try:
        await together.start()
        yield together
    finally:
        together.kill_now()
        redis.kill()
        await anyio.lowlevel.checkpoint()  # aborted transports close in the next turn of the loop


class Scene:
    """One cut: runs on the last node, clients there and elsewhere."""

    def __init__(
        self,
        together: Cluster,
        switch: Switch,
        ledger: Ledger,
        name: str,
        *,
        sessions: int = SESSIONS,
        cut_s: float = CUT_S,
    ) -> None:
        *self._others, self._lonely = together.nodes
        self._switch = switch
        self._cut_s = cut_s
        self._ledger = ledger
        self._tally = ledger.tally
        self._ids = [f"{name}-{number}" for number in range(sessions)]
        self._runs: dict[str, str] = {}
        self._said: dict[str, int] = {}
        self._near = [Follower(Caller(self._lonely.wire, "user"), one, ledger) for one in self._ids]
        self._far = [
            Follower(Caller(self._others[number % 2].wire, "user"), one, ledger) for number, one in enumerate(self._ids)
        ]

    async def play(self) -> None:
        """Cut, look, mend, compare."""
        async with anyio.create_task_group() as tasks:
            caller = Caller(self._lonely.wire, "user")
            for one in self._ids:
                answer = await caller.chat(script(emit(100_000, RATE)), session_id=one)
                self._tally.expect(answer.status == 202, "bad_answer", f"chat: {answer.status} {answer.body[:300]!r}")
                self._runs[one] = str(answer.json()["run_id"])
            for follower in (*self._near, *self._far):
                tasks.start_soon(follower.follow)
            for follower in (*self._near, *self._far):
                await follower.until(lambda follower=follower: len(_text(follower).split()) > 10)  # type: ignore[misc]
            self._said = {follower.session_id: len(_text(follower).split()) for follower in self._far}
            self._switch.cut()
            cut_at = time.monotonic()
            try:
                await self._look(cut_at)
                await anyio.sleep(max(0.0, self._cut_s - (time.monotonic() - cut_at)))
            finally:
                self._switch.mend()
            await self._come_back()
            await self._compare()
            tasks.cancel_scope.cancel()

    async def _look(self, cut_at: float) -> None:
        """Everybody elsewhere sees the runs end in time; the lonely node says what it cannot do, and soon."""
        async with anyio.create_task_group() as looks:
            looks.start_soon(self._ask_lonely)
            for follower in self._far:
                run_id = self._runs[follower.session_id]
                left_s = ENDED_WITHIN_S - (time.monotonic() - cut_at)
                has_ended = await follower.until_ended(run_id, timeout_s=max(left_s, 0.01))
                self._tally.expect(has_ended, "late_ending", f"{follower.key} is open {ENDED_WITHIN_S} s after the cut")
            self._tally.worst("worst_ended_after_cut_s", time.monotonic() - cut_at)
            for follower in self._far[:5]:
                answer = await follower.caller.chat("Hello again.", session_id=follower.session_id, wait=True)
                self._tally.expect(answer.status == 200, "bad_answer", f"next: {answer.status} {answer.body[:300]!r}")
                self._tally.count("runs_elsewhere_while_cut")

    async def _ask_lonely(self) -> None:
        started_at = time.monotonic()
        try:
            answer = await Caller(self._lonely.wire, "user").chat("lost?", session_id="lost", message_id="lost")
        except Broken as broken:
            self._tally.fault("bad_answer", f"the lonely node does not answer: {broken}")
            return
        seconds = time.monotonic() - started_at
        self._tally.worst("worst_refusal_s", seconds)
        is_right = answer.status == 503 and answer.json()["retryable"] and seconds < ANSWER_WITHIN_S
        self._tally.expect(is_right, "bad_answer", f"the lonely node: {answer.status} {seconds:.1f} s {answer.body!r}")
        ready = await self._lonely.wire.call("GET", "/health/ready", timeout_s=20)
        self._tally.expect(ready.status == 503, "bad_answer", f"the lonely node says it is ready: {ready.body!r}")

    async def _come_back(self) -> None:
        started_at = time.monotonic()
        while (await self._lonely.wire.call("GET", "/health/ready", timeout_s=20)).status != 200:
            await anyio.sleep(0.05)
            if time.monotonic() - started_at > BACK_WITHIN_S:
                self._tally.fault("never_back", f"the node is not ready {BACK_WITHIN_S} s after the cut")
                return
        self._tally.worst("worst_back_s", time.monotonic() - started_at)

    async def _compare(self) -> None:
        for near, far in zip(self._near, self._far, strict=True):
            run_id = self._runs[near.session_id]
            states = [(await Caller(node.wire, "user").state(near.session_id)).json() for node in self._others]
            states.append((await near.caller.state(near.session_id)).json())
            for state in states[1:]:
                is_same = (state["cursor"], state["messages"]) == (states[0]["cursor"], states[0]["messages"])
                self._tally.expect(
                    is_same, "nodes_differ", f"{near.key}: {states[0]['cursor']} {state['cursor']}, or messages"
                )
            for follower in (near, far):
                reached = await follower.until_reached(states[0]["cursor"])
                self._tally.expect(
                    reached, "silent_stream", f"{follower.key} stands at {follower.cursor}, not {states[0]['cursor']}"
                )
                for difference in differences(follower.fold, states[0]) if reached else ():
                    self._tally.fault("fold_differs", f"{follower.key}: {difference}")
                self._tally.count("folds_compared")
            outcome = self._ledger.outcome(near.key, run_id)
            self._tally.expect(outcome == "cancelled", "wrong_ending", f"{near.key} run {run_id}: {outcome}")
            self._judge_text(near, run_id)

    def _judge_text(self, follower: Follower, run_id: str) -> None:
        """What the node said alone would be `CUT_S` long: of it, nothing is there but what was under way."""
        answers = [one for one in follower.fold.messages.values() if _is_answer(one, run_id)]
        text = "".join(str(answer["content"]) for answer in answers)
        words = text.split()
        is_counting = words == [f"w{number}" for number in range(len(words))]
        self._tally.expect(is_counting, "text_differs", f"{follower.key}: …{text[-80:]}")
        late = len(words) - self._said[follower.session_id]
        self._tally.worst("most_words_behind_the_cut", late)
        self._tally.expect(late <= RATE * UNDER_WAY_S, "late_write_seen", f"{follower.key}: {late} words after the cut")
        statuses = [answer["metadata"]["sessionstream"].get("status") for answer in answers]
        self._tally.expect(statuses[-1:] == ["interrupted"], "wrong_ending", f"{follower.key}: {statuses}")


def _is_answer(message: dict[str, Any], run_id: str) -> bool:
    return message["role"] == "assistant" and bool(message["metadata"]["sessionstream"].get("run_id") == run_id)


def _text(follower: Follower) -> str:
    answers = [message for message in follower.fold.messages.values() if message["role"] == "assistant"]
    return "".join(str(answer.get("content", "")) for answer in answers)
