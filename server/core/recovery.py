"""Recovery: what a crash left open is ended before anybody is let in.

A run cannot go on without its agent, so every run that was open ends as `interrupted` with what was persisted of it;
its closing events go through the journal like all others. Queued messages start by themselves afterwards. Nothing is
tried twice: a message that kills the process is popped from the queue in the commit that starts it.
"""

from __future__ import annotations

import logging
from typing import Protocol

import orjson

from .events import split_frames
from .journal import Journal
from .outbox import Entry
from .ports import RunRecord, SessionKey, SessionRecord
from .question import Question, RunLimits
from .resident import Node
from .run import Run
from .session import Session
from .sessionlog import SessionLog
from .storage import OpenRun
from .transcript import Transcript

_log = logging.getLogger("sessionstream.recovery")


class Recovering(Node, Protocol):
    """What recovery needs of the hub."""

    journal: Journal
    sessions: dict[SessionKey, Session]


async def recover(hub: Recovering) -> None:
    """End every run that was open, fold what only the journal held, and let the queues go on.

    Raises:
        StorageError: the storage failed meanwhile; calling again is safe.
    """
    hub.journal.forget()  # what an attempt appended that failed: it is appended again
    left = await hub.storage.open_runs()
    waiting = []
    for one in left:
        session = hub.sessions.setdefault(one.record.key, Session(one.record.key, hub))
        try:
            _restore(hub, session.adopt(one.record), one)
        except Exception:  # boundary: one log that cannot be folded must not keep all others out
            _log.exception("session %s: its open run cannot be folded; it is ended as it is", one.record.session_id)
            _end_unfolded(hub, session.adopt(one.record), one)
        if one.record.queue:
            waiting.append(session)
    if left and not await hub.journal.flush():
        raise hub.journal.as_error()
    if await hub.storage.renew_epochs():
        # What was folded above had names that are not theirs any more.
        hub.sessions.clear()
        waiting = [await _loaded(hub, session.key) for session in waiting]
    for session in waiting:
        hub.start_later(session)
    runs = sum(one.run is not None for one in left)
    if runs:
        _log.warning("%d runs were open when the server stopped: they ended as interrupted", runs)


async def _loaded(hub: Recovering, key: SessionKey) -> Session:
    session = hub.sessions[key] = Session(key, hub)
    record = await hub.storage.load(key)
    if isinstance(record, SessionRecord):
        session.adopt(record)
    return session


def _restore(hub: Recovering, log: SessionLog, one: OpenRun) -> None:
    """Put the log where the crash left it and append what ends its run."""
    parsed = [(seq, orjson.loads(body)) for _, seq, body in split_frames(b"".join(one.frames))]
    if parsed:
        log.restore(list(one.frames), first=parsed[0][0], stored=one.stored)
    if one.run is None:
        if parsed:
            log.spill()
        return
    started = [seq for seq, event in parsed if event["type"] == "RUN_STARTED" and event["runId"] == one.run.run_id]
    first = started[-1] if started else log.ring.last + 1
    transcript = Transcript()
    for seq, event in parsed:
        if seq >= first:
            transcript.apply(event)
    run = _as_run(hub, log, one.run, transcript)
    run.first = first
    log.run, log.transcript = run, transcript
    if not started:
        log.append(Entry(run.opening()[:1], required=True))
    run.end("interrupted", reason="restart")


def _end_unfolded(hub: Recovering, log: SessionLog, one: OpenRun) -> None:
    """End a run of which only the frames can be kept."""
    seqs = [seq for _, seq, _ in split_frames(b"".join(one.frames))]
    if seqs:
        log.restore(list(one.frames), first=seqs[0], stored=one.stored)
    if one.run is not None:
        run = _as_run(hub, log, one.run, Transcript())
        run.first = seqs[0] if seqs else log.ring.last + 1
        log.run, log.transcript = run, Transcript()
        run.end("interrupted", reason="restart")


def _as_run(hub: Recovering, log: SessionLog, record: RunRecord, transcript: Transcript) -> Run:
    question = Question(message="", message_id=record.message_id, digest=record.digest)
    limits = RunLimits(timeout_s=0, grace_s=1, max_bytes=1, pending_bytes=1)
    run = Run(log, hub.agent(record.agent), question, limits, run_id=record.run_id)
    run.started_at = record.started_at
    run.take_up(transcript)
    return run
