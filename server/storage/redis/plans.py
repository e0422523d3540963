"""Plans: what one part of a commit comes to in Redis.

Lists of all sessions live elsewhere than the session, so they cannot change in the same step: what a list must have is
noted before the commit, what it may forget afterwards. So a list may name what is not there (whoever reads it drops
that), but never lacks what is, except that a node died between a commit and its counters.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from ...core.events import cut_frames, seq_of
from ...core.ports import (
    ClearMessages,
    EndSession,
    Part,
    SaveLog,
    SaveMessages,
    SaveRun,
    SaveSession,
    SessionRecord,
    Write,
)
from . import codec
from . import keys as names
from .commit_script import COMMIT, COMMIT_END
from .keys import Keys
from .scripts import DIRECT
from .wire import Command

DAY_S: Final = 86_400
_GROUP: Final = 500  # Lua takes some thousand values at once


class Terms(NamedTuple):
    """What holds for every commit of a node."""

    keys: Keys
    node_id: str
    session_ttl_ms: int
    """0 when sessions do not expire."""
    tombstone_ms: int


@dataclass(slots=True)
class Plan:
    """The commands of one part."""

    commit: Command
    before: list[Command] = field(default_factory=list)
    after: list[Command] = field(default_factory=list)
    """When it was taken."""
    undo: list[Command] = field(default_factory=list)
    """When it was not."""
    ended: bytes | None = None
    """The member name of the user whose session ended."""


def plan(terms: Terms, part: Part, token: int, generation: int) -> Plan:
    """Return the commands of a part.

    Raises:
        TypeError, ValueError: something in it cannot be stored.
    """
    if part.frames and not part.writes:
        return Plan(_frames_only(terms, part, token, generation))
    made = Plan(_commit(terms, part, token, generation))
    record = part.record
    burial = next((write for write in part.writes if isinstance(write, EndSession)), None)
    if burial is not None:
        made.after += _burial_notes(terms, part, burial)
        made.ended = record.user_id.encode()
        return made
    key, ref = names.member(record.key), record.ref
    is_new = part.version == 0
    made.before += _list_notes(terms, part, key, is_new=is_new)
    opens = record.run_id is not None and (is_new or record.run_id != part.before.run_id)
    mine = terms.keys.runs(terms.node_id)
    if opens:
        made.before += [
            Command(mine, ("SADD", mine, names.short(ref))),
            Command(terms.keys.nodes, ("SADD", terms.keys.nodes, terms.node_id)),
        ]
    if record.run_id is None and part.before.run_id is not None:
        made.after.append(Command(mine, ("SREM", mine, names.short(ref))))
    elif opens and part.before.run_id is None:
        made.undo.append(Command(mine, ("SREM", mine, names.short(ref))))
    made.after += _counts(terms, record, part.before, is_new=is_new)
    if part.is_ending:
        made.before = [_even_when_full(command) for command in made.before]
        made.after = [_even_when_full(command) for command in made.after]
    return made


# --- the session itself


def _frames_only(terms: Terms, part: Part, token: int, generation: int) -> Command:
    """The way of a token: nothing but frames."""
    keys = terms.keys.of(part.record.ref, names.S, names.LOG)
    first = seq_of(part.frames[0])
    last = first + len(part.frames) - 1
    script = COMMIT_END if part.is_ending else COMMIT
    call = script.call(
        keys,
        terms.node_id,
        token,
        part.version,
        part.fence,
        generation,
        first,
        last,
        first,
        b"".join(part.frames),
        "",
        terms.session_ttl_ms,
        "",
        0,
        0,
    )
    return Command(keys[0], call, script)


def _commit(terms: Terms, part: Part, token: int, generation: int) -> Command:
    keys = terms.keys.of(part.record.ref)
    first = last = start = 0
    frames = b"".join(part.frames)
    if part.frames:
        first = start = seq_of(part.frames[0])
        last = first + len(part.frames) - 1
    grave, grave_ms, operations = "", 0, []
    for write in part.writes:
        if isinstance(write, EndSession):
            grave = codec.grave(write.record, write.tombstone, terms.node_id, token)
            grave_ms = terms.tombstone_ms
        elif isinstance(write, ClearMessages) and first <= write.through < last:
            frames, start = frames[len(cut_frames(frames, write.through)) :], write.through + 1
        operations += _operations(write, part, last)
    script = COMMIT_END if part.is_ending or grave else COMMIT
    call = script.call(
        keys,
        terms.node_id,
        token,
        part.version,
        part.fence,
        generation,
        first,
        last,
        start,
        frames,
        _turn(part),
        _ttl_ms(terms, part.record),
        grave,
        grave_ms,
        part.record.seq,
        *operations,
    )
    return Command(keys[0], call, script)


def _turn(part: Part) -> str:
    before, now = part.before.run_id if part.version else None, part.record.run_id
    if before == now:
        return ""
    return "-" if now is None else now


def _operations(write: Write, part: Part, last: int) -> list[Any]:
    handler = _HANDLERS.get(type(write))
    if handler is None:
        raise TypeError(f"{type(write).__name__} belongs to no session")
    ref = write.record.ref if isinstance(write, (SaveSession, EndSession)) else write.ref  # type: ignore[union-attr]
    if ref != part.record.ref:
        raise ValueError("a part writes to another session")
    return [word for operation in handler(write, last) for word in (len(operation) - 2, *operation)]


def _save_session(write: SaveSession, last: int) -> list[list[Any]]:
    record = write.record
    raw, name = codec.session_json(record), names.member(record.key)
    return [["HSET", names.S, "r", raw, "e", record.epoch, "u", name, "w", waiting_in(record)]]


def waiting_in(record: SessionRecord) -> int:
    """Return how many messages could be answered next: none while a question waits for its answer."""
    return 0 if record.pending else len(record.queue)


def _save_run(write: SaveRun, last: int) -> list[list[Any]]:
    run = write.run
    return [
        ["HSET", names.RUNS, run.run_id, codec.run_json(run)],
        ["HSET", names.BY, run.message_id, run.run_id],
    ]


def _save_messages(write: SaveMessages, last: int) -> list[list[Any]]:
    found: list[list[Any]] = []
    for at in range(0, len(write.messages), _GROUP):
        group = write.messages[at : at + _GROUP]
        places = [word for one in group for word in (one.position, one.message["id"])]
        bodies = [word for one in group for word in (one.message["id"], codec.message_json(one))]
        found += [["ZADD", names.MSGS, *places], ["HSET", names.BODIES, *bodies]]
    return found


def _save_log(write: SaveLog, last: int) -> list[list[Any]]:
    # Mostly its frames stand in the log already, or come with this very part: then only its end is noted.
    frames = b"" if last and write.last <= last else write.frames
    ended = "" if write.ended_at is None else repr(write.ended_at)
    return [["log", names.LOG, write.first, write.last, ended, frames]]


def _clear_messages(write: ClearMessages, last: int) -> list[list[Any]]:
    return [["clear", names.LOG, write.through]]


_HANDLERS: Final[dict[type[Write], Callable[[Any, int], list[list[Any]]]]] = {
    SaveSession: _save_session,
    SaveRun: _save_run,
    SaveMessages: _save_messages,
    SaveLog: _save_log,
    ClearMessages: _clear_messages,
    EndSession: lambda write, last: [],
}


# --- lists and counters


def _list_notes(terms: Terms, part: Part, key: bytes, *, is_new: bool) -> list[Command]:
    keys, record, now = terms.keys, part.record, time.time()
    found: list[Command] = []
    if is_new or record.last_activity != part.before.last_activity:
        at, mine, user = repr(record.last_activity), keys.user(record.user_id), record.user_id.encode()
        found = [
            Command(mine, ("ZADD", mine, at, names.listed(record.ref, record.session_id))),
            Command(keys.due, ("ZADD", keys.due, "GT", at, key)),
            Command(keys.ids, ("ZADD", keys.ids, 0, key)),
            Command(keys.users, ("ZADD", keys.users, "GT", at, user)),
        ]
    queue = (record.queue, record.pending)
    if waiting_in(record) and (is_new or queue != (part.before.queue, part.before.pending)):
        found.append(Command(keys.queued, ("ZADD", keys.queued, repr(now), names.short(record.ref))))
    if record.pending and (is_new or record.pending != part.before.pending):
        found += asking_note(keys, record)
    ends = [write.ended_at for write in part.writes if isinstance(write, SaveLog) and write.ended_at is not None]
    if ends:
        # NX: the run that ended first is due first.
        found.append(Command(keys.collapse, ("ZADD", keys.collapse, "NX", repr(ends[0]), names.short(record.ref))))
    return found


def asking_note(keys: Keys, record: SessionRecord) -> list[Command]:
    """Return what is noted of a session whose questions have their time."""
    expires_at = record.pending["expires_at"]
    if expires_at is None:
        return []
    return [Command(keys.asking, ("ZADD", keys.asking, repr(expires_at), names.member(record.key)))]


def _ttl_ms(terms: Terms, record: SessionRecord) -> int:
    """Return for how long the keys stay if no node is left; 0 when for ever. As long as a question, and a day."""
    if not record.pending or not terms.session_ttl_ms:
        return terms.session_ttl_ms
    if record.pending["expires_at"] is None:
        return 0
    left_s = record.pending["expires_at"] - time.time() + DAY_S
    return max(terms.session_ttl_ms, int(left_s * 1000))


def _counts(terms: Terms, record: SessionRecord, before: SessionRecord, *, is_new: bool) -> list[Command]:
    messages, runs, seconds = record.message_count, record.run_count, record.last_activity - record.created_at
    if not is_new:
        messages, runs = messages - before.message_count, runs - before.run_count
        seconds = record.last_activity - before.last_activity
    found = _grown(terms, record, {"messages": messages, "runs": runs, "seconds": seconds})
    if is_new:
        found += _shared(terms, record, 1)
    elif record.agent != before.agent:
        found += _shared(terms, before, -1) + _shared(terms, record, 1)
    if is_new and record.created_at > time.time() - DAY_S:
        for key in (terms.keys.created(None), terms.keys.created(record.user_id)):
            found += _in_a_day(key, record.created_at, names.member(record.key))
    return found


def _burial_notes(terms: Terms, part: Part, write: EndSession) -> list[Command]:
    keys, record = terms.keys, write.record
    name, short, mine = names.member(record.key), names.short(record.ref), keys.user(record.user_id)
    runs = keys.runs(terms.node_id)
    found = [
        Command(mine, ("ZREM", mine, names.listed(record.ref, record.session_id))),
        *(Command(key, ("ZREM", key, name)) for key in (keys.due, keys.ids, keys.asking)),
        *(Command(key, ("ZREM", key, short)) for key in (keys.queued, keys.collapse)),
        Command(runs, ("SREM", runs, short)),
    ]
    before = part.before
    deltas = {
        "messages": record.message_count - before.message_count,
        "runs": record.run_count - before.run_count,
        "seconds": record.last_activity - before.last_activity,
        "ended": 1,
    }
    found += _grown(terms, record, deltas) + _shared(terms, before, -1)
    if write.tombstone.reason == "expired" and write.tombstone.ended_at > time.time() - DAY_S:
        for key in (keys.expired(None), keys.expired(record.user_id)):
            found += _in_a_day(key, write.tombstone.ended_at, name)
    return [_even_when_full(command) for command in found]


def _grown(terms: Terms, record: SessionRecord, deltas: dict[str, float]) -> list[Command]:
    found: list[Command] = []
    changed = {name: delta for name, delta in deltas.items() if delta}
    for key in (terms.keys.stats(None), terms.keys.stats(record.user_id)) if changed else ():
        for name, delta in changed.items():
            found.append(Command(key, ("HINCRBYFLOAT", key, name, repr(delta))))
    if changed and terms.session_ttl_ms:
        # A visitor who never comes back is forgotten, as his tombstones are.
        key = terms.keys.stats(record.user_id)
        found.append(Command(key, ("PEXPIRE", key, terms.session_ttl_ms + terms.tombstone_ms)))
    return found


def _shared(terms: Terms, record: SessionRecord, by: int) -> list[Command]:
    """Return what counts a session among those of its agent and its site, or no longer."""
    return [
        command
        for user_id in (None, record.user_id)
        for key, name in (
            (terms.keys.agents(user_id), record.agent),
            (terms.keys.sites(user_id), record.website_domain),
        )
        if name is not None
        for command in share_commands(key, name, by)
    ]


def share_commands(key: bytes, name: str, by: int) -> list[Command]:
    """Return what adds to a name's count; a name whose count is nought is forgotten."""
    found = [Command(key, ("ZINCRBY", key, by, name.encode()))]
    if by < 0:
        found.append(Command(key, ("ZREMRANGEBYSCORE", key, "-inf", 0)))
    return found


def _in_a_day(key: bytes, at: float, name: bytes) -> list[Command]:
    calls: Sequence[tuple[Any, ...]] = (
        ("ZADD", key, repr(at), name),
        ("ZREMRANGEBYSCORE", key, "-inf", repr(time.time() - DAY_S)),
        ("EXPIRE", key, DAY_S),
    )
    return [Command(key, call) for call in calls]


def _even_when_full(command: Command) -> Command:
    name, key, *args = command.args
    return Command(command.key, DIRECT.call([key], name, *args), DIRECT)
