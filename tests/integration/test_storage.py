# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Storage that is bought with a machine outlives it, is billed until it ends, and ends only if the user asks for it."""

from __future__ import annotations

import time
from typing import Any

import pytest
import yaml
from ansible_collections.compute_index.supply.plugins.module_utils._registry import _stores

from conftest import MakeProject, Project, Run
from project import as_in_playbooks
from simulator import Fault, Offer, Resource
from simulator.market import volume as sold
from test_leases import reap

ENDS_B = ("-e", "decommission_hosts=b-1")
WITH_STORAGE = {
    "compute": {"gpu_type": "H100", "gpu_count": 1},
    "storage": [{"type": "block_disk", "size": "500GB", "persistent": True}],
}


def volume_of(project: Project) -> Resource:
    """The only storage of the account."""
    (volume,) = (each for each in project.simulator.resources.values() if each.volume)
    return volume


def playbook(project: Project, name: str, *words: str) -> Run:
    """Run a playbook of the collection, and assert that it succeeds."""
    run = project.play(f"compute_index.supply.{name}", *words)
    assert run.returncode == 0, run.output
    return run


def decommission(project: Project, *words: str) -> Run:
    return playbook(project, "decommission", "-e", "decommission_hosts=gpu-1", *words)


@pytest.mark.parametrize("shown_in", ["ids", "list", "links"])
def test_storage_outlives_its_machine_and_ends_on_request(make_project: MakeProject, shown_in: Any) -> None:
    project = make_project(storage_shown=shown_in)
    project.simulator.add_offer(gpu_price_per_hour=2.0, storage=[sold(500, 0.08, persistent=True)])
    project.declare(["gpu-1"], provision_spec=WITH_STORAGE, provision_reach=False)
    if shown_in == "ids":
        quote = playbook(project, "quote").text
        assert "Storage outlives its machine" in quote and "gpu-1: data, 500 GB block_disk, USD 0.0548" in quote
    assert playbook(project, "provision").changed > 0
    volume = volume_of(project)
    assert playbook(project, "provision").changed == 0
    entry = project.registry("gpu-1")
    assert len(entry["provision_resource_ids"]) == 1 and entry["provision_storage_ids"] == [volume.resource_id]
    assert "0.0548 storage" in playbook(project, "audit").text

    run = decommission(project)
    assert volume.resource_id in run.text and "decommission_storage=end" in run.text
    assert project.simulator.billed == [volume.resource_id]
    assert project.registry("gpu-1")["provision_storage_ids"] == [volume.resource_id]
    audit = playbook(project, "audit")
    assert "STORAGE" in audit.text
    # The registry's form of kept storage does not depend on how the API showed it, so one case tests the rest.
    if shown_in != "ids":
        decommission(project, "-e", "decommission_storage=end")
        assert project.simulator.billed == [] and not (project.folder / "host_vars" / "gpu-1").exists()
        return
    assert "now 0.0548 per hour" in playbook(project, "spend").text
    assert decommission(project).changed == 0

    # The host may buy again, at the place of its storage, and keeps the storage.
    project.simulator.add_offer(gpu_price_per_hour=1.0, vendor="scaleway", vendor_region="fr-par-2")
    run = playbook(project, "provision", "-e", '{"provision_spec": {"compute": {"gpu_type": "H100", "gpu_count": 1}}}')
    assert "gpu-1 still has storage of an earlier machine" in run.text
    assert "gpu-1 searches only at nebius eu-north1, where its storage is." in run.text
    assert {each.purchase.offer.vendor for each in project.simulator.resources.values()} == {"nebius"}
    assert project.registry("gpu-1")["provision_storage_ids"] == [volume.resource_id]
    run = decommission(project, "-e", "decommission_storage=end")
    assert project.simulator.billed == [] and "per hour) ends" in run.text
    assert not (project.folder / "host_vars" / "gpu-1").exists()

    # The ledger is slightly above the meter, since the end of a machine is confirmed a moment later.
    ledger = _stores.ledger(str(project.folder / "host_vars"))
    billed, meter = (
        sum(bill.cost(0.0, ledger.now) for bill in ledger.bills) / 1e6,
        sum(project.simulator.meter.values()),
    )
    assert meter <= billed <= meter + 5.0 * 60 / 3600


