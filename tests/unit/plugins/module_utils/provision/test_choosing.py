# Copyright: Contributors to the compute_index.supply collection
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host takes if there is nothing of what it wants most, and why it did not get that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from ansible_collections.compute_index.supply.plugins.module_utils._provision.choosing import (
    CHEAPEST,
    LISTED,
    Choice,
    Offers,
    at,
    choose,
    fitting,
    mismatch,
    named,
    pooled,
    prices_that_count,
    why_not,
    without_limits,
)
from ansible_collections.compute_index.supply.plugins.module_utils._provision.sums import UNLIMITED
from hypothesis import given
from hypothesis import strategies as st

from provision_samples import SPEC, offer, offer_id

H100 = Choice({"region": "EU", "compute": {"gpu_type": "H100", "gpu_count": 1, "contract_type": "ondemand"}})
A100 = Choice({"compute": {"gpu_type": "A100", "gpu_count": 2}}, max_price_per_hour=3.0)
ONE, TWO, PAIR = offer(1, 4.0), offer(2, 5.0), offer(3, 3.0, gpu_count=2)
DEAR = offer(4, 3.5, gpu_count=2)


@pytest.mark.parametrize(
    ("order", "seen", "ids"),
    [
        (LISTED, [Offers([ONE, TWO]), Offers([PAIR])], [1, 2, 3]),
        (CHEAPEST, [Offers([ONE, TWO]), Offers([PAIR])], [3, 1, 2]),
        # Above the choice's own ceiling, or of an unknown price.
        (LISTED, [Offers(), Offers([PAIR, DEAR])], [3]),
        (LISTED, [Offers([offer(5, None)]), Offers([offer(6, None, gpu_count=2)])], [5]),
        # Found twice.
        (LISTED, [Offers([PAIR]), Offers([PAIR])], [3]),
        (LISTED, [Offers(), Offers()], []),
    ],
)
def test_what_may_be_bought_best_first(order: str, seen: Sequence[Offers], ids: list[int]) -> None:
    offers, _numbers = choose([H100, A100], seen, order)
    assert [each["offer_id"] for each in offers] == [offer_id(number) for number in ids]


def test_each_offer_has_the_number_of_its_choice() -> None:
    _offers, numbers = choose([H100, A100], [Offers([ONE]), Offers([PAIR, ONE])], LISTED)
    assert numbers == {offer_id(1): 1, offer_id(3): 2}


EU, US = {"region": "EU"}, {"region": "US"}


@pytest.mark.parametrize(
    ("choice", "seen", "limit", "said"),
    [
        (H100, Offers(), 4.0, "none"),
        (H100, Offers([TWO, offer(9, 4.1)]), 4.0, "dearer than your ceiling (cheapest: USD 4.10 per hour)"),
        (A100, Offers([DEAR]), 9.0, "dearer than your ceiling (cheapest: USD 3.50 per hour)"),
        (H100, Offers([ONE]), 4.0, "given to other hosts, or tried before"),
        (H100, Offers([offer(5, None)]), 4.0, "only at an unknown price"),
        (
            H100,
            Offers(wider=[offer(5, 2.0, region="US"), offer(6, 2.0, region="APAC")]),
            4.0,
            "only elsewhere (APAC, US)",
        ),
        (H100, Offers(wider=[offer(5, 2.0, region="eu", contract_type="spot")]), 4.0, "only spot"),
        (A100, Offers(wider=[offer(5, 2.0, region="US")]), 4.0, "none"),
    ],
)
def test_why_not(choice: Choice, seen: Offers, limit: float, said: str) -> None:
    assert why_not(choice, seen, limit) == said


def test_a_search_is_widened_by_one_limit_at_a_time() -> None:
    compute = {"gpu_type": "H100", "gpu_count": 1}
    assert list(without_limits(H100.spec)) == [
        {"compute": {**compute, "contract_type": "ondemand"}},
        {"region": "EU", "compute": {**compute, "contract_type": "any"}},
    ]
    assert list(without_limits(A100.spec)) == [{"compute": {**A100.spec["compute"], "contract_type": "any"}}]
    for spec in ({}, {"compute": "H100"}, {"compute": {**compute, "contract_type": "any"}}):
        assert list(without_limits(spec)) == []


def test_words() -> None:
    assert named(H100) == "1 x H100, ondemand, EU"
    assert named(A100) == "2 x A100, ondemand"
    assert named(Choice({"compute": {"gpu_type": "L4", "contract_type": "any"}})) == "1 x L4"
    assert named(Choice({})) == "1 x any GPU"


