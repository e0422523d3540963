"""The stored messages that a session keeps in memory: the same as those in the storage, or none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.core.ports import ClearMessages, Event, MessageRecord, SaveMessages, Turn
from server.core.stored import after, kept
from tests.support.agents import echo
from tests.support.node import TOO_LONG_TO_KEEP, Node, open_node


def message(number: int, content: str = "hello") -> MessageRecord:
    body = {"id": f"m{number}", "role": "user", "content": content}
    return MessageRecord(position=number, run_id="r", created_at=1.0, message=body)


def test_few_messages_are_kept_and_many_are_not() -> None:
    assert kept([message(1), message(2)]) == (message(1), message(2))
    assert kept([message(1, TOO_LONG_TO_KEEP)]) is None
    assert kept([message(number) for number in range(1000)]) is None


def test_what_is_saved_is_added_and_what_is_cleared_is_gone() -> None:
    assert after((message(1),), [SaveMessages(1, [message(2)])]) == (message(1), message(2))
    assert after(None, [SaveMessages(1, [message(2)])]) is None
    assert after(None, [ClearMessages(1, 9), SaveMessages(1, [message(2)])]) == (message(2),)


def test_who_saves_a_message_again_must_read_them() -> None:
    assert after((message(1), message(2)), [SaveMessages(1, [message(1, "changed")])]) is None


async def same_as_stored(node: Node) -> int | None:
    """Compare what a session keeps with what is stored; return how many it keeps."""
    async with node.held() as session:
        known = session.live.stored
        if known is not None:
            assert list(known) == list(await node.hub.storage.messages(session.record.ref))
        return None if known is None else len(known)


async def test_a_session_keeps_what_is_stored_until_it_is_too_much(tmp_path: Path) -> None:
    async with open_node(tmp_path, agent=echo) as node:
        for count in (2, 4):
            await node.over((await node.ask()).run_id)
            assert await same_as_stored(node) == count
        await node.tell("a word of the system")
        assert await same_as_stored(node) == 5
        await node.over((await node.ask(TOO_LONG_TO_KEEP)).run_id)
        assert await same_as_stored(node) is None
        async with node.held() as session:
            await session.clear()
        assert await same_as_stored(node) == 0
        await node.over((await node.ask()).run_id)
        assert await same_as_stored(node) == 2


async def test_an_agent_that_changes_its_history_changes_nobody_elses(tmp_path: Path) -> None:
    async def forger(turn: Turn) -> AsyncIterator[str | Event]:
        for one in turn.messages:
            one["content"] = "forged"
        yield "done"

    async with open_node(tmp_path, agent=forger) as node:
        for _ in range(2):
            await node.over((await node.ask("mine")).run_id)
        snapshot = await node.snapshot()

    assert [one["content"] for one in snapshot.messages] == ["mine", "done", "mine", "done"]


@pytest.mark.parametrize("text", ["hello", TOO_LONG_TO_KEEP])
async def test_a_turn_has_the_whole_history_kept_or_not(tmp_path: Path, text: str) -> None:
    seen: list[list[str]] = []

    async def looking(turn: Turn) -> AsyncIterator[str | Event]:
        seen.append([one["content"] for one in turn.messages])
        yield "ok"

    async with open_node(tmp_path, agent=looking) as node:
        for _ in range(3):
            await node.over((await node.ask(text)).run_id)

    assert seen == [[text], [text, "ok", text], [text, "ok", text, "ok", text]]
