# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nothing billed is forgotten: failed, late and unreachable machines, and lost registries."""

from __future__ import annotations

import signal
from typing import Any

import pytest
import yaml

from conftest import PROCURE, MakeProject, Project, core
from plays import (
    impatient,
    kill,
    ready_at_once,
    separate,
)
from simulator import Fault, Offer

pytestmark = pytest.mark.first

project = ready_at_once


def test_a_failed_machine_that_is_billed_can_be_released(make_project: MakeProject) -> None:
    offers = [Offer(gpu_price_per_hour=2.0, outcome="fails", failed_bills=True), Offer(gpu_price_per_hour=3.0)]
    project = make_project(offers)
    run = impatient(project, provision_on_failure="release")
    assert run.returncode == 0, run.output
    entry = project.registry("gpu-1")
    assert entry is not None
    assert entry["provision_procured_offer_id"] == offers[1].offer_id
    assert sorted(project.simulator.billed) == sorted(entry["provision_resource_ids"])


def test_failed_machine_that_may_be_billed_is_not_replaced(make_project: MakeProject) -> None:
    offers = {name: [Offer(gpu_price_per_hour=2.0), Offer(gpu_price_per_hour=3.0)] for name in ("at-once", "later")}
    offers["at-once"][0].outcome = "fails"
    project = separate(make_project, offers)
    assert impatient(project).failure("at-once")
    bought = {purchase.request["resource_name"]: purchase.resources[0] for purchase in project.simulator.purchases}
    bought["later"].broken, bought["later"].synced_at = True, None
    for words in ((), ("--check",)):
        run = impatient(project, *words)
        for host, resource in bought.items():
            billed = f"BOUGHT and may be billed at USD 2.00 per hour. Resource ids: {resource.resource_id}."
            assert billed in run.failure(host), run.output
    assert len(project.simulator.purchases) == 2

    # The registry as after a kill before its ids were noted, and the list of resources cannot be read
    entry = project.registry("at-once")
    assert entry is not None
    project.registry_file("at-once").write_text(yaml.safe_dump({**entry, "provision_resource_ids": []}))
    project.simulator.faults.append(Fault(method="GET", path="/resources", count=None, status=500))
    assert "may be billed" in impatient(project, "--limit", "at-once").failure("at-once")
    project.simulator.faults.clear()

    # A machine that was registered as ready may be in use, so it is not released automatically.
    run = impatient(project, provision_on_failure="release")
    assert run.failure("later") and not run.failure("at-once"), run.output
    (second,) = [purchase for purchase in project.simulator.purchases if purchase.offer is offers["at-once"][1]]
    assert sorted(project.simulator.billed) == sorted([bought["later"].resource_id, *second.resource_ids])
    assert len(project.simulator.purchases) == 3


def test_without_a_registry_the_name_finds_the_failed_machine(make_project: MakeProject) -> None:
    offers = [Offer(gpu_price_per_hour=2.0, outcome="fails"), Offer(gpu_price_per_hour=3.0)]
    project = make_project(offers)
    for _run in range(2):
        failure = impatient(project, provision_registry_dir="").failure("gpu-1")
        (billed,) = project.simulator.billed
        assert "BOUGHT and may be billed" in failure and billed in failure
    assert len(project.simulator.purchases) == 1


def test_play_killed_while_it_waits_has_noted_the_ids(make_project: MakeProject) -> None:
    project = make_project(provision_seconds=600, keeps_name=False)
    looks = ("GET", "/offers/[^/]+/status")
    # Not SIGKILL: a waiting worker would survive, with some versions of ansible-core forever.
    kill(project, signal.SIGINT, lambda: project.requests(*PROCURE) == 1 and project.requests(*looks) >= 2)
    entry = project.registry("gpu-1")
    assert entry is not None
    assert entry["provision_resource_ids"] == project.simulator.billed


def test_a_machine_that_never_gets_ready_can_be_released(make_project: MakeProject) -> None:
    project = make_project([Offer(outcome="never_ready")])
    run = impatient(project, provision_on_failure="release", provision_poll_retries=2)
    assert run.returncode != 0
    assert project.simulator.billed == []
    assert "Nothing is billed for gpu-1." in run.text
    assert project.registry("gpu-1") is None


