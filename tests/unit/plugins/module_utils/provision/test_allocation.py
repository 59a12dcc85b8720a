# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Offers to hosts, and what they may cost."""

from __future__ import annotations

import math
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.allocation import (
    OfferRequest,
    allocate,
    max_price_of_one,
    misfit,
    turned,
    within,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.sums import (
    add_up,
)
from hypothesis import given
from hypothesis import strategies as st

from provision_samples import SPEC, offer, offer_id

INF = math.inf


@pytest.mark.parametrize(
    ("price", "limit", "may"),
    [
        (2.0, 2.0, True),
        (2.000001, 2.0, False),
        (0.0, 0.0, True),
        (2.0, INF, True),
        (None, INF, True),
        (None, 1e9, False),
        (None, 0.0, False),
    ],
)
def test_an_unknown_price_passes_no_limit(price: float | None, limit: float, may: bool) -> None:
    assert within(offer(1, price), limit) is may


def test_hosts_in_their_order_the_cheapest_first() -> None:
    offers = [offer(1, 1.0), offer(2, 2.0), offer(3, 3.0)]
    wishes = [
        OfferRequest("b", offers, 5.0),
        OfferRequest("a", offers, 5.0),
        OfferRequest("c", offers, 2.5),
        OfferRequest("d", offers, 5.0),
    ]
    found = allocate(wishes)
    assert {host: each["offer_id"] for host, each in found.items()} == {
        "b": offer_id(1),
        "a": offer_id(2),
        "d": offer_id(3),
    }


def test_what_is_spoken_for_is_left_out() -> None:
    offers = [offer(1), offer(2)]
    assert allocate([OfferRequest("a", offers)], {offer_id(1)})["a"]["offer_id"] == offer_id(2)
    assert allocate([OfferRequest("a", offers)], {offer_id(1), offer_id(2)}) == {}


_prices = st.none() | st.integers(0, 8).map(lambda quarters: quarters / 4)
_markets = st.lists(
    st.lists(st.tuples(st.integers(1, 9), _prices), max_size=6, unique_by=lambda each: each[0]), min_size=1, max_size=3
)


@given(
    _markets,
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from([0.0, 0.5, 1.0, 2.0, INF])), max_size=8),
    st.sets(st.integers(1, 9), max_size=3),
)
def test_allocation(
    markets: list[list[tuple[int, float | None]]], hosts: list[tuple[int, float]], taken: set[int]
) -> None:
    known = [
        sorted(
            [offer(number, price) for number, price in market],
            key=lambda each: (each["price_per_hour"] is None, each["price_per_hour"] or 0.0),
        )
        for market in markets
    ]
    wishes = [OfferRequest(f"h{n}", known[which % len(known)], limit) for n, (which, limit) in enumerate(hosts)]
    ids = {offer_id(each) for each in taken}
    found = allocate(wishes, ids)
    given_out = [each["offer_id"] for each in found.values()]
    assert len(given_out) == len({*given_out})
    assert not ids & {*given_out}
    earlier = set(ids)
    for wish in wishes:
        free = [
            each for each in wish.offers if each["offer_id"] not in earlier and within(each, wish.max_price_per_hour)
        ]
        # The first that is left, each host in its turn; and none only if none is left.
        assert found.get(wish.host) == (free[0] if free else None)
        earlier |= {free[0]["offer_id"]} if free else set()


# Sums


@pytest.mark.parametrize(
    ("prices", "ceiling", "exceeds"),
    [
        ([], 0.0, False),
        ([0.1] * 3, 0.3, False),
        ([0.1] * 10, 1.0, False),
        ([1.0, 2.0], 3.0, False),
        ([1.0, 2.000001], 3.0, True),
        ([None], 1e9, True),
        ([None, 5.0], INF, False),
        ([0.0], 0.0, False),
        ([0.01], 0.0, True),
    ],
)
def test_sums(prices: list[float | None], ceiling: float, exceeds: bool) -> None:
    assert add_up(prices).exceeds(ceiling) is exceeds


