# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads before hosts are planned: the account's list, single resources, offers, and other registries."""

from __future__ import annotations

import os
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import Entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.ownership import Account
from ansible_collections.compute_index.supply.plugins.module_utils._provision.place import (
    Folder,
    SharedProject,
    place_of,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.standing import (
    Observed,
    bought_elsewhere,
    ids_to_read,
    is_unchanged,
    known_nearby,
    needs_list,
    offers_of,
    registry_lost_with_job,
    shadowed_files,
    without_ended,
)

from provision_samples import REGISTRY, account, declared, entry, host, machine, machine_id, offer_id
from storage_samples import Volume, linked

M, N, X, Y = machine_id(1), machine_id(2), offer_id(1), offer_id(2)
USUAL = (Folder("/p/host_vars"), Folder("/p/inventory/host_vars"))
REFUSED, BOUGHT, OPEN = entry(X, purchase="refused"), entry(X, [M], "made"), entry(X, purchase="sent")


@pytest.mark.parametrize(
    ("own_entry", "phase", "expected"),
    [
        (entry(), None, True),
        (BOUGHT, "ready", False),
        (BOUGHT, "going_on", False),
        (BOUGHT, "unbought", False),
        (BOUGHT, "failed", True),
        (BOUGHT, "ended", True),
        (BOUGHT, "expired", True),
        (BOUGHT, None, True),
        (entry(X, [M], "made", provision_missing_since="2026-01-31T12:00:00Z"), "ready", True),
        (OPEN, "ready", True),
        (entry("", [M]), None, True),
    ],
)
def test_needs_list_by_entry_and_phase(own_entry: Entry, phase: str | None, expected: bool) -> None:
    assert needs_list(host(), own_entry, phase and {"phase": phase}) is expected  # type: ignore[arg-type]


@pytest.mark.parametrize(("ids_in_status", "expected"), [([], False), ([M], False), ([M, N], True)])
def test_needs_list_if_status_names_further_machine(ids_in_status: list[str], expected: bool) -> None:
    """The further machine may be someone else's; its page may not name its offer, so only the list shows that."""
    assert needs_list(host(), BOUGHT, {"phase": "ready", "resource_ids": ids_in_status}) is expected


def test_host_with_invalid_declaration_needs_no_list() -> None:
    assert not needs_list(declared(max_price_per_hour="3,5"), entry(), None)


@pytest.mark.parametrize(
    ("own_folder", "other_folders"),
    [("/p/inventory/host_vars", ["/p/host_vars"]), ("/q", ["/p/host_vars", "/p/inventory/host_vars"]), ("", [])],
)
def test_bought_elsewhere_reads_each_other_folder_once(own_folder: str, other_folders: list[str]) -> None:
    read_folders = []

    def unreadable(place: Any) -> Entry:
        read_folders.append(place.text)
        raise ValueError(f"{place.text} cannot be read.")

    messages = list(
        bought_elsewhere("gpu-1", "red", place_of(own_folder), [*USUAL, *USUAL, SharedProject()], unreadable)
    )
    assert read_folders == other_folders and [text.partition(" ")[0] for text in messages] == other_folders
    assert all(f"-e provision_registry_dir={own_folder}." in text for text in messages)


@pytest.mark.parametrize(
    ("other_entry", "is_refused"),
    [
        (entry(), False),
        (REFUSED, False),
        (OPEN, True),
        (BOUGHT, True),
        (entry("", [M]), True),
        (entry(X, [M], "made", provision_project="blue"), False),
    ],
)
def test_purchase_in_other_registry_is_refused(other_entry: Entry, is_refused: bool) -> None:
    messages = list(bought_elsewhere("gpu-1", "default", USUAL[1], USUAL, lambda place: other_entry))
    assert bool(messages) is is_refused
    for part in ("/p/host_vars/gpu-1/", "provision_registry_dir=/p/host_vars.", "provision_project"):
        assert all(part in reason for reason in messages)


def test_folder_with_machines_of_another_inventory_is_named_once() -> None:
    entries = [(USUAL[0], "gpu-1", BOUGHT), (USUAL[0], "gpu-2", OPEN), (USUAL[1], "gpu-3", REFUSED)]
    assert list(known_nearby(entries)) == [
        "/p/host_vars has machines of gpu-1, gpu-2, and is no registry of this run. For those, give their inventory"
        " (-i), or add -e provision_registry_dir=/p/host_vars."
    ]
    assert list(known_nearby(entries, lambda place: place == USUAL[1])) == []


def test_offers_of_skips_refused_and_missing_offers() -> None:
    entries = [REFUSED, entry(Y, [N], "made"), entry("", [M])]
    assert offers_of(entries) == {Y: (N,)}
    assert offers_of([OPEN, REFUSED]) == {X: ()}


@pytest.mark.parametrize(
    ("own_entry", "status", "listed", "ids"),
    [
        pytest.param(BOUGHT, {"phase": "failed", "resource_ids": [N]}, [], {M, N}, id="failed offer"),
        pytest.param(
            BOUGHT, {"phase": "ready", "resource_ids": [M]}, [machine(1, "gpu-1", X)], set(), id="running machine"
        ),
        pytest.param(entry(), {}, [machine(1, "gpu-1", Y), machine(2, "train", X)], {M}, id="name of host"),
        pytest.param(entry(), {}, [machine(1, "gpu-1", Y), machine(2, "vm", Y)], {M, N}, id="same offer as namesake"),
        pytest.param(entry(), {}, [machine(1, "gpu-1", Y, status="deleted")], set(), id="listed as gone"),
        pytest.param(OPEN, {"phase": "ready"}, [machine(1, "train", X)], {M}, id="open purchase"),
        pytest.param(
            OPEN,
            {"phase": "ready"},
            [machine(1, "train", X, status="deleted")],
            set(),
            id="open purchase, listed as gone",
        ),
        pytest.param(
            BOUGHT, {"phase": "ended"}, [machine(1, "train", X, status="deleting")], {M}, id="ended offer, still listed"
        ),
        pytest.param(BOUGHT, {"phase": "ended"}, [], {M}, id="ended offer, not listed"),
    ],
)
def test_ids_to_read_are_those_that_decide(own_entry: Entry, status: Any, listed: Any, ids: set[str]) -> None:
    status = {"resource_ids": [], **status}
    observed = Observed({"gpu-1": own_entry}, {own_entry.offer_id: status}, Account.of([], listed))
    assert ids_to_read([host()], observed) == ids


@pytest.mark.parametrize(
    ("fields", "name", "ids"),
    [
        ({"offer_id": X}, "train", {M}),
        ({}, "train", set()),
        ({"adopt": True}, "gpu-1", {M, N}),  # the storage comes with the machine
        ({}, "gpu-1", {M}),
    ],
)
def test_ids_to_read_include_named_offer_and_storage_to_adopt(fields: dict[str, Any], name: str, ids: set[str]) -> None:
    listed = [linked(machine(1, name, X), [Volume(2, "gpu-1")])]
    observed = Observed({"gpu-1": entry()}, {}, Account.of([], listed))
    assert ids_to_read([host(**fields)], observed) == ids


def test_machines_ended_by_play_are_dropped_from_list() -> None:
    listed = [machine(1), machine(2)]
    assert without_ended(listed, {"gpu-1": [{"ended": [M]}, {}], "gpu-2": ()}) == [listed[1]]


@pytest.mark.parametrize(
    ("entry_now", "expected"),
    [
        (entry(X, [M], "made"), True),
        (entry(X, [M], "made", provision_verified=True), True),
        (entry(Y, [M], "made"), False),
        (entry(X, [M, N], "made"), False),
        (entry(X, [M], "made", provision_journaled_at="2026-01-31T12:00:00Z"), False),
        (entry(), False),
    ],
)
def test_is_unchanged_compares_purchase_in_entry(entry_now: Entry, expected: bool) -> None:
    assert is_unchanged(BOUGHT, entry_now) is expected


@pytest.mark.parametrize("place", [REGISTRY, "", "shared:default"])
def test_shadowed_files_are_those_with_name_of_host(place: str) -> None:
    files = [f"{REGISTRY}/gpu-1.yml", f"{REGISTRY}/gpu-1.json", f"{REGISTRY}/gpu-2.yaml", "/gpu-1.yml"]
    message = shadowed_files(declared(place), files.__contains__)
    assert (f"read {REGISTRY}/gpu-1.yml, {REGISTRY}/gpu-1.json, since" in message) == (place == REGISTRY)
    assert bool(message) == (place == REGISTRY) and not shadowed_files(declared(place), lambda path: False)


def test_machine_listed_as_host_is_read_by_id() -> None:
    listed_host = host("cloud-gpu-1", listed_id=M)
    observed = Observed({listed_host.host: entry()}, {}, account([(listed_host, entry())], [machine(1, "gpu-1", X)]))
    assert ids_to_read([listed_host], observed) == {M}


def test_registry_in_folder_of_awx_job_is_refused() -> None:
    folder = host().registry.text
    assert "nothing would remember the machine" in registry_lost_with_job(host(), True, ["/other", folder])
    assert "nothing would remember the machine" in registry_lost_with_job(host(), True, [os.path.dirname(folder)])
    for declared_host, by_job, folder_of_job in (
        (host(), True, f"{folder}s"),
        (host(), False, folder),
        (host(by_name=True), True, "/"),
    ):
        assert registry_lost_with_job(declared_host, by_job, [folder_of_job]) == ""
