"""What all halves of the Redis storage stand on: the wire, the keys, the generation, and errors of the port."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from redis.exceptions import OutOfMemoryError, ResponseError

from ...core.ports import SessionKey, SessionRecord, StorageError
from . import keys as names
from .codec import readable, session_record
from .continuity import Continuity
from .keys import Keys
from .script import Script
from .scripts import DROP
from .wire import Command, Wire, WireError
from .witness import Witness


class RedisCore:
    """One node's way into one deployment."""

    def __init__(self, url: str, *, prefix: str, node_id: str, timeout_s: float) -> None:
        self.wire = Wire(url, timeout_s=timeout_s)
        self.keys = Keys(prefix, self.wire.database)
        self.witness = Witness(self.wire, self.keys, node_id)
        self.continuity = Continuity(self.wire, self.keys, self.witness)
        self.wire.on_stranger = self.continuity.check
        self.node_id = node_id
        self.timeout_s = timeout_s
        # What was noted for a commit in flight must not be taken for left over.
        self.grace_s = max(10.0, 3 * timeout_s)
        self.is_closed = False

    def command(self, script: Script, keys: Sequence[Any], *args: Any) -> Command:
        """Return the command that runs a script."""
        return Command(keys[0], script.call(keys, *args), script)

    def of(self, script: Script, ref: int, *numbers: int, args: Sequence[Any] = ()) -> Command:
        """Return the command that runs a script on keys of one session."""
        return self.command(script, self.keys.of(ref, *numbers), *args)

    async def ask(self, commands: Sequence[Command], *, is_urgent: bool = False) -> list[Any]:
        """Read; every answer must be one. What is urgent does not wait for other reads.

        Raises:
            StorageError: Redis does not answer, or refuses.
        """
        return await self._answers(commands, partial(self.wire.read, is_urgent=is_urgent))

    async def tell(self, commands: Sequence[Command]) -> list[Any]:
        """Change something that may be changed twice; every answer must be one."""
        return await self._answers(commands, self.wire.run)

    async def _answers(
        self, commands: Sequence[Command], send: Callable[[Sequence[Command]], Awaitable[list[Any]]]
    ) -> list[Any]:
        if self.is_closed:
            raise StorageError("the storage is closed")
        if not commands:
            return []
        try:
            answers = await send(commands)
        except WireError as error:
            raise StorageError(str(error)) from error
        for answer in answers:
            if isinstance(answer, Exception):
                raise as_error(answer) from answer
        return answers

    async def renew(self, ref: int) -> None:
        """Bring a session of another generation to this one. Raises StorageError."""
        try:
            await self.continuity.check()  # it may be this node that has not heard
            await self.continuity.renew(ref)
        except WireError as error:
            raise StorageError(str(error)) from error

    async def records(self, keys: Sequence[SessionKey]) -> list[SessionRecord | None]:
        """Return the records of sessions, None for those that are gone."""
        found = await self.ask([self.record_command(names.ref_of(key)) for key in keys])
        return [_record(key, fields) for key, fields in zip(keys, found, strict=True)]

    def record_command(self, ref: int) -> Command:
        """Return the command that reads record, version, seq and generation."""
        [key] = self.keys.of(ref, names.S)
        return Command(key, ("HMGET", key, "r", "v", "q", "g"))

    async def drop(self, key: str | bytes, seen: Sequence[tuple[bytes, float]]) -> int:
        """Remove from a sorted set what is left over, unless somebody has noted it anew since; return how many."""
        if not seen:
            return 0
        args = [word for name, score in seen for word in (name, repr(score))]
        [dropped] = await self.tell([self.command(DROP, [key], *args)])
        return int(dropped)


def as_error(answer: Exception) -> StorageError:
    """Return what a refusal by Redis means: no room, something wrong with the command, or with the server for now."""
    text = str(answer)
    if isinstance(answer, OutOfMemoryError):
        return StorageError("redis is full", is_full=True)
    kind = text.partition(" ")[0]
    if type(answer) is ResponseError and (kind == "WRONGTYPE" or not kind.isupper()):
        return StorageError(f"redis: {text}", is_defect=True)
    return StorageError(f"redis: {text}", is_uncertain=True)


def _record(key: SessionKey, fields: Sequence[bytes | None]) -> SessionRecord | None:
    raw, version, seq, _ = fields
    if raw is None or version is None or seq is None:
        return None
    record: SessionRecord = readable(lambda raw: session_record(raw, version, seq), raw)
    return record if record.key == key else None
