# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prices, their sums and ceilings: an unknown price is above every ceiling, and floats decide nothing."""

from __future__ import annotations

import math

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.search import (
    UNLIMITED,
    Sum,
    add_up,
    highest_known_price,
    passes_max_price,
    total_of,
)
from hypothesis import given
from hypothesis import strategies as st

from provision_samples import offer

_cents = st.integers(0, 100_000_000).map(lambda millionths: millionths / 1e6)
PRICES = st.lists(st.one_of(st.none(), st.floats(0, 1000, allow_nan=False)), max_size=8)


@pytest.mark.parametrize(
    ("prices", "counts"),
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
def test_the_highest_price_counts(prices: tuple[float | None, ...], counts: float | None) -> None:
    assert highest_known_price(*prices) == counts


@pytest.mark.parametrize(
    ("prices", "total"),
    [((), 0.0), ((1.5, 2.0), 3.5), ((0.1,) * 3, 0.3), ((1.5, None), None), ((0.0, None), None)],
)
def test_a_total_has_all_prices_or_none(prices: tuple[float | None, ...], total: float | None) -> None:
    assert total_of(prices) == total


@pytest.mark.parametrize(
    ("total", "unknown", "ceiling", "exceeds"),
    [
        (4.0, 0, 4.0, False),
        (4.000001, 0, 4.0, True),
        (0.0, 1, 4.0, True),
        (0.0, 1, UNLIMITED, False),
        (9e9, 0, UNLIMITED, False),
        (0.0, 0, 0.0, False),
    ],
)
def test_a_ceiling(total: float, unknown: int, ceiling: float, exceeds: bool) -> None:
    assert Sum(total, unknown).exceeds(ceiling) is exceeds


@given(PRICES, PRICES)
def test_more_never_costs_less(prices: list[float | None], further: list[float | None]) -> None:
    some, everything = add_up(prices), add_up([*prices, *further])
    assert everything.total >= some.total and everything.unknown >= some.unknown
    assert add_up(reversed(prices)) == some


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
    assert passes_max_price(offer(1, price), limit) is may


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
