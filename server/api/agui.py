"""POST /api/agents/{agent}/run: one run for an official client of AG-UI; `facade` says what its stream is like.

`threadId` is the session, made for the caller if there is none. The history is the server's: of `messages` the last
user message counts, and a request that brings it again is answered with the same run. A request answers what the run
before it ended by asking, when it brings `resume`, or tool messages at the end: then every open question must be
answered. The run is the server's as any other: a client that goes, or aborts, changes nothing; `POST /api/interrupt`
stops it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial

import orjson
from starlette.requests import Request
from starlette.responses import Response

from ..core import pending
from ..core.dialogue import Accepted
from ..core.hub import Hub
from ..core.question import Answer, Question
from ..core.reading import reading
from ..core.session import Session
from ..errors import Conflict, NotFound, SessionstreamError
from .access import creation_of, hub_of, key_of
from .auth import principal_of
from .bodies import read_json
from .chat import digest_of
from .events import EventStream
from .facade import Facade
from .run_input import RunInput, UserMessage, parse_run_input
from .strict_json import invalid
from .watch import RunSource


async def run(request: Request) -> Response:
    """Start a run, or go on with one that waits, and stream it."""
    principal_of(request)
    hub, agent = hub_of(request), request.path_params["agent"]
    if hub.agents.get(agent) is None:
        raise NotFound("there is no agent of this name", code="not_found")
    given = await read_json(request, partial(parse_run_input, settings=hub.settings))
    creation = creation_of(request, agent=agent)
    key = await key_of(request, given.thread_id)
    async with AsyncExitStack() as stack:
        # Nothing can wait for an answer in a session that is not there.
        session = await stack.enter_async_context(hub.session(key, None if given.resume else creation))
        reader = await stack.enter_async_context(hub.attach(session))
        accepted = await _accepted(hub, session, given, agent)
        if accepted.status != "running" and session.run is not None and session.run.run_id != accepted.run_id:
            raise Conflict(retry_after_s=1)  # it is an older one: nothing of it could be told without the new one
        with reading(hub.settings.storage_timeout_seconds):
            is_restated = await _is_known_in_part(hub, session, accepted, given)
        source = RunSource(session, reader, accepted, hub, is_restated=is_restated)
        # One that goes on and names no tools has those of the run that asked.
        tools = given.tools or (accepted.run.question.tools if accepted.run is not None else ())
        facade = Facade(source, session, given, tools)
        response = EventStream(hub, facade, b"", stack.pop_all(), {"X-Session-Id": key.session_id})
        response.outlast()
        return response


async def _accepted(hub: Hub, session: Session, given: RunInput, agent: str) -> Accepted:
    answers = _answers(hub, session, given, agent)
    question = given.question
    if given.resume and question is not None and await session.find_run(question.message_id) is None:
        if any(entry.status == "resolved" for entry in given.resume):
            raise invalid("messages", "must not end with a new user message: the request answers what was asked before")
        answers = ()  # the message declines what was asked
    if answers:
        try:
            return await session.answer(
                answers,
                must_settle=True,
                tools=given.tools or None,
                context=given.context or None,
                options=given.options or None,
            )
        except (NotFound, Conflict) as error:
            if given.question is None or not _is_past(given, error):
                raise
    assert given.question is not None
    return await _ask(session, given, given.question, agent)


def _is_past(given: RunInput, error: SessionstreamError) -> bool:
    """Say whether the answers are part of the history, and the request is a user message that came before."""
    if given.resume:  # the message that declined what was asked, and its resume with it
        return all(entry.status == "cancelled" for entry in given.resume)
    return error.code == "tool_call_not_found"  # results of the server's own tools


async def _ask(session: Session, given: RunInput, asked: UserMessage, agent: str) -> Accepted:
    question = Question(
        message=asked.text,
        message_id=asked.message_id,
        # As a chat message has it. Tools and context are not of the message: a repeated request may have others.
        digest=digest_of(asked.text, agent, None, given.options),
        options=given.options,
        tools=given.tools,
        context=given.context,
    )
    return await session.ask(question, agent=agent, on_busy="reject")


def _answers(hub: Hub, session: Session, given: RunInput, agent: str) -> Sequence[Answer]:
    """Return what the request says to the questions that stand open, or stood open when it came for the first time."""
    waiting, limit = session.record.pending, hub.settings.max_message_chars
    results = given.results
    if waiting:
        answered = {pending.find(waiting, entry.interrupt_id) for entry in given.resume}
        results = [one for one in results if pending.find(waiting, one.tool_call_id) not in (None, *answered)]
    else:
        # The last is enough to find the run that went on; the others may be the server's own.
        results = () if given.resume else results[-1:]
    if (given.resume or results) and waiting and waiting["agent"] != agent:
        raise invalid("agent", f"must be {waiting['agent']}: it waits for the answer")
    for field, said in [
        *((entry.field, orjson.dumps(entry.payload)) for entry in given.resume),
        *((result.field, result.content) for result in results),
    ]:
        if len(said) > limit:
            raise invalid(field, f"is longer than MAX_MESSAGE_CHARS ({limit})")
    return [
        *(
            Answer(id=entry.interrupt_id, payload=entry.payload, status=entry.status, field=entry.field)
            for entry in given.resume
        ),
        *(Answer(id=one.tool_call_id, payload=one.content, error=one.error, field=one.field) for one in results),
    ]


async def _is_known_in_part(hub: Hub, session: Session, accepted: Accepted, given: RunInput) -> bool:
    """Say whether the client has something of the run: then events from its start would tell it that twice."""
    asked = given.question.message_id if given.question is not None else None
    others = given.message_ids - {asked}
    run, log = accepted.run, session.live
    if not others:
        return False
    if run is not None and log.run is run:
        return log.transcript is not None and any(message_id in log.transcript for message_id in others)
    if run is not None:
        return any(message["id"] in others for message in run.messages)
    rows = await hub.storage.messages(log.record.ref)
    return any(row.run_id == accepted.run_id and row.message["id"] in others for row in rows)
