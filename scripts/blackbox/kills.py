"""kill -9 at random moments, with everybody streaming: nothing shown is lost, nothing accepted is forgotten.

Each round starts the server on the data the last one left, checks what recovery made of it, lets users chat while
clients follow and break off, and kills it. A few rounds kill it while it recovers. Posts whose answer was lost are
sent again under the same `message_id`, as a client would.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import anyio

from .arena import STREAM_FAULTS, Arena, emit, script
from .caller import Caller
from .fold import differences
from .follower import Follower, Ledger
from .process import Server
from .tally import Tally
from .wire import Broken

SESSIONS: Final = 20
CLIENTS_PER_SESSION: Final = 2
INTERRUPTED_WITHIN_S: Final = 1.0
FAULTS: Final = ("post_missing", "post_doubled", "run_left_open", "late_interrupted", "wrong_ending", "bad_answer")


@dataclass(slots=True)
class Conversation:
    """One session, who talks in it, who listens, and what the server accepted."""

    caller: Caller
    session_id: str
    followers: list[Follower] = field(default_factory=list)
    accepted: dict[str, str] = field(default_factory=dict)
    """message id → run id, of every POST that was answered 202 (a system message has no run)."""
    bodies: dict[str, str] = field(default_factory=dict)
    unanswered: tuple[str, str] | None = None


async def kills(arena: Arena) -> Tally:
    """Run the scenario."""
    tally = Tally("kills", faults=STREAM_FAULTS + FAULTS)
    rounds = arena.scaled(100, 8)
    async with arena.server() as server, anyio.create_task_group() as clients:
        ledger = Ledger(tally)
        talks = [Conversation(Caller(server.wire, f"user{n % 7}"), f"talk-{n}") for n in range(SESSIONS)]
        for talk in talks:
            await talk.caller.call("POST", "/api/sessions", {"session_id": talk.session_id})
            for _ in range(CLIENTS_PER_SESSION):
                follower = Follower(talk.caller, talk.session_id, ledger)
                talk.followers.append(follower)
                clients.start_soon(follower.follow)
        for number in range(rounds):
            await _round(arena, server, talks, tally)
            tally.progress(f"kill {number + 1} of {rounds}, {tally.counts.get('posts_accepted', 0):.0f} posts accepted")
        await _recovered(server, talks, tally)
        await _judge(talks, ledger, tally)
        clients.cancel_scope.cancel()
    tally.count("clients", sum(len(talk.followers) for talk in talks))
    return tally


async def _round(arena: Arena, server: Server, talks: Sequence[Conversation], tally: Tally) -> None:
    lives_s = arena.random.choice((0.05, 0.3, 0.8, 1.6)) + arena.random.uniform(0, 0.4)
    async with anyio.create_task_group() as users:
        for talk in talks:
            users.start_soon(_talk, arena, talk, tally)
        await anyio.sleep(lives_s)
        await server.kill()
        users.cancel_scope.cancel()
    tally.count("kills")
    server.spawn()
    if arena.random.random() < 0.15:
        await anyio.sleep(arena.random.uniform(0, 0.9))
        await server.kill()
        tally.count("kills_while_starting")
        server.spawn()
    await _recovered(server, talks, tally)


async def _talk(arena: Arena, talk: Conversation, tally: Tally) -> None:
    """Chat without a pause, until cancelled or the server is gone."""
    while True:
        try:
            await _say(arena, talk, tally)
        except Broken:
            return


async def _say(arena: Arena, talk: Conversation, tally: Tally) -> None:
    if arena.random.random() < 0.1:
        await _say_system(talk, tally)
    if talk.unanswered is None:
        message_id = f"{talk.session_id}-{len(talk.bodies)}"
        text = script(emit(arena.random.randint(1, 150), arena.random.choice((30, 120, 1000))))
        talk.bodies[message_id] = text
        talk.unanswered = (message_id, text)
    message_id, text = talk.unanswered
    answer = await talk.caller.chat(text, session_id=talk.session_id, message_id=message_id)
    if answer.status == 202:
        talk.unanswered = None
        talk.accepted[message_id] = run_id = answer.json()["run_id"]
        tally.count("posts_accepted")
        if arena.random.random() < 0.15:
            await talk.caller.interrupt(talk.session_id, run_id=run_id)
            tally.count("interrupts")
        if arena.random.random() < 0.15:
            talk.followers[-1].disturb()
        await talk.followers[0].until_ended(run_id, timeout_s=10)
    elif answer.code == "run_active":
        await anyio.sleep(0.05)
    else:
        tally.fault("bad_answer", f"POST /api/chat in {talk.session_id}: {answer.status} {answer.body[:200]!r}")
        await anyio.sleep(0.5)


async def _say_system(talk: Conversation, tally: Tally) -> None:
    message_id = f"{talk.session_id}-system-{len(talk.accepted)}"
    body = {"message": "be brief", "session_id": talk.session_id, "message_id": message_id}
    answer = await talk.caller.call("POST", "/api/system", body)
    if tally.expect(answer.status == 202, "bad_answer", f"POST /api/system: {answer.status} {answer.body[:200]!r}"):
        talk.accepted[message_id] = ""
        tally.count("system_messages_accepted")


async def _recovered(server: Server, talks: Sequence[Conversation], tally: Tally) -> None:
    """Check what a restart made of the sessions: no run is open, and every client reaches the store's own fold."""
    recovery_s = await server.ready()
    listening_at = time.monotonic() - recovery_s
    tally.worst("worst_recovery_s", recovery_s)
    # The short answers first: the time that whole histories take is not the time a run stays open.
    for talk in talks:
        with anyio.move_on_after(10):
            while await _has_run(talk):  # noqa: ASYNC110  # the state is the server's, it sets no event of ours
                await anyio.sleep(0.02)
    open_s = time.monotonic() - listening_at
    tally.worst("worst_interrupted_after_s", open_s)
    tally.expect(open_s <= INTERRUPTED_WITHIN_S, "late_interrupted", f"{open_s:.2f} s after the restart")
    for talk in talks:
        answer = await talk.caller.state(talk.session_id)
        if tally.expect(answer.status == 200, "bad_answer", f"state of {talk.session_id}: {answer.status}"):
            for follower in talk.followers:
                await compare(follower, answer.json(), tally)


