"""Text of answers: cut where no grapheme is cut, mended where an agent cut one."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Final

MAX_DELTA_CHARS: Final = 32_768  # one frame stays far below the 10 MiB an official client buffers


def pieces(text: str, limit: int = MAX_DELTA_CHARS) -> Iterator[str]:
    """Cut a giant delta where no grapheme is cut: before a character that joins nothing to its left."""
    start = 0
    while len(text) - start > limit:
        end = start + limit
        while end > start + limit // 2 and _joins_left(text[end - 1], text[end]):
            end -= 1
        yield text[start:end]
        start = end
    yield text[start:]


def _joins_left(before: str, char: str) -> bool:
    zero_width_joiner = "\u200d"
    return (
        char == zero_width_joiner
        or before == zero_width_joiner
        or unicodedata.combining(char) != 0
        or unicodedata.category(char) in ("Mn", "Me", "Mc")
        or (before == "\r" and char == "\n")
        or "\U0001f3fb" <= char <= "\U0001f3ff"  # skin tones
        or "\U0001f1e6" <= char <= "\U0001f1ff"  # flags are pairs of these
        or "\U000e0020" <= char <= "\U000e007f"  # tags of subdivision flags
    )


class Mender:
    """Makes valid Unicode of pieces that may be cut inside a surrogate pair: a first half waits for its second."""

    __slots__ = ("_half",)

    def __init__(self) -> None:
        self._half = ""

    def feed(self, text: str) -> str:
        """Return what of the text so far is whole."""
        if not self._half and text.isascii():
            return text
        text, self._half = self._half + text, ""
        if "\ud800" <= text[-1:] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return mended(text)

    def flush(self) -> str:
        """Return a replacement character for a half that stayed alone, else nothing."""
        half, self._half = self._half, ""
        return "\ufffd" if half else ""


def mended(text: str) -> str:
    """Return `text` with surrogate pairs joined and lone surrogates replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
