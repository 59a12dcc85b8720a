# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The step orphan: a machine ends by its id only if no host owns it or may own it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.compute_index.supply.plugins.module_utils._operations.audit import ORPHAN
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ledger import DECOMMISSIONED, MOVED
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import ENTRY
from ansible_collections.compute_index.supply.plugins.module_utils._registry._files import HostFile

from request_queue import RequestQueue
from samples import OFFER_ID, OTHER_ID, RESOURCE_ID, SECOND_RESOURCE_ID, resource

Result = dict[str, Any]
PATH = f"/resources/{RESOURCE_ID}"
WHY = "left by a test"


def write_entry(folder: Path, host: str, text: str = "", **variables: Any) -> None:
    """Write the registry entry of a host."""
    (folder / host).mkdir(parents=True)
    (folder / host / ENTRY).write_text(text or yaml.safe_dump(variables))


@pytest.fixture
def orphan(perform: Callable[..., Result], tmp_path: Path) -> Callable[..., Result]:
    """``orphan(check_mode=False, **options)``: for hosts with two registry folders, a and b."""
    hosts = [
        {"host": host, "name": host, "project": "default", "registry_dir": str(tmp_path / folder), "known": {}}
        for host, folder in (("localhost", "a"), ("gpu-1", "b"))
    ]
    rows = [{**each, "inventory_dir": None, "declares": False, "prefix": ""} for each in hosts]

    def run(check_mode: bool = False, **options: Any) -> Result:
        given = {"resource_id": RESOURCE_ID, "reason": WHY, "by": "eve", **options}
        of_all = {"registry_dir": given.pop("registry_dir")} if "registry_dir" in given else {}
        own = [{**row, **of_all} for row in rows]
        return perform(ORPHAN, check_mode, step="orphan", hosts=own, here=str(tmp_path), **given)

    return run


def expect_reads(queue: RequestQueue, *listed: Any, **fields: Any) -> None:
    queue.expect("GET", PATH, resource(**fields), query={"force_refresh": "true"}).expect(
        "GET", "/resources", [*listed]
    )


def test_machine_without_an_owner_ends_with_person_and_reason(
    queue: RequestQueue, orphan: Callable[..., Result]
) -> None:
    expect_reads(queue, resource(), resource(SECOND_RESOURCE_ID))
    result = orphan(resource_id=RESOURCE_ID.upper())
    assert (result["ended"]["resource_id"], result["ended"]["by"], result["ended"]["why"]) == (RESOURCE_ID, "eve", WHY)
    assert result["lines"][-1] == f"No host known here owns it. It ends for eve: {WHY}"
    expect_reads(queue, resource())
    assert orphan(check_mode=True)["lines"][-1] == f"No host known here owns it. It would end for eve: {WHY}"


def test_limit_is_refused_before_any_request(queue: RequestQueue, orphan: Callable[..., Result]) -> None:
    """Otherwise only the hosts within the limit would end the machine over SSH."""
    result = orphan(limited=True)
    assert result["failed"] and result["msg"] == "An end by id concerns no hosts: leave --limit out. Nothing was ended."


@pytest.mark.parametrize("folder", ["a", "b"])
def test_machine_of_either_host_with_the_same_name_is_not_ended(
    queue: RequestQueue, orphan: Callable[..., Result], tmp_path: Path, folder: str
) -> None:
    owned = {folder: RESOURCE_ID, "ab".replace(folder, ""): SECOND_RESOURCE_ID}
    for place, own in owned.items():
        offer = OFFER_ID if own == RESOURCE_ID else OTHER_ID
        write_entry(tmp_path / place, "gpu-1", provision_resource_ids=[own], provision_procured_offer_id=offer)
    expect_reads(queue, resource())
    result = orphan()
    assert result["failed"] and "is owned by gpu-1, says the registry. Nothing was ended." in result["msg"]


def test_machine_of_another_folder_nearby_is_not_ended(
    queue: RequestQueue, orphan: Callable[..., Result], tmp_path: Path
) -> None:
    """The person may have forgotten the inventory (-i) with which it was bought."""
    write_entry(
        tmp_path / "inventory" / "host_vars",
        "gpu-1",
        provision_resource_ids=[RESOURCE_ID],
        provision_procured_offer_id=OFFER_ID,
    )
    expect_reads(queue, resource())
    result = orphan(registry_dir=None)
    assert result["failed"] and "is owned by gpu-1, says the registry. Nothing was ended." in result["msg"]
    assert f"add -e provision_registry_dir={tmp_path}/inventory/host_vars." in result["msg"]


@pytest.mark.parametrize(("why", "ends"), [(MOVED, False), (DECOMMISSIONED, True)])
def test_machine_that_was_moved_into_a_shared_registry_is_not_ended(
    queue: RequestQueue, orphan: Callable[..., Result], tmp_path: Path, why: str, ends: bool
) -> None:
    write_entry(tmp_path / "b", "gpu-1", provision_resource_ids=[RESOURCE_ID], provision_procured_offer_id=OFFER_ID)
    file = HostFile(str(tmp_path / "b" / "gpu-1" / ENTRY))
    file.read()
    file.end(why)
    expect_reads(queue, resource())
    result = orphan()
    assert bool(result["ended"]) is ends
    assert ends or "gpu-1: moved into a shared registry that this run does not read" in result["msg"]


def test_unreadable_registry_prevents_the_end(
    queue: RequestQueue, orphan: Callable[..., Result], tmp_path: Path
) -> None:
    write_entry(tmp_path / "b", "gpu-1", "<<<<<<< ours\n")
    result = orphan()
    assert result["failed"] and f"A host may own {RESOURCE_ID}: " in result["msg"]


def test_host_with_an_unknown_registry_prevents_the_end(queue: RequestQueue, orphan: Callable[..., Result]) -> None:
    result = orphan(troubles=["gpu-1: provision_registry_url is undefined."])
    assert result["failed"] and f"may own {RESOURCE_ID}: gpu-1: provision_registry_url is undefined." in result["msg"]


@pytest.mark.parametrize("options", [{"resource_id": "gpu-1"}, {"resource_id": ""}, {"reason": " "}, {"reason": "x"}])
def test_invalid_id_or_reason_sends_nothing(
    queue: RequestQueue, orphan: Callable[..., Result], options: Result
) -> None:
    result = orphan(**options)
    assert result["failed"] and result["msg"].startswith("end_re")
