"""What an agent asks, answered in the terminal."""

from __future__ import annotations

from pathlib import Path

from tests.terminal.person import CTRL_C, ENTER, person
from tests.terminal.stage import stage


async def test_a_yes_lets_it_act(tmp_path: Path) -> None:
    async with stage(tmp_path) as server, person(tmp_path, server.url, "--agent", "asking") as someone:
        someone.types("act" + ENTER)
        await someone.sees("? Shall I act?", 'act {"where": "here"}', "y/n >", "y approves")
        someone.types("y" + ENTER)

        await someone.sees("approved", "← acted", 'I heard {"approved": true} resolved.')
        await someone.sees_that(lambda: someone.lines[-1] == ">")


async def test_a_no_and_why_is_handed_on(tmp_path: Path) -> None:
    async with stage(tmp_path) as server, person(tmp_path, server.url, "--agent", "asking") as someone:
        someone.types("act" + ENTER)
        await someone.sees("y/n >")
        someone.types("no, too risky" + ENTER)

        await someone.sees("declined: too risky", "← declined by the user: too risky", '"reason": "too risky"')


async def test_any_other_message_declines(tmp_path: Path) -> None:
    async with stage(tmp_path) as server, person(tmp_path, server.url, "--agent", "asking") as someone:
        someone.types("act" + ENTER)
        await someone.sees("y/n >")
        someone.types("yes sure why not" + ENTER)
        await someone.sees("You said yes sure why not.")

        assert not [words for words in await server.texts() if words == "acted"]


async def test_ctrl_c_declines(tmp_path: Path) -> None:
    async with stage(tmp_path) as server, person(tmp_path, server.url, "--agent", "asking") as someone:
        someone.types("act" + ENTER)
        await someone.sees("y/n >")
        someone.types(CTRL_C)
        await someone.sees_that(lambda: someone.lines[-1] == ">")

        state = (await server.caller.state(await server.the_session())).json()["state"]
        assert not state.get("pending")


async def test_a_question_waits_for_the_next_start(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        async with person(tmp_path, server.url, "--agent", "asking") as someone:
            someone.types("act" + ENTER)
            await someone.sees("y/n >")
        await server.server.kill()
        await server.server.start()
        async with person(tmp_path, server.url) as someone:
            await someone.sees("? Shall I act?", "y/n >")
            someone.types("/decline not today" + ENTER)
            await someone.sees("declined: not today", '"reason": "not today"')


async def test_what_the_agent_has_the_client_do_is_typed(tmp_path: Path) -> None:
    async with stage(tmp_path) as server, person(tmp_path, server.url, "--agent", "asking") as someone:
        someone.types("look" + ENTER)
        await someone.sees("? Shall I look?", "result >")
        someone.types('{"seen": ["a", "b"]}' + ENTER)
        await someone.sees('I heard {"seen": ["a", "b"]} resolved.')
        someone.types("look" + ENTER)
        await someone.sees_that(lambda: someone.lines[-1] == "result >")
        someone.types("/decline it is dark" + ENTER)
        await someone.sees("declined: it is dark", "← it is dark")
