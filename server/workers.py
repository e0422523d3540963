"""Workers: several nodes behind one socket of this machine, and a parent that serves nobody.

The parent binds the address and starts `WORKERS` children, which all accept on it; the kernel decides which. Each is a
node like any other, with a folder of its own in the data folder. What the parent does is:

    SIGTERM, SIGINT     every child drains; the parent ends after the last one, by the same signal
    SIGHUP              children are replaced one after another, each by one that serves already
    a child has ended   another takes its place, at most one a second
    the first child ends before it serves    everything ends: with these settings no other would do better

Children end by themselves, drained, when the parent is gone, however it went. Not uvicorn's supervisor: its children
run uvicorn's own server, which does not drain, and outlive a parent that is killed.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType
from typing import Final

from .errors import ConfigError
from .settings import Settings

_log = logging.getLogger("sessionstream.workers")

_BACKLOG: Final = 2048  # as uvicorn's
_PAUSE_S: Final = 1.0  # a child that ends at once must not keep the machine busy with starting it
_LOOK_S: Final = 0.5  # how late a start that had to wait may be
_PATIENCE_S: Final = 5.0  # beyond what a child has to drain and to close

Serve = Callable[[Settings, socket.socket, Callable[[], None]], None]
"""Serve on a listening socket until told to stop; call the third when requests are answered."""


def check_workers(settings: Settings) -> None:
    """Refuse several processes where only one can be.

    Raises:
        ConfigError: more than one worker without what they could share.
    """
    if settings.workers == 1:
        return
    if not settings.redis_url:
        raise ConfigError(
            f"WORKERS={settings.workers} needs REDIS_URL: workers are nodes that share a Redis. Without one, sessions "
            "are in the data folder, and that belongs to one process"
        )
    if not hasattr(signal, "pthread_sigmask"):
        raise ConfigError("WORKERS above 1 needs a POSIX system")


def supervise(settings: Settings, serve: Serve) -> None:
    """Run the workers until told to stop, then end by the signal that said so."""
    number = _Parent(settings, serve).run()
    signal.raise_signal(number)


class _Worker:
    """One child process."""

    def __init__(self, number: int, settings: Settings, listener: socket.socket, serve: Serve) -> None:
        self.number = number
        self.is_ready = False
        self.started_at = time.monotonic()
        spawn = multiprocessing.get_context("spawn")
        self.readiness, told = spawn.Pipe(duplex=False)
        own = replace(settings, data=str(Path(settings.data) / f"worker-{number}"))
        self.process = spawn.Process(target=_work, args=(own, listener, serve, told), name=f"worker-{number}")
        # Ctrl+C goes to the whole group: a child that is not there yet would answer it with a traceback.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            told.close()

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self.process.exitcode is not None

    def look(self) -> None:
        """Take its word that it serves, if that has come."""
        if not self.is_ready and not self.readiness.closed and self.readiness.poll():
            with suppress(EOFError):
                self.is_ready = bool(self.readiness.recv())
            self.readiness.close()

    def stop(self) -> None:
        """Tell it to drain and end."""
        if not self.has_ended:
            self.process.terminate()

    def end(self, timeout_s: float) -> None:
        """Wait for its end, and bring it about when it takes too long."""
        self.process.join(timeout_s)
        if not self.has_ended:
            _log.warning("%s does not end: it is killed", self.process.name)
            self.process.kill()
            self.process.join()
        self.readiness.close()


class _Parent:
    """The supervisor: places, each with the child that has it or none; one successor at a time; who is leaving."""

    def __init__(self, settings: Settings, serve: Serve) -> None:
        self._settings = settings
        self._serve = serve
        self._listener = _listen(settings)
        self._places: list[_Worker | None] = [None] * settings.workers
        self._starts_at = [0.0] * settings.workers
        self._successor: _Worker | None = None
        self._outdated: list[int] = []
        self._leaving: list[_Worker] = []
        self._has_served = False
        self._signals: list[int] = []

    def run(self) -> int:
        """Return the signal that ended it, with no child left."""
        host, port = self._listener.getsockname()[:2]
        _log.info("listening on http://%s:%d with %d workers", host, port, self._settings.workers)
        with closing(self._listener), _hearing(self._signals) as ear:
            try:
                while not (ends := {signal.SIGTERM, signal.SIGINT} & set(self._signals)):
                    self._tend()
                    self._wait(ear)
                return ends.pop()
            finally:
                self._stop()

    def _tend(self) -> None:
        """Do what is due."""
        if signal.SIGHUP in self._signals:
            self._signals.remove(signal.SIGHUP)
            self._outdated = list(range(len(self._places)))
            _log.info("the workers are replaced")
        for worker in self._all():
            worker.look()
            self._has_served = self._has_served or worker.is_ready
        self._leaving = [worker for worker in self._leaving if not worker.has_ended]
        for number, placed in enumerate(self._places):
            if placed is not None and placed.has_ended:
                self._bury(number, placed)
        self._succeed()
        # One first: what is wrong with the settings is then said once.
        for number in range(len(self._places) if self._has_served else 1):
            if self._places[number] is None and time.monotonic() >= self._starts_at[number]:
                self._places[number] = self._start(number)

    def _bury(self, number: int, worker: _Worker) -> None:
        code = worker.process.exitcode
        worker.end(0)
        self._places[number] = None
        if not self._has_served:
            _log.error("the first worker ended with %s before it served", code)
            sys.exit(code if code and code > 0 else 1)
        _log.error("%s (%s) ended with %s: another takes its place", worker.process.name, worker.process.pid, code)
        self._starts_at[number] = worker.started_at + _PAUSE_S

    def _succeed(self) -> None:
        """Go on with replacing: a new one starts when the last old one has left, an old one leaves for it."""
        successor = self._successor
        if successor is None:
            if self._outdated and not self._leaving:
                self._successor = self._start(self._outdated.pop(0))
        elif successor.has_ended:
            _log.error("%s was to be replaced, and its successor ended: the rest stays", successor.process.name)
            successor.end(0)
            self._successor, self._outdated = None, []
        elif successor.is_ready:
            if (old := self._places[successor.number]) is not None:
                old.stop()
                self._leaving.append(old)
            self._places[successor.number], self._successor = successor, None

    def _start(self, number: int) -> _Worker:
        return _Worker(number, self._settings, self._listener, self._serve)

    def _all(self) -> list[_Worker]:
        placed = [worker for worker in self._places if worker is not None]
        return [*placed, *self._leaving, *([self._successor] if self._successor else [])]

    def _wait(self, ear: socket.socket) -> None:
        """Until a signal comes, a child ends or serves; not longer than a start may be late."""
        workers = self._all()
        words = [one.readiness for one in workers if not one.readiness.closed]
        wait([ear, *words, *(one.process.sentinel for one in workers)], _LOOK_S)
        with suppress(BlockingIOError):
            while ear.recv(64):
                pass

    def _stop(self) -> None:
        self._listener.close()  # what nobody would answer any more is refused, and goes to another node
        workers = self._all()
        for worker in workers:
            worker.stop()
        ends_at = time.monotonic() + 2 * self._settings.drain_seconds + _PATIENCE_S
        for worker in workers:
            worker.end(max(0.0, ends_at - time.monotonic()))


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigError(f"cannot listen on {settings.host} port {settings.port}: {error.strerror}") from error


@contextmanager
def _hearing(heard: list[int]) -> Iterator[socket.socket]:
    """Put the signals that come into `heard`; the socket is readable when one did. At the end all is as it was."""

    def hear(number: int, frame: FrameType | None) -> None:
        heard.append(number)

    numbers = [signal.SIGTERM, signal.SIGINT]
    if not (sys.stdin and sys.stdin.isatty()):  # from a terminal that is closed it means the end
        numbers.append(signal.SIGHUP)
    ear, mouth = socket.socketpair()
    with ExitStack() as stack:
        stack.enter_context(closing(ear))
        stack.enter_context(closing(mouth))
        ear.setblocking(False)
        mouth.setblocking(False)
        stack.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(mouth.fileno(), warn_on_full_buffer=False))
        for number in numbers:
            stack.callback(signal.signal, number, signal.signal(number, hear))
        yield ear


def _work(settings: Settings, listener: socket.socket, serve: Serve, told: Connection) -> None:
    """Be a child: serve until the parent says so, or is gone."""
    # The parent hears what comes to the group, and says what follows from it.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()

    def say_ready() -> None:
        with suppress(OSError):  # the parent is gone: that is heard elsewhere
            told.send(True)
        told.close()

    serve(settings, listener, say_ready)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
