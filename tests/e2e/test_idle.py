# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a real machine is in use, by the notes of its timer, as a play reads them."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conftest import Machine, MakeProject, Project
from limits import HANGS, until
from project import extra
from simulator import Offer

#: Eight GPUs; files say how busy the last one is, and who has memory of one.
SMI = """#!/bin/sh
case "$1" in
  --query-gpu=*) printf '0\\n0\\n0\\n0\\n0\\n0\\n0\\n'; cat /run/gpu ;;
  --query-compute-apps=*) cat /run/apps ;;
esac
"""
#: All machines of this computer have its load, which tests make.
SCENE = """
echo '0.00 0.01 0.02 1/2 3' > /run/loadavg; mount --bind /run/loadavg /proc/loadavg
echo 0 > /run/gpu; : > /run/apps
"""
#: A test must not wait for five minutes.
SOON = "sed -i 's/^SSH_SECONDS = 300 /SSH_SECONDS = 2 /' /usr/local/bin/supply-keep"
#: One connection for the module, which ends with it.
ALONE = {"ANSIBLE_SSH_ARGS": "-o ControlMaster=no", "ANSIBLE_PIPELINING": "true"}


def ask(project: Project, **environment: str) -> dict[str, Any]:
    """The result of the module."""
    command = ("ansible", "-i", str(project.inventory), "gpu", "-m", "compute_index.supply.activity_info")
    run = project.run(*command, **environment)
    assert run.returncode == 0, run.output
    found: dict[str, Any] = json.loads(run.output.partition("gpu-1 | SUCCESS => ")[2])
    return found


