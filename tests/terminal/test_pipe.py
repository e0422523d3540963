"""`echo question | scripts/chat -`: the answer alone on stdout, errors on stderr, an exit status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.abc import Process

from scripts.terminal.pipe import complain
from tests.terminal.person import ENTER, ROOT, WAIT_S, person
from tests.terminal.stage import ENDLESS, Stage, script, stage, text

PROGRAM = (sys.executable, "-m", "scripts.terminal")


async def piped(tmp_path: Path, question: str, *arguments: str) -> tuple[int, str, str]:
    """Return exit status, stdout and stderr."""
    with anyio.fail_after(WAIT_S):
        done = await anyio.run_process(
            [*PROGRAM, *arguments], input=question.encode(), cwd=ROOT, env=_env(tmp_path), check=False
        )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def _env(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "XDG_STATE_HOME": str(tmp_path)}


@asynccontextmanager
async def asking(
    tmp_path: Path, server: Stage, question: str, *arguments: str, stdout: int = subprocess.PIPE
) -> AsyncIterator[Process]:
    """Let the program answer while the block runs."""
    async with await anyio.open_process(
        [*PROGRAM, server.url, "-", *arguments], cwd=ROOT, env=_env(tmp_path), stdout=stdout, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        await process.stdin.send(question.encode())
        await process.stdin.aclose()
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()


async def told(process: Process, so_far: str, until: str) -> str:
    """Return stdout up to and with some words."""
    assert process.stdout is not None
    with anyio.fail_after(WAIT_S):
        while until not in so_far:
            so_far += (await process.stdout.receive()).decode()
    return so_far


async def rest(process: Process, so_far: str) -> tuple[int, str]:
    """Return exit status and stdout to its end."""
    assert process.stdout is not None
    with anyio.fail_after(WAIT_S):
        async for piece in process.stdout:
            so_far += piece.decode()
        return await process.wait(), so_far


async def test_the_answer_alone_is_printed_without_what_a_terminal_would_obey(tmp_path: Path) -> None:
    answer = "**bold** 日本語 \x1b[31m\n\n```\ncode\n```"
    async with stage(tmp_path) as server:
        found = await piped(
            tmp_path, script({"reasoning": "hm"}, {"tool": {"name": "t"}}, text(answer)), server.url, "-"
        )

        assert found == (0, answer.replace("\x1b", "") + "\n", "")
        assert await piped(tmp_path, script(text("line\n")), server.url) == (0, "line\n", "")


async def test_each_question_has_a_session_of_its_own_unless_told(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        for arguments in ([], [], ["--session", "mine"], ["--session", "mine"]):
            assert (await piped(tmp_path, script(text("ok")), server.url, "-", *arguments))[0] == 0
        sessions = {one["session_id"]: one["message_count"] for one in await server.sessions()}

        assert len(sessions) == 3
        assert sessions["mine"] == 4


async def test_it_goes_on_in_the_session_that_was_open_last(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        async with person(tmp_path, server.url) as someone:
            someone.types("hello" + ENTER)
            await someone.sees("I am the scripted agent")
        code, out, _ = await piped(tmp_path, script({"history": True}), server.url, "-", "--continue")

        assert (code, "hello" in out) == (0, True)


async def test_a_failure_says_why(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        code, out, err = await piped(tmp_path, script(text("half"), {"raise": "boom"}), server.url, "-")

    assert (code, out) == (1, "half\n")
    assert err.startswith("chat: the answer failed: ")


@pytest.mark.parametrize(
    ("question", "arguments", "code", "why"),
    [
        ("", ["-"], 2, "there is no question on stdin"),
        ("hi", ["-", "--agent", "nobody"], 1, "agent must be one of"),
        ("hi", ["ftp://x", "-"], 2, "no URL of a server"),
        ("hi", ["-", "--frobnicate"], 2, "--frobnicate"),
    ],
)
async def test_what_cannot_be_asked_is_refused(
    tmp_path: Path, question: str, arguments: list[str], code: int, why: str
) -> None:
    async with stage(tmp_path) as server:
        where = [] if "ftp://x" in arguments else [server.url]
        found = await piped(tmp_path, question, *where, *arguments)

        assert found[:2] == (code, "")
        assert why in found[2]
        assert await server.sessions() == []


async def test_without_a_server_it_gives_up(tmp_path: Path) -> None:
    found = await piped(tmp_path, "hi", "127.0.0.1:1", "-", "--patience", "0.1")

    assert found == (3, "", "chat: no answer from http://127.0.0.1:1: connection refused\n")


async def test_a_terminal_is_needed_to_chat(tmp_path: Path) -> None:
    async with stage(tmp_path) as server, person(tmp_path, server.url, "-") as someone:
        someone.types(script(text("# Title\n\n**drawn**")) + "\n\x04")
        await someone.sees("\nTitle\n\ndrawn")

        assert await someone.sees_the_end() == 0


async def test_json_holds_all_of_it(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        code, out, _ = await piped(
            tmp_path, script(text("ok"), {"raise": "boom"}), server.url, "--json", "--session", "s"
        )
        found = json.loads(out)

    assert (code, found["session_id"], found["outcome"], found["text"]) == (1, "s", "failed", "ok")
    assert [message["content"] for message in found["messages"]] == ["ok"]


async def test_json_spells_control_characters_and_keeps_them(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        _, out, _ = await piped(tmp_path, script(text("a\x1b[2J\x9b2J\x7f")), server.url, "--json")

    assert json.loads(out)["text"] == "a\x1b[2J\x9b2J\x7f"
    assert all(character == "\n" or character.isprintable() for character in out)


def test_what_is_said_on_stderr_commands_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert complain("a\x1b[2Jb\x9b2J\u202ec", 1) == 1

    assert capsys.readouterr().err == "chat: a[2Jb2Jc\n"


@pytest.mark.parametrize("redirection", [">/dev/full", ">&-", "<&-"])
async def test_an_answer_that_cannot_be_written_is_one_line_of_trouble(tmp_path: Path, redirection: str) -> None:
    async with stage(tmp_path) as server:
        command = f"{sys.executable} -m scripts.terminal {server.url} - {redirection}"
        done = await anyio.run_process(command, input=b"hello", cwd=ROOT, env=_env(tmp_path), check=False)

    assert done.returncode in (1, 2)
    assert done.stderr.startswith(b"chat: ")
    assert done.stderr.count(b"\n") == 1


async def test_settings_come_from_the_environment_too(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        env = {**_env(tmp_path), "CHAT_URL": server.url, "CHAT_USER": "zoë"}
        done = await anyio.run_process([*PROGRAM, "-"], input=b"hello", cwd=ROOT, env=env)
        mine = await server.caller.call("GET", "/api/sessions", headers={"X-Forwarded-User": "zoë"})

    assert b"I am the scripted agent" in done.stdout
    assert [one["title"] for one in mine.json()["sessions"]] == ["hello"]


async def test_a_password_in_the_address_is_not_shown(tmp_path: Path) -> None:
    found = await piped(tmp_path, "hi", "http://ann:secret@127.0.0.1:1", "-", "--patience", "0.1")

    assert found == (3, "", "chat: no answer from http://ann@127.0.0.1:1: connection refused\n")


async def test_a_question_of_the_agent_is_told(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        code, out, err = await piped(tmp_path, "act", server.url, "-", "--agent", "asking", "--session", "s")

    assert (code, out) == (4, "")
    assert err == f"chat: the agent asks: Shall I act?. To answer: scripts/chat {server.url} --session s\n"


async def test_it_waits_its_turn_in_a_busy_session(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        await server.caller.chat(script(text("busy"), ENDLESS), session_id="s")
        async with asking(tmp_path, server, script(text("mine")), "--session", "s") as process:
            stream, seen = await server.caller.stream("s"), ""
            while "mine" not in seen:
                seen += repr(await stream.read(WAIT_S))
            stream.close()
            await server.caller.interrupt("s")

            assert await rest(process, "") == (0, "mine\n")


async def test_ctrl_c_stops_the_answer(tmp_path: Path) -> None:
    async with stage(tmp_path) as server, asking(tmp_path, server, script(text("half"), ENDLESS)) as process:
        so_far = await told(process, "", "half")
        process.send_signal(signal.SIGINT)

        assert (await rest(process, so_far))[0] == 130
        assert (await server.sessions())[0]["run"] is None


async def test_a_closed_pipe_stops_nothing(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        question = script(text("one "), {"emit": {"tokens": 10, "rate": 20}})
        ours, theirs = os.pipe()
        async with asking(tmp_path, server, question, stdout=theirs) as process:
            os.close(theirs)
            with anyio.fail_after(WAIT_S):
                await anyio.wait_readable(ours)
                os.close(ours)
                assert await process.wait() == 141
        with anyio.fail_after(WAIT_S):
            while (await server.sessions())[0]["run"] is not None:
                pass

        assert (await server.texts())[1] == "one w0 w1 w2 w3 w4 w5 w6 w7 w8 w9 "


async def test_a_restart_in_mid_answer_is_survived(tmp_path: Path) -> None:
    async with stage(tmp_path) as server, asking(tmp_path, server, script(text("half"), ENDLESS)) as process:
        so_far = await told(process, "", "half")
        await server.server.kill()
        await server.server.start()

        assert await rest(process, so_far) == (1, "half\n")
