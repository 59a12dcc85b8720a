# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rest of a machine's life: quoted, listed as an inventory, audited, ended."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest
import yaml

from conftest import NOBODY, PROCURE, MakeProject, Project, Run, core
from simulator import Fault, Offer

CONNECTION = ("ansible_host", "ansible_port", "ansible_user")


def inventory(project: Project, *words: str, config: dict[str, Any] | None = None, **environment: str) -> Any:
    """What ansible-inventory prints for the inventory plugin alone: a mapping for ``--list`` and ``--host``."""
    file = project.folder / "all.supply.yml"
    file.write_text(yaml.safe_dump({"plugin": "compute_index.supply.resources", **(config or {})}))
    run = project.command("ansible-inventory", "-i", str(file), *words, **environment)
    assert run.returncode == 0, run.output
    # Texts from the network are marked as such in the output.
    return json.loads(run.output, object_hook=lambda found: found.get("__ansible_unsafe", found))


def decommission(project: Project, hosts: Any, *words: str) -> Run:
    """Run the playbook for these hosts."""
    return project.play("compute_index.supply.decommission", "-e", json.dumps({"decommission_hosts": hosts}), *words)


# Quote


@core
def test_a_quote_shows_prices_and_alternatives_and_buys_nothing(project: Project) -> None:
    project.declare(["gpu-1", "gpu-2"])
    run = project.play("compute_index.supply.quote", ANSIBLE_SHOW_CUSTOM_STATS="1")
    assert run.returncode == 0, run.output
    lines = [line.strip(' ",') for line in run.output.splitlines()]
    assert "host   GPUs  type                   contract  USD/h  vendor  region" in lines
    assert "gpu-1     1  nvidia-h100-sxm5-80gb  ondemand   2.00  nebius  EU" in lines
    assert "gpu-2     1  nvidia-h100-sxm5-80gb  ondemand   2.50  nebius  EU" in lines
    assert "or        1  nvidia-h100-sxm5-80gb  ondemand   3.00  nebius  EU" in lines
    assert "USD per hour in total: 4.50" in lines
    assert '"price_per_hour": 4.5' in run.output
    assert project.requests(*PROCURE) == 0


@core
def test_a_quote_tells_what_is_owned_and_what_cannot_be_had(project: Project) -> None:
    assert project.provision(provision_reach=False).returncode == 0
    project.declare(["gpu-1", "gpu-2"])
    run = project.play("compute_index.supply.quote", "-e", "provision_max_price_per_hour=2.2")
    assert run.returncode == 2
    assert "gpu-1 - owned already - 2.00 - -" in run.text
    assert "gpu-2 - no offer - - - -" in run.text
    assert "USD per hour in total: 2.00" in run.output
    assert "within its provision_max_price_per_hour (2.2 USD)" in run.text
    assert run.recap("gpu-1", "failed") == 0


# Inventory


@core
def test_machines_are_hosts_with_variables_and_groups(project: Project) -> None:
    project.simulator.populate(2, vendor="nebius", gpu_type="A100", contract_type="ondemand", vendor_region="eu-1")
    project.simulator.populate(1, vendor="scaleway", contract_type="spot", vendor_region="fr-par-2")
    listed = inventory(project, "--list")
    assert sorted(listed["supply"]["hosts"]) == ["machine-1", "machine-2", "machine-3"]
    assert sorted(listed["gpu_a100"]["hosts"]) == sorted(listed["vendor_nebius"]["hosts"]) == ["machine-1", "machine-2"]
    assert listed["region_fr_par_2"]["hosts"] == listed["contract_spot"]["hosts"] == ["machine-3"]
    variables = listed["_meta"]["hostvars"]["machine-3"]
    assert variables["supply_resource_id"] in project.simulator.resources
    assert (variables["supply_vendor"], variables["ansible_user"]) == ("scaleway", "root")


@core
def test_filters_names_and_constructed_groups(project: Project) -> None:
    project.simulator.populate(3, vendor="nebius", node_count=None, gpu_type="H100", gpu_price_per_hour=2.0)
    project.simulator.populate(1, vendor="scaleway")
    config = {
        "filters": {"include": ["supply_vendor == 'nebius'"], "exclude": ["supply_name.endswith('-2')"]},
        "hostname": "supply_vendor ~ '-' ~ supply_name",
        "compose": {"cents": "(supply_price_per_hour * 100) | int"},
        "groups": {"gpu": "supply_spec.gpu_family == 'H100'"},
        "keyed_groups": [{"key": "supply_resource_type", "prefix": "type"}],
        "strict": True,
    }
    listed = inventory(project, "--list", config=config)
    hosts = ["nebius-machine-1", "nebius-machine-3"]
    assert sorted(listed["gpu"]["hosts"]) == sorted(listed["type_vm"]["hosts"]) == hosts
    assert listed["_meta"]["hostvars"].keys() == set(hosts)
    assert int(listed["_meta"]["hostvars"][hosts[0]]["cents"]) == 200


