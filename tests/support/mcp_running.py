"""MCP servers as tests run them: real processes, on pipes or behind HTTP."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio

from scripts.blackbox.waiting import poll
from server.agents.mcp.config import HttpConfig, McpConfig, StdioConfig
from server.agents.mcp.link import McpLimits
from server.agents.mcp.server import McpServer
from server.agents.mcp.servers import McpServers

SCRIPT: Final = Path(__file__).with_name("mcp_server.py")
WAIT_S: Final = 20.0


def stdio(marks: Path, **fields: Any) -> StdioConfig:
    """Return the server `sums` as a child process; it writes its marks to this file."""
    return StdioConfig(
        **{
            "name": "sums",
            "command": sys.executable,
            "args": (str(SCRIPT), "stdio"),
            "env": {"MARKS": str(marks)},
            **fields,
        }
    )


class HttpProcess:
    """The same behind HTTP, on a port of its own; started and killed by the test."""

    def __init__(self, marks: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._marks = marks
        self._process: subprocess.Popen[bytes] | None = None

    def config(self, **fields: Any) -> HttpConfig:
        """Return what reaches it."""
        return HttpConfig(name="sums", url=f"http://127.0.0.1:{self.port}/mcp", **fields)

    def start(self) -> None:
        """Start it; it listens soon."""
        self._process = subprocess.Popen(
            [sys.executable, str(SCRIPT), "http", str(self.port)],
            env={**os.environ, "MARKS": str(self._marks)},
            stderr=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        """Kill it, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(WAIT_S)


@asynccontextmanager
async def running(*configs: McpConfig, **limits: Any) -> AsyncIterator[McpServers]:
    """Run servers with these limits, and retries that no test waits for; all have settled."""
    servers = McpServers(configs, McpLimits(**{"first_retry_s": 0.02, "max_retry_s": 0.2, **limits}))
    async with anyio.create_task_group() as tasks:
        for service in servers.services.values():
            tasks.start_soon(service.run)
        await servers.listing()
        yield servers
        tasks.cancel_scope.cancel()


def one_of(servers: McpServers) -> McpServer:
    """Return the only server."""
    (server,) = servers.services.values()
    assert isinstance(server, McpServer)
    return server


async def is_soon(server: McpServer, status: str) -> None:
    """Wait until a server has this status."""
    assert await poll(lambda: server.health()["status"] == status, timeout_s=WAIT_S), server.health()


async def marked(path: Path, *words: str) -> list[str]:
    """Wait until these are the last marks; return all."""

    def found() -> list[str]:
        return path.read_text("utf-8").split() if path.exists() else []

    assert await poll(lambda: found()[-len(words) :] == list(words), timeout_s=WAIT_S), found()
    return found()
