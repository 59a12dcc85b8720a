# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter owned_machines: a row for each host that owns a machine."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.compute_index.supply.plugins.filter.adapters import owned_machines

FIRST = {"resource_id": "r1", "ansible_host": "192.0.2.1", "ansible_port": 22, "ansible_user": "root"}
SECOND = {"resource_id": "r2", "ansible_host": "192.0.2.2", "ansible_port": 22, "ansible_user": "root"}


def variables(**changes: t.Any) -> dict[str, t.Any]:
    return {
        "inventory_hostname": "gpu-1",
        "provision_procured_offer_id": "o1",
        "provision_resource_ids": ["r1"],
        "provision_instances": [FIRST],
        "provision_price_per_hour": 2.5,
        **changes,
    }


def test_host_with_one_machine() -> None:
    assert owned_machines([variables()]) == [
        {
            "host": "gpu-1",
            "offer_id": "o1",
            "resource_ids": ["r1"],
            "machines": 1,
            "ansible_host": "192.0.2.1",
            "ansible_port": 22,
            "ansible_user": "root",
            "ssh": "ssh root@192.0.2.1",
            "price_per_hour": 2.5,
            "ends_at": None,
            "at_most": None,
        }
    ]


def test_lease_adds_end_and_largest_bill() -> None:
    [row] = owned_machines([variables(provision_ends_at="2026-12-01T06:00:00Z", provision_at_most=20)])
    assert (row["ends_at"], row["at_most"]) == ("2026-12-01T06:00:00Z", 20.0)


def test_cluster_has_address_of_its_first_machine() -> None:
    [row] = owned_machines([variables(provision_instances=[FIRST, SECOND], provision_resource_ids=["r1", "r2"])])
    assert (row["machines"], row["resource_ids"], row["ansible_host"]) == (2, ["r1", "r2"], "192.0.2.1")


@pytest.mark.parametrize("no_instances", [{"provision_instances": []}, {"provision_instances": None}])
def test_host_without_machine_is_left_out(no_instances: dict[str, t.Any]) -> None:
    without = {"inventory_hostname": "bare"}
    assert [row["host"] for row in owned_machines([without, variables(**no_instances), variables()])] == ["gpu-1"]


def test_ssh_command_has_port_other_than_22() -> None:
    # Before ansible-core 2.19, set_fact turns a number into a text.
    [row] = owned_machines([variables(provision_instances=[{**FIRST, "ansible_port": "2222"}])])
    assert (row["ansible_port"], row["ssh"]) == (2222, "ssh -p 2222 root@192.0.2.1")


@pytest.mark.parametrize(
    ("noted_price", "price"), [(2.5, 2.5), ("2.5", 2.5), (0, 0.0), (None, None), ("", None), ("None", None)]
)
def test_price_is_a_number_or_unknown(noted_price: t.Any, price: float | None) -> None:
    assert owned_machines([variables(provision_price_per_hour=noted_price)])[0]["price_per_hour"] == price


def test_missing_price_is_unknown() -> None:
    host = variables()
    del host["provision_price_per_hour"]
    assert owned_machines([host])[0]["price_per_hour"] is None