@pytest.mark.parametrize("store", ["files", "postgresql"])
def test_sweep_keeps_storage_unless_its_host_has_storage_on_end(
    make_project: MakeProject, request: pytest.FixtureRequest, store: str
) -> None:
    project, lease, hours = make_project(), "8h", 8.1
    if store == "postgresql":  # the clock of the database cannot be moved
        lease, hours = "4s", 0.0
        project.environment["COMPUTE_INDEX_REGISTRY_URL"] = request.getfixturevalue("registry")
    for _number in range(2):
        project.simulator.add_offer(gpu_price_per_hour=2.0, storage=[sold(500, 0.08, persistent=True)])
    project.declare(["gpu-1", "gpu-2"], provision_spec=WITH_STORAGE, provision_reach=False, provision_lease=lease)
    project.declare_host("gpu-2", provision_storage_on_end="end")
    playbook(project, "provision")
    volumes = {each.name: each.resource_id for each in project.simulator.resources.values() if each.volume}
    time.sleep(0.0 if hours else 4.0)

    # decommission_storage has no effect on a sweep. The API refuses to end storage that it still considers attached.
    attached = Fault("DELETE", f"/resources/{volumes['gpu-2-data']}", status=409, count=None)
    project.simulator.faults.append(attached)
    sweep = reap(project, hours, decommission_storage="end")
    assert sweep.returncode == 2 and "may still be billed at USD 0.0548" in sweep.text, sweep.output
    assert sorted(project.simulator.billed) == sorted(volumes.values())
    assert "gpu-1 keeps its storage" in sweep.text

    # The next sweep ends it, and runs no reap_before_end, since no machine is left. The user ends the other storage at
    # the API, and the registry forgets it.
    project.simulator.faults.clear()
    project.simulator.market.delete(volumes["gpu-1-data"])
    again = reap(project, hours, reap_before_end="exit 1")
    assert again.returncode == 0 and "per hour) ends" in again.text, again.output
    assert project.simulator.billed == [] and "UNREACHABLE" not in again.output
    assert "STORAGE" not in playbook(project, "audit").text
    assert "USD/h now" in (spend := playbook(project, "spend").text) and "now 0.00 per hour" in spend, spend


def test_shared_registry_has_the_storage_of_each_host(make_project: MakeProject, registry: str) -> None:
    """Storage without a price of its own has the offer's storage price, and no registry file has it."""
    offers = [Offer(gpu_price_per_hour=price, storage=[sold(500, 0.08, persistent=True)]) for price in (2.0, 2.5)]
    project = make_project(offers, storage_price=False, provision_seconds=0)
    project.declare(["gpu-1"], provision_spec=WITH_STORAGE, provision_reach=False, provision_registry_url=registry)
    playbook(project, "provision")
    (kept,) = (each.resource_id for each in project.simulator.resources.values() if each.volume)
    assert f"{kept}, USD 0.0548/h" in decommission(project).text
    run = playbook(project, "provision")
    assert "gpu-1 still has storage of an earlier machine" in run.text and kept in run.text
    storage_ids = [each.resource_id for each in project.simulator.resources.values() if each.volume]
    show = {"ansible.builtin.debug": {"msg": "{{ provision_storage_ids | sort | join(' ') }}"}}
    tasks = [as_in_playbooks("provision"), {"name": "Show", **show}]
    run = project.play(project.write({"hosts": "gpu", "gather_facts": False, "tasks": tasks}))
    assert run.returncode == 0 and len(storage_ids) == 2 and " ".join(sorted(storage_ids)) in run.text, run.output
    assert "0.1096 storage" in playbook(project, "audit").text


