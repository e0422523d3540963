"""The comparison: every session of both sides is read and hashed, and so is what is left of those that ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from scripts.migration.move import each, read_content, record_of
from scripts.migration.progress import Progress
from server.core.ports import SessionKey, Tombstone
from server.storage.moving import Content, Movable

_SHOWN: Final = 20


@dataclass(slots=True)
class Side:
    """What one side has. `digest` is the sum of all hashes: the order of sessions does not matter."""

    sessions: int = 0
    messages: int = 0
    runs: int = 0
    frames: int = 0
    ended: int = 0
    digest: int = 0

    def add(self, one: Content) -> None:
        """Add a session."""
        self.sessions += 1
        self.messages += one.messages
        self.runs += one.runs
        self.frames += one.frames
        self.digest = (self.digest + int.from_bytes(one.digest)) % (1 << 256)


@dataclass(slots=True)
class Comparison:
    """Both sides, and how many things differ, with the first of them named."""

    source: Side = field(default_factory=Side)
    target: Side = field(default_factory=Side)
    different: int = 0
    named: list[str] = field(default_factory=list)

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs."""
        return not self.different and self.source == self.target

    def differs(self, what: str) -> None:
        """Note a difference."""
        self.different += 1
        if len(self.named) < _SHOWN:
            self.named.append(what)

    def report(self) -> str:
        """Return what both sides have, for people."""
        lines = [f"{'':17}{'source':>20}{'target':>20}"]
        for name, title in (
            ("sessions", "sessions"),
            ("messages", "messages"),
            ("runs", "runs"),
            ("frames", "log frames"),
            ("ended", "ended sessions"),
        ):
            lines.append(f"{title:17}{getattr(self.source, name):>20,}{getattr(self.target, name):>20,}")
        hashes = [f"{side.digest:064x}"[:16] for side in (self.source, self.target)]
        lines.append(f"{'content, sha256':17}{hashes[0]:>20}{hashes[1]:>20}")
        lines += [f"DIFFERENT: {one}" for one in self.named]
        if self.different > len(self.named):
            lines.append(f"DIFFERENT: {self.different - len(self.named)} more")
        lines.append("equal" if self.is_equal else "NOT EQUAL: call it again to write anew what differs")
        return "\n".join(lines)


async def compare(source: Movable, target: Movable) -> Comparison:
    """Read both sides whole and compare them."""
    found = Comparison()
    progress = Progress("comparing", await source.count())

    async def look(key: SessionKey) -> None:
        _, wanted = await read_content(source, key)
        _, copied = await read_content(target, key)
        for side, one in ((found.source, wanted), (found.target, copied)):
            if one is not None:
                side.add(one)
        if wanted is None:
            found.differs(f"session {key.session_id} of {key.user_id} cannot be read in the source")
        elif wanted != copied:
            found.differs(f"session {key.session_id} of {key.user_id}")
        progress.step()

    try:
        await each(source.keys(), look)
    finally:
        progress.close()
    await _compare_foreign(source, target, found)
    await _compare_ended(source, target, found)
    return found


async def _compare_foreign(source: Movable, target: Movable, found: Comparison) -> None:
    async for key in target.keys():
        if await record_of(source, key) is None:
            found.target.sessions += 1
            found.differs(f"session {key.session_id} of {key.user_id} is in the target only")


async def _compare_ended(source: Movable, target: Movable, found: Comparison) -> None:
    async for one in source.ended():
        if not isinstance(await source.load(one.key), Tombstone):
            continue
        found.source.ended += 1
        left = await target.grave(one.key)
        found.target.ended += left is not None
        if left != one:
            found.differs(f"what is left of session {one.key.session_id} of {one.key.user_id}")
