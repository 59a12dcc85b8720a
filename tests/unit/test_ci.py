# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a public host runs is what .ci/run, the Makefile and noxfile.py know; the version is in the changelog."""

from __future__ import annotations

import ast
import itertools
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.compute_index.supply.plugins.module_utils._api.client import VERSION

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted(path.stem for path in (ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = re.findall(r"^([a-z0-9-]+):.* ##", (ROOT / "Makefile").read_text(), re.MULTILINE)
# Plays that `make test` runs: more would take much longer than ten minutes.
MOST_FIRST = 200


def noxfile() -> dict[str, Any]:
    """The tables of versions in noxfile.py, which can only be imported where nox is."""
    found: dict[str, Any] = {}
    for node in ast.parse((ROOT / "noxfile.py").read_text()).body:
        if isinstance(node, ast.Assign) and re.fullmatch("(ALL_|SANITY_)?CORES|COMING", ast.unparse(node.targets[0])):
            exec(compile(ast.Module([node], []), "noxfile.py", "exec"), found)
    return found


def load(workflow: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / f"{workflow}.yml").read_text())
    return found


def rows(matrix: dict[str, Any]) -> Iterator[dict[str, str]]:
    """All that a job's matrix stands for; each of what it includes must be a row of its own."""
    axes = {name: values for name, values in matrix.items() if name != "include"}
    yield from (dict(zip(axes, row, strict=True)) for row in itertools.product(*axes.values()))
    yield from matrix.get("include", [])


def commands(workflow: str, *, may_fail: bool) -> set[str]:
    """The commands of the jobs whose failure counts, or of the others."""
    found = set()
    for job in load(workflow)["jobs"].values():
        if job.get("continue-on-error", False) is may_fail:
            for row, step in itertools.product(rows(job.get("strategy", {}).get("matrix", {})), job["steps"]):
                if "run" in step:
                    found.add(re.sub(r"\$\{\{ matrix\.(\w+) }}", lambda match, row=row: row[match[1]], step["run"]))
    return found


def on(kinds: str, cores: Any) -> set[str]:
    """The commands that run these kinds of tests on these versions."""
    return {f"make {kind} CORE={core}" for kind in kinds.split() for core in cores}


def test_each_pull_request_is_tested_as_by_the_script_of_ci() -> None:
    tables = noxfile()
    oldest, *_between, newest = tables["CORES"]
    both = set(re.findall("^make .*", (ROOT / ".ci" / "run").read_text(), re.MULTILINE))
    assert both == {"make test", "make rest"}
    others = set(tables["SANITY_CORES"]) - tables["COMING"].keys() - {oldest, newest}
    assert commands("ci", may_fail=False) == both | on("sanity", others)
    assert commands("ci", may_fail=True) == on("sanity unit integration", tables["COMING"])
    assert {"pull_request", "schedule"} <= load("ci")["on"].keys()


def test_each_night_the_versions_in_between_are_tested_too() -> None:
    _oldest, *between, _newest = noxfile()["CORES"]
    others = {"make nightly ARGS=60", "make benchmark ARGS=--small"}
    assert commands("nightly", may_fail=False) == on("unit integration", between) | others
    assert commands("nightly", may_fail=True) == set()
    assert "schedule" in load("nightly")["on"]


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_only_targets_that_there_are_are_called(workflow: str) -> None:
    called = [command.split() for failing in (True, False) for command in commands(workflow, may_fail=failing)]
    assert called and all(make == "make" and target in TARGETS for make, target, *_rest in called)


def test_few_plays_come_first() -> None:
    """Whoever marks another one ``first`` names the one that leaves: see CONTRIBUTING.md."""
    folders = [str(ROOT / "tests" / name) for name in ("attacks", "integration")]
    words = [sys.executable, "-m", "pytest", "--collect-only", "-qq", "-p", "no:cacheprovider", "-m", "first", *folders]
    # What makes a run longer must not make another number.
    env = {name: value for name, value in os.environ.items() if not name.startswith("SUPPLY_TEST_")}
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT, env=env)
    assert done.returncode == 0, done.stdout
    plays = [int(number) for number in re.findall(r"^tests/.*: (\d+)$", done.stdout, re.MULTILINE)]
    assert 150 <= sum(plays) <= MOST_FIRST


def test_the_version_has_its_entry_in_the_changelog() -> None:
    galaxy = yaml.safe_load((ROOT / "galaxy.yml").read_text())
    releases = yaml.safe_load((ROOT / "changelogs" / "changelog.yaml").read_text())["releases"]
    assert galaxy["version"] == VERSION
    assert releases[VERSION]["changes"]["release_summary"]
    assert f"## v{VERSION}\n" in (ROOT / "CHANGELOG.md").read_text().replace("\\", "")
