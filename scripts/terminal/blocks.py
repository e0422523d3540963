"""Blocks: a Markdown text that grows, and which of it is complete.

A block of Markdown (a paragraph, a list, a table) is complete once another begins behind it: nothing that follows
changes it. What is complete can be printed for good; the rest is redrawn while it grows. A block that gets too long to
be redrawn is handed out in parts: code by lines, in the same fence; anything else at the end of a line or a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final, NamedTuple

from markdown_it import MarkdownIt

# HTML is text here: nobody's markup is drawn, and none of it vanishes. Nor do definitions of links: a block is drawn by
# itself, without those that stand elsewhere.
PARSER: Final = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"]).disable("reference")

_OUTLINE: Final = MarkdownIt("commonmark", {"html": False}).enable("table").disable("reference")
"""Finds the same blocks, and does not look into them: that takes long, and `paint` does it."""
_OUTLINE.core.ruler.enableOnly(["normalize", "block"])

MAX_REST_CHARS: Final = 8_000
"""More than this is not redrawn: parsing costs a millisecond for each 4,000 characters or so."""
MAX_CODE_LINES: Final = 12
_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})[^\n]*\n")
_EMPTY_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})[^\n]*\n?\s*\1?\s*")


class Block(NamedTuple):
    """Markdown that can be drawn by itself; `continues` says that it belongs to the block before it."""

    text: str
    continues: bool = False


class Blocks:
    """A text that grows by `extend`; `take` hands out what is complete, once."""

    def __init__(self) -> None:
        self._rest = ""
        self._continues = False
        self._is_parsed = True

    @property
    def rest(self) -> Block | None:
        """What is not complete yet, as far as there is something to draw."""
        return None if self._is_blank(self._rest) else Block(self._rest, self._continues)

    def extend(self, delta: str) -> None:
        """Add text at the end."""
        self._rest += delta
        self._is_parsed = self._is_parsed and "\n" not in delta and len(self._rest) <= MAX_REST_CHARS

    def take(self, *, is_final: bool = False) -> list[Block]:
        """Return the blocks that are complete, in order; all that is left when nothing more will come."""
        done: list[Block] = []
        if is_final:
            text, self._rest, self._is_parsed = self._rest, "", True
            self._hand_out(done, text)
        elif not self._is_parsed:  # a block ends by a line: without a new one there is nothing new
            self._is_parsed = True
            starts = _starts(self._rest)
            if len(starts) > 1:
                self._hand_out(done, self._cut(starts[-1]))
            if part := self._part():
                self._hand_out(done, part)
                self._continues = True
        return done

    def _hand_out(self, done: list[Block], text: str) -> None:
        for block in _split(text):
            for part in _parts(block):
                if not self._is_blank(part):
                    done.append(Block(part.strip("\n"), self._continues))
                self._continues = True
            self._continues = False

    def _is_blank(self, text: str) -> bool:
        """Whether there is nothing to draw; of a fence that was handed out in parts only its ends may be left."""
        return not text.strip() or (self._continues and _EMPTY_FENCE.fullmatch(text) is not None)

    def _cut(self, line: int) -> str:
        lines = self._rest.splitlines(keepends=True)
        self._rest = "".join(lines[line:])
        return "".join(lines[:line])

    def _part(self) -> str:
        """Cut the head off a block that is too long to be redrawn."""
        fence = _FENCE.match(self._rest)
        if fence:
            body, newline, last = self._rest[fence.end() :].rpartition("\n")
            if body.count("\n") < MAX_CODE_LINES and len(body) < MAX_REST_CHARS:
                return ""
            self._rest = fence[0] + last
            return f"{fence[0]}{body}{newline}{fence[1]}"
        if len(self._rest) <= MAX_REST_CHARS:
            return ""
        at = max(self._rest.rfind("\n"), self._rest.rfind(" ")) + 1 or len(self._rest)
        part, self._rest = self._rest[:at], self._rest[at:]
        return part


def _parts(block: str) -> Iterator[str]:
    """Yield a block in parts that can be drawn: drawing takes long when a block does, a table most of all."""
    fence = _FENCE.match(block)
    opening, closing = (fence[0], fence[1]) if fence else ("", "")
    rest = block[len(opening) :] if len(block) > MAX_REST_CHARS else ""
    while len(rest) > MAX_REST_CHARS:
        at = rest.rfind("\n", 0, MAX_REST_CHARS) + 1
        at = at or (0 if fence else rest.rfind(" ", 0, MAX_REST_CHARS) + 1) or MAX_REST_CHARS
        yield f"{opening}{rest[:at]}{closing}"
        rest = rest[at:]
    yield f"{opening}{rest}" if rest else block


def is_fenced(text: str) -> bool:
    """Whether a block is code in a fence."""
    return _FENCE.match(text) is not None


def _split(text: str) -> list[str]:
    lines = text.splitlines(keepends=True)
    cuts = [0, *_starts(text)[1:], len(lines)]
    return ["".join(lines[start:end]) for start, end in pairwise(cuts)]


def _starts(text: str) -> list[int]:
    """Return the lines in which the outermost blocks begin."""
    return [token.map[0] for token in _OUTLINE.parse(text) if token.level == 0 and token.map and token.nesting >= 0]
