"""Lists of sessions: pages, search, the idle ones, and totals.

A list may name a session that is not there any more, because its keys ran out or its first commit failed; it is dropped
from the list by whoever comes across it, unless somebody may be about to commit it just then.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import anyio.to_thread

from ...core.ports import SessionKey, SessionRecord
from ...core.storage import Page
from ..places import parse_place, place_of
from ..searching import Query, searchable
from ..totals import MOST_NAMED
from . import codec
from . import keys as names
from .core import RedisCore
from .plans import DAY_S
from .reads import Reads
from .wire import Command

_BATCH: Final = 100
_SEARCHED_AT_ONCE: Final = 8
_MESSAGES_AT_ONCE: Final = 200
_LARGE_BYTES: Final = 64 << 10
_USERS: Final = 1000
_HOUR_S: Final = 3600


class _Listed(NamedTuple):
    ref: int
    score: float
    record: SessionRecord


class Lists:
    """What is read of many sessions."""

    def __init__(self, core: RedisCore, reads: Reads) -> None:
        self._core = core
        self._reads = reads

    async def owners(self, session_id: str) -> Sequence[str]:
        """Return the users that have a live session of this id."""
        key = self._core.keys.ids
        call = ("ZRANGE", key, f"[{session_id}\0", f"({session_id}\1", "BYLEX")
        [found] = await self._core.ask([Command(key, call)])
        keys = [names.key_of(name) for name in found]
        records = await self._core.records(keys)
        return [key.user_id for key, record in zip(keys, records, strict=True) if record is not None]

    async def sessions(self, user_id: str, *, limit: int, cursor: str | None, query: str | None) -> Page:
        """Return a page of a user's sessions, latest activity first."""
        place = parse_place(cursor) if cursor is not None else None
        wanted = Query(query) if query is not None else None
        if wanted is not None and wanted.finds_nothing:
            return Page([], None)
        found: list[_Listed] = []
        offset: int | None = 0
        while offset is not None and len(found) <= limit:
            group, offset = await self._listed(user_id, place, offset)
            found += group if wanted is None else await self._matching(group, wanted)
        last = found[limit - 1] if 0 < limit < len(found) else None
        records = [one.record for one in found[:limit]]
        return Page(records, place_of(last.score, last.ref) if last is not None else None)

    async def _listed(
        self, user_id: str, place: tuple[float, int] | None, offset: int
    ) -> tuple[list[_Listed], int | None]:
        """Return some of a user's sessions behind a place, and where the next ones begin."""
        key = self._core.keys.user(user_id)
        top = "+inf" if place is None else repr(place[0])
        call = ("ZRANGE", key, top, "-inf", "BYSCORE", "REV", "LIMIT", offset, _BATCH, "WITHSCORES")
        [found] = await self._core.ask([Command(key, call)])
        entries = [(name, float(score)) for name, score in zip(found[::2], found[1::2], strict=True)]
        later = [one for one in entries if place is None or (one[1], names.listed_ref(one[0])) < place]
        records = await self._core.records([_key_in(name, user_id) for name, _ in later])
        pairs = list(zip(later, records, strict=True))
        group = [_Listed(record.ref, score, record) for (_, score), record in pairs if record is not None]
        dropped = await self._core.drop(key, self._left_over([one for one, record in pairs if record is None]))
        return group, offset + _BATCH - dropped if len(entries) == _BATCH else None

    def _left_over(self, gone: Sequence[tuple[bytes, float]]) -> list[tuple[bytes, float]]:
        before = time.time() - self._core.grace_s
        return [one for one in gone if one[1] < before]

    # --- search

    async def _matching(self, group: Sequence[_Listed], query: Query) -> list[_Listed]:
        hits: dict[int, _Listed] = {}

        async def look(one: _Listed) -> None:
            if query.matches(one.record.title) or await self._has(one.ref, query):
                hits[one.ref] = one

        for at in range(0, len(group), _SEARCHED_AT_ONCE):
            async with anyio.create_task_group() as tasks:
                for one in group[at : at + _SEARCHED_AT_ONCE]:
                    tasks.start_soon(look, one)
        return [one for one in group if one.ref in hits]

    async def _has(self, ref: int, query: Query) -> bool:
        """Say whether one of a session's messages has all words; the newest are looked at first."""
        place = ""
        while True:
            found = await self._reads.message_page(ref, place, _MESSAGES_AT_ONCE)
            bodies = found[1:]
            if sum(map(len, bodies)) < _LARGE_BYTES:
                is_found = _matches(bodies, query)
            else:
                is_found = await anyio.to_thread.run_sync(_matches, bodies, query)
            if is_found or len(bodies) < _MESSAGES_AT_ONCE:
                return is_found
            place = f"({found[0].decode()}"

    # --- idle sessions, counts

    async def count(self, user_id: str | None) -> int:
        """Return how many live sessions there are."""
        key = self._core.keys.due if user_id is None else self._core.keys.user(user_id)
        [found] = await self._core.ask([Command(key, ("ZCARD", key))])
        return int(found)

    async def idle_since(self, before: float, limit: int, user_id: str | None = None) -> Sequence[SessionRecord]:
        """Return sessions whose last activity lies before a time, oldest first, without those in use on other nodes."""
        key = self._core.keys.due if user_id is None else self._core.keys.user(user_id)
        found: list[SessionRecord] = []
        offset = 0
        while len(found) < limit:
            call = ("ZRANGE", key, "-inf", f"({before!r}", "BYSCORE", "LIMIT", offset, _BATCH, "WITHSCORES")
            [entries] = await self._core.ask([Command(key, call)])
            seen = [(name, float(score)) for name, score in zip(entries[::2], entries[1::2], strict=True)]
            keys = [_key_in(name, user_id) for name, _ in seen]
            records = await self._core.records(keys)
            uses = [0.0] * len(keys) if user_id is None else await self._uses(keys)
            found += [
                record
                for record, used in zip(records, uses, strict=True)
                if record is not None and not record.pending and max(record.last_activity, used) < before
            ]
            gone = [(one, key) for one, key, record in zip(seen, keys, records, strict=True) if record is None]
            left = self._left_over([one for one, _ in gone])
            await self._forget([key for one, key in gone if one in left])
            offset += _BATCH - await self._core.drop(key, left)
            if len(seen) < _BATCH:
                break
        return found[:limit]

    async def overdue(self, before: float, limit: int) -> Sequence[SessionRecord]:
        """Return sessions whose questions were to be answered before a time, oldest first."""
        key, found, offset = self._core.keys.asking, list[SessionRecord](), 0
        while len(found) < limit:
            call = ("ZRANGE", key, "-inf", f"({before!r}", "BYSCORE", "LIMIT", offset, _BATCH, "WITHSCORES")
            [entries] = await self._core.ask([Command(key, call)])
            seen = [(name, float(score)) for name, score in zip(entries[::2], entries[1::2], strict=True)]
            records = await self._core.records([names.key_of(name) for name, _ in seen])
            due = [record if record is not None and _is_overdue(record, before) else None for record in records]
            found += [record for record in due if record is not None]
            # What was answered stays noted until somebody comes across it: a note that is dropped late could be new.
            done = [one for one, record in zip(seen, due, strict=True) if record is None]
            offset += _BATCH - await self._core.drop(key, self._left_over(done))
            if len(seen) < _BATCH:
                break
        return found[:limit]

    async def _uses(self, keys: Sequence[SessionKey]) -> list[float]:
        """Return when each was used last, streams on other nodes included."""
        if not keys:
            return []
        due = self._core.keys.due
        [found] = await self._core.ask([Command(due, ("ZMSCORE", due, *map(names.member, keys)))])
        return [float(score or 0) for score in found]

    async def _forget(self, gone: Sequence[SessionKey]) -> None:
        """Drop from the other lists what is not there any more."""
        keys = self._core.keys
        for key in gone:
            mine, listed = keys.user(key.user_id), names.listed(names.ref_of(key), key.session_id)
            name = names.member(key)
            await self._core.tell(
                [Command(mine, ("ZREM", mine, listed))]
                + [Command(one, ("ZREM", one, name)) for one in (keys.ids, keys.due)]
            )

    # --- totals

    async def stats(self, user_id: str | None) -> dict[str, Any]:
        """Return totals for a user, or for everybody.

        They are counted as commits are answered: a node that dies between the two leaves them off by one commit.
        """
        keys = self._core.keys
        key = keys.stats(user_id)
        counted = Command(key, ("HMGET", key, "ended", "messages", "runs", "seconds"))
        (raw,) = await self._core.ask([counted])
        ended, messages, runs, seconds = (float(value or 0) for value in raw)
        live = await self.count(user_id)
        known = live + int(ended)
        if user_id is None:
            by_user = await self._by_user()
        else:
            by_user = {user_id: live} if live else {}
        return {
            "sessions": {"active": live, "ended": int(ended), "total": known, "by_user": by_user},
            "runs": int(runs),
            "messages": int(messages),
            "average_messages_per_session": round(messages / known, 3) if known else 0,
            "average_duration_seconds": round(seconds / known, 3) if known else 0,
            "created": await self._rates(keys.created(user_id)),
            "expired": await self._rates(keys.expired(user_id)),
            "by_agent": await self._shares(keys.agents(user_id)),
            "by_site": await self._shares(keys.sites(user_id)),
        }

    async def _shares(self, key: bytes) -> dict[str, int]:
        """Return how many sessions live by name, most first."""
        [found] = await self._core.ask([Command(key, ("ZRANGE", key, 0, MOST_NAMED - 1, "REV", "WITHSCORES"))])
        pairs = [(name.decode(), int(float(count))) for name, count in zip(found[::2], found[1::2], strict=True)]
        return dict(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))

    async def _by_user(self) -> dict[str, int]:
        """Return how many sessions the users have that were active last, most first."""
        key = self._core.keys.users
        [found] = await self._core.ask([Command(key, ("ZRANGE", key, 0, _USERS - 1, "REV", "WITHSCORES"))])
        users = list(zip(found[::2], map(float, found[1::2]), strict=True))
        lists = [self._core.keys.user(name.decode()) for name, _ in users]
        counts = await self._core.ask([Command(one, ("ZCARD", one)) for one in lists])
        pairs = [(name.decode(), count) for (name, _), count in zip(users, counts, strict=True) if count]
        empty = [one for one, count in zip(users, counts, strict=True) if not count]
        await self._core.drop(key, self._left_over(empty))
        return dict(sorted(pairs, key=lambda pair: -pair[1]))

    async def _rates(self, key: bytes) -> dict[str, int]:
        """Return how many in the last hour and the last day."""
        now = time.time()
        calls: list[tuple[Any, ...]] = [("ZCOUNT", key, f"({now - seconds!r}", "+inf") for seconds in (_HOUR_S, DAY_S)]
        hour, day = await self._core.ask([Command(key, call) for call in calls])
        return {"last_hour": hour, "last_day": day}


def _key_in(name: bytes, user_id: str | None) -> SessionKey:
    return names.key_of(name) if user_id is None else SessionKey(user_id, name[16:].decode())


def _is_overdue(record: SessionRecord, before: float) -> bool:
    expires_at = record.pending.get("expires_at")
    return expires_at is not None and expires_at < before


def _matches(bodies: Sequence[bytes], query: Query) -> bool:
    return any(query.matches(searchable(codec.message_record(body).message)) for body in bodies)
