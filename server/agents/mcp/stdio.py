"""stdio: a server as a child process, one message a line on its pipes; what it says on stderr goes to ours.

The process leads a group of its own, and with it everything it started is ended: stdin is closed, which is how a server
is told to end, then come SIGTERM and SIGKILL, each after a grace. It inherits what a shell needs and what its
configuration names, nothing else: our own environment holds keys of other services.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import anyio
from anyio.abc import ObjectReceiveStream, ObjectSendStream, Process
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage

from .config import StdioConfig
from .framing import Lines

_GRACE_S: Final = 0.4  # three of them at most: a node that stops leaves after 1.5 s without what does not end
_LOOK_S: Final = 0.01
_GONE: Final = (anyio.ClosedResourceError, anyio.BrokenResourceError, anyio.EndOfStream, OSError)

Streams = tuple[ObjectReceiveStream[SessionMessage | Exception], ObjectSendStream[SessionMessage]]


@asynccontextmanager
async def stdio_transport(
    config: StdioConfig, *, max_message_bytes: int, on_end: Callable[[], None]
) -> AsyncIterator[Streams]:
    """Run the server and talk to it; `on_end` is called when it says nothing any more.

    Raises:
        OSError: it cannot be started.
    """
    process = await _started(config)
    # No await from here to the task group: a cancellation in between would leave the process behind.
    heard, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    outgoing, to_say = anyio.create_memory_object_stream[SessionMessage](0)

    async def listen() -> None:
        assert process.stdout is not None
        lines = Lines(max_message_bytes)
        async with heard:
            with suppress(*_GONE):
                async for chunk in process.stdout:
                    for message in lines.feed(chunk):
                        await heard.send(message)
        on_end()

    async def speak() -> None:
        assert process.stdin is not None
        async with to_say:
            with suppress(*_GONE):
                async for message in to_say:
                    text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                    await process.stdin.send(text.encode() + b"\n")
        # It reads nothing any more, though it may still run: whoever waits for an answer must hear that.
        heard.close()
        on_end()

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen)
            tasks.start_soon(speak)
            try:
                yield incoming, outgoing
            finally:
                tasks.cancel_scope.cancel()
    finally:
        for stream in (heard, incoming, outgoing, to_say):
            stream.close()
        with anyio.CancelScope(shield=True):
            await _end(process)


async def _started(config: StdioConfig) -> Process:
    try:
        return await anyio.open_process(
            [config.command, *config.args],
            env={**get_default_environment(), **config.env},
            cwd=config.cwd,
            stderr=None,
            start_new_session=True,
        )
    except OSError as error:  # not every loop says what was not found
        raise OSError(f"{config.command} cannot be started: {error.strerror}") from error


async def _end(process: Process) -> None:
    """End the process and all it started; bounded in time."""
    assert process.stdin is not None
    with suppress(*_GONE):
        await process.stdin.aclose()
    if not await _has_exited(process):
        _signal(process, signal.SIGTERM)
        await _has_exited(process)
    # Also when it has exited by itself: what it started may still hold its pipes.
    _signal(process, getattr(signal, "SIGKILL", signal.SIGTERM))
    with anyio.move_on_after(_GRACE_S):
        await process.aclose()


async def _has_exited(process: Process) -> bool:
    """Wait for the exit alone: `wait` waits for the ends of the pipes, too, and a grandchild may hold those."""
    with anyio.move_on_after(_GRACE_S):
        while process.returncode is None:  # noqa: ASYNC110 - as above
            await anyio.sleep(_LOOK_S)
    return process.returncode is not None


def _signal(process: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, number)  # its own id, not `getpgid`: that fails once the leader is gone
        elif process.returncode is None:
            process.send_signal(number)
