"""Commits: each session's part in one script, all of a batch in one round trip.

A commit whose answer was lost is tried again as it is: every part carries a mark that its session keeps, so a part that
was taken is known and taken no second time. Parts that another node was faster with are refused one by one.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from ...core.ports import (
    Batch,
    Committed,
    CutJournal,
    EndSession,
    Part,
    PurgeTombstones,
    ReplaceLog,
    SessionKey,
    StaleError,
    StorageError,
    TidySearch,
    Write,
)
from . import keys as names
from .commit_script import GAP, OTHER_GENERATION, TAKEN, TAKEN_BEFORE
from .core import RedisCore, as_error
from .plans import Plan, Terms, plan
from .scripts import REPLACE
from .wire import Command, WireError

_log = logging.getLogger("sessionstream.redis")

_PROBE_MS: Final = 60_000


class Commits:
    """The writing half of the storage."""

    def __init__(self, core: RedisCore, *, session_timeout_s: float, tombstone_s: float) -> None:
        self._core = core
        # Sessions are ended by the nodes; that keys go by themselves is for deployments that no node is left of.
        ttl_ms = int((session_timeout_s + 86_400) * 1000) if session_timeout_s else 0
        self._terms = Terms(core.keys, core.node_id, ttl_ms, max(1, int(tombstone_s * 1000)))
        self._tokens = secrets.randbits(32)  # a storage that is made anew must not repeat the marks of the one before
        self._unsure: dict[int, tuple[Part, int]] = {}
        """Parts whose commit was not answered, by identity, and their marks."""

    async def commit(self, batch: Batch) -> Committed:
        """Write what can be written of a batch."""
        tokens = [self._token(part) for part in batch.parts]
        plans, refused = self._planned(batch.parts, tokens)
        others = self._others(batch.writes) if batch.parts or batch.writes else [self.probe_command()]
        try:
            answers, told = await self._exchange(plans, self._wakes(batch, plans), others)
            refused |= _refusals(answers)
        except WireError as error:
            is_uncertain = error.is_sent or any(id(part) in self._unsure for part in batch.parts)
            if is_uncertain:
                self._remember(batch.parts, tokens)
            raise StorageError(str(error), is_uncertain=is_uncertain) from error
        except StorageError:
            self._remember(batch.parts, tokens)
            raise
        self._unsure.clear()
        self._bear_witness(batch.parts, tokens, refused)
        self._judge(told, is_alone=not batch.parts)
        await self._finish(plans, refused, batch, told)
        return Committed(0, refused)

    def _bear_witness(self, parts: Sequence[Part], tokens: Sequence[int], refused: Mapping[int, StorageError]) -> None:
        witness = self._core.witness
        taken = [(part, token) for at, (part, token) in enumerate(zip(parts, tokens, strict=True)) if at not in refused]
        witness.note([(part.record.ref, token, part.version + 1) for part, token in taken])
        for part, _ in taken:
            if part.is_ending and any(isinstance(write, EndSession) for write in part.writes):
                witness.forget(part.record.ref)

    def _planned(self, parts: Sequence[Part], tokens: Sequence[int]) -> tuple[dict[int, Plan], dict[int, StorageError]]:
        plans: dict[int, Plan] = {}
        refused: dict[int, StorageError] = {}
        generation = self._core.continuity.generation
        for index, (part, token) in enumerate(zip(parts, tokens, strict=True)):
            try:
                plans[index] = plan(self._terms, part, token, generation)
            except (TypeError, ValueError, KeyError) as error:
                refused[index] = StorageError(f"it cannot be stored: {error}", is_defect=True)
        return plans, refused

    def _remember(self, parts: Sequence[Part], tokens: Sequence[int]) -> None:
        self._unsure = {id(part): (part, token) for part, token in zip(parts, tokens, strict=True)}

    def probe_command(self) -> Command:
        """Return a small write."""
        key = self._core.keys.probe
        return Command(key, ("SET", key, repr(time.time()), "PX", _PROBE_MS))

    def refreshed(self, key: SessionKey) -> list[Command]:
        """Return what gives a session its whole time once more."""
        ttl_ms = self._terms.session_ttl_ms
        places = self._core.keys.of(names.ref_of(key)) if ttl_ms else ()
        # GT: a session in which a question waits for longer, or for ever, keeps that.
        return [Command(place, ("PEXPIRE", place, ttl_ms, "GT")) for place in places if not place.endswith(":end")]

    def _token(self, part: Part) -> int:
        known = self._unsure.get(id(part))
        if known is not None and known[0] is part:
            return known[1]
        self._tokens += 1
        return self._tokens

    async def _exchange(
        self, plans: dict[int, Plan], wakes: list[Command], others: list[Command]
    ) -> tuple[dict[int, Any], list[Any]]:
        """Send everything; return the answers of the parts, and of the other writes."""
        notes = [command for one in plans.values() for command in one.before]
        commits = [one.commit for one in plans.values()]
        wire = self._core.wire
        if wire.is_cluster:
            # Servers do not wait for each other: what must be noted first, and told last, is a round trip of its own.
            if notes:
                await wire.run(notes)
            answers = await wire.run(commits + others)
            await self._whisper(wakes)
        else:
            answers = (await wire.run(notes + commits + others + wakes))[len(notes) :]
        return dict(zip(plans, answers, strict=False)), answers[len(commits) : len(commits) + len(others)]

    def _wakes(self, batch: Batch, plans: dict[int, Plan]) -> list[Command]:
        """Return the word for other nodes of all parts, one message."""
        news = [
            [part.record.user_id, part.record.session_id, part.version + 1, bool(part.writes)]
            for index, part in enumerate(batch.parts)
            if index in plans
        ]
        return [self.wake(news)] if news else []

    def wake(self, news: Sequence[Sequence[Any]]) -> Command:
        """Return the command that tells other nodes of sessions."""
        channel = self._core.keys.channel
        return Command(channel, ("PUBLISH", channel, orjson.dumps([self._core.node_id, news])))

    # --- after the commit

    async def _finish(
        self, plans: dict[int, Plan], refused: dict[int, StorageError], batch: Batch, told: Sequence[Any]
    ) -> None:
        """Do what can only be done now, and may be lost."""
        commands = [
            command for index, one in plans.items() for command in (one.undo if index in refused else one.after)
        ]
        commands += self._rescheduled(batch.writes, told)
        answers = await self._whisper(commands)
        if answers is None:
            return
        gone = {one.ended for index, one in plans.items() if one.ended is not None and index not in refused}
        users = [user for user in gone if user is not None]
        counts = await self._whisper([_card(self._core.keys.user(user.decode())) for user in users])
        keys = self._core.keys
        done = [user for user, count in zip(users, counts or (), strict=False) if count == 0]
        await self._whisper([Command(keys.users, ("ZREM", keys.users, user)) for user in done])

    async def _whisper(self, commands: Sequence[Command]) -> list[Any] | None:
        """Send what is nice to have."""
        if not commands:
            return []
        try:
            return await self._core.wire.run(commands)
        except WireError as error:
            _log.warning("lists are not up to date: %s", error)
            return None

    # --- writes that belong to no session in memory

    def _others(self, writes: Sequence[Write]) -> list[Command]:
        found: list[Command] = []
        for write in writes:
            if isinstance(write, ReplaceLog):
                row = write.row
                found.append(
                    self._core.of(
                        REPLACE,
                        row.ref,
                        names.S,
                        names.LOG,
                        names.OLD,
                        names.ENDS,
                        args=(row.first, row.last, row.frames, write.keep_bytes),
                    )
                )
            elif not isinstance(write, (CutJournal, TidySearch, PurgeTombstones)):  # there is nothing of theirs here
                raise StorageError(f"{type(write).__name__} must stand in a part", is_defect=True)
        return found

    def _rescheduled(self, writes: Sequence[Write], told: Sequence[Any]) -> list[Command]:
        """Return when each collapsed session is to be looked at next."""
        rows = [write.row for write in writes if isinstance(write, ReplaceLog)]
        key, found = self._core.keys.collapse, []
        for row, mark in zip(rows, told, strict=False):
            if isinstance(mark, bytes) and mark:
                ended = mark.partition(b":")[2]
                found.append(Command(key, ("ZADD", key, "XX", ended, names.short(row.ref))))
        return found

    def _judge(self, told: Sequence[Any], *, is_alone: bool) -> None:
        for answer in told:
            if isinstance(answer, Exception):
                error = as_error(answer)
                if is_alone:
                    raise error
                _log.warning("a write was put off: %s", error)  # the parts were taken; upkeep comes again


def _refusals(answers: Mapping[int, Any]) -> dict[int, StorageError]:
    """Return why parts were not taken. Raises StorageError when that is not known of one."""
    refused: dict[int, StorageError] = {}
    for index, answer in answers.items():
        if answer in (TAKEN, TAKEN_BEFORE):
            continue
        refused[index] = _refusal(answer)
        if refused[index].is_uncertain:
            raise refused[index]
    return refused


def _refusal(answer: Any) -> StorageError:
    if isinstance(answer, Exception):
        return as_error(answer)
    if answer == GAP:
        return StorageError("its frames do not follow the log", is_defect=True)
    return StaleError("it is of another generation" if answer == OTHER_GENERATION else "another node was faster")


def _card(key: bytes) -> Command:
    return Command(key, ("ZCARD", key))
