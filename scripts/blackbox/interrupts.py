"""Interrupts fired around the moment of completion, and before the start: event, receipt and store always agree.

Each worker aims at the end of its runs: stopped too early, it waits a little longer the next time, too late, a little
less. So about half of the interrupts win, and the race is as close as it gets.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import anyio

from .arena import STREAM_FAULTS, Arena, emit, script
from .caller import Caller
from .fold import differences
from .follower import Follower, Ledger
from .process import Server
from .tally import Tally
from .wire import Answer

WORKERS: Final = 16
RUNS_PER_SESSION: Final = 20  # a fresh session now and then keeps the history short
TOKENS: Final = 6
RATE: Final = 300.0
STEP_S: Final = 0.001
WHOLE: Final = "".join(f"w{n} " for n in range(TOKENS))
STATUSES: Final = {"success": "finished", "cancelled": "interrupted", "error": "failed"}
FAULTS: Final = (
    "no_ending",
    "receipt_differs",
    "store_differs",
    "text_differs",
    "started_although_stopped",
    "bad_answer",
)


@dataclass(slots=True)
class Shot:
    """One message and the interrupts fired at it."""

    follower: Follower
    message_id: str
    text: str
    run_id: str = ""


class Worker:
    """One user who keeps interrupting, in one session after the other."""

    def __init__(self, arena: Arena, server: Server, number: int, ledger: Ledger) -> None:
        self.arena = arena
        self.tally = ledger.tally
        self._caller = Caller(server.wire, f"user{number}")
        self._ledger = ledger
        self._number = number
        self._delay_s = 1.5 * TOKENS / RATE
        self._shots = 0

    async def work(self, times: int, shoot: Callable[[Worker, Shot], Awaitable[None]]) -> None:
        """Fire so many times, with a fresh session every `RUNS_PER_SESSION`."""
        for start in range(0, times, RUNS_PER_SESSION):
            async with anyio.create_task_group() as tasks:
                session_id = f"s{self._number}-{self._shots}"
                await self._caller.call("POST", "/api/sessions", {"session_id": session_id})
                follower = Follower(self._caller, session_id, self._ledger)
                tasks.start_soon(follower.follow)
                await follower.until_attached()
                for _ in range(min(RUNS_PER_SESSION, times - start)):
                    self._shots += 1
                    text = script(emit(TOKENS, RATE))
                    await shoot(self, Shot(follower, f"m{self._number}-{self._shots}", text))
                    self.tally.progress(f"{self.tally.counts.get('interrupts', 0):.0f} interrupts")
                await self._check_store(follower)
                tasks.cancel_scope.cancel()

    async def post(self, shot: Shot, **fields: Any) -> bool:
        """POST the shot's message; say whether it was accepted."""
        answer = await self._caller.chat(
            shot.text, session_id=shot.follower.session_id, message_id=shot.message_id, **fields
        )
        if not self.tally.expect(answer.status == 202, "bad_answer", f"chat: {answer.status} {answer.body[:200]!r}"):
            return False
        shot.run_id = answer.json()["run_id"]
        return True

    async def fire(self, shot: Shot, **named: Any) -> str:
        """Interrupt; return the outcome. A 503 that says `retryable` is tried again."""
        answer: Answer | None = None
        for _ in range(50):
            answer = await self._caller.interrupt(shot.follower.session_id, **named)
            self.tally.count("interrupts_sent")
            if answer.status != 503:
                break
            self.tally.count("interrupts_retried")
            await anyio.sleep(0.01)
        assert answer is not None
        if answer.status != 200:
            self.tally.fault("bad_answer", f"interrupt: {answer.status} {answer.body[:200]!r}")
            return ""
        receipt = answer.json()
        if receipt["run_id"] is not None and shot.run_id and receipt["run_id"] != shot.run_id:
            self.tally.fault("receipt_differs", f"{shot.message_id}: run {shot.run_id}, receipt {receipt}")
        return str(receipt["outcome"])

    async def aim(self) -> None:
        """Wait until about the moment when the run completes."""
        await anyio.sleep(max(0.0, self._delay_s + self.arena.random.uniform(-0.003, 0.003)))

    def learn(self, outcome: str) -> None:
        """Move the aim towards the moment of completion."""
        self._delay_s = max(0.0, self._delay_s + (STEP_S if outcome == "stopped" else -STEP_S))

    async def judge(self, shot: Shot, outcomes: set[str]) -> None:
        """Check that the terminal event, all receipts, the store's status and the text tell the same story."""
        follower, tally = shot.follower, self.tally
        if not await follower.until_ended(shot.run_id):
            tally.fault("no_ending", f"{shot.message_id}: run {shot.run_id} of {follower.key} has no terminal event")
            return
        ended = self._ledger.outcome(follower.key, shot.run_id) or ""
        tally.count(f"runs_{STATUSES.get(ended, ended)}")
        allowed = (
            {"stopped", "pending", "already_finished", "idle"} if ended == "cancelled" else {"already_finished", "idle"}
        )
        needed = {"stopped", "pending"} if ended == "cancelled" else allowed
        is_agreed = outcomes <= allowed and outcomes & needed
        tally.expect(bool(is_agreed), "receipt_differs", f"{shot.message_id}: event {ended}, receipts {outcomes}")
        await self.check_status(shot, STATUSES.get(ended, ended))
        text = self.answer_text(shot)
        is_right = text == WHOLE if ended == "success" else WHOLE.startswith(text)
        tally.expect(is_right, "text_differs", f"{shot.message_id}: {ended} with {text!r}")

    async def check_status(self, shot: Shot, expected: str) -> None:
        """Ask for the status that the store has: the same POST again answers with the same run."""
        again = await self._caller.chat(shot.text, session_id=shot.follower.session_id, message_id=shot.message_id)
        receipt = again.json()
        is_right = again.status == 202 and (receipt["run_id"], receipt["status"]) == (shot.run_id, expected)
        self.tally.expect(
            is_right, "store_differs", f"{shot.message_id}: {expected}, run {shot.run_id}, store {again.body[:200]!r}"
        )

    def answer_text(self, shot: Shot) -> str:
        """Return what this client saw of the answer."""
        return "".join(
            str(message["content"])
            for message in shot.follower.fold.messages.values()
            if message["role"] == "assistant" and message["metadata"]["sessionstream"]["run_id"] == shot.run_id
        )

    async def _check_store(self, follower: Follower) -> None:
        """The texts in the store are exactly those that were streamed."""
        answered = (await self._caller.state(follower.session_id)).json()
        await follower.until_reached(answered["cursor"])
        self.tally.count("folds_compared")
        for difference in differences(follower.fold, answered):
            self.tally.fault("fold_differs", f"{follower.key}: {difference}")


