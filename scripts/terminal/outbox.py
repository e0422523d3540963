"""The outbox: messages on their way, one after the other, each until the server has taken or refused it.

A repetition carries the same `message_id`, so a message whose answer was lost is not said twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import anyio

from .api import Api, ApiError, Refused, new_id
from .follower import delay_s

# Waiting will not help a person here soon: he should hear of it.
_LIMITS: Final = ("limit_", "queue_full", "server_full", "storage_full")


@dataclass(eq=False, slots=True)
class Outgoing:
    """A message on its way; `trouble` says why it is not there yet."""

    session_id: str
    text: str
    fields: dict[str, Any] = field(default_factory=dict)
    message_id: str = field(default_factory=new_id)
    is_accepted: bool = False
    trouble: str = ""


class Listener(Protocol):
    """Who hears what became of messages."""

    def on_accepted(self, item: Outgoing) -> None:
        """The server has it."""

    def on_refused(self, item: Outgoing, error: Refused) -> None:
        """The server does not want it."""


class Outbox:
    """All messages that the transcript does not hold yet; `run` sends them."""

    def __init__(self, api: Api, listener: Listener, on_change: Callable[[], None]) -> None:
        self.items: list[Outgoing] = []
        self._api = api
        self._listener = listener
        self._on_change = on_change
        self._news = anyio.Event()
        self._sending: anyio.CancelScope | None = None

    def add(self, item: Outgoing) -> None:
        """Send a message behind the others."""
        self.items.append(item)
        self._news.set()
        self._on_change()

    def settle(self, is_shown: Callable[[Outgoing], bool]) -> None:
        """Forget what has arrived and needs not be shown here any more."""
        self.items = [item for item in self.items if not (item.is_accepted and is_shown(item))]

    def withdraw(self) -> list[Outgoing]:
        """Give up what the server has not taken, and return it."""
        given_up = [item for item in self.items if not item.is_accepted]
        self.items = [item for item in self.items if item.is_accepted]
        if given_up and self._sending is not None:
            self._sending.cancel()
        return given_up

    async def run(self) -> None:
        """Send, without end."""
        while True:
            self._news = anyio.Event()
            waiting = next((item for item in self.items if not item.is_accepted), None)
            if waiting is None:
                await self._news.wait()
                continue
            with anyio.CancelScope() as self._sending:
                await self._send(waiting)
            self._sending = None
            self._on_change()

    async def _send(self, item: Outgoing) -> None:
        attempt = 0
        while True:
            wait_s = delay_s(attempt)
            try:
                await self._api.chat(item.session_id, item.message_id, item.text, **item.fields)
            except Refused as refused:
                if not refused.is_retryable or refused.code.startswith(_LIMITS):
                    self.items.remove(item)
                    self._listener.on_refused(item, refused)
                    return
                item.trouble, wait_s = refused.detail, max(wait_s, refused.retry_after_s)
            except ApiError:
                item.trouble = "no connection"
            else:
                item.is_accepted, item.trouble = True, ""
                self._listener.on_accepted(item)
                return
            self._on_change()
            await anyio.sleep(wait_s)
            attempt += 1
