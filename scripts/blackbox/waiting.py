"""Waiting for what another process does: there is no event to wait for, so it is looked at again and again."""

from __future__ import annotations

from collections.abc import Callable

import anyio


async def poll(is_done: Callable[[], bool], *, timeout_s: float, step_s: float = 0.02) -> bool:
    """Wait until `is_done`, at most `timeout_s`; return whether it is."""
    with anyio.move_on_after(timeout_s):
        while not is_done():  # noqa: ASYNC110  # the state is another process's, it sets no event of ours
            await anyio.sleep(step_s)
    return is_done()
