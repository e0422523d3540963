"""The commands that begin with a slash, typed into the real program."""

from __future__ import annotations

import json
from pathlib import Path

from tests.terminal.person import CTRL_C, ENTER, TAB, person
from tests.terminal.stage import ENDLESS, script, stage, text


async def test_help_names_every_command_and_the_keys(tmp_path: Path) -> None:
    names = ("help", "clear", "status", "stats", "timezone", "session", "sessions", "new", "rename", "export", "exit")
    async with stage(tmp_path) as server, person(tmp_path, server.url, rows=40) as someone:
        someone.types("/help" + ENTER)

        await someone.sees(*(f"/{name}" for name in names), "Alt-Enter", "Ctrl-C", "Ctrl-D")


async def test_an_unknown_command_is_no_message(tmp_path: Path) -> None:
    async with stage(tmp_path) as server, person(tmp_path, server.url) as someone:
        someone.types("/halp" + ENTER)
        await someone.sees("There is no /halp. Did you mean /help?")
        someone.types("/qwertz" + ENTER)
        await someone.sees("There is no /qwertz. /help lists what there is.")
        assert await server.sessions() == []
        someone.types("//qwertz" + ENTER)
        await someone.sees("I am the scripted agent")

        assert (await server.texts())[0] == "/qwertz"


async def test_sessions_are_begun_named_listed_and_opened(tmp_path: Path) -> None:
    async with stage(tmp_path) as server, person(tmp_path, server.url) as someone:
        someone.types("first talk" + ENTER)
        await someone.sees("I am the scripted agent")
        someone.types("/new" + ENTER)
        await someone.sees("A new session begins with your next message.")
        someone.types("second talk" + ENTER)
        await someone.sees("> second talk\n", "\nsecond talk\n")
        someone.types("/rename Other things" + ENTER)
        await someone.sees("This session is “Other things” now.")
        someone.types("/new Third" + ENTER)
        await someone.sees("A new session, “Third”.")
        someone.types("/sessions" + ENTER)
        await someone.sees("1  >  Third", "2     Other things", "3     first talk")
        someone.types("/session 3" + ENTER)
        await someone.sees("Session “first talk”")
        someone.types("/session Oth" + ENTER)
        await someone.sees("Session “Other things”")
        someone.types("/session nothing" + ENTER)
        await someone.sees("No session is called, or numbered, so: nothing.")
        someone.types("/sessions first" + ENTER)
        await someone.sees_that(lambda: someone.text.rstrip("> \n").endswith("/session 1 opens the first."))

        assert [one["title"] for one in await server.sessions()] == ["Third", "Other things", "first talk"]


async def test_a_session_is_exported_beside_what_is_there(tmp_path: Path) -> None:
    async with stage(tmp_path) as server, person(tmp_path, server.url) as someone:
        someone.types("/export" + ENTER)
        await someone.sees("There is no session yet")
        someone.types("keep this" + ENTER)
        await someone.sees("I am the scripted agent")
        for number, line in enumerate(("/export talk.md", "/export talk.md", "/export json talk.json"), 1):
            someone.types(line + ENTER)
            await someone.sees_that(lambda: someone.text.count("Written:") == number)  # noqa: B023 - awaited here
        someone.types("/export /nowhere/at/all.md" + ENTER)
        await someone.sees("It cannot be written")

        assert "keep this" in (tmp_path / "talk.md").read_text(encoding="utf-8")
        assert (tmp_path / "talk-2.md").read_bytes() == (tmp_path / "talk.md").read_bytes()
        assert json.loads((tmp_path / "talk.json").read_bytes())["messages"][0]["content"] == "keep this"


async def test_clear_forgets_the_messages_when_it_is_confirmed(tmp_path: Path) -> None:
    async with stage(tmp_path) as server, person(tmp_path, server.url) as someone:
        someone.types("forget this" + ENTER)
        await someone.sees("I am the scripted agent")
        someone.types("/clear" + ENTER)
        await someone.sees("y/N", "y/n >")
        someone.types("another thing" + ENTER)
        await someone.sees("> another thing")
        await someone.sees_that(lambda: someone.text.count("I am the scripted agent") == 2)
        assert len(await server.texts()) == 4
        someone.types("/clear" + ENTER)
        await someone.sees_that(lambda: someone.lines[-1] == "y/n >")
        someone.types("y" + ENTER)
        await someone.sees_no("forget this")
        someone.types("a new start" + ENTER)
        await someone.sees("I am the scripted agent")

        assert (await server.texts())[0] == "a new start"


async def test_status_and_stats_show_what_is_going_on(tmp_path: Path) -> None:
    async with stage(tmp_path) as server, person(tmp_path, server.url, rows=60) as someone:
        someone.types("/status" + ENTER)
        await someone.sees(server.url, "idle")
        someone.types(script(text("busy "), ENDLESS) + ENTER)
        await someone.sees("Ctrl-C stops")
        someone.types("next" + ENTER)
        await someone.sees("waits > next")
        someone.types("/status" + ENTER)
        await someone.sees("run         answering", "waiting     next", "agent       scripted", "connection  live")
        someone.types("/stats" + ENTER)
        await someone.sees("sessions active", "active runs")


async def test_the_time_zone_is_remembered_and_told(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        async with person(tmp_path, server.url) as someone:
            someone.types("hello" + ENTER)
            await someone.sees("I am the scripted agent")
            someone.types("/timezone Mars/Olympus" + ENTER)
            await someone.sees("There is no time zone Mars/Olympus.")
            someone.types("/timezone Asia/Tok")
            await someone.sees("Asia/Tokyo")
            someone.types(TAB)
            await someone.sees("> /timezone Asia/Tokyo")
            someone.types(ENTER)
            await someone.sees("Times are shown in Asia/Tokyo from now on.")
        async with person(tmp_path, server.url, "--new") as someone:
            someone.types("/timezone" + ENTER)
            await someone.sees("Times are shown in Asia/Tokyo.")

        assert (await server.sessions())[0]["metadata"] == {"timezone": "Asia/Tokyo"}


async def test_a_command_that_the_server_does_not_answer_can_be_given_up(tmp_path: Path) -> None:
    async with stage(tmp_path) as server, person(tmp_path, server.url) as someone:
        await someone.sees("first message")
        await server.server.kill()
        someone.types("/stats" + ENTER)
        await someone.sees("That did not work")
        someone.types(CTRL_C + CTRL_C)

        assert await someone.sees_the_end() == 0
