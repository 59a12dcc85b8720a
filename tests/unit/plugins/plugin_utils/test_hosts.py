# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Patterns with which people name hosts, the machines of a host, and lookups with another host's variables."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.compute_index.supply.plugins.plugin_utils._declare import as_templates
from ansible_collections.compute_index.supply.plugins.plugin_utils._hosts import (
    Patterns,
    bought_offer,
    evaluate,
    further_machines,
    lacks_machine,
    machine_ids,
    pattern_parts,
    round_of,
    using_variables,
    with_ranges_expanded,
)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("gpu-[1:3]", "gpu-1,gpu-2,gpu-3"),
        ("a, b-[08:10]\nc", "a,b-08,b-09,b-10,c"),
        ("gpu-1,gpu-2", "gpu-1,gpu-2"),
        (3, 3),
        (["gpu-[1:3]"], ["gpu-[1:3]"]),
        ("gpu-[ab]", "gpu-[ab]"),
    ],
)
def test_with_ranges_expanded_accepts_ranges_of_inventories(given: Any, names: Any) -> None:
    assert with_ranges_expanded("provision_hosts", given) == names


@pytest.mark.parametrize(
    "given",
    [
        *("r[1:2]-[a:b]", "gpu-[1:]", "gpu-[1:x]", "gpu-[1:99999999]", "gpu-[:3:1:2]", "gpu-[1:3", "gpu-[1:3:0]"),
        *("gpu-[3:1]", "gpu-[c:a]"),  # without names, which would be left out of an order for others
    ],
)
def test_invalid_range_is_refused(given: str) -> None:
    with pytest.raises(AnsibleActionFail) as refused:
        with_ranges_expanded("provision_hosts", f"{given},b-1")
    reason = "is not a range of names, such as gpu-[1:20] with numbers up to 9999. Nothing was sent."
    assert str(refused.value) == f"provision_hosts: '{given}' {reason}"


def test_pattern_parts_splits_at_commas_and_lines() -> None:
    assert pattern_parts("decommission_hosts", "a\r\nb, c\n") == ["a", "b", "c"]
    assert pattern_parts("decommission_hosts", ["a,b", "c"]) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("given", "hosts"),
    [
        ("gpu 5", ["gpu 5"]),
        (["gpu 5", "gpu-1"], ["gpu 5", "gpu-1"]),
        ("gpu", ["gpu 5", "gpu-1", "gpu-2"]),
        ("gpu-1 gpu-2", ["gpu-1", "gpu-2"]),
        ("gpu,!gpu 5", ["gpu-1", "gpu-2"]),
    ],
)
def test_host_name_with_space_is_not_split(given: Any, hosts: list[str]) -> None:
    names = ["gpu 5", "gpu-1", "gpu-2"]
    patterns = Patterns({"groups": {"gpu": names, "all": [*names, "5"]}}, DataLoader(), "decommission_hosts")
    assert patterns.hosts(pattern_parts("decommission_hosts", given, patterns.names)) == hosts


