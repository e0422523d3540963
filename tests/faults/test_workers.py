"""Several workers on one port: each serves every session, one that dies is replaced, and no end leaves any behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path

import anyio
import pytest

from scripts.blackbox.arena import emit, script
from scripts.blackbox.follower import Follower
from scripts.blackbox.process import ROOT
from scripts.blackbox.redis_server import RedisServer
from scripts.blackbox.waiting import poll
from scripts.blackbox.wire import Broken
from tests.faults.stage import ENDLESS, Stage, answer_text, heard, is_counting, staged, until

WORKERS = 2
LEASE_S = 1.0
END_S = 15.0


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """Run a Redis for one test."""
    server = RedisServer(tmp_path / "redis")
    server.start()
    yield server
    server.stop()


@asynccontextmanager
async def working(folder: Path, redis: RedisServer) -> AsyncIterator[Stage]:
    """Set a stage with several workers that all serve; none is left when it is over."""
    settings = {"REDIS_URL": redis.url, "WORKERS": str(WORKERS), "LEASE_SECONDS": f"{LEASE_S:g}", "LOG_LEVEL": "info"}
    seen: set[int] = set()
    async with staged(folder, **settings) as stage:
        await stage.server.start()
        assert await poll(lambda: len(workers_of(stage)) == WORKERS, timeout_s=END_S)
        for worker in workers_of(stage):
            await until_serving(stage, worker)
        seen.update(workers_of(stage))
        try:
            yield stage
        finally:
            with suppress(FileNotFoundError):  # the parent is gone already
                seen.update(workers_of(stage))
            stage.server.kill_now()
            assert await gone(seen), stage.server.tail()


def workers_of(stage: Stage) -> set[int]:
    """Return the processes that serve, not the parent and what else it needs."""
    parent = stage.server.pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text("ascii").split()
    return {int(child) for child in children if b"spawn_main" in _command(child)}


def _command(process: str) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:  # it has ended
        return b""


def is_there(process: int) -> bool:
    """Say whether a process is there, and no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def gone(processes: set[int]) -> bool:
    """Wait until none of these is there any more."""
    return await poll(lambda: not any(map(is_there, processes)), timeout_s=END_S)


@contextmanager
def alone(stage: Stage, worker: int) -> Iterator[None]:
    """Let only this worker go on: what is answered meanwhile, on new connections, it answered."""
    others = workers_of(stage) - {worker}
    stage.server.wire.forget()
    for other in others:
        os.kill(other, signal.SIGSTOP)
    try:
        yield
    finally:
        for other in others:
            os.kill(other, signal.SIGCONT)
        stage.server.wire.forget()


async def until_serving(stage: Stage, worker: int) -> None:
    """Wait until a worker answers requests."""

    async def answers() -> bool:
        return (await stage.server.wire.call("GET", "/health/ready", timeout_s=1)).status == 200

    with alone(stage, worker):
        assert await until(answers), f"worker {worker} does not serve:\n{stage.server.tail()}"


async def test_each_worker_serves_every_session(tmp_path: Path, redis: RedisServer) -> None:
    """One takes the message, any shows the transcript; each has a folder of its own for what is only a cache."""
    async with working(tmp_path, redis) as stage:
        first, second = workers_of(stage)
        with alone(stage, first):
            answer = await stage.caller().chat("one", session_id="talk", wait=True)
            assert answer.status == 200, answer.body
        with alone(stage, second):
            answer = await stage.caller().chat("two", session_id="talk", wait=True)
            assert answer.status == 200, answer.body
            history = await stage.caller().messages("talk")

        assert [message["content"] for message in history if message["role"] == "user"] == ["one", "two"]
        assert sorted(path.name for path in stage.server.data.iterdir()) == ["worker-0", "worker-1"]


async def test_a_killed_worker_is_replaced_and_its_run_ends(tmp_path: Path, redis: RedisServer) -> None:
    """A client of it comes back to the other with its cursor; the run ends as interrupted, the text is all there."""
    async with working(tmp_path, redis) as stage:
        victim, other = workers_of(stage)
        with alone(stage, victim):
            run_id = await stage.run("talk", ENDLESS)
        talk = await stage.watch("talk")
        await heard(talk, 20)

        os.kill(victim, signal.SIGKILL)

        assert await talk.until_ended(run_id), "nobody ended the run of the dead worker"
        assert await poll(lambda: len(workers_of(stage)) == WORKERS, timeout_s=END_S)
        [successor] = workers_of(stage) - {other}
        assert successor != victim
        await until_serving(stage, successor)
        await stage.same(talk)
        assert is_counting(answer_text(talk))
        assert stage.ledger.outcome(talk.key, run_id) == "cancelled"