async def _has_run(talk: Conversation) -> bool:
    answer = await talk.caller.call("GET", f"/api/sessions/{talk.session_id}")
    return answer.status != 200 or answer.json()["run"] is not None


async def compare(follower: Follower, answered: dict[str, object], tally: Tally) -> None:
    """Wait until a client stands where the store's answer was taken, and compare both folds."""
    cursor = str(answered["cursor"])
    if not await follower.until_reached(cursor):
        tally.fault("fold_differs", f"{follower.key} stands at {follower.cursor}, the store at {cursor}")
        return
    tally.count("folds_compared")
    if follower.cursor == cursor:
        for difference in differences(follower.fold, answered):
            tally.fault("fold_differs", f"{follower.key} at {cursor}: {difference}")


async def _judge(talks: Sequence[Conversation], ledger: Ledger, tally: Tally) -> None:
    """Check at the end: every accepted POST is in the history once, every run ended once and as the store says."""
    for talk in talks:
        ids = [message["id"] for message in await talk.caller.messages(talk.session_id)]
        for message_id, run_id in talk.accepted.items():
            times = ids.count(message_id)
            tally.expect(times > 0, "post_missing", f"{message_id} was accepted and is not in the history")
            tally.expect(times < 2, "post_doubled", f"{message_id} is in the history {times} times")
            if run_id:
                await _judge_run(talk, ledger, message_id, tally)
        for run_id in ledger.started[talk.followers[0].key]:
            ended = ledger.outcome(talk.followers[0].key, run_id)
            tally.expect(ended is not None, "run_left_open", f"nobody saw {run_id} of {talk.session_id} end")
        tally.progress(f"judging {talk.session_id}")


async def _judge_run(talk: Conversation, ledger: Ledger, message_id: str, tally: Tally) -> None:
    run_id = talk.accepted[message_id]
    again = await talk.caller.chat(talk.bodies[message_id], session_id=talk.session_id, message_id=message_id)
    receipt = again.json()
    seen = ledger.outcome(talk.followers[0].key, run_id)
    expected = {"success": "finished", "cancelled": "interrupted", "error": "failed"}.get(seen or "")
    is_right = again.status == 202 and receipt["run_id"] == run_id and receipt["status"] == expected
    tally.expect(is_right, "wrong_ending", f"{message_id}: seen {seen}, answered {again.status} {again.body[:200]!r}")
    tally.count(f"runs_{receipt.get('status')}")
