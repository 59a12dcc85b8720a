# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ends of hosts whose machines have storage."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.compute_index.supply.plugins.module_utils._ansible.operation import Failure
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ledger import MOVED
from ansible_collections.compute_index.supply.plugins.module_utils._registry._files import HostFile
from ansible_collections.compute_index.supply.plugins.module_utils._registry._stores import ledger
from ansible_collections.compute_index.supply.plugins.module_utils._text import utc

from end_samples import NOW, Api, declared, ended_answer, machine, plans, write
from ends import note_end

Json = dict[str, Any]
KEPT_VOLUME = {"resource_id": "v", "name": "data", "price_per_hour": 0.5, "kept_since": utc(NOW)}


def test_decommission_forget_drops_storage_unknown_to_api(tmp_path: Path) -> None:
    """Otherwise it would count in every sum forever, since no deletion of it is certain."""
    file = write(tmp_path, "gpu-1", storage=[KEPT_VOLUME])
    (plan,) = plans(Api(), declared("gpu-1", tmp_path), forget=["V"])["ends"]
    assert (plan["next"], plan["storage_ends"], plan["storage_lost"]) == ("storage", ["v"], ["v"])
    assert plan["lines"][0].endswith("forgets v, which the API does not know")
    answer = {"resource_id": "v", "error_class": "not_found", "billing_stopped": False, "msg": "answered 404."}
    assert note_end(Api(), plan, answer)["changed"]
    assert not file.exists() and not [bill for bill in ledger(str(tmp_path)).bills if bill.runs]


@pytest.mark.parametrize(("is_swept", "why"), [(False, "decommissioned"), (True, "reaped")])
def test_ledger_records_whether_sweep_ended_storage(tmp_path: Path, is_swept: bool, why: str) -> None:
    own = {"resource_ids": ["r"], "procured_offer_id": "o", "purchase": "made", "storage": [{"resource_id": "v"}]}
    write(tmp_path, "gpu-1", **own)
    api = Api(machine("r"), machine("v", "data", kind="storage"))
    (plan,) = plans(api, declared("gpu-1", tmp_path, storage="end"))["ends"]
    assert note_end(api, {**plan, "reaped": is_swept}, ended_answer("r"), ended_answer("v"))["changed"]
    assert {bill.why for bill in ledger(str(tmp_path)).bills} == {why}


def test_decommission_forget_drops_storage_without_registry() -> None:
    """Facts of an earlier task name the storage. The step once failed for all hosts."""
    known = {"provision_resource_ids": ["r"], "provision_procured_offer_id": "o", "provision_storage": [KEPT_VOLUME]}
    host = declared("gpu-1", "", known={**known, "provision_purchase": "made"})
    (plan,) = plans(Api(machine("r")), host, forget=["v"])["ends"]
    assert (plan["next"], plan["storage_lost"]) == ("end", ["v"]), plan["refusal"]
    answer = {"resource_id": "v", "error_class": "not_found", "billing_stopped": False, "msg": "answered 404."}
    assert note_end(Api(), plan, ended_answer("r"), answer)["left"] == []


def test_failed_deletion_of_storage_names_its_entry(tmp_path: Path) -> None:
    file = write(tmp_path, "gpu-1", storage=[KEPT_VOLUME])
    api = Api(machine("v", "data", kind="storage"))
    (plan,) = plans(api, declared("gpu-1", tmp_path, storage="end"))["ends"]
    answer = {"resource_id": "v", "error_class": "unavailable", "billing_stopped": False, "msg": "answered 503."}
    with pytest.raises(Failure, match=re.escape(f"Its entry stays in {file}. Run again.")):
        note_end(api, plan, answer)


def test_end_of_storage_keeps_purchase_that_another_run_has_made_meanwhile(tmp_path: Path) -> None:
    file = write(tmp_path, "gpu-1", storage=[KEPT_VOLUME])
    (plan,) = plans(Api(machine("v", "data", kind="storage")), declared("gpu-1", tmp_path, storage="end"))["ends"]
    write(tmp_path, "gpu-1", storage=[KEPT_VOLUME], procured_offer_id="p", purchase="sent")
    assert note_end(Api(), plan, ended_answer("v"))["left"] == []
    entry = yaml.safe_load(file.read_text())
    assert entry["provision_procured_offer_id"] == "p" and not entry.get("provision_storage")


@pytest.mark.parametrize("is_listed", [True, False])
def test_decommission_forget_refuses_storage_known_to_api(tmp_path: Path, is_listed: bool) -> None:
    write(tmp_path, "gpu-1", storage=[KEPT_VOLUME])
    volume = machine("v", "data", kind="storage")
    api = Api(volume) if is_listed else Api(unlisted=(volume,))
    (plan,) = plans(api, declared("gpu-1", tmp_path), forget=["v"])["ends"]
    assert plan["next"] == "stop" and "decommission_storage=end" in plan["refusal"]


@pytest.mark.parametrize("status", ["available", "deleted"])
def test_storage_that_was_moved_into_a_shared_registry_stops_its_host(tmp_path: Path, status: str) -> None:
    """A run without that registry's URL does not know it, and it is billed."""
    file = HostFile(str(write(tmp_path, "gpu-1", storage=[KEPT_VOLUME])))
    file.read()
    file.end_stray("v", ["v"], MOVED)
    api = Api(machine("v", "data", kind="storage", status=status))
    (plan,) = plans(api, declared("gpu-1", tmp_path, storage="end"))["ends"]
    is_moved = "gpu-1: moved into a shared registry that this run does not read" in plan["refusal"]
    assert is_moved is (status != "deleted"), plan["refusal"]


