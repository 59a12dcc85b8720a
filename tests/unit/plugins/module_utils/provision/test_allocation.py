# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Offers to hosts, and what they may cost."""

from __future__ import annotations

import math

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.allocation import (
    OfferRequest,
    allocate,
    max_price_of_one,
    within,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.sums import (
    add_up,
)
from hypothesis import given
from hypothesis import strategies as st

from provision_samples import offer, offer_id

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
