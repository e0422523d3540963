"""curl is a client: what a person sees on a terminal is the whole session, as it happens."""

from __future__ import annotations

import shutil
from pathlib import Path
from subprocess import PIPE

import anyio
import orjson
from anyio.streams.buffered import BufferedByteReceiveStream

from scripts.blackbox.fold import Fold
from scripts.blackbox.wire import parse_frame
from tests.faults.stage import WAIT_S, staged

SCRIPT = {"steps": [{"text": "Hello, "}, {"stall": {"seconds": 60}}]}


async def test_curl_shows_a_session_as_it_happens_and_goes_on_from_a_cursor(tmp_path: Path) -> None:
    """`curl -N` in one terminal, `curl -d` in another: the text is there while the run still goes on."""
    curl = shutil.which("curl")
    assert curl is not None, "curl is missing"
    async with staged(tmp_path) as stage:
        await stage.server.start()
        watch = f"{stage.server.url}/api/chat/stream?session_id=demo"
        async with await anyio.open_process([curl, "-sN", watch], stderr=PIPE) as terminal:
            assert terminal.stdout is not None
            lines = BufferedByteReceiveStream(terminal.stdout)
            fold, cursor = await _read_until(lines, "RUN_FINISHED", Fold())
            post = [curl, "-s", f"{stage.server.url}/api/chat", "-H", "Content-Type: application/json", "-d"]
            body = orjson.dumps({"session_id": "demo", "message": orjson.dumps(SCRIPT).decode()}).decode()
            answer = orjson.loads((await anyio.run_process([*post, body])).stdout)
            assert answer["status"] == "running"
            fold, cursor = await _read_until(lines, "Hello, ", fold)
            terminal.kill()

        body = orjson.dumps({"session_id": "demo"}).decode()
        stop = [*post[:2], f"{stage.server.url}/api/interrupt", *post[3:], body]
        assert orjson.loads((await anyio.run_process(stop)).stdout)["outcome"] == "stopped"
        resume = [curl, "-sN", "-H", f"Last-Event-ID: {cursor}", watch]
        async with await anyio.open_process(resume, stderr=PIPE) as terminal:
            assert terminal.stdout is not None
            fold, _ = await _read_until(BufferedByteReceiveStream(terminal.stdout), "RUN_FINISHED", fold)
            terminal.kill()

        url = f"{stage.server.url}/api/state?session_id=demo"
        state = orjson.loads((await anyio.run_process([curl, "-s", url])).stdout)
        assert list(fold.messages.values()) == state["messages"]
        assert [message["content"] for message in state["messages"]][-1] == "Hello, "


async def _read_until(lines: BufferedByteReceiveStream, last: str, fold: Fold) -> tuple[Fold, str]:
    """Fold what curl prints until an event of a type, or with a delta; return the fold and its cursor."""
    cursor = ""
    with anyio.fail_after(WAIT_S):
        while True:
            frame = parse_frame(await lines.receive_until(b"\n\n", 1 << 20))
            if frame is None:
                continue
            assert fold.apply(frame.event) == []
            cursor = frame.cursor or cursor
            if last in (frame.event["type"], frame.event.get("delta")):
                return fold, cursor
