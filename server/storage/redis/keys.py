"""Every key of the Redis storage, in one place.

All keys begin with the deployment's prefix. What belongs to one session carries the same hash tag, so a cluster keeps
it in one slot and one script may touch all of it; every other key stands alone and is only ever touched by itself.
A session's reference is a hash of owner and id, so it is known without being looked up.

    <p>:{<ref>}:s       hash     the record and where it stands (see `scripts`)
    <p>:{<ref>}:log     stream   frames, one entry a commit, its id `<last seq>-0`
    <p>:{<ref>}:end     string   the tombstone
    <p>:{<ref>}:old     stream   collapsed frames
    <p>:{<ref>}:msgs    zset     message ids by position
    <p>:{<ref>}:bodies  hash     messages by id
    <p>:{<ref>}:runs    hash     runs by id
    <p>:{<ref>}:by      hash     run ids by the message that began them
    <p>:{<ref>}:ends    zset     which parts of the log belong to ended runs, and since when

    <p>:due             zset     all sessions by last use
    <p>:ids             zset     all sessions by id
    <p>:user:<user>     zset     a user's sessions by last activity
    <p>:users           zset     users by last activity
    <p>:queued          zset     sessions in which messages wait, by when they were queued
    <p>:asking          zset     sessions whose questions wait, by when their time is over
    <p>:collapse        zset     sessions by the end of the oldest run that was not collapsed
    <p>:nodes           set      nodes that live, or may have left runs open
    <p>:node:{<id>}:lease, :runs string that lives as long as the node; set of sessions in which it may have a run
    <p>:stats[:<user>]  hash     counters
    <p>:agents[:<user>], <p>:sites[:<user>] zsets of how many sessions live by agent, and by the site they came from
    <p>:created[:<user>], <p>:expired[:<user>] zsets of the last day
    <p>:generation      hash     how often data was lost, and the servers that are known to have it all
    <p>:probe           string   written by a probe
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from ...core.ports import SessionKey

PREFIX: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)

S: Final = 1
LOG: Final = 2
END: Final = 3
OLD: Final = 4
MSGS: Final = 5
BODIES: Final = 6
RUNS: Final = 7
BY: Final = 8
ENDS: Final = 9
"""Where each key of a session stands in the KEYS of a script that gets them all."""

_PARTS: Final = ("s", "log", "end", "old", "msgs", "bodies", "runs", "by", "ends")


def ref_of(key: SessionKey) -> int:
    """Return the reference of a session: 63 bits of a hash."""
    digest = hashlib.blake2b(f"{key.session_id}\0{key.user_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


def member(key: SessionKey) -> bytes:
    """Return a session's name in the lists of all sessions: sorted by its id."""
    return f"{key.session_id}\0{key.user_id}".encode()


def key_of(name: bytes) -> SessionKey:
    """Return the session of a `member`."""
    session_id, _, user_id = name.decode().partition("\0")
    return SessionKey(user_id, session_id)


def listed(ref: int, session_id: str) -> bytes:
    """Return a session's name in its user's list: sorted by reference."""
    return f"{ref:016x}{session_id}".encode()


def listed_ref(name: bytes) -> int:
    """Return the reference in a `listed` or `short` name."""
    return int(name[:16], 16)


def short(ref: int) -> bytes:
    """Return a reference as a name."""
    return b"%016x" % ref


class Keys:
    """The keys of one deployment.

    Raises:
        ValueError: the prefix could be taken for something else.
    """

    def __init__(self, prefix: str, database: int) -> None:
        if not PREFIX.fullmatch(prefix):
            raise ValueError(f"the prefix of Redis keys must be letters, digits, '.', '_' or '-', not {prefix!r}")
        self.prefix = prefix
        self.due = f"{prefix}:due"
        self.ids = f"{prefix}:ids"
        self.users = f"{prefix}:users"
        self.queued = f"{prefix}:queued"
        self.asking = f"{prefix}:asking"
        self.collapse = f"{prefix}:collapse"
        self.nodes = f"{prefix}:nodes"
        self.generation = f"{prefix}:generation"
        self.probe = f"{prefix}:probe"
        # Channels know nothing of databases.
        self.channel = f"{prefix}:wake:{database}"

    def of(self, ref: int, *numbers: int) -> tuple[str, ...]:
        """Return some of a session's keys, all of them when none is named."""
        head = f"{self.prefix}:{{{ref:016x}}}:"
        return tuple(head + _PARTS[number - 1] for number in numbers) if numbers else tuple(head + p for p in _PARTS)

    def user(self, user_id: str) -> bytes:
        """Return the key of a user's list."""
        return f"{self.prefix}:user:{user_id}".encode()

    def stats(self, user_id: str | None) -> bytes:
        """Return the key of the counters of a user, or of all."""
        return self._counted("stats", user_id)

    def agents(self, user_id: str | None) -> bytes:
        """Return the key of how many sessions live by agent."""
        return self._counted("agents", user_id)

    def sites(self, user_id: str | None) -> bytes:
        """Return the key of how many sessions live by the site they came from."""
        return self._counted("sites", user_id)

    def created(self, user_id: str | None) -> bytes:
        """Return the key of what was created within a day."""
        return self._counted("created", user_id)

    def expired(self, user_id: str | None) -> bytes:
        """Return the key of what expired within a day."""
        return self._counted("expired", user_id)

    def lease(self, node_id: str) -> str:
        """Return the key that lives as long as a node does."""
        return f"{self.prefix}:node:{{{node_id}}}:lease"

    def runs(self, node_id: str) -> str:
        """Return the key of the sessions in which a node may have a run."""
        return f"{self.prefix}:node:{{{node_id}}}:runs"

    def _counted(self, name: str, user_id: str | None) -> bytes:
        return (f"{self.prefix}:{name}" if user_id is None else f"{self.prefix}:{name}:{user_id}").encode()
