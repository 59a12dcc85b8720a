# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Failover: the next offer is tried only if the first one failed, nothing of it is billed, and the limits allow it."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from conftest import PROCURE, MakeProject, Project, Run, core
from plays import (
    assert_owns_one,
    impatient,
    separate,
)
from simulator import Fault, Offer
from simulator.market import Outcome


@pytest.mark.first
def test_failed_offer_is_replaced_by_the_next_cheapest(make_project: MakeProject) -> None:
    # By outcome of the cheapest offer: the outcome of the attempt to buy it
    lost: dict[Outcome, str] = {"taken": "rejected", "expired": "rejected", "rejected": "rejected", "fails": "created"}
    offers: dict[str, list[Offer]] = {
        outcome: [
            Offer(gpu_price_per_hour=2.0, outcome=outcome, failed_bills=False),
            Offer(gpu_price_per_hour=3.0),
            Offer(gpu_price_per_hour=4.0),
        ]
        for outcome in lost
    }
    project = separate(make_project, offers)

    run = impatient(project)

    assert run.returncode == 0, run.output
    for host, attempt in lost.items():
        entry = project.registry(host)
        assert entry is not None
        assert entry["provision_procured_offer_id"] == offers[host][1].offer_id
        assert entry["provision_price_per_hour"] == 3.0
        assert re.search(rf"^ok: \[{host}\].*\n.*attempts: {attempt} created\b", run.output, re.MULTILINE), run.output
    assert len(project.simulator.billed) == len(lost)
    again = impatient(project)
    assert (again.returncode, again.changed) == (0, 0), again.output


def test_provision_attempts_are_available_in_rescue(make_project: MakeProject) -> None:
    project = make_project([Offer(gpu_price_per_hour=price) for price in (2.0, 3.0)])
    project.declare(["gpu-1"], provision_max_attempts=2)
    project.simulator.faults.append(Fault(path="/procure_offer", status=409, count=None))
    role = {"name": "Provision", "ansible.builtin.include_role": {"name": "compute_index.supply.provision"}}
    show = {
        "name": "Show",
        "ansible.builtin.debug": {"msg": "tried: {{ provision_attempts | map(attribute='offer_id') | list }}"},
    }
    play = {
        "hosts": "gpu",
        "gather_facts": False,
        "module_defaults": {"compute_index.supply.procure_offer": {"settle_timeout": 0.5}},
        "tasks": [{"name": "Try", "block": [role], "rescue": [show]}],
    }
    run = project.play(project.write(play))
    assert f"tried: {list(project.simulator.offers)}" in run.text, run.output


@core
@pytest.mark.parametrize(("taken", "failed"), [("gpu-1", "gpu-2"), ("gpu-2", "gpu-1")])
def test_released_machine_is_replaced_while_another_host_fails_over(
    make_project: MakeProject, taken: str, failed: str
) -> None:
    """In either order, which also depends on the speed of Ansible's workers."""
    lost: dict[str, Outcome] = {taken: "taken", failed: "fails"}
    offers = {
        host: [Offer(gpu_price_per_hour=2.0, outcome=outcome), Offer(gpu_price_per_hour=3.0)]
        for host, outcome in lost.items()
    }
    project = separate(make_project, offers, **{taken: {"provision_lease": "8h"}})
    run = impatient(project, provision_on_failure="release")
    assert run.returncode == 0, run.output
    assert re.search('"host .*until .*at most .*"', run.output), "the last round was another host's"
    entries = {host: project.registry(host) or {} for host in lost}
    assert {host: entry.get("provision_price_per_hour") for host, entry in entries.items()} == dict.fromkeys(lost, 3.0)
    assert sorted(project.simulator.billed) == sorted(entry["provision_resource_ids"][0] for entry in entries.values())


