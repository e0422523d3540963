"""What a tool returned, as text for a model and as JSON for a client, both bounded in bytes.

Text stays text; images, sound and files are described, not shown: they are of no use in a transcript of text, and of
any size. Structured content that no text repeats becomes the text; where it is too large it is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import mcp_types as types
import orjson

from ...core.text import mended

_MAX_NAME_CHARS: Final = 200
_MAX_ERROR_BYTES: Final = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a call. `structured` is any JSON, None when there is none or too much of it."""

    text: str
    structured: Any = None
    is_error: bool = False


def outcome_of(result: types.CallToolResult, max_bytes: int) -> Outcome:
    """Return a server's answer as text, at most so many bytes of it."""
    text = "\n".join(map(_told, result.content))
    structured, size = _plain(result.structured_content)
    if structured is not None and not result.content:
        text = orjson.dumps(structured).decode()
    return Outcome(
        text=cut(mended(text), max_bytes),
        structured=structured if size <= max_bytes else None,
        is_error=result.is_error,
    )


def failed(why: str) -> Outcome:
    """Return what a call came to that no server answered."""
    return Outcome(text=cut(mended(why), _MAX_ERROR_BYTES), is_error=True)


def cut(text: str, max_bytes: int) -> str:
    """Return the text, or its beginning and how much there was."""
    if len(text) * 4 <= max_bytes:  # no need to count
        return text
    encoded = text.encode()
    if len(encoded) <= max_bytes:
        return text
    note = f"\n[cut here: the result has {len(encoded)} bytes]"
    return encoded[: max(0, max_bytes - len(note))].decode(errors="ignore") + note


def _plain(structured: Any) -> tuple[Any, int]:
    """Return JSON as our own encoder takes it, and its size; None for what it does not take."""
    try:
        body = orjson.dumps(structured)
    except (TypeError, ValueError):  # integers beyond 64 bit, half characters
        return None, 0
    return structured, len(body)


def _told(block: types.ContentBlock) -> str:
    if isinstance(block, types.TextContent):
        return block.text
    if isinstance(block, types.ResourceLink):
        return f"[resource {_short(block.name)}: {_short(str(block.uri))}]"
    if isinstance(block, types.EmbeddedResource):
        held = block.resource
        if isinstance(held, types.TextResourceContents):
            return held.text
        return f"[resource: {_short(str(held.uri))}, {_decoded_size(held.blob)} bytes]"
    return f"[{block.type}: {_short(block.mime_type)}, {_decoded_size(block.data)} bytes]"


def _decoded_size(base64: str) -> int:
    return len(base64) * 3 // 4 - base64[-2:].count("=")


def _short(text: str) -> str:
    return text if len(text) <= _MAX_NAME_CHARS else text[:_MAX_NAME_CHARS] + "…"
