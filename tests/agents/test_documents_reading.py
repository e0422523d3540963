"""What the documents agent makes of files: passages under their headings, and a reason for each file it leaves out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.agents.documents.reading import MAX_FILE_BYTES, MAX_PASSAGE_CHARS, Passage, read_passages
from server.agents.documents.shapes import HEADING_MARK, Stopped, Unreadable
from server.agents.documents.words import is_boundary, pieces


def passages(path: Path) -> list[Passage]:
    return list(read_passages(path, path.name, lambda: None))


def read(folder: Path, name: str, content: str | bytes) -> list[Passage]:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return passages(path)


def path_of(*headings: str) -> str:
    return HEADING_MARK.join(headings)


def pdf(pages: list[str], *, bookmark: str = "") -> bytes:
    """Return a real PDF: one line of text a page, and a bookmark at the last page."""
    count = len(pages)
    kids = " ".join(f"{4 + 2 * at} 0 R" for at in range(count))
    outline = f"{4 + 2 * count} 0 R"
    objects = [
        f"<< /Type /Catalog /Pages 2 0 R{f' /Outlines {outline}' if bookmark else ''} >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {count} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for at, text in enumerate(pages):
        stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET"
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * at} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>"
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    if bookmark:
        item, page = 5 + 2 * count, 4 + 2 * (count - 1)
        objects.append(f"<< /Type /Outlines /First {item} 0 R /Last {item} 0 R /Count 1 >>")
        objects.append(f"<< /Title ({bookmark}) /Parent {outline} /Dest [{page} 0 R /Fit] >>")
    body, offsets = b"%PDF-1.4\n", []
    for number, text in enumerate(objects, start=1):
        offsets.append(len(body))
        body += f"{number} 0 obj\n{text}\nendobj\n".encode()
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    trailer = f"trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{len(body)}\n%%EOF\n"
    return body + f"xref\n0 {size}\n0000000000 65535 f \n{table}{trailer}".encode()


def test_markdown_headings_of_both_kinds_make_the_path(tmp_path: Path) -> None:
    """Our contract: a passage is named by its headings, and a fence holds none."""
    text = "Guide\n=====\nHello.\n\n## Body ##\n```sh\n# no heading\nTitle\n-----\n```\n\nNext\n----\n* one\n* two\n"

    assert read(tmp_path, "guide.md", text) == [
        Passage("Guide", "Hello."),
        Passage(path_of("Guide", "Body"), "```sh\n# no heading\nTitle\n-----\n```"),
        Passage(path_of("Guide", "Next"), "- one\n- two"),
    ]


def test_markdown_marks_are_taken_off_outside_of_code(tmp_path: Path) -> None:
    """Our contract: an answer quotes words, not marks."""
    text = (
        "---\ntitle: 'Front'\n---\n<!-- hidden\n# no -->\nSee [**the** `x_y`](http://a/b) and __init__,\n"
        "*so `a*b*c`* <b>it</b> &amp; 2 * 3.\n\n!!! note\n    Mind\n    the gap.\n\n::: a.module\n    options: x\n"
    )

    assert read(tmp_path, "f.md", text) == [
        Passage("Front", "See the `x_y` and __init__, so `a*b*c` it & 2 * 3.\n\nNote:\n\nMind the gap.\n\na.module")
    ]


def test_text_before_any_heading_is_named_by_its_file(tmp_path: Path) -> None:
    """Our contract: every source has a heading, also where the file has none."""
    assert read(tmp_path, "event-hooks.md", "Hello.\n\n# Later\n") == [Passage("Event hooks", "Hello.")]
    assert read(tmp_path, "notes.txt", "First\nline.\n\nTopic\n=====\nSecond.") == [
        Passage("Notes", "First\nline."),
        Passage("Topic", "Second."),
    ]


def test_html_drops_scripts_and_keeps_headings(tmp_path: Path) -> None:
    """Our contract: script and style are no text; h1 to h6 are headings; the title serves until there is one."""
    page = (
        "<html><head><title>Shop</title><style>p{color:red}</style></head><body><p>Wel<b>come</b> &amp; in."
        "<script>if (a < b) { alert('<p>no</p>') }</script><h1>Prices</h1><ul><li>Tea<li>Milk</ul>"
        "<h2>Code</h2><pre>a = 1\n  b = 2</pre>"
    )

    assert read(tmp_path, "page.html", page) == [
        Passage("Shop", "Welcome & in."),
        Passage("Prices", "- Tea\n- Milk"),
        Passage(path_of("Prices", "Code"), "```\na = 1\n  b = 2\n```"),
    ]


def test_pdf_passages_are_named_by_bookmark_and_page(tmp_path: Path) -> None:
    """Our contract: PDF files are documents too."""
    assert read(tmp_path, "paper.pdf", pdf(["The otter sleeps.", "It holds hands."], bookmark="Habits")) == [
        Passage("page 1", "The otter sleeps."),
        Passage(path_of("Habits", "page 2"), "It holds hands."),
    ]


@pytest.mark.parametrize("size", [0, 40, 300, 560])
def test_broken_pdf_is_unreadable_and_nothing_worse(tmp_path: Path, size: int) -> None:
    """Our contract: a broken file is left out with a reason."""
    with pytest.raises(Unreadable):
        read(tmp_path, "broken.pdf", pdf(["One."])[:size])


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("\ufeffGrüße".encode(), "Grüße"),
        ("Grüße aus Köln".encode("cp1252"), "Grüße aus Köln"),
        ("Grüße".encode("utf-16"), "Grüße"),
        ("Grüße aus Köln. ".encode() + b"\xff", "Grüße aus Köln. \ufffd"),
    ],
    ids=["bom", "cp1252", "utf-16", "one bad byte"],
)
def test_text_is_read_in_the_encoding_it_has(tmp_path: Path, content: bytes, text: str) -> None:
    """Our contract: badly encoded files are read as well as they can be."""
    assert read(tmp_path, "a.txt", content) == [Passage("A", text)]


def test_what_is_no_text_is_refused_with_a_reason(tmp_path: Path) -> None:
    """Our contract: binary, huge and special files are left out."""
    huge = tmp_path / "huge.txt"
    with huge.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    pipe = tmp_path / "pipe.txt"
    os.mkfifo(pipe)
    link = tmp_path / "link.txt"
    link.symlink_to(huge)

    with pytest.raises(Unreadable, match="binary"):
        read(tmp_path, "zero.txt", b"MZ\0\0")
    with pytest.raises(Unreadable, match="binary"):
        read(tmp_path, "noise.txt", bytes(range(1, 32)) * 50 + b"\xff")
    with pytest.raises(Unreadable, match="larger than 20 MB"):
        passages(huge)
    with pytest.raises(Unreadable, match="regular"):
        passages(pipe)
    with pytest.raises(Unreadable, match="cannot be read"):
        passages(link)
    with pytest.raises(Unreadable, match="cannot be read"):
        passages(tmp_path / "gone.txt")


def test_long_texts_are_cut_into_bounded_passages(tmp_path: Path) -> None:
    """Our contract: a passage has at most about 1,200 characters and no grapheme is cut."""
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    text = "# A\n\n" + "word. " * 900 + "\n\n" + family * 700 + "\n\n```\n" + "x = 1\n" * 600 + "```\n"
    found = read(tmp_path, "long.md", text)

    assert max(len(passage.text) for passage in found) <= MAX_PASSAGE_CHARS
    assert "".join(passage.text for passage in found).count(family) == 700
    assert sum(passage.text.count("word.") for passage in found) == 900
    assert sum(passage.text.count("x = 1") for passage in found) == 600
    assert all(passage.text.count("```") % 2 == 0 for passage in found)


def test_a_stop_ends_the_reading_of_a_pdf(tmp_path: Path) -> None:
    """Our contract: stopping the server does not wait for a long file."""
    path = tmp_path / "a.pdf"
    path.write_bytes(pdf(["One.", "Two."]))

    def stop() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        list(read_passages(path, "a.pdf", stop))


@pytest.mark.parametrize("page", ["<!-- " + "a " * 100_000, "<p>One.</p><script>" + "a " * 100_000])
def test_a_page_that_gives_nothing_for_long_can_be_given_up(tmp_path: Path, page: str) -> None:
    path = tmp_path / "page.html"
    path.write_text(page)
    pauses = iter(range(10))

    def stop() -> None:
        if next(pauses) == 9:
            raise Stopped

    with pytest.raises(Stopped):
        list(read_passages(path, path.name, stop))


@pytest.mark.parametrize(
    "unfinished", ["<a ", "<a b='", "<!-- <!--", "<script>a b "], ids=["tags", "attributes", "comments", "scripts"]
)
def test_what_is_never_finished_costs_no_more_than_its_length(tmp_path: Path, unfinished: str) -> None:
    """The parser looks at it again with each piece, and at its end from each `<`: minutes for a page of 2 MB."""
    assert read(tmp_path, "page.html", f"<p>One.</p>{unfinished * (2_000_000 // len(unfinished))}")[0].text == "One."


def test_a_tag_of_any_length_is_passed_over(tmp_path: Path) -> None:
    picture = f"<img src='data:image/png;base64,{'A' * 300_000}'>"
    script = f"<script>{'a ' * 300_000}</script>"

    [passage] = read(tmp_path, "page.html", f"<p>One.</p>{picture}{script}<p>Two.</p>")

    assert passage.text == "One.\n\nTwo."


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=400), st.sampled_from(["a.md", "a.txt", "a.html"]))
def test_any_text_is_readable(tmp_path_factory: pytest.TempPathFactory, text: str, name: str) -> None:
    """Our contract: no content raises anything but Unreadable, and what is read can be sent as UTF-8."""
    folder = tmp_path_factory.mktemp("any")
    try:
        found = read(folder, name, text.encode(errors="ignore"))
    except Unreadable:
        return

    assert all(passage.text.strip() and passage.heading.encode() and passage.text.encode() for passage in found)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab \n\u0301\u200d\U0001f469\U0001f3fd\U0001f1e9\uac00\u4e2d."), max_size=300))
def test_streamed_pieces_are_whole_and_lose_nothing(text: str) -> None:
    """Our contract: joined, the pieces are the text; no piece begins inside a grapheme."""
    found = list(pieces(text, 8))
    cuts = [sum(map(len, found[:at])) for at in range(1, len(found))]

    assert "".join(found) == text
    assert all(is_boundary(text, at) or len(found[number]) >= 16 for number, at in enumerate(cuts))