@pytest.mark.parametrize(
    ("given", "hosts"),
    [
        ("gpu[0:1]", ["gpu-1-a", "gpu-2-a"]),
        ("gpu-[12]-a", ["gpu-1-a", "gpu-2-a"]),
        # Names of hosts, which the caller expands, since registries may know them
        ("gpu-[1:3]-a", []),
        ("gpu-[4:5]", []),
        ("gpu-4", []),
    ],
)
def test_range_of_names_is_no_pattern_and_gives_no_warning(
    given: str, hosts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["gpu-1-a", "gpu-2-a", "gpu-3-a"]
    patterns = Patterns({"groups": {"gpu": names, "all": names}}, DataLoader(), "decommission_hosts")
    assert patterns.hosts(given) == hosts and "ignoring" not in capsys.readouterr().err


@pytest.mark.parametrize("given", ["gpu", "gpu-1,!gpu", ["gpu-1", "&gpu"]])
def test_name_of_both_a_group_and_a_host_is_refused(given: Any) -> None:
    """Ansible would take the host, which may be a colleague's machine that the inventory plugin lists."""
    patterns = Patterns({"groups": {"gpu": ["gpu-1"], "all": ["gpu", "gpu-1"]}}, DataLoader(), "decommission_hosts")
    with pytest.raises(AnsibleActionFail, match="decommission_hosts: 'gpu' is both a group and a host"):
        patterns.hosts(pattern_parts("decommission_hosts", given, patterns.names))
    assert patterns.hosts(["gpu-1"]) == ["gpu-1"]


@pytest.mark.parametrize(
    ("variables", "ids"),
    [
        ({}, []),  # a host that an order has added
        ({"provision_spec": {"compute": {}}, "inventory_file": "hosts"}, []),
        ({"provision_resource_ids": ["R"], "supply_resource_id": "S"}, ["R"]),
        ({"supply_resource_id": "S"}, ["S"]),
        # A machine with the name of a host that buys machines and has a registry is not the host's.
        ({"supply_resource_id": "S", "provision_spec": {"compute": {}}}, []),
        ({"supply_resource_id": "S", "provision_offer_id": "O", "provision_registry_dir": "folder"}, []),
        # The address is that machine's.
        ({"supply_resource_id": "S", "provision_offer_id": "O", "ansible_host": "192.0.2.1"}, []),
        ({"supply_resource_id": "S", "provision_spec": {"compute": {}}, "provision_registry_dir": ""}, ["S"]),
    ],
)
def test_machine_ids_of_host(variables: dict[str, Any], ids: list[str]) -> None:
    task_vars = {"hostvars": Mock(raw_get=lambda host: {"gpu-1": variables}[host])}
    assert machine_ids("gpu-1", task_vars) == ids
    assert lacks_machine("gpu-1", task_vars) is (not ids)


@pytest.mark.parametrize(
    "variables", [{"inventory_file": "hosts"}, {"ansible_host": "192.0.2.1", "provision_spec": {"compute": {}}}]
)
def test_lacks_machine_accepts_hosts_of_the_user(variables: dict[str, Any]) -> None:
    assert not lacks_machine("gpu-1", {"hostvars": Mock(raw_get={"gpu-1": variables}.get)})


@pytest.mark.parametrize(
    ("variables", "offer"),
    [
        ({}, {}),
        ({"provision_offer": None, "provision_instances": [{}]}, {}),
        ({"provision_offer": {"gpu_count": 8, "vendor": None}}, {"gpu_count": 8, "node_count": 0}),
        # The GPUs of a cluster are those of all its machines.
        (
            {"provision_offer": {"gpu_count": 16, "node_count": None}, "provision_instances": [{}, {}]},
            {"gpu_count": 16, "node_count": 2},
        ),
        ({"provision_offer": {"node_count": 3}, "provision_instances": [{}]}, {"node_count": 3}),
    ],
)
def test_bought_offer_counts_machines_if_the_api_does_not(variables: dict[str, Any], offer: dict[str, Any]) -> None:
    assert bought_offer("gpu-1", {"hostvars": Mock(raw_get={"gpu-1": variables}.get)}) == offer


def test_further_machines_are_told_apart_from_hosts_with_similar_names() -> None:
    address = {"ansible_host": "192.0.2.2", "ansible_port": 22, "ansible_user": "root"}
    variables = {"ray": {"provision_instances": [{}, address]}, "ray-1": address, "gpu-1": address}
    task_vars = {"groups": {"all": [*variables]}, "hostvars": Mock(raw_get=variables.__getitem__)}
    assert further_machines([*variables], task_vars) == {"ray-1"}


def test_round_of_host_without_results_is_empty() -> None:
    assert round_of({"inventory_hostname": "gpu-1"}).host == "gpu-1"


def test_lookup_reads_variables_of_the_given_host() -> None:
    """Before ansible-core 2.19, lookups in a copied templar read the variables of the original."""
    templar = Templar(loader=DataLoader(), variables={"mine": 1, "hostvars": {}})
    text = as_templates("{{ lookup('vars', 'mine') }} {{ mine }}")

    def evaluated() -> str:
        return str(evaluate("price", text, templar))

    with pytest.raises(AnsibleActionFail), using_variables(templar, {"mine": 2, "hostvars": {}}):
        assert evaluated() == "2 2"
        raise AnsibleActionFail("The block may end with an exception.")
    assert evaluated() == "1 1"
