"""Answers are cut where no grapheme is cut, and mended where an agent cut one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.text import Mender, mended, pieces
from tests.support.sequences import STEADY

GRAPHEMES = {
    "combining accent": "e\u0301",
    "two accents": "a\u0323\u0302",
    "family": "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
    "skin tone": "\U0001f44d\U0001f3fd",
    "flag": "\U0001f1e9\U0001f1ea",
    "flag of a region": "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
    "keycap": "7\ufe0f\u20e3",
    "emoji presentation": "\u2764\ufe0f",
    "line break": "\r\n",
    "vowel sign": "\u0928\u093f",
    "jamo": "\u1112\u1161\u11ab",
    "Thai am": "\u0e01\u0e33",
    "halfwidth voicing": "\uff76\uff9e",
    "non-joiner": "\u06cc\u200c",
}
"""Each is one grapheme by Unicode's rules (UAX #29)."""


@pytest.mark.parametrize("grapheme", GRAPHEMES.values(), ids=GRAPHEMES.keys())
def test_a_giant_delta_is_cut_between_graphemes_only(grapheme: str) -> None:
    """Edge case 44: never cut a grapheme in our own coalescing."""
    for shift in range(len(grapheme)):
        text = "x" * shift + grapheme * 40
        parts = list(pieces(text, 24))

        assert "".join(parts) == text
        assert all(len(part) <= 24 for part in parts)
        for part in parts[1:]:
            before = _offset(parts, part)
            assert (before - shift) % len(grapheme) == 0


def _offset(parts: list[str], part: str) -> int:
    """Where a part begins: parts are compared by place, not by value."""
    return sum(len(one) for one in parts[: next(i for i, one in enumerate(parts) if one is part)])


def test_flags_in_a_row_are_cut_between_two() -> None:
    """Every flag is two regional indicators: a cut after an odd one would make other flags of all that follow."""
    flags = "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7" * 30

    assert all(len(part) % 2 == 0 for part in pieces(flags, 7))


def test_text_without_any_place_to_cut_is_cut_all_the_same() -> None:
    """Our contract: the bound of a delta holds, whatever an agent says."""
    text = "e" + "\u0301" * 100

    assert "".join(pieces(text, 10)) == text
    assert max(map(len, pieces(text, 10))) == 10


@given(st.text(max_size=200), st.integers(2, 30))
@STEADY
def test_pieces_are_the_text_and_none_is_too_long(text: str, limit: int) -> None:
    parts = list(pieces(text, limit))

    assert "".join(parts) == text
    assert all(0 < len(part) <= limit for part in parts) or parts == [""]


@given(st.text(alphabet="a\u00e9\u6f22\U0001f600\U0001f468", max_size=12), st.data())
@STEADY
def test_text_cut_anywhere_in_utf16_comes_out_whole(text: str, data: st.DataObject) -> None:
    """Models that count UTF-16 units cut inside surrogate pairs."""
    units = text.encode("utf-16-le")
    halves = [units[i : i + 2].decode("utf-16-le", "surrogatepass") for i in range(0, len(units), 2)]
    mender, out = Mender(), []
    while halves:
        count = data.draw(st.integers(1, len(halves)))
        out.append(mender.feed("".join(halves[:count])))
        halves = halves[count:]

    assert "".join(out) + mender.flush() == text


@pytest.mark.parametrize(
    ("fed", "whole"),
    [
        (["\ud83d"], "\ufffd"),
        (["\ud83d", "x"], "\ufffdx"),
        (["\ude00x"], "\ufffdx"),
        (["a\ud83d", "\ud83d\ude00"], "a\ufffd\U0001f600"),
        (["\ud83d", "", "\ude00"], "\U0001f600"),
    ],
)
def test_a_lone_surrogate_becomes_a_replacement_character(fed: list[str], whole: str) -> None:
    """Edge case 44: what is sent is valid UTF-8, always."""
    mender = Mender()

    assert "".join(mender.feed(text) for text in fed) + mender.flush() == whole


@given(st.text(alphabet=st.characters(categories=["Cs", "Lu"]), max_size=20))
@STEADY
def test_mended_text_can_be_encoded(text: str) -> None:
    mended(text).encode()
