"""What is measured: our server, the raw ASGI floor and the app written by hand, each one process on loopback.

A `Subject` knows how it is started and how its requests are spelled; a `Process` is one that runs, with its CPU time
and memory read from /proc.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from scripts.blackbox.redis_server import free_ports

from .peers.pacing import Spec
from .reader import ROOT, Trouble

START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 10.0
USER: Final = "local"
_STEP_S: Final = 0.002
# No limit that a person would want; the heartbeat is at the interval of the app written by hand.
SETTINGS: Final = {
    "MAX_SESSIONS": "0",
    "MAX_SESSIONS_PER_USER": "0",
    "MAX_STREAMS_PER_SESSION": "0",
    "MAX_STREAMS_PER_USER": "0",
    "MAX_RUNS_PER_USER": "0",
    "HEARTBEAT_SECONDS": "15",
    "NO_DOCS": "1",
    "LOG_LEVEL": "warning",
    "DRAIN_SECONDS": "0.2",
}
AGENTS: Final = """\
default = "words"

[agents.words]
kind = "python"
entrypoint = "scripts.benchmark.peers.pacing:agent"
"""


class Process:
    """One process that serves."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.port = port
        self.log = log
        self._process = process

    @property
    def pid(self) -> int:
        """Its id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it is there."""
        return self._process.poll() is None

    def cpu_s(self) -> float:
        """Return the CPU time it has used."""
        return cpu_s_of(self.pid)

    def rss_kb(self) -> int:
        """Return the memory it holds."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") // 1024

    def begin(self) -> None:
        """Open the gate that agents wait at."""
        self._process.send_signal(signal.SIGUSR1)

    def stop(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait(STOP_TIMEOUT_S)

    def tail(self) -> str:
        """Return the last lines it wrote."""
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-20:])


@dataclass(frozen=True, slots=True)
class Subject:
    """One of those that are compared; paths are how it spells its requests."""

    name: str
    module: str = ""
    prefix: str = ""
    chat_path: str = "/chat"
    stream_path: str = "/stream"

    @property
    def is_ours(self) -> bool:
        """Whether it is the server itself."""
        return not self.module

    # --- requests

    def create(self, session_id: str) -> bytes:
        """Return the request that makes a session."""
        return post(f"{self.prefix}/sessions", {"session_id": session_id})

    def chat(self, session_id: str, spec: Spec) -> bytes:
        """Return the request that makes the agent speak."""
        said = {name: value for name, value in asdict(spec).items() if value or name == "tokens"}
        return post(f"{self.prefix}{self.chat_path}", {"session_id": session_id, "message": json.dumps(said)})

    def stream(self, session_id: str, cursor: str = "") -> bytes:
        """Return the request for the events of a session."""
        come_back = f"Last-Event-ID: {cursor}\r\n" if cursor else ""
        return get(f"{self.prefix}{self.stream_path}?session_id={session_id}", come_back)

    def interrupt(self, session_id: str) -> bytes:
        """Return the request that stops a run."""
        return post(f"{self.prefix}/interrupt", {"session_id": session_id})

    # --- running

    @contextmanager
    def running(self, settings: Mapping[str, str] | None = None, data: Path | None = None) -> Iterator[Process]:
        """Give a process that answers, in a folder of its own unless `data` names one; it is gone afterwards."""
        with tempfile.TemporaryDirectory(prefix="sessionstream-bench-", dir=_scratch()) as folder:
            process = self.spawn(Path(folder), settings, data)
            try:
                wait_healthy(process, "/health/ready" if self.is_ours else "/health")
                yield process
            finally:
                process.stop()

    def spawn(self, folder: Path, settings: Mapping[str, str] | None = None, data: Path | None = None) -> Process:
        """Start it without waiting until it answers."""
        port = free_ports(1)[0]
        command = [sys.executable, "-m", self.module or "server"]
        if self.is_ours:
            agents = folder / "agents.toml"
            agents.write_text(AGENTS, encoding="utf-8")
            command += ["--port", str(port), "--agents", str(agents), "--data", str(data or folder / "data")]
        else:
            command += [str(port)]
        return launch(command, port, folder, {**SETTINGS, **(settings or {})} if self.is_ours else {})


OURS: Final = Subject("ours", "", "/api", "/chat", "/chat/stream")
RAW: Final = Subject("raw", "scripts.benchmark.peers.raw")
NAIVE: Final = Subject("sse", "scripts.benchmark.peers.naive")
SUBJECTS: Final = (OURS, RAW, NAIVE)


def launch(command: Sequence[str], port: int, folder: Path, settings: Mapping[str, str], place: Path = ROOT) -> Process:
    """Start a process with a clean environment, in a session of its own; its log goes into `folder`."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    log = folder / "log"
    with log.open("ab") as file:
        process = subprocess.Popen(
            command,
            cwd=place,
            env={**kept, "PYTHONPATH": str(ROOT), **settings},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    return Process(process, port, log)


def cpu_s_of(pid: int) -> float:
    """Return the CPU time of all threads of a process: to the ns where the kernel tells, else to its tick."""
    try:
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    except OSError:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_healthy(process: Process, path: str = "/health", timeout_s: float = START_TIMEOUT_S) -> None:
    """Wait until a GET is answered 200.

    Raises:
        Trouble: the process ended, or does not answer.
    """
    ends_at = time.monotonic() + timeout_s
    while time.monotonic() < ends_at and process.is_running:
        if ask(process.port, path):
            return
        time.sleep(_STEP_S)
    raise Trouble(f"the server does not answer {path}:\n{process.tail()}")


def ask(port: int, path: str) -> bool:
    """Say whether a GET is answered 200 right now."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as wire:
            wire.sendall(get(path, "Connection: close\r\n"))
            return wire.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def get(path: str, headers: str = "") -> bytes:
    """Return a GET request."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\r\n".encode()


def post(path: str, body: Mapping[str, object]) -> bytes:
    """Return a POST request with a JSON body."""
    payload = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(payload)}\r\n\r\n".encode() + payload


def _scratch() -> str:
    """Return a folder on a disk, where a real server's data would be."""
    folder = ROOT / ".cache" / "benchmark" / "tmp"
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)