def test_only_the_run_that_bought_an_unusable_machine_releases_it(make_project: MakeProject) -> None:
    project = make_project([Offer(vcpu_count=999, gpu_price_per_hour=2), Offer()])
    released = project.provision(provision_verify=True, provision_on_failure="release")
    assert "It has ended." in released.failure("gpu-1"), released.output
    assert (project.simulator.billed, project.registry("gpu-1")) == ([], None)

    assert "avoided until" in impatient(project).failure("gpu-1")
    assert impatient(project, provision_avoid="0").returncode == 0
    purchase = project.simulator.purchases[-1]
    project.first_boot(purchase.resource_ids[0], "status=error error='no disk'")
    for on_failure in ("keep", "release"):  # it was registered as ready, so it may be in use by now
        failure = project.provision(provision_on_failure=on_failure).failure("gpu-1")
        assert "no disk" in failure
        billed = f"billed at USD {purchase.offer.gpu_price_per_hour:.2f} per hour"
        assert f"It is BOUGHT and {billed}. Resource ids: {purchase.resource_ids[0]}." in failure
        assert project.simulator.billed == purchase.resource_ids


def test_partly_ready_cluster_is_not_ready(make_project: MakeProject) -> None:
    cluster = Offer(gpu_count=24, node_count=3, gpu_price_per_hour=0.2, running_instances=2)
    project = make_project([cluster])
    run = impatient(project, provision_offer_id=cluster.offer_id, provision_poll_retries=2)
    assert run.returncode != 0
    assert "is BOUGHT and may be billed" in run.text
    for resource_id in project.simulator.purchases[0].resource_ids:
        assert resource_id in run.text


def test_lost_registry_entry_is_restored_by_adopting_the_machine(project: Project) -> None:
    project.declare(["lost", "never"])
    project.declare_host("never", provision_registry_dir="")
    assert impatient(project).returncode == 0
    before = project.registry("lost")
    project.registry_file("lost").unlink()
    # On a shared account a name alone claims no machine, so the user must adopt it.
    (machine,) = [each for each in project.simulator.resources.values() if each.name == "lost"]
    failure = impatient(project).failure("lost")
    assert machine.resource_id in failure and "USD 2" in failure and "provision_adopt: true" in failure
    run = impatient(project, provision_adopt=True)
    assert run.returncode == 0, run.output
    bought = {purchase.request["resource_name"]: purchase for purchase in project.simulator.purchases}
    assert (len(project.simulator.purchases), sorted(bought)) == (2, ["lost", "never"])
    after = project.registry("lost")
    assert before is not None and after is not None
    same = ("provision_resource_ids", "provision_instances", "provision_price_per_hour", "ansible_ssh_extra_args")
    assert {name: before[name] for name in same} == {name: after[name] for name in same}
    assert after["provision_procured_offer_id"] == bought["lost"].offer_id
    assert project.registry("never") is None


@pytest.mark.parametrize("where", [pytest.param("elsewhere", marks=core), "within"])
def test_role_reads_a_registry_that_ansible_does_not_read(make_project: MakeProject, where: str) -> None:
    project = make_project(keeps_name=False)
    variables: dict[str, Any] = {"provision_registry_dir": str(project.folder / "registry")}
    if where == "within":
        # The inventory is a folder with the host in a subfolder; Ansible reads only the host_vars of the outer folder.
        inventory = project.folder / "all"
        (inventory / "eu").mkdir(parents=True)
        project.inventory = project.inventory.rename(inventory / "eu" / "hosts.yml")
        project.inventory, variables = inventory, {}
    runs = [impatient(project, **variables) for _run in range(2)]
    assert [(run.returncode, run.changed > 0) for run in runs] == [(0, True), (0, False)], runs[1].output
    assert len(project.simulator.purchases) == 1
    folder = project.folder / ("registry" if variables else "all/host_vars")
    entry = yaml.safe_load((folder / "gpu-1" / "compute_index_supply.yml").read_text())
    assert entry["provision_resource_ids"] == project.simulator.billed


def test_role_warns_if_neither_registry_nor_name_remembers_the_machine(make_project: MakeProject) -> None:
    run = impatient(make_project(keeps_name=False), provision_registry_dir="")
    assert run.returncode == 0, run.output
    assert "the next run does not find it, and buys another" in run.text
