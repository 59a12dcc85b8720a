# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The step order, with ``find``: which machines of the ordered hosts it returns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._operations.order import ORDER
from ansible_collections.compute_index.supply.plugins.module_utils._registry._files import HostFile

from provision_samples import machine_id, offer_id
from samples import BASE

ADDRESS = {"ansible_host": "192.0.2.1", "ansible_port": 22, "ansible_user": "root"}


def note_machine(folder: Path, **variables: Any) -> None:
    """Write a registry file with a machine of gpu-1."""
    ids = [machine_id(1)]
    offer = {"provision_procured_offer_id": offer_id(1), **variables}
    made = {"provision_purchase": "made", "provision_resource_ids": ids, **ADDRESS}
    file = HostFile(str(folder / "gpu-1" / "compute_index_supply.yml"))
    file.read()
    file.claim({**offer, "provision_purchase": "sent"})
    file.note({**offer, **made, "provision_instances": [{**ADDRESS, "resource_id": ids[0]}]})
    file.close()


@pytest.mark.parametrize(("project", "finds"), [("red", True), ("blue", False), ("default", False)])
def test_order_finds_machines_only_in_its_project(tmp_path: Path, project: str, finds: bool) -> None:
    """Otherwise a play would configure or load-test the machine of another project in the same folder."""
    note_machine(tmp_path, provision_resource_name="red-gpu-1", provision_project="red")
    row = {"host": "gpu-1", "project": project, "registry_dir": str(tmp_path), "inventory_dir": None}
    spec = {name: option.get("default") for name, option in ORDER.argument_spec.items()}
    given = {"variables": {"order_names": "gpu-1"}, "group": "gpu", "sizes": {"gpu": 1}, "sought": [row]}
    params = {**spec, "here": "/", "sources": [], "find": True, "api_url": BASE, **given}
    result = ORDER.perform(params, False)
    assert [item["name"] for item in result["reached"]] == (["gpu-1"] if finds else []), result
