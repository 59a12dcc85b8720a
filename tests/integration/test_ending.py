# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decommission and audit: only the named hosts' machines end, even if registry and API disagree."""

from __future__ import annotations

import datetime
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import UNKNOWN_ID, MakeProject, Project, Run, core
from simulator import Fault, Offer

ROLE = {"ansible.builtin.include_role": {"name": "compute_index.supply.decommission"}}


def decommission(project: Project, hosts: Any, *words: str, **environment: str) -> Run:
    """Run the playbook for these hosts."""
    variables = json.dumps({"decommission_hosts": hosts})
    return project.play("compute_index.supply.decommission", "-e", variables, *words, **environment)


def buy(project: Project, name: str) -> dict[str, Any]:
    """Buy the next offer under a name, and return its registry entry."""
    offer_id = next(key for key, each in project.simulator.offers.items() if each.purchase is None)
    purchase = project.simulator.market.procure(offer_id, {"ssh_public_key": "", "resource_name": name})
    assert purchase is not None
    if project.simulator.settings.provision_seconds < 1:
        purchase.provision_seconds = 0
    ids = [each.resource_id for each in purchase.resources]
    return {"provision_procured_offer_id": offer_id, "provision_purchase": "made", "provision_resource_ids": ids}


def note(project: Project, host: str, entry: dict[str, Any], **more: Any) -> Path:
    """Write a host's registry entry."""
    file = project.registry_file(host)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump({**entry, **more}))
    return file


def give_machines(project: Project, *hosts: str, **more: Any) -> list[str]:
    """Give each host a machine, with ``more`` in its registry entry, and return all ids."""
    ids = []
    for host in hosts:
        entry = buy(project, host)
        note(project, host, entry, **more)
        ids += entry["provision_resource_ids"]
    return ids


def journal(project: Project, entry: dict[str, Any], minutes: float) -> dict[str, Any]:
    """The journal: the entry as it was before the purchase was answered."""
    when = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(minutes=minutes)
    offer_id = entry["provision_procured_offer_id"]
    return {
        "provision_procured_offer_id": offer_id,
        "provision_purchase": "sent",
        "provision_journaled_at": when.isoformat(),
    }


def ended(project: Project) -> list[str]:
    """The ids for which a DELETE was sent."""
    return [r.path.rpartition("/")[2] for r in project.simulator.requests if r.method == "DELETE"]


# Machines that end


def test_users_own_play_ends_nothing_if_it_covers_hosts_not_named(make_project: MakeProject) -> None:
    """Without this check, such a play would end the machines of all its hosts."""
    project = make_project()
    project.declare(["gpu-1", "gpu-2"])
    give_machines(project, "gpu-1", "gpu-2")
    play = project.write({"hosts": "gpu", "gather_facts": False, "tasks": [ROLE]})
    refused = project.play(play, "-e", "decommission_hosts=gpu-1")
    assert refused.returncode != 0 and "decommission_hosts does not name gpu-2, but" in refused.text, refused.output
    assert project.simulator.requests == []
    named = project.play(play, "-e", "decommission_hosts=gpu-1", "--limit", "gpu-1")
    assert (named.returncode, project.requests("DELETE", "/resources/.*")) == (0, 1), named.output


@pytest.mark.first
@core
def test_decommission_ends_the_machine_and_removes_its_registry_entry(make_project: MakeProject) -> None:
    project = make_project(delete_seconds=1)
    project.declare(["gpu-1", "gpu-2"])
    first, second = give_machines(project, "gpu-1", "gpu-2")

    plan = decommission(project, "gpu-1", "--check")
    assert plan.returncode == 0, plan.output
    assert f"gpu-1: would end {first}, USD 2.50/h" in plan.text
    assert ended(project) == [] and project.registry("gpu-1")

    run = decommission(project, ["gpu-1"])
    assert run.returncode == 0, run.output
    assert f"(item={first}" in run.text
    assert project.simulator.billed == [second]
    assert not (project.folder / "host_vars" / "gpu-1").exists()
    assert project.registry("gpu-2")

    again = decommission(project, "gpu-1")
    assert (again.returncode, again.changed) == (0, 0), again.output
    assert "gpu-1 owns no machine; there is nothing to end" in again.text


