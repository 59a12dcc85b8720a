# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a host that keeps storage looks for its next machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision import candidates, planning
from ansible_collections.compute_index.supply.plugins.module_utils._provision.candidates import Case
from ansible_collections.compute_index.supply.plugins.module_utils._provision.choosing import (
    Choice,
    Offers,
    Patience,
    in_region,
    narrowed_to_storage,
    read_choice,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.planning import BUY, LATER, STOP
from ansible_collections.compute_index.supply.plugins.module_utils._provision.standing import HostState, Standing
from ansible_collections.compute_index.supply.plugins.module_utils._provision.storage import Storage

from provision_samples import SPEC, entry, host, machine_id, offer, offer_id

OLD, NEXT = machine_id(1), machine_id(2)
COMPUTE = {"compute": {"gpu_type": "H100", "gpu_count": 1}}
NORTH = {"vendor": "nebius", "region": "eu-north1"}


def kept(resource_id: str = OLD, **fields: str) -> Storage:
    return Storage(resource_id, offer_id=offer_id(9), kept_since="2026-11-01T00:00:00Z", **{**NORTH, **fields})


@pytest.mark.parametrize(
    ("place", "storage", "vendor", "region", "shown", "key"),
    [
        ({}, [kept()], "nebius", "eu-north1", "nebius eu-north1", "vendor"),
        ({"vendor": "", "region": None}, [kept()], "nebius", "eu-north1", "nebius eu-north1", "vendor"),
        ({}, [kept(), kept(NEXT, vendor="Nebius")], "nebius", "eu-north1", "nebius eu-north1", "vendor"),
        # What the search names itself.
        ({"region": "EU"}, [kept()], "nebius", "", "nebius", "vendor"),
        ({"region": "any"}, [kept()], "nebius", "", "nebius", "vendor"),
        ({"vendor": "NEBIUS"}, [kept()], "NEBIUS", "eu-north1", "NEBIUS eu-north1", "region"),
        ({"vendor": "nebius", "region": "EU"}, [kept()], "nebius", "", "", ""),
        ({"vendor": "nebius", "region": "Any"}, [kept()], "nebius", "", "", ""),
        ({"vendor": "crusoe"}, [kept()], "crusoe", "", "", ""),
        ({"vendor": "any"}, [kept()], None, "", "", ""),
        # What is known of the storage.
        ({}, [kept(region="")], "nebius", "", "nebius", "vendor"),
        ({}, [kept(vendor="")], None, "", "", ""),
        ({}, [kept(vendor="", region="")], None, "", "", ""),
        # Several places, or none.
        ({}, [kept(), kept(NEXT, region="eu-west1")], None, "", "", ""),
        ({}, [kept(), kept(NEXT, vendor="crusoe")], None, "", "", ""),
        ({}, [kept(), kept(NEXT, vendor="", region="")], None, "", "", ""),
        ({}, [], None, "", "", ""),
    ],
)
def test_a_search_is_narrowed_to_where_storage_is_as_far_as_it_names_no_place(
    place: Any, storage: Sequence[Storage], vendor: str | None, region: str, shown: str, key: str
) -> None:
    choices = (read_choice({**COMPUTE, **place, "max_price_per_hour": 3}, 3.0),)
    narrow, text = narrowed_to_storage("gpu-1", choices, storage)
    (choice,) = narrow
    assert (choice.spec.get("vendor"), choice.vendor_region, choice.max_price_per_hour) == (vendor, region, 3.0)
    assert {name: choice.spec[name] for name in choice.spec if name not in ("vendor", "region")} == COMPUTE
    assert choice.spec.get("region") in (None, "EU")
    ids = ", ".join(item.resource_id for item in storage)
    narrowed = (
        f"The search was narrowed: gpu-1 looks only at {shown}, where its storage {ids} is. To look elsewhere, set"
        f" {key} in provision_spec ({key}: any for every {key})."
    )
    assert (text, narrow == choices) == ((narrowed, False) if shown else ("", True))


def test_each_of_several_searches_is_narrowed_by_itself() -> None:
    places = ({"vendor": "crusoe"}, {}, {"region": "EU"}, {})
    choices = tuple(Choice({**COMPUTE, **place}) for place in places)
    narrow, text = narrowed_to_storage("gpu-1", choices, [kept()])
    assert [item.spec.get("vendor") for item in narrow] == ["crusoe", "nebius", "nebius", "nebius"]
    assert "only at nebius eu-north1 (choice 2, 4) and nebius (choice 3), where" in text


def test_offers_of_another_region_of_the_vendor_do_not_count() -> None:
    offers = [offer(number, vendor_region=region) for number, region in enumerate(("EU-North1", "eu-west1", None))]
    assert in_region(Choice(COMPUTE, vendor_region="eu-north1"), offers) == [offers[0], offers[2]]
    assert in_region(Choice(COMPUTE), offers) == offers


# The plan


def case(kind: HostState = HostState.FREE, attempts: Sequence[Any] = (), **fields: Any) -> Case:
    return Case(host(**{"spec": COMPUTE, **fields}), entry(), Standing(kind), attempts, (kept(),))


FAILED = {"outcome": "failed", "msg": "It failed."}


@pytest.mark.parametrize(
    ("its", "offers", "said", "action", "is_told"),
    [
        (case(), [offer(1)], "", BUY, True),
        (case(), [], "", STOP, True),
        (case(), [offer(1, 9.0)], "", STOP, True),
        (case(), [], "The API refuses it.", STOP, True),
        (case(spec={**COMPUTE, "vendor": "crusoe"}), [], "", STOP, False),
        (case(spec=[SPEC, {**COMPUTE, "vendor": "crusoe"}]), [], "", STOP, True),
        # What an earlier attempt of this run has left narrows nothing; what is older does.
        (case(attempts=[{**FAILED, "offer_id": offer_id(9)}]), [], "", STOP, False),
        (case(attempts=[{**FAILED, "offer_id": offer_id(8)}]), [], "", STOP, True),
        (case(HostState.STOP), [], "", STOP, False),
    ],
)
def test_a_plan_says_where_alone_it_looks(its: Case, offers: Any, said: str, action: str, is_told: bool) -> None:
    """And what to type to look elsewhere; where nothing is narrowed, neither is said."""
    asked = []

    def search(one: Any) -> candidates.SearchResult:
        asked.append(one.choices)
        return candidates.SearchResult(said=said) if said else candidates.SearchResult.of(one, [Offers(offers)])

    (draft,) = planning.host_plans([its], search, {}, now=1000.0)
    text = draft.missed if action == BUY else draft.refusal
    assert draft.action == action and (f"where its storage {OLD} is." in text) is is_told, text
    assert ("To look elsewhere, set vendor in provision_spec" in text) is is_told
    assert any("nebius" in str(choices[0].spec) for choices in asked) is is_told


def test_a_host_that_a_later_run_looks_for_again_says_where_alone_it_looks() -> None:
    its = case()
    its = replace(its, host=replace(its.host, patience=Patience(2000.0, 0.0)))
    (draft,) = planning.host_plans([its], lambda one: candidates.SearchResult.of(one, [Offers()]), {}, now=1000.0)
    assert (draft.action, draft.refusal) == (LATER, "") and "narrowed: gpu-1 looks only at nebius" in draft.missed


def test_an_offer_that_is_named_by_its_id_is_bought_wherever_it_is() -> None:
    wanted = offer(1, vendor="crusoe", vendor_region="us-1")
    its = case(offer_id=wanted["offer_id"])
    wanted_by_id = {wanted["offer_id"]: candidates.SearchResult([wanted])}
    (draft,) = planning.host_plans([its], lambda _host: candidates.SearchResult(), wanted_by_id)
    assert (draft.action, draft.offer_id, draft.missed) == (BUY, wanted["offer_id"], "")
