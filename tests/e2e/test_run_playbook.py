# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook `run` on real machines: killed in each phase, cut off, restarted, with a full disk and odd names."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import yaml

from conftest import Backend, Machine, MakeProject, Project
from limits import HANGS, until
from project import Run
from simulator import Offer

RUN = "/var/lib/compute_index/run/train"
JOB = {
    "run_name": "train",
    "run_gpu": "1 x H100",
    "run_max_bill": 20,
    "run_time": "2h",
    "run_command": "python3 train.py",
    "run_files": "code",
    "run_results": "out",
    "run_log_delay": "1s",
    "run_unswept": True,
    "provision_verify": "none",  # these machines have no GPU
}
# Names that a shell, Ansible or a list of lines would read as something else.
ODD = ["two words", "a\nb", "-x", "*", "q'uo\"te", "$(false)", "{{ 1 }}", os.fsdecode(b"caf\xe9"), "x" * 250]
# The job notes each of its starts next to its folder, which a second start would clear.
BEGIN = f"""
import os, time
os.makedirs("out", exist_ok=True)
with open("{RUN}.began", "a") as file: file.write("began\\n")
with open("{RUN}.began") as file, open("out/began", "w") as copy: copy.write(file.read())
"""


class Runs:
    """Commands for one run. ``script``: the job's Python code after its beginning."""

    def __init__(self, project: Project, backend: Backend, script: str, **variables: Any) -> None:
        self.project, self.backend = project, backend
        self.folder = project.folder / "runs" / "train"
        # Ansible flushes nothing that is shown while a task runs, and no terminal reads this.
        project.environment["PYTHONUNBUFFERED"] = "1"
        given = json.dumps({**JOB, **variables})
        self.words = ("-i", str(project.inventory), "compute_index.supply.run", "-e", given)
        (project.folder / "code").mkdir()
        (project.folder / "code" / "train.py").write_text(BEGIN + script)

    @property
    def record(self) -> dict[str, Any]:
        with suppress(FileNotFoundError):
            return dict(json.loads((self.folder / "run.json").read_text()))
        return {}

    @property
    def disk(self) -> Path:
        """The folder of the run on its machine."""
        (resource_id,) = self.project.simulator.purchases[0].resource_ids
        home = (self.backend.folder(resource_id) / "home").readlink()
        return home.parent / RUN[1:]

    @property
    def address(self) -> str:
        return str((self.project.registry("run-train") or {})["ansible_host"])

    def command(self, *words: str) -> Run:
        return self.project.run("ansible-playbook", *self.words, *words)

    def killed(self, due: Callable[[], object]) -> None:
        """Start the command, and kill it as soon as a condition is true."""
        self.project.kill_when(lambda: quietly(due), "ansible-playbook", *self.words)

    def assert_over(self, state: str) -> None:
        """Check that one machine was bought and has ended, the job ran once, and results and cost are right."""
        simulator, record = self.project.simulator, self.record
        assert len(simulator.purchases) == 1 and not simulator.billed
        assert self.project.registry("run-train") is None
        assert (record["phase"], record["state"], record["complete"]) == ("gone", state, True), record
        assert (self.folder / "files" / "out" / "began").read_text().count("\n") == 1
        # An upper bound, in cents: from before the purchase was sent until the end was confirmed.
        assert sum(simulator.bill.values()) - 0.005 <= record["cost_usd"] <= sum(simulator.bill.values()) + 0.05


def quietly(look: Callable[[], object]) -> object:
    """The result of a look at files; None while one is missing."""
    try:
        return look()
    except OSError:
        return None


def arrived(runs: Runs) -> int:
    """The number of bytes that have arrived of an incomplete file."""
    return sum(file.stat().st_size for file in runs.folder.glob(".partial*"))


@contextmanager
def cut(address: str) -> Iterator[None]:
    """Drop all packets to a machine, without an error for the sender."""
    device = f"supply{int(address.rpartition('.')[2]) // 2}"
    subprocess.run(
        ["ip", "neigh", "replace", address, "lladdr", "02:00:00:00:00:01", "dev", device, "nud", "permanent"],
        check=True,
    )
    yield
    subprocess.run(["ip", "neigh", "del", address, "dev", device], check=True)


