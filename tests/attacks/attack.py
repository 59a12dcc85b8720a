# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tools of the attacks: whole plays in a user's project, against the stand-in of the API.

Many cases share a play. Each case is a host, and searches for offers of a vendor with the host's name, so that no case
finds the offers of another.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest
import yaml

from books import Machine, Offer, Purchase
from launcher import Program
from limits import HANGS
from project import Project, Run, as_in_playbooks, extra
from simulator import Simulator
from standin import StandIn

SUPPLY = "compute_index.supply"
SPEC = {"vendor": "{{ inventory_hostname }}", "compute": {"gpu_type": "H100", "gpu_count": 1}}
# Depends on the version of ansible-core: see pyproject.toml.
core = pytest.mark.core


class Attacked(Project):
    """A user's folder, with the stand-in as its API. No process outlives a run, except one of `start`."""

    def __init__(self, folder: Path, account: StandIn, sockets: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder, cast(Simulator, account), sockets)
        self.account = account
        # Many failures are expected.
        self.environment |= {"ANSIBLE_FORKS": "8", "ANSIBLE_RETRY_FILES_ENABLED": "false"}

    def declare(self, hosts: list[str] | dict[str, Any], **variables: Any) -> None:
        """Write the inventory, with these hosts in the group gpu; a mapping has variables of single hosts."""
        usual = {
            "provision_spec": SPEC,
            "provision_max_price_per_hour": 5,
            "provision_ssh_public_key": self.public_key,
            "provision_poll_delay": 1,
            "provision_poll_retries": 3,
            "provision_reach": False,
            "decommission_wait_timeout": 1,
        }
        own = hosts if isinstance(hosts, dict) else dict.fromkeys(hosts)
        self.inventory.write_text(yaml.safe_dump({"gpu": {"hosts": own, "vars": {**usual, **variables}}}))

    # Runs

    def finish(self, program: Program) -> Run:
        """Wait for the end of a command, or kill it if it hangs, and end all its processes. Return the run."""
        late = ""
        try:
            program.wait(HANGS)
        except subprocess.TimeoutExpired:
            self.kill(program)
            late = f"\nENDED BY THE TEST after {HANGS} seconds\n"
        self.end_leftovers()
        with program:
            return Run(program.wait(), program.read() + late)

    @staticmethod
    def kill(program: Program, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the process group of a command that `start` has started."""
        with suppress(ProcessLookupError):
            os.killpg(program.pid, number)

    def run(self, *words: str, **environment: str) -> Run:
        """Run a program in the project."""
        return self.finish(self.start(*words, **environment))

    def play_of(self, role: str, hosts: str = "gpu", **keywords: Any) -> str:
        """Write a playbook with the play of `as_play`, and return its name."""
        return self.book(as_play(role, hosts, **keywords))

    def role(self, role: str, hosts: str = "gpu", *words: str, **variables: Any) -> Run:
        """Run a role for these hosts, with extra variables."""
        return self.playbook(self.play_of(role, hosts), *words, **variables)

    def playbook(self, name: str, *words: str, **variables: Any) -> Run:
        """Run a playbook with the project's inventory, and with extra variables."""
        return self.run("ansible-playbook", "-i", str(self.inventory), name, *words, *extra(variables))

    def book(self, *plays: dict[str, Any]) -> str:
        """Write a playbook of these plays, and return its name."""
        name = f"{uuid4().hex[:8]}.yml"
        (self.folder / name).write_text(json.dumps(plays))
        return name

    # The registry

    def registry_text(self, host: str) -> str:
        """The registry file of a host; empty without one."""
        file = self.registry_file(host)
        return file.read_text() if file.is_file() else ""

    def owned(self, host: str) -> list[str]:
        """The resource ids of a host in the registry; empty if its file cannot be read."""
        try:
            entry = yaml.safe_load(self.registry_text(host))
        except yaml.YAMLError:
            return []
        return list(entry.get("provision_resource_ids") or []) if isinstance(entry, dict) else []

    def register(self, host: str, purchase: Purchase) -> None:
        """Write a registry entry with only the ids of a purchase."""
        file = self.registry_file(host)
        file.parent.mkdir(parents=True, exist_ok=True)
        entry = {"provision_procured_offer_id": purchase.offer.offer_id, "provision_resource_ids": purchase.ids}
        file.write_text(yaml.safe_dump(entry))

    @property
    def all_registry_texts(self) -> str:
        """The registry files of all hosts."""
        return "\n".join(file.read_text() for file in self.folder.rglob("compute_index_supply.yml"))

    def fake_ssh(self, host: str, **programs: str) -> Path:
        """Make an ssh that runs every command on this computer, with these programs first on its PATH.

        Return its folder. A file named ``strange`` there makes it refuse the host key.
        """
        folder = self.folder / "fake" / host
        (folder / "bin").mkdir(parents=True)
        (folder / "home").mkdir()
        programs = {
            "cloud-init": "echo 'status: done'",
            **{name.replace("_", "-"): text for name, text in programs.items()},
        }
        for name, text in programs.items():
            write_program(folder / "bin" / name, text)
        write_program(
            folder / "ssh",
            f'[ -e "{folder}/strange" ] && {{ echo "Host key verification failed." >&2; exit 255; }}\n'
            f'for word; do :; done\nHOME="{folder}/home" PATH="{folder}/bin:$PATH" exec /bin/sh -c "$word"',
        )
        return folder

    def ssh_variables(self, ssh: Path) -> dict[str, Any]:
        """The variables of a host that is reached through the ssh of `fake_ssh`."""
        return {
            "provision_reach": True,
            "ansible_ssh_executable": str(ssh / "ssh"),
            "ansible_ssh_transfer_method": "piped",
        }


Make = Callable[[str], Attacked]
"""Makes a project of this name on the account."""


def write_program(file: Path, script: str) -> None:
    """Write an executable shell script."""
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def as_play(role: str, hosts: str = "gpu", **keywords: Any) -> dict[str, Any]:
    """A play of one role, which looks only briefly for a purchase whose answer was lost. ``keywords``: of the play."""
    return {
        "hosts": hosts,
        "gather_facts": False,
        "module_defaults": {
            f"{SUPPLY}.procure_offer": {"settle_timeout": 1, "procure_timeout": 20},
            f"group/{SUPPLY}.all": {"api_retries": 1, "api_timeout": 5},
        },
        "tasks": [{"name": role, **as_in_playbooks(role)}],
        **keywords,
    }


def failures(run: Run, host: str) -> str:
    """The messages of a host's failed tasks; empty if none failed."""
    pattern = rf"^(?:fatal|failed): \[{re.escape(host)}(?: -> .*?)?\](?:: | \(item=).*$"
    return "\n".join(re.findall(pattern, run.output, re.MULTILINE))


def failed(run: Run, host: str) -> bool:
    """Whether the last recap has a failure of this host, or does not have the host."""
    recaps = re.findall(rf"^{re.escape(host)} .*unreachable=(\d+) +failed=(\d+)", run.output, re.MULTILINE)
    return not recaps or any(int(count) for count in recaps[-1])


def assert_names_machine(run: Run, host: str, machine: Machine) -> None:
    """Assert that the host's failure names the machine and its price."""
    text = failures(run, host)
    assert machine.resource_id in text, f"{host}: the failure does not name the billed machine: {text}"
    assert machine.price is None or f"{machine.price:.2f}" in text, f"{host}: the failure has no price: {text}"


def assert_remembered(project: Attacked, host: str, purchase: Purchase, *runs: Run) -> None:
    """Assert that the registry, or the host's failure in the last run, has each billed machine of the purchase."""
    for machine in purchase.machines:
        if machine.runs and machine.resource_id not in project.registry_text(host):
            assert runs, f"{host}: {machine.resource_id} is forgotten"
            assert_names_machine(runs[-1], host, machine)


class Cases:
    """Collect the errors of many cases, so that one does not hide the others."""

    def __init__(self) -> None:
        self.errors: dict[str, str] = {}

    @contextmanager
    def __call__(self, case: str) -> Iterator[None]:
        """The context of a case."""
        try:
            yield
        except Exception as error:
            self.errors[case] = f"{type(error).__name__}: {error}"[:1500]

    def judge(self, *runs: Run) -> None:
        """Fail if a case had an error, and print these runs."""
        if self.errors:
            for run in runs:
                print(run.output)
            details = "\n".join(f"--- {case}\n{text}" for case, text in self.errors.items())
            pytest.fail(f"{len(self.errors)} wrong: {', '.join(self.errors)}\n{details}", pytrace=False)


def offer_path(offer: Offer) -> str:
    """The path of an offer, as a regular expression for `StandIn.on`."""
    return f"/offers/{offer.offer_id}"
