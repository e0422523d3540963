"""What `deploy/`, the Dockerfile and docs/deployment.md say works: as far as it runs without containers, it is run.

nginx with the configuration of `deploy/`, its addresses put in, stands in front of two real nodes on a Redis with the
configuration of `deploy/`. Of the image, what is copied and what is started is checked; it is not built here.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import fields
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import pytest

from scripts.blackbox.arena import emit, script
from scripts.blackbox.caller import Caller
from scripts.blackbox.follower import Follower
from scripts.blackbox.process import Server
from scripts.blackbox.redis_server import RedisServer, free_ports
from scripts.blackbox.wire import Wire
from server.settings import Settings
from tests.faults.stage import ENDLESS, Stage, answer_text, heard, is_counting, staged, until

ROOT: Final = Path(__file__).resolve().parents[1]
DEPLOY: Final = ROOT / "deploy"
DOCKERFILE: Final = (ROOT / "Dockerfile").read_text("utf-8")
COMPOSE: Final = (ROOT / "compose.yaml").read_text("utf-8")
DOCUMENT: Final = (ROOT / "docs" / "deployment.md").read_text("utf-8")
SETTINGS: Final = {field.name.upper() for field in fields(Settings)}
NODE: Final = {"LEASE_SECONDS": "1", "HEARTBEAT_SECONDS": "0.5"}
STREAMS: Final = 4

NGINX: Final = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/conf.d/*.conf;
}}
"""


# --- nginx, Redis and two nodes


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """Run a Redis as `deploy/` configures it."""
    lines = (shlex.split(line, comments=True) for line in (DEPLOY / "redis.conf").read_text("utf-8").splitlines())
    server = RedisServer(tmp_path / "redis", config={line[0]: line[1] for line in lines if line})
    server.start()
    yield server
    server.stop()


def configured_nginx(folder: Path, port: int, upstreams: list[int]) -> list[str]:
    """Put addresses of this machine into the configuration of `deploy/`; return the command that runs nginx with it."""
    text = (DEPLOY / "nginx.conf").read_text("utf-8")
    text, count = re.subn(r"^    listen 80;", f"    listen 127.0.0.1:{port};", text, flags=re.MULTILINE)
    assert count == 1
    for number, upstream in enumerate(upstreams, 1):
        assert text.count(f" server-{number}:8000 ") == 1
        text = text.replace(f" server-{number}:8000 ", f" 127.0.0.1:{upstream} ")
    (folder / "conf.d").mkdir(parents=True)
    (folder / "conf.d" / "default.conf").write_text(text, "utf-8")
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder), "utf-8")
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/sbin:/usr/local/sbin")
    assert nginx is not None, "nginx is missing: `scripts/install test` installs it, or says how"
    return [nginx, "-c", str(folder / "nginx.conf"), "-p", str(folder), "-e", str(folder / "error.log")]


@asynccontextmanager
async def deployed(folder: Path, redis: RedisServer) -> AsyncIterator[tuple[Stage, list[Server], Wire]]:
    """Run two nodes on one Redis with nginx in front; give their stage, the nodes and the way through nginx."""
    settings = {**NODE, "REDIS_URL": redis.url}
    (folder / "other").mkdir()
    async with staged(folder, **settings) as stage, AsyncExitStack() as stack:
        nodes = [stage.server, Server(folder / "other", settings=settings)]
        stack.callback(nodes[1].kill_now)
        for node in nodes:
            await node.start()
        wire = Wire("127.0.0.1", free_ports(1)[0])
        command = configured_nginx(folder / "nginx", wire.port, [node.wire.port for node in nodes])
        stack.enter_context(_running(command))
        stack.callback(wire.forget)
        stack.callback(nodes[1].wire.forget)
        assert await until(partial(_answers, wire)), (folder / "nginx" / "error.log").read_text("utf-8")
        yield stage, nodes, wire


@contextmanager
def _running(command: list[str]) -> Iterator[None]:
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


async def _answers(wire: Wire) -> bool:
    return (await wire.call("GET", "/health/ready")).status == 200


async def _follow(stage: Stage, wire: Wire) -> list[Follower]:
    clients = [Follower(Caller(wire, "user"), "talk", stage.ledger) for _ in range(STREAMS)]
    for client in clients:
        stage.tasks.start_soon(client.follow)
        assert await client.until_attached(), client.ended_by
    return clients


async def _said(caller: Caller, message: str, message_id: str, runs: list[str]) -> bool:
    """Say something as a careful client does: with an id, again while the answer is that it may be tried again."""
    answer = await caller.chat(message, session_id="talk", message_id=message_id, on_busy="interrupt")
    if answer.status != 202:
        assert answer.status in (502, 503), answer.body
        return False
    runs.append(answer.json()["run_id"])
    return True


async def test_clients_go_on_at_another_node_when_theirs_is_killed(tmp_path: Path, redis: RedisServer) -> None:
    """Through nginx, each of two nodes killed in turn under streams of both: every client holds the same in the end."""
    async with deployed(tmp_path, redis) as (stage, nodes, wire):
        clients = await _follow(stage, wire)
        runs: list[str] = []
        for number, victim in enumerate(nodes):
            assert await until(partial(_said, Caller(wire, "user"), script(ENDLESS), f"endless-{number}", runs))
            for client in clients:
                await heard(client, 20)

            await victim.kill()

            assert await until(partial(_said, Caller(wire, "user"), script(emit(20, 0)), f"short-{number}", runs))
            for client in clients:
                assert await client.until_ended(runs[-1]), f"{client.ended_by}\n{nodes[1 - number].tail()}"
            await victim.start()
        for client in clients:
            await stage.same(client)
            assert is_counting(answer_text(client))
            assert stage.ledger.outcome(client.key, runs[0]) == "cancelled"
            assert stage.ledger.outcome(client.key, runs[-1]) == "success"
        assert stage.tally.counts["snapshots"] == STREAMS, "a client lost its place in the log"


