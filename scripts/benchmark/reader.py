"""The C reader as a child process: built once with the machine's compiler, told what to send, asked what came.

A plan is lanes; a lane is one connection with the requests it sends one after the other (`Step`). Connections come
from several loopback addresses, so that ten thousand of them find ports.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

ROOT: Final = Path(__file__).resolve().parents[2]
CACHE: Final = ROOT / ".cache" / "benchmark"
SOURCE: Final = Path(__file__).with_name("reader.c")
NOW: Final = -1
"""As soon as the request before it is answered."""
SOURCES: Final = 16
_SPARE_FILES: Final = 200


class Trouble(Exception):
    """Something cannot be measured here; the text says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One request. `at_us`: after `go`, or `NOW`. `kind` sorts its latency; `about` is the lane whose end it wants."""

    request: bytes
    at_us: int = NOW
    is_stream: bool = False
    kind: int = 0
    about: int = -1
    wanted: int = 0
    """A stream is done when it has so many tokens; 0: when its head came."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One connection; `is_early`: connected and, as far as it may, worked off before `go`."""

    steps: Sequence[Step]
    is_early: bool = True


class Report:
    """What the reader counted since its last reset; times in ms."""

    def __init__(self, told: dict[str, Any]) -> None:
        self._told = told

    def __getitem__(self, name: str) -> float:
        return float(self._told[name])

    def age(self, at: str) -> float:
        """Return how old tokens were when they came: p50, p90, p99, max."""
        return float(self._told["age_ms"][at])

    def first(self, at: str) -> float:
        """Return the time from a lane's connect to its first token."""
        return float(self._told["first_ms"][at])

    def stop(self, at: str) -> float:
        """Return the time from a request about a stream to that stream's last byte."""
        return float(self._told["stop_ms"][at])

    def call(self, kind: int, at: str) -> float:
        """Return the latency of one kind of requests."""
        return float(self._told["classes"].get(str(kind), {}).get(at, 0))

    def ok(self, kind: int) -> int:
        """Return how many requests of a kind were answered 2xx."""
        return int(self._told["ok"].get(str(kind), 0))

    @property
    def share(self) -> float:
        """The reader's own use of a core; above 0.9 it is the limit."""
        return float(self._told["cpu_s"]) / float(self._told["wall_s"])


class Reader:
    """The process; a context manager. Calls block: nothing else is to do meanwhile."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._folder = tempfile.TemporaryDirectory(prefix="sessionstream-bench-")
        self._process = subprocess.Popen([build()], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()

    def load(self, lanes: Sequence[Lane]) -> None:
        """Add lanes; those that are early are connected, and their requests without a time are sent."""
        path = Path(self._folder.name) / "plan"
        with path.open("wb") as file:
            file.write(b"port %d lanes %d\n" % (self.port, len(lanes)))
            for index, lane in enumerate(lanes):
                file.write(b"lane %d %d %d 0 0\n" % (index % SOURCES, lane.is_early, len(lane.steps)))
                for step in lane.steps:
                    head = (step.at_us, step.kind, step.about, step.wanted, len(step.request))
                    file.write(b"%s " % (b"stream" if step.is_stream else b"call"))
                    file.write(b"%d %d %d %d %d\n" % head)
                    file.write(step.request + b"\n")
        self._tell(f"load {path}")

    def go(self) -> int:
        """Begin what is scheduled; return the moment, in ns of the monotonic clock."""
        return int(self._tell("go")["go"])

    def wait(self, what: str, count: int = 0, *, timeout_s: float = 60) -> int:
        """Wait for something; return the moment.

        Raises:
            Trouble: it did not come in time.
        """
        told = self._tell(f"wait {what} {count} {int(timeout_s * 1000)}")
        if not told["reached"]:
            report = self._tell("report")
            seen = {name: value for name, value in report.items() if isinstance(value, int | float)}
            raise Trouble(f"{what} {count} was not reached within {timeout_s:g} s: {seen}")
        return int(told["at"])

    def reset(self) -> None:
        """Count from zero; connections stay."""
        self._tell("reset")

    def drop(self) -> None:
        """Cut all connections and forget them."""
        self._tell("drop")

    def report(self) -> Report:
        """Return what was counted."""
        return Report(self._tell("report"))

    def _tell(self, command: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(command.encode() + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise Trouble(f"the reader ended at {command!r} with {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def build() -> Path:
    """Return the reader's program, compiled unless that was done.

    Raises:
        Trouble: there is no C compiler.
    """
    sources = [SOURCE, *sorted(SOURCE.parent.glob("c/*.h"))]
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]
    program = CACHE / f"reader-{digest}"
    if program.exists():
        return program
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        raise Trouble("the reader needs a C compiler; on Debian, as root: apt-get install gcc libc6-dev")
    CACHE.mkdir(parents=True, exist_ok=True)
    made = CACHE / f"reader-{digest}.{os.getpid()}"
    done = subprocess.run([compiler, "-O2", "-o", made, SOURCE], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Trouble(f"the reader does not compile:\n{done.stderr}")
    made.rename(program)  # whole or not at all: two benches may start at once
    return program


def allow_files(count: int) -> None:
    """Raise the limit of open files for this process and its children.

    Raises:
        Trouble: the system does not allow so many.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + _SPARE_FILES
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise Trouble(
            f"{wanted} open files are needed, {hard} are allowed: raise it with `ulimit -Hn {wanted}` as root"
        )
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def calibrate(streams: int, events_each: int) -> tuple[float, float]:
    """Return how many events a second the reader takes, one write each, and its share of a core then."""
    command = [str(build()), "blast", str(events_each), str(streams)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as blaster:
        assert blaster.stdin is not None
        assert blaster.stdout is not None
        with Reader(int(blaster.stdout.readline())) as reader:
            stream = Step(request=b"GET / HTTP/1.1\r\n\r\n", is_stream=True)
            reader.load([Lane([stream])] * streams)
            reader.wait("ready")
            reader.reset()
            blaster.stdin.write(b"\n")
            blaster.stdin.flush()
            reader.wait("tokens", streams * events_each)
            report = reader.report()
        blaster.stdin.close()
    return report["tokens"] / report["wall_s"], report.share
