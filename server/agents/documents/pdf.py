"""PDF as blocks: the text of each page, under the bookmark it belongs to and its page number.

pypdf is imported when the first PDF is read. It is pure Python and raises whatever a broken file makes it stumble
over, so everything it raises is a reason to skip the file.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeVar

from .shapes import Block, Stopped, Unreadable

if TYPE_CHECKING:
    from pypdf import PdfReader

_Result = TypeVar("_Result")
_MAX_PAGES: Final = 5000
_MAX_BOOKMARKS: Final = 5000
_HYPHEN: Final = re.compile(r"(?<=[a-z])-\n(?=[a-z])")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def pdf_blocks(content: bytes, pause: Callable[[], None]) -> Iterator[Block]:
    """Yield the paragraphs of each page. `pause` is called between drawing operations; what it raises goes through."""
    try:
        from pypdf import PdfReader
    except ImportError:
        raise Unreadable("reading PDF needs the package pypdf") from None
    # pypdf logs every oddity of every file; the one line that matters is ours.
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    reader = _guarded(lambda: PdfReader(io.BytesIO(content)), pause)
    if _guarded(lambda: reader.is_encrypted and not reader.decrypt(""), pause):
        raise Unreadable("it is encrypted")
    bookmarks = _bookmarks(reader)
    found = False
    chapter = ""
    for number in range(_guarded(lambda: min(len(reader.pages), _MAX_PAGES), pause)):
        chapter = bookmarks.get(number, chapter)
        for paragraph in _paragraphs(_page_text(reader, number, pause)):
            found = True
            yield Block((chapter, f"page {number + 1}"), paragraph)
    if not found:
        raise Unreadable("it holds no text (scanned pages?)")


def _guarded(work: Callable[[], _Result], pause: Callable[[], None]) -> _Result:
    """Return what `work` returns. Boundary: pypdf raises anything on broken files, even RecursionError and KeyError."""
    pause()
    try:
        return work()
    except (Stopped, Unreadable):
        raise
    except Exception as error:
        raise Unreadable(f"it is not a sound PDF ({type(error).__name__}: {error})"[:200]) from error


def _page_text(reader: PdfReader, number: int, pause: Callable[[], None]) -> str:
    def between(*_state: Any) -> None:
        pause()

    text = _guarded(lambda: reader.pages[number].extract_text(visitor_operand_before=between), pause)
    return _CONTROL.sub(" ", text)


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", _HYPHEN.sub("", text)):
        joined = " ".join(paragraph.split())
        if joined:
            yield joined


def _bookmarks(reader: PdfReader) -> dict[int, str]:
    """Return the title of the last bookmark that points at each page; none when the outline is broken or absent."""
    found: dict[int, str] = {}
    waiting: list[Any] = []
    # Bookmarks only name sources. A file whose outline is broken is read without it: boundary, as `_guarded`.
    with contextlib.suppress(Exception):
        waiting.extend(reversed(reader.outline))
        while waiting and len(found) < _MAX_BOOKMARKS:
            entry = waiting.pop()
            if isinstance(entry, list):
                waiting.extend(reversed(entry))
                continue
            number = reader.get_destination_page_number(entry)
            if number is not None:
                found[number] = " ".join(_CONTROL.sub(" ", str(entry.title)).split())[:100]
    return found