def test_plugin_and_role_agree_on_how_to_reach_a_machine(project: Project) -> None:
    project.declare(["gpu-1"], provision_reach=False)
    documented = {"address_in": "both", "ssh_command": "ssh root@{ip} -p {port}"}
    for settings in (
        documented,
        {"address_in": "access"},
        {"address_in": "ssh_command", "ssh_command": "ssh -o User=root -p{port} {ip} -A"},
        {"address_in": "both", "ssh_command": "ssh {ip} -l root -p {port}"},
    ):
        for name, value in settings.items():
            setattr(project.simulator.settings, name, value)
        assert project.provision().returncode == 0
        entry = project.registry("gpu-1")
        assert entry is not None
        (resource,) = project.simulator.resources.values()
        assert resource.address is not None
        assert [entry[name] for name in CONNECTION] == ["127.0.0.1", resource.address.port, "root"], settings
        variables = inventory(project, "--host", "gpu-1")
        assert [variables[name] for name in CONNECTION] == [entry[name] for name in CONNECTION], settings
        # What the next run registers shall be what it has read.
        file = project.registry_file("gpu-1")
        file.write_text(yaml.safe_dump({**entry, **dict.fromkeys(CONNECTION)}))


@core
def test_a_machine_is_configured_by_another_computer(project: Project) -> None:
    assert project.provision("-e", "provision_resource_name=trainer").returncode == 0
    elsewhere = project.folder / "elsewhere" / "gpu.supply.yml"
    elsewhere.parent.mkdir()
    elsewhere.write_text("plugin: compute_index.supply.resources\n")
    options = ["-e", "provision_group=supply", "-e", f"ansible_ssh_private_key_file={project.key}"]
    trust = {"ANSIBLE_HOST_KEY_CHECKING": "false"}
    run = project.command("ansible-playbook", "-i", str(elsewhere), "compute_index.supply.configure", *options, **trust)
    assert run.returncode == 0, run.output
    (resource_id,) = project.simulator.resources
    note = json.loads((project.simulator.home(resource_id) / "compute_index_supply.json").read_text())
    assert note == {"host": "trainer", "resource_ids": [resource_id]}


