# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook `run`: one job on its own machine, from the quote to the end of the machine."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import MakeProject, Project, Run
from limits import HANGS, until
from project import extra
from simulator import Settings
from simulator.instances import RESTART, SshBackend
from simulator.market import Address

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

# A job that goes on until a file appears
WAITS = f"{JOB['run_command']}; while ! test -e finish; do sleep 0.1; done"


def write_code(project: Project) -> None:
    folder = project.folder / "code"
    folder.mkdir(exist_ok=True)
    (folder / "data.txt").write_text("42\n")


def words_of(**variables: Any) -> tuple[str, ...]:
    """The words that run the playbook `run` with the usual variables and these; None leaves a variable out."""
    given = {name: value for name, value in {**JOB, **variables}.items() if value is not None}
    return "compute_index.supply.run", "-e", json.dumps(given)


def run(project: Project, *words: str, **variables: Any) -> Run:
    """Run the playbook."""
    return project.play(*words_of(**variables), *words)


def start_and_kill(project: Project, due: Callable[[], bool], **variables: Any) -> None:
    """Start the playbook, and kill all its processes once ``due``, as a reboot does."""
    project.kill_when(due, "ansible-playbook", "-i", str(project.inventory), *words_of(**variables))
    project.end_leftovers()


def record(project: Project) -> dict[str, Any]:
    return dict(json.loads((project.folder / "runs" / "train" / "run.json").read_text()))


def assert_over(project: Project, state: str, began: int = 1) -> None:
    """Assert that ``began`` machines were bought and have ended, and that the last job ran once and has results."""
    assert len(project.simulator.purchases) == began and not project.simulator.billed
    assert project.registry("run-train") is None
    final, results = record(project), project.folder / "runs" / "train"
    assert (final["phase"], final["state"], final["complete"]) == ("gone", state, True)
    assert final["began_at"] <= final["ended_at"] and final["cost_usd"] > 0
    assert final["offer_id"] == project.simulator.purchases[-1].offer_id
    assert (results / "files" / "out" / "result.txt").read_text() == "42\n"
    assert (results / "log.txt").read_text().count("it works") == 1


def assert_narrow(output: str) -> None:
    """Assert that the lines for people fit into 80 columns; Ansible's own lines and errors do not count."""
    lines = [line for line in output.splitlines() if line.startswith(("        ", "  "))]
    assert not [line for line in lines if len(line) > 80 and "/" not in line]


def test_check_mode_of_a_run_shows_the_price_and_buys_nothing(make_project: MakeProject) -> None:
    project = make_project()
    write_code(project)
    checked = run(project, "--check", run_unswept=None, run_max_bill=3, run_time=None)
    assert "A lease ends nothing on its own" in checked.text and "run_unswept=true" in checked.text
    checked = run(project, "--check", run_max_bill=3, run_time=None)
    assert checked.returncode == 0, checked.output
    assert '"at most USD 3.00 for its machine, USD 2.00/h"' in checked.output
    assert "the job may take 30 min, plus an hour to bring the results home" in checked.text
    wrong = run(project, run_name="a b", run_gpu=None, run_command=None, provision_lease="9h")
    assert all(name in wrong.failure("localhost") for name in ("run_name", "run_gpu", "run_command", "provision_lease"))
    assert "Nothing was sent." in wrong.text and wrong.returncode == 2
    searched = run(project, "--check", run_gpu=None, run_spec={"compute": {"gpu_typ": "H100"}})
    assert "did you mean 'compute.gpu_type'" in searched.failure("run-train"), searched.output
    mistyped = run(project, provision_group="gpus")  # a mistyped group would have no ceilings
    assert "Did you mean gpu?" in mistyped.failure("localhost") and mistyped.returncode == 2
    unquoted = run(project, "-e", "run_command=python train.py --lr=0.1")  # after the shell has removed the quotes
    assert "has words outside quotes" in unquoted.failure("localhost") and unquoted.returncode == 2
    ceilings = {0: "provision_max_price_per_hour (USD 0.00 per hour)", "{{ ours }}": "'ours' is undefined"}
    for ceiling, message in ceilings.items():
        project.declare(["gpu-1"], provision_max_price_per_hour=ceiling)
        above = run(project, "--check")
        assert above.returncode == 2 and message in above.text, above.output
    project.declare(["gpu-1"], provision_protect=True)
    protected = run(project, "--check", run_unswept=None)
    assert "since its group has provision_protect" in protected.failure("run-train") and protected.returncode == 2
    assert not project.simulator.purchases and not (project.folder / "runs").exists()