def test_account_ceiling_counts_storage_without_its_own_price_correctly(make_project: MakeProject) -> None:
    """The check right before a purchase counts storage with the price in the registry, as the plan does."""
    offers = [Offer(gpu_price_per_hour=2.0, storage=[sold(500, 0.08, persistent=True)]) for _number in range(2)]
    project = make_project(offers, storage_price=False, storage_shown="list", provision_seconds=0)
    limit = {"provision_max_account_price_per_hour": 4.1096}  # two machines with their storage
    project.declare(["gpu-1", "gpu-2"], provision_spec=WITH_STORAGE, provision_reach=False, **limit)
    playbook(project, "provision", "--limit", "gpu-1")
    playbook(project, "provision")
    assert len(project.simulator.purchases) == 2


def test_host_with_kept_storage_is_found_by_its_name(make_project: MakeProject, registry: str) -> None:
    """The host is not in the inventory, and has no entry of its own in the shared registry."""
    project = make_project(provision_seconds=0)
    project.simulator.add_offer(gpu_price_per_hour=2.0, storage=[sold(500, 0.08, persistent=True)])
    project.declare(["gpu-1"], provision_spec=WITH_STORAGE, provision_reach=False)
    project.environment["COMPUTE_INDEX_REGISTRY_URL"] = registry
    playbook(project, "provision", "-e", "provision_hosts=b-1")
    assert "decommission_hosts=b-1 -e decommission_storage=end" in playbook(project, "decommission", *ENDS_B).text
    # The end of its group does not include it.
    (kept,) = project.simulator.billed
    of_group = ("decommission_hosts=gpu", "decommission_storage=end")
    playbook(project, "decommission", *(word for each in of_group for word in ("-e", each)))
    assert project.simulator.billed == [kept]
    ended = playbook(project, "decommission", *ENDS_B, "-e", "decommission_storage=end")
    assert "per hour) ends" in ended.text and project.simulator.billed == []
    gone = project.play("compute_index.supply.decommission", *ENDS_B)
    assert gone.returncode == 2 and "b-1 matches no host" in gone.text, gone.output


def test_storage_unknown_to_the_api_can_be_forgotten(make_project: MakeProject) -> None:
    project = make_project(storage_after_machine="hidden")
    project.simulator.add_offer(gpu_price_per_hour=2.0, storage=[sold(500, 0.08, persistent=True)])
    project.declare(["gpu-1"], provision_spec=WITH_STORAGE, provision_reach=False)
    playbook(project, "provision")
    volume = volume_of(project).resource_id
    decommission(project)
    ends = ("-e", "decommission_hosts=gpu-1", "-e", "decommission_storage=end")
    failed = project.play("compute_index.supply.decommission", *ends)
    assert failed.returncode != 0 and f"decommission_forget={volume}" in failed.text
    assert project.registry("gpu-1")["provision_storage_ids"] == [volume]

    run = decommission(project, "-e", f"decommission_forget={volume}")
    assert "which the API does not know" in run.text and project.registry("gpu-1") is None
    assert project.requests("DELETE", f"/resources/{volume}") == 0


def one_of_each(make_project: MakeProject) -> Project:
    """Three hosts with a machine and storage: gpu-1 is protected, gpu-2 ends its storage, gpu-3 keeps it."""
    project = make_project()
    hosts = ["gpu-1", "gpu-2", "gpu-3"]
    for _number in hosts:
        project.simulator.add_offer(gpu_price_per_hour=2.0, storage=[sold(500, 0.08, persistent=True)])
    project.declare(hosts, provision_spec=WITH_STORAGE, provision_reach=False)
    playbook(project, "provision")
    project.declare_host("gpu-1", provision_protect=True)
    project.declare_host("gpu-2", decommission_storage="end")
    return project


