"""Whole sessions in and out of a Redis whose nodes are stopped.

A session is written by one script: whole or not at all. Its keys do not run out by themselves until a node commits to
it: nobody knows here how long the deployment lets a session live, and nodes end those whose time is over anyway.
Nothing keeps a node from starting meanwhile: leases are looked at before and after.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from ...core.ports import MessageRecord, RunRecord, SaveLog, SessionKey, SessionRecord, StorageError, Tombstone
from ..moving import EndedSession, MoveRefused, WholeSession
from . import codec
from . import keys as names
from .core import RedisCore
from .graves import Graves, ended_of
from .plans import asking_note, waiting_in
from .recount import Recount
from .script import Script
from .wire import Command, WireError

_TIMEOUT_S: Final = 60.0  # a session of the largest kind, over a slow line
_PAGE: Final = 500
_GROUP: Final = 500  # Lua takes some thousand values at once
_ROW_BYTES: Final = 256 << 10

# KEYS: all keys of the session.
# ARGV: its member name, then operations, each as: number of arguments, name, number of its key, arguments.
_PUT: Final = Script(
    """#!lua
local name = redis.call('HGET', KEYS[1], 'u')
if name and name ~= ARGV[1] then return 0 end
redis.call('UNLINK', unpack(KEYS))
local at = 2
while at <= #ARGV do
    local n, name, key = tonumber(ARGV[at]), ARGV[at + 1], KEYS[tonumber(ARGV[at + 2])]
    redis.call(name, key, unpack(ARGV, at + 3, at + 2 + n))
    at = at + 3 + n
end
return 1
"""
)


class _State(NamedTuple):
    """What stands in a session's hash."""

    raw: bytes
    version: bytes
    seq: bytes
    generation: bytes
    run_id: bytes | None