async def test_sigterm_drains_every_worker(tmp_path: Path, redis: RedisServer) -> None:
    """Streams of all workers get their last chunk; then the parent ends, by the signal, and nobody is left."""
    async with working(tmp_path, redis) as stage:
        workers = workers_of(stage)
        clients = []
        for number, worker in enumerate(sorted(workers)):
            client = Follower(stage.caller(), f"talk-{number}", stage.ledger)
            with alone(stage, worker):
                await stage.run(f"talk-{number}", ENDLESS)
                await client.connect()
            clients.append(client)
        async with anyio.create_task_group() as readers:
            for client in clients:
                readers.start_soon(_read_to_end, client)
            for client in clients:
                await heard(client, 20)
            code, _ = await stage.server.terminate()

        assert code == -signal.SIGTERM
        assert [client.ended_by for client in clients] == ["clean"] * WORKERS
        assert not any(map(is_there, workers))


async def test_workers_do_not_outlive_a_killed_parent(tmp_path: Path, redis: RedisServer) -> None:
    """A port that is served by nobody's children could not be served by the next start."""
    async with working(tmp_path, redis) as stage:
        workers = workers_of(stage)
        run_id = await stage.run("talk", ENDLESS)

        await stage.server.kill()

        assert await gone(workers)
        await stage.server.start()

        async def is_idle() -> bool:
            return (await stage.caller().state("talk")).json()["run"] is None

        assert await until(is_idle)
        assert (await stage.caller().interrupt("talk", run_id=run_id)).json()["outcome"] == "already_finished"


async def test_sighup_replaces_every_worker_while_requests_are_answered(tmp_path: Path, redis: RedisServer) -> None:
    """One after another, each by one that serves already: every message gets in, once, and no event is missed."""
    async with working(tmp_path, redis) as stage:
        before = workers_of(stage)
        talk = await stage.watch("talk")

        os.kill(stage.server.pid, signal.SIGHUP)

        said: list[str] = []
        while before & workers_of(stage) or len(workers_of(stage)) != WORKERS:
            said.append(script(emit(2, 0), {"text": f"{len(said)}"}))
            assert await until(partial(_accepted, stage, said[-1], f"message-{len(said)}")), stage.server.tail()
        history = [one["content"] for one in await stage.caller().messages("talk") if one["role"] == "user"]
        assert history == said
        await stage.same(talk)


async def _accepted(stage: Stage, message: str, message_id: str) -> bool:
    """Say something on a connection of its own; a worker that leaves may refuse it, or hang up before it hears it."""
    stage.server.wire.forget()
    answer = await stage.caller().chat(message, session_id="talk", message_id=message_id, wait=True)
    assert answer.status == 200 or answer.code == "draining", answer.body
    return answer.status == 200


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"WORKERS": "2"}, "WORKERS=2 needs REDIS_URL"),
        ({"WORKERS": "2", "REDIS_URL": "redis://127.0.0.1:1", "AGENTS": "missing.toml"}, "missing.toml"),
        ({"WORKERS": "2", "REDIS_URL": "redis://127.0.0.1:1", "HOST": "192.0.2.1", "AUTH": "proxy"}, "cannot listen"),
        ({"REDIS_URL": "redis://127.0.0.1:1", "AUTH": "visitor"}, "needs SECRET_KEY"),
        ({"REDIS_URL": "http://:hush@127.0.0.1:1"}, "REDIS_URL must begin with"),
        ({"REDIS_URL": "redis://:hu/sh@127.0.0.1:1"}, "REDIS_URL must be redis://"),
        ({"REDIS_PREFIX": "a{b}"}, "REDIS_PREFIX must be"),
        ({"LEASE_SECONDS": "0.5"}, "LEASE_SECONDS must be at least 1"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_what_cannot_work_is_refused_with_the_reason(settings: dict[str, str], reason: str, tmp_path: Path) -> None:
    """At the start, once, naming the setting; a password is not repeated."""
    ended = _run([sys.executable, "-m", "server"], {"PORT": "0", "DATA": str(tmp_path), **settings})

    assert ended.returncode == 1
    assert ended.stderr.count(reason) == 1
    assert "Traceback" not in ended.stderr
    assert "hu" not in ended.stderr.replace("REDIS_URL", "")


def test_without_the_extra_the_server_works_and_names_it_when_it_is_needed(tmp_path: Path) -> None:
    """The package redis is imported for REDIS_URL and for nothing else."""
    hide = "import sys; sys.modules['redis'] = None; from server.__main__ import main; "
    port = {"PORT": "0", "DATA": str(tmp_path), "NO_DOCS": "1"}

    needing = _run([sys.executable, "-c", f"{hide}main([])"], {**port, "REDIS_URL": "redis://127.0.0.1:1"})
    stop = "import os, signal, threading; threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start(); "
    without = _run([sys.executable, "-c", f"{hide}{stop}main([])"], port)

    assert needing.returncode == 1
    assert "pip install 'sessionstream[redis]'" in needing.stderr
    assert without.returncode == -signal.SIGTERM
    assert "Application startup complete" in without.stderr


def _run(command: list[str], settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], **settings}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)


async def _read_to_end(client: Follower) -> None:
    try:
        while await client.pump():
            pass
    except Broken as broken:
        client.ended_by = str(broken)