_cents = st.integers(0, 100_000_000).map(lambda millionths: millionths / 1e6)


@given(
    st.lists(_cents, min_size=1, max_size=12),
    st.lists(_cents, max_size=5),
    st.floats(0, 500),
    st.sampled_from([INF, 10.0, 100.0]),
)
def test_what_each_may_pay_never_sums_above_the_ceiling(
    quoted: list[float], others: list[float], slack: float, max_price_per_hour: float
) -> None:
    together = add_up([*quoted, *others])
    max_total = together.total + slack
    assert not together.exceeds(max_total)
    paid = [max_price_of_one(price, max_price_per_hour, max_total - together.total, len(quoted)) for price in quoted]
    for price, most in zip(quoted, paid, strict=True):
        assert 0 <= most <= max_price_per_hour
        # What was quoted may be paid, as far as the host's own ceiling lets it.
        assert most >= min(price, max_price_per_hour)
    assert sum(others) + sum(paid) <= max_total + 1e-6


@pytest.mark.parametrize(
    ("quoted", "max_price_per_hour", "further", "buyers", "most"),
    [
        (2.0, INF, INF, 1, INF),
        (2.0, 4.0, INF, 1, 4.0),
        (2.0, INF, 2.0, 2, 3.0),
        (2.0, 2.5, 2.0, 2, 2.5),
        (2.0, INF, 0.0, 2, 2.0),
        (None, INF, 2.0, 2, 1.0),
        (None, INF, INF, 1, INF),
        (2.0, 0.0, INF, 1, 0.0),
        (0.57, INF, 0.0, 1, 0.57),
    ],
)
def test_what_one_may_pay(
    quoted: float | None, max_price_per_hour: float, further: float, buyers: int, most: float
) -> None:
    assert max_price_of_one(quoted, max_price_per_hour, further, buyers) == most


# What was asked for


@pytest.mark.parametrize(
    ("compute", "fields", "odd"),
    [
        ({}, {}, ""),
        ({"gpu_type": "H100"}, {}, ""),
        ({"gpu_type": "h100 "}, {}, ""),
        ({"gpu_type": "nvidia-h100-sxm5-80gb"}, {}, ""),
        ({"gpu_type": "NVIDIA-H100-SXM5-80GB"}, {"gpu_family": None}, ""),
        ({"gpu_type": "H100"}, {"gpu_family": None}, ""),
        ({"gpu_type": "H100 | A100"}, {}, ""),
        ({"gpu_type": "A100|H100"}, {}, ""),
        ({"gpu_type": "A100 | L4"}, {}, "gpu_type nvidia-h100-sxm5-80gb instead of A100 | L4"),
        ({"gpu_type": "nvidia-h100-pcie-80gb"}, {}, "gpu_type nvidia-h100-sxm5-80gb instead of nvidia-h100-pcie-80gb"),
        (
            {"gpu_type": "L4"},
            {"gpu_type": "nvidia-l40-48gb", "gpu_family": "L40"},
            "gpu_type nvidia-l40-48gb instead of L4",
        ),
        ({"gpu_type": "L40S"}, {"gpu_type": "nvidia-l40s-pcie-48gb", "gpu_family": None}, ""),
        ({"gpu_type": "RTX 4090"}, {"gpu_type": "nvidia-rtx-4090-24gb", "gpu_family": None}, ""),
        ({"gpu_type": "H100"}, {"gpu_type": None, "gpu_family": None}, ""),
        ({"gpu_type": "H100"}, {"gpu_type": None, "gpu_family": "L4"}, "gpu_type L4 instead of H100"),
        ({"gpu_type": ""}, {}, ""),
        ({"gpu_type": " | "}, {}, ""),
        ({"gpu_count": "1"}, {}, ""),
        ({"gpu_count": 1}, {"gpu_count": 1.0}, ""),
        ({"gpu_count": 8}, {}, "gpu_count 1 instead of 8"),
        ({"gpu_count": 8}, {"gpu_count": None}, ""),
        ({"contract_type": "spot"}, {}, "contract_type ondemand instead of spot"),
        ({"contract_type": "ondemand"}, {"contract_type": None}, ""),
        # Of a machine that runs already
        ({}, {"contract_type": "spot"}, ""),
        ({"contract_type": "any"}, {"contract_type": "spot"}, ""),
    ],
)
def test_compute(compute: dict[str, Any], fields: dict[str, Any], odd: str) -> None:
    assert misfit({"compute": compute}, offer(1, **fields)) == odd


