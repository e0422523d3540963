"""google-adk's api_server and langgraph dev on the same job, each from PyPI in a virtual environment of its own.

Their agents use no model and no key: they say what our agents say. Both, like ours here, make a session and stream a
run in the answer of the POST that asks for it. They do other things besides that we do not, and the other way round.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from scripts.blackbox.redis_server import free_ports

from .arena import CREATE, STREAM, Arena, names, say
from .peers.pacing import Spec
from .reader import CACHE, ROOT, Lane, Reader, Step, Trouble
from .subjects import NAIVE, OURS, Process, Subject, launch, post, wait_healthy
from .table import Row, at_least

PEERS: Final = Path(__file__).with_name("peers")
_TOKENS: Final = {"ours": 1000, "sse": 200}
"""In each answer: enough that its beginning is not most of it; the others are slow enough with a hundred."""
_OTHER_TOKENS: Final = 100
_INSTALL_TIMEOUT_S: Final = 900
_START_TIMEOUT_S: Final = 120


@dataclass(frozen=True, slots=True)
class Other:
    """How one of them is installed, started and spoken to."""

    name: str
    packages: Sequence[str]
    command: Callable[[Path, int], Sequence[str]]
    create: Callable[[str], bytes]
    ask: Callable[[str, str], bytes]
    ready: str


ADK: Final = Other(
    "adk",
    ("google-adk",),
    lambda python, port: [
        str(python.with_name("adk")),
        "api_server",
        "--host=127.0.0.1",
        f"--port={port}",
        "--session_service_uri=memory://",
        "--artifact_service_uri=memory://",
        "--log_level=warning",
        str(PEERS / "adk"),
    ],
    lambda session: post(f"/apps/words/users/u/sessions/{session}", {}),
    lambda session, message: post(
        "/run_sse",
        {
            "app_name": "words",
            "user_id": "u",
            "session_id": session,
            "streaming": True,
            "new_message": {"role": "user", "parts": [{"text": message}]},
        },
    ),
    "/list-apps",
)
LANGGRAPH: Final = Other(
    "langgraph",
    ("langgraph-cli[inmem]",),
    lambda python, port: [
        str(python.with_name("langgraph")),
        "dev",
        "--no-browser",
        "--no-reload",
        "--host=127.0.0.1",
        f"--port={port}",
        "--n-jobs-per-worker=200",
        "--config=langgraph.json",
    ],
    lambda session: post("/threads", {"thread_id": _thread(session)}),
    lambda session, message: post(
        f"/threads/{_thread(session)}/runs/stream",
        {"assistant_id": "words", "input": {"message": message}, "stream_mode": ["custom"]},
    ),
    "/ok",
)


def others(arena: Arena) -> list[Row]:
    """All ask at once: the first token, and tokens a second until the last one."""
    people = arena.pick(200, 200, 5)
    told = {"ours": _OURS, "sse": _NAIVE, "adk": ADK, "langgraph": LANGGRAPH}
    figures: dict[str, dict[str, list[float]]] = {"per_s": {}, "p50": {}, "p99": {}, "cpu": {}}
    missing = []
    for turn in range(arena.rarely(3)):
        for name, other in list(told.items()):
            say(f"  {name} {turn + 1}")
            try:
                found = _measure(other, people)
            except Trouble as trouble:
                missing.append(f"{name}: {str(trouble).splitlines()[0]}")
                del told[name]
                continue
            for figure, values in figures.items():
                values.setdefault(name, []).append(found[figure])
    against = {name: figures["per_s"].get(name, ()) for name in ("ours", "adk", "langgraph", "sse")}
    what = f"{people} sessions at once: tokens, against"
    return [
        Row(
            scenario="peers",
            what=f"{what} {name}",
            unit="1/s",
            figures={one: against[one] for one in ("ours", name) if against[one]},
            bar=at_least(times, name),
            note="; ".join(text for text in missing if text.startswith(name)),
        )
        for name, times in (("sse", 5), ("adk", 20), ("langgraph", 60))
    ] + [
        Row(scenario="peers", what="… CPU a token", unit="µs", figures=figures["cpu"]),
        Row(scenario="peers", what="… first token p50", unit="ms", figures=figures["p50"]),
        Row(scenario="peers", what="… first token p99", unit="ms", figures=figures["p99"]),
    ]


def _measure(other: Other, people: int) -> dict[str, float]:
    with _running(other) as process, Reader(process.port) as reader:
        _round(other, reader, names(2, "warm"))
        reader.drop()
        cpu_s = process.cpu_s()
        report = _round(other, reader, names(people))
        total = people * _TOKENS.get(other.name, _OTHER_TOKENS)
        return {**report, "cpu": (process.cpu_s() - cpu_s) / total * 1e6}


def _round(other: Other, reader: Reader, ids: Sequence[str]) -> dict[str, float]:
    tokens = _TOKENS.get(other.name, _OTHER_TOKENS)
    message = json.dumps(asdict(Spec(tokens=tokens)))
    reader.load([Lane([Step(request=other.create(one), kind=CREATE)]) for one in ids])
    reader.wait("ready")
    # The runs go over connections of their own: all are asked for in one moment.
    runs = [
        Lane([Step(request=other.ask(one, message), is_stream=True, kind=STREAM, wanted=tokens)], is_early=False)
        for one in ids
    ]
    reader.load(runs)
    reader.reset()
    began_ns = reader.go()
    reader.wait("tokens", len(ids) * tokens, timeout_s=120)
    report = reader.report()
    if report["refused"]:
        raise Trouble(f"{other.name} refused requests")
    took_s = (report["last_token_ns"] - began_ns) / 1e9
    return {"per_s": len(ids) * tokens / took_s, "p50": report.first("p50"), "p99": report.first("p99")}


@contextmanager
def _running(other: Other) -> Iterator[Process]:
    subject = {"ours": OURS, "sse": NAIVE}.get(other.name)
    if subject is not None:
        with subject.running() as process:
            yield process
        return
    python = _installed(other)
    with tempfile.TemporaryDirectory(prefix="sessionstream-bench-") as folder:
        port = free_ports(1)[0]
        settings = {"LANGSMITH_TRACING": "false", "LANGGRAPH_CLI_NO_ANALYTICS": "1", "ADK_DISABLE_LOAD_DOTENV": "1"}
        for file in PEERS.glob("langgraph*"):
            shutil.copy(file, folder)  # it takes paths from where it is started, and leaves its store there
        process = launch(other.command(python, port), port, Path(folder), settings, Path(folder))
        try:
            wait_healthy(process, other.ready, _START_TIMEOUT_S)
            time.sleep(1)  # a worker of its own is up a little later
            yield process
        finally:
            process.stop()


def _installed(other: Other) -> Path:
    """Return the interpreter of its environment.

    Raises:
        Trouble: it cannot be installed here.
    """
    folder = CACHE / f"venv-{other.name}"
    python = folder / "bin" / "python"
    done = folder / "installed"
    if done.exists():
        return python
    say(f"  installing {other.name}")
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *other.packages],
    ):
        try:
            subprocess.run(
                command, check=True, capture_output=True, timeout=_INSTALL_TIMEOUT_S, cwd=ROOT, env=os.environ
            )
        except (subprocess.SubprocessError, OSError) as error:
            raise Trouble(f"{other.name} cannot be installed here: {error}") from error
    done.touch()
    return python


def _thread(session: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, session))


def _as_other(subject: Subject) -> Other:
    def ask(session: str, message: str) -> bytes:
        request = post(f"{subject.prefix}{subject.chat_path}", {"session_id": session, "message": message})
        return request.replace(b"\r\n", b"\r\nAccept: text/event-stream\r\n", 1)

    return Other(subject.name, (), lambda python, port: (), subject.create, ask, "/health")


_OURS: Final = _as_other(OURS)
_NAIVE: Final = _as_other(NAIVE)
