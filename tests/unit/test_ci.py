# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The CI workflows run the commands of .ci/run, the Makefile and noxfile.py; the version is in the changelog."""

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
# Most plays that `make test` runs: with more it would take much longer than ten minutes.
MOST_FIRST = 200


def noxfile() -> dict[str, Any]:
    """The tables of versions in noxfile.py. They are parsed, since the file cannot be imported without nox."""
    found: dict[str, Any] = {}
    for node in ast.parse((ROOT / "noxfile.py").read_text()).body:
        if isinstance(node, ast.Assign) and re.fullmatch("(ALL_|SANITY_)?CORES|COMING", ast.unparse(node.targets[0])):
            exec(compile(ast.Module([node], []), "noxfile.py", "exec"), found)
    return found


def load(workflow: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / f"{workflow}.yml").read_text())
    return found


def rows(matrix: dict[str, Any]) -> Iterator[dict[str, str]]:
    """The rows of a job's matrix; each entry of its ``include`` must be a whole row."""
    axes = {name: values for name, values in matrix.items() if name != "include"}
    yield from (dict(zip(axes, row, strict=True)) for row in itertools.product(*axes.values()))
    yield from matrix.get("include", [])


def commands(workflow: str, *, may_fail: bool) -> set[str]:
    """The commands of a workflow's jobs: of those that may fail, or of those that may not."""
    found = set()
    for job in load(workflow)["jobs"].values():
        if job.get("continue-on-error", False) is may_fail:
            for row, step in itertools.product(rows(job.get("strategy", {}).get("matrix", {})), job["steps"]):
                if "run" in step:
                    found.add(re.sub(r"\$\{\{ matrix\.(\w+) }}", lambda match, row=row: row[match[1]], step["run"]))
    return found


def make_commands(kinds: str, cores: Any) -> set[str]:
    """The commands that run these kinds of tests on these versions."""
    return {f"make {kind} CORE={core}" for kind in kinds.split() for core in cores}


def test_pull_requests_run_the_commands_of_the_ci_script() -> None:
    tables = noxfile()
    oldest, *_between, newest = tables["CORES"]
    both = set(re.findall("^make .*", (ROOT / ".ci" / "run").read_text(), re.MULTILINE))
    assert both == {"make test", "make rest"}
    others = set(tables["SANITY_CORES"]) - tables["COMING"].keys() - {oldest, newest}
    assert commands("ci", may_fail=False) == both | make_commands("sanity", others)
    assert commands("ci", may_fail=True) == make_commands("sanity unit integration", tables["COMING"])
    assert {"pull_request", "schedule"} <= load("ci")["on"].keys()


def test_nightly_tests_the_versions_between_oldest_and_newest() -> None:
    _oldest, *between, _newest = noxfile()["CORES"]
    others = {"make nightly ARGS=60", "make benchmark ARGS=--small"}
    assert commands("nightly", may_fail=False) == make_commands("unit integration", between) | others
    assert commands("nightly", may_fail=True) == set()
    assert "schedule" in load("nightly")["on"]


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_workflows_call_existing_targets(workflow: str) -> None:
    called = [command.split() for failing in (True, False) for command in commands(workflow, may_fail=failing)]
    assert called and all(make == "make" and target in TARGETS for make, target, *_rest in called)


def test_marker_first_stays_within_limit() -> None:
    """To mark another play, remove the marker from one, as CONTRIBUTING.md says."""
    folders = [str(ROOT / "tests" / name) for name in ("attacks", "integration")]
    words = [sys.executable, "-m", "pytest", "--collect-only", "-qq", "-p", "no:cacheprovider", "-m", "first", *folders]
    # Variables that make a run longer must not change the number.
    env = {name: value for name, value in os.environ.items() if not name.startswith("SUPPLY_TEST_")}
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT, env=env)
    assert done.returncode == 0, done.stdout
    plays = [int(number) for number in re.findall(r"^tests/.*: (\d+)$", done.stdout, re.MULTILINE)]
    assert 150 <= sum(plays) <= MOST_FIRST


def test_version_has_changelog_entry() -> None:
    galaxy = yaml.safe_load((ROOT / "galaxy.yml").read_text())
    releases = yaml.safe_load((ROOT / "changelogs" / "changelog.yaml").read_text())["releases"]
    assert galaxy["version"] == VERSION
    assert releases[VERSION]["changes"]["release_summary"]
    assert f"## v{VERSION}\n" in (ROOT / "CHANGELOG.md").read_text().replace("\\", "")
