# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts whose machine runs: another run does almost nothing for them, but notices changes."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
import yaml

from conftest import MakeProject, Project, core
from simulator import Offer

pytestmark = pytest.mark.first

SSH_ARGS = ("ansible_ssh_extra_args", "ansible_sftp_extra_args", "ansible_scp_extra_args")


@pytest.fixture
def finished(project: Project) -> Project:
    """A project whose host has its machine; without SSH, which has tests of its own."""
    project.declare(["gpu-1"], provision_reach=False)
    run = project.provision()
    # Two changes: the purchase and the registration
    assert (run.returncode, run.changed) == (0, 2), run.output
    return project


def provision_twice(project: Project, *words: str, **variables: Any) -> dict[str, Any]:
    """Run twice, assert that only the first run writes the registry entry, and return it."""
    changes = [project.provision(*words, **variables) for _again in range(2)]
    assert [(run.returncode, run.changed) for run in changes] == [(0, 1), (0, 0)], changes[0].output
    assert [run.output.count("Await | Wait for the machines] **********\nok:") for run in changes] == [1, 0]
    entry = project.registry("gpu-1")
    assert entry is not None
    return entry


@core
def test_finished_host_costs_two_reads_and_four_tasks(finished: Project) -> None:
    entry, requests = finished.registry("gpu-1"), len(finished.simulator.requests)
    # With this setting, ansible-core before 2.19 keeps the text of a template with an undefined variable, such as the
    # purchases of a finished host.
    finished.environment["ANSIBLE_ERROR_ON_UNDEFINED_VARS"] = "false"
    run = finished.provision()
    assert (run.returncode, run.changed) == (0, 0), run.output
    assert finished.registry("gpu-1") == entry
    assert [request.method for request in finished.simulator.requests[requests:]] == ["GET", "GET"]
    # One task of its own, the declaration, and three that run once for all hosts: the plan, its verdicts and the table
    assert run.recap("gpu-1", "ok") == 4
    assert entry["ansible_host"] in run.output
    assert "2.00" in run.output


@core
def test_facts_gathered_after_the_roles_stay_with_their_host(project: Project) -> None:
    # A cacheable fact behaves like a gathered one. After some tasks with run_once, ansible-core 2.21 shares such facts.
    gather = {"ansible.builtin.set_fact": {"who": "{{ inventory_hostname }}", "cacheable": True}}
    check = {"ansible.builtin.assert": {"that": "ansible_facts.who == inventory_hostname"}}
    after = project.write({"hosts": "gpu", "gather_facts": False, "tasks": [gather, check]})
    # New hosts, finished ones, both kinds, and then ended ones
    for count in (2, 2, 3):
        project.declare([f"gpu-{number}" for number in range(count)], provision_reach=False, provision_lease="4h")
        run = project.provision(after)
        assert run.returncode == 0, run.output
    extended = ("-e", "extend_hosts=gpu-0 extend_by=1h", "--limit", "gpu")
    run = project.play("compute_index.supply.extend", after, *extended)
    assert run.returncode == 0 and "USD more in total" in run.output, run.output
    run = project.play("compute_index.supply.decommission", after, "-e", "decommission_hosts=gpu")
    assert run.returncode == 0, run.output


DIFFERENCES: dict[str, Any] = {
    "ansible_host": "192.0.2.7",
    "ansible_port": 1,
    "ansible_user": "nobody",
    "provision_resource_ids": [],
    "provision_instances": [],
    "ansible_sftp_extra_args": "",
    "ansible_host_key_checking": False,
}


def test_changed_registry_entries_are_registered_again(make_project: MakeProject) -> None:
    # One host for each changed variable, and one without a change
    project = make_project([Offer() for _host in range(len(DIFFERENCES) + 1)])
    changes = {name.replace("_", "-"): {name: value} for name, value in DIFFERENCES.items()} | {"same": {}}
    project.declare(list(changes), provision_reach=False)
    assert project.provision("--forks=7").returncode == 0
    entries = {host: project.registry(host) or {} for host in changes}
    for host, change in changes.items():
        project.registry_file(host).write_text(yaml.safe_dump({**entries[host], **change}))
    run, again = (project.provision("--forks=7") for _again in range(2))
    assert [run.changed > 0, again.changed] == [True, 0], run.output
    for host in changes:
        assert project.registry(host) == entries[host]
    assert len(project.simulator.purchases) == len(changes)


def test_changed_host_key_trust_reaches_the_registry(finished: Project) -> None:
    entry = provision_twice(finished, provision_host_key_trust="none")
    assert all("StrictHostKeyChecking=no" in entry[name] for name in SSH_ARGS)


@core
def test_moved_project_keeps_its_host_keys(finished: Project) -> None:
    place = finished.folder / "moved here"
    place.mkdir()
    for name in ("hosts.yml", "host_vars"):
        shutil.move(finished.folder / name, place / name)
    finished.folder, finished.inventory = place, place / "hosts.yml"
    entry = provision_twice(finished)
    assert all(str(place / "host_vars" / "gpu-1" / ".known_hosts") in entry[name] for name in SSH_ARGS)


@core
@pytest.mark.parametrize(("ceiling", "returncode"), [(4.5, 0), (4.4, 2)])
def test_batches_count_purchases_of_earlier_batches_once(
    make_project: MakeProject, ceiling: float, returncode: int
) -> None:
    project = make_project()  # the two cheapest offers cost 2.00 and 2.50
    project.declare(["gpu-1", "gpu-2"], provision_reach=False, provision_max_total_price_per_hour=ceiling)
    play = {"hosts": "gpu", "gather_facts": False, "serial": 1, "roles": ["compute_index.supply.provision"]}
    refused = project.play(project.write(play), "-e", "provision_all_or_nothing=true")
    assert "leave serial out" in refused.failure("gpu-1") and not project.simulator.purchases, refused.output
    run = project.play(project.write(play))
    assert run.returncode == returncode, run.output
    assert len(project.simulator.purchases) == 2 - bool(returncode)
