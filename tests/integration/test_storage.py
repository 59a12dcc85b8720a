# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Storage that is bought with a machine survives it, is billed until you end it, and ends only if a person says so."""

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
    """The only storage that was bought."""
    (volume,) = (each for each in project.simulator.resources.values() if each.volume)
    return volume


def playbook(project: Project, name: str, *words: str) -> Run:
    run = project.play(f"compute_index.supply.{name}", *words)
    assert run.returncode == 0, run.output
    return run


def decommission(project: Project, *words: str) -> Run:
    return playbook(project, "decommission", "-e", "decommission_hosts=gpu-1", *words)


@pytest.mark.parametrize("shown", ["ids", "list", "links"])
def test_storage_survives_its_machine_and_ends_when_a_person_says_so(make_project: MakeProject, shown: Any) -> None:
    project = make_project(storage_shown=shown)
    project.simulator.add_offer(gpu_price_per_hour=2.0, storage=[sold(500, 0.08, persistent=True)])
    project.declare(["gpu-1"], provision_spec=WITH_STORAGE, provision_reach=False)
    if shown == "ids":
        quoted = playbook(project, "quote").text
        assert "Storage outlives its machine" in quoted and "gpu-1: data, 500 GB block_disk, USD 0.0548" in quoted
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
    # What is kept has one form in the registry, whichever the API showed it in.
    if shown != "ids":
        decommission(project, "-e", "decommission_storage=end")
        assert project.simulator.billed == [] and not (project.folder / "host_vars" / "gpu-1").exists()
        return
    assert "now 0.0548 per hour" in playbook(project, "spend").text
    assert decommission(project).changed == 0

    # The host may buy again, where its storage is, and keeps what it has.
    project.simulator.add_offer(gpu_price_per_hour=1.0, vendor="scaleway", vendor_region="fr-par-2")
    run = playbook(project, "provision", "-e", '{"provision_spec": {"compute": {"gpu_type": "H100", "gpu_count": 1}}}')
    assert "gpu-1 still has storage of an earlier machine" in run.text
    assert "gpu-1 searches only at nebius eu-north1, where its storage is." in run.text
    assert {each.purchase.offer.vendor for each in project.simulator.resources.values()} == {"nebius"}
    assert project.registry("gpu-1")["provision_storage_ids"] == [volume.resource_id]
    run = decommission(project, "-e", "decommission_storage=end")
    assert project.simulator.billed == [] and "per hour) ends" in run.text
    assert not (project.folder / "host_vars" / "gpu-1").exists()

    # The ledger is above the meter, by what a look takes.
    ledger = _stores.ledger(str(project.folder / "host_vars"))
    billed, meter = (
        sum(bill.cost(0.0, ledger.now) for bill in ledger.bills) / 1e6,
        sum(project.simulator.meter.values()),
    )
    assert meter <= billed <= meter + 5.0 * 60 / 3600


@pytest.mark.parametrize("store", ["files", "postgresql"])
def test_a_sweep_keeps_storage_unless_its_host_says_otherwise(
    make_project: MakeProject, request: pytest.FixtureRequest, store: str
) -> None:
    project, lease, hours = make_project(), "8h", 8.1
    if store == "postgresql":  # whose clock is real
        lease, hours = "4s", 0.0
        project.environment["COMPUTE_INDEX_REGISTRY_URL"] = request.getfixturevalue("registry")
    for _number in range(2):
        project.simulator.add_offer(gpu_price_per_hour=2.0, storage=[sold(500, 0.08, persistent=True)])
    project.declare(["gpu-1", "gpu-2"], provision_spec=WITH_STORAGE, provision_reach=False, provision_lease=lease)
    project.declare_host("gpu-2", provision_storage_on_end="end")
    playbook(project, "provision")
    volumes = {each.name: each.resource_id for each in project.simulator.resources.values() if each.volume}
    time.sleep(0.0 if hours else 4.0)

    # What is said for one run of decommission is said to no sweep. The API does not end what it takes for attached yet.
    attached = Fault("DELETE", f"/resources/{volumes['gpu-2-data']}", status=409, count=None)
    project.simulator.faults.append(attached)
    swept = reap(project, hours, decommission_storage="end")
    assert swept.returncode == 2 and "may still be billed at USD 0.0548" in swept.text, swept.output
    assert sorted(project.simulator.billed) == sorted(volumes.values())
    assert "gpu-1 keeps its storage" in swept.text

    # The next sweep ends it, and runs no command where there is no machine. A person ends the other one at the API: the
    # registry forgets that.
    project.simulator.faults.clear()
    project.simulator.market.delete(volumes["gpu-1-data"])
    again = reap(project, hours, reap_before_end="exit 1")
    assert again.returncode == 0 and "per hour) ends" in again.text, again.output
    assert project.simulator.billed == [] and "UNREACHABLE" not in again.output
    assert "STORAGE" not in playbook(project, "audit").text
    assert "USD/h now" in (spend := playbook(project, "spend").text) and "now 0.00 per hour" in spend, spend


