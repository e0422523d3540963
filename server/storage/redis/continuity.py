"""Continuity: whether Redis still has all that was acknowledged, and what follows when it may not.

Redis names itself anew at each start. A server that is met for the first time has lost nothing if it was not a replica
before and syncs its append-only file with each answer. If it does that once a second only, nodes that live find all
that they were told (`Witness`), or they do not; a node that has just begun cannot say. Otherwise what the server holds
may be older than what nodes and clients have seen, and the deployment's generation grows. A session of another
generation gets a new epoch before anything is read from or written to it: its clients get snapshots of what is left,
not a log that grew anew under the same cursors.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Final

import anyio

from ...ids import new_epoch
from . import keys as names
from .codec import readable, renamed, run_record
from .keys import Keys
from .scripts import GENERATION, RENEW
from .wire import Address, Command, Info, Wire, WireError
from .witness import Witness

_log = logging.getLogger("sessionstream.redis")

_NO_REPLICATION: Final = "0" * 40
_ATTEMPTS: Final = 5


class Continuity:
    """What one node knows of the servers and of the generation."""

    def __init__(self, wire: Wire, keys: Keys, witness: Witness) -> None:
        self._wire = wire
        self._witness = witness
        self._keys = keys
        self._lock = anyio.Lock()
        self._has_warned = False
        self.generation = 0
        """0 before the first look."""

    async def check(self) -> None:
        """Look at every server and find the generation; know them from then on.

        Raises:
            WireError: one of them does not answer.
        """
        async with self._lock:
            addresses = await self._wire.primaries()
            infos = [await self._wire.info(address) for address in addresses]
            if any(info.get("role") != "master" for info in infos):
                raise WireError("this redis is a replica: nothing can be written to it", is_sent=False)
            self._warn(infos)
            facts: list[str] = []
            for address, info in zip(addresses, infos, strict=True):
                facts += [info.get("run_id", ""), await self._claim(address, info)]
            call = GENERATION.call([self._keys.generation], self.generation, *facts)
            [found] = await self._wire.run([Command(self._keys.generation, call, GENERATION)], is_guarded=False)
            if isinstance(found, Exception):
                raise WireError(f"redis refuses to be looked at: {found}", is_sent=False)
            generation, is_lost = found
            if is_lost:
                _log.warning("redis may have lost data: clients will be given snapshots of what is left")
            self.generation = int(generation)
            self._wire.known.update(info.get("run_id", "") for info in infos)

    async def _claim(self, address: Address, info: Info) -> str:
        """Say whether a server has all that its name ever acknowledged: all, lost, unsure."""
        if info.get("run_id", "") in self._wire.known:
            return "all"
        was_replica = info.get("master_replid2", _NO_REPLICATION) != _NO_REPLICATION
        if info.get("aof_enabled") != "1" or was_replica:
            return "unsure"
        if await self._wire.setting(address, "appendfsync") == b"always":
            return "all"
        if not self.generation:
            return "unsure"
        return "lost" if await self._witness.misses_something() else "all"

    async def renew(self, ref: int) -> None:
        """Give a session of another generation a new epoch; of its log only the open run is kept."""
        keys = self._keys.of(ref, names.S, names.LOG, names.OLD, names.ENDS, names.RUNS)
        for _ in range(_ATTEMPTS):
            [fields] = await self._wire.read([Command(keys[0], ("HMGET", keys[0], "r", "v", "g", "e", "o"))])
            if isinstance(fields, Exception):
                raise WireError(str(fields), is_sent=False)
            raw, version, generation, epoch, run_id = fields
            if raw is None or int(generation) == self.generation:
                return
            fresh = new_epoch()
            entries = await self._open_entries(keys, run_id, epoch.decode(), fresh)
            record = readable(partial(renamed, epoch=fresh), raw)
            call = RENEW.call(keys[:4], version, self.generation, fresh, record, *entries)
            [is_done] = await self._wire.run([Command(keys[0], call, RENEW)])
            if is_done == 1:
                return

    async def _open_entries(self, keys: Sequence[str], run_id: bytes | None, old: str, fresh: str) -> list[str | bytes]:
        """Return what the log has of the open run, under the new epoch: first, last and frames of each entry."""
        if run_id is None:
            return []
        raw, entries = await self._wire.read(
            [Command(keys[4], ("HGET", keys[4], run_id)), Command(keys[1], ("XRANGE", keys[1], "-", "+"))]
        )
        if raw is None or isinstance(entries, Exception):
            return []
        first = readable(run_record, raw).first
        head, new_head = (f"\n\nid: {epoch}-".encode() for epoch in (old, fresh))
        found: list[str | bytes] = []
        for entry_id, (_, start, _, frames) in entries:
            last = entry_id.partition(b"-")[0]
            if int(last) >= first:
                # JSON has no bare line feed: only the head of a frame can follow two of them.
                found += [start, last, (b"\n\n" + frames).replace(head, new_head)[2:]]
        return found

    def _warn(self, infos: Sequence[Info]) -> None:
        if self._has_warned:
            return
        self._has_warned = True
        if any(info.get("aof_enabled") != "1" for info in infos):
            _log.warning("redis keeps no append-only file: what was acknowledged may be lost when it restarts")
        policies = {info.get("maxmemory_policy", "noeviction") for info in infos} - {"noeviction"}
        if policies:
            _log.warning("redis may evict sessions (maxmemory-policy %s): set it to noeviction", policies.pop())
