# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Never the wrong machine: equal names, journals and offers of several hosts."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from conftest import PROCURE, MakeProject, Project, Run, core
from plays import (
    assert_owns_one,
    impatient,
    ready_at_once,
)
from simulator import Fault, Offer

pytestmark = pytest.mark.first

project = ready_at_once


def test_failed_machine_is_not_taken_by_another_host(make_project: MakeProject) -> None:
    offers = [Offer(gpu_price_per_hour=2.0, outcome="fails"), Offer(gpu_price_per_hour=3.0)]
    project = make_project(offers)
    project.declare(["fast", "slow"])
    assert "BOUGHT" in impatient(project, "--limit", "fast").failure("fast")
    entry = project.registry("fast")
    assert entry is not None
    # The journal of a run that was killed before its purchase, while the other play bought
    project.declare_host("slow")
    journal = {name: entry[name] for name in ("provision_procured_offer_id", "provision_price_per_hour")}
    project.registry_file("slow").write_text(yaml.safe_dump(journal))
    run = impatient(project, "--limit", "slow")
    assert run.returncode == 0, run.output
    assert project.registry("fast") == entry
    assert_owns_one(project, "fast", "slow")


def test_machine_with_the_hosts_name_precedes_a_journaled_offer(project: Project) -> None:
    # The purchase was lost, and another controller has bought for the host before it is sent again.
    project.simulator.faults.append(Fault(path="/procure_offer", cut="before", count=None))
    assert "MAY BE BOUGHT" in impatient(project).failure("gpu-1")
    project.simulator.faults.clear()
    journal = project.registry_file("gpu-1").read_text()
    project.registry_file("gpu-1").unlink()
    project.simulator.add_offer(gpu_price_per_hour=1.5)
    assert impatient(project).returncode == 0
    project.registry_file("gpu-1").write_text(journal)
    failure = impatient(project).failure("gpu-1")
    assert project.simulator.billed[0] in failure and "provision_adopt" in failure
    run = impatient(project, provision_adopt=True)
    assert run.returncode == 0, run.output
    assert_owns_one(project, "gpu-1")


def test_two_machines_with_the_hosts_name_are_an_error_that_lists_both(project: Project) -> None:
    first, second = list(project.simulator.offers)[:2]
    buy = {"ssh_public_key": project.public_key, "resource_name": "gpu-1"}
    results, _run = project.tasks(
        *({"compute_index.supply.procure_offer": {"offer_id": offer_id, **buy}} for offer_id in (first, second))
    )
    run = impatient(project)
    assert run.returncode != 0
    for result in results:
        assert result["resource_ids"][0] in run.text
    assert project.requests(*PROCURE) == 2

    # A machine that is being deleted does not count.
    gone, remaining = (result["resource_ids"][0] for result in results)
    (deleted,), _run = project.tasks({"compute_index.supply.delete_resource": {"resource_id": gone}})
    assert (deleted["changed"], deleted["billing_stopped"]) == (True, True)
    assert remaining in impatient(project).failure("gpu-1"), "a name alone claims no machine"
    assert impatient(project, provision_adopt=True).returncode == 0
    entry = project.registry("gpu-1")
    assert entry is not None
    assert entry["provision_resource_ids"] == [remaining]
    assert project.requests(*PROCURE) == 2


def test_machine_deleted_by_others_is_replaced(make_project: MakeProject) -> None:
    project = make_project(deleted_listed=True)
    assert impatient(project).returncode == 0
    (old,) = project.simulator.billed
    project.tasks({"compute_index.supply.delete_resource": {"resource_id": old}})
    run = impatient(project)
    assert run.returncode == 0, run.output
    entry = project.registry("gpu-1")
    assert entry is not None
    assert sorted(project.simulator.billed) == entry["provision_resource_ids"] != [old]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"provision_resource_name": "same"}, "would buy a machine called same"),
        ({"provision_offer_id": "first"}, "also has or wants"),
    ],
    ids=["name", "offer"],
)
def test_two_hosts_with_one_name_or_offer_are_refused(
    project: Project, variables: dict[str, Any], message: str
) -> None:
    project.declare(["gpu-1", "gpu-2"])
    if "provision_offer_id" in variables:
        first = next(iter(project.simulator.offers))
        variables = {}
        project.declare_host("gpu-1", provision_offer_id=first)
        project.declare_host("gpu-2", provision_offer_id=first.upper())
    run = impatient(project, **variables)
    assert run.returncode != 0
    assert message in run.text
    assert project.requests(*PROCURE) == 0


@pytest.mark.parametrize("keeps_name", [True, False])
def test_journal_of_an_offer_that_another_host_bought_owns_nothing(make_project: MakeProject, keeps_name: bool) -> None:
    project = make_project(keeps_name=keeps_name)
    project.declare(["fast"])
    assert impatient(project).returncode == 0
    fast = project.registry("fast")
    assert fast is not None
    # The journal of a run that was killed before its purchase, while the other play bought
    journal = {name: fast[name] for name in ("provision_procured_offer_id", "provision_price_per_hour")}
    project.declare(["fast", "slow"])
    project.declare_host("slow")
    project.registry_file("slow").write_text(yaml.safe_dump(journal))
    run = impatient(project)
    assert run.returncode == 0, run.output
    assert project.registry("fast") == fast
    assert_owns_one(project, "fast", "slow")


@core
def test_two_accounts_with_one_folder_leave_each_others_machines(make_project: MakeProject) -> None:
    """Each account's token shows only its own machines."""
    project = make_project([Offer() for _number in range(2)], provision_seconds=0)
    project.declare(["gpu-1", "gpu-2"], provision_lease="8h", provision_reach=False)
    simulator, bought = project.simulator, dict[str, list[str]]()

    def play(account: str, name: str, *words: str) -> Run:
        simulator.settings.token = project.environment["COMPUTE_INDEX_API_TOKEN"] = f"a-token-of-{account}"
        simulator.hide(*(item for owner, ids in bought.items() if owner != account for item in ids))
        return project.play(f"compute_index.supply.{name}", *words)

    for account, host in (("ours", "gpu-1"), ("theirs", "gpu-2")):
        run = play(account, "provision", "--limit", host)
        assert run.returncode == 0, run.output
        bought[account] = project.registry(host)["provision_resource_ids"]
    theirs = project.registry("gpu-2")
    audit, sweep = play("ours", "audit"), play("ours", "reap")
    assert audit.returncode == 0 and "NOT CHECKED: another token bought it" in audit.text, audit.output
    assert "MISSING" not in audit.output and "decommission_forget" not in audit.output, audit.output
    assert sweep.returncode == 0 and "Not checked: gpu-2. Another token bought them" in sweep.text, sweep.output

    # Our last machine ends. No sweep covers their machine until they start one.
    assert play("ours", "decommission", "-e", "decommission_hosts=gpu-1").returncode == 0
    mark = project.folder / "host_vars" / ".compute_index_supply.swept"
    mark.unlink()
    for name in ("reap", "audit"):
        run = play("ours", name)
        assert run.returncode == 2 and "Another token bought the machines" in run.failure("localhost"), run.output
        assert "MISSING" not in run.output and not mark.exists(), run.output
    for account in ("theirs", "ours"):
        run = play(account, "reap")
        assert run.returncode == 0 and mark.exists(), run.output
    assert simulator.billed == bought["theirs"] and project.registry("gpu-2") == theirs
