# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Quotes, and the inventory plugin. test_ending.py has the end of a machine."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from conftest import PROCURE, MakeProject, Project, core
from simulator import Fault

CONNECTION = ("ansible_host", "ansible_port", "ansible_user")


def inventory(project: Project, *words: str, config: dict[str, Any] | None = None, **environment: str) -> Any:
    """The parsed output of ansible-inventory for the inventory plugin alone."""
    file = project.folder / "all.supply.yml"
    file.write_text(yaml.safe_dump({"plugin": "compute_index.supply.resources", **(config or {})}))
    run = project.run("ansible-inventory", "-i", str(file), *words, **environment)
    assert run.returncode == 0, run.output
    # Ansible marks texts from the network as unsafe.
    return json.loads(run.output, object_hook=lambda value: value.get("__ansible_unsafe", value))


# Quote


@pytest.mark.first
@core
def test_a_quote_shows_prices_and_buys_nothing(project: Project) -> None:
    project.declare(["gpu-1", "gpu-2"])
    # A quote needs no key.
    no_key = ("-e", "provision_ssh_public_key_file=/none.pub")
    run = project.play("compute_index.supply.quote", *no_key, ANSIBLE_SHOW_CUSTOM_STATS="1")
    assert run.returncode == 0, run.output
    lines = [line.strip(' ",') for line in run.output.splitlines()]
    assert "host   GPUs                       contract  USD/h  vendor  region" in lines
    assert "gpu-1  1 x nvidia-h100-sxm5-80gb  ondemand   2.00  nebius  EU" in lines
    assert "gpu-2  1 x nvidia-h100-sxm5-80gb  ondemand   2.50  nebius  EU" in lines
    assert "USD per hour in total: 4.50, until you end them" in lines
    assert '"price_per_hour": 4.5' in run.output
    # Hosts above the ceiling of the play are shown, and each fails with the refusal, which is printed nowhere else.
    run = project.play("compute_index.supply.quote", *no_key, "-e", "provision_max_total_price_per_hour=4")
    assert run.returncode == 2 and run.output.count('"The hosts of this play would cost USD 4.50 per hour') == 2
    for line in ("gpu-1 1 x nvidia-h100", "gpu-2 1 x nvidia-h100", "USD per hour in total: 4.50"):
        assert line in run.text, run.output
    assert project.requests(*PROCURE) == 0


@pytest.mark.first
def test_quote_shows_owned_machines_and_hosts_without_an_offer(project: Project) -> None:
    assert project.provision(provision_reach=False).returncode == 0
    project.declare(["gpu-1", "gpu-2"])
    run = project.play("compute_index.supply.quote", "-e", "provision_max_price_per_hour=2.2")
    assert run.returncode == 2
    assert "gpu-1 owned already - 2.00 - -" in run.text
    assert "gpu-2 no offer - - - -" in run.text
    assert "USD per hour in total: 2.00" in run.output
    assert "none within provision_max_price_per_hour (USD 2.20 per hour)" in run.text
    assert run.recap("gpu-1", "failed") == 0


# Inventory


@pytest.mark.first
@core
def test_inventory_plugin_lists_machines_with_variables_and_groups(project: Project) -> None:
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
def test_inventory_plugin_applies_filters_hostname_and_constructed_groups(project: Project) -> None:
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


def test_inventory_plugin_and_role_agree_on_the_connection(project: Project) -> None:
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
        # Clear the connection, so that the next run must register what it reads.
        file = project.registry_file("gpu-1")
        file.write_text(yaml.safe_dump({**entry, **dict.fromkeys(CONNECTION)}))


@pytest.mark.first
@core
def test_another_computer_configures_a_machine_by_the_inventory_plugin(project: Project) -> None:
    assert project.provision("-e", "provision_resource_name=trainer").returncode == 0
    elsewhere = project.folder / "elsewhere" / "gpu.supply.yml"
    elsewhere.parent.mkdir()
    elsewhere.write_text("plugin: compute_index.supply.resources\n")
    options = ["-e", "provision_group=supply", "-e", f"ansible_ssh_private_key_file={project.key}"]
    trust = {"ANSIBLE_HOST_KEY_CHECKING": "false"}
    run = project.run("ansible-playbook", "-i", str(elsewhere), "compute_index.supply.configure", *options, **trust)
    assert run.returncode == 0, run.output
    (resource_id,) = project.simulator.resources
    note = json.loads((project.simulator.home(resource_id) / "compute_index_supply.json").read_text())
    assert note == {"host": "trainer", "resource_ids": [resource_id]}


@pytest.mark.first
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        pytest.param({"status": 500}, "answered 500", id="500"),
        pytest.param({"status": 403}, "api_token", id="403"),
        pytest.param({"status": 200, "body": b"<html>"}, "is not JSON", id="html"),
        pytest.param({"status": 200, "body": b'{"resources": [], "total_count": 7}'}, "counts 7 resources", id="part"),
    ],
)
def test_inventory_plugin_stops_the_run_if_the_api_fails(project: Project, fault: dict[str, Any], message: str) -> None:
    project.simulator.faults.append(Fault(method="GET", path="/resources", **fault))
    file = project.folder / "all.supply.yml"
    file.write_text("plugin: compute_index.supply.resources\napi_retries: 0\n")
    play = {"hosts": "all", "gather_facts": False, "tasks": [{"ansible.builtin.debug": {"msg": "it ran"}}]}
    never = {"ANSIBLE_INVENTORY_UNPARSED_FAILED": "false", "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "false"}
    run = project.run("ansible-playbook", "-i", str(file), "-i", str(project.inventory), project.write(play), **never)
    assert run.returncode == 4, run.output
    assert message in run.text
    assert "it ran" not in run.output
    assert project.simulator.settings.token not in run.output


def test_inventory_plugin_lists_thousands_of_machines(make_project: MakeProject) -> None:
    project = make_project([], page_size=600)
    project.simulator.populate(2400)
    listed = inventory(project, "--list")
    assert len(listed["supply"]["hosts"]) == len(listed["_meta"]["hostvars"]) == 2400
    assert project.requests("GET", "/resources") == 2 * 4  # the pages of two readings


# Information modules


def test_catalog_info_and_resource_info_return_what_the_api_lists(project: Project) -> None:
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
