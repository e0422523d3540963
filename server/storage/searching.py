"""Search without an index: what a query finds, as the index of SQLite would.

Every word of the query begins a word of one text; case and diacritics do not count. Scripts that put no spaces between
words are looked for as they stand, anywhere.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from ..core.ports import Message

SEARCHED_CHARS: Final = 100_000
MAX_WORDS: Final = 16
WORD: Final = re.compile(r"[^\W_]+")
UNSPACED: Final = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


def searchable(message: Message) -> str:
    """Return the text of a message that a search looks at."""
    content = message.get("content")
    if message["role"] not in ("user", "assistant", "system"):
        return ""
    if isinstance(content, list):
        content = "\n".join(part.get("text", "") for part in content if isinstance(part, dict))
    return content[:SEARCHED_CHARS] if isinstance(content, str) else ""


class Query:
    """What is looked for."""

    def __init__(self, text: str) -> None:
        self._patterns: list[re.Pattern[str]] = []
        if UNSPACED.search(text):
            self._patterns = [re.compile(re.escape(_plain(text)))]
        else:
            words = WORD.findall(text)[:MAX_WORDS]
            self._patterns = [re.compile(rf"(?<![^\W_]){re.escape(_plain(word))}") for word in words]

    @property
    def finds_nothing(self) -> bool:
        """Whether there is no word in it."""
        return not self._patterns

    def matches(self, text: str | None) -> bool:
        """Say whether one text has all of it."""
        if not text or not self._patterns:
            return False
        plain = _plain(text)
        return all(pattern.search(plain) for pattern in self._patterns)


def _plain(text: str) -> str:
    """Return a text without case and diacritics."""
    if text.isascii():
        return text.lower()
    apart = unicodedata.normalize("NFD", text.casefold())
    # Composed again: a letter that is made of several signs is one, in scripts where they are no diacritics.
    return unicodedata.normalize("NFC", "".join(one for one in apart if unicodedata.category(one) != "Mn"))