def test_what_is_one_of_the_choices_fits() -> None:
    assert mismatch([H100, A100], {"gpu_type": "nvidia-a100-sxm4-80gb", "gpu_count": 2}) == ""
    assert "gpu_type nvidia-l4 instead of H100" in mismatch([H100, A100], {"gpu_type": "nvidia-l4", "gpu_count": 2})
    assert mismatch([], {"gpu_type": "x"}) == ""


prices = st.none() | st.floats(min_value=0, max_value=100)


@given(st.lists(st.tuples(st.integers(0, 2), prices, prices), max_size=12), st.sampled_from([LISTED, CHEAPEST]))
def test_nothing_above_a_ceiling_is_ever_chosen(
    market: list[tuple[int, float | None, float | None]], order: str
) -> None:
    choices = [Choice(SPEC, ceiling) for ceiling in (10.0, UNLIMITED, 0.0)]
    offers: list[list[Mapping[str, Any]]] = [[], [], []]
    for number, (place, price, _other) in enumerate(market):
        offers[place].append(offer(number, price))
    found, number_of = choose(choices, [Offers(each) for each in offers], order)
    numbers = [number_of[each["offer_id"]] for each in found]
    for each, number in zip(found, numbers, strict=True):
        ceiling = choices[number - 1].max_price_per_hour
        assert ceiling == UNLIMITED or each["price_per_hour"] <= ceiling
    assert order == CHEAPEST or numbers == sorted(numbers)


@pytest.mark.parametrize(
    ("offers", "found", "said"),
    [
        ([ONE, offer(7, region="US")], [ONE], ""),
        ([], [], ""),
        ([{**ONE, "offer_id": None}], [], ""),
        ([offer(7, region="US")], [], "with 1 offer of another kind (region US instead of EU)"),
    ],
)
def test_what_is_not_what_was_searched_for_is_left_out(offers: list[Any], found: list[Any], said: str) -> None:
    fits, reason = fitting(H100.spec, offers)
    assert fits == found and said in reason and bool(said) == bool(reason)


SPOT = offer(8, contract_type="spot")


@pytest.mark.parametrize(
    ("contract", "found"),
    [({}, [ONE]), ({"contract_type": "spot"}, [SPOT]), ({"contract_type": "any"}, [ONE, SPOT])],
)
def test_an_answer_of_another_contract_is_left_out(contract: dict[str, str], found: list[Any]) -> None:
    """Also if the API does not heed the contract."""
    spec = {"compute": {"gpu_type": "H100", "gpu_count": 1, **contract}}
    assert fitting(spec, [ONE, SPOT]) == (found, "")


def test_prices_of_all_looks_are_compared() -> None:
    prices = prices_that_count([ONE, TWO, offer(1, 6.0), offer(2, None), offer(3, None)])
    assert prices == {offer_id(1): 6.0, offer_id(2): 5.0, offer_id(3): None}
    found = at(prices, [offer(2, None), ONE, TWO])
    assert [(each["offer_id"], each["price_per_hour"]) for each in found] == [
        (offer_id(2), 5.0),
        (offer_id(1), 6.0),
        (offer_id(2), None),
    ]


# The same search, sent again


def pool_of(market: list[list[int]], wanted: int) -> list[str]:
    """The offers for so many hosts, if a search brings these numbers in turn; each costs its number."""
    searches = iter([[offer(number, float(number)) for number in numbers] for numbers in market])
    offers = pooled(next(searches), lambda items: len(items) < wanted, lambda: next(searches, []))
    return [item["offer_id"] for item in offers]


@pytest.mark.parametrize(
    ("market", "wanted", "numbers"),
    [
        ([[1, 4]], 2, [1, 4]),  # enough, so there is no other search
        ([[1, 4], [1, 4], [9]], 3, [1, 4]),  # the offers stay
        ([[1, 4], [2, 3]], 3, [1, 2, 3, 4]),  # they are made anew
        ([[1, 4], [2], [3], [5]], 4, [1, 2, 3, 4]),
        ([[1], []], 2, [1]),  # the second search has failed
    ],
)
def test_offers_of_several_searches_are_pooled(market: list[list[int]], wanted: int, numbers: list[int]) -> None:
    assert pool_of(market, wanted) == [offer_id(number) for number in numbers]


@pytest.mark.parametrize(("second", "prices"), [([], [3.0]), ([offer(2, 2.0)], [2.0, 3.0])])
def test_the_highest_price_of_several_searches_counts(second: list[Any], prices: list[float]) -> None:
    offers = pooled([offer(1, 1.0)], lambda items: len(items) < 3, lambda: [offer(1, 3.0), *second])
    assert [item["price_per_hour"] for item in offers] == prices


def test_a_market_without_an_end_is_left() -> None:
    assert len(pool_of([[number] for number in range(1, 200)], 1000)) <= 60
