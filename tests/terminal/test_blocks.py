"""Which parts of a growing Markdown text are complete."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.terminal.blocks import MAX_CODE_LINES, MAX_REST_CHARS, PARSER, Block, Blocks, is_fenced

TEXT = """\
# Title

First *paragraph*
of two lines

1. one
2. two

   more of two
3. three

| a | b |
|---|---|
| 1 | 2 |

> quoted

```python
x = 1

y = 2
```

last
"""


def grown(text: str, cuts: list[int]) -> list[Block]:
    """Return the blocks of a text that arrives in pieces."""
    blocks, found, start = Blocks(), [], 0
    for cut in [*sorted(cuts), len(text)]:
        blocks.extend(text[start:cut])
        found += blocks.take()
        start = max(start, cut)
    return found + blocks.take(is_final=True)


def test_each_block_is_handed_out_whole_and_once() -> None:
    assert [block.text for block in grown(TEXT, list(range(len(TEXT))))] == [
        "# Title",
        "First *paragraph*\nof two lines",
        "1. one\n2. two\n\n   more of two\n3. three",
        "| a | b |\n|---|---|\n| 1 | 2 |",
        "> quoted",
        "```python\nx = 1\n\ny = 2\n```",
        "last",
    ]


@given(st.lists(st.integers(0, len(TEXT))))
def test_however_it_arrives_it_reads_the_same(cuts: list[int]) -> None:
    joined = "\n\n".join(block.text for block in grown(TEXT, cuts))

    assert PARSER.render(joined) == PARSER.render(TEXT)


def test_what_is_not_complete_stays_and_is_shown() -> None:
    blocks = Blocks()
    blocks.extend("done\n\nnot ye")

    assert blocks.take() == [Block("done")]
    assert blocks.rest == Block("not ye")
    assert blocks.take() == []


@pytest.mark.parametrize("fence", ["```", "~~~~"])
def test_long_code_comes_in_parts_that_join(fence: str) -> None:
    lines = [f"line {number}" for number in range(3 * MAX_CODE_LINES)]
    text = f"{fence}python\n" + "\n".join(lines) + f"\n{fence}\n\nafter\n"

    found = grown(text, list(range(len(text))))

    *code, after = found
    assert after == Block("after")
    assert [block.continues for block in code] == [False, *[True] * (len(code) - 1)]
    assert len(code) == 3
    assert all(is_fenced(block.text) and block.text.endswith(fence) for block in code)
    assert [line for block in code for line in block.text.splitlines()[1:-1]] == lines


def test_text_without_an_end_is_not_kept_for_ever() -> None:
    blocks, found = Blocks(), list[Block]()
    text = "word " * MAX_REST_CHARS
    for start in range(0, len(text), 100):
        blocks.extend(text[start : start + 100])
        found += blocks.take()
        assert blocks.rest is None or len(blocks.rest.text) <= MAX_REST_CHARS + 100

    found += blocks.take(is_final=True)

    assert "".join(block.text for block in found) == text
    assert [block.continues for block in found] == [False, *[True] * (len(found) - 1)]
