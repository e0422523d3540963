"""Where an export goes: a file of its own, never in place of another."""

from __future__ import annotations

from pathlib import Path


def place(folder: Path, name: str) -> Path:
    """Return the path that a name means to somebody in a folder; `~` is the home folder."""
    try:
        return folder / Path(name).expanduser()
    except RuntimeError:  # nobody of that name has one
        return folder / name


def write_new(path: Path, content: bytes) -> Path:
    """Write a file beside what is there: `name-2` when there is a `name`. Returns where it is.

    Raises:
        OSError: it cannot be written.
    """
    for number in range(1, 10_000):
        free = path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
        try:
            with free.open("xb") as file:
                file.write(content)
        except FileExistsError:
            continue
        return free
    raise FileExistsError(f"{path} and thousands like it are there")