async def interrupts(arena: Arena) -> Tally:
    """Run the scenario."""
    tally = Tally("interrupts", faults=STREAM_FAULTS + FAULTS)
    async with arena.server() as server:
        ledger = Ledger(tally)
        workers = [Worker(arena, server, number, ledger) for number in range(WORKERS)]
        for shoot, times in (
            (_at_completion, arena.scaled(2000, 200)),
            (_before_post, arena.scaled(500, 48)),
            (_beside_post, arena.scaled(250, 32)),
            (_while_queued, arena.scaled(250, 32)),
        ):
            async with anyio.create_task_group() as tasks:
                for number, worker in enumerate(workers):
                    share = times // WORKERS + (number < times % WORKERS)
                    tasks.start_soon(worker.work, share, shoot)
    return tally


async def _at_completion(worker: Worker, shot: Shot) -> None:
    if not await worker.post(shot):
        return
    await worker.aim()
    names: list[dict[str, str]] = [{"run_id": shot.run_id}, {"message_id": shot.message_id}, {}]
    kind = worker.arena.random.randrange(4)
    outcomes: set[str] = set()

    async def fire(named: dict[str, str]) -> None:
        outcomes.add(await worker.fire(shot, **named))

    async with anyio.create_task_group() as tasks:
        for named in names if kind == 3 else names[kind : kind + 1]:
            tasks.start_soon(fire, named)
    worker.tally.count("interrupts")
    worker.tally.count("interrupts_around_completion")
    worker.learn("stopped" if "stopped" in outcomes else "finished")
    await worker.judge(shot, outcomes)


async def _before_post(worker: Worker, shot: Shot) -> None:
    outcome = await worker.fire(shot, message_id=shot.message_id)
    worker.tally.count("interrupts")
    worker.tally.count("interrupts_before_the_post")
    worker.tally.expect(outcome == "pending", "receipt_differs", f"{shot.message_id} was not posted, receipt {outcome}")
    if await worker.post(shot):
        await worker.judge(shot, {outcome})
        _check_never_started(worker, shot)
        ids = shot.follower.fold.messages
        worker.tally.expect(shot.message_id in ids, "store_differs", f"{shot.message_id} is not in the history")


async def _beside_post(worker: Worker, shot: Shot) -> None:
    outcomes: set[str] = set()

    async def fire() -> None:
        outcomes.add(await worker.fire(shot, message_id=shot.message_id))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(worker.post, shot)
        tasks.start_soon(fire)
    worker.tally.count("interrupts")
    worker.tally.count("interrupts_beside_the_post")
    if shot.run_id:
        await worker.judge(shot, outcomes)


async def _while_queued(worker: Worker, shot: Shot) -> None:
    first = Shot(shot.follower, f"{shot.message_id}-first", shot.text)
    if not (await worker.post(first) and await worker.post(shot, on_busy="queue")):
        return
    await anyio.sleep(worker.arena.random.uniform(0, 2 * TOKENS / RATE))
    outcome = await worker.fire(shot, message_id=shot.message_id)
    worker.tally.count("interrupts")
    worker.tally.count("interrupts_while_queued")
    follower = shot.follower
    await follower.until_ended(first.run_id)
    if outcome != "pending":
        await worker.judge(shot, {outcome})
        return
    _check_never_started(worker, shot)
    await worker.check_status(shot, "interrupted")


def _check_never_started(worker: Worker, shot: Shot) -> None:
    text = worker.answer_text(shot)
    worker.tally.expect(not text, "started_although_stopped", f"{shot.message_id}: answered {text!r}")
