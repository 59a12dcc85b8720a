# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules of a run over SSH: they copy code to the machine, run a command, and fetch its results."""

from __future__ import annotations

import json
import os
import shlex
import signal
from typing import Any

import pytest

from conftest import MakeProject, Project, core
from limits import until
from simulator import Offer

SECRET = "kept-between-us-4711"
ODD = "a\nb $(false) é"
COMMAND = f"""
test "$TOKEN" = {SECRET} && python3 train.py && mkdir out && head -c 300000 /dev/urandom > out/model &&
cp train.py {shlex.quote(f"out/{ODD}")} && ln -s model out/latest && echo done && exit 3
""".replace(SECRET, "kept-between-us-$((4700 + 11))")
RESULTS = {"name": "train", "paths": ["out", "nix"], "part_size": 100_000}


@pytest.fixture
def project(make_project: MakeProject) -> Project:
    """A project with a machine, and a folder with code for it."""
    project = make_project([Offer()], provision_seconds=0)
    run = project.provision()
    assert run.returncode == 0, run.output
    for name, content in (("train.py", "print('trained')"), (".gitignore", "*.ckpt\n"), ("old.ckpt", "large")):
        (project.folder / "code" / name).parent.mkdir(exist_ok=True)
        (project.folder / "code" / name).write_text(content)
    return project


def play(project: Project, *tasks: dict[str, Any], options: tuple[str, ...] = ()) -> tuple[list[dict[str, Any]], str]:
    """Run tasks on the machine, and return their results and all output."""
    file = project.folder / "results.json"
    names = [f"result_{number}" for number in range(len(tasks))]
    steps = [{**task, "register": name} for task, name in zip(tasks, names, strict=True)]
    content = "{{ [" + ", ".join(names) + "] | to_json }}"
    dump = {"ansible.builtin.copy": {"dest": str(file), "content": content}, "delegate_to": "localhost"}
    book = {"hosts": "gpu", "gather_facts": False, "tasks": [*steps, {**dump, "check_mode": False, "no_log": True}]}
    run = project.play(project.write(book), *options)
    assert run.returncode == 0, run.output
    return json.loads(file.read_text()), run.output


def task(module: str, **options: Any) -> dict[str, Any]:
    return {f"compute_index.supply.{module}": {"name": "train", **options}}


@core
def test_code_is_copied_command_runs_once_and_results_are_fetched(project: Project) -> None:
    files = task("run_files", src=str(project.folder / "code"))
    job = task("run_job", command=COMMAND, digest="1", env={"TOKEN": SECRET, "RANK": "1", "TRUE": "True"}, time=600)
    info = {**task("run_info"), "until": "result_3.state == 'failed'", "retries": 100, "delay": 0.1}
    results = task("run_results", **RESULTS, dest=str(project.folder / "runs" / "train"))
    tasks = (files, files, job, info, results, results, job)
    (packed, same, started, state, home, again, over), output = play(project, *tasks, options=("-vvv",))

    assert (packed["changed"], same["changed"]) == (True, False)
    assert (started["changed"], started["state"]) == (True, "running")
    assert (state["state"], state["exit_code"], state["log"]) == ("failed", 3, ["trained", "done"])
    assert (home["changed"], home["complete"], home["files"], home["missing"]) == (True, True, 3, ["nix"])
    assert (again["changed"], again["complete"], over["changed"]) == (False, True, False)
    folder = project.folder / "runs" / "train"
    assert (folder / "files" / "out" / ODD).read_text() == "print('trained')"
    assert (folder / "files" / "out" / "latest").read_bytes() == (folder / "files" / "out" / "model").read_bytes()
    assert (folder / "log.txt").read_text() == "trained\ndone\n"
    assert SECRET not in output
    machine = project.simulator.home(project.simulator.purchases[0].resource_ids[0])
    assert not [file for file in machine.rglob("*") if file.is_file() and SECRET.encode() in file.read_bytes()]

    planned_tasks = (files, task("run_job", command="x", digest="2"), task("run_info"))
    (check, planned, running), _output = play(project, *planned_tasks, options=("-C",))
    assert (check["changed"], planned["changed"], running["digest"]) == (False, True, "1")


def test_killed_fetch_of_results_continues(project: Project) -> None:
    dest = project.folder / "runs" / "train"
    job = task("run_job", command="mkdir out; head -c 3000000 /dev/urandom > out/model", digest="1")
    info = {**task("run_info"), "until": "result_1.state == 'succeeded'", "retries": 100, "delay": 0.1}
    play(project, job, info)
    results = task("run_results", **RESULTS, dest=str(dest))
    book = project.write({"hosts": "gpu", "gather_facts": False, "tasks": [results]})
    with project.start("ansible-playbook", "-i", str(project.inventory), book) as process:
        until(lambda: sum(file.stat().st_size for file in dest.glob(".partial*")) > 500_000)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not (dest / "files").exists(), "results are visible only when complete"
    (home,), _output = play(project, results)
    assert (home["complete"], home["files"]) == (True, 1)
    machine = project.simulator.home(project.simulator.purchases[0].resource_ids[0])
    model = (machine / "runs" / "train" / "work" / "out" / "model").read_bytes()
    assert (dest / "files" / "out" / "model").read_bytes() == model
