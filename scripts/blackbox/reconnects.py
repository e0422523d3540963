"""Random disconnects and reconnects, with every kind of cursor: after each, the client's fold is the log's.

A reference client per session never breaks off and remembers the digest of its fold at every position. Visitors
come and go beside it; wherever one stands when it leaves, its fold must be the reference's at that position.
"""

from __future__ import annotations

from typing import Final

import anyio

from .arena import STREAM_FAULTS, Arena, emit, script, stall
from .caller import Caller
from .fold import Fold
from .follower import Follower, Ledger
from .kills import compare
from .tally import Tally
from .wire import Frame

SESSIONS: Final = 12
VISITORS: Final = 24
KEPT_POSITIONS: Final = 6
WAYS: Final = ("kept", "kept_in_query", "none", "empty", "minus_one", "old", "garbage", "foreign", "future")
GARBAGE: Final = (
    "null",
    "NaN",
    "0",
    "-",
    "--",
    "abc",
    "x-1-2",
    "1e3-7",
    "'; DROP TABLE log; --",
    "%00",
    "é-1",
    "9" * 4000,
)


class Reference(Follower):
    """A client that never breaks off and remembers what its fold was at every position."""

    def __init__(self, caller: Caller, session_id: str, ledger: Ledger) -> None:
        super().__init__(caller, session_id, ledger)
        self.digests: dict[str, int] = {}

    def _take(self, frame: Frame) -> None:
        super()._take(frame)
        if self.cursor is not None:
            self.digests[self.cursor] = self.fold.digest()


class Visitor(Follower):
    """A client that comes and goes; keeps some of the positions it had."""

    def __init__(self, caller: Caller, session_id: str, ledger: Ledger) -> None:
        super().__init__(caller, session_id, ledger)
        self.past: list[tuple[str, Fold]] = []

    def remember(self, arena: Arena) -> None:
        """Keep the present position, in the place of a random older one."""
        if self.cursor is None:
            return
        if len(self.past) < KEPT_POSITIONS:
            self.past.append((self.cursor, self.fold.copy()))
        else:
            self.past[arena.random.randrange(KEPT_POSITIONS)] = (self.cursor, self.fold.copy())


async def reconnects(arena: Arena) -> Tally:
    """Run the scenario."""
    tally = Tally("reconnects", faults=(*STREAM_FAULTS, "bad_answer"))
    each = arena.scaled(5000, 480) // VISITORS + 1
    async with arena.server() as server, anyio.create_task_group() as background:
        ledger = Ledger(tally)
        references = [Reference(Caller(server.wire, f"user{n % 3}"), f"talk-{n}", ledger) for n in range(SESSIONS)]
        for reference in references:
            await reference.caller.call("POST", "/api/sessions", {"session_id": reference.session_id})
            background.start_soon(reference.follow)
            await reference.until_attached()
        visitors = [Visitor(*_place(references[n % SESSIONS]), ledger) for n in range(VISITORS)]
        async with anyio.create_task_group() as talking:
            for reference in references:
                talking.start_soon(_talk, arena, reference, tally)
            async with anyio.create_task_group() as visiting:
                for number, visitor in enumerate(visitors):
                    other = references[(number + 1) % SESSIONS]
                    visiting.start_soon(_visit, arena, visitor, references[number % SESSIONS], other, each)
            talking.cancel_scope.cancel()
        await _judge(references, visitors, tally)
        background.cancel_scope.cancel()
    return tally


def _place(reference: Reference) -> tuple[Caller, str]:
    return reference.caller, reference.session_id


async def _talk(arena: Arena, talk: Reference, tally: Tally) -> None:
    while True:
        text = script(emit(arena.random.randint(5, 60), 150), stall(arena.random.uniform(0, 0.1)), emit(10, 500))
        answer = await talk.caller.chat(text, session_id=talk.session_id)
        if tally.expect(answer.status == 202, "bad_answer", f"chat: {answer.status} {answer.body[:200]!r}"):
            run_id = answer.json()["run_id"]
            if arena.random.random() < 0.2:
                await anyio.sleep(arena.random.uniform(0, 0.2))
                await talk.caller.interrupt(talk.session_id, run_id=run_id)
            await talk.until_ended(run_id)
            tally.count("runs")
        await anyio.sleep(arena.random.uniform(0, 0.3))


async def _visit(arena: Arena, visitor: Visitor, reference: Reference, other: Reference, times: int) -> None:
    for _ in range(times):
        way = arena.random.choice(WAYS)
        await _come_back(arena, visitor, other, way)
        visitor.tally.count(f"came_{way}")
        visitor.tally.count("reconnects")
        with anyio.move_on_after(arena.random.choice((0, 0.005, 0.03, 0.12))):
            while await visitor.pump():
                pass
        visitor.close()
        await _check_position(visitor, reference)
        if arena.random.random() < 0.5:
            visitor.remember(arena)
        visitor.tally.progress(f"{visitor.tally.counts['reconnects']:.0f} reconnects")


async def _come_back(arena: Arena, visitor: Visitor, other: Reference, way: str) -> None:
    if way == "old" and visitor.past:
        visitor.cursor, visitor.fold = arena.random.choice(visitor.past)
        visitor.fold = visitor.fold.copy()
    if way in ("kept", "kept_in_query", "old"):
        await visitor.connect(visitor.cursor, in_query=way == "kept_in_query")
        return
    epoch, _, seq = (visitor.cursor or "x-0").rpartition("-")
    cursor = {
        "none": None,
        "empty": "",
        "minus_one": "-1",
        "garbage": arena.random.choice((*GARBAGE, f"{epoch}-0{seq}", f"{epoch}--{seq}", f"{epoch.upper()}-{seq}")),
        "foreign": other.cursor,
        "future": f"{epoch}-{int(seq) + 10**6}",
    }[way]
    await visitor.connect(cursor, good=False, in_query=arena.random.random() < 0.3)


async def _check_position(visitor: Visitor, reference: Reference) -> None:
    """Compare with the reference at the visitor's position, once the reference has come there too."""
    cursor = visitor.cursor
    if cursor is None:
        return
    await reference.until_reached(cursor)
    visitor.tally.count("positions_compared")
    if reference.digests.get(cursor) != visitor.fold.digest():
        visitor.tally.fault("fold_differs", f"{visitor.key} at {cursor} is not what the log says there")


async def _judge(references: list[Reference], visitors: list[Visitor], tally: Tally) -> None:
    """Let every client catch up once more and compare it with the store."""
    for reference in references:
        if reference.fold.run_id is not None:
            await reference.until_ended(reference.fold.run_id)
        answered = (await reference.caller.state(reference.session_id)).json()
        await compare(reference, answered, tally)
        for visitor in visitors:
            if visitor.key == reference.key:
                await visitor.catch_up(str(answered["cursor"]))
                await compare(visitor, answered, tally)
