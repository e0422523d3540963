"""HTML as blocks, by the standard library's parser, fed in chunks.

`h1` to `h6` are headings, `title` is the first one until an `h1` comes; script, style and template are dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from html.parser import HTMLParser
from typing import Final

from .shapes import Block, Headings, listed

_DROPPED: Final = frozenset({"script", "style", "template"})
_BREAKS: Final = listed("""
    address article aside blockquote body caption dd details div dl dt fieldset figcaption figure footer form header hr
    html li main nav ol p section summary table tbody td tfoot th thead tr ul
""")
_LEVELS: Final = {f"h{level}": level for level in range(1, 7)}
_MAX_OPEN_CHARS: Final = 64 * 1024
_END_TAG_CHARS: Final = len("</template  >")


class _Reader(HTMLParser):
    """Collects blocks; `blocks` is emptied by the caller after each chunk."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[Block] = []
        self._headings = Headings()
        self._text: list[str] = []
        self._size = 0
        self._heading = 0
        self._is_title = False
        self._code = 0
        self._dropped = 0
        self._marker = ""
        self._is_in_long_tag = False

    def take(self, chunk: str) -> None:
        """Feed a piece. The parser keeps what is unfinished and looks at all of it again: what gets too long is cut."""
        if self._is_in_long_tag:
            _, end, chunk = chunk.partition(">")
            self._is_in_long_tag = not end
        self.feed(chunk)
        if len(self.rawdata) <= _MAX_OPEN_CHARS:
            return
        if self.cdata_elem is None:
            self._is_in_long_tag, self.rawdata = True, ""
        else:
            self.rawdata = self.rawdata[-_END_TAG_CHARS:]

    def end(self) -> None:
        """Take what is unfinished as the text that it is; the parser itself would look for a tag at each `<` of it."""
        if self.rawdata.startswith("<"):
            self.handle_data(self.rawdata)
        else:
            self.close()
        self.end_block()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _DROPPED:
            self._dropped += 1
        elif tag in _LEVELS or tag in _BREAKS or tag in ("pre", "title"):
            self.end_block()
            self._heading = _LEVELS.get(tag, 0)
            self._is_title = tag == "title"
            self._code += tag == "pre"
            self._marker = "- " if tag == "li" else self._marker
        elif tag == "br":
            self._add("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in _DROPPED:
            self._dropped = max(0, self._dropped - 1)
        elif tag in _LEVELS or tag in _BREAKS or tag in ("pre", "title"):
            self.end_block()
            self._code = max(0, self._code - (tag == "pre"))

    def handle_data(self, data: str) -> None:
        if not self._dropped:
            self._add(data)

    def _add(self, text: str) -> None:
        self._text.append(text)
        self._size += len(text)
        if self._size > _MAX_OPEN_CHARS:
            self.end_block()

    def end_block(self) -> None:
        """Close what is open as a heading, a paragraph or a piece of code."""
        raw = "".join(self._text)
        self._text, self._size = [], 0
        text = " ".join(raw.split())
        if text and self._is_title:
            if not self._headings.path():
                self._headings.enter(1, text)
        elif text and self._heading:
            self._headings.enter(self._heading, text.rstrip(" ¶#"))
        elif text and self._code:
            code = "\n".join(line.rstrip() for line in raw.strip("\n").split("\n"))
            self.blocks.append(Block(self._headings.path(), f"```\n{code}\n```"))
        elif text:
            self.blocks.append(Block(self._headings.path(), self._marker + text))
            self._marker = ""
        if text:
            self._heading, self._is_title = 0, False


def hypertext_blocks(chunks: Iterable[str], pause: Callable[[], None]) -> Iterator[Block]:
    """Yield the blocks of an HTML file; `pause` is called between pieces of it."""
    reader = _Reader()
    for chunk in chunks:
        pause()
        reader.take(chunk)
        yield from reader.blocks
        reader.blocks.clear()
    reader.end()
    yield from reader.blocks
