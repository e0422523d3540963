"""What stands between a node and Redis here does what it says: a fault that is not made would prove nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import anyio
import pytest

from scripts.blackbox.nodes.gate import Gate, reply_end
from scripts.blackbox.redis_server import RedisServer
from tests.nodes.company import needs_redis

pytestmark = pytest.mark.anyio

SUBSCRIBED = b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"
PONG = b"*2\r\n$4\r\npong\r\n$0\r\n\r\n"
MESSAGE = b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$5\r\nhello\r\n"


@pytest.mark.parametrize(
    "reply",
    [
        b"+PONG\r\n",
        b":1\r\n",
        b"$-1\r\n",
        b"$2\r\nab\r\n",
        b"_\r\n",
        b"*-1\r\n",
        b"%1\r\n+a\r\n*2\r\n:1\r\n:2\r\n",
        MESSAGE,
    ],
)
def test_a_reply_is_found_however_it_is_cut(reply: bytes) -> None:
    """RESP2 and RESP3, as Redis documents them."""
    assert reply_end(reply, 0) == len(reply)
    assert reply_end(reply + b"+next\r\n", 0) == len(reply)
    assert {reply_end(reply[:size], 0) for size in range(len(reply))} == {None}


@needs_redis
async def test_only_messages_are_lost_and_a_cut_only_holds_back(tmp_path: Path) -> None:
    """A subscriber whose messages are dropped still gets its answers; what is held back comes in the end."""
    redis = RedisServer(tmp_path)
    redis.start()
    try:
        async with Gate(redis.url).open() as gate:
            host, port = gate.url.removeprefix("redis://").partition("/")[0].split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            with anyio.fail_after(10):
                writer.write(b"SUBSCRIBE c\r\n")
                assert await reader.readexactly(len(SUBSCRIBED)) == SUBSCRIBED
                gate.drops_messages = True
                redis.call("PUBLISH", "c", "lost")
                writer.write(b"PING\r\n")
                assert await reader.readexactly(len(PONG)) == PONG
                assert gate.dropped == 1

                gate.drops_messages = False
                gate.cut()
                redis.call("PUBLISH", "c", "hello")
                with anyio.move_on_after(0.1) as held:
                    await reader.readexactly(1)
                assert held.cancelled_caught
                gate.mend()
                assert await reader.readexactly(len(MESSAGE)) == MESSAGE
            writer.close()
            await writer.wait_closed()
    finally:
        redis.stop()
