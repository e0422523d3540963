"""Messages on a byte stream, one a line, none of them longer than a bound.

The protocol's own client collects a line for as long as it gets: a tool that returns a gigabyte would be a gigabyte
here. A line that is too long is thrown away while it arrives. Only its ends are looked at, for the id of the request it
answers, so that this one call fails and the others go on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import mcp_types as types
from mcp.shared.message import SessionMessage

_END_BYTES: Final = 256
# Compact JSON as every implementation writes it: the id stands before the result, or is the last member of all.
_ID_AHEAD: Final = re.compile(rb'\A\{"jsonrpc"\s*:\s*"2\.0"\s*,\s*"id"\s*:\s*(\d{1,18})\s*,')
_ID_BEHIND: Final = re.compile(rb'"id"\s*:\s*(\d{1,18})\s*\}\s*\Z')


class Lines:
    """Cuts what arrives into messages. An item that is no message is an error, as the client wants it."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._line = bytearray()
        self._size = 0
        """Bytes of the line so far, those included that were thrown away."""
        self._tail = b""
        """The newest bytes of a line that is too long; its first ones are all that `_line` holds then."""

    def feed(self, chunk: bytes) -> Iterator[SessionMessage | Exception]:
        """Take bytes; yield what they complete."""
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            self._add(end)
            yield from self._ended()
        self._add(rest)

    def _add(self, part: bytes) -> None:
        was_too_long, self._size = self._is_too_long, self._size + len(part)
        if not was_too_long:
            self._line += part
            if not self._is_too_long:
                return
            self._tail = bytes(self._line[-_END_BYTES:])
            del self._line[_END_BYTES:]
        else:
            self._tail = (self._tail + part[-_END_BYTES:])[-_END_BYTES:]

    @property
    def _is_too_long(self) -> bool:
        return self._size > self._max_bytes

    def _ended(self) -> Iterator[SessionMessage | Exception]:
        is_too_long, line, tail = self._is_too_long, bytes(self._line), self._tail
        self._line, self._size, self._tail = bytearray(), 0, b""
        if is_too_long:
            yield self._refused(line, tail)
        elif line.strip():
            yield _message(line)

    def _refused(self, head: bytes, tail: bytes) -> SessionMessage | Exception:
        found = _ID_AHEAD.search(head) or _ID_BEHIND.search(tail)
        why = f"the answer has more than {self._max_bytes} bytes"
        if found is None:
            return ValueError(why)
        error = types.ErrorData(code=types.INTERNAL_ERROR, message=why)
        return SessionMessage(types.JSONRPCError(jsonrpc="2.0", id=int(found[1]), error=error))


def _message(line: bytes) -> SessionMessage | Exception:
    try:
        return SessionMessage(types.jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError:
        # Some servers print to stdout what belongs on stderr: it costs them nothing but the line.
        return ValueError("a line that is no message")
