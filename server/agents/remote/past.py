"""Past: what the session knew before a run, in the remote's words, to tell news from repetition."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.ports import Message
from .names import original


class Past:
    """The history of a turn, by the ids that the remote has for it."""

    def __init__(self, messages: Sequence[Message]) -> None:
        answered = {message["toolCallId"] for message in messages if message["role"] == "tool"}
        calls = [call["id"] for message in messages for call in message.get("toolCalls", ())]
        self.taken = {*(message["id"] for message in messages), *calls}
        """Our ids, none of which may be used again."""
        self.message_ids = {original(message["id"]) for message in messages}
        self.answered = {original(call_id) for call_id in calls if call_id in answered}
        """The calls that have a result."""
        self.pending = {original(call_id): call_id for call_id in calls if call_id not in answered}
        """The calls that wait for one → our ids."""
        asked = [at for at, message in enumerate(messages) if message["role"] in ("user", "system", "developer")]
        self.question = messages[asked[-1]] if asked else None
        """What the run answers: the last message that no agent said."""
        since = messages[asked[-1] :] if asked else messages
        self.said = {message["content"] for message in since if isinstance(message.get("content"), str)}
        """Texts since the question."""
