"""The libraries of the browser client: what stands in the tree is what `scripts/vendor` names, and says no more."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from scripts import vendor

ROOT = Path(__file__).resolve().parents[2]
RUN_S = 60


def test_files_are_those_that_are_named() -> None:
    assert {package.name: vendor.wrong(package) for package in vendor.PACKAGES} == {
        package.name: [] for package in vendor.PACKAGES
    }
    assert vendor.stray() == []


def test_each_package_has_its_licence_and_says_its_version() -> None:
    for package in vendor.PACKAGES:
        place = vendor.FOLDER / package.name
        assert len((place / "LICENSE").read_text(encoding="utf-8")) > 500
        assert package.version in (place / "VERSION").read_text(encoding="utf-8")
        assert package.integrity.startswith("sha512-")


def test_change_of_a_file_is_seen_and_a_file_too_many_too(tmp_path: Path) -> None:
    shutil.copytree(vendor.FOLDER, tmp_path / "vendor")
    changed = tmp_path / "vendor" / "marked" / "marked.js"
    changed.write_text(changed.read_text(encoding="utf-8") + " ", encoding="utf-8")
    (tmp_path / "vendor" / "marked" / "VERSION").unlink()
    (tmp_path / "vendor" / "more.js").write_text("", encoding="utf-8")
    marked = next(package for package in vendor.PACKAGES if package.name == "marked")

    assert vendor.wrong(marked, tmp_path / "vendor") == ["marked.js", "VERSION"]
    assert vendor.stray(tmp_path / "vendor") == ["more.js"]


def test_script_fetches_nothing_when_all_stands() -> None:
    """Without npm on its PATH it could not."""
    environment = {"PATH": str(ROOT / ".venv" / "bin") + ":/usr/bin:/bin", "npm_config_offline": "true"}
    done = subprocess.run(
        ["sh", "scripts/vendor"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=RUN_S, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("package", vendor.PACKAGES, ids=lambda package: package.name)
def test_library_loads_nothing_from_elsewhere(package: vendor.Package) -> None:
    """No import but of what stands here, and no source map, which a browser would ask for."""
    for name in package.files:
        if not name.endswith((".js", ".css")):
            continue
        text = (vendor.FOLDER / package.name / name).read_text(encoding="utf-8")
        assert "sourceMappingURL" not in text
        assert re.findall(r"""(?:^|[;}\s])import\s*(?:\(|[\w{*][^;'"]*from\s*)?["']([^"']+)""", text) == []
        assert re.findall(r"@import|url\(", text if name.endswith(".css") else "") == []