def test_run_survives_kills_in_each_phase_and_a_cut_connection(rent: MakeProject, backend: Backend) -> None:
    project = rent([Offer(), Offer()])
    script = f"""
for name in {ODD!a}: open("out/" + name, "w").close()
while not os.path.exists("go"): time.sleep(0.1)
with open("out/large", "wb") as file: [file.write(bytes(10**6)) for _number in range(150)]  # three parts
print("it works")
"""
    runs = Runs(project, backend, script)
    (project.folder / "code" / "large").write_bytes(os.urandom(20_000_000))

    runs.killed(lambda: project.simulator.purchases)
    runs.killed(lambda: any(runs.disk.parents[4].glob("root/.ansible/tmp/*/code.tar.gz")))  # half of it
    assert not runs.disk.exists()
    runs.killed(lambda: (runs.disk / "job.json").exists())
    runs.killed(lambda: runs.record["phase"] == "started" and (runs.disk / "work" / "out" / "began").exists())
    with project.start("ansible-playbook", *runs.words) as process:
        until(lambda: "Follow the job" in process.read())
        with cut(runs.address):
            until(lambda: "does not answer" in process.read(), 0.2)
        (runs.disk / "work" / "go").touch()
        until(lambda: quietly(lambda: os.listdir(runs.folder / "files" / "out")))
        with cut(runs.address):
            until(lambda: "(its results wait" in process.read(), 0.2)
            before = arrived(runs)
        until(lambda: arrived(runs) != before)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(HANGS)
    runs.killed(lambda: runs.record["phase"] == "home")
    assert len(project.simulator.billed) == 1
    done = runs.command()
    assert done.returncode == 0 and '"train succeeded after ' in done.output, done.output
    runs.assert_over("succeeded")
    assert sorted(os.listdir(runs.folder / "files" / "out")) == sorted([*ODD, "began", "large"])
    assert (runs.folder / "files" / "out" / "large").stat().st_size == 150_000_000
    assert (runs.folder / "log.txt").read_text() == "it works\n"


def test_sweep_fetches_results_of_a_lost_controller_and_a_full_disk(rent: MakeProject, backend: Backend) -> None:
    project = rent([Offer(), Offer()])
    small = "mkdir -p /var/lib/compute_index && mount -t tmpfs -o size=60m tmpfs /var/lib/compute_index"
    project.declare(["gpu-1"], provision_cloud_init={"bootcmd": [small]})
    script = """
import subprocess, signal
while not os.path.exists("go"): time.sleep(0.1)
subprocess.run(["dd", "if=/dev/zero", "of=out/large", "bs=1M"])
os.kill(os.getpid(), signal.SIGTERM)
"""
    runs = Runs(project, backend, script, run_follow=False)
    begun = runs.command()
    assert begun.returncode == 0 and "Repeat the command to follow it" in begun.text, begun.output
    machine = Machine(project, runs.address)
    machine.run(f"cd {RUN}; touch work/go; until [ -e end ]; do sleep 0.1; done")

    # No controller comes back. A sweep in the hour before the end fetches the results; one after it ends the machine.
    end_lease(project, 1800)
    late = project.play("compute_index.supply.reap")
    assert late.returncode == 0 and "The results of train are home: runs/train" in late.text, late.output
    assert (runs.record["phase"], runs.record["exit_code"]) == ("home", 128 + signal.SIGTERM)
    assert (runs.folder / "files" / "out" / "large").stat().st_size > 30_000_000
    end_lease(project, -1)
    over = project.play("compute_index.supply.reap")
    assert over.returncode == 0 and not project.simulator.billed, over.output
    done = runs.command()
    assert done.returncode == 2 and "exit code 143" in done.text, done.output
    runs.assert_over("failed")


def end_lease(project: Project, seconds: float) -> None:
    """Let the lease of the run's machine end in some seconds."""
    file = project.registry_file("run-train")
    moment = f"{datetime.now(timezone.utc) + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}"
    entry = {**yaml.safe_load(file.read_text()), "provision_ends_at": moment, "provision_leased": moment}
    file.write_text(yaml.safe_dump(entry))
