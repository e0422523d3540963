"""Servers that are not there, break, or want to know who is asking; and terminals that cannot do much."""

from __future__ import annotations

from pathlib import Path

import anyio

from tests.terminal.person import CTRL_C, CTRL_D, ENTER, WAIT_S, person
from tests.terminal.relay import relay
from tests.terminal.stage import ENDLESS, script, stage, text


async def test_a_server_that_is_not_there_is_told_before_anything_is_typed(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        await server.server.kill()
        async with person(tmp_path, server.url) as someone:
            await someone.sees("no connection (connection refused), trying again")
            someone.types("/status" + ENTER)
            await someone.sees(f"{server.url}, connection refused", "lost, trying again")
            await server.server.start()
            await someone.sees_no("no connection")


async def test_a_connection_that_is_cut_again_and_again_loses_and_repeats_nothing(tmp_path: Path) -> None:
    words = 120
    question = script({"emit": {"tokens": words, "rate": 60}}, text("end."))
    async with (
        stage(tmp_path) as server,
        relay(server.server.wire.port) as wire,
        person(tmp_path, wire.url, columns=200) as someone,
    ):
        someone.types(question + ENTER)
        for seen in (5, 30, 60, 90):
            await someone.sees(f"w{seen} ")
            wire.cut()
        await someone.sees_no("answering", f"w{words - 1} end.")

        shown = [word for word in someone.text.split() if word.startswith("w") and word[1:].isdecimal()]
        assert shown == [f"w{number}" for number in range(words)]


async def test_what_was_said_before_a_kill_is_the_beginning_of_what_is_shown_after(tmp_path: Path) -> None:
    async with stage(tmp_path) as server, person(tmp_path, server.url, columns=200) as someone:
        someone.types(script({"emit": {"tokens": 2000, "rate": 100}}) + ENTER)
        await someone.sees("w40 ")
        await server.server.kill()
        await server.server.start()
        await someone.sees("Stopped.")

        shown = [word for word in someone.text.split() if word.startswith("w") and word[1:].isdecimal()]
        (_, answer) = await server.texts()
        assert shown == answer.split()


async def test_an_expired_session_is_told_with_a_way_on(tmp_path: Path) -> None:
    settings = {"SESSION_TIMEOUT_MINUTES": "0.02", "CLEANUP_INTERVAL_SECONDS": "0.2"}
    async with stage(tmp_path, **settings) as server:
        async with person(tmp_path, server.url) as someone:
            someone.types("hello" + ENTER)
            await someone.sees("I am the scripted agent")
        with anyio.fail_after(WAIT_S):
            while await server.sessions():
                await anyio.lowlevel.checkpoint()
        async with person(tmp_path, server.url) as someone:
            await someone.sees("This session has expired", "begins a new one; /sessions")
            someone.types("/new Fresh" + ENTER)
            await someone.sees("A new session, “Fresh”.")
            someone.types("hello again" + ENTER)

            await someone.sees("I am the scripted agent")


async def test_who_is_asking_is_wanted_and_said(tmp_path: Path) -> None:
    async with stage(tmp_path, AUTH="proxy") as server:
        async with person(tmp_path, server.url) as someone:
            await someone.sees("This server takes no messages", "CHAT_USER")
            someone.types("who am I" + ENTER)
            await someone.sees("Not sent:", "> who am I")
        async with person(tmp_path, server.url, CHAT_USER="zoë") as someone:
            someone.types("/status" + ENTER)
            await someone.sees("connection  live")
            someone.types("who am I" + ENTER)
            await someone.sees("I am the scripted agent")


async def test_a_token_is_taken_from_the_environment_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    async with stage(tmp_path, AUTH="visitor") as server:
        token = (await server.caller.call("GET", "/api/sessions")).headers["x-visitor-token"]
        for folder in (tmp_path, tmp_path / "other"):
            async with person(folder, server.url, "--session", "ours", CHAT_TOKEN=token) as someone:
                someone.types("hello" + ENTER)
                await someone.sees("I am the scripted agent")
                someone.types(CTRL_D)
                await someone.sees_the_end()
                assert token not in someone.text
        assert someone.text.count("\nhello\n") == 2


async def test_a_wrong_address_is_told(tmp_path: Path) -> None:
    async with stage(tmp_path) as server, person(tmp_path, f"{server.url}/nowhere") as someone:
        await someone.sees("This server takes no messages: there is no such path")
        someone.types("hello" + ENTER)
        await someone.sees("Not sent:")
        someone.types(CTRL_C + CTRL_D)

        assert await someone.sees_the_end() == 0


async def test_who_leaves_at_once_finds_the_session_again(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        async with person(tmp_path, server.url) as someone:
            await someone.sees("first message")
            someone.types("quick" + ENTER + CTRL_D)
            await someone.sees_the_end()
        async with person(tmp_path, server.url) as someone:
            await someone.sees("Session “quick”", "I am the scripted agent")


async def test_a_proxy_of_the_environment_is_not_asked_for_what_is_here(tmp_path: Path) -> None:
    async with stage(tmp_path) as server, person(tmp_path, server.url, http_proxy="http://127.0.0.1:1") as someone:
        someone.types("hello" + ENTER)
        await someone.sees("I am the scripted agent")


async def test_a_window_that_is_closed_ends_the_program_and_not_the_answer(tmp_path: Path) -> None:
    async with stage(tmp_path) as server, person(tmp_path, server.url) as someone:
        someone.types(script(text("going on "), ENDLESS) + ENTER)
        await someone.sees("going on", "answering")
        await someone.hangs_up()

        assert (await server.sessions())[0]["run"]["status"] == "running"


async def test_line_by_line_nothing_is_redrawn(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        async with person(tmp_path, server.url, "--plain") as someone:
            await someone.sees("first message", "\n>")
            someone.types("one\\\ntwo\n")
            await someone.sees("I am the scripted agent")
            someone.types(script(text("three\n\nfour "), ENDLESS) + "\n")
            await someone.sees("\nthree")
            someone.types(CTRL_C)
            await someone.sees("\nfour\n", "Stopped.")
            someone.types("/clear\n")
            await someone.sees("y/n >")
            someone.types("n\n")
            await someone.sees_that(lambda: someone.lines[-1] == ">")
            assert len(await server.texts()) == 4
            someone.types(CTRL_C)
            await someone.sees("Ctrl-C once more leaves")
            someone.types(CTRL_D)
            assert await someone.sees_the_end() == 0
            assert b"\x1b" not in someone.raw
        async with person(tmp_path, server.url, TERM="dumb") as someone:
            await someone.sees("Session “one two”", "Stopped.")
            assert b"\x1b" not in someone.raw
