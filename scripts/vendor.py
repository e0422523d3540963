"""The libraries of the browser client, as files of this repository: which, in which version, and what is taken of each.

`static/vendor/<name>/` holds the files, the package's LICENSE, and VERSION. They are served as they are, so no build
and no foreign address stands between the repository and the page. Packages come by npm, from wherever it is told to
look; the hash decides whether what came is what is named here. A file that stands as it should is left alone, and
nothing is fetched when all do. Standard library only.
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

FOLDER: Final = Path(__file__).resolve().parent.parent / "static" / "vendor"
FETCH_S: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One library: the hash of its npm package, and the hashes of the files that are taken of it."""

    name: str
    source: str
    """Its name at npm."""
    version: str
    licence: str
    integrity: str
    """SHA-512 of the package as npm packs it, as in a lock file."""
    files: Mapping[str, tuple[str, str]]
    """Our name → (path in the package, SHA-256 of what we keep)."""

    @property
    def title(self) -> str:
        """What VERSION says."""
        return f"{self.source} {self.version} ({self.licence})\n"


PACKAGES: Final = (
    # Markdown to tokens, of which we make elements: CommonMark and tables, kept since 2011, no dependency.
    Package(
        name="marked",
        source="marked",
        version="18.2.1",
        licence="MIT",
        integrity="sha512-ii4bxCTCqqwpT86XZWgJNs+ZnAIZksmLGYMViWA7PDIXYIeNo1x6cDdX3JOip9NM/cI6p8z57FxliACboTruMA==",
        files={
            "marked.js": ("lib/marked.esm.js", "c622dc6824a1c92c2d10ea9ede2fc872e46128afcc34b298e6ddee6f387ace8e"),
            "marked.d.ts": ("lib/marked.d.ts", "d7d5a034b73c62e4681ad6cb2945e9862a89e56ab92b06fd7d77e2652e667ac5"),
            "LICENSE": ("LICENSE", "8e3a3f82f59a60958f56ca08f445647c32a4733dc7ca6c2c46f6eb898471ab9c"),
        },
    ),
    # The second look at those elements, by people whose work is to know how browsers are tricked.
    Package(
        name="dompurify",
        source="dompurify",
        version="3.4.18",
        licence="Apache-2.0",  # of the two that it offers
        integrity="sha512-ofe3wI/uNm68HInABYFJYqQxRw1EaKAjNdrFVKqjUY+UZurvNd2L/HuQe097s/4RivWiZyP6tT7aoT8atjfhwg==",
        files={
            "purify.js": ("dist/purify.es.mjs", "0ab024c7378bb0b42f200eca5573c750e107ab89feee7720cbaba89e68d7c3ba"),
            "purify.d.ts": ("dist/purify.es.d.mts", "54b73726f7c8e3fa8543c37d9af4805994f432962528d31f69c69e64682352b0"),
            "LICENSE": ("LICENSE", "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"),
        },
    ),
    # Colours for code: its common languages in one file, which is loaded with the first block of code.
    Package(
        name="highlight",
        source="@highlightjs/cdn-assets",
        version="11.12.0",
        licence="BSD-3-Clause",
        integrity="sha512-KvOKXODaiFmId9xaq3xc5xCL66wVLUuOngDbO9B/kewbFTqdGbn2nJxNhN3H5R1cgDTVj6R8vH0zgiNDEGjpDw==",
        files={
            "highlight.js": ("es/highlight.min.js", "1ed8fc5256b738b8875b74e4d3f0754f60d6411fb034d618dfbc4e6e6c9999d7"),
            "LICENSE": ("LICENSE", "6c081431591d9df696c82dc598fe1423765b8a299b200ed00b281afd0f64c490"),
        },
    ),
    # Charts over time on a canvas: small, and quick enough to be drawn again each second.
    Package(
        name="uplot",
        source="uplot",
        version="1.6.32",
        licence="MIT",
        integrity="sha512-KIMVnG68zvu5XXUbC4LQEPnhwOxBuLyW1AHtpm6IKTXImkbLgkMy+jabjLgSLMasNuGGzQm/ep3tOkyTxpiQIw==",
        files={
            "uplot.js": ("dist/uPlot.esm.js", "5dd9b3281aa64b461b42d9945f6adb2649d346502b12281a9ae0d46599a80eba"),
            "uplot.d.ts": ("dist/uPlot.d.ts", "af44374f6e808be4f7f3fa5888b9c7574dca9f8a15a66d54b6763535802c8080"),
            "uplot.css": ("dist/uPlot.min.css", "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04"),
            "LICENSE": ("LICENSE", "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd"),
        },
    ),
)


