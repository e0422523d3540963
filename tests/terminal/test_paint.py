"""What pieces look like, and that nobody's text commands the terminal."""

from __future__ import annotations

import re

import pytest

from scripts.terminal.clean import clean, one_line
from scripts.terminal.paint import Painter
from scripts.terminal.pieces import Answered, Asked, Called, Note, Piece, Prose, Said, Table, Thought, Typed

STYLE = re.compile(r"\x1b\[[0-9;]*m")
HOSTILE = "a\x1b[2Jb\x1b]0;title\x07c\x9bHd\u202ee\x00f\rg\x08h\ud800"


def plain(*pieces: Piece, width: int = 40) -> str:
    """Return what is drawn, without styles."""
    return STYLE.sub("", Painter("256").print(pieces, width))


@pytest.mark.parametrize(
    "piece",
    [
        Said(HOSTILE),
        Typed(HOSTILE),
        Prose(clean(f"{HOSTILE} &#x1b;[2J &#x202e; [x](\x1b[2J) `{HOSTILE}`")),
        Thought(HOSTILE),
        Called(HOSTILE, HOSTILE),
        Answered(HOSTILE),
        Note(HOSTILE),
        Asked({"id": "1", "reason": "approval", "message": HOSTILE, "toolCallName": HOSTILE, "arguments": HOSTILE}),
        Table(("x", "y"), ((HOSTILE, HOSTILE),)),
    ],
)
def test_nothing_but_styles_reaches_the_terminal(piece: Piece) -> None:
    drawn = plain(piece)

    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", drawn)
    assert "a" in drawn


def test_html_is_text_and_links_show_where_they_lead() -> None:
    assert plain(Prose("<b>bold</b> [text](https://a.example/)"), width=80) == "<b>bold</b> text (https://a.example/)\n"


def test_lines_end_where_they_were_ended() -> None:
    assert plain(Prose("Sources:\n[1] a.md\n[2] *b.md*")) == "Sources:\n[1] a.md\n[2] b.md\n"


def test_images_are_links_where_they_stand() -> None:
    drawn = plain(Prose("before ![a photo](a.png) after [![x](b.svg)](https://c.example/)"), width=80)

    assert drawn == "before a photo (a.png) after x (b.svg) (https://c.example/)\n"


def test_definitions_of_links_are_shown() -> None:
    assert plain(Prose("see [1]\n\n[1]: https://a.example/"), width=80) == "see [1]\n\n[1]: https://a.example/\n"


def test_blank_lines_stand_between_what_does_not_belong_together() -> None:
    drawn = plain(
        Said("question"),
        Prose("# Title"),
        Prose("```\none\n```"),
        Prose("```\n\ntwo\n```", continues=True),
        Called("search", '{"q": 1}'),
        Answered("found"),
        Note("Stopped."),
    )

    assert drawn.splitlines() == [
        "> question",
        "",
        "Title",
        "",
        "  one",
        "",
        "  two",
        "",
        '→ search {"q": 1}',
        "← found",
        "",
        "Stopped.",
    ]


def test_preview_changes_nothing_of_what_is_printed() -> None:
    painter = Painter("256")
    first = painter.print([Note("one")], 40)
    painter.preview([Prose("text")], 40)

    assert (STYLE.sub("", first), STYLE.sub("", painter.print([Note("two")], 40))) == ("one\n", "two\n")


def test_wide_characters_keep_to_the_width() -> None:
    lines = plain(Prose("日本語" * 10), width=20).splitlines()

    assert lines == ["日本語日本語日本語日", "本語日本語日本語日本", "語日本語日本語日本語"]


def test_of_a_table_nothing_is_cut_off_in_a_narrow_window() -> None:
    drawn = plain(Prose("| name | words |\n|---|---|\n| 日本語 | somethinglong |"), width=16)

    assert sorted("".join(drawn.split()).replace("─", "")) == sorted("namewords日本語somethinglong")


def test_lists_have_a_line_each_and_the_widest_column_gives_way() -> None:
    drawn = plain(Table(("", "title", "when"), (("1", "x" * 60, "2026-01-01 10:00"),)), width=40).splitlines()

    assert drawn[1].split() == ["1", f"{'x' * 18}…", "2026-01-01", "10:00"]


def test_long_results_are_cut_and_say_so() -> None:
    assert plain(Answered("1\n2\n3\n4\n5")).split() == ["←", "1", "2", "3", "…"]


def test_without_colours_there_is_no_escape_sequence() -> None:
    assert "\x1b" not in Painter(None).print([Prose("# T\n\n**b** `c`"), Said("x")], 40)


@pytest.mark.parametrize(
    ("text", "limit", "shown"), [("a\nb  c", 10, "a b c"), ("abcdef", 4, "abc…"), ("x" * 1000, 3, "xx…")]
)
def test_one_line_is_one_line(text: str, limit: int, shown: str) -> None:
    assert one_line(text, limit) == shown
