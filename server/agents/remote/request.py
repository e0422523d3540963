"""Request: a turn as AG-UI's RunAgentInput.

The thread is the session of its owner, not the session's id alone: two users may have sessions of one id, and a remote
that remembers threads knows no users. Messages go without our metadata, and without activities, which the official
client keeps to itself too. State, tools and context go as they are, with the persona as one more context; the options
of the message are `forwardedProps`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID, uuid5

import orjson

from ...core.events import PROTOCOL_VERSION
from ...core.ports import Message, Turn
from .names import original

PERFORMED: Final = "client-tool:"
"""Begins the ids of questions that the remote did not ask by id: calls that it leaves to the client."""

_THREADS: Final = UUID("5c0b6f4e-6a0e-4f0b-9d0a-7f3f0a4d2a51")
_PERSONA: Final = "the persona to speak as"
_MESSAGE_FIELDS: Final = ("role", "content", "name", "error", "encryptedValue")


def thread_id(turn: Turn) -> str:
    """Return a UUID made of the session's owner and id: the same for every turn of it."""
    return str(uuid5(_THREADS, f"{turn.user_id}\0{turn.session_id}"))


def run_input(turn: Turn) -> bytes:
    """Return the body of the POST."""
    resume = [_answer(entry) for entry in turn.resume if not entry["interruptId"].startswith(PERFORMED)]
    body = {
        "threadId": thread_id(turn),
        "runId": turn.run_id,
        "protocolVersion": PROTOCOL_VERSION,
        "state": dict(turn.state),
        "messages": [_sent(message) for message in _history(turn)],
        "tools": list(turn.tools),
        "context": [*turn.context, *_persona(turn)],
        "forwardedProps": dict(turn.options),
        **({"resume": resume} if resume else {}),
    }
    return orjson.dumps(body)


def _persona(turn: Turn) -> list[dict[str, str]]:
    # The protocol has no word for it, but has one for whatever an agent should know.
    return [{"description": _PERSONA, "value": turn.persona}] if turn.persona else []


def _history(turn: Turn) -> list[Message]:
    """Return the messages without activities, and without results of calls whose approval the remote asked for.

    The remote performs those calls or refuses them, by `resume`: it writes their results itself.
    """
    theirs = {entry.get("toolCallId") for entry in turn.resume if not entry["interruptId"].startswith(PERFORMED)}
    return [
        message
        for message in turn.messages
        if message["role"] != "activity" and not (message["role"] == "tool" and message["toolCallId"] in theirs)
    ]


def _sent(message: Message) -> dict[str, Any]:
    sent: dict[str, Any] = {"id": original(message["id"])}
    sent |= {name: message[name] for name in _MESSAGE_FIELDS if name in message}
    if "toolCallId" in message:
        sent["toolCallId"] = original(message["toolCallId"])
    if "toolCalls" in message:
        sent["toolCalls"] = [
            {name: value for name, value in {**call, "id": original(call["id"])}.items() if name != "metadata"}
            for call in message["toolCalls"]
        ]
    return sent


def _answer(entry: Mapping[str, Any]) -> dict[str, Any]:
    answer = {name: entry[name] for name in ("status", "payload", "metadata") if entry.get(name) is not None}
    return {"interruptId": original(entry["interruptId"]), **answer}
