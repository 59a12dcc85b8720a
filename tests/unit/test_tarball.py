# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tarball, built as for a release, contains exactly the files that users need."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Folders that are for users as a whole, but for LEFT_OUT.
FOLDERS = ("awx", "docs", "extensions", "meta", "playbooks", "plugins", "roles")
OTHERS = {
    *("CHANGELOG.md", "LICENSE", "README.md", "bindep.txt", "requirements.txt"),
    "changelogs/changelog.yaml",
    # For the checks of Galaxy and Automation Hub
    *(".ansible-lint", "tests/config.yml"),
    # Made by ansible-galaxy
    *("FILES.json", "MANIFEST.json"),
}
# A page for contributors, and the programs that make the site.
LEFT_OUT = ("docs/architecture.md", "docs/site/")


def is_for_users(name: str) -> bool:
    """Whether a file of the repository belongs in the tarball."""
    if name.startswith(LEFT_OUT) or (name.startswith("docs/pictures/") and not name.endswith(".svg")):
        return False
    return name in OTHERS or name.split("/")[0] in FOLDERS


def repository_files() -> list[str]:
    """The files that git would commit, since a release is made from these."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.split("\0")
    return [name for name in names if name and os.path.lexists(ROOT / name)]


@pytest.fixture(scope="module")
def tarball_files(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The files in a tarball built from the repository."""
    folder = tmp_path_factory.mktemp("tarball")
    for name in repository_files():
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / "source" / name, follow_symlinks=False)
    galaxy = str(Path(sys.executable).with_name("ansible-galaxy"))
    command = [galaxy, "collection", "build", "--output-path", str(folder), str(folder / "source")]
    subprocess.run(command, check=True, env={**os.environ, "HOME": str(folder)}, stdout=subprocess.DEVNULL)
    (tarball,) = folder.glob("*.tar.gz")
    with tarfile.open(tarball) as archive:
        return {member.name for member in archive if not member.isdir()}


def test_tarball_has_exactly_the_files_for_users(tarball_files: set[str]) -> None:
    files_for_users = set(filter(is_for_users, repository_files())) | {"FILES.json", "MANIFEST.json"}
    assert sorted(tarball_files - files_for_users) == [], "users need none of these: see build_ignore in galaxy.yml"
    assert sorted(files_for_users - tarball_files) == []


def test_tarball_has_all_folders_and_top_level_files(tarball_files: set[str]) -> None:
    assert tarball_files > OTHERS
    assert {name.split("/")[0] for name in tarball_files if "/" in name} == {*FOLDERS, "changelogs", "tests"}