def test_successful_job_leaves_results_and_no_machine(make_project: MakeProject) -> None:
    project = make_project(provision_seconds=0)
    write_code(project)
    done = run(project, run_env={"SECRET": "s3cr3t-value"}, run_command=f"{JOB['run_command']} && test $SECRET")
    assert done.returncode == 0, done.output
    assert_over(project, "succeeded")
    assert "  it works\n" in done.output
    first, money, where = re.findall(r'^        "(.*)",?$', done.output, re.MULTILINE)[-3:]
    assert first.startswith("train succeeded after") and money.startswith("Nothing is billed any more. It cost at most")
    assert where == "Results: runs/train (1 file)"
    assert_narrow(done.output)
    everything = [done.output, *(path.read_text() for path in project.folder.glob("runs/train/*.json"))]
    assert not any("s3cr3t-value" in text for text in everything)


def test_failed_job_leaves_results_and_no_machine(make_project: MakeProject) -> None:
    project = make_project(provision_seconds=0)
    write_code(project)
    command = f"{JOB['run_command']}; exit 3"
    failed = run(project, run_command=command)
    assert failed.returncode == 2 and "exit code 3" in failed.failure("run-train")
    assert_over(project, "failed")
    assert record(project)["exit_code"] == 3 and "Nothing is billed any more" in failed.text
    again = run(project, run_command=command)
    assert again.returncode == 2 and "Nothing was bought. -e run_again=true" in again.text
    assert len(project.simulator.purchases) == 1
    # A run of another command replaces it, and keeps its results.
    fixed = run(project)
    assert fixed.returncode == 0, fixed.output
    assert_over(project, "succeeded", began=2)
    assert json.loads((project.folder / "runs" / "train.1" / "run.json").read_text())["exit_code"] == 3


def test_repeated_command_continues_the_run_of_a_killed_controller(make_project: MakeProject) -> None:
    """The controller is killed after the purchase, and again after the job's start. Another command is refused."""
    project = make_project(provision_seconds=1)
    write_code(project)
    start_and_kill(project, lambda: bool(project.simulator.purchases), run_command=WAITS)
    assert record(project)["phase"] == "ordered"
    # The second command has a lower limit than the first, whose machine it takes over.
    start_and_kill(
        project,
        lambda: record(project)["phase"] == "started" and bool(job_outputs(project)),
        run_command=WAITS,
        run_time=None,
        run_max_bill=4,
    )
    assert record(project)["phase"] == "started"
    ends = datetime.fromisoformat((project.registry("run-train") or {})["provision_ends_at"].replace("Z", "+00:00"))
    assert ends - datetime.now(timezone.utc) < timedelta(hours=2, seconds=1)  # noted in whole seconds
    other = run(project)
    assert "The run train is not over, and it is another job" in other.failure("localhost")
    not_followed = run(project, run_command=WAITS, run_follow=False)
    assert not_followed.returncode == 0 and "train runs. Repeat the command to follow it" in not_followed.text
    (job_outputs(project)[0].parent.parent / "finish").touch()
    # The name alone also continues the run.
    name_only = dict.fromkeys(JOB.keys() - {"run_name"})
    done = run(project, **name_only)
    assert done.returncode == 0, done.output
    assert_over(project, "succeeded")


def run_with_slow_code(project: Project, change: Callable[[], object]) -> tuple[int | None, str]:
    """Run the playbook, and make a change while the code is copied. Return exit code and output."""
    write_code(project)
    record_file, programs = project.folder / "runs" / "train" / "run.json", project.folder / "bin"
    programs.mkdir()
    wait = f"case \"$*\" in *code.tar.gz*) until [ -e '{programs}/go' ]; do sleep 0.1; done;; esac"
    (programs / "ssh").write_text(f'#!/bin/sh\n{wait}\nexec {shutil.which("ssh")} "$@"\n')
    (programs / "ssh").chmod(0o755)
    project.environment["PATH"] = f"{programs}:{project.environment['PATH']}"
    words = words_of(run_command=WAITS, run_follow=False)
    with project.start("ansible-playbook", "-i", str(project.inventory), *words) as process:
        until(lambda: record_file.exists() and record(project)["phase"] == "started")
        change()
        (programs / "go").touch()
        return process.wait(HANGS), process.read()


def test_slow_copy_of_code_shortens_the_time_of_the_job(make_project: MakeProject) -> None:
    """Otherwise the job would use up the hour for its results, and a sweep would end the machine with both."""
    project = make_project(provision_seconds=0)
    # As if half an hour had passed
    code, output = run_with_slow_code(project, lambda: let_end_in(project, 3600 + 1800))
    assert code == 0 and "The job may take" in output, output
    job = json.loads((job_outputs(project)[0].parents[2] / "job.json").read_text())
    assert 1500 < job["time"] <= 1800