def test_decommission_treats_the_storage_of_each_host_separately(make_project: MakeProject) -> None:
    """The notes about all hosts are printed once, at the end."""
    project = one_of_each(make_project)
    volumes = {each.name[:5]: each.resource_id for each in project.simulator.resources.values() if each.volume}
    show = {"ansible.builtin.debug": {"msg": "{{ inventory_hostname }} has {{ provision_storage_ids | join(' ') }}."}}
    tasks = [as_in_playbooks("decommission"), {"name": "Show", **show}]
    play = {"hosts": "gpu", "gather_facts": False, "tasks": tasks}
    for words in (["--check"], []):
        run = project.play(project.write(play), *words)
        assert run.returncode == 2 and run.text.count("Show notes on the hosts") == 1, run.output
        assert "Nothing was ended for gpu-1. " in run.text and "gpu-1 has" not in run.text, run.output
        would = "would end" if words else "gpu-3 keeps its storage"
        assert run.text.count(would) >= 1 and f"gpu-3 has {volumes['gpu-3']}." in run.text, run.output
        assert ("gpu-2: its storage (1 volume, USD 0.0548 per hour) would end" in run.text) is bool(words), run.output
        kept = volumes["gpu-2"] if words else ""
        assert f"gpu-2 has {kept}." in run.text, run.output
    machine = project.registry("gpu-1")["provision_resource_ids"]
    assert sorted(project.simulator.billed) == sorted([*machine, volumes["gpu-1"], volumes["gpu-3"]])
    assert run.text.count("USD 0.0548 per hour) ends") == run.text.count("gpu-3 keeps its storage") == 1
    assert run.text.index("USD 0.0548 per hour) ends") < run.text.index("gpu-3 keeps")
    assert project.registry("gpu-2") is None


def test_failing_host_ends_the_play_only_after_the_storage_of_others(make_project: MakeProject) -> None:
    project = one_of_each(make_project)
    play = {"hosts": "gpu", "gather_facts": False, "any_errors_fatal": True, "tasks": [as_in_playbooks("decommission")]}
    run = project.play(project.write(play))
    assert run.returncode == 2 and "Nothing was ended for gpu-1. " in run.text, run.output
    for words in (
        "per hour) ends",
        "gpu-3 keeps its storage, which is billed until you end it",
    ):
        assert words in run.text, run.output
    assert project.registry("gpu-2") is None


def test_storage_of_two_hosts_ends_only_if_both_are_named(make_project: MakeProject) -> None:
    project = make_project()
    project.simulator.add_offer(gpu_price_per_hour=2.0, storage=[sold(500, 0.08, persistent=True)])
    project.declare(["gpu-1", "gpu-2"], provision_spec=WITH_STORAGE, provision_reach=False)
    playbook(project, "provision", "--limit", "gpu-1")
    decommission(project)
    shared = project.registry_file("gpu-2")
    shared.parent.mkdir()
    shared.write_text(project.registry_file("gpu-1").read_text())
    alone = decommission(project, "-e", "decommission_storage=end")
    assert "does not end, since gpu-2" in alone.text and project.simulator.billed == [volume_of(project).resource_id]
    both = playbook(project, "decommission", "-e", "decommission_hosts=gpu", "-e", "decommission_storage=end")
    assert "per hour) ends" in both.text and project.simulator.billed == [], both.output
    assert (project.registry("gpu-1"), project.registry("gpu-2")) == (None, None)


def test_release_ends_storage_if_its_host_says_so(make_project: MakeProject) -> None:
    """Otherwise each failed attempt would leave empty storage."""
    project = make_project()
    for price, outcome in ((2.0, "fails"), (3.0, "ready")):
        disks = [sold(500, 0.08, persistent=True)]
        project.simulator.add_offer(gpu_price_per_hour=price, storage=disks, outcome=outcome)
    release = {"provision_on_failure": "release", "provision_storage_on_end": "end"}
    project.declare(["gpu-1"], provision_spec=WITH_STORAGE, provision_reach=False, **release)
    assert "Storage ends with its machine" in playbook(project, "quote").text
    playbook(project, "provision")
    _gone, volume = (each.resource_id for each in project.simulator.resources.values() if each.volume)
    entry = project.registry("gpu-1")
    assert entry["provision_storage_ids"] == [volume]
    assert project.simulator.billed == [*entry["provision_resource_ids"], volume]
    ledger = _stores.ledger(str(project.folder / "host_vars"))
    assert [bill.why for bill in ledger.bills if not bill.runs] == ["released", "released"]


