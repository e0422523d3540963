"""How long an interrupt takes from another node, beside the same on the run's own node, one after the other.

Measured is the time from the POST until a client of the run's own node has the terminal event, and with it the text
that stays. All the while other runs stream.
"""

from __future__ import annotations

import time
from typing import Final

import anyio

from ..arena import STREAM_FAULTS, Arena, emit, script
from ..caller import Caller
from ..follower import Follower, Ledger
from ..tally import Tally
from .cluster import Cluster, cluster

BESIDE: Final = 20
RATE: Final = 30
PLACES: Final = ("same_node", "other_node")
FAULTS: Final = (*STREAM_FAULTS, "no_ending", "wrong_ending", "bad_answer", "slow", "defect")
SLOW_MS: Final = 1000.0


async def interrupts(arena: Arena) -> Tally:
    """Run the scenario."""
    tally = Tally("interrupts", faults=FAULTS)
    times = arena.scaled(200, 40)
    taken: dict[str, list[float]] = {place: [] for place in PLACES}
    async with cluster(count=2) as together, anyio.create_task_group() as tasks:
        ledger = Ledger(tally)
        for number in range(BESIDE):
            tasks.start_soon(_keep_running, together.caller(number % 2, f"beside{number % 5}"), f"beside-{number}")
        followers = [Follower(together.caller(0), f"talk-{number}", ledger) for number in range(4)]
        for follower in followers:
            await follower.caller.call("POST", "/api/sessions", {"session_id": follower.session_id})
            tasks.start_soon(follower.follow)
            await follower.until_attached()
        for number in range(times):
            for place in PLACES:
                follower = followers[number % len(followers)]
                seconds = await _interrupt(together, follower, PLACES.index(place), tally, arena)
                taken[place].append(seconds * 1000)
            tally.progress(f"{number + 1} of {times}")
        tasks.cancel_scope.cancel()
        for defect in together.defects():
            tally.fault("defect", defect)
    for place, values in taken.items():
        values.sort()
        tally.count(f"interrupts_on_{place}", len(values))
        tally.note(f"{place}_p50_ms", values[len(values) // 2])
        tally.note(f"{place}_p99_ms", values[int(len(values) * 0.99)])
        tally.expect(values[int(len(values) * 0.99)] < SLOW_MS, "slow", f"{place}: worst {values[-1]:.0f} ms")
    return tally


async def _interrupt(together: Cluster, follower: Follower, place: int, tally: Tally, arena: Arena) -> float:
    """Start a run on the first node, interrupt it on one of both; return the seconds until its client has the end."""
    answer = await follower.caller.chat(script(emit(10_000, RATE)), session_id=follower.session_id)
    tally.expect(answer.status == 202, "bad_answer", f"chat: {answer.status} {answer.body[:300]!r}")
    run_id = str(answer.json()["run_id"])
    await follower.until(lambda: follower.fold.run_id == run_id)
    await anyio.sleep(arena.random.uniform(0.05, 0.3))
    started_at = time.monotonic()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_stop, together.caller(place), follower.session_id, run_id, tally)
        has_ended = await follower.until_ended(run_id)
        seconds = time.monotonic() - started_at
    tally.expect(has_ended, "no_ending", f"{follower.key} run {run_id}")
    outcome = follower.ledger.outcome(follower.key, run_id)
    tally.expect(outcome == "cancelled", "wrong_ending", f"{follower.key} run {run_id}: {outcome}")
    return seconds


async def _stop(caller: Caller, session_id: str, run_id: str, tally: Tally) -> None:
    answer = await caller.interrupt(session_id, run_id=run_id)
    is_right = answer.status == 200 and answer.json()["outcome"] == "stopped"
    tally.expect(is_right, "bad_answer", f"interrupt: {answer.status} {answer.body[:300]!r}")


async def _keep_running(caller: Caller, session_id: str) -> None:
    while True:
        await caller.chat(script(emit(300, RATE)), session_id=session_id, wait=True, on_busy="interrupt")
