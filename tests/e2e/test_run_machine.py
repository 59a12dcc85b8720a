# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run on a real machine with systemd: as root, as a user with sudo, and as a user alone, without a connection."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

from conftest import Machine, MakeProject, Project
from limits import until
from simulator import Offer


def play(project: Project, tasks: list[dict[str, Any]], **variables: Any) -> list[dict[str, Any]]:
    """Run tasks on the machine; their results."""
    steps = [{**task, "register": f"result_{number}"} for number, task in enumerate(tasks)]
    results = ", ".join(step["register"] for step in steps)
    show = {"ansible.builtin.debug": {"msg": f"{{{{ [{results}] | to_json | b64encode }}}}"}}
    book = {"hosts": "gpu", "gather_facts": False, "vars": variables, "tasks": [*steps, show]}
    run = project.play(project.write(book))
    assert run.returncode == 0, run.output
    (shown,) = re.findall(r'"msg": "([\w+/]+=*)"', run.output)
    found: list[dict[str, Any]] = json.loads(base64.b64decode(shown))
    return found


def task(module: str, name: str, **options: Any) -> dict[str, Any]:
    return {f"compute_index.supply.{module}": {"name": name, **options}}


def info(project: Project, name: str, **variables: Any) -> dict[str, Any]:
    return play(project, [task("run_info", name)], **variables)[0]


def test_a_run_needs_no_connection_and_its_unit_no_more_than_it_says(rent: MakeProject, tmp_path: Path) -> None:
    project = rent([Offer()])
    user = {"name": "ml", "shell": "/bin/bash", "sudo": "ALL=(ALL) NOPASSWD:ALL"}
    project.declare(["gpu-1"], provision_users=[{**user, "ssh_authorized_keys": [project.public_key]}])
    run = project.provision()
    assert run.returncode == 0, run.output
    entry = project.registry("gpu-1")
    assert entry is not None
    machine = Machine(project, entry["ansible_host"])
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").write_text("print('trained')")
    files = {"src": str(tmp_path / "code")}
    wait = "while [ ! -e go ]; do sleep 0.1; done"
    job = {"command": f"python3 train.py; mkdir -p out; id -un > out/user; sleep 600 & {wait}", "digest": "1"}
    sudo: dict[str, Any] = {"ansible_user": "ml", "ansible_become": True}

    # As root: a unit of the system, all of which ends with the command.
    _packed, started = play(project, [task("run_files", "root", **files), task("run_job", "root", **job)])
    assert started["how"] == "systemd"
    assert machine.run("systemctl is-active 'compute-index-run-root-*'").split() == ["active"]
    # As a user with sudo the same; parts come by the user's own folder.
    _packed, started = play(project, [task("run_files", "sudo", **files), task("run_job", "sudo", **job)], **sudo)
    assert started["how"] == "systemd"
    # As a user alone: a process of its own, and a word of what systemd may do.
    alone = {"ansible_user": "ml"}
    _packed, started = play(project, [task("run_files", "alone", **files), task("run_job", "alone", **job)], **alone)
    assert started["how"] == "fork" and "loginctl enable-linger" in str(started["warnings"])
    assert info(project, "alone", **alone)["state"] == "running"
    machine.run(
        "for work in /var/lib/compute_index/run/*/work /home/ml/.compute_index/run/*/work; do touch $work/go; done"
    )
    for name, variables in (("root", {}), ("sudo", sudo), ("alone", alone)):
        state = until(lambda n=name, v=variables: s if (s := info(project, n, **v))["state"] != "running" else {}, 1)
        assert (state["state"], state["reason"], state["log"]) == ("succeeded", "left", ["trained"]), state
        results = task("run_results", name, paths=["out"], dest=str(tmp_path / name))
        assert play(project, [results], **variables)[0]["complete"]
        owner = (tmp_path / name / "files" / "out" / "user").read_text()
        assert owner == ("ml\n" if name == "alone" else "root\n")
    assert machine.run("systemctl list-units --no-legend 'compute-index-run-*'; pgrep -x sleep || true") == ""
    machine.run("loginctl enable-linger ml")
    again = play(project, [task("run_job", "alone", **job, again=True)], **alone)[0]
    assert again["changed"] and "warnings" not in again

    # A unit that is stopped, and a machine that is restarted.
    endless = {"command": "sleep 600", "digest": "2"}
    play(project, [task("run_job", "root", **endless)])
    machine.run("systemctl stop 'compute-index-run-root-*'")
    state = info(project, "root")
    assert (state["state"], state["reason"], state["exit_code"]) == ("interrupted", "gone", None)
    assert machine.run("pgrep -x sleep || true").count("\n") <= 1, "that of the user's run"
