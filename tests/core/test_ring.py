"""The ring holds the newest frames without a hole and forgets only what stands elsewhere."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.core.ring import Ring
from tests.support.sequences import STEADY


def ring_of(*frames: bytes, last: int = 0) -> Ring:
    ring = Ring(last)
    ring.extend(list(frames))
    return ring


def test_take_returns_all_after_a_position_as_one_chunk() -> None:
    ring = ring_of(b"a", b"b", b"c", last=10)

    assert [ring.take(after) for after in (9, 10, 11, 12, 13)] == [None, b"abc", b"bc", b"c", b""]


def test_take_stops_where_it_is_told_to() -> None:
    """A stream of one run must not show what came after it."""
    ring = ring_of(b"a", b"b", b"c", last=10)

    assert [ring.take(10, 12), ring.take(11, 12), ring.take(12, 12), ring.take(12, 13)] == [b"ab", b"b", b"", b"c"]


def test_frames_that_stand_nowhere_else_are_never_dropped() -> None:
    ring = ring_of(b"aaaa", b"bbbb")

    ring.trim(0)
    assert (ring.base, ring.size) == (0, 8)

    ring.spilled = 1
    ring.trim(0)
    assert (ring.base, ring.size, ring.unspilled()) == (1, 4, [b"bbbb"])


def test_trim_keeps_the_newest_that_fit() -> None:
    ring = ring_of(b"aaaa", b"bb", b"cc")
    ring.spilled = ring.last

    ring.trim(5)

    assert (ring.base, ring.take(1), ring.take(0)) == (1, b"bbcc", None)


def test_what_was_cleared_is_gone_for_every_reader() -> None:
    ring = ring_of(b"a", b"b", b"c")

    ring.drop_through(2)

    assert (ring.take(1), ring.take(2), ring.size, ring.unspilled()) == (None, b"c", 1, [b"c"])


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("extend"), st.integers(1, 4)),
            st.tuples(st.just("spill"), st.just(0)),
            st.tuples(st.just("trim"), st.integers(0, 30)),
            st.tuples(st.just("drop"), st.integers(0, 6)),
        ),
        max_size=30,
    )
)
@STEADY
def test_whatever_happens_it_is_a_window_of_the_whole(steps: list[tuple[str, int]]) -> None:
    """Our contract: frames base + 1 … last, no hole, the size is theirs."""
    whole: list[bytes] = []
    ring, dropped = Ring(0), 0
    for what, number in steps:
        if what == "extend":
            frames = [b"<%d>" % (len(whole) + at) for at in range(number)]
            whole += frames
            ring.extend(frames)
        elif what == "spill":
            ring.spilled = ring.last
        elif what == "trim":
            ring.trim(number)
            assert ring.size <= number or ring.base == max(ring.spilled, dropped)
        else:
            dropped = max(dropped, min(len(whole), ring.base + number))
            ring.drop_through(ring.base + number)

        assert ring.last == len(whole)
        assert ring.take(ring.base) == b"".join(whole[ring.base :])
        assert ring.size == len(b"".join(whole[ring.base :]))
        assert ring.unspilled() == whole[ring.spilled :]
