"""nginx in front, configured with `proxy_pass` and nothing else: streams stream, cuts heal, limits are ours.

Its buffering is on by default; our headers switch it off. A run that stalls is the proof: what it said before must have
come through while it stands still.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import orjson

from scripts.blackbox.arena import emit, script, stall
from scripts.blackbox.caller import Caller
from scripts.blackbox.follower import Follower
from scripts.blackbox.wire import Frame, Stream, Wire
from tests.faults.stage import Stage, answer_text, heard, is_counting, staged, until

CONFIG = """\
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
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{upstream};
        }}
    }}
}}
"""
HEARTBEAT = {"HEARTBEAT_SECONDS": "0.2"}


class Proxy:
    """A running nginx, and the way through it."""

    def __init__(self, folder: Path, upstream: int) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        self.wire = Wire("127.0.0.1", port)
        self._folder = folder
        self._config = folder / "nginx.conf"
        self._config.write_text(CONFIG.format(folder=folder, port=port, upstream=upstream), "ascii")
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it and wait until it answers."""
        self._spawn()
        assert await until(self._answers), (self._folder / "error.log").read_text()

    def _spawn(self) -> None:
        nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/sbin:/usr/local/sbin")
        assert nginx is not None, "nginx is missing: `scripts/install test` installs it, or says how"
        command = [nginx, "-c", str(self._config), "-p", str(self._folder), "-e", str(self._folder / "error.log")]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self) -> None:
        """Cut everything that goes through it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(10)
            self._process = None
        self.wire.forget()

    async def _answers(self) -> bool:
        return (await self.wire.call("GET", "/health")).status == 200


@asynccontextmanager
async def proxied(folder: Path, **settings: str) -> AsyncIterator[tuple[Stage, Proxy]]:
    """Set a stage behind nginx."""
    (folder / "nginx").mkdir()
    async with staged(folder, **settings) as stage:
        await stage.server.start()
        proxy = Proxy(folder / "nginx", stage.server.wire.port)
        try:
            await proxy.start()
            yield stage, proxy
        finally:
            proxy.stop()


async def test_the_first_token_arrives_while_the_run_stands_still(tmp_path: Path) -> None:
    """On the session's stream and on a POST that streams its run."""
    async with proxied(tmp_path) as (stage, proxy):
        caller = Caller(proxy.wire, "user")
        stream = await caller.stream("talk")
        body = {"message": script({"text": "first"}, stall(60)), "session_id": "talk"}
        posted = await proxy.wire.stream("/api/chat", method="POST", body=body, headers=caller.headers)
        stage.streams += [stream, posted]
        for one in (stream, posted):
            assert one.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert await _frame_with(one, "first")
        run = (await caller.state("talk")).json()["run"]
        assert run["status"] == "running"
        assert (await caller.interrupt("talk")).json()["outcome"] == "stopped"
        while await posted.read() is not None:
            pass
        assert posted.ending != "open"


async def test_heartbeats_pass_through(tmp_path: Path) -> None:
    """What keeps an idle stream from being cut must reach both sides of a proxy."""
    async with proxied(tmp_path, **HEARTBEAT) as (stage, proxy):
        stream = await Caller(proxy.wire, "user").stream("talk")
        stage.streams.append(stream)
        while not await stream.read():
            pass
        for _ in range(3):
            assert await stream.read(timeout_s=10) == []


async def test_a_client_goes_on_from_its_cursor_when_the_proxy_was_restarted(tmp_path: Path) -> None:
    """The run does not notice; the client comes back through the proxy and misses nothing."""
    async with proxied(tmp_path, **HEARTBEAT) as (stage, proxy):
        talk = Follower(Caller(proxy.wire, "user"), "talk", stage.ledger)
        stage.tasks.start_soon(talk.follow)
        assert await talk.until_attached()
        run_id = await stage.run("talk", emit(100_000, 200))
        for words in (20, 60, 100):
            await heard(talk, words)
            proxy.stop()
            await proxy.start()
        await heard(talk, 150)
        assert (await stage.caller().interrupt("talk", run_id=run_id)).status == 200
        await stage.same(talk)
        assert is_counting(answer_text(talk))
        assert stage.tally.counts["snapshots"] == 1


async def test_limits_of_bodies_are_the_servers_own(tmp_path: Path) -> None:
    """As nginx takes a megabyte, so do we: the longest message goes through, one too long is refused and named."""
    async with proxied(tmp_path) as (_, proxy):
        caller = Caller(proxy.wire, "user")
        longest = await caller.chat("\N{EURO SIGN}" * 100_000, session_id="talk")
        assert longest.status == 202, longest.body
        history = await caller.messages("talk")
        assert history[0]["content"] == "\N{EURO SIGN}" * 100_000
        too_long = await caller.chat("x" * 100_001, session_id="talk")
        assert (too_long.status, too_long.json()["field"]) == (422, "message")
        body = orjson.dumps({"message": "x", "options": {"filler": ""}})
        fitting = body.replace(b'""', b'"' + b"x" * ((1 << 20) - len(body)) + b'"')
        assert len(fitting) == 1 << 20
        assert (await caller.call("POST", "/api/chat", fitting)).status in (202, 422)
        too_large = await caller.call("POST", "/api/chat", fitting + b" ")
        assert too_large.status == 413


async def _frame_with(stream: Stream, delta: str) -> Frame:
    """Read until a frame with this delta is there."""
    while True:
        frames = await stream.read(timeout_s=10)
        assert frames is not None, stream.ending
        for frame in frames:
            with suppress(KeyError):
                if frame.event["delta"] == delta:
                    return frame
