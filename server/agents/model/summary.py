"""A summary for what no longer fits: made by the model once, kept with the answer, renewed when more is dropped.

It is kept in the metadata of the answer that it was made for, so it lives and dies with the messages. When something
must go, half the room is freed at once: so the next summary is some turns away. A summary that fails is left out, and
the turn goes on without.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any, Final

from ...core.ports import Message, Turn
from ...errors import AgentFailed
from .calling import Offers, marked
from .fitting import BYTES_PER_TOKEN, MESSAGE_TOKENS, Fitted, estimate, fit
from .history import model_messages, text_of
from .provider import ModelProvider
from .reply import Reply

KEY: Final = "context_summary"
MAX_TOKENS: Final = 400

_ASK: Final = (
    "Summarise this conversation between a user and an assistant for the assistant, who will not see it again: facts "
    "about the user, decisions, results, open questions. At most 200 words, in the language of the conversation."
)

_log = logging.getLogger("sessionstream.model")


class Summaries:
    """The summary of one session, as one turn needs it."""

    def __init__(self, provider: ModelProvider, turn: Turn) -> None:
        self._provider = provider
        self._turn = turn
        self._text = ""
        self._through = ""
        """Id of the last message that the text stands for."""
        self.made: dict[str, str] | None = None
        """The summary that this turn made, to be kept with its answer."""
        for message in reversed(turn.messages):
            known = marked(message, KEY)
            if isinstance(known, dict) and any(one["id"] == known.get("through") for one in turn.messages):
                self._text, self._through = str(known.get("text", "")), str(known["through"])
                break

    async def fit(self, messages: Sequence[Message], room: int) -> Fitted:
        """Return what fits, the summary of the rest at its beginning."""
        past, rest = self._parted(messages)
        fitted = fit(rest, room - self._tokens, target=room // 2 - MAX_TOKENS)
        if fitted.dropped:
            await self._summarise(fitted.dropped, room)
        gone = [*past, *fitted.dropped]
        summary: list[Message] = []
        if self._text:
            content = f"[Summary of the earlier conversation]\n{self._text}"
            summary = [{"id": KEY, "role": "user", "content": content}]
        turns = sum(message["role"] == "user" for message in gone)
        return Fitted([*summary, *fitted.kept], gone, turns, fitted.tokens + self._tokens)

    @property
    def _tokens(self) -> int:
        return MESSAGE_TOKENS + estimate(self._text) if self._text else 0

    def _parted(self, messages: Sequence[Message]) -> tuple[list[Message], list[Message]]:
        """Return what the summary stands for, and what is still to be sent."""
        ids = [message["id"] for message in messages]
        end = ids.index(self._through) + 1 if self._through in ids else 0
        system = [message for message in messages[:end] if message["role"] in ("system", "developer")]
        past = [message for message in messages[:end] if message["role"] not in ("system", "developer")]
        return past, [*system, *messages[end:]]

    async def _summarise(self, dropped: Sequence[Message], room: int) -> None:
        said = [
            f"{one['role']}: {text_of(one.get('content'))}" for one in dropped if one["role"] in ("user", "assistant")
        ]
        before = [f"Summary so far: {self._text}"] if self._text else []
        # The end of it, where it is longer than the model can read.
        text = "\n\n".join([*before, *said]).encode()[-max(1, room) * BYTES_PER_TOKEN :].decode(errors="ignore")
        asked = model_messages([{"id": KEY, "role": "user", "content": text}], system=_ASK)
        reply = Reply(self._provider, Offers(()), usage=self._turn.usage)
        parts: list[Any] = []
        try:
            async with aclosing(reply.events(asked, max_tokens=MAX_TOKENS)) as events:
                async for event in events:
                    parts += [event["delta"]] if event["type"] == "TEXT_MESSAGE_CONTENT" else []
        except AgentFailed as error:
            _log.warning("run %s: the summary of what was dropped failed: %s", self._turn.run_id, error)
            return
        if parts:
            self._text, self._through = "".join(parts).strip(), dropped[-1]["id"]
            self.made = {"through": self._through, "text": self._text}
