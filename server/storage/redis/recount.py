"""Counters of all sessions, made anew from what is there: nodes only ever add to them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from ...core.ports import SessionKey, SessionRecord
from ..moving import EndedSession
from . import keys as names
from .core import RedisCore
from .plans import DAY_S
from .wire import Command

_GROUP: Final = 500


@dataclass(slots=True)
class _Totals:
    """The counters of a user, or of all; `live` is not one of those that are stored."""

    live: int = 0
    ended: int = 0
    messages: int = 0
    runs: int = 0
    seconds: float = 0.0

    def fields(self) -> list[Any]:
        """Return what is stored, as names and values."""
        return [word for one in fields(self)[1:] for word in (one.name, repr(getattr(self, one.name)))]


class Recount:
    """Adds up; memory grows with the number of users, not of sessions."""

    def __init__(self, core: RedisCore, *, tombstone_ms: int) -> None:
        self._core = core
        self._tombstone_ms = tombstone_ms
        self._since = time.time() - DAY_S
        self._totals: dict[str | None, _Totals] = {None: _Totals()}
        self._shares: dict[str | None, tuple[Counter[str], Counter[str]]] = {None: (Counter(), Counter())}
        """Live sessions by agent, and by site."""
        self._waiting: list[Command] = []
        """What lists must have that was created or expired within a day."""

    async def add_session(self, record: SessionRecord) -> None:
        """Count a session that lives."""
        for totals in self._of(record.user_id):
            totals.live += 1
            totals.messages += record.message_count
            totals.runs += record.run_count
            totals.seconds += record.last_activity - record.created_at
        for user_id in (None, record.user_id):
            shares = self._shares.setdefault(user_id, (Counter(), Counter()))
            shares[0][record.agent] += 1
            if record.website_domain is not None:
                shares[1][record.website_domain] += 1
        await self._note(record.key, record.created_at, self._core.keys.created)

    async def add_ended(self, one: EndedSession) -> None:
        """Count a session that ended."""
        for totals in self._of(one.key.user_id):
            totals.ended += 1
            totals.messages += one.message_count
            totals.runs += one.run_count
            totals.seconds += one.last_activity - one.created_at
        await self._note(one.key, one.created_at, self._core.keys.created)
        if one.tombstone.reason == "expired":
            await self._note(one.key, one.tombstone.ended_at, self._core.keys.expired)

    def _of(self, user_id: str) -> Sequence[_Totals]:
        return self._totals[None], self._totals.setdefault(user_id, _Totals())

    async def _note(self, key: SessionKey, at: float, place: Callable[[str | None], bytes]) -> None:
        if at > self._since:
            for one in (place(None), place(key.user_id)):
                self._waiting.append(Command(one, ("ZADD", one, repr(at), names.member(key))))
                self._waiting.append(Command(one, ("EXPIRE", one, DAY_S)))
        if len(self._waiting) > _GROUP:
            waiting, self._waiting = self._waiting, []
            await self._core.tell(waiting)

    async def write(self) -> None:
        """Put the counters in the place of those that are there."""
        commands, self._waiting = self._waiting, []
        for user_id, totals in self._totals.items():
            key = self._core.keys.stats(user_id)
            commands += [Command(key, ("DEL", key)), Command(key, ("HSET", key, *totals.fields()))]
            if user_id is not None and not totals.live:
                # A visitor who never comes back is forgotten, as his tombstones are.
                commands.append(Command(key, ("PEXPIRE", key, self._tombstone_ms + DAY_S * 1000)))
        for user_id, (agents, sites) in self._shares.items():
            for key, counted in ((self._core.keys.agents(user_id), agents), (self._core.keys.sites(user_id), sites)):
                commands.append(Command(key, ("DEL", key)))
                commands += [Command(key, ("ZADD", key, count, name.encode())) for name, count in counted.items()]
        for at in range(0, len(commands), _GROUP):
            await self._core.tell(commands[at : at + _GROUP])