class MovableRedis:
    """One deployment's keys as `Movable`."""

    def __init__(self, url: str, *, prefix: str, tombstone_s: float, is_forced: bool = False) -> None:
        self._core = RedisCore(url, prefix=prefix, node_id="move", timeout_s=_TIMEOUT_S)
        self._tombstone_ms = int(tombstone_s * 1000)
        self._graves = Graves(self._core, tombstone_ms=self._tombstone_ms)
        self._is_forced = is_forced
        self._is_known = False

    # --- life

    async def open(self) -> None:
        """Look whether there is a deployment, and whether a node of it lives."""
        key = self._core.keys.generation
        try:
            # Asked without getting acquainted, which would write: nothing is made where nothing is.
            [found] = await self._core.wire.run([Command(key, ("HGET", key, "n"))], is_guarded=False)
        except WireError as error:
            raise StorageError(str(error)) from error
        if isinstance(found, Exception):
            raise StorageError(f"redis: {found}")
        if found is not None:
            await self._join()
            await self.require_stopped()

    async def _join(self) -> None:
        """Get acquainted with the servers, and learn whether they may have lost something."""
        if self._is_known:
            return
        try:
            await self._core.continuity.check()
        except WireError as error:
            raise StorageError(str(error)) from error
        self._is_known = True

    async def close(self) -> None:
        """Close every connection."""
        self._core.is_closed = True
        await self._core.wire.close()

    async def require_stopped(self) -> None:
        """Refuse while a node's lease is alive, unless that was forced."""
        nodes = await self._nodes()
        leases = [self._core.keys.lease(node_id) for node_id in nodes]
        living = await self._core.ask([Command(lease, ("EXISTS", lease)) for lease in leases])
        if any(living) and not self._is_forced:
            raise MoveRefused(
                f"{sum(living)} nodes use this Redis: stop them first (one that was killed counts until its lease, "
                "LEASE_SECONDS, is over)"
            )

    async def require_settled(self) -> None:
        """Refuse when there is nothing, or when a run that a dead node left is still open."""
        if not self._is_known:
            raise MoveRefused(f"there is nothing under the prefix {self._core.keys.prefix!r} in this Redis")
        for node_id in await self._nodes():
            runs = self._core.keys.runs(node_id)
            [found] = await self._core.ask([Command(runs, ("SMEMBERS", runs))])
            places = [self._core.keys.of(names.listed_ref(name), names.S)[0] for name in found]
            states = await self._core.ask([Command(place, ("HGET", place, "o")) for place in places])
            if any(run_id is not None for run_id in states):
                raise MoveRefused(
                    "nodes were killed while runs were open: start one, which ends them once the leases of the others "
                    "(LEASE_SECONDS) are over, stop it, and try again"
                )

    async def _nodes(self) -> list[str]:
        if not self._is_known:
            return []
        nodes = self._core.keys.nodes
        [found] = await self._core.ask([Command(nodes, ("SMEMBERS", nodes))])
        return sorted(name.decode() for name in found)

    # --- reading

    async def count(self) -> int:
        """Return how many sessions are listed."""
        if not self._is_known:
            return 0
        due = self._core.keys.due
        [found] = await self._core.ask([Command(due, ("ZCARD", due))])
        return int(found)

    async def keys(self) -> AsyncIterator[SessionKey]:
        """Yield every session, by id."""
        ids, after = self._core.keys.ids, b"-"
        while self._is_known:
            [found] = await self._core.ask([Command(ids, ("ZRANGE", ids, after, "+", "BYLEX", "LIMIT", 0, _PAGE))])
            if not found:
                return
            keys = [names.key_of(name) for name in found]
            places = [self._core.keys.of(names.ref_of(key), names.S)[0] for key in keys]
            there = await self._core.ask([Command(place, ("EXISTS", place)) for place in places])
            for key, is_there in zip(keys, there, strict=True):
                if is_there:  # a list may name what is gone
                    yield key
            after = b"(" + found[-1]

    async def load(self, key: SessionKey) -> SessionRecord | Tombstone | None:
        """Return the session, what is left of it, or None."""
        state = await self._state(key)
        if state is not None:
            return self._record(key, state)
        ended = await self.grave(key)
        return ended.tombstone if ended is not None else None

    async def read(self, key: SessionKey) -> WholeSession | None:
        """Return a session with everything in it."""
        state = await self._state(key)
        if state is None:
            return None
        if state.run_id is not None:
            raise MoveRefused(f"session {key.session_id} has an open run")
        record = self._record(key, state)
        places = self._core.keys.of(record.ref)
        calls: list[tuple[Any, ...]] = [
            ("XRANGE", places[names.OLD - 1], "-", "+"),
            ("XRANGE", places[names.LOG - 1], "-", "+"),
            ("ZRANGE", places[names.ENDS - 1], 0, -1),
            ("ZRANGE", places[names.MSGS - 1], 0, -1, "WITHSCORES"),
            ("HGETALL", places[names.BODIES - 1]),
            ("HVALS", places[names.RUNS - 1]),
            ("HGETALL", places[names.BY - 1]),
        ]
        old, log, ends, positions, bodies, runs, by = await self._core.ask([Command(call[1], call) for call in calls])
        is_renewed = int(state.generation) != self._core.continuity.generation
        return WholeSession(
            record=record,
            runs=_runs(runs, _pairs(by)),
            messages=_messages(_pairs(positions), _pairs(bodies)),
            # Of a log that may have lost its end nothing is kept, as a node would keep nothing.
            log=[] if is_renewed else [*_rows(record, old, ()), *_rows(record, log, ends)],
        )

    async def _state(self, key: SessionKey) -> _State | None:
        if not self._is_known:
            return None
        [place] = self._core.keys.of(names.ref_of(key), names.S)
        [fields] = await self._core.ask([Command(place, ("HMGET", place, "r", "v", "q", "g", "o"))])
        return _State(*fields) if fields[0] is not None else None

    def _record(self, key: SessionKey, state: _State) -> SessionRecord:
        def decode(raw: bytes) -> SessionRecord:
            return codec.session_record(raw, state.version, state.seq)

        record: SessionRecord = codec.require_key(codec.readable(decode, state.raw), key)
        if int(state.generation) != self._core.continuity.generation:
            # A node would give it a new epoch when it is next used. The same one each time it is read:
            seed = f"{record.epoch} {state.generation.decode()} {self._core.continuity.generation}"
            record = replace(record, epoch=hashlib.blake2b(seed.encode(), digest_size=5).hexdigest())
        return record

    async def ended(self) -> AsyncIterator[EndedSession]:
        """Yield what is left of each ended session."""
        if self._is_known:
            async for one in self._graves.all():
                yield one

    async def grave(self, key: SessionKey) -> EndedSession | None:
        """Return what is left of an ended session."""
        raw = await self._graves.raw(names.ref_of(key)) if self._is_known else None
        return ended_of(raw) if raw is not None else None

    # --- writing

    async def write(self, session: WholeSession) -> None:
        """Put a session in the place of whatever stands under its key."""
        await self._join()
        key = session.record.key
        record = replace(session.record, ref=names.ref_of(key), run_id=None, version=0)
        await self._core.tell(_notes(self._core.keys, record, session.log))
        words = [word for one in self._operations(record, session) for word in (len(one) - 2, *one)]
        await self._put(key, words)

    async def _put(self, key: SessionKey, words: Sequence[Any] = ()) -> None:
        call = self._core.of(_PUT, names.ref_of(key), *_ALL, args=(names.member(key), *words))
        [is_done] = await self._core.tell([call])
        if not is_done:  # by a chance of 2^-63 for any two sessions
            raise StorageError(f"session {key.session_id} has the reference of another one")

    def _operations(self, record: SessionRecord, session: WholeSession) -> list[list[Any]]:
        state: dict[str, Any] = {
            "r": codec.session_json(record),
            "e": record.epoch,
            "u": names.member(record.key),
            "w": waiting_in(record),
            "v": 1,
            "q": record.seq,
            "g": self._core.continuity.generation,
        }
        found: list[list[Any]] = [["HSET", names.S, *_flat(list(state.items()))]]
        for row in session.log:
            found.append(["XADD", names.LOG, f"{row.last}-0", "a", row.first, "f", row.frames])
            ended_at = row.ended_at or record.last_activity
            found.append(["ZADD", names.ENDS, row.last, f"{row.last}:{ended_at!r}"])
        messages, runs = session.messages, session.runs
        found += _grouped("ZADD", names.MSGS, [(one.position, one.message["id"]) for one in messages])
        found += _grouped("HSET", names.BODIES, [(one.message["id"], codec.message_json(one)) for one in messages])
        found += _grouped("HSET", names.RUNS, [(one.run_id, codec.run_json(one)) for one in runs])
        found += _grouped("HSET", names.BY, [(one.message_id, one.run_id) for one in runs])
        return found

    async def drop(self, key: SessionKey) -> None:
        """Remove a session and leave nothing."""
        await self._join()
        keys, ref, name = self._core.keys, names.ref_of(key), names.member(key)
        mine = keys.user(key.user_id)
        await self._put(key)
        gone: list[tuple[str | bytes, bytes]] = [
            (mine, names.listed(ref, key.session_id)),
            (keys.due, name),
            (keys.ids, name),
            (keys.asking, name),
        ]
        gone += [(keys.queued, names.short(ref)), (keys.collapse, names.short(ref))]
        await self._core.tell([Command(one, ("ZREM", one, member)) for one, member in gone])
        [left] = await self._core.ask([Command(mine, ("ZCARD", mine))])
        if not left:
            await self._core.tell([Command(keys.users, ("ZREM", keys.users, key.user_id.encode()))])

    async def bury(self, ended: Sequence[EndedSession]) -> None:
        """Insert or replace what is left of sessions; each is forgotten when its time is over."""
        await self._join()
        await self._graves.bury(ended)

    async def finish(self) -> None:
        """Count anew what nodes count as they go."""
        await self._join()
        count = Recount(self._core, tombstone_ms=self._tombstone_ms)
        async for key in self.keys():
            record = await self.load(key)
            if isinstance(record, SessionRecord):
                await count.add_session(record)
        async for one in self.ended():
            await count.add_ended(one)
        await count.write()


