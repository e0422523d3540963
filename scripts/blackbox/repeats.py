"""The same POST again and again, in parallel: one run, one message in the history, the same answer to everybody."""

from __future__ import annotations

from typing import Any, Final

import anyio

from .arena import Arena, script
from .caller import Caller
from .tally import Tally

COPIES: Final = 5
SESSIONS: Final = 50
FAULTS: Final = ("two_runs", "doubled_message", "doubled_answer", "no_answer", "conflict_unseen", "bad_answer")


async def repeats(arena: Arena) -> Tally:
    """Run the scenario: half of the messages make their session by coming first."""
    tally = Tally("repeats", faults=FAULTS)
    messages = arena.scaled(1000, 100)
    async with arena.server({"MAX_QUEUE": "1000"}) as server, anyio.create_task_group() as tasks:
        for number in range(SESSIONS):
            caller = Caller(server.wire, f"user{number % 5}")
            tasks.start_soon(_converse, caller, f"talk-{number}", messages // SESSIONS, tally)
    return tally


async def _converse(caller: Caller, session_id: str, messages: int, tally: Tally) -> None:
    runs: dict[str, str] = {}
    for number in range(messages):
        message_id = f"{session_id}-{number}"
        answers = await _post_copies(caller, session_id, message_id, tally)
        distinct = {str(answer["run_id"]) for answer in answers}
        tally.expect(len(distinct) == 1, "two_runs", f"{message_id}: {sorted(distinct)}")
        runs[message_id] = next(iter(distinct), "")
        tally.count("messages")
        tally.progress(f"{tally.counts['messages']:.0f} messages, {COPIES} posts each")
        if number % 10 == 0:
            other = await caller.chat("something else", session_id=session_id, message_id=message_id)
            is_refused = (other.status, other.code) == (409, "message_id_conflict")
            tally.expect(is_refused, "conflict_unseen", f"{message_id}: {other.status} {other.body[:200]!r}")
    await _check_history(caller, session_id, runs, tally)


async def _post_copies(caller: Caller, session_id: str, message_id: str, tally: Tally) -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = []
    text = script({"text": f"answer to {message_id}"})

    async def post() -> None:
        answer = await caller.chat(text, session_id=session_id, message_id=message_id, on_busy="queue")
        tally.count("posts")
        if tally.expect(answer.status == 202, "bad_answer", f"{message_id}: {answer.status} {answer.body[:200]!r}"):
            answers.append(answer.json())

    async with anyio.create_task_group() as tasks:
        for _ in range(COPIES):
            tasks.start_soon(post)
    return answers


async def _check_history(caller: Caller, session_id: str, runs: dict[str, str], tally: Tally) -> None:
    with anyio.move_on_after(30):
        while True:
            answered = (await caller.state(session_id)).json()
            if answered["run"] is None and not answered["state"]["queue"]:
                break
            await anyio.sleep(0.05)
    history = await caller.messages(session_id)
    ids = [message["id"] for message in history]
    for message_id, run_id in runs.items():
        tally.expect(ids.count(message_id) == 1, "doubled_message", f"{message_id}: {ids.count(message_id)} times")
        answers = [
            message
            for message in history
            if message["role"] == "assistant" and message["metadata"]["sessionstream"]["run_id"] == run_id
        ]
        tally.expect(len(answers) < 2, "doubled_answer", f"{message_id}: {len(answers)} answers")
        is_right = bool(answers) and answers[0]["content"] == f"answer to {message_id}"
        tally.expect(is_right, "no_answer", f"{message_id}: {answers}")
        tally.count("runs", len(answers))