@pytest.mark.first
@core
def test_failing_host_does_not_stop_the_end_of_others(project: Project) -> None:
    project.declare(["gpu-1", "gpu-2", "gpu-3", "gpu-4"])
    first, second, fourth = give_machines(project, "gpu-1", "gpu-2", "gpu-4")
    project.simulator.faults[:] = [Fault(method="DELETE", path=f"/resources/{fourth}", status=409, count=None)]
    third = project.registry_file("gpu-3")
    third.parent.mkdir(parents=True)
    third.write_text("[]\n")
    # Ansible itself cannot read such a file as variables, so the registry is in another folder.
    shutil.move(project.folder / "host_vars", project.folder / "registry")
    elsewhere = ("-e", "provision_registry_dir=registry")
    shutil.copy(project.folder / "registry/gpu-2/compute_index_supply.yml", project.folder / "registry/copy.yml")
    (project.folder / "registry/copy").mkdir()
    shutil.move(project.folder / "registry/copy.yml", project.folder / "registry/copy/compute_index_supply.yml")

    run = decommission(project, "gpu", *elsewhere)
    assert run.returncode == 2
    assert set(ended(project)) == {first, fourth} and project.simulator.billed == [second, fourth]
    assert "several hosts claim it" in run.failure("gpu-2") and "copy" in run.failure("gpu-2")
    assert f"Not known to have ended for gpu-4: {fourth}." in run.failure("gpu-4")
    kept = [file.parent.name for file in project.folder.glob("registry/gpu-*/compute_index_supply.yml")]
    assert sorted(kept) == ["gpu-2", "gpu-3", "gpu-4"]
    assert "registry/gpu-3/compute_index_supply.yml" in run.failure("gpu-3")
    assert run.failure("gpu-1") == ""


@pytest.mark.first
@core
@pytest.mark.parametrize("keyword", [{"serial": 1}, {"strategy": "free"}, {"ignore_errors": True}], ids=str)
def test_play_keywords_do_not_bypass_the_check_for_contested_machines(
    project: Project, keyword: dict[str, Any]
) -> None:
    project.declare(["gpu-1", "gpu-2"])
    give_machines(project, "gpu-1", "gpu-2")
    shutil.copytree(project.folder / "host_vars/gpu-2", project.folder / "host_vars/copy")
    play = {"hosts": "gpu", "gather_facts": False, "tasks": [ROLE], **keyword}
    run = project.play(project.write(play), "-e", "ansible_task_timeout=1", ANSIBLE_TASK_TIMEOUT="1")
    assert run.returncode == 2, run.output
    assert "several hosts claim it" in run.failure("gpu-2") or "strategy is free" in run.failure("gpu-2")
    expected = [] if "strategy" in keyword else [next(iter(project.simulator.resources))]
    assert ended(project) == expected
    assert project.registry("gpu-2")


@core
def test_decommission_waits_for_slow_ends_and_shows_progress(make_project: MakeProject) -> None:
    """An ended machine answers 404, which counts as its end only after a DELETE."""
    project = make_project(delete_seconds=17, deleted_readable=False)
    project.declare(["gpu-1", "gpu-2"])
    ids = give_machines(project, "gpu-1", "gpu-2")
    run = decommission(project, "gpu")
    assert run.returncode == 0, run.output
    assert len(re.findall(r"^  After \d+ s: waiting for 2 machines to end \(0 of 2 have", run.output, re.M)) == 1
    assert sorted(ended(project)) == sorted(ids) and project.simulator.billed == []
    assert project.registry("gpu-1") is None and project.registry("gpu-2") is None