@pytest.mark.first
def test_failover_respects_the_limits_of_the_host(make_project: MakeProject) -> None:
    limits: dict[str, dict[str, Any]] = {
        "attempts": {"provision_max_attempts": 2},
        "ceiling": {"provision_max_price_per_hour": 2.5},
    }
    tries = {"attempts": 2, "as-usual": 3, "ceiling": 2}
    prices = (2.0, 2.5, 3.0, 3.5)
    offers = {host: [Offer(gpu_price_per_hour=price, outcome="taken") for price in prices] for host in tries}
    project = separate(make_project, offers, **limits)
    run = impatient(project)
    sent = [each.json["offer_id"] for each in project.simulator.requests if each.path == "/procure_offer"]
    assert len(sent) == sum(tries.values())
    for host, count in tries.items():
        tried = [offer.offer_id for offer in offers[host][:count]]
        assert set(tried) <= set(sent)
        assert f"Nothing is billed for {host}. Offers tried: {', '.join(tried)}." in run.failure(host)
        assert project.registry(host) is None


def test_exhausted_quota_leaves_out_the_vendor_and_does_not_wait(make_project: MakeProject) -> None:
    def market(*vendors: str) -> list[Offer]:
        refused = Offer(gpu_price_per_hour=1.0, vendor="nebius", outcome="rejected", error="GPU quota exceeded")
        return [refused, *(Offer(gpu_price_per_hour=2.0 + n, vendor=name) for n, name in enumerate(vendors))]

    offers = {"elsewhere": market("nebius", "scaleway"), "nowhere": market("nebius", "nebius")}
    project = separate(make_project, offers)
    run = impatient(project, provision_wait="1h", provision_wait_delay="30m")
    entry = project.registry("elsewhere")
    assert entry is not None and entry["provision_procured_offer_id"] == offers["elsewhere"][2].offer_id
    assert project.requests(*PROCURE) == 3
    assert "GPU quota exceeded" in run.failure("nowhere") and project.registry("nowhere") is None
    assert "Offers of nebius were left out, since the quota there is used up." in run.failure("nowhere")


@pytest.mark.first
def test_failover_respects_the_ceiling_of_the_play(make_project: MakeProject) -> None:
    project = make_project([Offer(gpu_price_per_hour=price, outcome="taken") for price in (2.0, 2.5, 3.0)])
    run = impatient(project, provision_max_total_price_per_hour=2.5)
    assert project.requests(*PROCURE) == 2
    assert "Nothing is billed for gpu-1." in run.failure("gpu-1")
    assert project.registry("gpu-1") is None


def test_next_offer_boots_with_its_own_user_data_and_host_key(make_project: MakeProject) -> None:
    project = make_project([Offer(gpu_price_per_hour=2.0, outcome="taken"), Offer(gpu_price_per_hour=3.0)])
    template = project.folder / "own.j2"
    keys, command = "{{ provision__ssh_keys | to_json }}", "echo {{ provision_offer.offer_id }}"
    template.write_text(f"#cloud-config\nssh_keys: {keys}\nruncmd: [{command}]\n")
    run = impatient(project, provision_host_key_trust="seeded", provision_cloud_init_template=str(template))
    assert run.returncode == 0, run.output
    entry = project.registry("gpu-1")
    assert entry is not None
    user_data = project.simulator.user_data(entry["provision_resource_ids"][0]) or ""
    assert f"echo {entry['provision_procured_offer_id']}" in user_data
    assert entry["provision_bootstrap_host_key"] in user_data


