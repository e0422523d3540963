"""Many people at random nodes: all they see is one truth. The soak (`scripts/soak nodes`) does this for longer."""

from __future__ import annotations

import random

import pytest

from scripts.blackbox.arena import Arena
from scripts.blackbox.nodes.storms import Scale, calm, weather
from tests.nodes.company import needs_redis

pytestmark = [pytest.mark.anyio, needs_redis]


async def test_a_crowd_at_three_nodes_sees_one_truth() -> None:
    """Every client's fold, every node's state and the history agree; nothing lost, repeated or out of order."""
    arena = Arena(random.Random(), is_quick=True)

    tally = await weather(arena, "crowd", calm, scale=Scale(sessions=12, seconds=4, pause_s=0.5))

    assert tally.is_clean, tally.report()
    assert tally.counts["posts_accepted"] > 12