@core
def test_hosts_whose_variables_cannot_be_read_together_end_separately(project: Project) -> None:
    hosts = ["gpu-1", "gpu-2", "gpu-3"]
    project.declare(hosts)
    first, second, third = give_machines(project, *hosts)
    note(project, "gpu-2", project.registry("gpu-2") or {}, decommission_wait_timeout="{{ nothing_of_this_name }}")
    run = decommission(project, "gpu-1,gpu-2")
    assert run.returncode == 2 and "decommission_wait_timeout" in run.failure("gpu-2"), run.output
    assert ended(project) == [first] and run.failure("gpu-1") == ""
    # Only Ansible itself can merge variables in this way.
    run = decommission(project, "gpu-3", ANSIBLE_HASH_BEHAVIOUR="merge")
    assert run.returncode == 0, run.output
    assert ended(project) == [first, third] and project.simulator.billed == [second]


@core
def test_a_host_in_check_mode_keeps_its_machine_while_another_ends(project: Project) -> None:
    project.declare(["gpu-1", "gpu-2"])
    first, second = give_machines(project, "gpu-1", "gpu-2")
    role = {"role": "compute_index.supply.decommission", "check_mode": "{{ inventory_hostname == 'gpu-2' }}"}
    run = project.play(project.write({"hosts": "gpu", "gather_facts": False, "roles": [role]}))
    assert run.returncode == 0, run.output
    assert ended(project) == [first] and project.simulator.billed == [second] and project.registry("gpu-2")
    assert f"gpu-2: would end {second}, USD" in run.text


@pytest.mark.first
def test_a_cluster_ends_as_a_whole(make_project: MakeProject) -> None:
    project = make_project([Offer(gpu_count=24, node_count=3)], delete_again_status=200)
    project.declare(["train"])
    give_machines(project, "train")
    project.simulator.vanish(next(iter(project.simulator.resources)))
    run = decommission(project, "train")
    assert run.returncode == 0, run.output
    assert project.simulator.billed == []
    assert project.requests("DELETE", "/resources/.*") == 2, "one was gone already"
    assert project.registry("train") is None


@pytest.mark.first
def test_disagreement_of_registry_and_api_ends_nothing_and_shows_both(project: Project) -> None:
    entry = buy(project, "gpu-1")
    (resource_id,) = entry["provision_resource_ids"]
    other_offer, sibling = {"provision_procured_offer_id": UNKNOWN_ID}, {"provision_resource_ids": [UNKNOWN_ID]}
    for change, *messages in (
        (other_offer, "Registry and API do not agree", "not that of the registry", resource_id),
        # The host also holds the machine that its offer bought; it does not end while the API does not know the other.
        (sibling, "Registry and API do not agree", "the registry does not name it", resource_id),
        (
            {**other_offer, **sibling},
            "Registry and API do not agree",
            "whose registry names another machine",
            resource_id,
        ),
    ):
        file = note(project, "gpu-1", entry, **change)
        run = decommission(project, "gpu-1")
        assert run.returncode == 2
        assert all(message in run.text for message in (UNKNOWN_ID, *messages)), run.text
        assert ended(project) == []
        assert file.exists()


@pytest.mark.first
def test_machine_unknown_to_the_api_is_forgotten_only_on_request(make_project: MakeProject) -> None:
    project = make_project(deleted_readable=False)
    (resource_id,) = give_machines(project, "gpu-1")
    refused = decommission(project, "gpu-1", "-e", f"decommission_forget={resource_id}")
    assert "cannot be forgotten" in refused.failure("gpu-1") and ended(project) == []

    project.simulator.vanish(resource_id)
    unknown = decommission(project, "gpu-1")
    assert "Is the token of the right account?" in unknown.failure("gpu-1")
    assert f"-e decommission_forget={resource_id}" in unknown.failure("gpu-1")
    assert project.registry("gpu-1") is not None

    forgotten = decommission(project, "gpu-1", "-e", f"decommission_forget={UNKNOWN_ID},{resource_id}")
    assert forgotten.returncode == 0, forgotten.output
    assert f"forgets {resource_id}, which the API does not know" in forgotten.text
    assert project.registry("gpu-1") is None

    run = decommission(project, "gpu-1", "-e", f"decommission_resource_id={UNKNOWN_ID}")
    failure = run.failure("gpu-1")
    assert f"{UNKNOWN_ID} answered 404" in failure and "Is the token of the right account?" in failure, run.output


