# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with storage searches for its next machine at the site of the storage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision import candidates, planning
from ansible_collections.compute_index.supply.plugins.module_utils._provision.candidates import Case, SearchResult
from ansible_collections.compute_index.supply.plugins.module_utils._provision.standing import HostState, Standing
from ansible_collections.compute_index.supply.plugins.module_utils._provision.storage import (
    Storage,
    label_of,
    storage_changes,
)

from provision_samples import entry, host, machine_id, offer, offer_id

OLD, NEXT = machine_id(1), machine_id(2)
COMPUTE = {"compute": {"gpu_type": "H100", "gpu_count": 1}}
NORTH = {"vendor": "nebius", "region": "eu-north1"}
FAILED = {"outcome": "failed", "msg": "It failed."}


def kept(resource_id: str = OLD, **fields: str) -> Storage:
    return Storage(resource_id, offer_id=offer_id(9), kept_since="2026-11-01T00:00:00Z", **{**NORTH, **fields})


def case(
    kind: HostState = HostState.FREE,
    attempts: Sequence[Any] = (),
    storage: Sequence[Storage] = (kept(),),
    **fields: Any,
) -> Case:
    return Case(host(**{"spec": COMPUTE, **fields}), entry(), Standing(kind), attempts, tuple(storage)).at_storage


@pytest.mark.parametrize(
    ("place", "storage", "vendor", "region"),
    [
        ({}, [kept()], "nebius", "eu-north1"),
        ({"vendor": "", "region": None}, [kept()], "nebius", "eu-north1"),
        ({}, [kept(), kept(NEXT)], "nebius", "eu-north1"),
        ({}, [kept(region="")], "nebius", ""),
        # A place that the search names takes precedence.
        ({"region": "EU"}, [kept()], None, ""),
        ({"vendor": "nebius"}, [kept()], "nebius", ""),
        ({"vendor": "crusoe"}, [kept()], "crusoe", ""),
        ({"vendor": "any"}, [kept()], None, ""),
        ({"region": "Any"}, [kept()], None, ""),
        # The storage has an unknown site, or there are several sites, or no storage.
        ({}, [kept(vendor="")], None, ""),
        ({}, [kept(), kept(NEXT, region="eu-west1")], None, ""),
        ({}, [], None, ""),
    ],
)
def test_search_without_place_is_restricted_to_site_of_storage(
    place: Any, storage: Sequence[Storage], vendor: str | None, region: str
) -> None:
    restricted = case(storage=storage, spec={**COMPUTE, **place})
    (choice,) = restricted.host.choices
    assert (choice.spec.get("vendor") or None, choice.vendor_region) == (vendor, region)
    assert "any" not in str(choice.spec).lower()
    assert bool(restricted.narrowed) is (vendor == "nebius" and not place.get("vendor"))


LEFT = Storage(NEXT, offer_id=offer_id(8), **NORTH)


@pytest.mark.parametrize(
    ("found", "labelled", "left"),
    [(None, [], [OLD]), ((), [], [OLD]), ((LEFT,), [NEXT], [OLD, NEXT]), ((kept(), LEFT), [NEXT], [OLD, NEXT])],
)
def test_storage_that_outlives_its_machine_gets_an_entry_once(
    found: tuple[Storage, ...] | None, labelled: list[str], left: list[str]
) -> None:
    state = Standing(HostState.FREE, void=True, storage=found)
    known = replace(entry(offer_id(8), [machine_id(3)], "made"), storage=(LEFT,))
    ended = Case(host(), known, state, kept_storage=(kept(),))
    assert [label for label, _entry in ended.entries_of_left_storage] == [label_of("gpu-1", item) for item in labelled]
    assert sorted(item.resource_id for item in ended.storage_left) == left
    assert ended.changes_before_removal == ({} if found is None else storage_changes(found, [LEFT]))


@pytest.mark.parametrize("was_ready", [False, True])
def test_storage_of_a_machine_that_was_never_ready_does_not_restrict_the_search(was_ready: bool) -> None:
    known = entry(offer_id(8), [machine_id(3)], "made", provision_adopted=was_ready)
    state = Standing(HostState.FREE, void=True, storage=(LEFT,))
    assert bool(Case(host(spec=COMPUTE), known, state).at_storage.narrowed) is was_ready


def test_offers_in_another_region_of_the_vendor_are_left_out() -> None:
    offers = [offer(number, vendor_region=region) for number, region in enumerate(("EU-North1", "eu-west1", None))]
    assert SearchResult.of(case().host, [offers]).offers_by_choice == [[offers[0], offers[2]]]
    assert SearchResult.of(case(storage=()).host, [offers]).offers_by_choice == [offers]


@pytest.mark.parametrize(
    ("restricted", "is_warned"),
    [
        (case(), True),
        (case(spec=[{**COMPUTE, "vendor": "crusoe"}, COMPUTE]), True),
        (case(spec={**COMPUTE, "vendor": "crusoe"}), False),
        # Storage of a failed attempt of this run does not restrict the search; older storage does.
        (case(attempts=[{**FAILED, "offer_id": offer_id(9)}]), False),
        (case(attempts=[{**FAILED, "offer_id": offer_id(8)}]), True),
        (case(HostState.STOP), False),
        (case(offer_id=offer_id(3)), False),
    ],
)
def test_plan_and_refusal_warn_about_restricted_search(restricted: Case, is_warned: bool) -> None:
    warning = "gpu-1 searches only at nebius eu-north1, where its storage is. To search elsewhere, set vendor in"
    refusal = candidates.why_none(restricted, SearchResult.of(restricted.host, [[]]))
    warnings = planning.warnings_of_kept_storage([restricted], [planning.Plan("gpu-1", planning.BUY)])
    assert (warning in refusal) is (warning in "".join(warnings)) is is_warned