@core
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        pytest.param({"status": 500}, "answered 500", id="500"),
        pytest.param({"status": 403}, "api_token", id="403"),
        pytest.param({"status": 200, "body": b"<html>"}, "is no JSON", id="html"),
        pytest.param({"status": 200, "body": b'{"resources": [], "total_count": 7}'}, "counts 7 resources", id="part"),
    ],
)
def test_a_failing_api_stops_the_run(project: Project, fault: dict[str, Any], message: str) -> None:
    project.simulator.faults.append(Fault(method="GET", path="/resources", **fault))
    file = project.folder / "all.supply.yml"
    file.write_text("plugin: compute_index.supply.resources\napi_retries: 0\n")
    play = {"hosts": "all", "gather_facts": False, "tasks": [{"ansible.builtin.debug": {"msg": "it ran"}}]}
    never = {"ANSIBLE_INVENTORY_UNPARSED_FAILED": "false", "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "false"}
    run = project.command(
        "ansible-playbook", "-i", str(file), "-i", str(project.inventory), project.write(play), **never
    )
    assert run.returncode == 4, run.output
    assert message in run.text
    assert "it ran" not in run.output
    assert project.simulator.settings.token not in run.output


def test_ten_thousand_machines(make_project: MakeProject) -> None:
    project = make_project([], page_size=2500)
    project.simulator.populate(10_000)
    listed = inventory(project, "--list")
    assert len(listed["supply"]["hosts"]) == len(listed["_meta"]["hostvars"]) == 10_000
    assert project.requests("GET", "/resources") == 4


# Decommission


@core
def test_machines_end_and_nothing_is_left_of_them(make_project: MakeProject) -> None:
    project = make_project(delete_seconds=1)
    project.declare(["gpu-1", "gpu-2"])
    assert project.provision().returncode == 0
    first, second = (project.registry(host) for host in ("gpu-1", "gpu-2"))
    assert first and second

    plan = decommission(project, "gpu-1", "--check")
    assert plan.returncode == 0, plan.output
    assert f"Would end {first['provision_resource_ids'][0]}, which saves USD 2.00 per hour." in plan.text
    assert len(project.simulator.billed) == 2

    run = decommission(project, ["gpu-1"])
    assert run.returncode == 0, run.output
    assert project.simulator.billed == second["provision_resource_ids"]
    assert not (project.folder / "host_vars" / "gpu-1").exists()
    assert project.registry("gpu-2") == second

    again = decommission(project, "gpu-1")
    assert (again.returncode, again.changed) == (0, 0), again.output
    assert "gpu-1 owns no machine" in again.text


@core
def test_nobody_is_ended_without_being_named(project: Project) -> None:
    assert project.provision(provision_reach=False).returncode == 0
    nobody: tuple[str | list[str], ...] = ("", "*", [])
    for asked in nobody:
        run = decommission(project, asked)
        assert run.returncode == 2
        assert "decommission_hosts must say whose machines end" in run.text
    run = decommission(project, "gpux*")
    assert run.returncode == 2 and "decommission_hosts='gpux*' matches no host. Nothing was ended." in run.text
    assert len(project.simulator.billed) == 1


def test_machines_are_found_by_name_or_inventory_plugin(project: Project) -> None:
    run = project.provision(provision_hosts="alice,bob", provision_registry_dir="", provision_reach=False)
    assert run.returncode == 0, run.output
    run = decommission(project, "alice")
    assert run.returncode == 0, run.output
    assert len(project.simulator.billed) == 2

    (bob,) = [each for each in project.simulator.resources.values() if each.name == "bob"]
    project.inventory.write_text("plugin: compute_index.supply.resources\nhostname: supply_resource_id\n")
    project.inventory = project.inventory.rename(project.folder / "all.supply.yml")
    run = decommission(project, bob.resource_id)
    assert run.returncode == 0, run.output
    assert bob.resource_id not in project.simulator.billed
    assert len(project.simulator.billed) == 1, "gpu-1 was not named"


def test_a_cluster_ends_as_a_whole(make_project: MakeProject) -> None:
    project = make_project([Offer(gpu_count=24, node_count=3)], delete_again_status=200)
    offer_id = next(iter(project.simulator.offers))
    project.declare(["train"], provision_offer_id=offer_id, provision_max_price_per_hour=90, provision_reach=False)
    assert project.provision().returncode == 0
    project.simulator.vanish(next(iter(project.simulator.resources)))
    run = decommission(project, "train")
    assert run.returncode == 0, run.output
    assert project.simulator.billed == []
    assert project.requests("DELETE", "/resources/.*") == 2, "one was gone already"


def test_a_registry_that_differs_stops_and_shows_both(project: Project) -> None:
    assert project.provision("-e", "provision_reach=false").returncode == 0
    (resource_id,) = project.simulator.billed
    file = project.registry_file("gpu-1")
    entry = yaml.safe_load(file.read_text())
    other_offer, sibling = {"provision_procured_offer_id": NOBODY}, {"provision_resource_ids": [NOBODY]}
    for change, message in (
        (other_offer, "not that of the registry"),
        (sibling, "the registry does not name it"),
        ({**other_offer, **sibling}, "whose registry names another machine"),
    ):
        file.write_text(yaml.safe_dump({**entry, **change}))
        run = decommission(project, "gpu-1")
        assert run.returncode == 2
        assert "registry and API do not agree" in run.text
        assert message in run.text
        assert NOBODY in run.text and resource_id in run.text
        assert project.simulator.billed == [resource_id]
        assert file.exists()


def test_a_machine_that_another_host_registers_is_not_ended(project: Project) -> None:
    assert project.provision("-e", "provision_reach=false").returncode == 0
    copy = project.registry_file("copy")
    copy.parent.mkdir()
    shutil.copy(project.registry_file("gpu-1"), copy)
    run = decommission(project, "copy")
    assert run.returncode == 2
    assert "several hosts claim it" in run.text
    assert len(project.simulator.billed) == 1


def test_a_machine_that_somebody_else_was_faster_to_buy_is_not_ended(project: Project) -> None:
    offer_id = next(iter(project.simulator.offers))
    note = project.registry_file("gpu-1")
    note.parent.mkdir(parents=True)
    note.write_text(yaml.safe_dump({"provision_procured_offer_id": offer_id, "provision_price_per_hour": 2.5}))
    project.simulator.market.procure(offer_id, {"ssh_public_key": "", "resource_name": "database"})
    run = decommission(project, "gpu-1")
    assert "it is called database, and the registry names only its offer" in run.failure("gpu-1")
    assert len(project.simulator.billed) == 1 and project.requests("DELETE", "/.*") == 0


def test_what_another_account_has_is_not_called_gone(project: Project) -> None:
    run = decommission(project, "gpu-1", "-e", f"decommission_resource_id={NOBODY}")
    said = run.failure("gpu-1")
    assert f"{NOBODY} answered 404" in said and "Is the token of the right account?" in said, run.output


def test_an_entry_goes_only_if_its_machine_is_gone_for_certain(make_project: MakeProject) -> None:
    project = make_project(deleted_readable=False)
    assert project.provision("-e", "provision_reach=false").returncode == 0
    project.simulator.vanish(project.simulator.billed[0])
    offers = dict(project.simulator.offers)
    project.simulator.offers.clear()  # as another account sees it

    unknown = decommission(project, "gpu-1")
    assert unknown.returncode == 2
    assert "Is the token of the right account?" in unknown.text
    assert project.registry("gpu-1") is not None

    project.simulator.offers.update(offers)
    gone = decommission(project, "gpu-1")
    assert gone.returncode == 0, gone.output
    assert "Is the token of the right account?" not in gone.text
    assert project.registry("gpu-1") is None


def test_a_purchase_under_way_is_not_forgotten(make_project: MakeProject) -> None:
    project = make_project(provision_seconds=600)
    project.provision("-e", "provision_poll_retries=1")
    (resource,) = project.simulator.resources.values()
    project.simulator.resources.clear()
    run = decommission(project, "gpu-1")
    assert run.returncode == 2
    assert "the API lists no machine of it yet" in run.text
    project.simulator.resources[resource.resource_id] = resource
    run = decommission(project, "gpu-1")
    assert run.returncode == 0, run.output
    assert (project.simulator.billed, project.registry("gpu-1")) == ([], None)


def test_a_machine_that_does_not_end_keeps_its_entry(project: Project) -> None:
    assert project.provision("-e", "provision_reach=false").returncode == 0
    for status in (409, 500):
        project.simulator.faults[:] = [Fault(method="DELETE", path="/resources/", status=status)]
        run = decommission(project, "gpu-1")
        assert run.returncode == 2
        assert "It may still run and be billed at USD 2.00 per hour." in run.text
        assert project.registry("gpu-1") is not None
    project.simulator.faults.clear()
    assert decommission(project, "gpu-1").returncode == 0
    assert project.simulator.billed == []


# Audit


@core
def test_an_audit_tells_owners_orphans_and_the_gone(project: Project) -> None:
    project.declare(["gpu-1", "gpu-2"])
    assert project.provision("-e", "provision_reach=false").returncode == 0
    # As if provisioned with provision_hosts: the inventory does not have it, but the registry does.
    project.declare(["gpu-1"])
    project.simulator.populate(1, gpu_price_per_hour=3.1, gpu_count=1, storage=[])
    owned = project.registry("gpu-1")
    assert owned
    project.simulator.vanish(owned["provision_resource_ids"][0])

    run = project.play("compute_index.supply.audit", ANSIBLE_SHOW_CUSTOM_STATS="1")

    assert run.returncode == 0, run.output
    assert "gpu-2 running 2.50" in run.text
    assert "machine-3 running 3.10" in run.text
    assert f"gpu-1 - - {owned['provision_resource_ids'][0]}" in run.text
    assert "USD per hour: 2.50 claimed + 3.10 orphans = 5.60" in run.text
    stats = json.loads(run.output.split("RUN: ")[1])
    assert [row["hosts"] for row in stats["audit"]["claimed"]] == [["gpu-2"]]
    assert stats["audit"]["price_per_hour"] == {"claimed": 2.5, "orphans": 3.1, "total": 5.6}

    run = project.play("compute_index.supply.audit", "-e", "audit_fail_on_orphans=true")
    assert run.returncode == 2
    assert "1 machine(s) that nobody claims cost USD 3.10 per hour" in run.text


def test_hosts_of_the_inventory_plugin_claim_nothing(project: Project) -> None:
    project.simulator.populate(1)
    (project.folder / "all.supply.yml").write_text("plugin: compute_index.supply.resources\n")
    options = ("-i", str(project.folder / "all.supply.yml"), "-e", "audit_fail_on_orphans=yes")
    assert project.play("compute_index.supply.audit", *options).returncode == 2


# The other modules


@core
def test_the_catalogue_and_fresh_resources(project: Project) -> None:
    (machine,) = project.simulator.populate(1)
    kinds = ("gpus", "vendors", "regions", "contracts", "storage")
    results, _run = project.tasks(
        *({"compute_index.supply.catalog_info": {"kind": kind}} for kind in kinds),
        {"compute_index.supply.resource_info": {"name": machine.name, "force_refresh": True}},
        {"compute_index.supply.catalog_info": {"kind": "moods"}},
    )
    assert "nvidia-h100-sxm5-80gb" in results[0]["catalog"]["H100"]
    assert all(result["catalog"] for result in results[1:4])
    assert results[4]["catalog"] == []
    assert [each["resource_id"] for each in results[5]["resources"]] == [machine.resource_id]
    assert "must be one of" in results[6]["msg"]