@pytest.mark.first
def test_journaled_purchase_ends_only_if_name_and_offer_match(make_project: MakeProject) -> None:
    project = make_project(provision_seconds=600)
    entry = buy(project, "gpu-1")
    note(project, "gpu-1", journal(project, entry, minutes=1))
    (resource,) = project.simulator.resources.values()
    project.simulator.resources.clear()
    assert "the API lists no machine of it yet. Run again" in decommission(project, "gpu-1").failure("gpu-1")

    resource.name = "database"
    project.simulator.resources[resource.resource_id] = resource
    failure = decommission(project, "gpu-1").failure("gpu-1")
    assert "it is called database, and the registry names only its offer" in failure
    assert ended(project) == []

    resource.name = "gpu-1"
    run = decommission(project, "gpu-1")
    assert run.returncode == 0, run.output
    assert (project.simulator.billed, project.registry("gpu-1")) == ([], None)

    free = next(each for each in project.simulator.offers if each != entry["provision_procured_offer_id"])
    for minutes, returncode in ((2, 2), (31, 0)):
        note(project, "gpu-1", journal(project, {"provision_procured_offer_id": free}, minutes=minutes))
        run = decommission(project, "gpu-1")
        assert run.returncode == returncode, run.output
        assert ("Run again in 28 minutes" in run.text) is (returncode == 2)
    assert project.registry("gpu-1") is None


@pytest.mark.first
def test_a_machine_that_does_not_end_keeps_its_entry(project: Project) -> None:
    (resource_id,) = give_machines(project, "gpu-1")
    project.simulator.faults[:] = [Fault(method="DELETE", path="/resources/", status=409, count=None)]
    run = decommission(project, "gpu-1")
    assert run.returncode == 2
    assert "It may still be billed at USD 2.50 per hour." in run.text
    assert f"Not known to have ended for gpu-1: {resource_id}." in run.failure("gpu-1")
    assert project.registry("gpu-1") is not None
    project.simulator.faults.clear()
    assert decommission(project, "gpu-1").returncode == 0
    assert project.simulator.billed == []


@pytest.mark.first
def test_a_machine_that_only_the_list_shows_keeps_its_entry(project: Project) -> None:
    (resource_id,) = give_machines(project, "gpu-1")
    project.simulator.faults[:] = [Fault(method="GET", path=f"/resources/{resource_id}", status=404, count=None)]
    run = decommission(project, "gpu-1")
    assert run.returncode == 2, run.output
    assert f"Nothing was ended for gpu-1. GET /resources/{resource_id} answered 404" in run.failure("gpu-1")
    assert project.registry("gpu-1") is not None and ended(project) == []


@core
def test_templates_in_machine_names_are_never_evaluated(project: Project) -> None:
    attack = "{{ 12345679 * 9 }}{{ lookup('pipe', 'touch " + str(project.folder / "ran") + "') }}"
    entry = buy(project, attack)
    note(project, "gpu-1", journal(project, entry, minutes=1))
    run = decommission(project, "gpu-1", "-v")
    assert "12345679 * 9" in run.failure("gpu-1"), run.output
    audit = project.play("compute_index.supply.audit", "-v", "-e", "audit_fail_on_orphans=true")
    assert "12345679 * 9" in audit.text
    assert "111111111" not in run.output + audit.output and not (project.folder / "ran").exists()


# Ends by name and by id


