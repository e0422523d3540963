"""Files as passages: Markdown, text, HTML and PDF become pieces of at most about 1,200 characters under a heading.

`read_passages` runs in a worker thread and is lazy: the caller takes passages in small batches and rests between
them, so a huge file delays nobody. A file is read once, whole, up to `MAX_FILE_BYTES`; it is opened without following
a link and without waiting (a named pipe called `notes.md` must not hang the index). What cannot be read is raised as
`Unreadable` with a reason in plain words.
"""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from .hypertext import hypertext_blocks
from .markdown import markdown_blocks, text_blocks
from .pdf import pdf_blocks
from .shapes import HEADING_MARK, Block, Unreadable
from .words import cut

MAX_FILE_BYTES: Final = 20 << 20
"""A longer file is data, not a document; reading it would cost more memory than all others together."""
MAX_PASSAGE_CHARS: Final = 1200
"""About a screenful: long enough to hold a thought with its example, short enough to be a source by itself."""
MAX_HEADING_CHARS: Final = 300
_MAX_LINE_CHARS: Final = 8192

_KINDS: Final = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".mdx": "markdown",
    ".txt": "text",
    ".text": "text",
    ".rst": "text",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
}
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class Passage(NamedTuple):
    """A piece of a file: its headings, outermost first, joined by `HEADING_MARK`; and its text, blank lines between."""

    heading: str
    text: str


def known_kinds() -> str:
    """Return the ends of names that can be read, as a list for people."""
    return " ".join(_KINDS)


def is_document(name: str) -> bool:
    """Say whether a file of this name is of a kind that can be read."""
    return PurePosixPath(name).suffix.lower() in _KINDS


def read_passages(path: Path, name: str, pause: Callable[[], None]) -> Iterator[Passage]:
    """Yield the passages of the file at `path`, called `name` below the folder.

    `pause` is called now and then in long stretches without a passage; it may rest, and may raise to give up.

    Raises:
        Unreadable: the file cannot be read; also after some passages were yielded.
    """
    content = _load(path)
    kind = _KINDS[PurePosixPath(name).suffix.lower()]
    if kind == "pdf":
        blocks = pdf_blocks(content, pause)
    elif kind == "html":
        blocks = hypertext_blocks(_chunks(_decoded(content)), pause)
    else:
        blocks = (markdown_blocks if kind == "markdown" else text_blocks)(_lines(_decoded(content)))
    yield from _passages(blocks, fallback=_title_of(name))


def _title_of(name: str) -> str:
    """Return a heading for what stands before any, as documentation tools make it: "Event hooks" for `event-hooks`."""
    path = PurePosixPath(name)
    is_index = path.stem.lower() in ("index", "readme") and path.parent.name
    title = re.sub(r"[-_\s]+", " ", path.parent.name if is_index else path.stem).strip()
    return title[:1].upper() + title[1:]


# --- bytes


def _load(path: Path) -> bytes:
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise Unreadable("it is not a regular file")
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise Unreadable(f"it cannot be read ({error.strerror or error})", passing=True) from error
    if len(content) > MAX_FILE_BYTES:
        raise Unreadable(f"it is larger than {MAX_FILE_BYTES >> 20} MB")
    return content


def _decoded(content: bytes) -> io.TextIOWrapper:
    """Return the text as a lazy reader: decoding 20 MB at once would hold the interpreter."""
    encoding = _encoding(content)
    return io.TextIOWrapper(io.BytesIO(content), encoding=encoding, errors="replace", newline=None)


def _encoding(content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if b"\0" in content:
        raise Unreadable("it is binary")
    try:
        content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return _guessed(content[max(0, error.start - 0x8000) : error.start + 0x8000])
    return "utf-8-sig"


def _guessed(sample: bytes) -> str:
    """Tell UTF-8 with a few bad bytes from text of an older encoding, and both from no text at all."""
    controls = sum(sample.count(code) for code in (*range(1, 8), *range(14, 27), *range(28, 32)))
    if controls * 50 > len(sample):
        raise Unreadable("it is binary")
    text = sample.decode("utf-8", "replace")
    bad = text.count("\N{REPLACEMENT CHARACTER}")
    good = sum(char > "\x7f" for char in text) - bad
    return "utf-8-sig" if good >= bad else "cp1252"


def _clean(text: str) -> str:
    return _CONTROL.sub(" ", text)


def _chunks(text: io.TextIOWrapper) -> Iterator[str]:
    while chunk := text.read(_MAX_LINE_CHARS):
        yield _clean(chunk)


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    """Yield lines without their ends; one of megabytes comes as several, cut between words."""
    rest = ""
    while line := text.readline(_MAX_LINE_CHARS):
        line = rest + line
        rest = ""
        if line.endswith("\n") or len(line) < _MAX_LINE_CHARS:
            yield _clean(line[:-1] if line.endswith("\n") else line).expandtabs(4)
            continue
        at = cut(line, _MAX_LINE_CHARS - 64)
        yield _clean(line[:at])
        rest = line[at:]
    if rest:
        yield _clean(rest)


# --- blocks to passages


def _passages(blocks: Iterator[Block], fallback: str) -> Iterator[Passage]:
    heading, texts, size = "", list[str](), 0
    for block in blocks:
        path = HEADING_MARK.join(part for part in block.headings if part)[:MAX_HEADING_CHARS] or fallback
        for text in _bounded(block.text):
            if texts and (path != heading or size + len(text) > MAX_PASSAGE_CHARS):
                yield Passage(heading, _joined(texts))
                texts, size = [], 0
            heading = path
            texts.append(text)
            size += len(text) + 2
    if texts:
        yield Passage(heading, _joined(texts))


def _joined(texts: list[str]) -> str:
    parts = [texts[0]]
    for before, after in pairwise(texts):
        parts.append("\n" if is_item(before) and is_item(after) else "\n\n")
        parts.append(after)
    return "".join(parts)


def is_item(text: str) -> bool:
    """Say whether a block of text is an item of a list or a row of a table."""
    return text.startswith(("- ", "| ")) or re.match(r"\d{1,3}[.)] ", text) is not None


def _bounded(text: str) -> Iterator[str]:
    """Yield a block in pieces that fit a passage; a piece of code stays code."""
    if len(text) <= MAX_PASSAGE_CHARS:
        yield text
    elif text.startswith("```"):
        opening, _, rest = text.partition("\n")
        body = rest.removesuffix("```").rstrip("\n")
        for piece in _cut_all(body, MAX_PASSAGE_CHARS - 40):
            yield f"{opening[:30]}\n{piece}\n```"
    else:
        yield from _cut_all(text, MAX_PASSAGE_CHARS)


def _cut_all(text: str, limit: int) -> Iterator[str]:
    start = 0
    while start < len(text):
        at = start + cut(text[start : start + limit + 1], limit)
        piece = text[start:at].strip("\n ")
        if piece:
            yield piece
        start = at
