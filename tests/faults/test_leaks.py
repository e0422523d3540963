"""Whatever way a stream, a run or a session ends, nothing of it stays: memory, threads, open files, rows.

The ways are the soak's (`scripts/blackbox/leaks.py`), each many times, all mixed; it does that for longer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import anyio

from scripts.blackbox.leaks import SETTINGS, WAYS, Guest
from scripts.blackbox.process import Sample
from scripts.blackbox.tally import Tally
from scripts.blackbox.waiting import poll
from tests.faults.stage import WAIT_S, Stage, staged

WARM_UP: Final = 60
CYCLES: Final = 80
WORKERS: Final = 16
POOL: Final = 4  # threads of the readers' pool: a busy machine fills it later; what leaks, leaks with each cycle
READER_FILES: Final = 2  # that each of them opens: the database and its log
GROWTH_KB: Final = 6 * 1024
"""Three kilobytes a cycle: less than a session, a run or a stream that stays. The warm-up fills caches of that size."""


async def test_nothing_stays_of_what_has_ended(tmp_path: Path) -> None:
    """Invariant 10, and row 51: leaks on every exit path."""
    async with staged(tmp_path, **SETTINGS) as stage:
        await stage.server.start()
        await _cycle(stage, "warm", WARM_UP)
        before = await _settled(stage)

        await _cycle(stage, "cycle", CYCLES)

        after = await _settled(stage)
        assert after.threads <= before.threads + POOL
        assert after.handles <= before.handles + POOL * READER_FILES
        assert after.rss_kb - before.rss_kb < GROWTH_KB


async def _cycle(stage: Stage, name: str, cycles: int) -> None:
    tally = Tally("leaks", faults=("bad_answer",))
    turns = [(way, number) for number in range(cycles) for way in WAYS]

    async def work() -> None:
        while turns:
            way, number = turns.pop()
            guest = Guest(stage.caller(f"user{number % 4}"), f"{name}-{number}-{way.__name__}", tally)
            with anyio.fail_after(WAIT_S):
                await way(guest)
            if number % 3:
                await guest.caller.call("DELETE", f"/api/sessions/{guest.session_id}")

    async with anyio.create_task_group() as tasks:
        for _ in range(WORKERS):
            tasks.start_soon(work)
    assert tally.is_clean, tally.report()


async def _settled(stage: Stage) -> Sample:
    """Wait until all sessions are gone, and return the least of what the server holds in a while after that."""
    stage.server.wire.forget()
    # The journal keeps its last row: the next one is counted on from it.
    assert await poll(lambda: sum(stage.rows().values()) <= 1, timeout_s=WAIT_S, step_s=0.1), stage.rows()
    samples = [stage.server.sample()]

    def is_flat() -> bool:
        samples.append(stage.server.sample())
        return len(samples) > 15

    await poll(is_flat, timeout_s=WAIT_S, step_s=0.1)
    return Sample(*(min(values) for values in zip(*samples, strict=True)))
