# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tarball has what a user needs, and nothing else: it is built as for a release, and compared file by file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# All of these folders is for users.
FOLDERS = ("awx", "docs", "extensions", "meta", "playbooks", "plugins", "roles")
OTHERS = {
    *("CHANGELOG.md", "LICENSE", "README.md", "bindep.txt", "requirements.txt"),
    "changelogs/changelog.yaml",
    # For those who check what was uploaded
    *(".ansible-lint", "tests/config.yml"),
    # Of ansible-galaxy
    *("FILES.json", "MANIFEST.json"),
}
# What makes the site and the pictures, and what is for contributors.
LEFT_OUT = ("docs/architecture.md", "docs/site/")


def is_for_users(name: str) -> bool:
    """Whether a file of the repository is to be in the tarball."""
    if name.startswith(LEFT_OUT) or (name.startswith("docs/pictures/") and not name.endswith(".svg")):
        return False
    return name in OTHERS or name.split("/")[0] in FOLDERS


def files_of_the_repository() -> list[str]:
    """What git would commit, as a release is made of it."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.split("\0")
    return [name for name in names if name and os.path.lexists(ROOT / name)]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The files in a tarball that was built of the repository."""
    folder = tmp_path_factory.mktemp("tarball")
    for name in files_of_the_repository():
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / "source" / name, follow_symlinks=False)
    galaxy = str(Path(sys.executable).with_name("ansible-galaxy"))
    command = [galaxy, "collection", "build", "--output-path", str(folder), str(folder / "source")]
    subprocess.run(command, check=True, env={**os.environ, "HOME": str(folder)}, stdout=subprocess.DEVNULL)
    (tarball,) = folder.glob("*.tar.gz")
    with tarfile.open(tarball) as archive:
        return {member.name for member in archive if not member.isdir()}


def test_the_tarball_has_what_users_need(packed: set[str]) -> None:
    wanted = set(filter(is_for_users, files_of_the_repository())) | {"FILES.json", "MANIFEST.json"}
    assert sorted(packed - wanted) == [], "what no user needs: see build_ignore in galaxy.yml"
    assert sorted(wanted - packed) == []


def test_of_the_tests_only_what_sanity_reads_is_in_it(packed: set[str]) -> None:
    assert {name for name in packed if name.startswith("tests/")} == {"tests/config.yml"}


def test_what_is_always_there_is_there(packed: set[str]) -> None:
    assert packed > OTHERS
    assert {name.split("/")[0] for name in packed if "/" in name} == {*FOLDERS, "changelogs", "tests"}
