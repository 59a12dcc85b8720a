# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The step order, with ``find``: which machines of the ordered hosts it returns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._operations._registries import Registries
from ansible_collections.compute_index.supply.plugins.module_utils._operations.order import ORDER
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import SharedProject
from ansible_collections.compute_index.supply.plugins.module_utils._registry._files import HostFile

from provision_samples import machine_id, offer_id
from samples import BASE

ADDRESS = {"ansible_host": "192.0.2.1", "ansible_port": 22, "ansible_user": "root"}


def note_machines(store: Any, *numbers: int, **variables: Any) -> None:
    """Note the machines of gpu-1 in its registry."""
    ids = [machine_id(number) for number in numbers]
    offer = {"provision_procured_offer_id": offer_id(1), "provision_price_per_hour": 2.0, **variables}
    made = {"provision_purchase": "made", "provision_resource_ids": ids, **ADDRESS}
    instances = [{**ADDRESS, "resource_id": resource_id} for resource_id in ids]
    store.read()
    store.claim({**offer, "provision_purchase": "sent"})
    store.note({**offer, **made, "provision_instances": instances})
    store.close()


def ordered(row: dict[str, Any], **given: Any) -> dict[str, Any]:
    """The result of the step with ``find`` for an order of gpu-1."""
    spec = {name: option.get("default") for name, option in ORDER.argument_spec.items()}
    order = {"variables": {"order_names": "gpu-1"}, "group": "gpu", "sizes": {"gpu": 1}, "sought": [row]}
    params = {**spec, "here": "/", "sources": [], "find": True, "api_url": BASE, **order, **given}
    return ORDER.perform(params, False)


@pytest.mark.parametrize(("project", "finds"), [("red", True), ("blue", False), ("default", False)])
def test_order_finds_machines_only_in_its_project(tmp_path: Path, project: str, finds: bool) -> None:
    """Otherwise a play would configure or load-test the machine of another project in the same folder."""
    file = HostFile(str(tmp_path / "gpu-1" / "compute_index_supply.yml"))
    note_machines(file, 1, provision_resource_name="red-gpu-1", provision_project="red")
    row = {"host": "gpu-1", "project": project, "registry_dir": str(tmp_path), "inventory_dir": None}
    result = ordered(row)
    assert [item["name"] for item in result["reached"]] == (["gpu-1"] if finds else []), result


@pytest.mark.parametrize(
    ("noted", "listed", "ids"),
    [
        pytest.param([1], {"gpu-1": [1]}, {}, id="same"),
        pytest.param([2], {"gpu-1": [1]}, {"gpu-1": [2]}, id="bought-again"),
        pytest.param([], {"gpu-1": [1]}, {"gpu-1": []}, id="ended"),
        pytest.param([1, 2], {"gpu-1": [1, 2], "gpu-1-2": [2]}, {}, id="cluster"),
        pytest.param([], {}, {}, id="unlisted"),
    ],
)
def test_shared_registry_is_newer_than_the_inventory(
    registry_url: str, noted: list[int], listed: dict[str, list[int]], ids: dict[str, list[int]]
) -> None:
    """Otherwise a play would configure whatever has the address of a machine that has ended."""
    if noted:
        with Registries(registry_url, BASE, read_only=False) as registries:
            note_machines(registries.at(SharedProject("default")).host("gpu-1"), *noted)
    rows = [{"host": host, "project": "default", "registry_url": registry_url} for host in ("gpu-1", "gpu-1-2")]
    reached = {host: [machine_id(number) for number in numbers] for host, numbers in listed.items()}
    result = ordered(rows[0], sought=rows, registry_url=registry_url, reached=reached)
    assert {row["name"]: row["provision_resource_ids"] for row in result["reached"]} == {
        host: [machine_id(number) for number in numbers] for host, numbers in ids.items()
    }
    assert all(row["provision_resource_ids"] or row["supply_resource_id"] == "" for row in result["reached"])