@core
def test_templates_in_offer_fields_are_never_evaluated(make_project: MakeProject) -> None:
    project = make_project([])
    attack = "{{ 12345679 * 9 }}{{ lookup('pipe', 'touch " + str(project.folder / "ran") + "') }}"
    project.simulator.add_offer(vendor=attack, vendor_region=attack)
    template = project.folder / "own.j2"
    command = "{{ ['echo', provision_offer.vendor, provision_resource_name] | to_json }}"
    template.write_text(f"#cloud-config\nruncmd: [{command}]\n")
    # A registry would refuse to store such fields.
    without = {"provision_registry_dir": "", "provision_cloud_init_template": str(template)}
    run, again = impatient(project, **without), impatient(project, **without)
    assert run.returncode == 0, run.output
    (purchase,) = project.simulator.purchases
    user_data = project.simulator.user_data(purchase.resource_ids[0]) or ""
    assert yaml.safe_load(user_data) == {"runcmd": [["echo", attack, "gpu-1"]]}
    assert (again.returncode, again.changed) == (0, 0), again.output
    assert "111111111" not in run.output + again.output and not (project.folder / "ran").exists()


def test_failover_searches_again(make_project: MakeProject) -> None:
    # The first search may be outdated by then.
    project = make_project([Offer(gpu_price_per_hour=2.0, outcome="taken"), Offer(gpu_price_per_hour=3.0)])
    run = impatient(project)
    assert run.returncode == 0, run.output
    assert project.requests("POST", "/get_offers") == 2
    assert_owns_one(project, "gpu-1")


def fall_back(project: Project, first: dict[str, Any], then: dict[str, Any]) -> Run:
    """Run the role, and if it fails, run it again with other variables in a rescue."""
    role = {"name": "compute_index.supply.provision"}
    common = {"provision_reach": False, "provision_poll_retries": 1}
    block, rescue = (
        [{"name": "Provision", "ansible.builtin.include_role": role, "vars": {**common, **variables}}]
        for variables in (first, then)
    )
    defaults = {"group/compute_index.supply.all": {"api_retries": 1}}
    play = {"hosts": "gpu", "gather_facts": False, "module_defaults": defaults}
    return project.play(project.write({**play, "tasks": [{"name": "Fall back", "block": block, "rescue": rescue}]}))


@pytest.mark.first
def test_rescue_buys_no_offer_that_only_the_failed_block_allowed(make_project: MakeProject) -> None:
    project = make_project([Offer(gpu_price_per_hour=2.0, outcome="fails"), Offer(gpu_price_per_hour=3.0)])
    lower = {"provision_on_failure": "release", "provision_max_price_per_hour": 2.2}
    run = fall_back(project, {"provision_on_failure": "keep"}, lower)
    assert "It has ended." in run.output and "Nothing is billed for gpu-1." in run.output
    assert (len(project.simulator.purchases), project.simulator.billed) == (1, [])


def test_release_in_the_failed_block_proves_nothing_for_the_rescue(make_project: MakeProject) -> None:
    offers = [Offer(gpu_price_per_hour=price, outcome="never_ready") for price in (2.0, 3.0)]
    project = make_project(offers, procure_returns_ids=False, status_resources=None)
    # The list of resources, which only five requests precede, cannot be read after the second purchase.
    project.simulator.faults.append(Fault(method="GET", path="/resources$", nth=6, count=None, status=500))
    run = fall_back(project, {"provision_on_failure": "release"}, {"provision_on_failure": "keep"})
    assert run.returncode != 0
    _first, second = project.simulator.purchases
    assert project.simulator.billed == second.resource_ids
    entry = project.registry("gpu-1")
    assert entry is not None and entry["provision_procured_offer_id"] == second.offer_id
    *_first, failure = re.findall(r"^fatal: .*", run.output, re.MULTILINE)
    assert "The offer is BOUGHT and may be billed at USD 3.00 per hour" in failure
    assert "Nothing is billed" not in failure


@pytest.mark.first
def test_ended_machine_is_replaced_only_at_an_agreed_price(make_project: MakeProject) -> None:
    project = make_project()
    assert impatient(project).returncode == 0
    (old,) = project.simulator.billed
    project.tasks({"compute_index.supply.delete_resource": {"resource_id": old}})
    run = impatient(project, provision_max_price_per_hour="")
    assert "provision_max_price_per_hour must say" in run.failure("gpu-1")
    assert len(project.simulator.purchases) == 1
