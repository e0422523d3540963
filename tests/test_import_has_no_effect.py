"""Importing any module of the server does nothing: what works, works because somebody called it.

Seen from a fresh interpreter, by audit hook: no file opened for writing, no folder, socket, database, process or
thread made, nothing printed, no signal handler, logging handler, warning filter or variable of the environment changed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent

_PROBE: Final = """
import gc, importlib, json, logging, os, signal, sys, threading

effects, module = [], "nothing"
FORBIDDEN = {
    "socket.__new__", "socket.bind", "socket.connect", "socket.getaddrinfo", "sqlite3.connect", "subprocess.Popen",
    "os.system", "os.fork", "os.posix_spawn", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.chmod", "os.putenv",
    "shutil.rmtree", "tempfile.mkstemp", "tempfile.mkdtemp",
}

def watch(event, args):
    writes = event == "open" and len(args) == 3 and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if writes or event in FORBIDDEN:
        effects.append(f"{module}: {event} {args[:2]}")

def state():
    return {
        "signals": [str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
        "logging": [str(logging.root.handlers), logging.root.level],
        "environment": dict(os.environ),
        "threads": threading.active_count(),
        "gc": [gc.get_threshold(), gc.get_freeze_count(), gc.isenabled()],
        "hooks": [str(sys.excepthook), str(threading.excepthook), str(sys.unraisablehook)],
        "folder": os.getcwd(),
    }

# Starting a thread is no audit event before Python 3.12.
threading.Thread.start = lambda thread: effects.append(f"{module}: starts a thread")
before = state()
sys.addaudithook(watch)
for module in sys.argv[1:]:
    importlib.import_module(module)
after = state()
effects += [f"{name} changed: {before[name]} -> {after[name]}" for name in before if before[name] != after[name]]
sys.__stdout__.write("\\0" + json.dumps(effects))
"""


def _imported(folder: Path, modules: list[str]) -> tuple[list[str], str]:
    """Return what importing the modules did, and what it wrote to stderr."""
    result = subprocess.run(
        [sys.executable, "-P", "-B", "-W", "error", "-c", _PROBE, *modules],
        env={"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if result.returncode:
        return [f"failed: {result.stderr.splitlines()[-1]}"], ""
    printed, _, effects = result.stdout.rpartition("\0")
    return [*json.loads(effects), *([f"printed {printed!r}"] if printed else [])], result.stderr


def test_import_has_no_effect() -> None:
    """Our contract: no work at import time, of ours or of what we import."""
    paths = sorted((ROOT / "server").rglob("*.py"))
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths]

    effects, stderr = _imported(ROOT, modules)

    assert effects == []
    assert stderr == ""


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("open('file', 'w')", "open"),
        ("import pathlib; pathlib.Path('folder').mkdir()", "os.mkdir"),
        ("import socket; socket.socket().close()", "socket.__new__"),
        ("import sqlite3; sqlite3.connect(':memory:').close()", "sqlite3.connect"),
        ("import threading; threading.Thread(target=int).start()", "starts a thread"),
        ("import subprocess; subprocess.run(['true'])", "subprocess.Popen"),
        ("import logging; logging.basicConfig()", "logging changed"),
        ("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)", "signals changed"),
        ("import os; os.environ['X'] = '1'", "environment changed"),
        ("print('hello')", "printed"),
        ("import warnings; warnings.warn('old', DeprecationWarning)", "failed: DeprecationWarning"),
    ],
)
def test_effect_is_found(tmp_path: Path, source: str, seen: str) -> None:
    """The test above can fail: each kind of effect is seen."""
    (tmp_path / "guilty.py").write_text(source)

    effects, _ = _imported(tmp_path, ["guilty"])

    assert any(seen in effect for effect in effects)