def test_a_shared_registry_tells_each_run_what_a_host_has(make_project: MakeProject, registry: str) -> None:
    """Its storage without a price of its own has that of the offer, and no file beside the inventory says anything."""
    offers = [Offer(gpu_price_per_hour=price, storage=[sold(500, 0.08, persistent=True)]) for price in (2.0, 2.5)]
    project = make_project(offers, storage_price=False, provision_seconds=0)
    project.declare(["gpu-1"], provision_spec=WITH_STORAGE, provision_reach=False, provision_registry_url=registry)
    playbook(project, "provision")
    (kept,) = (each.resource_id for each in project.simulator.resources.values() if each.volume)
    assert f"{kept}, USD 0.0548/h" in decommission(project).text
    run = playbook(project, "provision")
    assert "gpu-1 still has storage of an earlier machine" in run.text and kept in run.text
    own = [each.resource_id for each in project.simulator.resources.values() if each.volume]
    shown = {"ansible.builtin.debug": {"msg": "{{ provision_storage_ids | sort | join(' ') }}"}}
    tasks = [as_in_playbooks("provision"), {"name": "Show", **shown}]
    run = project.play(project.write({"hosts": "gpu", "gather_facts": False, "tasks": tasks}))
    assert run.returncode == 0 and len(own) == 2 and " ".join(sorted(own)) in run.text, run.output
    assert "0.1096 storage" in playbook(project, "audit").text


def test_storage_without_a_price_of_its_own_stops_no_further_purchase(make_project: MakeProject) -> None:
    """Right before it the account is counted as in its plan, with the price that the registry has noted."""
    offers = [Offer(gpu_price_per_hour=2.0, storage=[sold(500, 0.08, persistent=True)]) for _number in range(2)]
    project = make_project(offers, storage_price=False, storage_shown="list", provision_seconds=0)
    limit = {"provision_max_account_price_per_hour": 4.1096}  # of both, with their storage
    project.declare(["gpu-1", "gpu-2"], provision_spec=WITH_STORAGE, provision_reach=False, **limit)
    playbook(project, "provision", "--limit", "gpu-1")
    playbook(project, "provision")
    assert len(project.simulator.purchases) == 2


def test_a_host_that_keeps_storage_is_found_by_its_name_alone(make_project: MakeProject, registry: str) -> None:
    """The inventory has it no more, and the shared registry has no entry of its own for it."""
    project = make_project(provision_seconds=0)
    project.simulator.add_offer(gpu_price_per_hour=2.0, storage=[sold(500, 0.08, persistent=True)])
    project.declare(["gpu-1"], provision_spec=WITH_STORAGE, provision_reach=False)
    project.environment["COMPUTE_INDEX_REGISTRY_URL"] = registry
    playbook(project, "provision", "-e", "provision_hosts=b-1")
    assert "decommission_hosts=b-1 -e decommission_storage=end" in playbook(project, "decommission", *ENDS_B).text
    # It is no machine of its group.
    (kept,) = project.simulator.billed
    of_group = ("decommission_hosts=gpu", "decommission_storage=end")
    playbook(project, "decommission", *(word for each in of_group for word in ("-e", each)))
    assert project.simulator.billed == [kept]
    ended = playbook(project, "decommission", *ENDS_B, "-e", "decommission_storage=end")
    assert "per hour) ends" in ended.text and project.simulator.billed == []
    gone = project.play("compute_index.supply.decommission", *ENDS_B)
    assert gone.returncode == 2 and "b-1 matches no host" in gone.text, gone.output


