"""A server as a process of its own, which a test may stop and start again on the same port and data."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream

ROOT = Path(__file__).resolve().parents[2]
START_S = 30
STOP_S = 10

SCRIPTED = """default = "scripted"

[agents.scripted]
kind = "scripted"
description = "Plays what it is told"
"""


class ServerProcess:
    """`python -m server`, by default with the scripted agent; `url` is where it listens while it runs."""

    def __init__(self, folder: Path, agents: str = SCRIPTED, **environment: str) -> None:
        self._folder = folder
        self._port = _free_port()
        self._process: Process | None = None
        self._agents = folder / "agents.toml"
        self._agents.write_text(agents, encoding="utf-8")
        self._environment = environment

    @property
    def url(self) -> str:
        """The address, without a slash at the end."""
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Start, and wait until it listens."""
        data = str(self._folder / "data")
        command = [sys.executable, "-m", "server", "--agents", str(self._agents), "--data", data, "--no-docs"]
        self._process = await anyio.open_process(
            [*command, "--port", str(self._port)],
            cwd=ROOT,
            env=os.environ | self._environment,
            stdout=subprocess.DEVNULL,
        )
        assert self._process.stderr is not None
        said = ""
        with anyio.fail_after(START_S):
            async for text in TextReceiveStream(self._process.stderr, errors="replace"):
                said += text
                if "running on" in said:
                    return
        raise RuntimeError(f"the server did not start:\n{said}")

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it and wait until it is gone. Idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        with anyio.move_on_after(STOP_S, shield=True):
            await process.wait()
        if process.returncode is None:
            process.kill()
        await process.aclose()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def serve(folder: Path, agents: str = SCRIPTED, **environment: str) -> AsyncIterator[ServerProcess]:
    """Run a server while the block runs, with these agents and variables of its environment."""
    server = ServerProcess(folder, agents, **environment)
    await server.start()
    try:
        yield server
    finally:
        with anyio.CancelScope(shield=True):
            await server.stop()