def test_concurrent_ends_both_keep_storage(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", resource_ids=["r"], procured_offer_id="o", purchase="made", storage=[{"resource_id": "v"}])
    api = Api(machine("r"), machine("v", "data", kind="storage"))
    first, second = (plans(api, declared("gpu-1", tmp_path))["ends"][0] for _run in range(2))
    for plan in (first, second):
        assert note_end(api, plan, ended_answer("r"))["left"] == []
    assert [bill.resource_ids for bill in ledger(str(tmp_path)).bills if bill.runs] == [("v",)]


def test_concurrent_ends_of_storage_both_succeed(tmp_path: Path) -> None:
    write(tmp_path, "gpu-1", resource_ids=["r"], procured_offer_id="o", purchase="made", storage=[{"resource_id": "v"}])
    api = Api(machine("r"), machine("v", "data", kind="storage"))
    both_plans = [plans(api, declared("gpu-1", tmp_path, storage="end"))["ends"][0] for _run in range(2)]
    results = [note_end(api, plan, ended_answer("r"), ended_answer("v")) for plan in both_plans]
    assert [result["changed"] for result in results] == [True, False]
    assert not any(result["left"] for result in results) and not (tmp_path / "gpu-1").exists()
    assert all(bill.end is not None for bill in ledger(str(tmp_path)).bills)


@pytest.mark.parametrize(("page_status", "is_kept"), [("deleted", False), ("running", True)])
def test_storage_deleted_before_its_machine_is_not_kept(tmp_path: Path, page_status: str, is_kept: bool) -> None:
    """Its own page decides, since a list may lag or be wrong."""
    write(tmp_path, "gpu-1", resource_ids=["r"], procured_offer_id="o", purchase="made", storage=[{"resource_id": "v"}])
    volume = machine("v", "data", None, kind="storage", status="deleted")
    api = Api(machine("r"), volume, unlisted=({**volume, "status": page_status},))
    (plan,) = plans(api, declared("gpu-1", tmp_path))["ends"]
    assert note_end(api, plan, ended_answer("r"))["left"] == []
    running = [bill.resource_ids for bill in ledger(str(tmp_path)).bills if bill.runs]
    assert running == ([("v",)] if is_kept else []) and bool(plan["storage"]) is is_kept


@pytest.mark.parametrize("given", [{"resource_id": "r"}, {"registry_dir": ""}])
@pytest.mark.parametrize("is_listed", [True, False])
def test_end_reports_and_keeps_storage_of_unregistered_machine(tmp_path: Path, given: Json, is_listed: bool) -> None:
    """The machine was found by its id or its name, which does not prove who owns its storage."""
    volume = machine("v", "data", kind="storage", price_per_hour=0.5)
    links = [] if is_listed else [{"resource_id": "v", "kind": "storage"}]
    linked = machine("r", "gpu-1", linked_resources=links)
    api = Api(linked, volume) if is_listed else Api(linked, unlisted=(volume,))
    (checked,) = plans(api, declared("gpu-1", tmp_path, storage="end", **given), check_mode=True)["ends"]
    assert checked["lines"][1:] == ["gpu-1: its storage (1 volume, USD 0.50 per hour) stays and is billed"]
    (plan,) = plans(api, declared("gpu-1", tmp_path, storage="end", **given))["ends"]
    assert (plan["ids"], plan["storage"], plan["storage_ends"]) == (["r"], [], []), plan["refusal"]
    lines = note_end(api, plan, ended_answer("r"))["storage"]
    assert lines[1] == "  data v, USD 0.50/h" and "end_by_id" in lines[2] and all(len(line) <= 80 for line in lines)


@pytest.mark.parametrize("listed", [[], [machine("r", status="deleted")]])
def test_host_whose_entry_names_only_storage_can_end(tmp_path: Path, listed: list[Json]) -> None:
    """An earlier version ended the machine, failed to end its storage, and noted the storage's id as a machine's."""
    write(tmp_path, "gpu-1", resource_ids=["v"], procured_offer_id="o", instances=[{"resource_id": "r"}])
    api = Api(*listed, machine("v", "data", kind="storage"), phases={"o": "ended"})
    (plan,) = plans(api, declared("gpu-1", tmp_path))["ends"]
    assert plan["next"] == "note", plan["refusal"]
    assert [item["resource_id"] for item in plan["storage"]] == ["v"]


@pytest.mark.parametrize(("status", "next_step"), [("running", "end"), ("deleted", "note")])
def test_storage_linked_only_by_unlisted_machine_is_kept(tmp_path: Path, status: str, next_step: str) -> None:
    """A list that lags may lack both; the machine's own page names the storage."""
    link = {"resource_id": "v", "kind": "storage"}
    volume = machine("v", "data", kind="storage", price_per_hour=0.5)
    write(
        tmp_path, "gpu-1", resource_ids=["r"], procured_offer_id="o", purchase="made", instances=[{"resource_id": "r"}]
    )
    api = Api(unlisted=(machine("r", status=status, linked_resources=[link]), volume), phases={"o": "ready"})
    (plan,) = plans(api, declared("gpu-1", tmp_path))["ends"]
    assert (plan["next"], [item["resource_id"] for item in plan["storage"]]) == (next_step, ["v"])
