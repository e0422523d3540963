"""POST /api/mcp-command: a tool of an MCP server, called by a person.

`tools/list` lists what can be called; without a session it touches none. Everything else is a run of the session, with
the command as its message and a tool call that is answered: so it is in the log of every tab, a busy session refuses
it, and an interrupt stops it. Who may: with `AUTH=local` everybody, it is their own machine; elsewhere admins, because
no agent's list of allowed tools stands in between, unless `MCP_COMMANDS` says otherwise.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Final

import msgspec
import orjson
from starlette.requests import Request
from starlette.responses import Response

from ..core.commands import Command
from ..core.hub import Hub
from ..core.question import Question
from ..core.reader import Reader
from ..core.session import Session
from ..errors import AgentFailed, Forbidden, NotFound
from ..ids import new_id
from .access import allowed_agents, creation_of, hub_of
from .answers import json_answer
from .auth import principal_of
from .bodies import Body, read_body
from .chat import digest_of, key_or_new, unless_gone
from .strict_json import invalid
from .watch import await_end

_LIST: Final = "tools/list"
_MAX_NAME_CHARS: Final = 256


class McpCommandBody(Body, frozen=True, kw_only=True):
    """POST /api/mcp-command."""

    command: str
    args: dict[str, Any] = msgspec.field(default_factory=dict)
    session_id: str | None = None


async def mcp_command(request: Request) -> Response:
    """POST /api/mcp-command: 200 when the tool has answered, 502 when it failed."""
    hub = hub_of(request)
    _check_caller(request, hub)
    body = await read_body(request, McpCommandBody, hub.settings)
    message = _message(body, hub)
    commands = hub.agents.commands
    if body.command == _LIST and body.session_id is None:
        listing = await commands.listing() if commands is not None else {"tools": []}
        return json_answer({"session_id": None, "result": listing})
    if commands is None:
        raise NotFound("command: there are no MCP servers: the setting MCP names none", code="tool_not_found")
    command = commands.command(body.command, body.args)
    question = Question(message=message, message_id=new_id(), digest=digest_of(message), performer=command.entry)
    key = await key_or_new(request, body.session_id)
    async with AsyncExitStack() as stack:
        held = hub.session(key, creation_of(request), is_new_id=body.session_id is None)
        session = await stack.enter_async_context(held)
        reader = await stack.enter_async_context(hub.attach(session))
        return await unless_gone(request, partial(_performed, hub, session, reader, question, command))


def _check_caller(request: Request, hub: Hub) -> None:
    if allowed_agents(request) is not None:
        raise Forbidden("the Origin is that of a page which may talk to some agents only", code="origin_refused")
    is_trusted = hub.settings.auth == "local" or hub.settings.mcp_commands == "everyone"
    if not (principal_of(request).is_admin or is_trusted):
        raise Forbidden


def _message(body: McpCommandBody, hub: Hub) -> str:
    """Return the command as its line in the transcript."""
    if not 0 < len(body.command) <= _MAX_NAME_CHARS or not body.command.isprintable():
        raise invalid("command", f"must have 1 to {_MAX_NAME_CHARS} visible characters")
    arguments = orjson.dumps(body.args).decode()
    limit = hub.settings.max_message_chars
    if len(arguments) > limit:
        raise invalid("args", f"has {len(arguments)} characters as JSON, more than MAX_MESSAGE_CHARS ({limit})")
    return f"{body.command} {arguments}" if body.args else body.command


async def _performed(hub: Hub, session: Session, reader: Reader, question: Question, command: Command) -> Response:
    """Answer when the run is over; the reader only wakes, it takes nothing."""
    accepted = await session.ask(question, agent=None, on_busy="reject")
    await await_end(session, reader, accepted, hub.storage)
    run = accepted.run
    assert run is not None  # it was begun just now, not queued
    if run.status == "failed":
        raise AgentFailed(run.detail, code=run.code)
    stopped = {"content": [{"type": "text", "text": "interrupted by the user"}], "isError": True}
    return json_answer({"session_id": session.key.session_id, "result": command.result or stopped})
