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
    """Run tasks on the machine, and return their results."""
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


def test_run_needs_no_connection(rent: MakeProject, tmp_path: Path) -> None:
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
    job = {"command": f"python3 train.py; mkdir -p out; id -un > out/user; {wait}", "digest": "1"}
    sudo: dict[str, Any] = {"ansible_user": "ml", "ansible_become": True}

    # As root, as a user with sudo, whose parts come by the user's own folder, and as a user alone.
    users: dict[str, dict[str, Any]] = {"root": {}, "sudo": sudo, "alone": {"ansible_user": "ml"}}
    for name, variables in users.items():
        _packed, started = play(project, [task("run_files", name, **files), task("run_job", name, **job)], **variables)
        assert started["changed"] and info(project, name, **variables)["state"] == "running"
    # What root starts is a unit of the system, which no end of a session ends.
    for name in ("root", "sudo"):
        scope = machine.run(f"cat /proc/$(cat /var/lib/compute_index/run/{name}/pid)/cgroup")
        assert re.search(r"/system.slice/run-[\w-]+.scope", scope), scope
    machine.run(
        "for work in /var/lib/compute_index/run/*/work /home/ml/.compute_index/run/*/work; do touch $work/go; done"
    )
    for name, variables in users.items():
        state = until(lambda n=name, v=variables: s if (s := info(project, n, **v))["state"] != "running" else {}, 1)
        assert (state["state"], state["log"]) == ("succeeded", ["trained"]), state
        results = task("run_results", name, paths=["out"], dest=str(tmp_path / name))
        assert play(project, [results], **variables)[0]["complete"]
        owner = (tmp_path / name / "files" / "out" / "user").read_text()
        assert owner == ("ml\n" if name == "alone" else "root\n")

    # A command that is killed, as if memory ran out.
    play(project, [task("run_job", "root", command="sleep 600", digest="2")])
    machine.run("pkill -KILL -x sleep")
    state = until(lambda: s if (s := info(project, "root"))["state"] != "running" else {}, 1)
    assert (state["state"], state["exit_code"]) == ("failed", 137)
