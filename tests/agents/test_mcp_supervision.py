"""What looks after an MCP server: when it does not start, dies, hangs, or is wanted no longer."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import anyio
import pytest

from scripts.blackbox.waiting import poll
from tests.support.mcp_running import SCRIPT, WAIT_S, is_soon, marked, one_of, running, stdio


def _is_alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text("ascii")
    except OSError:
        return False
    return "State:\tZ" not in status


async def test_a_server_that_cannot_be_started_is_down_and_tried_again(tmp_path: Path) -> None:
    """Down is said with the reason, calls do not wait for it, and it comes back by itself."""
    command = tmp_path / "late"
    async with running(stdio(tmp_path / "marks", command=str(command))) as servers:
        sums = one_of(servers)
        outcome = await sums.call("add", {"a": 1, "b": 2})
        health = sums.health()
        command.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', encoding="utf-8")
        command.chmod(0o755)
        await is_soon(sums, "ok")

        assert health == {
            "status": "down",
            "required": False,
            "tools": 0,
            "detail": f"{command} cannot be started: No such file or directory",
        }
        assert (outcome.text, outcome.is_error) == (f"the MCP server sums is down: {health['detail']}", True)
        assert "detail" not in sums.health()


async def test_a_server_that_ends_at_once_is_down(tmp_path: Path) -> None:
    async with running(stdio(tmp_path / "marks", args=("-c", "raise SystemExit(3)"))) as servers:
        assert one_of(servers).health()["status"] == "down"


async def test_a_server_that_says_nothing_is_down(tmp_path: Path) -> None:
    """A process is no server before it answers."""
    silent = stdio(tmp_path / "marks", args=("-c", "import time; time.sleep(600)"))
    async with running(silent, connect_timeout_s=0.3) as servers:
        assert one_of(servers).health()["detail"] == "it did not answer within 0.3 s"


async def test_noise_on_stdout_is_no_harm(tmp_path: Path) -> None:
    """Some print what belongs into a log where messages are expected."""
    run = f"import runpy, sys; sys.argv[1:] = ['stdio']; runpy.run_path({str(SCRIPT)!r}, None, '__main__')"
    async with running(stdio(tmp_path / "marks", args=("-uc", f"print('hello'); {run}"))) as servers:
        assert (await one_of(servers).call("add", {"a": 1, "b": 2})).text == "3"


async def test_a_server_that_is_killed_while_nobody_calls_is_started_again(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    async with running(stdio(marks), check_s=1000) as servers:
        sums = one_of(servers)
        pid, _ = (await sums.call("processes", {})).structured["result"]
        os.kill(pid, signal.SIGKILL)
        await marked(marks, "started", "started")

        assert (await sums.call("add", {"a": 1, "b": 2})).text == "3"


async def test_a_server_that_is_busy_is_not_taken_for_dead(tmp_path: Path) -> None:
    """Many can do one thing at a time: asked meanwhile, they are silent."""
    marks = tmp_path / "marks"
    async with running(stdio(marks), check_s=0.05, list_timeout_s=0.1) as servers:
        outcome = await one_of(servers).call("block", {"seconds": 1})

        assert outcome.text == "blocked"
        assert await marked(marks, "started") == ["started"]


async def test_a_server_that_hangs_is_started_again(tmp_path: Path) -> None:
    """A call that timed out is a reason to look, and silence without a call is the end."""
    marks = tmp_path / "marks"
    async with running(stdio(marks), call_timeout_s=2, list_timeout_s=0.3) as servers:
        hung = await one_of(servers).call("block", {"seconds": 600})
        await marked(marks, "started", "started")
        after = await one_of(servers).call("add", {"a": 1, "b": 2})

    assert hung.text == "sums.block did not answer within 2 s"
    assert after.text == "3"


async def test_a_server_ends_with_all_it_started(tmp_path: Path) -> None:
    """No process is left behind by a node that stops."""
    async with running(stdio(tmp_path / "marks")) as servers:
        pids = (await one_of(servers).call("processes", {})).structured["result"]
        were_alive = [_is_alive(pid) for pid in pids]

    assert were_alive == [True, True]
    assert await poll(lambda: not any(_is_alive(pid) for pid in pids), timeout_s=WAIT_S)


async def test_a_server_that_ignores_every_sign_is_killed(tmp_path: Path) -> None:
    deaf = "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    path = tmp_path / "pid"
    script = f"import os, pathlib; pathlib.Path({str(path)!r}).write_text(str(os.getpid())); {deaf}"
    with anyio.fail_after(WAIT_S):
        async with running(stdio(tmp_path / "marks", args=("-c", script)), connect_timeout_s=0.5) as servers:
            assert one_of(servers).health()["status"] == "down"
            pid = int(path.read_text("ascii"))

    assert await poll(lambda: not _is_alive(pid), timeout_s=WAIT_S)


async def test_a_server_sees_nothing_of_our_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of other services are not for it; what its configuration names is."""
    monkeypatch.setenv("MODEL_API_KEY", "secret")
    marks = tmp_path / "marks"
    async with running(stdio(marks, env={"MARKS": str(marks), "GIVEN": "this"})) as servers:
        sums = one_of(servers)
        seen = [(await sums.call("environment", {"name": name})).text for name in ("MODEL_API_KEY", "GIVEN", "PATH")]

    assert seen == ["", "this", os.environ["PATH"]]