def test_run_replaced_while_code_is_copied_starts_no_job(make_project: MakeProject) -> None:
    project = make_project(provision_seconds=0)
    record_file = project.folder / "runs" / "train" / "run.json"
    code, output = run_with_slow_code(
        project,
        lambda: record_file.write_text(json.dumps({**record(project), "digest": "0" * 64, "command": "another"})),
    )
    assert code == 2 and "The run train is not over, and it is another job: another" in " ".join(output.split()), output
    assert not job_outputs(project)


def job_outputs(project: Project) -> list[Path]:
    """The file ``result.txt`` that the job writes on its machine; empty before it has begun."""
    ids = [item for purchase in project.simulator.purchases for item in purchase.resource_ids]
    files = (project.simulator.home(item) / "runs" / "train" / "work" / "out" / "result.txt" for item in ids)
    return [file for file in files if file.exists()]


class LostOnce(SshBackend):
    """Machines that lose their connections once, at the end of the first run_info."""

    lost = False

    async def start(self, resource_id: str, *arguments: Any) -> Address:
        address = await super().start(resource_id, *arguments)
        (self.folder(resource_id) / "home" / RESTART).write_text("run_info")
        return address

    async def stop(self, resource_id: str) -> None:
        self.lost = not (self.folder(resource_id) / "home" / RESTART).exists()
        await super().stop(resource_id)


def test_connection_lost_before_the_job_is_made_again(make_project: MakeProject) -> None:
    """Otherwise the machine would be billed without a job until its lease ends or the user repeats the command."""
    machines = LostOnce(Settings(runs_user_data=True))
    project = make_project(provision_seconds=0, backend=machines)
    write_code(project)
    done = run(project)
    assert done.returncode == 0 and machines.lost, done.output
    assert_over(project, "succeeded")


def test_job_whose_machine_the_user_ended_is_lost(make_project: MakeProject) -> None:
    """The next command reports the loss at once, and buys no other machine."""
    project = make_project(provision_seconds=0)
    write_code(project)
    assert run(project, run_command=WAITS, run_follow=False).returncode == 0
    ended = project.play("compute_index.supply.decommission", "-e", "decommission_hosts=run-train")
    assert ended.returncode == 0, ended.output
    again = run(project, run_command=WAITS)
    assert again.returncode == 2 and "train lost (its machine has gone)" in again.text, again.output
    assert len(project.simulator.purchases) == 1 and not project.simulator.billed
    assert (record(project)["phase"], record(project)["state"]) == ("gone", "lost")


def let_end_in(project: Project, seconds: float) -> None:
    """Move the end of the lease to this many seconds from now."""
    file = project.registry_file("run-train")
    entry = yaml.safe_load(file.read_text())
    moment = f"{datetime.now(timezone.utc) + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}"
    file.write_text(yaml.safe_dump({**entry, "provision_ends_at": moment, "provision_leased": moment}))


@pytest.mark.parametrize("inventory", [["-i", "hosts.yml"], []], ids=["inventory", "none"])
def test_sweeps_finish_the_run_of_a_controller_that_never_returns(
    make_project: MakeProject, inventory: list[str]
) -> None:
    """A sweep in the last hour of the lease brings the results home, a later one ends the machine; `runs` lists it all.

    Also without an inventory, whose files would tell Ansible how to reach the machine.
    """
    project = make_project(provision_seconds=0)
    write_code(project)

    def play(*words: str) -> Run:
        return project.run("ansible-playbook", *inventory, *words)

    assert play(*words_of(run_follow=False, run_command=WAITS)).returncode == 0
    listed = play("compute_index.supply.runs")
    assert re.search(r'"train +running .* billed +0.\d\d  it works"', listed.output), listed.output
    extended = play("compute_index.supply.extend", *extra({"extend_hosts": "run-train", "extend_by": "1h"}))
    assert extended.returncode == 0 and "A job that has begun ends as planned (run-train)" in extended.text
    (job_outputs(project)[0].parent.parent / "finish").touch()
    early = play("compute_index.supply.reap")
    assert early.returncode == 0 and not (project.folder / "runs" / "train" / "files").exists()
    let_end_in(project, 1800)
    late = play("compute_index.supply.reap")
    assert late.returncode == 0 and "The results of train are home: runs/train" in late.text, late.output
    assert (record(project)["phase"], record(project)["state"]) == ("home", "succeeded")
    assert len(project.simulator.billed) == 1
    let_end_in(project, -1)
    over = play("compute_index.supply.reap")
    assert over.returncode == 0 and not project.simulator.billed, over.output
    listed = play("compute_index.supply.runs")
    assert re.search(r'"train +succeeded .* gone', listed.output), listed.output
    done = play(*words_of(run_command=WAITS))
    assert done.returncode == 0 and "Nothing is billed any more. It cost at most USD 0." in done.text, done.output
    assert_over(project, "succeeded")