@pytest.mark.first
def test_with_a_registry_a_name_alone_claims_no_machine(project: Project) -> None:
    (resource_id,) = buy(project, "gpu-1")["provision_resource_ids"]
    run = decommission(project, "gpu-1")
    failure = run.failure("gpu-1")
    assert "that no host claims" in failure and resource_id in failure and "provision_adopt" in failure, run.output
    assert ended(project) == []
    run = decommission(project, "gpu-1", "-e", f"decommission_resource_id={resource_id}")
    assert run.returncode == 0, run.output
    assert ended(project) == [resource_id]


@pytest.mark.first
def test_without_a_registry_the_name_claims_the_machine(project: Project) -> None:
    project.inventory.write_text(yaml.safe_dump({"all": {"vars": {"provision_registry_dir": ""}}}))
    (alice,) = buy(project, "alice")["provision_resource_ids"]
    (bob,) = buy(project, "bob")["provision_resource_ids"]
    run = decommission(project, "alice,bobb")
    assert run.returncode == 2 and "bobb matches no host" in run.text, run.output
    assert ended(project) == []
    run = decommission(project, "alice")
    assert run.returncode == 0, run.output
    assert ended(project) == [alice]

    project.inventory.write_text("plugin: compute_index.supply.resources\nhostname: supply_resource_id\n")
    project.inventory = project.inventory.rename(project.folder / "all.supply.yml")
    run = decommission(project, bob)
    assert run.returncode == 0, run.output
    assert ended(project) == [alice, bob]


@pytest.mark.first
def test_without_a_registry_machines_with_one_name_are_contested(project: Project) -> None:
    project.declare(["gpu-1"], provision_registry_dir="")
    ids = [buy(project, "gpu-1")["provision_resource_ids"][0] for _again in range(2)]
    failure = decommission(project, "gpu-1").failure("gpu-1")
    assert "several offers have machines of this name" in failure and all(id_ in failure for id_ in ids)
    assert ended(project) == []
    run = project.play("compute_index.supply.audit")
    assert run.returncode == 2 and "2 machine(s) are contested" in run.text, run.output


# decommission_hosts


@pytest.mark.first
@pytest.mark.parametrize(
    ("hosts", "message"),
    [
        ("", "decommission_hosts must say whose machines end"),
        ([], "decommission_hosts must say whose machines end"),
        ("*", "decommission_hosts must say whose machines end"),
        ("!gpu-2", "begins with an exclusion, which means all others"),
        ("gpu-1,gpu-11", "gpu-11 matches no host"),
        ("gpux*", "gpux* matches no host"),
        ("gpu:!gpu-11", "!gpu-11 matches no host"),
    ],
    ids=str,
)
def test_mistyped_decommission_hosts_ends_nothing(project: Project, hosts: Any, message: str) -> None:
    project.declare(["gpu-1", "gpu-2"])
    run = decommission(project, hosts)
    assert run.returncode == 2
    assert message in run.text and "Nothing was ended." in run.text
    assert project.simulator.requests == []


@pytest.mark.first
@core
def test_a_group_includes_hosts_that_only_the_registry_knows(project: Project) -> None:
    ids = give_machines(project, "gpu-1", "gpu-2", provision_groups=["gpu"])
    other = give_machines(project, "web", provision_groups=["web"])
    project.declare(["gpu-1"])
    limited = decommission(project, "gpu-2", "--limit", "gpu-1")
    assert limited.returncode == 2 and "which --limit excludes" in limited.text, limited.output
    unnamed = project.play("compute_index.supply.decommission", "--limit", "gpu-1")
    assert unnamed.returncode == 2 and "must say whose machines end" in unnamed.text, unnamed.output
    expects_none = '{"decommission_hosts": "gpu", "decommission_count": 0}'  # zero is a valid expected number
    counted = project.play("compute_index.supply.decommission", "-e", expects_none)
    assert counted.returncode == 2 and "decommission_count says 0" in counted.text, counted.output
    assert ended(project) == []
    one = decommission(project, "gpu", "--limit", "gpu-1", "--check")
    assert one.returncode == 0 and one.text.count("would end") == 1, one.output
    run = decommission(project, "gpu")
    assert run.returncode == 0, run.output
    assert sorted(ended(project)) == sorted(ids)
    assert project.simulator.billed == other


