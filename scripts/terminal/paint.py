"""Paint: pieces as lines for a terminal of a certain width. Colours are the terminal's own, so it may be light or dark.

Everything from outside is cleaned here or before: what is returned moves no cursor. Links are shown with their address,
not hidden behind their text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from io import StringIO
from typing import ClassVar, Final, Literal

from markdown_it.token import Token
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown, TableElement
from rich.padding import Padding
from rich.syntax import Syntax
from rich.table import Table as Grid
from rich.text import Text
from rich.theme import Theme

from .blocks import PARSER, is_fenced
from .clean import clean, one_line, straight
from .pieces import Answered, Asked, Called, Note, Piece, Prose, Said, Table, Thought, Typed

ColorSystem = Literal["auto", "standard", "256", "truecolor", "windows"]

_BLANK: Final = re.compile(r"(\x1b\[[0-9;]*m|\s)*")
RESULT_LINES: Final = 3
RESULT_CHARS: Final = 600
_TONES: Final = {"plain": "", "good": "green", "bad": "red", "quiet": "dim"}
_THEME: Final = Theme(
    {
        "markdown.code": "cyan",
        "markdown.h1": "bold underline",
        "markdown.h2": "bold",
        "markdown.h3": "bold",
        "markdown.block_quote": "dim",
        "markdown.link": "underline",
        "markdown.link_url": "dim",
        "markdown.item.bullet": "dim",
        "markdown.item.number": "dim",
        "markdown.hr": "dim",
        "markdown.table.border": "dim",
        "markdown.table.header": "bold",
    }
)


class _Heading(Heading):
    """A heading at the left, where the eye reads on."""

    LEVEL_ALIGN = dict.fromkeys(Heading.LEVEL_ALIGN, "left")


class _Code(CodeBlock):
    """Code on the terminal's own background, indented, so that parts of one block join without a seam."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        code = str(self.text).removesuffix("\n")
        syntax = Syntax(code, self.lexer_name, theme="ansi_dark", background_color="default", word_wrap=True)
        yield Padding(syntax, (0, 0, 0, 2))