def test_storage_that_the_api_does_not_find_any_more_can_be_forgotten(make_project: MakeProject) -> None:
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
    """Three hosts with a machine and storage: one may not end, one ends both, and one keeps its storage."""
    project = make_project()
    hosts = ["gpu-1", "gpu-2", "gpu-3"]
    for _number in hosts:
        project.simulator.add_offer(gpu_price_per_hour=2.0, storage=[sold(500, 0.08, persistent=True)])
    project.declare(hosts, provision_spec=WITH_STORAGE, provision_reach=False)
    playbook(project, "provision")
    project.declare_host("gpu-1", provision_protect=True)
    project.declare_host("gpu-2", decommission_storage="end")
    return project


def test_hosts_whose_storage_ends_and_others_go_through_one_play(make_project: MakeProject) -> None:
    """One stops, one ends its storage, and one keeps it; what there is to say is said once, at the end."""
    project = one_of_each(make_project)
    volumes = {each.name[:5]: each.resource_id for each in project.simulator.resources.values() if each.volume}
    shown = {"ansible.builtin.debug": {"msg": "{{ inventory_hostname }} has {{ provision_storage_ids | join(' ') }}."}}
    tasks = [as_in_playbooks("decommission"), {"name": "Show", **shown}]
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


def test_a_host_that_stops_the_play_does_so_once_the_storage_of_others_has_ended(make_project: MakeProject) -> None:
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


def test_storage_of_two_hosts_ends_if_both_are_named_and_have_no_machine(make_project: MakeProject) -> None:
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


def test_what_is_given_back_takes_its_storage_along_if_its_host_says_so(make_project: MakeProject) -> None:
    """Each attempt would leave some else, without any data."""
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


def test_a_sweep_ends_what_was_to_end_with_a_machine_that_was_given_back(make_project: MakeProject) -> None:
    project = make_project()
    project.simulator.add_offer(gpu_price_per_hour=2.0, storage=[sold(500, 0.08, persistent=True)], outcome="fails")
    release = {"provision_on_failure": "release", "provision_storage_on_end": "end"}
    project.declare(["gpu-1"], provision_spec=WITH_STORAGE, provision_reach=False, **release)
    project.simulator.faults.append(Fault("DELETE", "/resources/", nth=2, status=409))
    given_back = project.provision()
    (kept,) = project.simulator.billed
    assert given_back.returncode == 2 and f"Not known to have ended for gpu-1: {kept}" in given_back.text
    assert "per hour) ends" in playbook(project, "reap").text and project.simulator.billed == []


@pytest.mark.parametrize("is_noted", [True, False])
def test_a_machine_that_ended_by_itself_is_replaced_where_its_storage_is(
    make_project: MakeProject, is_noted: bool
) -> None:
    """The run that sees the end keeps the storage, though only the page of the gone machine may name it."""
    project = make_project(storage_shown="links")
    for vendor in ({}, {}, {"vendor": "scaleway", "vendor_region": "fr-par-2"}):
        disks = [sold(500, 0.08, persistent=True)]
        project.simulator.add_offer(gpu_price_per_hour=1.5 if vendor else 2.0, storage=disks, **vendor)
    first, second = {"provision_spec": {**WITH_STORAGE, "vendor": "nebius"}}, {"provision_spec": WITH_STORAGE}
    project.declare(["gpu-1"], provision_reach=False, **first)
    playbook(project, "provision")
    volume, entry = volume_of(project), project.registry("gpu-1")
    if not is_noted:  # as by a run that was killed after the answer to its purchase
        later = ("provision_storage", "provision_instances", "ansible_")
        noted = {name: value for name, value in entry.items() if not name.startswith(later)}
        project.registry_file("gpu-1").write_text(yaml.safe_dump(noted))
    project.simulator.vanish(*entry["provision_resource_ids"])
    project.declare(["gpu-1"], provision_reach=False, **second)
    run = playbook(project, "provision")
    assert "gpu-1 still has storage of an earlier machine, which is billed" in run.text
    # What was never in use has no data that a machine would have to be near to.
    where = {each.purchase.offer.vendor for each in project.simulator.resources.values()}
    assert where == ({"nebius"} if is_noted else {"nebius", "scaleway"})
    assert volume.resource_id in project.registry("gpu-1")["provision_storage_ids"]


def test_storage_that_an_answer_names_is_no_machine_though_its_run_was_killed(make_project: MakeProject) -> None:
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
