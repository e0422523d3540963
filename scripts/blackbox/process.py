"""The server as a child process: started, watched through /proc, killed for real.

It gets a clean environment plus the settings asked for, its own process group and a log file in its folder. A port
is chosen once, so that clients find a restarted server where the old one was.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Final, NamedTuple

import anyio

from .waiting import poll
from .wire import Broken, Wire

ROOT: Final = Path(__file__).resolve().parents[2]
START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 20.0

# A soak wants no limit that a person would want.
UNLIMITED: Final = {
    "MAX_SESSIONS": "0",
    "MAX_SESSIONS_PER_USER": "0",
    "MAX_STREAMS_PER_SESSION": "0",
    "MAX_STREAMS_PER_USER": "0",
    "MAX_RUNS_PER_USER": "0",
    "RESUME_WINDOW_SECONDS": "3600",
    "LOG_KEPT_BYTES": str(1 << 30),
    "LOG_LEVEL": "warning",
}
# Memory that is freed goes back at once, so that what /proc shows is what is held.
ALLOCATOR: Final = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "131072",
}
AGENTS: Final = """\
default = "scripted"

[agents.scripted]
kind = "scripted"

[agents.loud]
kind = "scripted"
script = "loud.json"
"""
LOUD_EVENTS: Final = 100
LOUD_CHARS: Final = 4000
"""The loud agent streams so many events of so many characters that leave no message behind."""


class Sample(NamedTuple):
    """What a process holds right now."""

    rss_kb: int
    threads: int
    handles: int


class Server:
    """One data folder and the process that serves it."""

    def __init__(
        self,
        folder: Path,
        *,
        settings: Mapping[str, str] | None = None,
        scripted: bool = True,
        host: str = "127.0.0.1",
        launcher: Sequence[str] = (),
    ) -> None:
        """`launcher`: a command that becomes the server, such as `ip netns exec NAME`; `host`: where it is reached."""
        self.folder = folder
        self.data = folder / "data"
        self.log = folder / "server.log"
        self.wire = Wire(host, _free_port())
        self._settings = {**UNLIMITED, **(settings or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._launcher = launcher
        self._arguments = ["--host", host, "--port", str(self.wire.port), "--data", str(self.data)]
        if scripted:
            agents = folder / "agents.toml"
            agents.write_text(AGENTS, encoding="utf-8")
            noise = {"event": {"type": "CUSTOM", "name": "noise", "value": "x" * LOUD_CHARS}}
            (folder / "loud.json").write_text(json.dumps({"steps": [noise] * LOUD_EVENTS}), encoding="utf-8")
            self._arguments += ["--agents", str(agents), "--no-docs"]

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.wire.host}:{self.wire.port}"

    def spawn(self) -> None:
        """Start the process and return at once."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._launcher, sys.executable, "-m", "server", *self._arguments],
                cwd=ROOT,
                env={**kept, **ALLOCATOR, **self._settings},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_hear_interrupts,
            )

    async def ready(self) -> float:
        """Wait until it takes requests; return the seconds from the first answer to readiness (recovery).

        Raises:
            RuntimeError: it ended, or takes longer than `START_TIMEOUT_S`.
        """
        started_at = time.monotonic()
        listening_at: float | None = None
        while time.monotonic() - started_at < START_TIMEOUT_S:
            if self._process is None or self._process.poll() is not None:
                code = None if self._process is None else self._process.returncode
                raise RuntimeError(f"the server ended at its start with {code}:\n{self.tail()}")
            with suppress(Broken):
                answer = await self.wire.call("GET", "/health/ready", timeout_s=5)
                listening_at = listening_at or time.monotonic()
                if answer.status == 200:
                    return time.monotonic() - listening_at
            await anyio.sleep(0.01)
        raise RuntimeError(f"the server does not get ready:\n{self.tail()}")

    async def start(self) -> float:
        """Start the process and wait until it answers."""
        self.spawn()
        return await self.ready()

    async def kill(self) -> None:
        """SIGKILL: no goodbye, nothing flushed."""
        await self._end(signal.SIGKILL)

    async def terminate(self) -> tuple[int, float]:
        """SIGTERM; return the exit code and the seconds it took."""
        started_at = time.monotonic()
        code = await self._end(signal.SIGTERM)
        return code, time.monotonic() - started_at

    def kill_now(self) -> None:
        """SIGKILL without waiting, for cleaning up."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(STOP_TIMEOUT_S)

    def tail(self) -> str:
        """Return the last lines of its log."""
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-30:]) if self.log.exists() else ""

    def sample(self) -> Sample:
        """Return memory, threads and open files from /proc."""
        status = Path(f"/proc/{self.pid}/status").read_text("ascii")
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        handles = len(os.listdir(f"/proc/{self.pid}/fd"))
        return Sample(int(fields["VmRSS"].split()[0]), int(fields["Threads"]), handles)

    def rows(self) -> dict[str, int]:
        """Return the number of rows of every table of ours, read beside the server; tombstones excepted."""
        found: dict[str, int] = {}
        for path in sorted(self.data.rglob("*")):
            if path.is_file() and _is_database(path):
                found.update(_rows(path))
        return found

    async def _end(self, number: signal.Signals) -> int:
        process = self._process
        assert process is not None
        if process.poll() is None:
            process.send_signal(number)
        if not await poll(lambda: process.poll() is not None, timeout_s=STOP_TIMEOUT_S, step_s=0.005):
            process.kill()
        self.wire.forget()
        return process.wait(STOP_TIMEOUT_S)


def _is_database(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(15) == b"SQLite format 3"


def _rows(path: Path) -> dict[str, int]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as database:
        tables = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall()
        virtual = [name for name, sql in tables if sql and sql.upper().startswith("CREATE VIRTUAL")]
        names = [name for name, _ in tables if not name.startswith("sqlite_") and "ended" not in name]
        own = [name for name in names if not any(name.startswith(f"{parent}_") for parent in virtual)]
        return {name: int(database.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]) for name in own}


def _hear_interrupts() -> None:
    """Let SIGINT mean what it means in a terminal: a shell that starts jobs in the background hands it on ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
