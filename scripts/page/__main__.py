"""Take pictures of the page.

    scripts/screenshots                  docs/page-light.png and docs/page-dark.png, for the README
    scripts/screenshots --all [FOLDER]   every view, light and dark, on a desk and on a phone (.cache/screenshots)
    scripts/screenshots --all --only queue --only empty

They come from a server of their own, with chats of its own, and from this machine's Chromium.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import anyio
from playwright.async_api import Browser, Error

from .stage import DESK, PHONE, ROOT, TALL, TOUCH, Stage, browser, set_up, visiting
from .views import VIEWS, View, conversation

SCHEMES: Final = ("light", "dark")
SIZES: Final[dict[str, dict[str, Any]]] = {"desk": {"viewport": DESK}, "phone": {"viewport": PHONE, **TOUCH}}


async def take(running: Browser, stage: Stage, view: View, path: Path, **options: Any) -> None:
    """Take one picture, as the user who is called like its file."""
    async with visiting(running, stage, path.stem, **options) as visit:
        await view(visit)
        await visit.page.screenshot(path=path, caret="hide")
    print(path, file=sys.stderr)


async def for_readme(folder: Path) -> None:
    """Take the picture of the README, light and dark, from the same chats."""
    paths = {scheme: folder / f"page-{scheme}.png" for scheme in SCHEMES}
    with tempfile.TemporaryDirectory() as data:
        async with browser() as running, set_up(Path(data), [path.stem for path in paths.values()]) as stage:
            for scheme, path in paths.items():
                options = {"viewport": TALL, "color_scheme": scheme, "device_scale_factor": 2}
                await take(running, stage, conversation, path, **options)


async def everything(folder: Path, only: list[str]) -> None:
    """Take every view, or only some."""
    wanted = [
        (view, folder / f"{view.__name__}-{size}-{scheme}.png", {**shape, "color_scheme": scheme})
        for view in VIEWS
        if not only or view.__name__ in only
        for size, shape in SIZES.items()
        for scheme in SCHEMES
    ]
    missed: list[str] = []
    with tempfile.TemporaryDirectory() as data:
        async with browser() as running, set_up(Path(data), [path.stem for _, path, _ in wanted]) as stage:
            for view, path, options in wanted:
                try:
                    await take(running, stage, view, path, **options)
                except (AssertionError, Error) as error:
                    missed.append(path.name)
                    print(f"{path.name}: {error}", file=sys.stderr)
    sys.exit(f"missed: {', '.join(missed)}" if missed else None)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="every view instead of the README's")
    parser.add_argument("--only", action="append", default=[], metavar="VIEW", help="with --all: these views")
    parser.add_argument("folder", nargs="?", type=Path)
    given = parser.parse_args()
    if given.all:
        folder = given.folder or ROOT / ".cache" / "screenshots"
        folder.mkdir(parents=True, exist_ok=True)
        anyio.run(everything, folder, given.only)
    else:
        anyio.run(for_readme, given.folder or ROOT / "docs")


if __name__ == "__main__":
    main()