class _Table(TableElement):
    """A table of which nothing is cut off, however narrow it gets."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for drawn in super().__rich_console__(console, options):
            for column in drawn.columns if isinstance(drawn, Grid) else ():
                column.overflow = "fold"
            yield drawn


class _Markdown(Markdown):
    """Markdown in which HTML is text."""

    elements: ClassVar = {
        **Markdown.elements,
        "heading_open": _Heading,
        "fence": _Code,
        "code_block": _Code,
        "table_open": _Table,
    }

    def __init__(self, text: str) -> None:
        super().__init__("", hyperlinks=False)
        self.markup = text
        self.parsed = PARSER.parse(text)
        for token in self.parsed:
            token.children = token.children and list(_for_terminals(token.children))


def _for_terminals(tokens: Iterable[Token]) -> Iterable[Token]:
    """Yield the tokens with what suits a terminal.

    A line ends where it was ended, as on the page: models, and lists of sources, mean it so. An image is a link where
    it stands: rich would show all images of a paragraph before its text.
    """
    for token in tokens:
        if token.type == "softbreak":
            yield Token("hardbreak", "br", 0)
        elif token.type == "image":
            yield Token("link_open", "a", 1, attrs={"href": token.attrs["src"]})
            yield Token("text", "", 0, content=token.content or "image")
            yield Token("link_close", "a", -1)
        else:
            yield token


class Painter:
    """Draws pieces one below the other; it knows what stood last, so that blank lines are where they belong."""

    def __init__(self, color_system: ColorSystem | None) -> None:
        self._colors = color_system
        self._last: Piece | None = None

    def print(self, pieces: Iterable[Piece], width: int) -> str:
        """Return pieces to be printed for good."""
        text, self._last = self._paint(pieces, width)
        return text

    def preview(self, pieces: Iterable[Piece], width: int) -> str:
        """Return pieces as they look now, behind what was printed."""
        return self._paint(pieces, width)[0]

    def _paint(self, pieces: Iterable[Piece], width: int) -> tuple[str, Piece | None]:
        console = Console(
            file=StringIO(),
            width=max(width, 8),
            force_terminal=self._colors is not None,
            color_system=self._colors,
            theme=_THEME,
            highlight=False,
            legacy_windows=False,
            emoji=False,
            markup=False,
        )
        last, lines = self._last, list[str]()
        for piece in pieces:
            with console.capture() as capture:
                console.print(_drawn(piece))
            if last is not None and not _joins(last, piece):
                lines.append("")
            lines += _trimmed(capture.get().split("\n"), is_code=isinstance(piece, Prose) and is_fenced(piece.text))
            last = piece
        return straight("".join(f"{line.rstrip(' ')}\n" for line in lines)), last


def _trimmed(lines: list[str], *, is_code: bool) -> list[str]:
    """Return the lines without blank ones at both ends; those of code are part of it."""
    if is_code:
        return lines[:-1]
    while lines and _BLANK.fullmatch(lines[0]):
        del lines[0]
    while lines and _BLANK.fullmatch(lines[-1]):
        del lines[-1]
    return lines


def _joins(above: Piece, piece: Piece) -> bool:
    """Whether two pieces stand together, without a blank line between them."""
    if isinstance(piece, Prose) and piece.continues:
        return True
    tools = (Called, Answered)
    if isinstance(above, tools) and isinstance(piece, tools):
        return True
    return isinstance(above, Typed | Note) and isinstance(piece, Note | Table)


def _drawn(piece: Piece) -> RenderableType:
    match piece:
        case Said(text):
            return _marked("> ", Text(clean(text), "bold"), "bold cyan")
        case Prose(text):
            return _Markdown(text)
        case Thought(text):
            return _marked("· ", Text(clean(text).strip(), "dim italic"), "dim")
        case Called() | Answered():
            return _tool(piece)
        case Asked():
            return _question(piece)
        case Note() | Typed():
            return _line(piece)
        case Table():
            return _grid(piece)


def _line(piece: Note | Typed) -> RenderableType:
    if isinstance(piece, Typed):
        return Text(f"> {clean(piece.text)}", "dim")
    return Text(clean(piece.text), _TONES[piece.tone])


def _tool(piece: Called | Answered) -> RenderableType:
    if isinstance(piece, Answered):
        return _marked("← ", Text(_shortened(piece.content), "dim"), "magenta")
    arguments = f" {_arguments(piece.arguments)}"
    return Text.assemble(("→ ", "magenta"), (one_line(piece.name, 60), "bold"), (arguments, "dim"))


def _marked(mark: str, text: Text, style: str) -> RenderableType:
    grid = Grid.grid(padding=0)
    grid.add_column(width=len(mark), no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text(mark, style), text)
    return grid


def _question(asked: Asked) -> RenderableType:
    question = asked.question
    said = clean(str(question.get("message") or ("May it be called?" if asked.is_approval else "What is the answer?")))
    text = Text(said, "bold yellow")
    if "toolCallName" in question:
        call = one_line(f"{question['toolCallName']} {_arguments(str(question.get('arguments') or ''), 2000)}", 2000)
        text.append(f"\n{call}", "not bold default")
    return _marked("? ", text, "bold yellow")


def _grid(table: Table) -> RenderableType:
    """Draw a list under headings, a line each, of which the widest column gives way; else names and what they mean."""
    is_list = any(table.headings)
    widths = [max(map(cell_len, column)) for column in zip(*table.rows, strict=True)]
    grid = Grid(box=None, show_header=is_list, pad_edge=False, padding=(0, 2, 0, 0))
    for heading, width in zip(table.headings, widths, strict=False):
        grid.add_column(Text(heading, "dim"), no_wrap=is_list and width < max(widths), overflow="fold")
    for row in table.rows:
        grid.add_row(*(Text(clean(cell), no_wrap=is_list, overflow="ellipsis" if is_list else "fold") for cell in row))
    return grid


def _arguments(text: str, limit: int = 200) -> str:
    return "" if text.strip() in ("", "{}") else one_line(text, limit)


def _shortened(text: str) -> str:
    lines = clean(text[: 4 * RESULT_CHARS]).strip().split("\n")
    shown = "\n".join(lines[:RESULT_LINES])[:RESULT_CHARS]
    is_whole = len(text) <= 4 * RESULT_CHARS and shown == "\n".join(lines)
    return shown if is_whole else f"{shown.rstrip()} …"
