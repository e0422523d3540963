"""SIGTERM under load: every stream ends with its last chunk, every run with its partial text, the process soon.

After the restart every client goes on from its cursor, and its fold is the store's.
"""

from __future__ import annotations

from typing import Final

import anyio

from .arena import STREAM_FAULTS, Arena, emit, script
from .caller import Caller
from .follower import Follower, Ledger
from .kills import compare
from .process import Server
from .tally import Tally
from .waiting import poll
from .wire import Broken

SESSIONS: Final = 20
STREAMS: Final = 200
DRAIN_S: Final = 3.0
EXIT_WITHIN_S: Final = 5.0
FAULTS: Final = ("cut_stream", "late_exit", "bad_exit", "run_unended", "text_lost", "bad_answer")


async def sigterm(arena: Arena) -> Tally:
    """Run the scenario, a few times."""
    tally = Tally("sigterm", faults=STREAM_FAULTS + FAULTS)
    async with arena.server({"DRAIN_SECONDS": str(DRAIN_S)}) as server:
        for number in range(arena.scaled(5, 2)):
            tally.progress(f"SIGTERM {number + 1}: {STREAMS} streams, {SESSIONS} runs", always=True)
            await _once(arena, server, f"talk-{number}", tally)
    return tally


async def _once(arena: Arena, server: Server, session_id: str, tally: Tally) -> None:
    ledger = Ledger(tally)
    talks = [Caller(server.wire, f"user{n}") for n in range(SESSIONS)]
    clients = [Follower(talks[n % SESSIONS], session_id, ledger) for n in range(STREAMS)]
    runs = await _start_runs(talks, session_id, tally)
    async with anyio.create_task_group() as streams:
        for client in clients:
            streams.start_soon(_read_to_end, client, tally)
        for client in clients:
            await client.until_attached()
        await anyio.sleep(arena.random.uniform(0.2, 1.0))
        code, seconds = await server.terminate()
        await poll(lambda: all(client.ended_by for client in clients), timeout_s=10)
        streams.cancel_scope.cancel()
    for client in clients:
        tally.count("streams_ended_clean", client.ended_by == "clean")
        tally.expect(client.ended_by == "clean", "cut_stream", f"{client.key}: {client.ended_by} at {client.cursor}")
    tally.worst("worst_exit_s", seconds)
    tally.expect(seconds < EXIT_WITHIN_S, "late_exit", f"exit after {seconds:.2f} s")
    tally.expect(code in (0, -15, 143), "bad_exit", f"exit code {code}\n{server.tail()}")
    await server.start()
    for client in clients:
        await _check(client, runs[client.caller.user], tally)


async def _start_runs(talks: list[Caller], session_id: str, tally: Tally) -> dict[str, str]:
    runs = {}
    for caller in talks:
        answer = await caller.chat(script(emit(100_000, 100)), session_id=session_id)
        tally.expect(answer.status == 202, "bad_answer", f"chat: {answer.status} {answer.body[:200]!r}")
        runs[caller.user] = answer.json()["run_id"]
        tally.count("runs")
    return runs


async def _read_to_end(client: Follower, tally: Tally) -> None:
    tally.count("streams")
    try:
        await client.connect()
        while await client.pump():
            pass
    except Broken as broken:
        client.ended_by = str(broken)


async def _check(client: Follower, run_id: str, tally: Tally) -> None:
    """Go on from the cursor; the run has ended as interrupted, what was seen of its text is there, folds are equal."""
    seen = "".join(
        str(message["content"]) for message in client.fold.messages.values() if message["role"] == "assistant"
    )
    answered = (await client.caller.state(client.session_id)).json()
    await client.catch_up(answered["cursor"])
    outcome = client.ledger.outcome(client.key, run_id)
    tally.expect(outcome == "cancelled", "run_unended", f"{client.key} run {run_id}: {outcome}")
    stored = "".join(str(message["content"]) for message in answered["messages"] if message["role"] == "assistant")
    tally.expect(
        bool(seen) and stored.startswith(seen), "text_lost", f"{client.key}: saw {seen[-40:]!r}, store {stored[-40:]!r}"
    )
    tally.count("texts_compared")
    await compare(client, answered, tally)
