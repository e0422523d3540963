"""Fits a conversation into a context: whole turns go, the oldest first.

A turn is a user's message and everything up to the next one, so no tool call is ever parted from its result. System
messages stay, and so does the last turn, whatever it takes. Tokens are estimated, as nobody knows every model's: a
token is three bytes of UTF-8, a message costs eight more, an image or a file 1,500. That is above what models count
for English and code, and about what they count for Chinese.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ...core.ports import Message

BYTES_PER_TOKEN: Final = 3
MESSAGE_TOKENS: Final = 8
MEDIA_TOKENS: Final = 1500
MAX_ANSWER_TOKENS: Final = 8192

_SYSTEM: Final = ("system", "developer")
_UNSENT: Final = ("activity", "reasoning")


@dataclass(frozen=True, slots=True)
class Fitted:
    """What is sent, what is not, and what the former takes."""

    kept: list[Message]
    dropped: list[Message]
    dropped_turns: int
    tokens: int


def estimate(text: str) -> int:
    """Return about how many tokens a text takes."""
    return -(-len(text.encode(errors="replace")) // BYTES_PER_TOKEN)


def room_for_answer(context_tokens: int) -> int:
    """Return how much of a context is left free for what the model says: a quarter, within reason."""
    return min(context_tokens // 4, MAX_ANSWER_TOKENS)


def tokens_of(message: Message) -> int:
    """Return about how many tokens a message takes where it is sent; what is never sent takes none."""
    if message["role"] in _UNSENT:
        return 0
    calls = (call["function"] for call in message.get("toolCalls", ()))
    called = sum(MESSAGE_TOKENS + estimate(call["name"]) + estimate(call["arguments"]) for call in calls)
    return MESSAGE_TOKENS + _content_tokens(message.get("content")) + called


def fit(messages: Sequence[Message], room: int, *, target: int | None = None) -> Fitted:
    """Return the messages that fit into `room` tokens; when some must go, as many as `target` wants (else `room`)."""
    turns = list(_turns(messages))
    sizes = [sum(map(tokens_of, turn)) for turn in turns]
    tokens, dropped_turns = sum(sizes), 0
    kept: list[Message] = []
    dropped: list[Message] = []
    wanted = room if tokens <= room or target is None else min(room, target)
    for turn in turns[:-1]:
        gone = [] if tokens <= wanted else [one for one in turn if one["role"] not in _SYSTEM]
        tokens -= sum(map(tokens_of, gone))
        dropped_turns += bool(gone)
        dropped += gone
        kept += [one for one in turn if one["role"] in _SYSTEM] if gone else turn
    return Fitted([*kept, *(turns[-1] if turns else ())], dropped, dropped_turns, tokens)


def _turns(messages: Sequence[Message]) -> Iterator[list[Message]]:
    """Cut before each user's message, and before a system message that is to be answered."""
    turn: list[Message] = []
    for index, message in enumerate(messages):
        is_asked = index == len(messages) - 1 and message["role"] in _SYSTEM
        if turn and (message["role"] == "user" or is_asked):
            yield turn
            turn = []
        turn.append(message)
    if turn:
        yield turn


def _content_tokens(content: Any) -> int:
    if isinstance(content, str):
        return estimate(content)
    parts = content if isinstance(content, list) else ()
    return sum(estimate(part["text"]) if part["type"] == "text" else MEDIA_TOKENS for part in parts)