_ALL: Final = (names.S, names.LOG, names.END, names.OLD, names.MSGS, names.BODIES, names.RUNS, names.BY, names.ENDS)


def _notes(keys: names.Keys, record: SessionRecord, log: Sequence[SaveLog]) -> list[Command]:
    """Return what lists must have before the session is there: they may name what is not, and never lack what is."""
    at, name, short = repr(record.last_activity), names.member(record.key), names.short(record.ref)
    mine, user = keys.user(record.user_id), record.user_id.encode()
    found = [
        Command(mine, ("ZADD", mine, at, names.listed(record.ref, record.session_id))),
        Command(keys.due, ("ZADD", keys.due, at, name)),
        Command(keys.ids, ("ZADD", keys.ids, 0, name)),
        Command(keys.users, ("ZADD", keys.users, "GT", at, user)),
    ]
    if record.pending:
        found += asking_note(keys, record)
    if waiting_in(record):
        found.append(Command(keys.queued, ("ZADD", keys.queued, repr(time.time()), short)))
    if log:
        ended_at = min(row.ended_at or record.last_activity for row in log)
        found.append(Command(keys.collapse, ("ZADD", keys.collapse, repr(ended_at), short)))
    return found


def _rows(record: SessionRecord, entries: Sequence[Any], ends: Sequence[bytes]) -> list[SaveLog]:
    """Return entries of a stream as rows: what follows each other, ended together and is not too much is one."""
    marks = [(int(last), float(ended)) for last, ended in (mark.split(b":", 1) for mark in ends)]
    found: list[SaveLog] = []
    at = 0
    for entry_id, (_, start, _, frames) in entries:
        first, last = int(start), int(entry_id.partition(b"-")[0])
        while at < len(marks) and marks[at][0] < last:
            at += 1
        ended_at = marks[at][1] if at < len(marks) else record.last_activity
        before = found[-1] if found else None
        if (
            before is not None
            and before.last + 1 == first
            and before.ended_at == ended_at
            and len(before.frames) + len(frames) <= _ROW_BYTES
        ):
            found[-1] = SaveLog(record.ref, before.first, last, before.frames + frames, ended_at)
        else:
            found.append(SaveLog(record.ref, first, last, frames, ended_at))
    return found


def _messages(positions: dict[bytes, bytes], bodies: dict[bytes, bytes]) -> list[MessageRecord]:
    found = []
    for message_id, position in positions.items():
        message = codec.readable(codec.message_record, bodies.get(message_id, b""))
        if message.position != int(position):
            raise StorageError(f"message {message_id.decode()} stands in two places", is_defect=True)
        found.append(message)
    return found


def _runs(raw: Sequence[bytes], by: dict[bytes, bytes]) -> list[RunRecord]:
    found: list[RunRecord] = [codec.readable(codec.run_record, one) for one in raw]
    return [run for run in found if by.get(run.message_id.encode()) == run.run_id.encode()]


def _grouped(name: str, key: int, pairs: Sequence[tuple[Any, Any]]) -> list[list[Any]]:
    return [[name, key, *_flat(pairs[at : at + _GROUP])] for at in range(0, len(pairs), _GROUP)]


def _flat(pairs: Sequence[tuple[Any, Any]]) -> list[Any]:
    return [word for pair in pairs for word in pair]


def _pairs(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