class Site:
    """A machine, examined without a connection that stays open."""

    def __init__(self, project: Project, address: str) -> None:
        self.project, self.machine = project, Machine(project, address)

    def ssh(self, *words: str) -> list[str]:
        options = ["-i", str(self.project.key), "-F", "none", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"]
        options += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
        return ["ssh", *options, *words]

    def run(self, script: str, user: str = "root") -> str:
        command = self.ssh(f"{user}@{self.machine.address}", script)
        done = subprocess.run(command, capture_output=True, text=True, timeout=HANGS, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def disconnect(self) -> None:
        """End the connections that Ansible keeps."""
        for socket in Path(self.project.environment["ANSIBLE_SSH_CONTROL_PATH_DIR"]).iterdir():
            subprocess.run(["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "machine"], check=True)

    def ask(self) -> tuple[str, str]:
        """The result of the module, over a new connection."""
        found = ask(self.project, **ALONE)
        return found["state"], found["evidence"]

    def sample(self) -> None:
        """Do what the timer does once a minute."""
        self.run("systemctl start supply-idle.service")

    @contextmanager
    def connected(self, user: str, kind: str) -> Iterator[None]:
        """Keep a connection open: with a terminal (-tt), without (-T), or only to forward ports (-N)."""
        script = [] if kind == "-N" else ["sleep 60"]
        command = self.ssh(kind, f"{user}@{self.machine.address}", *script)
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as other:
            try:
                time.sleep(4)
                assert other.poll() is None
                yield
            finally:
                other.kill()
        time.sleep(1)


def rented(rent: MakeProject, template: str) -> Site:
    """A machine with the sampler that has just booted and was not used since."""
    project = rent([Offer()])
    project.declare(
        ["gpu-1"],
        provision_cloud_init_template=template,
        provision_idle_after="8h",
        provision_users=[{"name": "ml", "shell": "/bin/bash", "ssh_authorized_keys": [project.public_key]}],
        provision_files=[{"path": "/usr/local/bin/nvidia-smi", "content": SMI, "permissions": "0755"}],
    )
    run = project.provision()
    assert run.returncode == 0, run.output
    assert "cloud-init has finished with errors" not in run.text
    entry = project.registry("gpu-1")
    assert entry is not None
    site = Site(project, entry["ansible_host"])
    timer = "supply-idle.timer; systemctl {} supply-idle.timer"
    assert site.run(f"systemctl is-enabled {timer.format('is-active')}").split() == ["enabled", "active"]
    site.run("ls /run/cloud-init/enabled /run/cloud-init/result.json")
    # The timer has taken a sample, and says when it takes the next one.
    further = "systemctl show --value --property=NextElapseUSecRealtime supply-idle.timer"
    until(lambda: "why" in site.run("cat /run/supply-idle/state.json || true") and site.run(further).strip(), 1)
    assert ask(project)["state"] == "active"
    site.run(SCENE)
    for _sample in range(2):
        site.sample()
    return site


def check_that_reading_is_no_use(site: Site) -> None:
    """A check whether a machine is in use does not count as use."""
    moments = set()
    for pipelining in ("false", "true"):  # without it a module has a terminal
        found = ask(site.project, ANSIBLE_PIPELINING=pipelining)
        assert (found["state"], found["keep_until"], found["changed"]) == ("idle", None, False), found
        assert found["evidence"].startswith("8 GPUs at 0 %, no SSH connection, load 0.01, network "), found
        assert 0 < found["idle_seconds"] < 300
        moments.add(found["since"][:16])
        # The connection that Ansible keeps is there.
        site.sample()
    assert len(moments) <= 2, "it counts from the same moment, rounded to minutes"


def test_shell_script_installs_the_sampler(rent: MakeProject) -> None:
    check_that_reading_is_no_use(rented(rent, "startup.sh.j2"))


def test_used_machine_stays_and_unused_machine_ends(rent: MakeProject) -> None:
    site = rented(rent, "cloud-config.yaml.j2")
    check_that_reading_is_no_use(site)
    check_that_use_is_seen(site)
    check_that_a_sweep_ends_an_idle_machine(site)


def check_that_use_is_seen(site: Site) -> None:
    """Connections, busy processes and GPUs count as use, as does a GPU without a reading."""
    # Another connection is seen at once, and counts as use once it is older. Our own might also be older.
    site.disconnect()
    site.run(f"systemctl stop supply-idle.timer supply-idle.service; {SOON}")
    for user, kind in (("ml", "-tt"), ("root", "-T"), ("ml", "-N")):
        with site.connected(user, kind):
            site.sample()
            assert site.ask() == ("active", "1 other SSH connection now"), (user, kind)
        assert site.ask() == ("active", "an SSH connection"), (user, kind)
        site.sample()
        state, evidence = site.ask()
        assert (state, "(an SSH connection)" in evidence) == ("idle", True), evidence

    # Far more than what counts as use, but little on a computer that also runs other tests.
    works = "i=0; while :; do i=$((i + 1)); [ $((i % 20000)) != 0 ] || sleep 0.2; done"
    site.run(f"systemd-run --unit=works sh -c '{works}'; systemd-run --unit=sleeps sleep infinity")
    for unit, state in (("works", "active"), ("sleeps", "idle")):
        site.run(f"systemctl show --value --property=MainPID {unit} > /run/apps")
        for _sample in range(2):
            site.sample()
        assert site.ask()[0] == state, unit
    site.run("systemctl stop works")
    for gpu, said in (("97", "GPU 7 at 97 %"), ("[N/A]", "gpus unknown: nvidia-smi reports '[N/A]' for GPU 7")):
        site.run(f"echo '{gpu}' > /run/gpu")
        site.sample()
        assert site.ask() == ("active", said)
    site.run("mv /usr/local/bin/nvidia-smi /run/smi")
    site.sample()
    assert site.ask() == ("active", "gpus unknown: nvidia-smi cannot be run (No such file or directory)")
    site.run("mv /run/smi /usr/local/bin/nvidia-smi; echo 0 > /run/gpu; : > /run/apps")
    for _sample in range(2):
        site.sample()


def check_that_a_sweep_ends_an_idle_machine(site: Site) -> None:
    """A sweep ends an idle machine, unless a person keeps it or its activity is unknown."""

    def sweep(said: str, **variables: str) -> None:
        run = site.project.play("compute_index.supply.reap", *extra(variables))
        assert run.returncode == 0 and said in run.text, run.output

    sweep("idle: 8 GPUs at 0 %")
    soon = {"provision_idle_after": "1s", "reap_before_end": "echo kept on $(hostname)"}
    said = site.run("supply-keep 6h", user="ml")
    assert said.startswith("This machine has been idle since ") and "\nIt is kept until " in said, said
    found = ask(site.project)
    assert (found["state"], found["idle_seconds"]) == ("active", 0), found
    assert found["keep_until"] > found["since"] and found["evidence"].startswith("supply-keep until ")
    sweep("active: supply-keep until ", **soon)
    site.run("supply-keep off", user="ml")
    site.run("mv /run/supply-idle/state.json /run/state.json")
    found = ask(site.project)
    assert (found["state"], found["since"], found["idle_seconds"]) == ("unknown", None, 0), found
    sweep("unknown: ", **soon)
    assert len(site.project.simulator.billed) == 1
    site.run("mv /run/state.json /run/supply-idle/state.json")
    sweep("gpu-1: it was idle: 8 GPUs at 0 %", **soon)
    assert site.project.simulator.billed == [] and site.project.registry("gpu-1") is None
