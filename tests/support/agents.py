"""Agents for tests: what they yield, and when, is in the test's hands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

import anyio

from server.core.commands import Commands
from server.core.ports import Agent, AgentEntry, Event, Service, Turn

Piece = str | Event


class Puppet:
    """An agent that yields what the test says, when it says so; one queue of orders for all its turns."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.taken = 0
        """Orders carried out in all."""
        self._orders: asyncio.Queue[Any] = asyncio.Queue()

    def say(self, *pieces: Piece) -> None:
        """Yield these, one after the other."""
        for piece in pieces:
            self._orders.put_nowait(piece)

    def finish(self) -> None:
        """End the turn."""
        self._orders.put_nowait(None)

    def fail(self, error: BaseException) -> None:
        """Raise this in the turn."""
        self._orders.put_nowait(error)

    def drop(self) -> None:
        """Forget one order that no turn took."""
        self._orders.get_nowait()

    @property
    def is_idle(self) -> bool:
        """Whether every order was taken."""
        return self._orders.empty()

    async def __call__(self, turn: Turn, /) -> AsyncIterator[Piece]:
        """Obey."""
        self.turns.append(turn)
        while True:
            order = await self._orders.get()
            self.taken += 1
            if order is None:
                return
            if isinstance(order, BaseException):
                raise order
            yield order


class Stubborn:
    """An agent that says one word, then ignores being cancelled until the test lets it go."""

    def __init__(self) -> None:
        self.let_go = anyio.Event()
        self.ignored = 0
        """How many cancellations it swallowed."""

    async def __call__(self, turn: Turn, /) -> AsyncIterator[Piece]:
        """Ignore."""
        yield "never "
        while not self.let_go.is_set():
            try:
                await self.let_go.wait()
            except asyncio.CancelledError:
                self.ignored += 1
        yield "too late"


def saying(*pieces: Piece) -> Agent:
    """Return an agent that yields these and ends, without ever waiting."""

    async def agent(turn: Turn) -> AsyncIterator[Piece]:
        for piece in pieces:
            yield piece

    return agent


async def echo(turn: Turn) -> AsyncIterator[Piece]:
    """Answer with the message, word by word."""
    for word in turn.message.split():
        yield word + " "


class Catalog:
    """A catalog made of agents by name; the first is the default."""

    def __init__(self, agents: Iterable[tuple[str, Agent]]) -> None:
        self._entries = tuple(AgentEntry(name=name, kind="python", agent=agent) for name, agent in agents)

    @property
    def default(self) -> str:
        """Name of the first."""
        return self._entries[0].name

    @property
    def entries(self) -> tuple[AgentEntry, ...]:
        """All of them."""
        return self._entries

    @property
    def personas(self) -> Sequence[Mapping[str, Any]]:
        """None."""
        return ()

    @property
    def commands(self) -> Commands | None:
        """None."""
        return None

    @property
    def services(self) -> dict[str, Service]:
        """None."""
        return {}

    def get(self, name: str) -> AgentEntry | None:
        """Return the agent of this name."""
        return next((entry for entry in self._entries if entry.name == name), None)
