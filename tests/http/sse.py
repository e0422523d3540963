"""An event-stream parser written from the HTML standard alone (§9.2.6), to hold our framing against.

It knows nothing of what we send: any line end, a leading byte-order mark, fields without a colon, ids with NUL and
retry with letters are treated as the standard says. Bytes come in pieces cut anywhere.
"""

from __future__ import annotations

import codecs
import re
from typing import Final, NamedTuple

_LINE_END: Final = re.compile("\r\n|\r(?!$)|\n")


class Message(NamedTuple):
    """What an EventSource dispatches."""

    event: str
    data: str
    last_event_id: str


class EventStreamParser:
    """The state of one connection; feed it bytes, take messages."""

    def __init__(self) -> None:
        self.last_event_id = ""
        self.retry_ms: int | None = None
        self.comments: list[str] = []
        self.fields: list[str] = []
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = ""
        self._is_first = True
        self._data: list[str] = []
        self._event = ""
        self._id = ""

    def feed(self, piece: bytes) -> list[Message]:
        """Take the next bytes; return what they complete."""
        self._text += self._decoder.decode(piece)
        if self._is_first and self._text:
            self._is_first = False
            self._text = self._text.removeprefix("\ufeff")
        # A CR at the very end may be half of a CRLF: it waits for what follows.
        *lines, self._text = _LINE_END.split(self._text)
        return [message for line in lines if (message := self._take(line)) is not None]

    def _take(self, line: str) -> Message | None:
        if not line:
            return self._dispatch()
        name, colon, value = line.partition(":")
        if colon and not name:
            self.comments.append(value)
            return None
        value = value.removeprefix(" ")
        self.fields.append(name)
        if name == "event":
            self._event = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry_ms = int(value)
        return None

    def _dispatch(self) -> Message | None:
        self.last_event_id = self._id
        data, self._data = self._data, []
        event, self._event = self._event, ""
        return Message(event or "message", "\n".join(data), self.last_event_id) if data else None
