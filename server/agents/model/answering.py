"""One turn of a model agent: it asks the model, calls what the model wants called, and asks again.

    fit the history ─▶ ask ─▶ calls? ── none ──▶ done
          ▲                     │
          └── results ◀── server's tools      the client's, or to be approved ──▶ the run ends with a question

Rounds are bounded: the last one is asked without a choice of tools. Whatever cuts the turn off, nothing here waits
unattended: leaving the events closes the provider's connection and cancels the tools.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

import orjson
from pydantic_ai.messages import ModelMessage, ModelRequest

from ...core.ports import Event, Message, Turn
from ...errors import AgentFailed
from ...ids import new_id
from . import calling
from .calling import Call, Offers, marked
from .fitting import BYTES_PER_TOKEN, MESSAGE_TOKENS, Fitted, estimate, fit, room_for_answer, tokens_of
from .history import model_messages, returned
from .provider import ModelProvider
from .reply import Reply
from .setup import Setup
from .summary import KEY as SUMMARY
from .summary import Summaries

MAX_ROUNDS: Final = 12
"""How often the model may ask for tools in one turn."""
RESULTS_SHARE: Final = 4
"""The results of one round take one part in so many of the context, or what is left of it."""

_APPROVAL: Final = {
    "type": "object",
    "properties": {
        "approved": {"type": "boolean"},
        "reason": {"type": "string", "description": "why not"},
        "editedArgs": {"type": "object", "description": "arguments to call it with instead"},
    },
    "required": ["approved"],
}
_RESULT_FIELDS: Final = ("role", "toolCallId", "content", "metadata")


class Answering:
    """One turn being answered."""

    def __init__(self, setup: Setup, provider: ModelProvider, turn: Turn) -> None:
        self._setup = setup
        self._provider = provider
        self._turn = turn
        self._messages: list[Message] = list(turn.messages)
        self._added: list[ModelMessage] = []
        """What this run said and heard so far."""
        self._added_tokens = 0
        self._sources = [source for message in _last_turn(turn.messages) for source in _sources_of(message)]
        self._summaries = Summaries(provider, turn) if setup.summarize else None
        self._told_of = 0
        """Turns that the client was told are dropped."""
        persona = setup.personas.get(turn.persona) if turn.persona else None
        self._system = _system_text(setup.instructions, persona.instructions if persona else "", turn.context)
        self._settings: dict[str, Any] = {}
        if persona is not None and persona.temperature is not None:
            self._settings["temperature"] = persona.temperature

    async def events(self) -> AsyncGenerator[Event, None]:
        """Yield what the turn comes to."""
        for event in await self._resume():
            yield event
        for round_number in range(MAX_ROUNDS + 1):
            tools = self._offers()
            fitted = await self._fit(tools)
            for event in self._tell(fitted):
                yield event
            reply = self._reply(tools)
            # Without a choice in the last round: an answer is worth more than another call.
            choice: dict[str, Any] = {"tool_choice": "none"} if round_number == MAX_ROUNDS else {}
            async with aclosing(reply.events(self._request(fitted), **self._settings, **choice)) as answered:
                async for event in answered:
                    yield event
            if not reply.calls:
                return
            asked = [call for call in reply.calls if _is_asked(call, tools)][: calling.MAX_CALLS]
            for event in await self._perform([call for call in reply.calls if call not in asked], tools, reply):
                yield event
            if asked:
                yield _question(asked, tools)
                return
        raise AgentFailed(code="model_tool_limit")

    # --- what is sent

    def _reply(self, tools: Offers) -> Reply:
        made = self._summaries.made if self._summaries is not None else None
        metadata = {SUMMARY: made} if made is not None else {}
        return Reply(self._provider, tools, usage=self._turn.usage, sources=self._sources, metadata=metadata)

    def _offers(self) -> Offers:
        setup = self._setup
        return calling.offers(setup.toolboxes, self._turn, allowed=setup.tool_names, approvals=setup.approvals)

    async def _fit(self, tools: Offers) -> Fitted:
        room = self._room(tools)
        if self._summaries is not None:
            return await self._summaries.fit(self._messages, room)
        return fit(self._messages, room)

    def _room(self, tools: Offers) -> int:
        """Return how many tokens the conversation before this run may take."""
        context = self._setup.context_tokens
        taken = room_for_answer(context) + estimate(self._system) + self._added_tokens + _offer_tokens(tools)
        return max(0, context - taken)

    def _tell(self, fitted: Fitted) -> Iterator[Event]:
        if fitted.dropped_turns > self._told_of:
            self._told_of = fitted.dropped_turns
            counts = {
                "dropped_turns": fitted.dropped_turns,
                "dropped_messages": len(fitted.dropped),
                "kept_messages": len(fitted.kept),
                "tokens": fitted.tokens,
                "context_tokens": self._setup.context_tokens,
            }
            yield {"type": "CUSTOM", "name": "sessionstream.context", "value": counts}

    def _request(self, fitted: Fitted) -> list[ModelMessage]:
        history = model_messages(fitted.kept, system=self._system, provider=self._provider.name)
        return [*history, *self._added]

    # --- calls

    async def _perform(self, calls: Sequence[Call], tools: Offers, reply: Reply) -> list[Event]:
        """Carry out what needs nobody; note what was said and heard."""
        assert reply.answer is not None
        self._added_tokens += MESSAGE_TOKENS + estimate(reply.text)
        self._added_tokens += sum(2 * MESSAGE_TOKENS + estimate(call.arguments) for call in calls)
        results = await calling.perform(calls, tools, self._turn, max_bytes=self._result_bytes(tools))
        answered = list(zip(calls, results, strict=True))
        parts = [
            returned(call.name, call.call_id, result.content, "failed" if result.is_error else "success")
            for call, result in answered
        ]
        self._added += [reply.answer, ModelRequest(parts=parts)]
        for result in results:
            self._sources += result.sources
            self._added_tokens += estimate(result.content)
        return [calling.result_event(call.call_id, result) for call, result in answered]

    def _result_bytes(self, tools: Offers) -> int:
        left = self._room(tools) - sum(map(tokens_of, _last_turn(self._messages)))
        return max(0, min(self._setup.context_tokens // RESULTS_SHARE, left)) * BYTES_PER_TOKEN

    async def _resume(self) -> list[Event]:
        """Carry out what the client allowed since the last run; what it did not has its result already."""
        allowed = {entry.get("toolCallId"): entry["payload"] for entry in self._turn.resume if _is_approval(entry)}
        calls = [
            _allowed(call, allowed[call.call_id]) for call in _unanswered(self._messages) if call.call_id in allowed
        ]
        tools = self._offers()
        results = await calling.perform(calls, tools, self._turn, max_bytes=self._result_bytes(tools))
        events = [calling.result_event(call.call_id, result) for call, result in zip(calls, results, strict=True)]
        for event in events:
            message: Message = {name: event[name] for name in _RESULT_FIELDS if name in event}
            message["id"] = event["messageId"]
            self._messages.append(message)
            self._sources += _sources_of(message)
        return events


# --- calls that wait for the client


def _is_asked(call: Call, tools: Offers) -> bool:
    offer = tools.get(call.name)
    if offer is None or calling.refusal(call, tools) is not None:
        return False
    return offer.tool is None or offer.needs_approval


def _question(calls: Iterable[Call], tools: Offers) -> Event:
    return {
        "type": "RUN_FINISHED",
        "outcome": {"type": "interrupt", "interrupts": [_interrupt(call, tools) for call in calls]},
    }


def _interrupt(call: Call, tools: Offers) -> dict[str, Any]:
    offer = tools.get(call.name)
    interrupt: dict[str, Any] = {"id": new_id(), "toolCallId": call.call_id, "metadata": {"tool": call.name}}
    if offer is not None and offer.tool is None:
        return {**interrupt, "reason": "tool_call"}
    return {**interrupt, "reason": "approval", "message": f"Allow {call.name}?", "responseSchema": _APPROVAL}


def _is_approval(entry: Mapping[str, Any]) -> bool:
    payload = entry.get("payload")
    return entry.get("status") == "resolved" and isinstance(payload, dict) and payload.get("approved") is True


def _allowed(call: Call, answer: Mapping[str, Any]) -> Call:
    """Return the call as it was allowed: maybe with other arguments."""
    edited = answer.get("editedArgs")
    arguments = orjson.dumps(edited).decode() if isinstance(edited, dict) else call.arguments
    return dataclasses.replace(call, arguments=arguments, is_allowed=True)


def _unanswered(messages: Sequence[Message]) -> list[Call]:
    answered = {message.get("toolCallId") for message in messages}
    return [
        Call(call_id=call["id"], name=call["function"]["name"], arguments=call["function"]["arguments"] or "{}")
        for message in messages
        for call in message.get("toolCalls", ())
        if call["id"] not in answered
    ]


# --- texts and sizes


def _system_text(instructions: str, persona: str, context: Sequence[Mapping[str, Any]]) -> str:
    said = "\n".join(f"- {item['description']}: {item['value']}" for item in context)
    parts = (instructions, persona, f"What the client says about the situation:\n{said}" if said else "")
    return "\n\n".join(part.strip() for part in parts if part.strip())


def _offer_tokens(tools: Offers) -> int:
    return sum(
        MESSAGE_TOKENS
        + estimate(name)
        + estimate(offer.description)
        + estimate(orjson.dumps(offer.parameters).decode())
        for name, offer in tools.items()
    )


def _last_turn(messages: Sequence[Message]) -> Sequence[Message]:
    starts = [index for index, message in enumerate(messages) if message["role"] == "user"]
    return messages[starts[-1] :] if starts else messages


def _sources_of(message: Message) -> list[Mapping[str, Any]]:
    sources = marked(message, "sources") if message["role"] == "tool" else None
    return [source for source in sources if isinstance(source, dict)] if isinstance(sources, list) else []