@pytest.mark.parametrize(
    ("spec", "odd"),
    [
        (SPEC, ""),
        ({"region": "eu"}, ""),
        ({"region": "US"}, "region EU instead of US"),
        ({"vendor": "hyperstack"}, "vendor nebius instead of hyperstack"),
        ({"compute": "H100"}, ""),
        ({}, ""),
        (
            {"region": "US", "compute": {"gpu_type": "L4", "gpu_count": 2}},
            "gpu_type nvidia-h100-sxm5-80gb instead of L4, region EU instead of US, gpu_count 1 instead of 2",
        ),
    ],
)
def test_specs(spec: dict[str, Any], odd: str) -> None:
    assert misfit(spec, offer(1)) == odd


@pytest.mark.parametrize(
    ("planned", "page", "odd"),
    [
        ({}, {"gpu_type": "A100", "contract_type": "spot"}, ""),
        ({"gpu_type": "A100", "vendor": "acme", "gpu_count": 8, "contract_type": "ondemand"}, {}, ""),
        ({"gpu_count": 8}, {"gpu_count": "8"}, ""),
        ({"gpu_count": 8}, {"gpu_count": 4}, "gpu_count 4 instead of 8"),
        ({"gpu_count": 8}, {"gpu_count": 0}, ""),
        ({"gpu_count": 8}, {"gpu_count": "some"}, "gpu_count some instead of 8"),
        ({"gpu_count": 16, "node_count": 2}, {"gpu_count": 8}, ""),
        ({"gpu_count": 8, "node_count": 2}, {"gpu_count": 16}, ""),
        ({"gpu_count": 16, "node_count": 2}, {"gpu_count": 4}, "gpu_count 4 instead of 16"),
        ({"node_count": 2}, {"node_count": 1}, "node_count 1 instead of 2"),
        ({"vendor": "acme"}, {"vendor": " ACME "}, ""),
        ({"vendor": "acme"}, {"vendor": "other"}, "vendor other instead of acme"),
        ({"region": "EU"}, {"region": "US"}, "region us instead of eu"),
        ({"region": "EU"}, {"region": ["US"]}, ""),
        ({"vendor_region": "eu-1"}, {"vendor_region": "eu-2"}, "vendor_region eu-2 instead of eu-1"),
        ({"contract_type": "ondemand"}, {"contract_type": " Spot "}, "contract_type spot instead of ondemand"),
        ({"contract_type": "reserved"}, {"contract_type": "spot"}, "contract_type spot instead of reserved"),
        ({"contract_type": "spot"}, {"contract_type": "ondemand"}, ""),
        ({"contract_type": "ondemand"}, {"contract_type": "reserved"}, ""),
        ({"gpu_family": "H100"}, {"gpu_family": "A100"}, "gpu_family a100 instead of h100"),
        ({"gpu_family": "L40"}, {"gpu_family": "L40S"}, "gpu_family l40s instead of l40"),
        ({"gpu_type": "nvidia-l40s-48gb"}, {"gpu_type": "nvidia-l40s-pcie-48gb"}, ""),
        ({"gpu_type": "nvidia-l40s-pcie-48gb"}, {"gpu_type": "L40S"}, ""),
        (
            {"gpu_type": "nvidia-h100-sxm5-80gb"},
            {"gpu_type": "nvidia-h100-pcie-80gb"},
            "gpu_type nvidia-h100-pcie-80gb instead of nvidia-h100-sxm5-80gb",
        ),
    ],
)
def test_an_offer_that_turns_into_another_one(planned: dict[str, Any], page: dict[str, Any], odd: str) -> None:
    assert turned(planned, page) == odd
