"""Attaching loses nothing and repeats nothing: whoever comes, whenever, by snapshot or by cursor, ends with the same.

Made-up interleavings of an agent's events, commits, storms of streams that come, stay behind, leave and resume, stops
and system messages. One client, the witness, is there from the beginning; its log is the whole log.
"""

from __future__ import annotations

import copy
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.core.ports import Event
from tests.support.agents import Puppet
from tests.support.client import Client, Fold
from tests.support.node import Node, eventually, open_node
from tests.support.sequences import SCRIPT, STEADY, legal_events

ACTIONS: Final = (
    "say",
    "say",
    "say",
    "turn",
    "commit",
    "hold",
    "attach",
    "resume",
    "catch up",
    "leave",
    "tell",
    "stop",
)


class Interleaving:
    """What happens to one session, step by step."""

    def __init__(self, node: Node, puppet: Puppet, script: list[Event | str], stack: AsyncExitStack) -> None:
        self.node = node
        self.puppet = puppet
        self.witness: Client
        self.clients: list[Client] = []
        self.known: list[tuple[str, Fold]] = []
        """Every cursor so far, with what a client knows there."""
        self._script = script
        self._stack = stack

    async def begin(self) -> None:
        """Let the witness in, and start the run."""
        self.witness = await self._stack.enter_async_context(self.node.client())
        self.witness.on_event = lambda cursor, fold: self.known.append((cursor, copy.deepcopy(fold)))
        await self.node.ask()

    async def step(self, action: str, number: int) -> None:
        """Do one thing; `number` chooses among several."""
        if action in ("attach", "resume", "catch up", "leave"):
            await self._stream(action, number)
        elif action == "say":
            self.puppet.say(*self._script[:1])
            del self._script[:1]
        elif action == "turn":
            await anyio.lowlevel.checkpoint()
        elif action == "hold":
            self.node.storage.before = self.node.storage.before or anyio.Event()
        else:
            await self._commit()
            if action == "tell":
                await self.node.tell("note")
            elif action == "stop":
                await self._stop()

    async def _stream(self, action: str, number: int) -> None:
        if action == "attach":
            self.clients.append(await self._stack.enter_async_context(self.node.client()))
        elif action == "resume" and self.known:
            cursor, fold = self.known[number % len(self.known)]
            self.clients.append(await self._stack.enter_async_context(self.node.client(cursor, fold=fold)))
        elif self.clients:
            client = self.clients[number % len(self.clients)]
            if action == "leave":
                self.clients.remove(client)
            else:
                assert await client.catch_up()

    async def finish(self) -> None:
        """End the run and let everybody see all of it."""
        self.puppet.say(*self._script)
        self.puppet.finish()
        await self._commit()
        await eventually(lambda: not self.node.hub.user_runs)
        await self.node.calm()
        for client in (self.witness, *self.clients):
            assert await client.catch_up()

    async def _commit(self) -> None:
        self.node.storage.release()
        await eventually(lambda: self.puppet.is_idle or not self.node.hub.user_runs)
        await self.node.calm()
        assert await self.witness.catch_up()

    async def _stop(self) -> None:
        """Stop, and go on with the script in a new run."""
        await self.node.interrupt()
        await eventually(lambda: not self.node.hub.user_runs)
        while not self.puppet.is_idle:
            self.puppet.drop()
        self._script = ["again"]
        await self.node.ask()


def check(whole: Client, client: Client) -> None:
    """Hold a client against the witness: what it was given is the log from its place on, once."""
    seqs = [cursor for cursor, _ in whole.log]
    given = [cursor for cursor, _ in client.log]
    if given and client.is_snapshot:
        given.pop(0)  # the snapshot's last frame carries the cursor of its place
    start = seqs.index(client.start) + 1 if client.start in seqs else 0

    assert given == seqs[start:]
    assert client.picture() == whole.picture()
    assert client.faults == []


@given(
    legal_events,
    st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 50)), max_size=60),
    st.sampled_from([1024, 1 << 18]),
    st.sampled_from(["normal", "full"]),
)
@settings(STEADY, max_examples=50)
async def test_every_client_ends_with_the_whole(
    script: list[Event], steps: list[tuple[str, int]], ring_bytes: int, durability: str
) -> None:
    """Invariant 2: the fold of [snapshot + live] is the fold of the whole log."""
    puppet = Puppet()
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {"ring_bytes": ring_bytes, "durability": durability}
        async with open_node(Path(folder), agent=puppet, **options) as node, AsyncExitStack() as stack:
            interleaving = Interleaving(node, puppet, [*script], stack)
            await interleaving.begin()
            for action, number in steps:
                await interleaving.step(action, number)
            await interleaving.finish()
            snapshot = await node.snapshot()

    assert interleaving.witness.fold.messages == snapshot.messages
    assert interleaving.witness.faults == []
    for client in interleaving.clients:
        check(interleaving.witness, client)


@pytest.mark.parametrize("durability", ["normal", "full"])
async def test_joining_after_every_event_and_resuming_from_every_cursor(tmp_path: Path, durability: str) -> None:
    """Edge cases 16 and 18: in the middle of text, of a call, of reasoning, of a step."""
    puppet = Puppet()
    async with (
        open_node(tmp_path, agent=puppet, durability=durability) as node,
        AsyncExitStack() as stack,
    ):
        interleaving = Interleaving(node, puppet, [], stack)
        await interleaving.begin()
        for piece in SCRIPT:
            puppet.say(piece)
            await interleaving.step("commit", 0)
            await interleaving.step("attach", 0)
            assert interleaving.clients[-1].picture() == interleaving.witness.picture()
        for number in range(len(interleaving.known)):
            await interleaving.step("resume", number)
        await interleaving.finish()
        for number in range(len(interleaving.known)):
            await interleaving.step("resume", number)
            await interleaving.clients[-1].catch_up()

    joined = [client for client in interleaving.clients if client.is_snapshot]
    assert len(joined) == len(SCRIPT)
    assert len(interleaving.clients) > 3 * len(SCRIPT)
    for client in interleaving.clients:
        check(interleaving.witness, client)


async def test_a_client_cut_off_inside_a_snapshot_has_no_cursor_to_come_back_with(tmp_path: Path) -> None:
    """Edge case 60: only the last frame of a snapshot names a place."""
    puppet = Puppet()
    async with open_node(tmp_path, agent=puppet) as node:
        async with node.client() as idle:
            pass
        await node.ask()
        puppet.say("partial")
        await eventually(lambda: puppet.is_idle)
        await node.calm()
        async with node.client() as running:
            pass

    assert idle.kinds() == ["RUN_STARTED", "MESSAGES_SNAPSHOT", "STATE_SNAPSHOT", "RUN_FINISHED"]
    assert running.kinds() == ["RUN_STARTED", "MESSAGES_SNAPSHOT", "STATE_SNAPSHOT", "TEXT_MESSAGE_START"]
    assert [len(idle.log), len(running.log)] == [1, 1]
    assert running.said == "partial"