def test_sweep_ends_storage_that_a_release_could_not_end(make_project: MakeProject) -> None:
    project = make_project()
    project.simulator.add_offer(gpu_price_per_hour=2.0, storage=[sold(500, 0.08, persistent=True)], outcome="fails")
    release = {"provision_on_failure": "release", "provision_storage_on_end": "end"}
    project.declare(["gpu-1"], provision_spec=WITH_STORAGE, provision_reach=False, **release)
    project.simulator.faults.append(Fault("DELETE", "/resources/", nth=2, status=409))
    run = project.provision()
    (kept,) = project.simulator.billed
    assert run.returncode == 2 and f"Not known to have ended for gpu-1: {kept}" in run.text
    assert "per hour) ends" in playbook(project, "reap").text and project.simulator.billed == []


@pytest.mark.parametrize("is_noted", [True, False])
def test_ended_machine_is_replaced_at_the_place_of_its_storage(make_project: MakeProject, is_noted: bool) -> None:
    """The run that notices the end registers the storage, even if only the page of the ended machine names it."""
    project = make_project(storage_shown="links")
    for vendor in ({}, {}, {"vendor": "scaleway", "vendor_region": "fr-par-2"}):
        disks = [sold(500, 0.08, persistent=True)]
        project.simulator.add_offer(gpu_price_per_hour=1.5 if vendor else 2.0, storage=disks, **vendor)
    first, second = {"provision_spec": {**WITH_STORAGE, "vendor": "nebius"}}, {"provision_spec": WITH_STORAGE}
    project.declare(["gpu-1"], provision_reach=False, **first)
    playbook(project, "provision")
    volume, entry = volume_of(project), project.registry("gpu-1")
    if not is_noted:  # as after a run that was killed right after the answer to its purchase
        later = ("provision_storage", "provision_instances", "ansible_")
        noted = {name: value for name, value in entry.items() if not name.startswith(later)}
        project.registry_file("gpu-1").write_text(yaml.safe_dump(noted))
    project.simulator.vanish(*entry["provision_resource_ids"])
    project.declare(["gpu-1"], provision_reach=False, **second)
    run = playbook(project, "provision")
    assert "gpu-1 still has storage of an earlier machine, which is billed" in run.text
    # A machine that was never registered as ready has left no data, so the next one may be anywhere.
    vendors = {each.purchase.offer.vendor for each in project.simulator.resources.values()}
    assert vendors == ({"nebius"} if is_noted else {"nebius", "scaleway"})
    assert volume.resource_id in project.registry("gpu-1")["provision_storage_ids"]


def test_storage_id_journaled_as_a_machine_is_recognized_later(make_project: MakeProject) -> None:
    project = make_project(storage_shown="ids")
    project.simulator.add_offer(gpu_price_per_hour=2.0, storage=[sold(500, 0.08, persistent=True)])
    project.declare(["gpu-1"], provision_spec=WITH_STORAGE, provision_reach=False)
    playbook(project, "provision")
    volume, entry = volume_of(project), project.registry("gpu-1")
    later = ("provision_storage", "provision_instances", "ansible_")
    noted = {name: value for name, value in entry.items() if not name.startswith(later)}
    noted["provision_resource_ids"] = [*entry["provision_resource_ids"], volume.resource_id]
    project.registry_file("gpu-1").write_text(yaml.safe_dump(noted))
    playbook(project, "provision")
    names = ("provision_resource_ids", "provision_storage_ids")
    assert [project.registry("gpu-1")[name] for name in names] == [entry[name] for name in names]
