"""Sharing: what nodes on one Redis know of each other, and who may end what."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, Literal

from ...core.ports import SessionKey, StorageError, Tombstone
from ...core.storage import Change, Mark, Wake
from ..slices import tail
from . import codec
from . import keys as names
from .commits import Commits
from .core import RedisCore
from .scripts import CHANGES, DIRECT, FORGET, HOLD, SEIZE
from .wakes import listen
from .wire import Command

_MARKS_AT_ONCE: Final = 200
_MOST_FRAMES: Final = 8 << 20  # who is farther behind takes the session up anew
_QUEUED_AT_ONCE: Final = 1000

_News = Change | Tombstone | Literal["same", "absent"]


class RedisSharing:
    """The other nodes of one storage."""

    def __init__(self, core: RedisCore, commits: Commits) -> None:
        self._core = core
        self._commits = commits
        self.has_lease = False

    @property
    def node_id(self) -> str:
        """This process."""
        return self._core.node_id

    # --- what others committed

    async def changes(self, marks: Sequence[Mark]) -> Sequence[_News]:
        """Return what happened since each mark."""
        found: list[_News] = []
        for at in range(0, len(marks), _MARKS_AT_ONCE):
            group = marks[at : at + _MARKS_AT_ONCE]
            answers = await self._core.ask([self._command(mark) for mark in group], is_urgent=True)
            for mark, answer in zip(group, answers, strict=True):
                found.append(await self._news(mark, answer))
        return found

    def _command(self, mark: Mark) -> Command:
        seq = "" if mark.seq is None else mark.seq
        generation = self._core.continuity.generation
        args = (mark.version, mark.epoch, seq, mark.run_id or "", generation, _MOST_FRAMES)
        return self._core.of(CHANGES, mark.ref, names.S, names.LOG, names.END, names.RUNS, args=args)

    async def _news(self, mark: Mark, answer: Sequence[Any]) -> _News:
        if answer[0] == b"other":
            await self._core.renew(mark.ref)
            [answer] = await self._core.ask([self._command(mark)], is_urgent=True)
            if answer[0] == b"other":
                raise StorageError("a session is renewed by several nodes at once")
        if answer[0] == b"same":
            return "same"
        if answer[0] == b"absent":
            return "absent"
        if answer[0] == b"ended":
            return codec.tombstone(answer[1])
        _, raw, version, seq, fence, node_id, frames, run, ended, after = answer
        record = codec.readable(lambda raw: codec.session_record(raw, version, seq), raw)
        return Change(
            record=codec.require_key(record, mark.key),
            run=codec.readable(codec.run_record, run) if run is not None else None,
            fence=int(fence or 0),
            node_id=(node_id or b"").decode(),
            frames=None if frames is None else _joined(frames, int(after)),
            ended=codec.readable(codec.run_record, ended) if ended is not None else None,
        )

    def wakes(self) -> AsyncIterator[Sequence[Wake]]:
        """Yield word of other nodes' commits as it comes."""
        return listen(self._core)

    # --- who may commit

    async def seize(self, ref: int, run_id: str) -> bool:
        """Take an open run from whoever has it."""
        mine = self._core.keys.runs(self.node_id)
        nodes = self._core.keys.nodes
        # Noted first: a node that dies right after must not leave a run that nobody looks for.
        await self._core.tell([self._direct("SADD", mine, names.short(ref)), self._direct("SADD", nodes, self.node_id)])
        [taken] = await self._core.tell([self._core.of(SEIZE, ref, names.S, args=(run_id, self.node_id))])
        if taken is None:
            return False
        version, name, holder = taken
        key = names.key_of(name)
        calls = [self._commits.wake([[key.user_id, key.session_id, int(version), False]])]
        if holder.decode() != self.node_id:
            theirs = self._core.keys.runs(holder.decode())
            calls.append(Command(theirs, ("SREM", theirs, names.short(ref))))
        await self._core.tell(calls)
        return True

    async def hold(self, ref: int, seconds: float) -> bool:
        """Let no other node commit to a session for so long, or until this one has; False when another has it."""
        [held] = await self._core.tell([self._core.of(HOLD, ref, names.S, args=(self.node_id, int(seconds * 1000)))])
        return bool(held)

    def _direct(self, name: str, key: str, *args: Any) -> Command:
        """Return a command that is carried out also when memory is full: who may stop and who lives must be known."""
        return self._core.command(DIRECT, [key], name, *args)

    # --- who lives

    async def renew_lease(self, ttl_s: float) -> None:
        """Say that this node lives, for as long as that."""
        keys = self._core.keys
        lease = keys.lease(self.node_id)
        self.has_lease = True
        await self._core.tell(
            [
                self._direct("SADD", keys.nodes, self.node_id),
                self._direct("SET", lease, "1", "PX", max(1, int(ttl_s * 1000))),
            ]
        )

    async def drop_lease(self) -> None:
        """Say that this node has left; a run that it left open after all is found by the others."""
        keys = self._core.keys
        lease, runs = keys.lease(self.node_id), keys.runs(self.node_id)
        _, left = await self._core.tell([Command(lease, ("DEL", lease)), Command(runs, ("SCARD", runs))])
        self.has_lease = False
        if not left:
            await self._core.tell([Command(keys.nodes, ("SREM", keys.nodes, self.node_id))])

    async def held(self) -> Sequence[SessionKey]:
        """Return the sessions in which this node may have a run open."""
        return await self._open_on(self.node_id)

    async def lapsed(self) -> Mapping[str, Sequence[SessionKey]]:
        """Return the nodes whose lease is over, each with the sessions in which it may have left a run open."""
        keys = self._core.keys
        [nodes] = await self._core.ask([Command(keys.nodes, ("SMEMBERS", keys.nodes))])
        others = sorted(name.decode() for name in nodes)
        leases = [keys.lease(node_id) for node_id in others]
        living = await self._core.ask([Command(lease, ("EXISTS", lease)) for lease in leases])
        dead = [node_id for node_id, lives in zip(others, living, strict=True) if not lives]
        return {node_id: await self._open_on(node_id) for node_id in dead if node_id != self.node_id}

    async def _open_on(self, node_id: str) -> list[SessionKey]:
        runs = self._core.keys.runs(node_id)
        [found] = await self._core.ask([Command(runs, ("SMEMBERS", runs))])
        refs = [names.listed_ref(name) for name in found]
        states = await self._states(refs)
        return sorted(names.key_of(name) for name, _, holder in states if name is not None and holder == node_id)

    async def forget_node(self, node_id: str) -> None:
        """Forget a node whose lease is over and whose runs are ended."""
        keys = self._core.keys
        lease, runs = keys.lease(node_id), keys.runs(node_id)
        [is_dead] = await self._core.tell([self._core.command(FORGET, [lease, runs])])
        if is_dead:
            await self._core.tell([Command(keys.nodes, ("SREM", keys.nodes, node_id))])

    # --- what waits, what is in use

    async def waiting(self) -> Sequence[SessionKey]:
        """Return sessions in which messages wait."""
        key = self._core.keys.queued
        [found] = await self._core.ask([Command(key, ("ZRANGE", key, 0, _QUEUED_AT_ONCE - 1, "WITHSCORES"))])
        seen = [(name, float(score)) for name, score in zip(found[::2], found[1::2], strict=True)]
        states = await self._states([names.listed_ref(name) for name, _ in seen])
        before = time.time() - self._core.grace_s
        done = [one for one, (_, waits, _) in zip(seen, states, strict=True) if not waits and one[1] < before]
        await self._core.drop(key, done)
        return [names.key_of(name) for name, waits, _ in states if name is not None and waits]

    async def _states(self, refs: Sequence[int]) -> list[tuple[bytes | None, int, str | None]]:
        """Return of each session its member name, how many messages wait, and the node that has its open run."""
        places = [self._core.keys.of(ref, names.S)[0] for ref in refs]
        found = await self._core.ask([Command(place, ("HMGET", place, "u", "w", "n")) for place in places])
        return [(name, int(waits or 0), node.decode() if node is not None else None) for name, waits, node in found]

    async def keep(self, keys: Sequence[SessionKey]) -> None:
        """Count these sessions as in use now."""
        due = self._core.keys.due
        now = repr(time.time())
        for at in range(0, len(keys), _MARKS_AT_ONCE):
            group = keys[at : at + _MARKS_AT_ONCE]
            calls = [Command(due, ("ZADD", due, "XX", "GT", now, names.member(key))) for key in group]
            await self._core.tell(calls + [call for key in group for call in self._commits.refreshed(key)])


def _joined(frames: Sequence[bytes], after: int) -> bytes | None:
    """Return the frames after a position; the first entry may begin before it."""
    if not frames:
        return b""
    first = tail(int(frames[0]), frames[1], after)
    return None if first is None else b"".join((first, *frames[3::2]))
