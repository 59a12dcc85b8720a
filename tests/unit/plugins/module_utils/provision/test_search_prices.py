# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prices, sums and ceilings. An unknown price is above each ceiling; rounding errors of floats do not matter."""

from __future__ import annotations

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.search import (
    UNLIMITED,
    add_up,
    bill_between,
    count_within,
    highest_known_price,
    max_price_for_bill,
    passes_max_price,
    seconds_for_bill,
    total_of,
)
from hypothesis import given
from hypothesis import strategies as st

from provision_samples import offer, offer_id

PRICES = st.lists(st.one_of(st.none(), st.floats(0, 1000, allow_nan=False)), max_size=8)


@pytest.mark.parametrize(
    ("prices", "highest"),
    [
        ((2.0, 5.0), 5.0),
        ((5.0, 2.0), 5.0),
        ((None, 5.0), 5.0),
        ((2.0, None), 2.0),
        ((0.0, None), 0.0),
        ((None, None), None),
        ((), None),
        ((2.0, 5.0, 4.0), 5.0),
    ],
)
def test_highest_known_price_ignores_unknown_prices(prices: tuple[float | None, ...], highest: float | None) -> None:
    assert highest_known_price(*prices) == highest


@pytest.mark.parametrize(
    ("prices", "total"),
    [((), 0.0), ((1.5, 2.0), 3.5), ((0.1,) * 3, 0.3), ((1.5, None), None), ((0.0, None), None)],
)
def test_total_of_is_unknown_if_a_price_is(prices: tuple[float | None, ...], total: float | None) -> None:
    assert total_of(prices) == total


@given(PRICES, PRICES)
def test_further_prices_never_lower_sum(prices: list[float | None], further: list[float | None]) -> None:
    fewer, more = add_up(prices), add_up([*prices, *further])
    assert more.total >= fewer.total and more.unknown >= fewer.unknown
    assert add_up(reversed(prices)) == fewer


@pytest.mark.parametrize(
    ("price", "limit", "passes"),
    [
        (2.0, 2.0, True),
        (2.000001, 2.0, False),
        (0.0, 0.0, True),
        (2.0, UNLIMITED, True),
        (None, UNLIMITED, True),
        (None, 1e9, False),
        (None, 0.0, False),
    ],
)
def test_passes_max_price_refuses_unknown_and_higher_prices(price: float | None, limit: float, passes: bool) -> None:
    assert passes_max_price(price, limit) is passes


@pytest.mark.parametrize(
    ("prices", "ceiling", "exceeds"),
    [
        ([], 0.0, False),
        ([0.1] * 3, 0.3, False),
        ([0.1] * 10, 1.0, False),
        ([1.0, 2.0], 3.0, False),
        ([1.0, 2.000001], 3.0, True),
        ([None], 1e9, True),
        ([None, 5.0], UNLIMITED, False),
        ([9e9], UNLIMITED, False),
        ([0.0], 0.0, False),
        ([0.01], 0.0, True),
    ],
)
def test_sum_exceeds_ceiling_exactly(prices: list[float | None], ceiling: float, exceeds: bool) -> None:
    assert add_up(prices).exceeds(ceiling) is exceeds


@pytest.mark.parametrize(
    ("taken", "limit", "count"),
    [
        ([], 2.0, 2),
        ([], 1.9, 1),
        ([], UNLIMITED, 3),
        ([1], 2.0, 1),
        ([1, 2], 2.0, 0),
        ([3], 2.0, 2),
        ([3], UNLIMITED, 2),
    ],
)
def test_count_within_leaves_out_taken_and_dearer_offers(taken: list[int], limit: float, count: int) -> None:
    offers = [offer(1, 1.0), offer(2, 2.0), offer(3, None)]
    assert count_within(offers, limit, [offer_id(number) for number in taken]) == count


# Bills


@pytest.mark.parametrize(
    ("price", "begin", "end", "bill"),
    [
        (2.0, 0.0, 5400.0, 3.0),
        (2.0, 5400.0, 0.0, 0.0),  # a clock was ahead
        (0.0, 0.0, 5400.0, 0.0),
        (None, 0.0, 5400.0, None),
        (2.0, None, 5400.0, None),
        (2.0, 0.0, None, None),
    ],
)
def test_bill_between_two_times_is_unknown_if_price_or_time_is(
    price: float | None, begin: float | None, end: float | None, bill: float | None
) -> None:
    assert bill_between(price, begin, end) == bill


@pytest.mark.parametrize(
    ("bill", "seconds", "price"),
    [
        (57.6, 8 * 3600.0, 7.2),
        (0.0, 3600.0, 0.0),
        (None, 3600.0, UNLIMITED),
        (UNLIMITED, 3600.0, UNLIMITED),
        (5.0, UNLIMITED, UNLIMITED),
        (5.0, 0.0, UNLIMITED),
    ],
)
def test_bill_limits_price_of_time_that_has_an_end(bill: float | None, seconds: float, price: float) -> None:
    highest = max_price_for_bill(bill, seconds)
    assert highest == pytest.approx(price) and highest >= price
    assert price in (0.0, UNLIMITED) or seconds_for_bill(bill or 0.0, price) >= seconds
