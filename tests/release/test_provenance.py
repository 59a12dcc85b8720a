# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What proves where a release comes from: the commands of SECURITY.md accept it, and nothing that was changed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).resolve().parents[2]
(COMMANDS,) = re.findall(r"```console\n(\$ gpg --verify.*?)```", (ROOT / "SECURITY.md").read_text(), re.DOTALL)

pytestmark = pytest.mark.skipif(not shutil.which("gpg"), reason="needs gpg: apt-get install gpg")


@pytest.fixture
def keyring() -> Iterator[dict[str, str]]:
    """A key that is made for this test; its folder's name must be short, since gpg's agent has a socket there."""
    with tempfile.TemporaryDirectory(prefix="gpg") as home:
        env = {**os.environ, "GNUPGHOME": home, "SUPPLY_RELEASE_KEY": "release@example.com"}
        make = ["gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", env["SUPPLY_RELEASE_KEY"]]
        subprocess.run(make, env=env, check=True)
        yield env
        subprocess.run(["gpgconf", "--kill", "all"], env=env, check=True)


@pytest.fixture
def tarball(tmp_path: Path, keyring: dict[str, str]) -> Path:
    """A copy of the session's tarball, with the other files of a release."""
    copy = tmp_path / Path(os.environ["SUPPLY_TARBALL"]).name
    shutil.copy(os.environ["SUPPLY_TARBALL"], copy)
    subprocess.run([sys.executable, ROOT / "tests" / "tools" / "provenance.py", copy], env=keyring, check=True)
    return copy


def verified(tarball: Path, env: dict[str, str]) -> list[bool]:
    """Whether each command that works offline accepts the files in the tarball's folder."""
    version = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]
    words = [line.removeprefix("$ ").replace("VERSION", version).split() for line in COMMANDS.splitlines()]
    local = [command for command in words if command[0] in ("gpg", "sha256sum")]
    assert len(local) == 2
    done = [subprocess.run(command, cwd=tarball.parent, env=env, check=False, capture_output=True) for command in local]
    return [process.returncode == 0 for process in done]


def test_a_release_is_verified_by_the_commands_of_its_page(tarball: Path, keyring: dict[str, str]) -> None:
    assert verified(tarball, keyring) == [True, True]
    tarball.write_bytes(tarball.read_bytes() + b"\0")
    assert verified(tarball, keyring) == [False, False]


def test_the_list_of_parts_names_what_the_collection_needs(tarball: Path) -> None:
    text = tarball.with_name(f"{tarball.name}.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    sbom = json.loads(text)
    assert sbom["metadata"]["component"]["name"] == "compute_index.supply"
    required = {line.split()[0] for line in (ROOT / "requirements.txt").read_text().splitlines() if line[:1] != "#"}
    assert {part["name"] for part in sbom["components"]} == {"ansible-core", "psycopg", *required}
