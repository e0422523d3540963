"""The README is true: its tables are the code's, and its curl examples work when pasted."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.blackbox.process import Server
from server.errors import CODES, RETRYABLE
from server.settings import settings_table

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")
_BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)


def test_settings_table_is_the_one_of_the_code() -> None:
    """Every setting is named in one table with unit, default and reason."""
    assert _between("settings") == settings_table()


def test_error_table_lists_every_code() -> None:
    """Every code is listed in the README."""
    rows = [
        f"| `{code}` | {status} | {meaning} | {'yes' if code in RETRYABLE else 'no'} |"
        for code, (status, meaning) in CODES.items()
    ]

    assert _between("errors").splitlines()[2:] == rows


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start the server as the README does: with the embedded default."""
    one = Server(tmp_path_factory.mktemp("readme"), scripted=False)
    asyncio.run(_started(one))
    yield one
    one.kill_now()


async def _started(server: Server) -> None:
    await server.start()
    server.wire.forget()  # its connections belong to this loop, which ends here


def test_curl_examples_work_when_pasted(server: Server) -> None:
    """A person needs only curl."""
    printed = [_paste(block, server) for block in _BLOCK.findall(README)]

    assert '"status":"running"' in printed[0]
    assert "retry:" in printed[1]
    assert "Alice" in printed[1]
    assert "Your name is Alice" in printed[2]
    assert '"type":"RUN_FINISHED"' in printed[2]
    assert '"outcome":' in printed[3]
    assert '"status":"deleted"' in printed[3]


def _paste(block: str, server: Server) -> str:
    script = block.replace("localhost:8000", f"localhost:{server.wire.port}")
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, 28), done.stderr  # 28: the stream goes on, --max-time ended it

    return done.stdout


def _between(mark: str) -> str:
    return README.split(f"<!-- {mark} -->\n")[1].split(f"\n<!-- /{mark} -->")[0]
