"""A network namespace for one node, with two cables: clients reach it by one, it reaches Redis by the other.

Pulling the second one out is a real cut: packets go nowhere, nobody is told, and TCP sends again when it is back. Needs
root and the right to make namespaces (`can_make`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_NUMBER: Final = os.getpid() % 250


class Cable:
    """The two links of a node that lives in a namespace."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.client_host: Final = f"10.213.{_NUMBER}.2"
        """Where the node is reached."""
        self.redis_host: Final = f"10.214.{_NUMBER}.1"
        """Where Redis is, for the node: it must listen there."""
        self._redis_link = f"{name}r"

    @property
    def launcher(self) -> tuple[str, ...]:
        """What starts a command behind the cable."""
        return ("ip", "netns", "exec", self.name)

    def cut(self) -> None:
        """Pull Redis's cable out."""
        _ip("link", "set", self._redis_link, "down")

    def mend(self) -> None:
        """Put it back."""
        _ip("link", "set", self._redis_link, "up")


def can_make() -> bool:
    """Say whether this machine lets us make namespaces."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    try:
        with cable():
            return True
    except subprocess.CalledProcessError:
        return False


@contextmanager
def cable() -> Iterator[Cable]:
    """Make a namespace with its cables; both are gone afterwards."""
    made = Cable(f"ss{os.getpid()}")
    _ip("netns", "add", made.name)
    try:
        for link, net in (("c", "213"), ("r", "214")):
            outer, inner = f"{made.name}{link}", f"{made.name}{link}n"
            _ip("link", "add", outer, "type", "veth", "peer", "name", inner, "netns", made.name)
            _ip("addr", "add", f"10.{net}.{_NUMBER}.1/30", "dev", outer)
            _ip("link", "set", outer, "up")
            _ip("-n", made.name, "addr", "add", f"10.{net}.{_NUMBER}.2/30", "dev", inner)
            _ip("-n", made.name, "link", "set", inner, "up")
        _ip("-n", made.name, "link", "set", "lo", "up")
        yield made
    finally:
        # By name, although they would go with the namespace: that takes its time.
        for link in ("c", "r"):
            subprocess.run(["ip", "link", "del", f"{made.name}{link}"], check=False, capture_output=True)
        _ip("netns", "del", made.name)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