async def test_a_rolling_restart_loses_no_message_and_no_event(tmp_path: Path, redis: RedisServer) -> None:
    """As the document has it: SIGTERM, start, wait until it is ready, the next; people talk and watch meanwhile."""
    async with deployed(tmp_path, redis) as (stage, nodes, wire):
        clients = await _follow(stage, wire)
        said: list[str] = []
        runs: list[str] = []
        is_over = anyio.Event()

        async def talk() -> None:
            while not is_over.is_set():
                said.append(script(emit(3, 0), {"text": str(len(said))}))
                assert await until(partial(_said, Caller(wire, "user"), said[-1], f"message-{len(said)}", runs))
                assert await clients[0].until_ended(runs[-1])

        async with anyio.create_task_group() as people:
            people.start_soon(talk)
            for node in nodes:
                await node.terminate()
                await node.start()
            is_over.set()
        history = await Caller(wire, "user").messages("talk")
        assert [one["content"] for one in history if one["role"] == "user"] == said
        for client in clients:
            await stage.same(client)
        assert stage.tally.counts["snapshots"] == STREAMS, "a client lost its place in the log"


def test_nginx_takes_the_configuration(tmp_path: Path) -> None:
    """By its own check, without a warning."""
    command = configured_nginx(tmp_path / "nginx", 8080, [8001, 8002])
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True, timeout=30, check=False)

    assert checked.returncode == 0, checked.stderr
    assert "warn" not in checked.stderr


async def test_the_user_of_redis_in_the_document_may_do_what_a_node_does(tmp_path: Path, redis: RedisServer) -> None:
    """Keys and channels of the prefix only, nothing dangerous: two nodes work with it."""
    [line] = re.findall(r"^ACL SETUSER .*$", DOCUMENT, flags=re.MULTILINE)
    assert redis.call(*line.split()) == b"+OK"
    assert redis.call("ACL", "SETUSER", "default", "off") == b"+OK"
    url = redis.url.replace("redis://", "redis://sessionstream:password@")
    async with staged(tmp_path, REDIS_URL=url, **NODE) as stage:
        await stage.server.start()
        talk = await stage.watch("talk")
        run_id = await stage.run("talk", emit(20, 0))
        assert await talk.until_ended(run_id)
        await stage.same(talk)
        assert (await stage.readiness())[0] == 200
        assert "password" not in stage.server.log.read_text("utf-8")


# --- the image


def test_the_image_copies_what_there_is(tmp_path: Path) -> None:
    """What is copied stands in the tree, passes the ignore file, and is all that the server needs to start."""
    copied = [name for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE) for name in line.split()[:-1]]
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    let_in = [line[1:] for line in ignored if line.startswith("!")]

    assert "*" in ignored
    assert {"constraints.txt", "server", "static", "pyproject.toml"} <= set(copied)
    assert sorted(copied) == sorted(let_in)
    for name in copied:
        assert not any(fnmatch(name, line) for line in ignored if not line.startswith(("#", "!", "*")))
        (tmp_path / name).symlink_to((ROOT / name).resolve(strict=True))
    started = subprocess.run(
        [sys.executable, "-m", "server", "--version"], cwd=tmp_path, capture_output=True, check=True
    )
    assert started.stdout.startswith(b"sessionstream ")


async def test_the_image_starts_and_its_health_check_tells_alive_from_dead(tmp_path: Path) -> None:
    """The commands of the Dockerfile, run here: the server listens as PORT says, and the check asks it."""
    assert ast.literal_eval(re.findall(r"^ENTRYPOINT (\[.*\])$", DOCKERFILE, re.MULTILINE)[0])[1:] == ["-m", "server"]
    [check] = re.findall(r"CMD (\[\"python\", \"-c\", .*?\])\n", DOCKERFILE, re.DOTALL)
    command = [sys.executable, *ast.literal_eval(check.replace("\\\n", ""))[1:]]
    async with staged(tmp_path) as stage:
        env = {"PATH": os.environ["PATH"], "PORT": str(stage.server.wire.port)}
        await stage.server.start()
        alive = await anyio.run_process(command, env=env, check=False)
        await stage.server.kill()
        dead = await anyio.run_process(command, env=env, check=False)

    assert (alive.returncode, alive.stderr) == (0, b"")
    assert dead.returncode != 0


def test_compose_names_what_there_is() -> None:
    """Files that are mounted, settings that are set, nodes that nginx knows."""
    mounted = re.findall(r"^\s+- \./(\S+?):", COMPOSE, re.MULTILINE)
    nodes = re.findall(r"^  (server-\d+):\n    <<:", COMPOSE, re.MULTILINE)
    upstreams = re.findall(r"^    server (\S+):8000 ", (DEPLOY / "nginx.conf").read_text("utf-8"), re.MULTILINE)
    settings = re.findall(r"^    ([A-Z_]+): ", COMPOSE, re.MULTILINE)

    assert mounted
    assert all((ROOT / name).is_file() for name in mounted)
    assert nodes == upstreams == ["server-1", "server-2"]
    assert settings
    assert set(settings) <= SETTINGS


# --- the document


def test_the_document_names_what_there_is() -> None:
    """Settings, files and scripts."""
    links = re.findall(r"\]\(([^)#]+)", DOCUMENT)
    scripts = re.findall(r"`scripts/(\w+)", DOCUMENT)
    named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)\b", DOCUMENT))

    assert links
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []
    assert scripts
    assert [name for name in scripts if not (ROOT / "scripts" / name).exists()] == []
    assert named
    assert named <= SETTINGS