# Audit


@pytest.mark.first
@core
def test_audit_lists_claimed_machines_orphans_and_gone_ones(project: Project) -> None:
    first, second = give_machines(project, "gpu-1", "gpu-2")
    project.simulator.populate(1, gpu_price_per_hour=3.1, gpu_count=1, storage=[])
    project.simulator.vanish(first)
    run = project.play("compute_index.supply.audit", ANSIBLE_SHOW_CUSTOM_STATS="1")

    assert run.returncode == 0, run.output
    assert re.search(
        rf'ONLY THE REGISTRY KNOWS: [^"]*\(\w+\)", "host [^"]*", "gpu-2 2\.00 \d+s 0\.01 {second}', run.text
    )
    assert re.search(r'ORPHANS: [^"]*\(running\)", "name [^"]*", "machine-3 3\.10', run.text)
    assert "GONE: claimed, but ended or unknown to the API" in run.text and first in run.text
    assert "USD per hour: 2.00 claimed + 3.10 orphans = 5.10" in run.text
    stats = json.loads(run.output.split("RUN: ")[1])
    assert stats["audit"].keys() == {
        *("claimed", "storage", "orphans", "ending", "gone", "buying", "missing", "elsewhere", "tested", "leases"),
        *("price_per_hour", "usd", "unpriced"),
    }
    assert [row["hosts"] for row in stats["audit"]["claimed"]] == [["gpu-2"]]
    sums = {"claimed": 2, "storage": 0, "orphans": 3.1, "ending": 0, "total": 5.1}
    assert stats["audit"]["price_per_hour"] == sums

    run = project.play("compute_index.supply.audit", "-e", "audit_fail_on_orphans=true")
    assert run.returncode == 2
    assert "1 orphan(s) cost USD 3.10 per hour" in run.text

    run = project.play("compute_index.supply.audit", "-e", "audit_fail_on_orphans=yes", "-e", "audit_names=machine-3,x")
    assert run.returncode == 0, run.output
    run = project.play("compute_index.supply.audit", "--limit", "gpu-1")
    assert run.returncode == 2 and "leave --limit out" in run.text


@pytest.mark.first
def test_audit_fails_for_broken_files_and_contested_machines_but_shows_the_rest(project: Project) -> None:
    give_machines(project, "gpu-1")
    shutil.move(project.folder / "host_vars", project.folder / "registry")
    broken = project.folder / "registry/odd/compute_index_supply.yml"
    broken.parent.mkdir()
    broken.write_text("<<<<<<< HEAD\n")
    project.declare(["gpu-1"], provision_registry_dir="{{ inventory_dir }}/registry")
    run = project.play("compute_index.supply.audit")
    assert run.returncode == 2 and "registry/odd/compute_index_supply.yml" in "".join(run.output.split()), run.output
    assert re.search(r'CLAIMED by a host \(\w+\)", "host [^"]*", "gpu-1 2\.50', run.text), run.output
    shutil.copytree(project.folder / "registry/gpu-1", project.folder / "registry/copy")
    run = project.play("compute_index.supply.audit")
    assert run.returncode == 2, run.output
    assert "CONTESTED" in run.text and "copy, gpu-1: several hosts claim it" in run.text


def test_hosts_of_the_inventory_plugin_claim_nothing(project: Project) -> None:
    project.simulator.populate(1)
    (project.folder / "all.supply.yml").write_text("plugin: compute_index.supply.resources\n")
    options = ("-i", str(project.folder / "all.supply.yml"), "-e", "audit_fail_on_orphans=yes")
    assert project.play("compute_index.supply.audit", *options).returncode == 2
