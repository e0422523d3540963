"""Messages of an MCP server on its pipe: cut into lines, bounded in bytes, however they arrive."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.shared.message import SessionMessage

from server.agents.mcp.framing import Lines

MAX_BYTES = 1000


def _fed(*chunks: bytes) -> list[Any]:
    """Return what came, messages as JSON, errors by their text."""
    lines = Lines(MAX_BYTES)
    items = [item for chunk in chunks for item in lines.feed(chunk)]
    return [
        item.message.model_dump(by_alias=True, exclude_unset=True) if isinstance(item, SessionMessage) else str(item)
        for item in items
    ]


def test_lines_are_messages() -> None:
    """One message a line; empty lines are none, others that are none cost nothing but themselves."""
    assert _fed(b'{"jsonrpc":"2.0","id":1,"result":{}}\n\r\nhello!\n{"jsonrpc":"2.0","method":"m"}\n{"json') == [
        {"jsonrpc": "2.0", "id": 1, "result": {}},
        "a line that is no message",
        {"jsonrpc": "2.0", "method": "m"},
    ]


@pytest.mark.parametrize(
    "line",
    [
        b'{"jsonrpc":"2.0","id":7,"result":{"x":"%s"}}',
        b'{"jsonrpc": "2.0", "id": 7, "result": {"x": "%s"}}',
        b'{"result":{"x":"%s"},"jsonrpc":"2.0","id":7}',
    ],
)
def test_a_line_that_is_too_long_fails_the_request_it_answers(line: bytes) -> None:
    """Both orders that implementations write: the id ahead of the result, or behind it."""
    error = {"code": -32603, "message": "the answer has more than 1000 bytes"}

    assert _fed(line % (b"x" * MAX_BYTES) + b'\n{"jsonrpc":"2.0","id":8,"result":{}}\n') == [
        {"jsonrpc": "2.0", "id": 7, "error": error},
        {"jsonrpc": "2.0", "id": 8, "result": {}},
    ]


def test_a_line_that_is_too_long_and_answers_nothing_is_dropped() -> None:
    """An id inside of what a tool returned is not that of the answer."""
    inside = b'{"method":"m","params":{"x":"' + b"x" * MAX_BYTES + b'","y":{"id":5}}}\n'

    assert _fed(inside) == ["the answer has more than 1000 bytes"]


@given(sizes=st.lists(st.integers(0, 2 * MAX_BYTES), max_size=6), cuts=st.lists(st.integers(1, 700), max_size=30))
def test_what_comes_does_not_depend_on_how_it_is_cut(sizes: list[int], cuts: list[int]) -> None:
    """A pipe delivers bytes as it likes."""
    whole = b"".join(
        b'{"jsonrpc":"2.0","id":%d,"result":{"x":"%s"}}\n' % (number, b"x" * size) for number, size in enumerate(sizes)
    )
    chunks, rest = [], whole
    for cut in cuts:
        chunks.append(rest[:cut])
        rest = rest[cut:]

    assert _fed(*chunks, rest) == _fed(whole)


def test_what_is_thrown_away_is_not_kept() -> None:
    """The bound: a gigabyte in one line is never a gigabyte here."""
    lines, chunk = Lines(MAX_BYTES), b"x" * 10_000
    tracemalloc.start()
    try:
        for _ in range(1000):
            assert list(lines.feed(chunk)) == []
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 20 * len(chunk)
