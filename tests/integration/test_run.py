# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One job on a machine of its own, from the quote to the last word."""

from __future__ import annotations

import json
from typing import Any

from conftest import MakeProject, Project, Run

JOB = {
    "run_name": "train",
    "run_gpu": "1 x H100",
    "run_max_bill": 20,
    "run_time": "2h",
    "run_command": "mkdir -p out && echo it works && cp data.txt out/result.txt",
    "run_files": "code",
    "run_results": "out",
    "run_log_delay": "1s",
    "run_unswept": True,
    "provision_verify": "none",  # simulated machines are this computer
}


def write_code(project: Project) -> None:
    folder = project.folder / "code"
    folder.mkdir(exist_ok=True)
    (folder / "data.txt").write_text("42\n")


def run(project: Project, *words: str, **variables: Any) -> Run:
    """Run the collection's playbook ``run``; None leaves a variable out."""
    given = {name: value for name, value in {**JOB, **variables}.items() if value is not None}
    return project.play("compute_index.supply.run", "-e", json.dumps(given), *words)


def record(project: Project) -> dict[str, Any]:
    return dict(json.loads((project.folder / "runs" / "train" / "run.json").read_text()))


def test_check_shows_the_price_and_buys_nothing(make_project: MakeProject) -> None:
    project = make_project()
    write_code(project)
    checked = run(project, "--check")
    print(checked.output)
    assert checked.returncode == 0
    assert not project.simulator.purchases


def test_a_job_that_succeeds(make_project: MakeProject) -> None:
    project = make_project(provision_seconds=0)
    write_code(project)
    done = run(project)
    print(done.output)
    print(json.dumps(record(project), indent=1))
    assert done.returncode == 0
