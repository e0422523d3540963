"""Text of answers: cut where no grapheme is cut, mended where an agent cut one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

MAX_DELTA_CHARS: Final = 32_768  # one frame stays far below the 10 MiB an official client buffers

_TITLE_CHARS: Final = 60

_ZERO_WIDTH_JOINER: Final = "\u200d"
_FLAG_HALVES: Final = "".join(map(chr, range(0x1F1E6, 0x1F200)))
# Joiners, skin tones, tags, Thai and Lao am, halfwidth voicing marks, Hangul vowels and finals.
_EXTENDING: Final = re.compile(
    "[\u200c\u200d\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f\u0e33\u0eb3\uff9e\uff9f\u1160-\u11ff\ud7b0-\ud7fb]"
)
_LEADING_JAMO: Final = re.compile("[\u1100-\u115f\ua960-\ua97c]")
_HANGUL: Final = re.compile("[\u1100-\u11ff\ua960-\ua97c\uac00-\ud7a3]")


def pieces(text: str, limit: int = MAX_DELTA_CHARS) -> Iterator[str]:
    """Cut a giant delta where no grapheme is cut, as far as one fits into half a piece."""
    start = 0
    while len(text) - start > limit:
        end = start + limit
        end = next((at for at in range(end, end - limit // 2, -1) if not _joins_left(text, at)), end)
        yield text[start:end]
        start = end
    yield text[start:]


def title_of(message: str) -> str:
    """Return a message as one line that names a conversation."""
    title = " ".join(message.split())
    if len(title) > _TITLE_CHARS:
        title = next(pieces(title, _TITLE_CHARS - 1)).rstrip() + "…"
    return title


def _joins_left(text: str, at: int) -> bool:
    """Whether a cut before this character would cut a grapheme, or might (UAX #29, on the safe side)."""
    before, char = text[at - 1], text[at]
    if _is_flag_half(char):
        return (at - len(text[:at].rstrip(_FLAG_HALVES))) % 2 == 1
    return (
        before == _ZERO_WIDTH_JOINER
        or unicodedata.combining(char) != 0
        or unicodedata.category(char) in ("Mn", "Me", "Mc")
        or (before == "\r" and char == "\n")
        or _EXTENDING.match(char) is not None
        or (_LEADING_JAMO.match(before) is not None and _HANGUL.match(char) is not None)
    )


def _is_flag_half(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"


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
