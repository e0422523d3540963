"""A node in this process: a real hub on a real SQLite file, with agents that the test makes up.

    async with open_node(tmp_path, agent=echo) as node:
        accepted = await node.ask("hello")
        await node.over(accepted.run_id)

Nothing happens by time unless a test asks for it: upkeep is called by hand. Every wait is bounded.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel

from server.core.dialogue import Accepted, Creation, OnBusy, Receipt
from server.core.hub import Hub
from server.core.lifetime import hub_lifetime
from server.core.ports import Agent, RunRecord, SessionKey
from server.core.question import Answer, Question
from server.core.session import Session
from server.core.snapshot import Snapshot, take_snapshot
from server.ids import new_id
from server.settings import Settings

from .agents import Catalog, echo
from .client import WAIT_S, Client, Fold
from .storage import SwitchedStorage, rows_of

USER = "ann"
TOO_LONG_TO_KEEP = "long " * 4000
"""A message that no session keeps in memory: with it, what is stored must be read."""


async def eventually(is_so: Callable[[], object]) -> None:
    """Let everything else run until something is so; fails after some seconds."""
    with anyio.fail_after(WAIT_S):
        while not is_so():
            await anyio.lowlevel.checkpoint()


class Node:
    """What a test does to a hub; `session` is "s" of one user unless it says otherwise."""

    def __init__(self, hub: Hub, storage: Any, folder: Path) -> None:
        self.hub = hub
        self.storage = storage
        self.folder = folder

    def key(self, session: str = "s", user: str = USER) -> SessionKey:
        """Return the key of a session."""
        return SessionKey(user, session)

    @asynccontextmanager
    async def held(self, session: str = "s", user: str = USER, *, create: bool = True) -> AsyncIterator[Session]:
        """Hold a session, made if need be."""
        creation = Creation(agent=self.hub.agents.default) if create else None
        async with self.hub.session(self.key(session, user), creation) as held:
            yield held

    async def ask(
        self,
        message: str = "hello",
        *,
        session: str = "s",
        user: str = USER,
        message_id: str | None = None,
        agent: str | None = None,
        on_busy: OnBusy = "reject",
    ) -> Accepted:
        """POST a message."""
        digest = hashlib.blake2b(message.encode(), digest_size=16).digest()
        question = Question(message=message, message_id=message_id or new_id(), digest=digest)
        with anyio.fail_after(WAIT_S):
            async with self.held(session, user) as held:
                return await held.ask(question, agent=agent, on_busy=on_busy)

    async def tell(self, text: str, *, session: str = "s", message_id: str | None = None) -> Accepted:
        """POST a system message."""
        with anyio.fail_after(WAIT_S):
            async with self.held(session) as held:
                return await held.tell(text, message_id or new_id(), text.encode())

    async def interrupt(
        self, run_id: str | None = None, message_id: str | None = None, *, session: str = "s"
    ) -> Receipt:
        """POST an interrupt."""
        with anyio.fail_after(WAIT_S):
            async with self.held(session) as held:
                return await held.interrupt(run_id, message_id)

    async def answer(
        self, call_id: str, payload: Any = None, *, session: str = "s", user: str = USER, **more: Any
    ) -> Accepted:
        """POST what a tool returned, or whether one may be called; `more` are fields of the `Answer`."""
        with anyio.fail_after(WAIT_S):
            async with self.held(session, user) as held:
                return await held.answer([Answer(id=call_id, payload=payload, **more)])

    async def over(self, run_id: str, *, session: str = "s") -> RunRecord:
        """Wait until a run is over and committed; return what is stored of it."""
        async with self.held(session) as held:
            await eventually(lambda: held.run is None or held.run.run_id != run_id)
            record = await self.hub.storage.run_by_id(held.record.ref, run_id)
        assert record is not None
        return record

    async def calm(self) -> None:
        """Wait until nothing waits for a commit."""
        await eventually(lambda: self.hub.journal.is_empty)

    async def snapshot(self, session: str = "s") -> Snapshot:
        """GET the state."""
        with anyio.fail_after(WAIT_S):
            async with self.held(session) as held:
                return await take_snapshot(held, self.hub.storage, self.hub.settings.session_timeout_minutes)

    @asynccontextmanager
    async def client(
        self, cursor: str | None = None, *, session: str = "s", fold: Fold | None = None
    ) -> AsyncIterator[Client]:
        """Open a stream; with a cursor, `fold` is what the client knew there."""
        async with AsyncExitStack() as stack:
            held = await stack.enter_async_context(self.held(session))
            client = Client(await stack.enter_async_context(self.hub.attach(held)), fold)
            await client.begin(cursor)
            yield client

    @contextmanager
    def impatient(self, timeout_s: float = 0.05) -> Iterator[None]:
        """Let requests wait for the storage only so long, while a test holds it up."""
        patient = self.hub.settings
        self.hub.settings = replace(patient, storage_timeout_seconds=timeout_s)
        try:
            yield
        finally:
            self.hub.settings = patient

    def rows(self, query: str, *values: Any) -> list[Any]:
        """Return rows of the database, read from outside."""
        return rows_of(self.folder, query, *values)


@asynccontextmanager
async def open_node(
    folder: Path,
    *,
    agent: Agent = echo,
    agents: dict[str, Agent] | None = None,
    storage: SwitchedStorage | None = None,
    **settings: Any,
) -> AsyncIterator[Node]:
    """Run a hub on a folder; `agent` answers by default, `agents` are others by name."""
    made = Settings(data=str(folder), **{"cleanup_interval_seconds": 3600.0, "no_docs": True, **settings})
    storage = storage or SwitchedStorage(folder, durability=made.durability)
    catalog = Catalog([("default", agent), *(agents or {}).items()])
    hub = Hub(made, storage, catalog)
    async with hub_lifetime(hub):
        await eventually(lambda: hub.is_open or storage.fault is not None)
        try:
            yield Node(hub, storage, folder)
        finally:
            storage.release()
