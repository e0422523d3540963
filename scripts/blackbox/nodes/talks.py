"""Conversations over several nodes: every POST at a random node, every client at a random node, and the last judgement.

Whoever talks sends each message until some node has answered for it, under one `message_id`. What is promised is
judged when all is quiet: every client, and `GET /api/state` of every node, hold the same; what was accepted is in the
history exactly once; each run ended exactly once, as the store says, with a text that has no hole.
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import anyio

from ..arena import STREAM_FAULTS, emit, script
from ..caller import Caller
from ..fold import without_derived
from ..follower import Follower, Ledger
from ..kills import compare
from ..tally import Tally
from ..wire import Answer, Broken
from .cluster import LEASE_S, Cluster, Lobby

FAULTS: Final = (
    *STREAM_FAULTS,
    "post_missing",
    "post_doubled",
    "run_left_open",
    "late_ending",
    "wrong_ending",
    "text_differs",
    "nodes_differ",
    "bad_answer",
    "gave_up",
    "never_quiet",
    "defect",
)
STATUSES: Final = {"success": "finished", "cancelled": "interrupted", "error": "failed"}
QUIET_S: Final = 40.0
OVERTIME_S: Final = LEASE_S + 8.0
"""How much longer than its words take a run may stay open, whatever happens: the lease, and a machine that is busy."""
RATES: Final = (15, 30, 60)
MOST_WORDS: Final = 80


@dataclass(slots=True)
class Talk:
    """One session, who talks in it, who listens, and what the nodes accepted."""

    caller: Caller
    session_id: str
    followers: list[Follower] = field(default_factory=list)
    accepted: dict[str, str] = field(default_factory=dict)
    """message id → run id, of every POST that was answered 202 (a system message has no run)."""
    bodies: dict[str, str] = field(default_factory=dict)
    words: dict[str, int] = field(default_factory=dict)
    """message id → how many words the whole answer has."""
    stopped: set[str] = field(default_factory=set)
    """Messages whose run was interrupted, or was to be."""
    busy_until: float = 0.0
    """When all that was accepted is said, if nothing goes wrong."""

    @property
    def key(self) -> tuple[str, str]:
        """User and session."""
        return self.caller.user, self.session_id


class Crowd:
    """All talks of a scenario."""

    def __init__(self, together: Cluster, chance: random.Random, tally: Tally, *, sessions: int) -> None:
        self.cluster = together
        self.tally = tally
        self.ledger = Ledger(tally)
        self.lobby = Lobby(together.nodes, chance, tally)
        self.chance = chance
        self.is_over = False
        self.talks = [Talk(Caller(self.lobby, f"user{n % 7}"), f"talk-{n}") for n in range(sessions)]

    @asynccontextmanager
    async def talking(self, *, clients: int = 2, pause_s: float = 2.0) -> AsyncIterator[None]:
        """Let everybody talk and listen until the context ends; then wait for quiet and judge."""
        async with anyio.create_task_group() as listeners:
            async with anyio.create_task_group() as talkers:
                for talk in self.talks:
                    talkers.start_soon(self._converse, listeners, talk, clients, pause_s)
                try:
                    yield
                finally:
                    self.is_over = True
            self.tally.progress("waiting for quiet", always=True)
            await self.judge()
            listeners.cancel_scope.cancel()

    async def _converse(self, listeners: anyio.abc.TaskGroup, talk: Talk, clients: int, pause_s: float) -> None:
        await anyio.sleep(self.chance.uniform(0, pause_s))
        try:
            await talk.caller.call("POST", "/api/sessions", {"session_id": talk.session_id})
            for _ in range(clients):
                follower = Follower(talk.caller, talk.session_id, self.ledger)
                talk.followers.append(follower)
                listeners.start_soon(follower.follow)
            for follower in talk.followers:
                self.tally.expect(await follower.until_attached(), "no_snapshot", f"{talk.key}: {follower.ended_by}")
            while not self.is_over:
                await self._say(talk)
                self._say_how_far()
                await anyio.sleep(self.chance.uniform(0, pause_s))
        except Broken as broken:
            self.tally.fault("gave_up", f"{talk.session_id}: {broken}")

    def _say_how_far(self) -> None:
        counts = self.tally.counts
        self.tally.progress(f"{counts.get('posts_accepted', 0):.0f} posts, {counts.get('events', 0):.0f} events")

    # --- what people do

    async def _say(self, talk: Talk) -> None:
        kind = self.chance.random()
        if kind < 0.08:
            await self._say_system(talk)
        elif kind < 0.12:
            await self._rename(talk)
        message_id = f"{talk.session_id}-{len(talk.bodies)}"
        words, rate = self.chance.randint(1, MOST_WORDS), self.chance.choice(RATES)
        talk.words[message_id] = words
        talk.bodies[message_id] = script(emit(words, rate))
        on_busy = self.chance.choice(("reject", "reject", "queue", "interrupt"))
        run_id = await self._post(talk, message_id, on_busy, words / rate)
        if run_id is None:
            return
        if self.chance.random() < 0.15:
            await anyio.sleep(self.chance.uniform(0, words / rate))
            if not await self._has_stopped(talk, message_id, run_id):
                return
        if self.chance.random() < 0.1:
            self.chance.choice(talk.followers).disturb()
        if self.chance.random() < 0.7:  # else the next message comes while this one is answered
            await self._await_end(talk, run_id)

    async def _post(self, talk: Talk, message_id: str, on_busy: str, whole_s: float) -> str | None:
        """Send a message until it is taken; return its run."""
        text = talk.bodies[message_id]
        while True:
            answer = await talk.caller.chat(text, session_id=talk.session_id, message_id=message_id, on_busy=on_busy)
            if answer.status == 202:
                talk.accepted[message_id] = run_id = str(answer.json()["run_id"])
                talk.busy_until = max(talk.busy_until, time.monotonic()) + whole_s
                self.tally.count("posts_accepted")
                return run_id
            if answer.code not in ("run_active", "queue_full"):
                self.tally.fault("bad_answer", f"{message_id}: {answer.status} {answer.body[:300]!r}")
                return None
            if self.is_over:
                return None  # somebody else's run is still going on: this message was never taken
            self.tally.count("posts_that_found_it_busy")
            await anyio.sleep(self.chance.uniform(0.1, 0.4))

    async def _await_end(self, talk: Talk, run_id: str) -> None:
        due_at = talk.busy_until
        left_s = due_at - time.monotonic() + OVERTIME_S
        has_ended = await talk.followers[0].until_ended(run_id, timeout_s=left_s)
        self.tally.worst("worst_overtime_s", time.monotonic() - due_at)
        self.tally.expect(has_ended, "late_ending", f"{talk.key} run {run_id}: open {OVERTIME_S} s too long")

    async def _has_stopped(self, talk: Talk, message_id: str, run_id: str) -> bool:
        """Interrupt; say whether a run was stopped by it, not a message that waited for its turn."""
        talk.stopped.add(message_id)
        answer = await talk.caller.interrupt(talk.session_id, run_id=run_id)
        self.tally.count("interrupts")
        self.tally.expect(answer.status == 200, "bad_answer", f"interrupt: {answer.status} {answer.body[:300]!r}")
        return answer.status == 200 and answer.json()["outcome"] == "stopped"

    async def _say_system(self, talk: Talk) -> None:
        message_id = f"{talk.session_id}-system-{len(talk.accepted)}"
        body = {"message": "be brief", "session_id": talk.session_id, "message_id": message_id}
        answer = await talk.caller.call("POST", "/api/system", body)
        if self.tally.expect(answer.status == 202, "bad_answer", f"system: {answer.status} {answer.body[:300]!r}"):
            talk.accepted[message_id] = ""
            self.tally.count("system_messages_accepted")

    async def _rename(self, talk: Talk) -> None:
        body = {"title": f"talk {self.chance.randrange(1000)}", "metadata": {"at": self.chance.randrange(1000)}}
        answer = await talk.caller.call("PATCH", f"/api/sessions/{talk.session_id}", body)
        self.tally.expect(answer.status == 200, "bad_answer", f"rename: {answer.status} {answer.body[:300]!r}")
        self.tally.count("renames")

    # --- the last judgement

    async def judge(self) -> None:
        """Wait until nothing runs, then compare all with all."""
        judged: list[Talk] = []

        async def work() -> None:
            while (number := len(judged)) < len(self.talks):
                judged.append(self.talks[number])
                try:
                    await Judge(self, self.talks[number]).judge()
                except Broken as broken:
                    self.tally.fault("gave_up", f"judging {self.talks[number].session_id}: {broken}")
                self.tally.progress(f"judging {number + 1} of {len(self.talks)}")

        async with anyio.create_task_group() as workers:
            for _ in range(4):
                workers.start_soon(work)
        for defect in self.cluster.defects():
            self.tally.fault("defect", defect)
        self.tally.count("sessions", len(self.talks))
        self.tally.count("clients", sum(len(talk.followers) for talk in self.talks))


class Judge:
    """The judgement of one talk."""

    def __init__(self, crowd: Crowd, talk: Talk) -> None:
        self._tally = crowd.tally
        self._ledger = crowd.ledger
        self._nodes = crowd.cluster.nodes
        self._talk = talk

    async def judge(self) -> None:
        """Compare what the nodes, the clients and the history say."""
        states = await self._quiet_states()
        if not states:
            return
        for number, state in enumerate(states[1:], 1):
            found = _apart(states[0], state)
            self._tally.expect(not found, "nodes_differ", f"{self._talk.key}: node 0 and {number}: {found}")
        for follower in self._talk.followers:
            await compare(follower, states[0], self._tally)
        await self._judge_history()
        for run_id in self._ledger.started[self._talk.key]:
            ended = self._ledger.outcome(self._talk.key, run_id)
            self._tally.expect(ended is not None, "run_left_open", f"nobody saw {run_id} of {self._talk.key} end")

    async def _quiet_states(self) -> list[dict[str, Any]]:
        """Return what every node says once nothing runs or waits and all stand at one position."""
        states: list[dict[str, Any]] = []
        with anyio.move_on_after(QUIET_S):
            while True:
                answers = [await Caller(node.wire, self._talk.caller.user).state(self._talk.session_id)
                           for node in self._nodes]  # fmt: skip
                states = [answer.json() for answer in answers if answer.status == 200]
                if len(states) == len(answers) and _are_quiet(states):
                    return states
                await anyio.sleep(0.1)
        shown = [(state["cursor"], state["run"], state["state"]["queue"]) for state in states]
        self._tally.fault("never_quiet", f"{self._talk.key}: {shown}")
        return states if len(states) == len(self._nodes) else []

    async def _judge_history(self) -> None:
        talk, tally = self._talk, self._tally
        history = await talk.caller.messages(talk.session_id)
        ids = [message["id"] for message in history]
        answers: dict[str, str] = {}
        for message in history:
            if message["role"] == "assistant":
                run_id = message["metadata"]["sessionstream"]["run_id"]
                answers[run_id] = answers.get(run_id, "") + str(message.get("content", ""))
        for message_id, run_id in talk.accepted.items():
            times = ids.count(message_id)
            if not times and message_id in talk.stopped and await self._is_withdrawn(message_id):
                tally.count("messages_withdrawn_from_the_queue")
                continue
            tally.expect(times > 0, "post_missing", f"{message_id} was accepted and is not in the history")
            tally.expect(times < 2, "post_doubled", f"{message_id} is in the history {times} times")
            if run_id:
                await self._judge_run(message_id, answers.get(run_id, ""))
        unknown = [one for one in ids if one.startswith(talk.session_id) and one not in talk.accepted]
        tally.count("messages_taken_unanswered", len(unknown))

    async def _is_withdrawn(self, message_id: str) -> bool:
        """Say whether a message that was stopped in the queue never started: then it is no part of the history."""
        again = await self._post_again(message_id)
        run_id = self._talk.accepted[message_id]
        return again.json().get("status") == "interrupted" and self._ledger.outcome(self._talk.key, run_id) is None

    async def _post_again(self, message_id: str) -> Answer:
        body, session_id = self._talk.bodies[message_id], self._talk.session_id
        return await self._talk.caller.chat(body, session_id=session_id, message_id=message_id)

    async def _judge_run(self, message_id: str, text: str) -> None:
        talk, tally = self._talk, self._tally
        run_id = talk.accepted[message_id]
        again = await self._post_again(message_id)
        receipt = again.json()
        seen = self._ledger.outcome(talk.key, run_id)
        is_right = again.status == 202 and receipt["run_id"] == run_id and receipt["status"] == STATUSES.get(seen or "")
        tally.expect(is_right, "wrong_ending", f"{message_id}: seen {seen}, answer {again.status} {again.body[:300]!r}")
        tally.count(f"runs_{receipt.get('status')}")
        whole = "".join(f"w{number} " for number in range(talk.words[message_id]))
        is_whole = text == whole if seen == "success" else whole.startswith(text)
        tally.expect(is_whole, "text_differs", f"{message_id}: {seen} with …{text[-60:]!r} of {len(whole)}")


def _are_quiet(states: Sequence[dict[str, Any]]) -> bool:
    idle = all(state["run"] is None and not state["state"]["queue"] for state in states)
    return idle and len({state["cursor"] for state in states}) == 1


def _apart(one: dict[str, Any], other: dict[str, Any]) -> str:
    for name in ("cursor", "messages", "run"):
        if one[name] != other[name]:
            return f"{name}: {str(one[name])[-300:]} / {str(other[name])[-300:]}"
    first, second = without_derived(one["state"]), without_derived(other["state"])
    return "" if first == second else f"state: {first} / {second}"
