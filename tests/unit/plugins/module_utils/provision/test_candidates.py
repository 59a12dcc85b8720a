# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan says: its lines fit, and its sentences say that nothing was bought, or what is billed."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision import (
    candidates,
    planning,
    standing,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.candidates import (
    Case,
    SearchResult,
    declaration_warning,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.entry import Entry
from ansible_collections.compute_index.supply.plugins.module_utils._provision.standing import HostState, Standing

from provision_samples import SPEC, entry, host, offer, offer_id

X = offer_id(1)
FREE = Case(host(), Entry(), Standing(HostState.FREE))
OFFERS = [offer(number, 5.0) for number in (1, 2, 3)]


@pytest.mark.parametrize(("own", "first", "differs"), [("a", "a", False), ("a", "b", True), ("", "b", True)])
def test_the_hosts_of_a_play_share_one_registry(own: str, first: str, differs: bool) -> None:
    assert bool(standing.differing_databases(own, first)) is differs


@pytest.mark.parametrize(
    "text",
    [
        candidates.why_none(FREE, SearchResult()),
        candidates.why_none(FREE, SearchResult.of(FREE.host, [[]])),
        candidates.why_none(FREE, SearchResult.of(FREE.host, [OFFERS])),
        candidates.why_none(FREE, SearchResult.of(FREE.host, [[offer(1, None)]])),
    ],
)
def test_a_refusal_says_that_nothing_happened(text: str) -> None:
    assert text.count("Nothing was sent.") + text.lower().count("nothing was bought") == 1
    assert "inf" not in text.replace("info", "") and "None" not in text


@pytest.mark.parametrize(
    ("fields", "offers", "said"),
    [
        ({}, [], "1 x H100, ondemand, EU: none."),
        ({"max_price_per_hour": 9}, OFFERS, "1 x H100, ondemand, EU: none is left for this host."),
        (
            {"max_price_per_hour": 1},
            [offer(1, 5.0), offer(2, 4.5)],
            "none within provision_max_price_per_hour (USD 1.00 per hour), the cheapest costs USD 4.50 per hour.",
        ),
        ({"max_price_per_hour": 9}, [offer(1, None)], "the cheapest costs an unknown price."),
        (
            {"lease": "8h", "max_bill": "16", "max_price_per_hour": "unlimited"},
            OFFERS,
            "none within provision_max_bill (USD 16.00 with the lease 8h, so USD 2.00 per hour), the cheapest",
        ),
        (
            {"spec": {**SPEC, "max_price_per_hour": 2}, "max_price_per_hour": 9},
            OFFERS,
            "none within max_price_per_hour in provision_spec (USD 2.00 per hour), the cheapest costs USD 5.00",
        ),
    ],
)
def test_why_there_is_no_offer(fields: dict[str, Any], offers: list[Any], said: str) -> None:
    declared = host(**fields)
    one = Case(declared, Entry(), Standing(HostState.FREE))
    assert said in candidates.why_none(one, SearchResult.of(declared, [offers]))


@pytest.mark.parametrize(
    ("wider", "said"),
    [
        ([offer(5, region="US"), offer(6, region="AP"), offer(7, contract_type="spot")], "only elsewhere (AP, US)."),
        ([offer(5, region="eu", contract_type="spot")], "only spot."),
        ([offer(5, region="US", contract_type="spot")], "none."),
        ([], "none."),
    ],
)
def test_where_or_as_what_alone_there_are_offers(wider: list[Any], said: str) -> None:
    found = SearchResult.of(FREE.host, [[]], [wider])
    assert f"1 x H100, ondemand, EU: {said}" in candidates.why_none(FREE, found)
    assert found.at(FREE.host, {}) == found  # prices may change, and this stays


@pytest.mark.parametrize(
    ("bill", "fields", "text"),
    [
        (16.0, {}, "1 x H100, USD 2.00/h, USD 16.00 in all"),
        (None, {"contract_type": "spot"}, "1 x nvidia-h100-sxm5-80gb, USD 2.00/h, spot"),
        (None, {"gpu_type": None, "gpu_family": None, "price_per_hour": None}, "1 x None, unknown price"),
    ],
)
def test_an_offer_in_one_line(bill: float | None, fields: dict[str, Any], text: str) -> None:
    assert planning.offer_in_one_line({**offer(1), **fields}, bill) == text


def test_an_open_purchase_of_another_spec_is_told() -> None:
    declared = host("gpu-1", spec={"compute": {"gpu_type": "A100"}})
    ordered = entry(X, purchase="sent", provision_offer={"gpu_type": "nvidia-h100-sxm5-80gb", "gpu_family": "H100"})
    for kind, is_told in ((HostState.OPEN, True), (HostState.FREE, False), (HostState.STOP, False)):
        told = declaration_warning(Case(declared, ordered, Standing(kind)))
        assert ("gpu-1 declares something other than its open purchase: " in told) is is_told
    assert declaration_warning(Case(declared, entry(X, purchase="sent"), Standing(HostState.OPEN))) == ""
    digests = {"provision_ordered": {"token": "0f"}}
    for known, is_told in (
        (entry(X, purchase="sent", **digests), True),
        (entry(X, purchase="made", **digests), False),
        (entry(X, purchase="sent"), False),
    ):
        told = declaration_warning(Case(declared, known, Standing(HostState.UNDER_WAY)))
        assert (f"gpu-1 takes the machine of offer {X} as first ordered" in told) is is_told
