"""A real redis-server, or a cluster of three, as child processes: on loopback, in a folder, killed for real.

What is asked for by `config` wins over what stands here. A port is chosen once, so that clients find a restarted
server where the old one was. Everything is synchronous and quick; nothing is left running after `stop`.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

PROGRAM: Final = "redis-server"
START_TIMEOUT_S: Final = 20.0
STOP_TIMEOUT_S: Final = 10.0
_STEP_S: Final = 0.01
_AGAIN_S: Final = 0.3
_BUS: Final = 10_000
"""The bus port of a cluster's node is its port and so much."""

_CONFIG: Final = {
    "bind": "127.0.0.1",
    "protected-mode": "yes",
    "save": "",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "maxmemory-policy": "noeviction",
    "daemonize": "no",
    "shutdown-timeout": "0",
    "repl-diskless-sync-delay": "0",
}


class RedisServer:
    """One redis-server with its folder; `appendonly yes` unless told otherwise."""

    def __init__(self, folder: Path, *, port: int | None = None, config: Mapping[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = port or free_ports(1)[0]
        self.log = folder / "redis.log"
        self._config = {**_CONFIG, **(config or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it has loaded what it kept.

        Raises:
            RuntimeError: it ended, or takes longer than `START_TIMEOUT_S`.
        """
        arguments: list[str] = []
        for name, value in {**self._config, "port": str(self.port), "dir": str(self.folder)}.items():
            arguments += [f"--{name}", value]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen([PROGRAM, *arguments], stdout=log, stderr=log, start_new_session=True)
        ends_at = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < ends_at and self._process.poll() is None:
            if self.call("PING") == b"+PONG":
                return
            time.sleep(_STEP_S)
        raise RuntimeError(f"redis-server does not get ready:\n{self.tail()}")

    def stop(self) -> None:
        """SIGTERM: it writes what it has, and ends."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: no goodbye; the operating system keeps what was written."""
        self._end(signal.SIGKILL)

    def restart(self, *, kill: bool = True) -> None:
        """End it, the hard way unless told otherwise, and start it again on the same port and folder."""
        self._end(signal.SIGKILL if kill else signal.SIGTERM)
        self.start()

    def pause(self) -> None:
        """SIGSTOP: it is there, and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def call(self, *words: str | int) -> bytes | None:
        """Send one command on a connection of its own; return the first line of the answer, None without one."""
        encoded = [str(word).encode() for word in words]
        command = b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as wire:
                wire.sendall(command)
                return wire.makefile("rb").readline().rstrip(b"\r\n") or None
        except OSError:
            return None

    def tail(self) -> str:
        """Return the last lines of its log."""
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-20:]) if self.log.exists() else ""

    def _end(self, number: signal.Signals) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGCONT)  # a stopped one hears nothing else
        ends_at = time.monotonic() + STOP_TIMEOUT_S
        while process.poll() is None:
            # Told again and again: one that just writes its file for the first time refuses to end.
            process.send_signal(number if time.monotonic() < ends_at else signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_AGAIN_S)


class RedisCluster:
    """Three masters on loopback, the slots spread over them."""

    def __init__(self, folder: Path, *, config: Mapping[str, str] | None = None) -> None:
        own = {"cluster-enabled": "yes", "cluster-node-timeout": "2000", **(config or {})}
        ports = free_ports(3, with_bus=True)
        self.servers = [RedisServer(folder / str(port), port=port, config=own) for port in ports]

    @property
    def url(self) -> str:
        """Where the first one listens, said to be a cluster."""
        return f"redis://127.0.0.1:{self.servers[0].port}?cluster=true"

    def start(self) -> None:
        """Start all and join them; wait until every one says that the cluster is whole."""
        for server in self.servers:
            server.start()
        nodes = [f"127.0.0.1:{server.port}" for server in self.servers]
        subprocess.run(
            ["redis-cli", "--cluster", "create", *nodes, "--cluster-yes"], check=True, capture_output=True, timeout=60
        )
        ends_at = time.monotonic() + START_TIMEOUT_S
        while not all(self._is_whole(server) for server in self.servers):
            if time.monotonic() > ends_at:
                raise RuntimeError(f"the cluster does not get whole:\n{self.servers[0].tail()}")
            time.sleep(_STEP_S)

    def stop(self) -> None:
        """End all."""
        for server in self.servers:
            server.kill()

    def _is_whole(self, server: RedisServer) -> bool:
        command = ["redis-cli", "-p", str(server.port), "cluster", "info"]
        told = subprocess.run(command, check=True, capture_output=True, timeout=10).stdout
        return b"cluster_state:ok" in told and b"cluster_known_nodes:3" in told


def free_ports(count: int, *, with_bus: bool = False) -> list[int]:
    """Return ports nobody listens on, also 10000 above them if asked for."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in found and (not with_bus or _is_free(port + _BUS)):
            found.append(port)
    return found


def is_installed() -> bool:
    """Say whether this machine has a redis-server."""
    return shutil.which(PROGRAM) is not None


def _is_free(port: int) -> bool:
    if port > 65_535:
        return False
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
