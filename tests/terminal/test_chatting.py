"""Talking in the terminal: the real program in a pseudo-terminal, a real server."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.terminal.person import ALT_ENTER, CTRL_C, CTRL_D, ENTER, TAB, UP, person
from tests.terminal.stage import ENDLESS, script, stage, text

MARKDOWN = "# Title\n\nSome **bold** words\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\nx = 1\n```\n\nand "


async def test_an_answer_streams_as_markdown(tmp_path: Path) -> None:
    async with stage(tmp_path) as server, person(tmp_path, server.url) as someone:
        await someone.sees("Your first message begins a new session")
        someone.types(script(text(MARKDOWN), ENDLESS) + ENTER)

        await someone.sees("Title", "Some bold words", "  x = 1", "and", "answering")

        assert {"Title", "Some bold words", "  x = 1", "and"} <= {line.rstrip() for line in someone.lines}
        assert (await server.sessions())[0]["run"] is not None


async def test_ctrl_c_stops_the_answer_and_not_the_program(tmp_path: Path) -> None:
    async with stage(tmp_path) as server, person(tmp_path, server.url) as someone:
        someone.types(script(text("half of "), ENDLESS) + ENTER)
        await someone.sees("half of", "Ctrl-C stops")
        someone.types(CTRL_C)
        await someone.sees("Stopped.")
        await someone.sees_no("answering")
        someone.types("still there?" + ENTER)

        await someone.sees("still there?", "I am the scripted agent")
        assert (await server.texts())[1:3] == ["half of ", "still there?"]


async def test_the_signal_stops_the_answer_too(tmp_path: Path) -> None:
    async with stage(tmp_path) as server, person(tmp_path, server.url) as someone:
        someone.types(script(text("half of "), ENDLESS) + ENTER)
        await someone.sees("half of", "Ctrl-C stops")
        someone.is_signalled(signal.SIGINT)
        await someone.sees("Stopped.")
        someone.types(CTRL_D)

        assert await someone.sees_the_end() == 0


async def test_ctrl_c_drops_what_is_typed_and_twice_leaves(tmp_path: Path) -> None:
    async with stage(tmp_path) as server, person(tmp_path, server.url) as someone:
        await someone.sees("first message")
        someone.types("never mind")
        await someone.sees("> never mind")
        someone.types(CTRL_C)
        await someone.sees_no("never mind")
        someone.types(CTRL_C + CTRL_C)

        assert await someone.sees_the_end() == 0
        assert await server.sessions() == []


async def test_leaving_lets_the_answer_go_on_and_says_so(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        async with person(tmp_path, server.url) as someone:
            someone.types(script(text("one "), {"emit": {"tokens": 3, "rate": 2}}, ENDLESS) + ENTER)
            await someone.sees("one w0")
            someone.types(CTRL_D)
            await someone.sees("goes on at the server")
            assert await someone.sees_the_end() == 0
        assert "one w0" in someone.text
        async with person(tmp_path, server.url) as someone:
            await someone.sees("one w0 w1 w2", "answering")


async def test_what_was_sent_before_leaving_arrives(tmp_path: Path) -> None:
    async with stage(tmp_path) as server, person(tmp_path, server.url) as someone:
        await someone.sees("first message")
        someone.types("last words" + ENTER + CTRL_D)

        assert await someone.sees_the_end() == 0
        assert (await server.texts())[0] == "last words"


async def test_what_cannot_be_sent_before_leaving_is_told(tmp_path: Path) -> None:
    async with stage(tmp_path) as server, person(tmp_path, server.url) as someone:
        await someone.sees("first message")
        await server.server.kill()
        someone.types("last words" + ENTER + CTRL_D)

        await someone.sees("Not sent: last words")


async def test_the_session_is_remembered_across_starts(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        async with person(tmp_path, server.url) as someone:
            someone.types("remember me" + ENTER)
            await someone.sees("I am the scripted agent")
            someone.types("/exit" + ENTER)
            assert await someone.sees_the_end() == 0
        async with person(tmp_path, server.url) as someone:
            await someone.sees("Session “remember me”", "I am the scripted agent")
            someone.types(UP)
            await someone.sees("> /exit")
            someone.types(UP)
            await someone.sees_that(lambda: someone.lines[-1] == "> remember me")
            someone.types(ENTER)
            await someone.sees_that(lambda: someone.text.count("I am the scripted agent") == 2)
        async with person(tmp_path, server.url, "--new") as someone:
            await someone.sees("Your first message begins a new session")

        assert len(await server.sessions()) == 1


async def test_a_killed_server_is_waited_for_and_nothing_is_lost_or_repeated(tmp_path: Path) -> None:
    async with stage(tmp_path) as server, person(tmp_path, server.url) as someone:
        someone.types(script(text("first paragraph\n\nsecond par"), ENDLESS) + ENTER)
        await someone.sees("second par", "answering")
        await server.server.kill()
        await someone.sees("no connection (connection refused), trying again")
        someone.types("asked meanwhile" + ENTER)
        await someone.sees("asked meanwhile", "not sent yet")
        await server.server.start()
        await someone.sees_no("no connection", "Stopped.", "I am the scripted agent")

        shown = someone.text
        assert [shown.count(words) for words in ("\nsecond par", "> asked meanwhile", "Stopped.")] == [1, 1, 1]
        assert (await server.texts()).count("asked meanwhile") == 1


async def test_a_server_that_drains_is_come_back_to(tmp_path: Path) -> None:
    async with stage(tmp_path) as server, person(tmp_path, server.url) as someone:
        someone.types("hello" + ENTER)
        await someone.sees("I am the scripted agent")
        await server.server.terminate()
        await server.server.start()
        someone.types("hello again" + ENTER)

        await someone.sees_that(lambda: someone.text.count("I am the scripted agent") == 2)


async def test_it_starts_before_the_server_does(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        await server.server.kill()
        async with person(tmp_path, server.url) as someone:
            someone.types("early bird" + ENTER)
            await someone.sees("not sent yet")
            await server.server.start()
            await someone.sees("I am the scripted agent")

            assert (await server.texts())[0] == "early bird"


async def test_unsent_messages_come_back_on_ctrl_c(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        await server.server.kill()
        async with person(tmp_path, server.url) as someone:
            someone.types("too early" + ENTER)
            await someone.sees("not sent yet")
            someone.types(CTRL_C)
            await someone.sees_that(
                lambda: "not sent yet" not in someone.text and someone.lines[-1:] == ["> too early"]
            )


async def test_messages_to_a_busy_session_wait_their_turn(tmp_path: Path) -> None:
    async with stage(tmp_path) as server, person(tmp_path, server.url) as someone:
        someone.types(script(text("busy "), ENDLESS) + ENTER)
        await someone.sees("answering")
        someone.types("and then this" + ENTER)
        await someone.sees("waits > and then this")
        someone.types(CTRL_C)
        await someone.sees("Stopped.", "I am the scripted agent")
        await someone.sees_no("waits >")


async def test_two_windows_show_the_same(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    async with stage(tmp_path) as server:
        await server.caller.call("POST", "/api/sessions", {"session_id": "shared", "title": "Ours"})
        async with (
            person(tmp_path, server.url, "--session", "shared") as one,
            person(tmp_path / "other", server.url, "--session", "shared") as other,
        ):
            await one.sees("Session “Ours”")
            await other.sees("Session “Ours”")
            one.types(script(text("from one "), ENDLESS) + ENTER)
            await one.sees("\nfrom one\n", "answering")
            await other.sees("\nfrom one\n", "answering")
            other.types(CTRL_C)

            await one.sees("Stopped.")
            await other.sees("Stopped.")


async def test_a_session_that_was_deleted_is_told_with_a_way_on(tmp_path: Path) -> None:
    async with stage(tmp_path) as server, person(tmp_path, server.url) as someone:
        someone.types("hello" + ENTER)
        await someone.sees("I am the scripted agent")
        await server.caller.call("DELETE", f"/api/sessions/{await server.the_session()}")
        await someone.sees("This session was deleted.", "begins a new one")
        someone.types("another one" + ENTER)
        await someone.sees_that(lambda: someone.text.count("I am the scripted agent") == 2)

        assert (await server.texts())[0] == "another one"


async def test_a_session_that_is_gone_at_the_start_is_told(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        async with person(tmp_path, server.url) as someone:
            someone.types("hello" + ENTER)
            await someone.sees("I am the scripted agent")
        await server.caller.call("DELETE", f"/api/sessions/{await server.the_session()}")
        async with person(tmp_path, server.url) as someone:
            await someone.sees("This session was deleted.", "Your next message begins a new one")
        async with person(tmp_path, server.url) as someone:
            await someone.sees("Your first message begins a new session")


async def test_refused_messages_come_back_with_the_reason(tmp_path: Path) -> None:
    async with stage(tmp_path, MAX_MESSAGE_CHARS="10") as server, person(tmp_path, server.url) as someone:
        someone.types("longer than that" + ENTER)
        await someone.sees("Not sent:")

        await someone.sees_that(lambda: someone.lines[-1] == "> longer than that")
        assert await server.sessions() == []


async def test_several_lines_history_and_completion(tmp_path: Path) -> None:
    async with stage(tmp_path) as server, person(tmp_path, server.url) as someone:
        await someone.sees("first message")
        someone.types(f"one{ALT_ENTER}two\\{ENTER}three{ENTER}")
        await someone.sees("> one", "  two", "  three", "I am the scripted agent")
        someone.types("\x1b[200~pasted\nlines\x1b[201~")
        await someone.sees("> pasted", "  lines")
        someone.types(CTRL_C)
        someone.types("/stat")
        await someone.sees("/status", "/stats")
        someone.types(TAB)
        await someone.sees_that(lambda: "> /status" in someone.lines)
        someone.types(ENTER)
        await someone.sees("connection  live")

        assert (await server.texts())[0] == "one\ntwo\nthree"


async def test_wide_characters_and_a_window_that_changes(tmp_path: Path) -> None:
    async with stage(tmp_path) as server, person(tmp_path, server.url, columns=60) as someone:
        await someone.sees("first message")
        someone.types("日本語 😀 עברית" + ENTER)
        await someone.sees("\n日本語 😀 עברית\n", "scripted agent")
        someone.resizes(40, 15)
        someone.types(script(text("word " * 30), ENDLESS) + ENTER)
        await someone.sees("answering")
        await someone.sees_that(lambda: "word word word word word word word word" in someone.lines)
        someone.types(CTRL_C)
        await someone.sees("Stopped.")


async def test_no_color_means_no_colour(tmp_path: Path) -> None:
    async with stage(tmp_path) as server, person(tmp_path, server.url, NO_COLOR="1") as someone:
        someone.types(script(text(MARKDOWN)) + ENTER)
        await someone.sees("\n  x = 1")
        someone.types(CTRL_D)
        await someone.sees_the_end()

        styles = {part for chunk in someone.raw.split(b"\x1b[")[1:] for part in _style(chunk)}
        assert styles <= {b"0", b"1", b"2", b"3", b"4", b"39", b"49", b""}


def _style(chunk: bytes) -> list[bytes]:
    parameters, mark, _ = chunk.partition(b"m")
    return parameters.split(b";") if mark and all(byte in b"0123456789;" for byte in parameters) else []


async def test_what_others_say_does_not_command_the_terminal(tmp_path: Path) -> None:
    hostile = "safe\x1b[2J\x1b]0;stolen\x07 \x1b[31mred\x9b2J \u202eturned"
    async with stage(tmp_path) as server, person(tmp_path, server.url) as someone:
        await server.caller.chat(
            script(text(hostile), {"tool": {"name": "search", "args": {"q": hostile}}}), session_id="s"
        )
        await server.caller.call("PATCH", "/api/sessions/s", {"title": "title\x1b[2J"})
        await someone.sees("first message")
        someone.types("/session s" + ENTER)
        await someone.sees("safe[2J", "[31mred", "search")

        assert b"\x1b]0;" not in someone.raw
        assert b"\x1b[31mred" not in someone.raw
        assert "\u202e".encode() not in someone.raw
        assert someone.text.startswith("http://")


async def test_every_word_of_a_fast_answer_is_shown_once(tmp_path: Path) -> None:
    paragraphs = ["\n".join(f"- item {10 * number + at}" for at in range(10)) for number in range(40)]
    code = "\n".join(f"line {number}" for number in range(200))
    steps = [text(paragraph + "\n\nbetween\n\n") for paragraph in paragraphs]
    async with stage(tmp_path) as server:
        await server.caller.call("POST", "/api/sessions", {"session_id": "s", "title": "Fast"})
        async with person(tmp_path, server.url, "--session", "s") as someone:
            await someone.sees("Session “Fast”")
            await server.caller.chat(script(*steps, text(f"```\n{code}\n```\n"), text("the end")), session_id="s")
            await someone.sees("\nthe end")

        shown = [line.split() for line in someone.lines]
        assert [words[2] for words in shown if words[:2] == ["•", "item"]] == [str(number) for number in range(400)]
        assert [words[1] for words in shown if words[:1] == ["line"]] == [str(number) for number in range(200)]
        assert shown.count(["between"]) == 40


async def test_visitors_are_remembered(tmp_path: Path) -> None:
    async with stage(tmp_path, AUTH="visitor") as server:
        async with person(tmp_path, server.url) as someone:
            someone.types("who am I" + ENTER)
            await someone.sees("I am the scripted agent")
            someone.types(CTRL_D)
            await someone.sees_the_end()
        async with person(tmp_path, server.url) as someone:
            await someone.sees("Session “who am I”", "I am the scripted agent")
        (tmp_path / "data" / "visitor.key").unlink()
        await server.server.kill()
        await server.server.start()
        async with person(tmp_path, server.url) as someone:
            await someone.sees("is not there any more")
            someone.types("I am new here" + ENTER)
            await someone.sees("I am the scripted agent")
        assert (tmp_path / "sessionstream" / "chat.json").stat().st_mode & 0o077 == 0


async def test_users_have_sessions_of_their_own(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        async with person(tmp_path, server.url, "--user", "zoë") as someone:
            someone.types("mine" + ENTER)
            await someone.sees("I am the scripted agent")
            someone.types("/status" + ENTER)
            await someone.sees("zoë")
        async with person(tmp_path, server.url, "--user", "ann") as someone:
            await someone.sees("Your first message begins a new session")


async def test_a_program_that_is_told_to_end_leaves_the_answer_running(tmp_path: Path) -> None:
    async with stage(tmp_path) as server, person(tmp_path, server.url) as someone:
        someone.types(script(text("going on "), ENDLESS) + ENTER)
        await someone.sees("answering")
        someone.is_signalled(signal.SIGTERM)
        await someone.sees("goes on at the server")
        assert await someone.sees_the_end() == 0

        assert (await server.sessions())[0]["run"]["status"] == "running"


async def test_ctrl_c_in_haste_stops_the_answer_and_no_more(tmp_path: Path) -> None:
    async with stage(tmp_path) as server, person(tmp_path, server.url) as someone:
        someone.types(script(text("half of "), ENDLESS) + ENTER)
        await someone.sees("half of", "Ctrl-C stops")
        someone.types(CTRL_C + CTRL_C)
        await someone.sees("Stopped.")
        someone.types("still there?" + ENTER)
        await someone.sees("I am the scripted agent")
