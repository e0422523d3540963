"""Install what a script of this folder needs, once; `scripts/install` picks the interpreter and calls this.

    server   .venv with what constraints.txt pins
    agents   the same, with constraints-agents.txt: models and their tools
    chat     what constraints.txt and constraints-chat.txt pin: the terminal client
    check    all of these, with constraints-dev.txt, and node
    test     the same, with redis-server, nginx and chromium, and the npm packages of tests/*/package-lock.json

What stands already is left alone: a copy of the pins, kept beside what they installed, says so. Packages are taken by
hash. Programs are installed by apt-get, and only when missing and we are root: else we say what to install, and fail.
Standard library only: this runs before there is anything else.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NoReturn

ROOT: Final = Path(__file__).resolve().parent.parent
VENV: Final = ROOT / ".venv"
VENV_PYTHON: Final = VENV / "bin" / "python"
# Of .venv's interpreter this is the one it was made with, which may have a pip where .venv has none.
BASE_PYTHON: Final[str] = getattr(sys, "_base_executable", sys.executable)

ALL_PINS: Final = ("constraints.txt", "constraints-agents.txt", "constraints-chat.txt", "constraints-dev.txt")
PINS: Final = {
    "server": ("constraints.txt",),
    "agents": ("constraints.txt", "constraints-agents.txt"),
    "chat": ("constraints.txt", "constraints-chat.txt"),
    "check": ALL_PINS,
    "test": ALL_PINS,
}
PROGRAMS: Final[dict[str, dict[str, str]]] = {
    "server": {},
    "agents": {},
    "chat": {},
    "check": {"node": "nodejs"},
    "test": {
        "node": "nodejs",
        "npm": "npm",
        "nginx": "nginx",
        "chromium": "chromium",
        "redis-server": "redis-server",
    },
}
"""Program → Debian's package, by purpose."""
POLICY: Final = Path("/usr/sbin/policy-rc.d")


def main() -> None:
    """Install for the purpose named on the command line."""
    purpose = sys.argv[1] if len(sys.argv) == 2 else ""
    if purpose not in PINS:
        sys.exit(f"usage: scripts/install {'|'.join(PINS)}")
    # Daemons live here, and not on everybody's PATH.
    os.environ["PATH"] = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    install_programs(PROGRAMS[purpose])
    (ROOT / ".cache").mkdir(exist_ok=True)
    with (ROOT / ".cache" / "install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two scripts started at once on a fresh tree take turns
        make_venv()
        for pins in PINS[purpose]:
            install_packages(ROOT / pins)
        if purpose == "test":
            for lockfile in sorted(ROOT.glob("tests/*/package-lock.json")):
                install_npm_packages(lockfile)


def install_programs(programs: dict[str, str]) -> None:
    """Install the packages of the programs that are missing, or say which they are and fail."""
    missing = missing_programs(programs)
    if not missing:
        return
    packages = [programs[program] for program in missing]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        fail(f"missing: {' '.join(missing)}. On Debian, as root: apt-get install {' '.join(packages)}")
    apt_install(packages)
    if missing := missing_programs(programs):
        fail(f"apt-get did not bring: {' '.join(missing)}")


def missing_programs(programs: dict[str, str]) -> list[str]:
    """Return the programs that are not on PATH."""
    return [program for program in programs if shutil.which(program) is None]


def apt_install(packages: list[str]) -> None:
    """Install Debian packages; their daemons are not started."""
    say(f"installing {' '.join(packages)} (apt-get)")
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    apt_get = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300"]
    subprocess.run([*apt_get, "update"], env=env, capture_output=True, check=False)  # an old list may do
    with no_daemons():
        run([*apt_get, "install", "-y", "--no-install-recommends", *packages], env=env)


@contextmanager
def no_daemons() -> Iterator[None]:
    """Let packages start nothing: what tests need they start themselves, not on port 80 or 6379 for everybody.

    Debian asks this file before it starts a daemon, with systemd and without; where there is one, it has its say.
    """
    try:
        with POLICY.open("x") as policy:
            policy.write("#!/bin/sh\nexit 101\n")
    except FileExistsError:
        yield
        return
    try:
        POLICY.chmod(0o755)
        yield
    finally:
        POLICY.unlink(missing_ok=True)


def make_venv() -> None:
    """Make .venv, unless this very interpreter made it.

    Debian splits ensurepip off into python3-venv. Without it, an environment without pip is filled by the pip of the
    interpreter; only where that is missing too, or too old for it, python3-venv is needed.
    """
    made_with = VENV / "made-with"
    if VENV_PYTHON.exists() and same(made_with, sys.version):
        return
    say(f"making .venv with Python {sys.version.split()[0]}")
    if not (_venv() or (_venv("--without-pip") and _works(*_borrowed_pip(), "--version"))):
        if os.geteuid() == 0 and shutil.which("apt-get"):
            apt_install(["python3-venv"])
        if not _venv():
            fail("cannot make a virtual environment; on Debian, as root: apt-get install python3-venv")
    made_with.write_text(sys.version)


def install_packages(pins: Path) -> None:
    """Install what `pins` names into .venv, by hash, unless that was done."""
    installed = VENV / f"installed-{pins.name}"
    wanted = pins.read_text()
    if same(installed, wanted):
        return
    say(f"installing {pins.name} into .venv")
    own = (str(VENV_PYTHON), "-m", "pip")
    pip = own if _works(*own, "--version") else _borrowed_pip()
    # No index is named: packages come from wherever this machine's pip is told to look, and the hash decides.
    run([*pip, "install", "-q", "--disable-pip-version-check", "--no-deps", "--require-hashes", "-r", str(pins)])
    installed.write_text(wanted)


def install_npm_packages(lockfile: Path) -> None:
    """Install what an npm lock file pins beside it, unless that was done."""
    installed = lockfile.parent / "node_modules" / "installed-package-lock.json"
    wanted = lockfile.read_text()
    if same(installed, wanted):
        return
    say(f"installing {lockfile.relative_to(ROOT)} (npm)")
    run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], cwd=lockfile.parent)
    installed.write_text(wanted)


def same(path: Path, text: str) -> bool:
    """Say whether a file is there and holds this text."""
    return path.is_file() and path.read_text() == text


def run(command: list[str], *, env: dict[str, str] | None = None, cwd: Path = ROOT) -> None:
    """Run a command in silence; when it fails, show what it said and fail too."""
    result = subprocess.run(command, env=env, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if result.returncode:
        sys.stderr.buffer.write(result.stdout)
        fail(f"failed with status {result.returncode}: {' '.join(command)}")


def say(text: str) -> None:
    """Tell what takes long."""
    print(f"scripts/install: {text}", file=sys.stderr, flush=True)


def fail(text: str) -> NoReturn:
    """End with a message."""
    sys.exit(f"scripts/install: {text}")


def _venv(*options: str) -> bool:
    return _works(BASE_PYTHON, "-m", "venv", "--clear", *options, str(VENV))


def _borrowed_pip() -> tuple[str, ...]:
    return (BASE_PYTHON, "-m", "pip", "--python", str(VENV_PYTHON))


def _works(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    main()
