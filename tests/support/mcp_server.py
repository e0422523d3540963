"""A real MCP server for tests: `python mcp_server.py stdio`, or `http PORT`.

Its tools add, wait, fail, grow, say too much, and end the process. What happens to a waiting call is written to the
file that the variable MARKS names, a word a line: `began`, `cancelled`, `ended`; and `started` for the server itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import anyio
from mcp.server.mcpserver import Context, Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("sums")


@server.tool()
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
async def echo(text: str) -> str:
    """Return the text."""
    return text


@server.tool()
async def wait(seconds: float = 60) -> str:
    """Wait, and say what became of it."""
    mark("began")
    try:
        await anyio.sleep(seconds)
    except BaseException:
        mark("cancelled")
        raise
    mark("ended")
    return "waited"


@server.tool()
async def block(seconds: float) -> str:
    """Wait without hearing anything meanwhile."""
    time.sleep(seconds)  # noqa: ASYNC251 - this is what it is for
    return "blocked"


@server.tool()
async def fail(why: str) -> str:
    """Fail."""
    raise ToolError(why)


@server.tool()
async def huge(size: int) -> str:
    """Return so many characters."""
    return "x" * size


@server.tool(structured_output=False)
async def picture() -> list[Any]:
    """Return text and an image."""
    return ["look:", Image(data=b"\x89PNG" + b"\0" * 96, format="png")]


@server.tool()
async def environment(name: str) -> str:
    """Return a variable of the environment."""
    return os.environ.get(name, "")


@server.tool()
async def header(name: str, context: Context) -> str:
    """Return a header of the request."""
    return (context.headers or {}).get(name, "")


@server.tool()
async def processes() -> list[int]:
    """Start a process that outlives us if it is let, and return our ids."""
    return [os.getpid(), subprocess.Popen(["sleep", "600"]).pid]  # noqa: ASYNC220 - it is not waited for


@server.tool()
async def crash() -> str:
    """End the process in the middle of the call."""
    os._exit(7)


@server.tool()
async def grow(context: Context) -> str:
    """Learn one more tool, and tell that the list changed."""

    def grown() -> str:
        """Say so."""
        return "grown"

    server.add_tool(grown)
    await context.session.send_tool_list_changed()
    await context.notify_tools_changed()
    return "there is one more"


def mark(word: str) -> None:
    """Write down what happened."""
    if "MARKS" in os.environ:
        with Path(os.environ["MARKS"]).open("a", encoding="utf-8") as file:
            file.write(f"{word}\n")


if __name__ == "__main__":
    mark("started")
    if sys.argv[1] == "stdio":
        server.run("stdio")
    else:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[2]))
