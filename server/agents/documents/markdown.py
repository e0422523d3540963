"""Markdown and plain text as blocks, line by line.

Only what finding and quoting need: headings (both kinds, never inside fences), paragraphs with their lines joined,
items of lists, tables by row, and code as it stands. Inline marks are taken off, except those of code. The bounds in
the patterns keep them linear on hostile lines.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from typing import Final

from .shapes import Block, Headings

_HEADING: Final = re.compile(r" {0,3}(#{1,6})(?:\s|$)")
_UNDERLINE: Final = re.compile(r" {0,3}(=+|-+)\s*$")
_RULE: Final = re.compile(r" {0,3}([-*_])\s*(?:\1\s*){2,}$")
_FENCE: Final = re.compile(r"(\s*)(`{3,}|~{3,})(.*)$")
_ITEM: Final = re.compile(r"(\s*)(?:[-*+]|(\d{1,3})[.)])\s+(?=\S)")
_NOTE: Final = re.compile(r"(?:!!!|\?\?\?\+?|===) {1,4}(\w+)?(?: {0,4}\"(.*)\")?$")
_LINK_TARGET: Final = re.compile(r" {0,3}\[[^\]]{1,200}\]:\s")
_QUOTE: Final = re.compile(r"\s*(?:>\s?)+")
_TITLE: Final = re.compile(r"title\s*:\s*(.+)", re.IGNORECASE)

_LITERAL: Final = re.compile(r"(?<!`)(`{1,8})(?!`).{1,500}?(?<!`)\1(?!`)|\\([\\`*_{}\[\]()#+.!<>|-])")
_IMAGE: Final = re.compile(r"!\[([^\[\]]{0,300})\](?:\([^()]{0,500}\)|\[[^\[\]]{0,200}\])")
_LINK: Final = re.compile(
    r"\[([^\[\]]{0,300})\](?:\([^()]{0,500}(?:\([^()]{0,200}\)[^()]{0,200})?\)|\[[^\[\]]{0,200}\])"
)
_AUTOLINK: Final = re.compile(r"<((?:https?|mailto):[^<>\s]{1,500})>")
_TAG: Final = re.compile(r"</?[A-Za-z][^<>]{0,500}>")
_STARS: Final = re.compile(r"(\*{1,3})(?=[^\s*])([^*]{1,500}?)(?<=\S)\1(?!\*)")
_UNDERSCORES: Final = re.compile(r"(?<![\w_])(_{1,3})(?=[^\s_])([^_]{1,500}?)(?<=\S)\1(?![\w_])")
_ATTRIBUTES: Final = re.compile(r"\s*\{[:#.][^{}]{0,200}\}\s*$")

_HELD: Final = re.compile("\ue000([0-9]{1,6})\ue000")

_MAX_PARAGRAPH_CHARS: Final = 16 * 1024
_MAX_HEADING_LINES: Final = 3
_MAX_CODE_LINES: Final = 2000


def plain(text: str) -> str:
    """Return Markdown text without inline marks; code spans stay as they are."""
    literals: list[str] = []

    def hold(match: re.Match[str]) -> str:
        literals.append(match[2] or match[0])
        return f"\ue000{len(literals) - 1}\ue000"

    # Code and escaped characters wait outside: what they hold is not markup, but marks may stand around them.
    text = _LITERAL.sub(hold, text.replace("\ue000", " "))
    text = _LINK.sub(r"\1", _LINK.sub(r"\1", _IMAGE.sub(r"\1", text)))
    text = _TAG.sub("", _AUTOLINK.sub(r"\1", text))
    text = html.unescape(_UNDERSCORES.sub(_without_underscores, _STARS.sub(r"\2", text)))
    return _HELD.sub(lambda held: literals[int(held[1])], text).strip()


def _without_underscores(match: re.Match[str]) -> str:
    is_name = match[1] == "__" and match[2].isidentifier()  # `__init__` is no strong `init`
    return match[0] if is_name else match[2]


def plain_heading(text: str) -> str:
    """Return a heading's words, without marks of code: it is a name."""
    return " ".join(plain(_ATTRIBUTES.sub("", text)).replace("`", "").split())