def wrong(package: Package, folder: Path = FOLDER) -> list[str]:
    """Return the names of a package's files that are missing or not what is named here."""
    place = folder / package.name
    found = [name for name, (_, digest) in package.files.items() if _digest(place / name) != digest]
    version = place / "VERSION"
    if not version.is_file() or version.read_text(encoding="utf-8") != package.title:
        found.append("VERSION")
    return found


def stray(folder: Path = FOLDER) -> list[str]:
    """Return the paths in the folder that no package names."""
    named = {f"{package.name}/{name}" for package in PACKAGES for name in (*package.files, "VERSION")}
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return sorted(there - named)


def bring(package: Package, folder: Path = FOLDER) -> None:
    """Fetch a package and write its files, unless they stand already."""
    if not wrong(package, folder):
        return
    place = folder / package.name
    with tempfile.TemporaryDirectory() as scratch:
        taken = _taken(_fetched(package, Path(scratch)), package)
    place.mkdir(parents=True, exist_ok=True)
    for name, body in taken.items():
        (place / name).write_bytes(body)
    (place / "VERSION").write_text(package.title, encoding="utf-8")
    print(f"scripts/vendor: {package.title.strip()}", file=sys.stderr)


def kept(body: bytes) -> bytes:
    """Return what we keep of a file: without the comment that names a source map, which is not here."""
    lines = body.split(b"\n")
    return b"\n".join(line for line in lines if not line.startswith((b"//# sourceMappingURL=", b"/*# sourceMapping")))


def _fetched(package: Package, scratch: Path) -> Path:
    command = ["npm", "pack", "--silent", "--ignore-scripts", f"{package.source}@{package.version}"]
    done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, timeout=FETCH_S, check=False)
    archives = list(scratch.glob("*.tgz"))
    if done.returncode or len(archives) != 1:
        fail(f"npm did not bring {package.source}@{package.version}: {done.stderr.strip()}")
    digest = base64.b64encode(hashlib.sha512(archives[0].read_bytes()).digest()).decode("ascii")
    if f"sha512-{digest}" != package.integrity:
        fail(f"{package.source}@{package.version} is not the package that is named here")
    return archives[0]


def _taken(archive: Path, package: Package) -> dict[str, bytes]:
    with tarfile.open(archive) as packed:
        bodies = {name: packed.extractfile(f"package/{path}") for name, (path, _) in package.files.items()}
        taken = {name: kept(body.read()) for name, body in bodies.items() if body is not None}
    for name, (_, digest) in package.files.items():
        if name not in taken or hashlib.sha256(taken[name]).hexdigest() != digest:
            fail(f"{package.name}/{name} is not the file that is named here")
    return taken


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def fail(text: str) -> NoReturn:
    """End with a message."""
    sys.exit(f"scripts/vendor: {text}")


def main() -> None:
    """Bring what is missing, or with `--check` say what is."""
    if sys.argv[1:] not in ([], ["--check"]):
        fail("usage: scripts/vendor [--check]")
    if not sys.argv[1:]:
        for package in PACKAGES:
            bring(package)
    found = [f"{package.name}/{name}" for package in PACKAGES for name in wrong(package)] + stray()
    if found:
        fail(f"not as named: {' '.join(found)}")


if __name__ == "__main__":
    main()