class _Reader:
    """One pass over the lines. `take` returns the blocks that a line completes."""

    def __init__(self) -> None:
        self.headings = Headings()
        self._paragraph: list[str] = []
        self._code: list[str] = []
        self._fence = ""
        self._indent = 0
        self._marker = ""
        self._comment = False
        self._nested = False  # inside a list or a note, where indentation is not code
        self._options = False
        self._size = 0
        self._after_blank = True

    def take(self, line: str) -> Iterator[Block]:
        if self._fence:
            yield from self._inside_fence(line)
        elif self._comment or line.lstrip().startswith("<!--"):
            yield from self.flush()
            self._comment = "-->" not in line
        elif opening := self._opens_fence(line):
            yield from self.flush()
            self._fence, self._indent = opening[2], len(opening[1])
            self._code = ["```" + opening[3].strip().partition(" ")[0].strip("{.}")]
        else:
            yield from self._outside_fence(line)

    def _opens_fence(self, line: str) -> re.Match[str] | None:
        match = _FENCE.match(line)
        return None if match is None or (match[2][0] == "`" and "`" in match[3]) else match

    def _inside_fence(self, line: str) -> Iterator[Block]:
        bare = line.strip()
        if bare.startswith(self._fence) and not bare.strip(self._fence[0]):
            yield from self._end_code()
            return
        lead = len(line) - len(line.lstrip())
        self._code.append(line[min(lead, self._indent) :].rstrip())
        if len(self._code) > _MAX_CODE_LINES:
            opening = self._code[0]
            yield from self._end_code(still_open=True)
            self._code = [opening]

    def _end_code(self, *, still_open: bool = False) -> Iterator[Block]:
        if any(line for line in self._code[1:]):
            yield Block(self.headings.path(), "\n".join([*self._code, "```"]))
        self._code = []
        if not still_open:
            self._fence = ""

    def _outside_fence(self, line: str) -> Iterator[Block]:
        after_blank, self._after_blank = self._after_blank, not line.strip()
        if self._after_blank:
            yield from self.flush()
        elif self._is_underline(line):
            self._enter(1 if "=" in line else 2, " ".join(self._paragraph))
            self._paragraph = []
        elif heading := _HEADING.match(line):
            yield from self.flush()
            self._enter(len(heading[1]), _heading_text(line))
        elif _RULE.match(line) or _LINK_TARGET.match(line):
            yield from self.flush()
        elif self._is_indented_code(line, after_blank):
            self._code = self._code or ["```"]
            self._code.append(line[4:].rstrip())
        else:
            yield from self._prose(line)

    def _is_underline(self, line: str) -> bool:
        is_text = 0 < len(self._paragraph) <= _MAX_HEADING_LINES and not self._marker
        return is_text and _UNDERLINE.match(line) is not None

    def _enter(self, level: int, text: str) -> None:
        self._nested, self._marker = False, ""
        if heading := plain_heading(text):
            self.headings.enter(level, heading)

    def _is_indented_code(self, line: str, after_blank: bool) -> bool:
        indented = line.startswith("    ") and not self._nested
        return indented and (bool(self._code) or (after_blank and not self._paragraph))

    def _prose(self, line: str) -> Iterator[Block]:
        if self._code:
            yield from self._end_code()
        bare = line.strip()
        indented = line.startswith(" ")
        self._options = self._options and indented
        if _is_table_rule(bare) or self._options:
            return
        note, item = _NOTE.match(bare), _ITEM.match(line)
        if note or item or bare.startswith((":::", "|")) or self._size > _MAX_PARAGRAPH_CHARS:
            yield from self.flush()
            self._nested = self._nested or bool(note or item)
        elif not indented:
            self._nested = self._nested and bool(self._paragraph)
        if note:
            self._paragraph = [note[2] + ":" if note[2] else note[1].capitalize() + ":"] if note[1] or note[2] else []
            yield from self.flush()
        elif bare.startswith(":::"):
            # What documentation tools fill in from source code: its name is all there is to read here.
            self._paragraph, self._options = [bare.lstrip(": ")], True
        elif item:
            self._marker = f"{item[2]}. " if item[2] else "- "
            self._paragraph = [line[item.end() :]]
        else:
            self._paragraph.append(_QUOTE.sub("", line, count=1) if bare.startswith(">") else line)
        self._size += len(bare)

    def flush(self) -> Iterator[Block]:
        """Yield what is open."""
        if self._code and not self._fence and not self._after_blank:
            yield from self._end_code()
        text = plain(" ".join(line.strip() for line in self._paragraph))
        if text:
            yield Block(self.headings.path(), self._marker + text)
        self._paragraph, self._marker, self._size = [], "", 0

    def finish(self) -> Iterator[Block]:
        """Yield what the end of the file completes; an open fence ends there."""
        self._after_blank = False
        if self._code:
            yield from self._end_code()
        yield from self.flush()


def _heading_text(line: str) -> str:
    text = line.strip().lstrip("#").strip()
    unclosed = text.rstrip("#")
    return unclosed if unclosed != text and unclosed.endswith((" ", "\t")) else text


def _is_table_rule(bare: str) -> bool:
    return "-" in bare and "|" in bare and not bare.strip(" :|-")


def markdown_blocks(lines: Iterable[str]) -> Iterator[Block]:
    """Yield the blocks of a Markdown file; the `title` of its front matter is the first heading."""
    reader = _Reader()
    for line in _after_front_matter(iter(lines), reader.headings):
        yield from reader.take(line)
    yield from reader.finish()


def _after_front_matter(lines: Iterator[str], headings: Headings) -> Iterator[str]:
    first = next(lines, None)
    if first is None:
        return
    if first.rstrip() != "---":
        yield first
    else:
        held: list[str] = []
        for line in lines:
            held.append(line)
            if line.rstrip() in ("---", "...") or len(held) > 200:
                break
        if held and held[-1].rstrip() in ("---", "..."):
            for title in filter(None, (_TITLE.match(line) for line in held)):
                headings.enter(1, plain_heading(title[1].strip().strip("\"'")))
        else:  # a rule on the first line, not front matter
            yield from held
    yield from lines


_TEXT_UNDERLINE: Final = re.compile(r"([=\-~^\"'#*+.:_`])\1{2,}\s*$")


def text_blocks(lines: Iterable[str]) -> Iterator[Block]:
    """Yield the paragraphs of plain text. A short line that is underlined at its full length is a heading."""
    headings, levels = Headings(), dict[str, int]()
    paragraph: list[str] = []
    for line in lines:
        underline = _TEXT_UNDERLINE.match(line)
        if underline and len(paragraph) == 1 and len(line.strip()) >= len(paragraph[0].strip()):
            headings.enter(levels.setdefault(underline[1], len(levels) + 1), paragraph[0].strip())
            paragraph = []
        elif line.strip() and not underline and len(paragraph) < 200:
            paragraph.append(line)
        else:
            yield from _text_paragraph(headings, paragraph)
            paragraph = [line] if line.strip() and not underline else []
    yield from _text_paragraph(headings, paragraph)


def _text_paragraph(headings: Headings, paragraph: list[str]) -> Iterator[Block]:
    if paragraph:
        yield Block(headings.path(), "\n".join(line.rstrip() for line in paragraph).strip("\n"))
